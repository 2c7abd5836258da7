"""What each group of runs adds to a comparison, kept beside the tables: a new run costs the comparison of its group.

A part is kept under all that it was made of: the records, the names that tables give them, the files that were read,
the baseline and this program. Groups whose numbers depend on other groups are compared anew, and so are those with
anything to warn of.
"""

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cupl_bench.errors import ResultsError
from cupl_bench.identity import content_key
from cupl_bench.report.answers import RightImages
from cupl_bench.report.program import program_state, state_of
from cupl_bench.report.runs import Run
from cupl_bench.report.significance import resampled_pair
from cupl_bench.store import write_atomically

__all__ = ["KeptParts", "Part", "Viewer"]

FOLDER = Path("tables", ".compared")
COUNTS_WITH = ("numpy", "pandas", "scipy", "pyarrow")
MEASURED = ("curves", "effects", "similarities")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a group adds to a comparison; places are those of its rows, from 0.

    ``read``: the runs of each row that tables show, by key. ``draws``: the resamples of the difference of a row.
    ``moved``: None where nothing is compared.
    """

    rows: list[dict[str, object]]
    read: dict[int, list[str]]
    draws: dict[int, np.ndarray]
    classes: pd.DataFrame
    moved: pd.DataFrame | None
    right: dict[str, RightImages]
    controls: list[dict[str, object]]
    writers: list[dict[str, object]]


class Viewer(Protocol):
    """Shows groups while they are compared, as the page does, and can take up again what it showed of one before."""

    def before(self) -> object:
        """Return what the groups before decide about how the next is shown."""
        ...

    def seen(self) -> Mapping[str, Any]:
        """Return what is to be kept of the last group that was looked at, as plain data."""
        ...

    def again(self, seen: Mapping[str, Any], members: Sequence[Run]) -> bool:
        """Take up what was kept; return False, and take up nothing, if a file of it is another or gone."""
        ...


class KeptParts:
    """The parts of a results folder: those of before, and after a comparison those of now."""

    def __init__(self, results_dir: Path, viewer: Viewer) -> None:
        self.results_dir = results_dir
        self.folder = results_dir / FOLDER
        self.viewer = viewer
        self.program = [program_state(), *(version(name) for name in COUNTS_WITH)]
        self.names: set[str] = set()

    def name_of(self, members: Sequence[Run], baseline: Run | None) -> str:
        """Return the name of a part: a digest of all that it is made of, but for the answers of other groups."""
        made_of = {
            "program": self.program,
            "baseline": None if baseline is None else baseline.record.run_key,
            "before": self.viewer.before(),
            "runs": [
                [run.collection, run.dataset, run.backbone, run.prompts, run.scorer, run.record.model_dump_json()]
                for run in members
            ],
            "files": [self._state(name) for run in members for name in _files_of(run)],
        }
        return content_key(made_of)

    def _state(self, name: str | None) -> list[object] | None:
        try:
            return None if name is None else state_of(self.results_dir / name)
        except OSError:
            return None

    def read(self, name: str, members: Sequence[Run]) -> Part | None:
        """Return a part of before, which the viewer has taken up; None if it was not kept, or is not as it was."""
        try:
            digest, text = (self.folder / f"{name}.json").read_text(encoding="ascii").split("\n", 1)
            if digest != sha256(text.encode()).hexdigest():
                return None
            kept = json.loads(text)
            if any(state_of(self.folder / file) != state for file, state in kept["files"].items()):
                return None
            part = _part_of(kept, self.folder / f"{name}.classes", self.folder / f"{name}.moved")
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            return None  # it saves time, and nothing depends on it
        if not self.viewer.again(kept["seen"], members):
            return None
        self.names.add(name)
        return part

    def add(self, name: str, part: Part) -> None:
        """Keep a part, and what the viewer has shown of it."""
        try:
            files = {f"{name}.classes": part.classes}
            files |= {} if part.moved is None else {f"{name}.moved": part.moved}
            for file, table in files.items():
                write_atomically(self.folder / file, table.to_parquet(index=False))
            states = {file: state_of(self.folder / file) for file in files}
            more = {"objects": {file: _objects(table) for file, table in files.items()}, "seen": self.viewer.seen()}
            text = json.dumps(_kept(part) | {"files": states} | more, default=_plain)
            content = f"{sha256(text.encode()).hexdigest()}\n{text}"
            write_atomically(self.folder / f"{name}.json", content.encode("ascii"))
            self.names.add(name)
        except (OSError, ResultsError, TypeError, ValueError) as error:
            logging.getLogger(__name__).debug("what a group adds to the comparison is not kept: %s", error)

    def forget_others(self) -> None:
        """Remove the parts that this comparison did not use."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.stem not in self.names:
                with suppress(OSError):  # of another user, or no file of ours
                    path.unlink(missing_ok=True)


def _files_of(run: Run) -> list[str | None]:
    artifacts = run.record.artifacts
    written = [None, None] if artifacts is None else [artifacts.predictions, artifacts.prompts]
    return [*written, *(f"{folder}/{run.record.run_key}.parquet" for folder in MEASURED)]


def _plain(value: Any) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no plain value")


def _is_pair(row: Mapping[str, Any]) -> bool:
    """Return whether the resamples of a row follow from its counts, and need not be kept."""
    return row["gained"] is not None and bool(row["run_key"])


def _kept(part: Part) -> dict[str, Any]:
    others = {place: one for place, one in part.draws.items() if not _is_pair(part.rows[place])}
    return {
        "rows": part.rows,
        "read": list(part.read.items()),
        "pairs": [place for place in part.draws if place not in others],
        "draws": [[place, _packed(one.astype("<f8").tobytes())] for place, one in others.items()],
        "right": [[key, _packed(one.bits), one.count, one.images] for key, one in part.right.items()],
        "controls": part.controls,
        "writers": part.writers,
    }


def _part_of(kept: Mapping[str, Any], classes: Path, moved: Path) -> Part:
    rows = kept["rows"]
    draws = {
        place: resampled_pair(
            rows[place]["gained"], rows[place]["lost"], rows[place]["num_images"], int(rows[place]["run_key"], 16)
        )
        for place in kept["pairs"]
    }
    draws |= {place: np.frombuffer(base64.b64decode(one), dtype="<f8") for place, one in kept["draws"]}
    right = {
        key: RightImages(bits=base64.b64decode(bits), count=count, images=images)
        for key, bits, count, images in kept["right"]
    }
    return Part(
        rows=rows,
        read=dict(kept["read"]),
        draws=draws,
        classes=_table(classes, kept["objects"][classes.name]),
        moved=_table(moved, kept["objects"][moved.name]) if moved.name in kept["files"] else None,
        right=right,
        controls=kept["controls"],
        writers=kept["writers"],
    )


def _objects(table: pd.DataFrame) -> list[str]:
    """Return the columns of Python objects: read back, they would be texts, which are written otherwise."""
    return [str(name) for name in table if table[name].dtype == np.dtype(object)]


def _table(path: Path, objects: Sequence[str]) -> pd.DataFrame:
    """Return a table as it was before it was written."""
    table = pq.read_table(path)
    # pandas holds its own texts as Arrow's large ones.
    fields = [one.with_type(pa.large_string()) if pa.types.is_string(one.type) else one for one in table.schema]
    frame: pd.DataFrame = table.cast(pa.schema(fields, table.schema.metadata)).to_pandas()
    return frame.assign(**{name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in objects})


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
