"""Image features that somebody computed, as a data set: no image and no model is needed to score them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int64
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.feature_layouts import FeatureSet, find_set
from cupl_bench.dataset.feature_rows import GivenFeatures, Stamp, examine_rows, stamp_of
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.more_told import groups_told, sets_told
from cupl_bench.dataset.names import normalised, read_class_names
from cupl_bench.dataset.spec import CUSTOM, Spec, read_spec
from cupl_bench.embeddings import ALMOST_ONE
from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.truth import ClassSets

__all__ = ["FeaturesSource", "dataset_of_features"]

HALF = 0.01
"""A length that differs from one by less is half precision's rounding, and no sign of features that are not unit."""


@dataclass(frozen=True, kw_only=True)
class FeaturesSource:
    """Image features in files, in one of the layouts of `cupl_bench.dataset.feature_layouts`.

    ``path``: a file or a folder. ``layout``: its name; None: told by the files.
    ``split`` and ``model``: which set, where there are several.
    ``labels``: a file of labels, where the features' own files have none. ``label_column``: of clip-retrieval's tables.
    ``orientation``: ``rows`` or ``columns`` are images; None: told by the shape.
    ``class_names``: JSON, a list in label order, or a map from the label's name to the class name.
    ``names_of``: a named data set, whose class names and label order these are; ``names``: which of its lists;
    ``protocol``: which of its splits; None: told by the number of images.
    ``only``: score only the images of these classes, among these alone: their names, or a JSON list of them.
    ``said_to_be_of``: the model, as the record says it; None: as the files say it.
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.
    ``groups``, ``sets``: JSON files that tell the group, or all classes, of each image (`dataset/more_told.py`).
    Labels that are rows with a 1 for each class tell all classes of each image too.
    """

    path: str
    layout: str | None
    split: str | None
    model: str | None
    labels: str | None
    label_column: str | None
    orientation: str | None
    class_names: str | None
    names_of: str | None
    names: str
    protocol: str | None
    only: str | Sequence[str] | None
    said_to_be_of: str | None
    limit: PositiveInt | None
    seed: NonNegativeInt
    groups: str | None = None
    sets: str | None = None

    def __call__(self, cache_dir: Path) -> Dataset:  # noqa: ARG002 - nothing is kept: the files are read as they are
        """Return the data set.

        Raises:
            DatasetError: features or labels cannot be had, or do not fit each other or the class names.
        """
        place = find_set(Path(self.path), self.layout, self.split, self.model)
        stamps = (stamp_of(place.path),) if place.path.is_file() else ()
        found = place.read(None if self.labels is None else Path(self.labels), self.label_column)
        stamps = tuple({one[0]: one for one in (*map(stamp_of, found.files), *stamps)}.values())
        return dataset_of_features(
            found,
            where=str(place.path),
            stamps=stamps,
            columns=self._columns(found),
            class_names=None if self.class_names is None else read_class_names(Path(self.class_names)),
            names_of=self.names_of,
            names=self.names,
            protocol=self.protocol,
            only=self.only,
            said_to_be_of=self.said_to_be_of or found.said_to_be_of,
            layout=place.layout,
            limit=self.limit,
            seed=self.seed,
            groups=self.groups,
            sets=self.sets,
        )

    def _columns(self, found: FeatureSet) -> bool | None:
        if self.orientation not in (None, "rows", "columns"):
            raise DatasetError(f"dataset.orientation={self.orientation} is neither rows nor columns.")
        return found.columns if self.orientation is None else self.orientation == "columns"


