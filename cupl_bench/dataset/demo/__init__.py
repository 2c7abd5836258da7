"""The embedded data set: wildflowers drawn by the program. They are rendered, not photographs."""

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset, ReadTaken
from cupl_bench.dataset.demo import drawing
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.errors import UnreadableError
from cupl_bench.identity import bytes_key, content_key
from cupl_bench.progress import track
from cupl_bench.store import DamagedFileError, is_unreadable, read_arrays, set_aside, tell_unreadable, write_arrays

__all__ = ["DemoSource"]

log = logging.getLogger(__name__)

LICENCE = "Apache-2.0"
"""Of the drawings: this project's own."""


@dataclass(frozen=True)
class ReadDrawing:
    """The drawn image i as the bytes of a PPM file."""

    files: np.ndarray

    def __call__(self, index: int) -> bytes:
        return bytes(self.files[index])


@dataclass(frozen=True, kw_only=True)
class DemoSource:
    """Draws the images of a split once and keeps them. ``test`` and ``validation`` have seeds of their own.

    Tiers say how often pre-training of the demo backbone met the name of a species: docs/demo.md.
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.
    """

    split: Literal["test", "validation"]
    limit: PositiveInt | None = None
    seed: NonNegativeInt = 0

    def __call__(self, cache_dir: Path) -> Dataset:
        species = drawing.evaluated_species()
        per_class = drawing.TEST_PER_CLASS
        path = cache_dir / "drawings" / f"{self._recipe()[:24]}.safetensors"
        try:
            files = read_arrays(path)[0]["files"]
        except FileNotFoundError:
            files = self._draw(path)
        except UnreadableError as error:
            tell_unreadable(error)
            files = self._draw(path)
        except DamagedFileError as error:
            set_aside(path, error)
            files = self._draw(path)
        labels = np.repeat(np.arange(len(species)), per_class).astype(np.int64)
        own, _ = chosen(labels, self.limit, self.seed, None)
        return Dataset(
            split=limited(self.split, self.limit, self.seed),
            class_names=tuple(one.name for one in species),
            labels=labels[own],
            image_ids=[f"{species[place // per_class].name} {place % per_class}" for place in own.tolist()],
            image_keys=[bytes_key(files[place].tobytes()) for place in own.tolist()],
            read=ReadTaken(ReadDrawing(files), own),
            tiers=tuple(one.tier for one in species),
            notes=("rendered flowers, not photographs",),
            licence=LICENCE,
        )

    @property
    def _seed(self) -> int:
        return {"test": drawing.TEST_SEED, "validation": drawing.VALIDATION_SEED}[self.split]

    def _recipe(self) -> str:
        """Return what decides the pixels: the drawing code, the species, the seed, and the libraries that rasterise."""
        folder = Path(drawing.__file__).parent
        names = ("drawing.py", "species.json")
        sources = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        return content_key({**sources, "pillow": PIL.__version__, "numpy": np.__version__, "seed": self._seed})

    def _draw(self, path: Path) -> np.ndarray:
        """Return the pictures as PPM files, one per row, all of the same size; keep them in ``path``."""
        jobs = [
            (label, number)
            for label in range(len(drawing.evaluated_species()))
            for number in range(drawing.TEST_PER_CLASS)
        ]
        log.info("dataset   drawing %s flowers, which are kept", f"{len(jobs):,}")
        drawn = []
        for label, number in track(jobs, "drawing flowers"):
            buffer = io.BytesIO()
            drawing.draw_one(self._seed, label, number).save(buffer, format="PPM")
            drawn.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
        files = np.stack(drawn)
        if not is_unreadable(path):
            write_arrays(path, {"files": files}, {"split": self.split, "seed": self._seed})
        return files
