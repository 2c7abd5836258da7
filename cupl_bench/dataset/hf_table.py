"""The rows of a table of the `datasets` library: which column holds images, which labels, and what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.keys import Keys

__all__ = [
    "HfRows",
    "ReadRow",
    "column_values",
    "is_image_struct",
    "only_column",
    "paths_of",
    "usual_label_column",
]


@dataclass(frozen=True)
class ReadRow:
    """Reads image i from a table whose images are not decoded."""

    images: Any
    column: str

    def __call__(self, index: int) -> bytes:
        cell = self.images[index][self.column]
        if cell is None:
            raise DatasetError(f"row {index} has no image in column {self.column!r}")
        content = cell["bytes"]
        return content if content is not None else Path(cell["path"]).read_bytes()


@dataclass(frozen=True, kw_only=True)
class HfRows:
    """The rows of a split: images, the content keys of those at some places, and their labels as stored.

    ``names``: of the whole numbers in ``values``, where the table carries them. ``groups``, ``sets``: of each image,
    where a column tells them.
    """

    read: Callable[[int], bytes]
    keys: Callable[[Int64[np.ndarray, " m"], Path], Keys]
    label_column: str
    values: Sequence[int | str]
    names: tuple[str, ...] | None
    groups: Sequence[object] | None = None
    sets: Sequence[Sequence[int | str]] | None = None


def is_image_struct(feature: Any) -> bool:
    """Return whether a column written without its metadata still looks like stored images."""
    return isinstance(feature, dict) and set(feature) == {"bytes", "path"}


def paths_of(images: Any, column: str) -> list[str] | None:
    """Return the files of the images where the table holds paths and no bytes: they change without the table."""
    if not len(images) or (first_cell := images[0][column]) is None or first_cell["bytes"] is not None:
        return None
    cells = images.with_format("arrow")[:].column(0).combine_chunks()
    return None if cells.field("path").null_count else [str(path) for path in cells.field("path").to_pylist()]


def only_column(table: Any, what: str, fits: Callable[[Any], bool]) -> str:
    """Return the one column whose type ``fits``; ``what`` is the word of the option that names another.

    Raises:
        DatasetError: there are several, or none.
    """
    candidates = [name for name, feature in table.features.items() if fits(feature)]
    if len(candidates) != 1:
        raise DatasetError(
            f"{len(candidates)} columns could be the {what} column ({first(candidates or table.column_names)}); name"
            f" one with dataset.{what}_column=..."
        )
    return str(candidates[0])


def usual_label_column(table: Any) -> str:
    """Return the column of the labels: by its usual names, else the only one of classes.

    Raises:
        DatasetError: as `only_column`.
    """
    import datasets

    for usual in ("label", "labels", "cls"):
        if usual in table.column_names:
            return usual
    return only_column(table, "label", lambda feature: isinstance(feature, datasets.ClassLabel))


def column_values(table: Any, key: str, name: str | None) -> list[Any] | None:
    """Return the values of a column, with the names of a column of classes; None where it is no column but a file.

    Raises:
        DatasetError: it is neither.
    """
    import datasets

    if name is None:
        return None
    if name not in table.column_names:
        if Path(name).is_file():
            return None
        raise DatasetError(
            f"dataset.{key}={name} is neither a column, of which there are {table.column_names}, nor a file."
            f"{nearest(name, table.column_names)}"
        )
    values: list[Any] = table.select_columns([name]).with_format("arrow")[:].column(0).to_pylist()
    feature = table.features[name]
    if isinstance(feature, datasets.ClassLabel):
        return [None if value is None else feature.names[value] for value in values]
    return values
