"""The images that a layout finds, and the class that the source itself gives to each."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from cupl_bench.dataset import ReadTaken
from cupl_bench.dataset.digests import keys_of_files
from cupl_bench.dataset.folder import ReadFile
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.identity import bytes_key
from cupl_bench.keys import Keys

__all__ = ["Files", "Listing", "Rows"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Images that are files: their names below ``folder``. ``root``: the folder of the data set."""

    folder: str
    names: ImageNames
    root: Path
    key_of: Callable[[bytes], bytes] | None = bytes_key

    def take(self, indices: Int64[np.ndarray, " m"]) -> "Files":
        """Return those at ``indices``, in that order."""
        return replace(self, names=self.names.take(indices))

    def missing(self) -> Int64[np.ndarray, " m"]:
        """Return the images that are listed but not on the disk."""
        paths = (f"{self.folder}/{self.names.file_name(index)}" for index in range(len(self.names)))
        here = np.fromiter((os.path.isfile(path) for path in paths), dtype=bool, count=len(self.names))  # noqa: PTH113
        return np.flatnonzero(~here)

    def keys(self, cache_dir: Path) -> Keys:
        """Return the content key of each."""
        return keys_of_files(self.folder, self.names, self.root, cache_dir)

    def read(self) -> Callable[[int], bytes]:
        """Return a function that reads the bytes of image i."""
        return ReadFile(self.folder, self.names)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Images inside tables, shards or arrays. ``row_keys``: the content keys of those at some places.

    ``indices``: where each image is. ``key_of``: as in `Dataset`.
    """

    names: ImageNames
    read_row: Callable[[int], bytes]
    row_keys: Callable[[Int64[np.ndarray, " m"], Path], Keys]
    indices: Int64[np.ndarray, " n"]
    key_of: Callable[[bytes], bytes] | None = bytes_key

    def take(self, indices: Int64[np.ndarray, " m"]) -> "Rows":
        """Return those at ``indices``, in that order."""
        return replace(self, names=self.names.take(indices), indices=self.indices[indices])

    def missing(self) -> Int64[np.ndarray, " m"]:
        """Return no index: a row that is listed is there."""
        return np.empty(0, dtype=np.int64)

    def keys(self, cache_dir: Path) -> Keys:
        """Return the content key of each."""
        return self.row_keys(self.indices, cache_dir)

    def read(self) -> Callable[[int], bytes]:
        """Return a function that reads the bytes of image i."""
        return ReadTaken(self.read_row, self.indices)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Images in the order of their source.

    ``classes``: of each image, the source's own word for its class, or, where the source has numbers alone, the label
    itself. ``where``: the folder or repository, for messages.
    ``sets``: of each image that may be of several classes, 1 for each word of a class that it is of, and -1 for each
    that is not counted either way. ``groups``: the name of the group of each image, None for none; ``group_names``: of
    all groups.
    ``names``: lists of class names that the tree itself holds, in label order.
    """

    where: str
    classes: Sequence[str | int]
    images: Files | Rows
    notes: tuple[str, ...] = ()
    sets: Sequence[Mapping[str | int, int]] | None = None
    groups: Sequence[str | None] | None = None
    group_names: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def take(self, indices: Int64[np.ndarray, " m"]) -> "Listing":
        """Return the images at ``indices``, in that order."""
        return replace(
            self,
            classes=[self.classes[index] for index in indices.tolist()],
            images=self.images.take(indices),
            sets=None if self.sets is None else [self.sets[index] for index in indices.tolist()],
            groups=None if self.groups is None else [self.groups[index] for index in indices.tolist()],
        )
