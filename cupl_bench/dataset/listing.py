"""What a layout finds: images, and the class that the source itself gives to each."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cupl_bench.dataset.digests import keys_of_files
from cupl_bench.dataset.folder import ReadFile

__all__ = ["Files", "Listing", "Rows"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Images that are files."""

    paths: tuple[str, ...]
    root: Path

    def take(self, indices: Sequence[int]) -> "Files":
        """Those at ``indices``, in that order."""
        return replace(self, paths=tuple(self.paths[index] for index in indices))

    def missing(self) -> list[int]:
        """Which are listed but not on the disk."""
        return [index for index, path in enumerate(self.paths) if not os.path.isfile(path)]  # noqa: PTH113 - 50,000

    def keys(self, cache_dir: Path) -> list[bytes]:
        """The content key of each."""
        return keys_of_files([Path(path) for path in self.paths], self.root, cache_dir)

    def read(self) -> Callable[[int], bytes]:
        """Reads the bytes of image i."""
        return ReadFile(self.paths)


@dataclass(frozen=True)
class ReadTaken:
    """Reads image i of a part of a table."""

    read: Callable[[int], bytes]
    indices: tuple[int, ...]

    def __call__(self, index: int) -> bytes:
        return self.read(self.indices[index])


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Images inside tables, shards or arrays, whose keys are known."""

    read_row: Callable[[int], bytes]
    row_keys: Sequence[bytes]
    indices: tuple[int, ...] | None = None

    def take(self, indices: Sequence[int]) -> "Rows":
        """Those at ``indices``, in that order."""
        mine = self.indices
        return replace(self, indices=tuple(index if mine is None else mine[index] for index in indices))

    def missing(self) -> list[int]:
        """None: a row that is listed is there."""
        return []

    def keys(self, cache_dir: Path) -> list[bytes]:  # noqa: ARG002 - as Files.keys
        """The content key of each."""
        return list(self.row_keys) if self.indices is None else [self.row_keys[index] for index in self.indices]

    def read(self) -> Callable[[int], bytes]:
        """Reads the bytes of image i."""
        return self.read_row if self.indices is None else ReadTaken(self.read_row, self.indices)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Images in the order of their source.

    ``classes``: of each image, the source's own word for its class, or, where the source has numbers alone, the label
    itself. ``where``: the folder or repository, for messages.
    """

    where: str
    classes: Sequence[str | int]
    image_ids: Sequence[str]
    images: Files | Rows
    notes: tuple[str, ...] = ()

    def take(self, indices: Sequence[int]) -> "Listing":
        """The images at ``indices``, in that order."""
        return replace(
            self,
            classes=[self.classes[index] for index in indices],
            image_ids=[self.image_ids[index] for index in indices],
            images=self.images.take(indices),
        )
