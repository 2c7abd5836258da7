"""The layout in which each class has a folder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.source_files import Place
from cupl_bench.errors import first

__all__ = ["ClassFolders", "is_image"]


def _walk(folder: str, inside: str = "") -> Iterator[tuple[str, str]]:
    """Yield each file below ``folder`` in sorted order: the folder it lies in, relative, and its name."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, f"{inside}/{entry.name}" if inside else entry.name)
        else:
            yield inside, entry.name


def is_image(name: str, endings: frozenset[str]) -> bool:
    """Return whether a file is an image by its ending: lower case, with its dot."""
    return os.path.splitext(name)[1].lower() in endings  # noqa: PTH122 - called 50,000 times


class ClassFolders(Place):
    """One folder per class; a class may lie deeper (`a/apse/indoor`).

    ``drop``: how many leading folders are no part of the class. ``numbers``: whether folder names are the labels
    themselves (ImageNet-V2, where sorting them as text gives the wrong ones). ``left_out``: folders of the source that
    are no class of the data set; they may be there or not.
    """

    kind: Literal["class_folders"]
    drop: int
    numbers: bool
    left_out: tuple[str, ...] = ()

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where no folder is a class."""
        if not base.is_dir() or not any(self._is_class(folder, classes) for folder in self._top(base)):
            return None
        endings = extensions()
        found: list[str | int] = []
        others: list[str] = []
        names = ImageNames.of(self._images(base, endings, found, others))
        left = f"{len(others)} files are not images of a class folder and are left out, first: {first(others, 3)}"
        return Listing(
            where=str(base),
            classes=found,
            images=Files(folder=str(base), names=names, root=base),
            notes=(left,) if others else (),
        )

    def _images(self, base: Path, endings: frozenset[str], found: list[str | int], others: list[str]) -> Iterator[str]:
        """Yield the path of each image below ``base``; its class, one text for all of a folder, goes to ``found``."""
        class_of: dict[str, str | int] = {}
        left_out = frozenset(self.left_out)
        for folder, name in _walk(str(base)):
            if folder in left_out:
                continue
            if not folder or not is_image(name, endings):
                others.append(f"{folder}/{name}" if folder else name)
            else:
                if folder not in class_of:
                    word = "/".join(folder.split("/")[self.drop :])
                    class_of[folder] = int(word) if self.numbers and word.isdigit() else word
                found.append(class_of[folder])
                yield f"{folder}/{name}"

    def _top(self, base: Path) -> Iterator[str]:
        """Yield the folders at the depth where classes begin; of deeper ones the first is enough to know the layout."""
        folders = [base]
        for _ in range(self.drop):
            folders = [child for folder in folders for child in folder.iterdir() if child.is_dir()]
        for folder in folders:
            yield from (child.name for child in folder.iterdir() if child.is_dir())

    def _is_class(self, folder: str, classes: Classes) -> bool:
        if self.numbers:
            return folder.isdigit() and int(folder) < len(classes.ids)
        return classes.find(folder) is not None
