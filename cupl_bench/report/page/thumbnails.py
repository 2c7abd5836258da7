"""Small images of what was classified right and wrong, named by the content of the image they show."""

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from PIL import Image, ImageOps

from cupl_bench.errors import DatasetError
from cupl_bench.records import Record
from cupl_bench.report.answers import Answers
from cupl_bench.store import write_atomically

__all__ = ["Images", "OpenImages", "chosen_images", "evenly", "first_of_each", "write_thumbnails"]

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


def chosen_images(answers: Answers, baseline: Answers | None = None) -> Int64[np.ndarray, " m"]:
    """Return the places of the images that are shown of a run.

    They are the first that it has right and wrong of each class, and half as many that flipped against the baseline.
    """
    kinds = answers.labels * 2 + answers.hits
    chosen = np.zeros(len(kinds), dtype=np.bool_)
    chosen[first_of_each(kinds, OF_EACH_CLASS)] = True
    if baseline is not None:
        flipped = np.flatnonzero(answers.hits != baseline.hits)
        chosen[flipped[first_of_each(kinds[flipped], OF_EACH_CLASS // 2)]] = True
    return np.flatnonzero(chosen)


def first_of_each(kinds: Int64[np.ndarray, " n"], number: int) -> Int64[np.ndarray, " m"]:
    """Return the places of the first ``number`` of each kind.

    >>> first_of_each(np.array([1, 0, 1, 1]), 2)
    array([1, 0, 2])
    """
    if not len(kinds):
        return np.zeros(0, np.int64)
    few = kinds.min() >= 0 and kinds.max() <= np.iinfo(np.uint16).max
    order = np.argsort(kinds.astype(np.uint16) if few else kinds, kind="stable")  # small numbers: a tenth of the time
    sorted_kinds = kinds[order]
    starts = np.flatnonzero(np.r_[True, sorted_kinds[1:] != sorted_kinds[:-1]])
    within = np.arange(len(kinds)) - np.repeat(starts, np.diff(np.r_[starts, len(kinds)]))
    firsts: Int64[np.ndarray, " m"] = order[within < number]
    return firsts


def evenly(places: Sequence[int], number: int) -> list[int]:
    """Return at most ``number`` of the places, over all of them: images stand class by class.

    >>> evenly([3, 5, 8, 9], 2), evenly([3, 5], 4)
    ([3, 9], [3, 5])
    """
    if len(places) <= number:
        return list(places)
    return [places[place] for place in np.linspace(0, len(places) - 1, number).round().astype(int).tolist()]


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
        if not _is_kept(path):
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


def _is_kept(path: Path) -> bool:
    """Return whether a file is there and holds something: a full disk, or a copy that broke off, leaves empty ones."""
    return path.is_file() and path.stat().st_size > 0


def _thumbnail(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (SIDE, SIDE))
        small = ImageOps.contain(image.convert("RGB"), (SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, FORMAT, quality=75)
    return buffer.getvalue()
