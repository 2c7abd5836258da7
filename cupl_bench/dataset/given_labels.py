"""What the labels of given features mean: class indices, names or sets of classes, joined to the class names."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int64

from cupl_bench.dataset.feature_layouts import FeatureSet
from cupl_bench.dataset.names import normalised, read_class_names
from cupl_bench.dataset.spec import CUSTOM, Spec
from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.truth import ClassSets

__all__ = ["class_indices", "given_sets", "images_of", "joined_labels", "named_labels", "protocol_of"]


def given_sets(
    found: FeatureSet, told: Int8[np.ndarray, "n k"] | None, num_classes: int, where: str
) -> ClassSets | None:
    """Return the sets of classes that the files tell, or that rows of labels with several ones tell."""
    matrix = found.sets if told is None else told
    if matrix is None:
        return None
    if matrix.shape[1] > num_classes:
        raise DatasetError(f"{where} tells of {matrix.shape[1]} classes, and there are {num_classes} class names.")
    return ClassSets(matrix=np.pad(matrix.astype(np.int8), ((0, 0), (0, num_classes - matrix.shape[1]))))


def class_indices(
    labels: np.ndarray | Sequence[str], where: str
) -> tuple[Int64[np.ndarray, " n"], tuple[str, ...] | None, Int8[np.ndarray, "n c"] | None]:
    """Return the class index of each image; where labels are names, places in the sorted names, and these.

    Where they are rows with a 1 for each class, the first of them; and the rows, where one of them has several.
    """
    if not isinstance(labels, np.ndarray):
        names = tuple(sorted(set(labels)))
        number = dict(zip(names, count(), strict=False))
        return np.array([number[label] for label in labels], dtype=np.int64), names, None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        ones = (labels == 1).sum(axis=1)
        if wrong := np.flatnonzero((ones == 0) | (ones < (labels != 0).sum(axis=1))).tolist():
            raise DatasetError(
                f"{where}: {len(wrong):,} of {len(labels):,} rows of labels ({labels.shape[1]} columns) have no 1, or"
                f" something that is neither 0 nor 1, first: rows {first(wrong)}. A row has a 1 for each class of its"
                " image; images of no class are left out."
            )
        several = (labels == 1).astype(np.int8) if (ones > 1).any() else None
        return (labels == 1).argmax(axis=1).astype(np.int64), None, several
    if (
        labels.ndim != 1
        or (labels.dtype.kind == "f" and not (labels == np.round(labels)).all())
        or labels.dtype.kind not in "iuf"
    ):
        raise DatasetError(
            f"{where} holds labels of the shape {labels.shape} and type {labels.dtype}; they should be one class index"
            " or one class name for each image."
        )
    found = labels.astype(np.int64)
    if len(found) and (least := int(found.min())) < 0:
        raise DatasetError(
            f"{where}: {int((found < 0).sum()):,} of {len(found):,} labels are below 0, the least {least}."
        )
    return found, None, None


def named_labels(
    labels: Int64[np.ndarray, " n"],
    own: tuple[str, ...] | None,
    given: Sequence[str] | dict[str, str] | None,
    of_file: tuple[str, ...] | None,
    where: str,
) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Return the class names in label order, and the labels in that order."""
    if isinstance(given, dict):
        known = tuple(sorted(given))
        if own is None:
            raise DatasetError(f"{where} has labels that are numbers: dataset.class_names should be a list, not a map.")
        return tuple(given[key] for key in known), joined_labels(labels, own, known, where)
    names = tuple(given) if given is not None else of_file
    if own is None:
        if names is None:
            names = tuple(f"class {label}" for label in range(int(labels.max()) + 1))
        return names, labels
    return (own, labels) if names is None else (names, joined_labels(labels, own, names, where))


def joined_labels(
    labels: Int64[np.ndarray, " n"], own: tuple[str, ...], names: Sequence[str], where: str
) -> Int64[np.ndarray, " n"]:
    """Return labels that are names as places in ``names``, which may be spelt in another case or punctuation."""
    exact: dict[str, list[int]] = {}
    close: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        exact.setdefault(name, []).append(place)
        close.setdefault(normalised(name), []).append(place)
    found = [exact.get(name) or close.get(normalised(name), []) for name in own]
    if wrong := [name for name, places in zip(own, found, strict=True) if len(places) != 1]:
        raise DatasetError(
            f"{where}: {len(wrong):,} of {len(own):,} names of labels are not one of the {len(names):,} class names,"
            f" first: {first(wrong)}.{nearest(wrong[0], names)}"
        )
    place_of = np.array([places[0] for places in found], dtype=np.int64)
    found_labels: Int64[np.ndarray, " n"] = place_of[labels]
    return found_labels


def protocol_of(
    spec: Spec, asked: str | None, labels: Int64[np.ndarray, " n"], own: tuple[str, ...] | None, where: str
) -> tuple[str, str]:
    """Return the protocol of a named data set whose images these are, and a line about how far that is known.

    Raises:
        DatasetError: there are more classes than the data set has.
    """
    num_classes = {name: len(spec.classes.without(one.without).ids) for name, one in spec.protocols.items()}
    wanted = int(labels.max()) + 1 if own is None else len(own)
    if asked is not None and asked != CUSTOM:
        spec.protocol(asked)
        fitting = [asked] if num_classes[asked] >= wanted else []
    else:
        fitting = [name for name, number in num_classes.items() if number >= wanted]
    if not fitting:
        known = ", ".join(f"{name} {number}" for name, number in num_classes.items())
        raise DatasetError(
            f"{where} has labels of {wanted:,} classes, and {spec.name} has fewer ({known}). Are these features of"
            " another data set?"
        )
    sizes = [name for name in fitting if spec.protocols[name].num_images == len(labels)]
    best = next(iter(sizes), None) or next((name for name in fitting if num_classes[name] == wanted), fitting[0])
    its = spec.protocols[best]
    of_classes = f"{wanted:,} of {num_classes[best]:,} classes" if wanted < num_classes[best] else f"{wanted:,} classes"
    if sizes:
        return best, f"as many images and classes as {spec.name}, {its.split}: {len(labels):,} of {of_classes}"
    return best, (
        f"{len(labels):,} images of {of_classes}: no split of {spec.name} is of that size ({its.split} has"
        f" {its.num_images:,}); the order of its labels is taken on trust"
    )


def images_of(
    only: str | Sequence[str], names: Sequence[str], labels: Int64[np.ndarray, " n"]
) -> tuple[tuple[str, ...], Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return the names, the labels and the places of the images of some classes, which keep their order."""
    wanted = read_class_names(Path(only)) if isinstance(only, str) else list(only)
    lost = [name for name in wanted if name not in set(names)]
    if lost:
        raise DatasetError(
            f"dataset.only: {len(lost)} of {len(wanted)} names are not class names, first: {first(lost)}."
            f"{nearest(lost[0], names)}"
        )
    kept = [label for label, name in enumerate(names) if name in set(wanted)]
    new = np.full(len(names), -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    places = np.flatnonzero(new[labels] >= 0)
    if not len(places):
        raise DatasetError(f"dataset.only: none of the {len(labels):,} images is of these {len(kept)} classes.")
    return tuple(names[label] for label in kept), new[labels][places], places