def dataset_of_features(
    found: FeatureSet,
    *,
    where: str,
    stamps: tuple[Stamp, ...] = (),
    columns: bool | None = None,
    class_names: Sequence[str] | dict[str, str] | None = None,
    names_of: str | None = None,
    names: str = "openai",
    protocol: str | None = None,
    only: str | Sequence[str] | None = None,
    said_to_be_of: str | None = None,
    layout: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    groups: str | None = None,
    sets: str | None = None,
) -> Dataset:
    """Return features with their labels as a data set, everything about them checked.

    Args:
        found: the features.
        where: where they lie, for messages.
        stamps: the state of their files; a later one is an error.
        columns: whether a column is an image; None: told by the number of labels.
        class_names: in label order, or by the names of labels.
        names_of: the named data set whose labels these are.
        names: which of its lists of names.
        protocol: which of its splits.
        only: classes that are scored alone.
        said_to_be_of: the model, for the record.
        layout: for the record.
        limit: so many images of each class.
        seed: by which they are drawn.
        groups: a file with the group of each image; None: as the files of the features tell it.
        sets: a file with all classes of each image; None: as the labels tell them.

    Raises:
        DatasetError: they do not fit each other, or hold what no feature is.
    """
    if found.labels is None:
        raise DatasetError(
            f"{where} holds features without labels. Give them: dataset.labels=FILE (class indices or names, one for"
            " each row)."
        )
    if class_names is not None and names_of is not None:
        raise DatasetError("dataset.class_names and dataset.names_of both say what the labels mean; give one of them.")
    number = len(found.labels)
    blocks = tuple(
        _oriented(block, number if len(found.blocks) == 1 else None, columns, where) for block in found.blocks
    )
    num_rows = sum(map(len, blocks))
    if num_rows != number:
        raise DatasetError(
            f"{where} holds features of {num_rows:,} images ({blocks[0].shape[1]} wide) and {number:,} labels; there"
            " should be one label for each image. Are both of the same split?"
        )
    if len(widths := {block.shape[1] for block in blocks}) > 1:
        raise DatasetError(f"{where} holds features of {len(widths)} widths: {first(sorted(widths))}.")
    keys, sha256, low, high = examine_rows(blocks, where)
    labels, own_names, all_classes = _indices(found.labels, where)
    notes = [
        *found.notes,
        f"features of {where}{'' if layout is None else f', layout {layout}'}: {num_rows:,} x"
        f" {blocks[0].shape[1]}, {blocks[0].dtype}",
    ]
    if max(high - 1, 1 - low) > HALF:
        notes.append(f"not unit: lengths from {low:.4g} to {high:.4g}; each row is scaled to length one")
    split, spec, recorded = found.split or "given", None, CUSTOM
    if names_of is not None:
        spec = read_spec(names_of)
        protocol, note = _protocol_of(spec, protocol, labels, own_names, where)
        notes.append(note)
        of_classes = spec.classes.without(spec.protocol(protocol).without).named(names)
        # The protocol is that of the split only where the number of images says so.
        recorded = protocol if len(labels) == spec.protocol(protocol).num_images else CUSTOM
        split = spec.protocol(protocol).split if recorded == protocol else split
        labels = _joined(labels, own_names, of_classes, where) if own_names is not None else labels
    else:
        of_classes, labels = _named(labels, own_names, class_names, found.class_names, where)
    if len(labels) and int(labels.max()) >= len(of_classes):
        raise DatasetError(
            f"{where} has labels from {int(labels.min())} to {int(labels.max())}, and there are {len(of_classes)} class"
            f" names. Labels count from 0; give a name for each."
        )
    if empty := len(of_classes) - len(np.unique(labels)):
        notes.append(f"{empty:,} of {len(of_classes):,} classes have no image here")
    features = GivenFeatures(
        blocks=blocks,
        sha256=sha256,
        said_to_be_of=said_to_be_of,
        weights_sha256=found.weights_sha256,
        is_unit=blocks[0].dtype == np.float32 and max(high - 1, 1 - low) < ALMOST_ONE,
        stamps=stamps,
    )
    ids = found.image_ids if found.image_ids is not None else _Numbered(num_rows)
    if len(ids) != num_rows:
        raise DatasetError(f"{where} has {len(ids):,} names of images for {num_rows:,} rows of features.")
    of_groups = groups_told(groups, ids) or found.groups
    of_sets = sets_told(sets, ids, of_classes, labels.tolist()) or _given_sets(
        found, all_classes, len(of_classes), where
    )
    if only is not None:
        of_classes, labels, places = _only(only, of_classes, labels)
        if of_sets is not None:
            raise DatasetError(f"dataset.only takes one label for each image, and {where} tells all classes of each.")
        of_groups = None if of_groups is None else of_groups.taken(places)
        notes.append(f"only {len(of_classes):,} classes: {len(places):,} of {num_rows:,} images")
        features, keys, ids = features.taken(places), keys[places], _take(ids, places)
        split = f"{split}, {len(of_classes)} classes"
    own, _ = chosen(labels, limit, seed, None)
    if len(own) < len(labels):
        features, keys, ids, labels = features.taken(own), keys[own], _take(ids, own), labels[own]
        of_groups = None if of_groups is None else of_groups.taken(own)
        of_sets = None if of_sets is None else of_sets.taken(own)
    return Dataset(
        split=limited(split, limit, seed),
        class_names=tuple(of_classes),
        labels=labels,
        image_ids=ids,
        image_keys=keys,
        read=_no_image,
        key_of=None,
        notes=tuple(notes),
        origin=None if spec is None else {"source": "given features", "protocol": recorded, "names": names},
        features=features,
        version=1 if spec is None else spec.version,
        sets=of_sets,
        groups=of_groups,
    )


