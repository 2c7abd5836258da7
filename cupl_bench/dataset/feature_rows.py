"""Rows of features in files, taken a part at a time, and what identifies them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from cupl_bench.embeddings import unit_rows
from cupl_bench.errors import DatasetError, first
from cupl_bench.identity import bytes_key
from cupl_bench.keys import KEY_BYTES, Keys

__all__ = ["GivenFeatures", "Stamp", "examine_rows", "stamp_of"]

Stamp = tuple[Path, int, int, int]

TILE_ROWS = 8192
"""Rows that are examined together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenFeatures:
    """Features of images, a row for each, read from their files where a part is taken.

    ``sha256``: of the rows as they stand in the files, 64 hex digits. ``said_to_be_of``: the model that they are said
    to be of, and ``weights_sha256`` its weights; nothing in a file proves it. ``blocks``: arrays of rows, one after
    another. ``places``: the rows of them that are taken, in order; None: all. ``is_unit``: whether rows have the length
    one and are taken as they are.
    """

    blocks: tuple[np.ndarray, ...]
    sha256: str
    said_to_be_of: str | None
    is_unit: bool
    weights_sha256: str | None = None
    places: Int64[np.ndarray, " n"] | None = None
    stamps: tuple[Stamp, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.blocks)) if self.places is None else len(self.places)

    @property
    def width(self) -> int:
        """The number of values of a row."""
        return int(self.blocks[0].shape[1])

    def __getitem__(self, which: slice | Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        """Return unit rows in float32.

        Raises:
            DatasetError: a file was changed since it was first read.
        """
        for path, *known in self.stamps:
            try:
                is_same = stamp_of(path)[1:] == tuple(known)
            except OSError:
                is_same = False
            if not is_same:
                raise DatasetError(
                    f"{path} was changed or removed while this run worked, so nothing of it is scored. Start again when"
                    " nobody writes there."
                )
        rows = np.array(self._rows(which), dtype=np.float32, order="C")  # a copy, since files cannot be written to
        return rows if self.is_unit else unit_rows(rows, "features")

    def _rows(self, which: slice | Int64[np.ndarray, " m"]) -> np.ndarray:
        if self.places is None and len(self.blocks) == 1:
            return _rows_of(self.blocks[0], which)
        numbers = np.arange(len(self))[which] if self.places is None else self.places[which]
        starts = np.cumsum([0, *map(len, self.blocks)])
        of_block = np.searchsorted(starts, numbers, side="right") - 1
        rows = np.empty((len(numbers), self.width), dtype=self.blocks[0].dtype)
        for block in np.unique(of_block).tolist():
            here = of_block == block
            rows[here] = _rows_of(self.blocks[block], numbers[here] - starts[block])
        return rows

    def taken(self, places: Int64[np.ndarray, " m"]) -> "GivenFeatures":
        """Return these rows alone."""
        return replace(self, places=places if self.places is None else self.places[places])


def _rows_of(block: np.ndarray, which: slice | Int64[np.ndarray, " m"]) -> np.ndarray:
    """Return rows of a block; those of a file as a copy, so that what was read of the file leaves the memory."""
    if not isinstance(block, np.memmap) or block.filename is None:
        return block[which]
    order: Literal["C", "F"] = "C" if block.flags.c_contiguous else "F"
    again = np.memmap(block.filename, mode="r", dtype=block.dtype, offset=block.offset, shape=block.shape, order=order)
    return np.array(again[which])


def stamp_of(path: Path) -> Stamp:
    """Return the state of a file: its path, size, time of change and number."""
    found = path.stat()
    return path, found.st_size, found.st_mtime_ns, found.st_ino


def examine_rows(blocks: Sequence[np.ndarray], where: str) -> tuple[Keys, str, float, float]:
    """Return a key for each row (n x 16 bytes), the sha256 of all rows, and the least and the largest length of a row.

    Args:
        blocks: arrays of rows, each n x d, one after another.
        where: where they lie, for messages.

    Raises:
        DatasetError: a row is not finite, or zero.
    """
    digest = hashlib.sha256(f"{blocks[0].dtype.str} {blocks[0].shape[1]};".encode())
    packed = np.empty((sum(map(len, blocks)), KEY_BYTES), dtype=np.uint8)
    low, high = np.inf, 0.0
    bad: dict[str, list[int]] = {"are not finite (NaN or infinite)": [], "are all zero": []}
    start = 0
    for block in blocks:
        for begin in range(0, len(block), TILE_ROWS):
            tile = np.ascontiguousarray(_rows_of(block, slice(begin, begin + TILE_ROWS)))
            digest.update(tile.data)
            lengths = np.sqrt(np.einsum("ij,ij->i", tile, tile, dtype=np.float64))
            bad["are not finite (NaN or infinite)"] += (np.flatnonzero(~np.isfinite(lengths)) + start).tolist()
            bad["are all zero"] += (np.flatnonzero(lengths == 0) + start).tolist()
            low, high = min(low, float(lengths.min())), max(high, float(lengths.max()))
            own = b"".join(bytes_key(row.tobytes()) for row in tile)
            packed[start : start + len(tile)] = np.frombuffer(own, dtype=np.uint8).reshape(-1, KEY_BYTES)
            start += len(tile)
    for what, rows in bad.items():
        if rows:
            raise DatasetError(
                f"{where}: {len(rows):,} of {start:,} features {what}, first: rows {first(rows)}. Images that were not"
                " encoded leave such rows; take them out, with their labels."
            )
    return Keys(packed), digest.hexdigest(), low, high
