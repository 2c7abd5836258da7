"""Data sets: labelled images of one split, and the class names in label order.

Row i of everything per class is label i: class names may repeat, indices do not.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from cupl_bench.border import name_of, parse, shown
from cupl_bench.dataset.feature_rows import GivenFeatures
from cupl_bench.dataset.names import is_unicode
from cupl_bench.errors import DatasetError, first
from cupl_bench.identity import bytes_key
from cupl_bench.keys import KEY_BYTES, Keys
from cupl_bench.truth import ClassSets, Groups, Truth

__all__ = [
    "Dataset",
    "DatasetSource",
    "FetchingSource",
    "Images",
    "KnownClasses",
    "KnownDownload",
    "KnownSize",
    "PartSource",
    "ReadTaken",
    "class_names_of",
    "listed_by",
    "on_this_machine",
    "part_of",
]

SPLITS = frozenset(["train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"])
"""The usual names of splits, in lower case."""

Shard = tuple[int, int]
"""Part i of n of a list, counted from 1."""


def part_of(shard: Shard, length: int) -> range:
    """Return the places of a part of a list; the parts of a list are as long as each other, or one longer."""
    number, count = shard
    return range(length * (number - 1) // count, length * number // count)


@dataclass(frozen=True)
class ReadTaken:
    """Reads image i of some of the images."""

    read: Callable[[int], bytes]
    indices: Sequence[int] | Int64[np.ndarray, " m"]

    def __call__(self, index: int) -> bytes:
        return self.read(int(self.indices[index]))


@runtime_checkable
class Images(Protocol):
    """Images as the bytes of their files: what their features depend on.

    ``image_ids``: a name for each. ``image_keys``: 16 bytes for each content.
    """

    @property
    def image_ids(self) -> Sequence[str]: ...

    @property
    def image_keys(self) -> Sequence[bytes]: ...

    def content(self, index: int) -> bytes:
        """Return the bytes of image i, as its key names them."""
        ...


PARSED = {
    "split": str,
    "class_names": tuple[str, ...],
    "tiers": tuple[str, ...] | None,
    "notes": tuple[str, ...],
    "origin": Mapping[str, str] | None,
    "num_whole": int | None,
    "features": GivenFeatures | None,
    "version": int,
    "licence": str | None,
}
"""Fields of a data set that are parsed as these types; the rest is long, and checked by other means."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The images of one split, still as the bytes of their files.

    ``labels``: one class index per image. ``image_ids``: a name per image that a person can find it by.
    ``image_keys``: 16 bytes per image that change with its content and with nothing else. Both are kept as they are
    given: `ImageNames` and `Keys` where there are many.
    ``read``: the bytes of image i; it can be sent to worker processes.
    ``key_of``: what makes an image's key of its bytes, so that what is read later can be held against it; None where
    keys are made of something else.
    ``tiers``: the tier of each class where the data set has tiers.
    ``notes``: what a user should know about how it was read, one line each.
    ``origin``: of a named data set its source, protocol and list of names, of one on the hub its source alone; no path
    of this machine.
    ``num_whole``: how many images there are in all, where these are a part of them, maybe none.
    ``features``: of each image, where somebody computed them: then they are scored, and no image is ever read.
    ``version``: raised whenever the number of an unchanged question about this data set can move.
    ``licence``: of the images, in words; None where nobody has told it.
    ``sets``: all classes of each image, where it may be of several: then a prediction is right if it is one of them,
    and ``labels``, each one of the set, are the classes that tables of classes count the images under.
    ``groups``: the group of each image, where groups are compared.

    All values but the two sequences are parsed: lists become tuples, labels an array of int64.

    Raises:
        DatasetError: a value is of another type or number, there is no image, fewer than two classes, or a label that
            is no class.
    """

    split: str
    class_names: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    image_ids: Sequence[str]
    image_keys: Sequence[bytes]
    read: Callable[[int], bytes]
    key_of: Callable[[bytes], bytes] | None = bytes_key
    tiers: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    origin: Mapping[str, str] | None = None
    num_whole: int | None = None
    features: GivenFeatures | None = None
    version: int = 1
    licence: str | None = None
    sets: ClassSets | None = None
    groups: Groups | None = None

    def __post_init__(self) -> None:
        for name, hint in PARSED.items():
            object.__setattr__(self, name, parse(hint, getattr(self, name), name, DatasetError))
        object.__setattr__(self, "labels", _as_labels(self.labels))
        if self.version < 1:
            raise DatasetError(f"version={self.version} should be 1 or more.")
        if not callable(self.read):
            raise DatasetError(f"read is {shown(self.read)}; it should be a function from an index to bytes.")
        if self.class_names and all(name.strip().casefold() in SPLITS for name in self.class_names):
            raise DatasetError(
                f"{len(self.class_names)} folders or labels called {first(self.class_names)} would be the classes, but"
                " these are names of splits. Name the images of one split (dataset.path=FOLDER/test, or"
                " dataset.data_files), with one folder for each class in it. Images that lie in the folder of a split"
                " itself have no label, and cannot be scored."
            )
        if len(self.labels) == 0 and not self.num_whole:
            raise DatasetError(f"The split {self.split!r} holds no image.")
        lengths = {name: len(getattr(self, name)) for name in ("labels", "image_ids", "image_keys")}
        if len(set(lengths.values())) > 1:
            raise DatasetError(f"There are {lengths}; they should be one for each image.")
        for name, kind in (("image_ids", str), ("image_keys", bytes)):
            row = getattr(self, name)
            if len(row) and (isinstance(row, kind) or not isinstance(row[0], kind)):
                raise DatasetError(f"{name} holds {shown(row[0])}; it should hold {kind.__name__}, one for each image.")
        given = () if isinstance(self.image_keys, Keys) else self.image_keys
        if wrong := [index for index, key in enumerate(given) if len(key) != KEY_BYTES]:
            raise DatasetError(
                f"{len(wrong):,} of {len(given):,} image_keys are not of {KEY_BYTES} bytes, first: images"
                f" {first(wrong, 3)}."
            )
        if self.tiers is not None and len(self.tiers) != len(self.class_names):
            raise DatasetError(f"There are {len(self.tiers)} tiers for {len(self.class_names)} classes.")
        if len(self.class_names) < 2:
            raise DatasetError(
                f"There is {len(self.class_names)} class ({first(self.class_names)}): nothing to choose from."
                " Zero-shot classification takes two classes or more, one folder for each."
            )
        if blank := [label for label, name in enumerate(self.class_names) if not name.strip()]:
            raise DatasetError(f"{len(blank)} class names are blank, first: class {first(blank)}.")
        if odd := [name for name in self.class_names if not is_unicode(name)]:
            raise DatasetError(
                f"{len(odd)} class names are no Unicode text (half a surrogate pair), first: {first(odd)}."
            )
        outside = (self.labels < 0) | (self.labels >= len(self.class_names))
        if outside.any():
            examples = [self.image_ids[i] for i in outside.nonzero()[0][:5].tolist()]
            raise DatasetError(
                f"{int(outside.sum())} of {len(self.labels)} images have a label outside 0 to"
                f" {len(self.class_names) - 1}, first: {first(examples)} with {int(self.labels[outside][0])}."
                " A split without labels (often 'test') cannot be scored; take another."
            )
        self._check_sets()
        self._check_groups()

    def _check_sets(self) -> None:
        if self.sets is None:
            return
        matrix, wanted = self.sets.matrix, (len(self.labels), len(self.class_names))
        if matrix.shape != wanted or matrix.dtype != np.int8 or not np.isin(matrix, (-1, 0, 1)).all():
            raise DatasetError(
                f"sets hold {matrix.dtype} of the shape {matrix.shape}; they should be int8 of the shape {wanted}, 1, 0"
                " or -1 for each image and class."
            )
        other = np.flatnonzero(matrix[np.arange(len(matrix)), self.labels] == 0)
        if len(other):
            examples = [self.image_ids[place] for place in other[:3].tolist()]
            raise DatasetError(
                f"The label of {len(other):,} of {len(matrix):,} images is none of the classes of the image, first:"
                f" {first(examples)}. Take one of them: tables count the image under it. Leave out images of no class."
            )

    def _check_groups(self) -> None:
        if self.groups is None:
            return
        names, of = self.groups.names, self.groups.of
        if len(set(names)) < len(names):
            raise DatasetError(f"Names of groups stand twice: {first(names)}.")
        if of.shape != self.labels.shape or (of < -1).any() or (of >= len(names)).any():
            raise DatasetError(
                f"groups.of should hold a place among {len(names)} names of groups, or -1 for none, for each of"
                f" {len(self.labels):,} images."
            )

    @property
    def truth(self) -> Truth:
        """What is true of the images."""
        return Truth(labels=self.labels, num_classes=len(self.class_names), sets=self.sets, groups=self.groups)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the images' content, their labels and the class names, in order; 64 hex digits."""
        digest = hashlib.sha256(json.dumps(self.class_names, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(np.ascontiguousarray(Keys.of(self.image_keys).packed).data)
        if self.sets is not None:
            digest.update(b"sets" + self.sets.matrix.tobytes())
        if self.groups is not None:
            names = json.dumps(self.groups.names, ensure_ascii=False).encode("utf-8", "surrogatepass")
            digest.update(b"groups" + names + np.ascontiguousarray(self.groups.of, dtype="<i8").tobytes())
        return digest.hexdigest()

    def content(self, index: int) -> bytes:
        """Return the bytes of image i, as its key names them.

        Raises:
            DatasetError: they cannot be read any more, or are others than those of which the key was made.
        """
        try:
            content = self.read(index)
        except OSError as error:
            raise DatasetError(
                f"The image {self.image_ids[index]} cannot be read ({error.strerror or error}), though it was there"
                " when this run began. See to it and start again; what was encoded is kept."
            ) from error
        if self.key_of is not None and self.key_of(content) != self.image_keys[index]:
            raise DatasetError(
                f"The image {self.image_ids[index]} was changed while this run worked: it is not the one whose content"
                " makes its key, so nothing of it was kept. Start again when nobody writes there; what was encoded is"
                " kept. If nobody does, the keys that are remembered are wrong: remove keys/ below cache_dir. (A data"
                " set of your own makes image_keys by bytes_key, or says key_of=None.)"
            )
        return content

    def under_two_labels(self) -> str | None:
        """Return how many images stand under more than one label, and the first of them; None where there is none."""
        if self.sets is not None:  # an image that stands twice may have two sets, whose labels say nothing
            return None
        content = np.ascontiguousarray(Keys.of(self.image_keys).packed).view("<u8")
        order = np.lexsort((self.labels, content[:, 1], content[:, 0]))
        content, labels = content[order], self.labels[order]
        same = (content[1:] == content[:-1]).all(axis=1)
        other = np.flatnonzero(same & (labels[1:] != labels[:-1]))
        if not len(other):
            return None
        number = len(np.unique(np.cumsum(~same)[other]))
        one, two = order[other[0] : other[0] + 2].tolist()
        return (
            f"{number:,} images stand under more than one label; one answer to each is wrong, whatever it is. First:"
            f" {self.image_ids[one]!r} ({self.class_names[self.labels[one]]!r}) is {self.image_ids[two]!r}"
            f" ({self.class_names[self.labels[two]]!r})"
        )

    def part(self, shard: Shard) -> "Dataset":
        """Return part i of n of the images, whose row 0 is the first of the part."""
        own = part_of(shard, len(self.labels))
        here = slice(own.start, own.stop)
        return replace(
            self,
            labels=self.labels[here],
            image_ids=self.image_ids[here],
            image_keys=self.image_keys[here],
            read=ReadTaken(self.read, own),
            num_whole=len(self.labels),
            features=None if self.features is None else self.features.taken(np.arange(own.start, own.stop)),
            sets=None if self.sets is None else self.sets.taken(here),
            groups=None if self.groups is None else self.groups.taken(here),
        )


@runtime_checkable
class DatasetSource(Protocol):
    """Finds and lists the images of a data set; reads their bytes only to know their content."""

    def __call__(self, cache_dir: Path) -> Dataset:
        """Return the data set; what is expensive to find out again may be kept in ``cache_dir``."""
        ...


@runtime_checkable
class PartSource(DatasetSource, Protocol):
    """A source that lists a part of its images without reading the others, or holding what is known of them."""

    def part(self, cache_dir: Path, shard: Shard | None) -> Dataset:
        """Return part i of n of the images; all of them if None."""
        ...


@runtime_checkable
class KnownClasses(DatasetSource, Protocol):
    """A source that knows the class names without its images."""

    def class_names(self) -> tuple[str, ...]:
        """Return the class names in label order."""
        ...


@runtime_checkable
class KnownSize(DatasetSource, Protocol):
    """A source that knows how many images it should hold without having them."""

    def num_images(self) -> int:
        """Return how many images the data set should hold, at most."""
        ...


@runtime_checkable
class FetchingSource(DatasetSource, Protocol):
    """A source that downloads what is not on this machine."""

    def on_this_machine(self) -> DatasetSource:
        """Return the same source without a download: it raises `DataNotHereError` where something is missing."""
        ...


@runtime_checkable
class KnownDownload(FetchingSource, Protocol):
    """A source that can tell what it would download."""

    def not_here(self) -> str:
        """Tell what a run would fetch where something is missing, and how large it is."""
        ...


def class_names_of(source: DatasetSource, cache_dir: Path) -> tuple[str, ...]:
    """Return the class names of any data set, listing its images only where the source does not know them."""
    return source.class_names() if isinstance(source, KnownClasses) else listed_by(source, cache_dir, None).class_names


def on_this_machine(source: DatasetSource) -> DatasetSource:
    """Return ``source`` so that it downloads nothing.

    Raises:
        DataNotHereError: that cannot be known without asking another machine.
    """
    return source.on_this_machine() if isinstance(source, FetchingSource) else source


def listed_by(source: DatasetSource, cache_dir: Path, shard: Shard | None) -> Dataset:
    """Return the data set of ``source``, maybe of a class of a user's own, or part i of n of it.

    Raises:
        DatasetError: it gives anything but a `Dataset`, or a file cannot be read; a message of a user's class names the
            class.
    """
    name = name_of(source)
    try:
        found: object = source.part(cache_dir, shard) if shard and isinstance(source, PartSource) else source(cache_dir)
    except DatasetError as error:
        if name.startswith("cupl_bench."):
            raise
        raise type(error)(f"{name}: {error}") from error
    except OSError as error:
        raise DatasetError(
            f"{error.filename or 'The data set'} cannot be read ({error.strerror or error}). Mend that, or name another"
            " place with dataset.path=..."
        ) from error
    if not isinstance(found, Dataset):
        raise DatasetError(
            f"{name} gives {shown(found)}, of the class {type(found).__name__}; a source gives"
            " cupl_bench.dataset.Dataset."
        )
    return found if shard is None or isinstance(source, PartSource) else found.part(shard)


def _as_labels(labels: object) -> Int64[np.ndarray, " n"]:
    try:
        array = np.asarray(labels)
    except ValueError as error:  # rows of different lengths
        raise DatasetError(f"labels are not one whole number for each image ({error}).") from error
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DatasetError(
            f"labels are {array.dtype} of the shape {array.shape}; they should be one whole number for each image."
        )
    return array.astype(np.int64, copy=False)