@dataclass(frozen=True)
class _Numbered(Sequence[str]):
    """The numbers from 0 as names of images, made when they are asked for."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, which: int | slice) -> str | list[str]:  # type: ignore[override]
        if isinstance(which, slice):
            return [str(one) for one in range(self.length)[which]]
        return str(range(self.length)[which])


def _take(ids: Sequence[str], places: Int64[np.ndarray, " m"]) -> list[str]:
    return [ids[place] for place in places.tolist()]


def _no_image(_: int) -> bytes:
    raise DatasetError("These are features that were given: there are no images behind them to be decoded.")


def _oriented(block: np.ndarray, number: int | None, columns: bool | None, where: str) -> np.ndarray:
    """Return a block whose rows are images."""
    if block.ndim != 2 or 0 in block.shape:
        raise DatasetError(
            f"{where} holds features of the shape {block.shape}; they should be images x width, such as 50000 x 512."
        )
    if block.dtype not in (np.float16, np.float32):
        raise DatasetError(
            f"{where} holds features of the type {block.dtype}; features are float16 or float32."
            + (" Convert them: features.astype('float32')." if block.dtype.kind == "f" else " Are these features?")
        )
    if columns is None and number is not None and block.shape[0] == block.shape[1] == number:
        lengths = [np.linalg.norm(block.astype(np.float64), axis=axis) for axis in (1, 0)]
        rows, cols = (bool((abs(one - 1) < HALF).all()) for one in lengths)
        if rows == cols:
            raise DatasetError(
                f"{where} holds features of the shape {block.shape} and {number} labels: images may be rows or columns."
                " Say which: dataset.orientation=rows or columns."
            )
        columns = cols
    if columns is None:
        columns = number is not None and block.shape[0] != number and block.shape[1] == number
    return block.T if columns else block


# Labels and names -----------------------------------------------------------------------------------------------------


def _given_sets(
    found: FeatureSet, told: Int8[np.ndarray, "n k"] | None, num_classes: int, where: str
) -> ClassSets | None:
    """Return the sets of classes that the files tell, or that rows of labels with several ones tell."""
    matrix = found.sets if told is None else told
    if matrix is None:
        return None
    if matrix.shape[1] > num_classes:
        raise DatasetError(f"{where} tells of {matrix.shape[1]} classes, and there are {num_classes} class names.")
    return ClassSets(matrix=np.pad(matrix.astype(np.int8), ((0, 0), (0, num_classes - matrix.shape[1]))))


def _indices(
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


def _named(
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
        return tuple(given[key] for key in known), _joined(labels, own, known, where)
    names = tuple(given) if given is not None else of_file
    if own is None:
        if names is None:
            names = tuple(f"class {label}" for label in range(int(labels.max()) + 1))
        return names, labels
    return (own, labels) if names is None else (names, _joined(labels, own, names, where))


def _joined(
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


def _protocol_of(
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


def _only(
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
