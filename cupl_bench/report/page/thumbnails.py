"""Small images of what was classified right and wrong, named by the content of the image they show."""

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps

from cupl_bench.errors import DatasetError
from cupl_bench.records import Record
from cupl_bench.report.answers import Answers
from cupl_bench.store import write_atomically

__all__ = ["Images", "OpenImages", "chosen_images", "write_thumbnails"]

log = logging.getLogger(__name__)

OF_EACH_CLASS = 6
"""Images that a run has right, and as many that it has wrong, that are shown of each class."""
AT_MOST = 20_000
"""Thumbnails of all data sets together."""
SIDE = 96
FORMAT = "WEBP"


@runtime_checkable
class Images(Protocol):
    """The images of a data set that is on this machine."""

    @property
    def image_keys(self) -> Sequence[bytes]:
        """16 bytes for each image, of its content."""
        ...

    @property
    def read(self) -> Callable[[int], bytes]:
        """The bytes of image i."""
        ...


OpenImages = Callable[[Record], "Images | None"]
"""Gives the images that a run has seen, if they are on this machine and the same as then."""


def chosen_images(answers: Answers) -> list[int]:
    """Return the places of the images that are shown of a run: the first that it has right and wrong of each class."""
    order = np.argsort(answers.labels * 2 + answers.hits, kind="stable")
    kinds = (answers.labels * 2 + answers.hits)[order]
    starts = np.flatnonzero(np.r_[True, kinds[1:] != kinds[:-1]])
    within = np.arange(len(kinds)) - np.repeat(starts, np.diff(np.r_[starts, len(kinds)]))
    return sorted(order[within < OF_EACH_CLASS].tolist())


def write_thumbnails(images: Images, wanted: Sequence[int], folder: Path) -> dict[int, str]:
    """Return the file of each image that is shown, below ``folder``; those that are there are not made again.

    An image that cannot be shown is left out: that a run has read it is told by the run.
    """
    files: dict[int, str] = {}
    broken = 0
    for index in wanted:
        key = images.image_keys[index].hex()
        name = f"{key[:2]}/{key}.{FORMAT.lower()}"
        path = folder / name
        if not path.is_file():
            try:
                content = _thumbnail(images.read(index))
            except (OSError, ValueError, Image.DecompressionBombError, DatasetError):
                broken += 1
                continue
            write_atomically(path, content)
        files[index] = name
    if broken:
        log.warning("%s of %s images that the page would show cannot be opened", f"{broken:,}", f"{len(wanted):,}")
    return files


def _thumbnail(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (SIDE, SIDE))
        small = ImageOps.contain(image.convert("RGB"), (SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, FORMAT, quality=75)
    return buffer.getvalue()
