"""What a user tells of the images of their own data set beyond one label: the group of each, or all its classes."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cupl_bench.dataset.names import is_unicode
from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.json_files import read_json
from cupl_bench.truth import ClassSets, Groups

__all__ = ["classes_told", "groups_of", "groups_told", "sets_of", "sets_told"]


def groups_told(path: str | None, image_ids: Sequence[str]) -> Groups | None:
    """Return the group of each image that a file tells; None where there is no file.

    Args:
        path: JSON, a list with a group for each image in their order, or a map from the name of an image to its group.
            Null stands for no group, and so does an image that a map does not name.
        image_ids: of all images.

    Raises:
        DatasetError: the file holds anything else, or names an image that is not there.
    """
    return None if path is None else groups_of(_of_each(path, "groups", image_ids, None), f"dataset.groups={path}")


def groups_of(told: Sequence[object], where: str) -> Groups:
    """Return groups, named in the order of their names, of what is told of each image: a text, a number or None.

    >>> groups_of(["night", None, "day"], "an example").of.tolist()
    [1, -1, 0]

    Raises:
        DatasetError: something else is told, or no group at all; or two groups read the same.
    """
    if odd := [one for one in told if one is not None and not _is_word(one)]:
        raise DatasetError(f"{where}: {len(odd):,} of {len(told):,} groups are neither text nor number: {first(odd)}.")
    names = tuple(sorted({str(one) for one in told if one is not None}))
    if not names:
        raise DatasetError(f"{where}: none of {len(told):,} images is in a group.")
    _tell_alike(names, where)
    place = {name: number for number, name in enumerate(names)}
    return Groups(names=names, of=np.array([-1 if one is None else place[str(one)] for one in told], dtype=np.int64))


def _tell_alike(names: Sequence[str], where: str) -> None:
    """Refuse names that nobody can tell apart: the worst group would be a part of one.

    Raises:
        DatasetError: two differ only in spaces or in the form of their letters, or one is empty.
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(unicodedata.normalize("NFC", name).split()), []).append(name)
    if "" in alike:
        raise DatasetError(f"{where}: a group has no name: {first(alike[''])}. Null says that an image is in no group.")
    if several := [ascii(same) for same in alike.values() if len(same) > 1]:
        raise DatasetError(
            f"{where}: {len(several)} groups stand under several names that differ only in spaces or in how their"
            f" letters are put together, first: {several[0]}. Write each group in one way."
        )


def sets_told(
    path: str | None, image_ids: Sequence[str], class_names: Sequence[str], labels: Sequence[int]
) -> ClassSets | None:
    """Return all classes of each image that a file tells; None where there is no file.

    Args:
        path: JSON, a list with the classes of each image in their order, or a map from the name of an image to its
            classes. Classes are a list of names, or of labels; an image that a map does not name is of its label alone.
        image_ids: of all images.
        class_names: in label order.
        labels: of all images.

    Raises:
        DatasetError: the file holds anything else, or names an image or a class that is not there.
    """
    if path is None:
        return None
    alone: Callable[[int], list[int]] = lambda place: [int(labels[place])]  # noqa: E731
    return sets_of(_of_each(path, "sets", image_ids, alone), class_names, f"dataset.sets={path}")


def sets_of(told: Sequence[object], class_names: Sequence[str], where: str) -> ClassSets:
    """Return the classes of each image, each a list of names or labels.

    >>> sets_of([["ant", "bee"], [1]], ["ant", "bee"], "an example").matrix.tolist()
    [[1, 1], [0, 1]]

    Raises:
        DatasetError: something else is told, or a class that is not there.
    """
    matrix = np.zeros((len(told), len(class_names)), dtype=np.int8)
    for row, labels in zip(matrix, classes_told(told, class_names, where), strict=True):
        row[labels] = 1
    return ClassSets(matrix=matrix)


def classes_told(told: Sequence[object], class_names: Sequence[str], where: str) -> list[list[int]]:
    """Return the labels of the classes that are told of each image, in their order.

    Raises:
        DatasetError: something else is told, a class that is not there, or none.
    """
    label_of: dict[object, int] = {}
    twice = set()
    for label, name in enumerate(class_names):
        if name in label_of:
            twice.add(name)
        label_of[name] = label
    label_of = {word: label for word, label in label_of.items() if word not in twice}
    label_of |= {label: label for label in range(len(class_names))}
    if odd := [one for one in told if not isinstance(one, list) or not one or not all(map(_is_word, one))]:
        raise DatasetError(
            f"{where}: the classes of {len(odd):,} of {len(told):,} images are no list of names or labels, or an empty"
            f" one, first: {first(odd)}. Leave out images of no class."
        )
    rows = [one for one in told if isinstance(one, list)]
    if unknown := list(dict.fromkeys(word for one in rows for word in one if word not in label_of)):
        hint = " Two classes have this name: give labels." if unknown[0] in twice else ""
        raise DatasetError(
            f"{where}: not among the {len(class_names):,} classes of the data set: {first(unknown)}."
            f"{hint or nearest(str(unknown[0]), class_names)}"
        )
    return [[label_of[word] for word in one] for one in rows]


def _is_word(one: object) -> bool:
    """Return whether something is the name or number of a group or class."""
    return (isinstance(one, str) and is_unicode(one)) or (isinstance(one, int) and not isinstance(one, bool))


def _of_each(path: str, key: str, image_ids: Sequence[str], otherwise: Callable[[int], Any] | None) -> list[object]:
    """Return what a file tells of each image; ``otherwise``: of one that a map does not name."""
    expected = "a JSON list with an entry for each image, or a map from the name of an image to its entry"
    content = read_json(Path(path), expected, DatasetError)
    if isinstance(content, list):
        if len(content) != len(image_ids):
            raise DatasetError(
                f"dataset.{key}={path} has {len(content):,} entries for {len(image_ids):,} images. A list has one for"
                " each image, in their order; a map may leave images out."
            )
        return content
    if not isinstance(content, Mapping):
        raise DatasetError(f"dataset.{key}={path} should hold {expected}.")
    known = set(image_ids)
    if unknown := [name for name in content if name not in known]:
        raise DatasetError(
            f"dataset.{key}={path}: {len(unknown):,} of {len(content):,} names are of no image, first:"
            f" {first(unknown)}. Images are called as the record's predictions call them, such as {image_ids[0]!r}."
        )
    return [
        content[name] if name in content else None if otherwise is None else otherwise(place)
        for place, name in enumerate(image_ids)
    ]
