"""A user's own images: one folder per class."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.digests import keys_of_files
from cupl_bench.dataset.names import is_unicode, read_class_names
from cupl_bench.errors import DatasetError, first, nearest

__all__ = ["FolderSource"]


@dataclass(frozen=True)
class ReadFile:
    """Reads image i from its file."""

    paths: tuple[str, ...]

    def __call__(self, index: int) -> bytes:
        return Path(self.paths[index]).read_bytes()


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """One folder per class below ``path``; labels follow the sorted folder names, as torchvision's `ImageFolder` does.

    ``class_names``: a JSON list in the order of the sorted folders, or a JSON map folder -> class name. A map may
    name more classes than there are folders: labels then follow its sorted keys, and the rest are classes without
    images. Without it the folder names are the class names, letter for letter.
    ``split``: how the record calls these images.
    """

    path: str
    split: str
    class_names: str | None

    def __call__(self, cache_dir: Path) -> Dataset:
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
        files = {folder: _images_below(root / folder, endings) for folder in folders}
        if empty := [folder for folder, (images, _) in files.items() if not images]:
            raise DatasetError(
                f"{len(empty)} of {len(folders)} class folders of {root} hold no image, first: {first(empty)}."
                f" Images end in one of {', '.join(sorted(endings)[:8])} ...; remove folders that are no class."
            )
        names, label_of = self._labels(folders)
        paths = [path for folder in folders for path in files[folder][0]]
        labels = [label_of[folder] for folder in folders for _ in files[folder][0]]
        ids = [path.relative_to(root).as_posix().encode("utf-8", "surrogateescape") for path in paths]
        notes = []
        if left := [path for folder in folders for path in files[folder][1]]:
            notes.append(
                f"{len(left)} files are no images by their names and are left out, first:"
                f" {first([path.name for path in left], 3)}"
            )
        if without := len(names) - len(set(labels)):
            notes.append(f"{without} of {len(names)} classes have no image here")
        return Dataset(
            split=self.split,
            class_names=tuple(names),
            labels=np.array(labels, dtype=np.int64),
            image_ids=[name.decode("utf-8", "backslashreplace") for name in ids],
            image_keys=keys_of_files(paths, root, cache_dir),
            read=ReadFile(tuple(str(path) for path in paths)),
            notes=tuple(notes),
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


def _images_below(folder: Path, endings: frozenset[str]) -> tuple[list[Path], list[Path]]:
    """The image files below ``folder``, sorted by their path, and the other files."""
    images: list[Path] = []
    others: list[Path] = []
    for directory, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(directory)
        for link in (here / name for name in subfolders if (here / name).is_symlink()):
            if here.resolve().is_relative_to(link.resolve()):
                raise DatasetError(f"{link} leads back to {link.resolve()}, in which it lies: remove this link.")
        for name in names:
            if not name.startswith("."):
                path = Path(directory, name)
                (images if path.suffix.lower() in endings else others).append(path)
    return sorted(images), sorted(others)
