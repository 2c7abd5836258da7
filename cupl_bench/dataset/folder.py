"""A user's own images: one folder per class."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.digests import keys_of_files
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.more_told import groups_told, sets_told
from cupl_bench.dataset.names import is_unicode, read_class_names
from cupl_bench.errors import DatasetError, first, nearest

__all__ = ["FolderSource"]


@dataclass(frozen=True)
class ReadFile:
    """Reads image i from its file below a folder."""

    folder: str
    names: ImageNames

    def __call__(self, index: int) -> bytes:
        return Path(self.folder, self.names.file_name(index)).read_bytes()


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """One folder per class below ``path``; labels follow the sorted folder names, as torchvision's `ImageFolder` does.

    ``class_names``: a JSON list in the order of the sorted folders, or a JSON map folder -> class name. A map may
    name more classes than there are folders: labels then follow its sorted keys, and the rest are classes without
    images. Without it the folder names are the class names, letter for letter.
    ``split``: how the record calls these images.
    ``groups``, ``sets``: JSON files that tell the group, or all classes, of each image (`dataset/more_told.py`).
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.
    """

    path: str
    split: str
    class_names: str | None
    limit: PositiveInt | None = None
    seed: NonNegativeInt = 0
    groups: str | None = None
    sets: str | None = None

    def __call__(self, cache_dir: Path) -> Dataset:
        return self.part(cache_dir, None)

    def part(self, cache_dir: Path, shard: tuple[int, int] | None) -> Dataset:
        """Return part i of n of the images; all of them if None."""
        root = Path(self.path)
        if not root.is_dir():
            siblings = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
            problem = "is a file" if root.exists() else "does not exist"
            raise DatasetError(
                f"dataset.path={root} {problem}; it should be a folder with one folder of images per class."
                f"{nearest(root.name, siblings)}"
            )
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
        if not folders:
            raise DatasetError(
                f"{root} holds no class folder. Put the images of each class into a folder of its own below it."
            )
        endings = extensions()
        counts: list[int] = []
        others: list[str] = []

        def listed() -> Iterator[str]:
            for folder in folders:
                images, left = _files_below(root / folder, endings)
                counts.append(len(images))
                others.extend(left)
                yield from (f"{folder}/{name}" for name in images)

        image_names = ImageNames.of(listed())
        if empty := [folder for folder, count in zip(folders, counts, strict=True) if not count]:
            raise DatasetError(
                f"{len(empty)} of {len(folders)} class folders of {root} hold no image, first: {first(empty)}."
                f" Images end in one of {', '.join(sorted(endings)[:8])} ...; remove folders that are not classes."
            )
        names, label_of = self._labels(folders)
        labels = np.repeat(np.array([label_of[folder] for folder in folders], dtype=np.int64), counts)
        notes = []
        if others:
            notes.append(
                f"{len(others)} files are not images by their names and are left out, first:"
                f" {first([name.rpartition('/')[2] for name in others], 3)}"
            )
        if without := len(names) - len(folders):
            notes.append(f"{without} of {len(names)} classes have no image here")
        groups = groups_told(self.groups, image_names)
        sets = sets_told(self.sets, image_names, names, labels.tolist())
        own, num_whole = chosen(labels, self.limit, self.seed, shard)
        if len(own) < len(labels):
            labels, image_names = labels[own], image_names.take(own)
        return Dataset(
            split=limited(self.split, self.limit, self.seed),
            class_names=tuple(names),
            labels=labels,
            image_ids=image_names,
            image_keys=keys_of_files(str(root), image_names, root, cache_dir),
            read=ReadFile(str(root), image_names),
            notes=tuple(notes),
            num_whole=num_whole,
            sets=None if sets is None else sets.taken(own),
            groups=None if groups is None else groups.taken(own),
        )

    def _labels(self, folders: list[str]) -> tuple[list[str], dict[str, int]]:
        if self.class_names is None:
            if odd := [os.fsencode(folder) for folder in folders if not is_unicode(folder)]:
                raise DatasetError(
                    f"{len(odd)} of {len(folders)} class folders have names that are not UTF-8, first: {first(odd)}."
                    " Rename them, or give the class names in the order of the sorted folders:"
                    " dataset.class_names=FILE.json"
                )
            return folders, {folder: label for label, folder in enumerate(folders)}
        given = read_class_names(Path(self.class_names))
        if isinstance(given, dict):
            if lost := [folder for folder in folders if folder not in given]:
                raise DatasetError(
                    f"{len(lost)} of {len(folders)} class folders have no name in {self.class_names}, first:"
                    f" {first(lost)}.{nearest(lost[0], given)}"
                )
            keys = sorted(given)
            return [given[key] for key in keys], {key: label for label, key in enumerate(keys)}
        if len(given) != len(folders):
            raise DatasetError(
                f"{self.class_names} lists {len(given)} class names, but {self.path} holds {len(folders)} class"
                f" folders (sorted: {first(folders, 3)}). Give one name per folder in that order, or a map"
                " folder -> name."
            )
        return given, {folder: label for label, folder in enumerate(folders)}


def _files_below(folder: Path, endings: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the image files below ``folder``, and the others, by their path in it and in the order of its parts."""
    images: list[str] = []
    others: list[str] = []
    for directory, subfolders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(directory)
        for link in (here / name for name in subfolders if (here / name).is_symlink()):
            if here.resolve().is_relative_to(link.resolve()):
                raise DatasetError(f"{link} leads back to {link.resolve()}, in which it lies: remove this link.")
        inside = "" if here == folder else f"{here.relative_to(folder).as_posix()}/"
        for name in names:
            if not name.startswith("."):
                is_image = os.path.splitext(name)[1].lower() in endings  # noqa: PTH122 - called for each image
                (images if is_image else others).append(inside + name)
    return sorted(images, key=_parts), sorted(others, key=_parts)


def _refuse(error: OSError) -> None:
    """Refuse a folder that may not be listed: it is not empty."""
    raise error


def _parts(path: str) -> list[str]:
    return path.split("/")
