"""Image features that somebody computed, as a data set: no image and no model is needed to score them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.feature_layouts import FeatureSet, find_set
from cupl_bench.dataset.feature_rows import GivenFeatures, Stamp, examine_rows, stamp_of
from cupl_bench.dataset.given_labels import (
    class_indices,
    given_sets,
    images_of,
    joined_labels,
    named_labels,
    protocol_of,
)
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.more_told import groups_told, sets_told
from cupl_bench.dataset.names import read_class_names
from cupl_bench.dataset.spec import CUSTOM, read_spec
from cupl_bench.embeddings import ALMOST_ONE
from cupl_bench.errors import DatasetError, first

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
    labels, own_names, all_classes = class_indices(found.labels, where)
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
        protocol, note = protocol_of(spec, protocol, labels, own_names, where)
        notes.append(note)
        of_classes = spec.classes.without(spec.protocol(protocol).without).named(names)
        # The protocol is that of the split only where the number of images says so.
        recorded = protocol if len(labels) == spec.protocol(protocol).num_images else CUSTOM
        split = spec.protocol(protocol).split if recorded == protocol else split
        labels = joined_labels(labels, own_names, of_classes, where) if own_names is not None else labels
    else:
        of_classes, labels = named_labels(labels, own_names, class_names, found.class_names, where)
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
    of_sets = sets_told(sets, ids, of_classes, labels.tolist()) or given_sets(
        found, all_classes, len(of_classes), where
    )
    if only is not None:
        of_classes, labels, places = images_of(only, of_classes, labels)
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
