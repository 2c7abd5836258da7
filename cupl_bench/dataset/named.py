"""A data set by its name: found or fetched, its labels joined by name, its size checked."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.archives import ARCHIVE_ENDINGS, unpack
from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.layouts import Layout
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.remotes import Fetched, Remote
from cupl_bench.dataset.spec import CUSTOM, Protocol, Spec, read_spec
from cupl_bench.dataset.urls import UrlError, fetch_url, kept, size_of_url, size_text
from cupl_bench.errors import DataNotHereError, DatasetError, first, nearest
from cupl_bench.truth import ClassSets, Groups

__all__ = ["NamedSource"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images, where they come from, and the protocol that their layout answers.

    ``missing``: which of them are not on the disk.
    """

    listing: Listing
    origin: str
    protocols: tuple[str, ...]
    missing: Int64[np.ndarray, " m"]

    @property
    def is_whole(self) -> bool:
        """Return whether there are images, and none that is listed is missing."""
        return bool(self.listing.classes) and not len(self.missing)


@dataclass(frozen=True, kw_only=True)
class NamedSource:
    """One of the data sets that are described in `cupl_bench/dataset/specs`.

    ``spec``: its name there, or the path of a spec of the user's own (`.json`).
    ``path``: the user's folder or archive; None: ``root`` / name, and if there is nothing, a download.
    ``source``: ``auto``; ``local`` never downloads; or a remote by its name (a hub id, ``torchvision``, ``archive``).
    ``protocol``: which images: ``standard``, another of the spec's, or ``custom`` for whatever is there.
    ``names``: which list of class names.
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.
    """

    spec: str
    path: str | None
    root: str
    source: str
    protocol: str
    names: str
    limit: PositiveInt | None
    seed: NonNegativeInt

    def __call__(self, cache_dir: Path) -> Dataset:
        return self.part(cache_dir, None)

    def part(self, cache_dir: Path, shard: tuple[int, int] | None) -> Dataset:
        """Return part i of n of the images; all of them if None."""
        spec = read_spec(self.spec)
        protocol = spec.protocol(self.protocol)
        classes = spec.classes.without(protocol.without)
        names = () if self.names in classes.carried else self.class_names()
        found = self._find(spec, classes, cache_dir)
        names = names or self._carried(spec, classes, found.listing)
        listing = self._present(found.listing, found.missing)
        labels, sets = _labels(spec, classes, listing), _sets(spec, classes, listing)
        split = protocol.split
        notes = [*listing.notes, f"from {found.origin}"]
        if self.protocol == CUSTOM:
            split = f"custom: {len(labels)} of {protocol.num_images} images of {protocol.split}"
            if len(labels) > protocol.num_images:
                split = f"custom: {len(labels)} images, more than the {protocol.num_images} of {protocol.split}"
            notes.append(f"custom: whether these are images of {protocol.split} was not checked")
        else:
            self._check_size(spec, protocol, listing, len(labels), names, _without(labels, sets, names))
        if without := _without(labels, sets, names):
            notes.append(f"{len(without)} of {len(names)} classes have no image here, first: {first(without, 3)}")
        own, num_whole = chosen(labels, self.limit, self.seed, shard)
        if len(own) < len(labels):
            listing, labels = listing.take(own), labels[own]
            sets = None if sets is None else sets.taken(own)
        return Dataset(
            split=limited(split, self.limit, self.seed),
            class_names=names,
            labels=labels,
            image_ids=listing.images.names,
            image_keys=listing.images.keys(cache_dir),
            read=listing.images.read(),
            key_of=listing.images.key_of,
            notes=tuple(notes),
            origin={"source": found.origin, "protocol": self.protocol, "names": self.names, **self._names_from(spec)},
            num_whole=num_whole,
            version=spec.version,
            licence=spec.licence,
            sets=sets,
            groups=_groups(listing),
        )

    def class_names(self) -> tuple[str, ...]:
        """Return the class names in label order, which are known without the images, but where their tree holds them.

        Names of another language are fetched, unless ``source`` is ``local``.

        Raises:
            DatasetError: there is no such list, or it cannot be fetched; `DataNotHereError` where it may not be.
        """
        spec = read_spec(self.spec)
        classes = spec.classes.without(spec.protocol(self.protocol).without)
        if self.names in classes.carried:
            return self._carried(spec, classes, self._find(spec, classes, Path(self.root).expanduser()).listing)
        listed = classes.fetched.get(self.names)
        if listed is None:
            return classes.named(self.names)
        folder = self._folder_of_names
        if self.source == "local" and not kept(listed.url, folder).is_file():
            raise DataNotHereError(f"The class names {self.names!r} of {spec.title} are not in {folder}: {listed.url}")
        try:
            path = fetch_url(listed.url, folder, digest=f"sha256:{listed.sha256}")
        except UrlError as error:
            raise DatasetError(f"{error} Fetch it by hand and save it as {kept(listed.url, folder)}.") from error
        return classes.of_whole(listed.read(path))

    def _carried(self, spec: Spec, classes: Classes, listing: Listing) -> tuple[str, ...]:
        """Return the class names that the tree holds.

        Raises:
            DatasetError: they are more or fewer than the classes.
        """
        names = listing.names.get(self.names, ())
        if len(names) != len(spec.classes.ids):
            raise DatasetError(
                f"{listing.where} holds {len(names):,} class names ({spec.classes.carried[self.names]}), and"
                f" {spec.title} has {len(spec.classes.ids):,} classes. Is it whole, and this data set?"
            )
        return classes.of_whole(names)

    @property
    def _folder_of_names(self) -> Path:
        """Return the folder in which fetched names are kept."""
        return Path(self.root).expanduser() / "names"

    def _names_from(self, spec: Spec) -> dict[str, str]:
        """Return where fetched names come from, for the record; nothing for names of the package."""
        listed = spec.classes.fetched.get(self.names)
        return {} if listed is None else {"names_from": f"{listed.url}#sha256={listed.sha256}"}

    @property
    def folder(self) -> Path:
        """Return the folder that is searched first for the data set."""
        name = Path(self.spec).stem
        return Path(self.root).expanduser() / name if self.path is None else Path(self.path).expanduser()

    def not_here(self) -> str:
        """Tell what a run would fetch where nothing is here, its size where that is known, and what it should hold."""
        spec = read_spec(self.spec)
        protocol = spec.protocol(self.protocol)
        holds = f"{protocol.split}, {protocol.num_images:,} images"
        listed = spec.classes.fetched.get(self.names)
        if listed is not None and not kept(listed.url, self._folder_of_names).is_file():
            size = size_text(size_of_url(listed.url) or listed.bytes)
            return f"class names not here, to download: {listed.url} ({size}); then the images are looked for: {holds}"
        remote = self._remote(spec) if self.path is None else None
        if remote is None:
            return f"not here, by hand: docs/datasets/{spec.name}.md; {holds}"
        return f"not here, to download: {remote.title} ({remote.size()}); {holds}"

    def num_images(self) -> int:
        """Return how many images the protocol has; with ``limit``, at most so many of each class."""
        spec = read_spec(self.spec)
        protocol = spec.protocol(self.protocol)
        if self.limit is None:
            return protocol.num_images
        return min(protocol.num_images, self.limit * len(spec.classes.without(protocol.without).ids))

    def on_this_machine(self) -> "NamedSource":
        """Return this source without its download: it tells what is not here, and what would fetch it."""
        return replace(self, source="local")

    def _find(self, spec: Spec, classes: Classes, cache_dir: Path) -> Found:
        given = self._unpacked(spec)
        layouts = [*spec.layouts, *(remote.layout for remote in spec.remotes if remote.kind == "hub")]
        downloaded = [given / kind for kind in dict.fromkeys(remote.kind for remote in spec.remotes)]
        beside = [Path(self.root).expanduser() / name for name in spec.also_in] if self.path is None else []
        local = [place for place in (given, *downloaded, *beside) if place.is_dir()]
        places = [Fetched(folder=place, origin="a local folder") for place in local]
        own = [layout for layout in layouts if self.protocol == CUSTOM or self.protocol in layout.protocols]
        found = _first_whole(_listed(own, places, classes))
        if found is not None and _num_here(found):
            return found
        others = [layout for layout in layouts if layout not in own]
        of_another = (other for other in _listed(others, places, classes) if found is None or other.is_whole)
        if (other := next(of_another, None)) is not None:
            raise DatasetError(
                f"The images in {other.listing.where} belong to dataset.protocol={first(other.protocols)}, not to"
                f" {self.protocol}. Take that protocol, or dataset.protocol=custom. {self._how(spec)}"
            )
        if found is not None:
            return found
        remote = self._remote(spec)
        if self.path is not None or remote is None:
            raise DataNotHereError(f"{spec.title} is not in {given}. {self._how(spec)}")
        try:
            fetched = remote.fetch(self.folder / remote.kind, cache_dir)
        except DatasetError as error:
            raise DatasetError(f"{spec.title} is not in {given}, and {error} {self._how(spec)}") from error
        found = _first_whole(_listed([remote.layout] if remote.kind == "hub" else own, [fetched], classes))
        if found is not None and (self.protocol == CUSTOM or self.protocol in found.protocols):
            return found
        raise DatasetError(
            f"{fetched.origin} was downloaded to {fetched.folder}, but does not hold {spec.title} as protocol"
            f" {self.protocol} knows it: it has changed. {self._how(spec)}"
        )

    def _remote(self, spec: Spec) -> Remote | None:
        """Return the remote to download from; None for none."""
        known = ["auto", "local", *(remote.title for remote in spec.remotes)]
        if self.source not in known:
            raise DatasetError(
                f"dataset.source={self.source} is not a source of {spec.name}; it has {first(known, len(known))}."
                f"{nearest(self.source, known)}"
            )
        if self.source == "auto":
            return next((remote for remote in spec.remotes if self._fits(remote)), None)
        return next((remote for remote in spec.remotes if remote.title == self.source), None)

    def _fits(self, remote: Remote) -> bool:
        """Return whether a remote has the images of the protocol."""
        protocols = None
        if remote.kind == "hub":
            protocols = remote.layout.protocols
        elif remote.kind == "torchvision":
            protocols = remote.protocols
        return protocols is None or self.protocol == CUSTOM or self.protocol in protocols

    def _unpacked(self, spec: Spec) -> Path:
        """Return the folder to look into: that of the user, or what an archive unpacks to."""
        given = self.folder
        md5_of = {remote.url.rsplit("/", 1)[-1]: remote.md5 for remote in spec.remotes if remote.kind == "archive"}
        if given.is_file():
            if not given.name.endswith(ARCHIVE_ENDINGS):
                raise DatasetError(
                    f"dataset.path={given} is neither a folder nor an archive ({', '.join(ARCHIVE_ENDINGS)})."
                )
            # Beside the archive, never in its place: a read-only place gives a message that says so.
            return unpack(given, given.with_name(f"{given.name}.unpacked"), md5_of.get(given.name))
        for name, md5 in md5_of.items():
            if (given / name).is_file():
                return unpack(given / name, given / f"{name}.unpacked", md5)
        return given

    def _how(self, spec: Spec) -> str:
        """Return the next step of a user who has not got the data set."""
        way = spec.how_to_get.replace("{folder}", str(self.folder))
        remotes = [remote.title for remote in spec.remotes if self._fits(remote)]
        download = f" Or let it be downloaded: dataset.source={' or '.join(remotes)}." if remotes else ""
        return f"{way} Another place is named with dataset.path=FOLDER.{download} More: docs/datasets/{spec.name}.md"

    def _present(self, listing: Listing, missing: Int64[np.ndarray, " m"]) -> Listing:
        """Return the images that are on the disk; under a fixed protocol all must be."""
        names = listing.images.names
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DatasetError(
                f"{len(twice)} of {len(names)} images of {listing.where} are listed more than once, first:"
                f" {first(twice, 3)}. Correct the list: each image would count more than once."
            )
        if not len(missing):
            return listing
        examples = [names[index] for index in missing[:3].tolist()]
        if len(missing) == len(names) and isinstance(listing.images, Files):
            raise DatasetError(
                f"None of the {len(names)} images that {listing.where} lists is in {listing.images.folder}, first:"
                f" {first(examples)}. {_beside(Path(listing.images.folder))}"
            )
        if self.protocol != CUSTOM:
            raise DatasetError(
                f"{len(missing)} of {len(listing.classes)} images of {listing.where} are listed but missing, first:"
                f" {first(examples)}. Complete it, or say dataset.protocol=custom to take what is there."
            )
        kept = listing.take(np.delete(np.arange(len(listing.classes)), missing))
        note = f"{len(missing)} of {len(listing.classes)} listed images are not there, first: {first(examples)}"
        return replace(kept, notes=(*kept.notes, note))

    def _check_size(
        self,
        spec: Spec,
        protocol: Protocol,
        listing: Listing,
        num_images: int,
        names: Sequence[str],
        without: Sequence[str],
    ) -> None:
        """Check that these are the images of the protocol.

        Raises:
            DatasetError: there are more or fewer images, or a class has none.
        """
        if num_images == protocol.num_images and (protocol.some_classes or not without):
            return
        num_classes = len(names)
        lost = f" Without an image: {first(without, 3)}." if without else ""
        others = [
            name for name, other in spec.protocols.items() if other.num_images == num_images and name != self.protocol
        ]
        hint = f" That is the size of dataset.protocol={others[0]}." if others else ""
        raise DatasetError(
            f"{listing.where} holds {num_images:,} images of {num_classes - len(without)} classes; {spec.title}, split"
            f" {protocol.split}, has {protocol.num_images:,} of {num_classes}.{lost} Its accuracy could not be compared"
            f" with any other.{hint} Complete the data, or say dataset.protocol=custom, which the record will state."
        )


def _listed(layouts: Sequence[Layout], places: Sequence[Fetched], classes: Classes) -> Iterator[Found]:
    """Yield what each layout finds in each of its roots below each place, in that order."""
    for fetched in places:
        for layout in layouts:
            for root in layout.roots:
                listing = layout.listing(fetched.folder / root, classes)
                if listing is not None:
                    yield Found(
                        listing=listing,
                        origin=fetched.origin,
                        protocols=layout.protocols,
                        missing=listing.images.missing(),
                    )


def _first_whole(candidates: Iterable[Found]) -> Found | None:
    """Return the first whose images are all there; if there is none, the first with the most images there."""
    best: Found | None = None
    for found in candidates:
        if found.is_whole:
            return found
        if best is None or _num_here(found) > _num_here(best):
            best = found
    return best


def _num_here(found: Found) -> int:
    return len(found.listing.classes) - len(found.missing)


def _beside(folder: Path) -> str:
    """Tell what to do about a folder in which none of the listed images is found."""
    if folder.is_dir():
        held = sorted(child.name for child in folder.iterdir())
        return f"That folder holds {first(held, 3) or 'nothing'}. Put the images there, under the names of the list."
    above = next(parent for parent in folder.absolute().parents if parent.is_dir())
    wanted = folder.absolute().relative_to(above).parts[0]
    held = sorted(child.name for child in above.iterdir() if child.is_dir())
    return (
        f"There is no folder {wanted!r} in {above}; it holds {first(held) or 'no folder'}.{nearest(wanted, held)}"
        f" Rename the folder of the images to {wanted!r}, or link it."
    )


def _without(labels: Int64[np.ndarray, " n"], sets: ClassSets | None, names: Sequence[str]) -> list[str]:
    """Return the names of the classes that have no image."""
    present = set(np.unique(labels).tolist())
    if sets is not None:
        present |= set(np.flatnonzero((sets.matrix == 1).any(axis=0)).tolist())
    return [name for label, name in enumerate(names) if label not in present]


def _labels(spec: Spec, classes: Classes, listing: Listing) -> Int64[np.ndarray, " n"]:
    """Return the label of each image, found by the word its source uses; two words of a source never mean one class.

    Raises:
        DatasetError: a word means no class, or two mean the same.
    """
    label_of = _label_of(spec, classes, listing.where, listing.classes)
    return np.array([label_of[word] for word in listing.classes], dtype=np.int64)


def _sets(spec: Spec, classes: Classes, listing: Listing) -> ClassSets | None:
    """Return all classes of each image, where it may be of several; errors are those of `_labels`."""
    if listing.sets is None:
        return None
    label_of = _label_of(spec, classes, listing.where, (word for one in listing.sets for word in one))
    matrix = np.zeros((len(listing.sets), len(classes.ids)), dtype=np.int8)
    for row, one in zip(matrix, listing.sets, strict=True):
        for word, value in one.items():
            row[label_of[word]] = value
    return ClassSets(matrix=matrix)


def _groups(listing: Listing) -> Groups | None:
    """Return the group of each image, where there are groups."""
    if listing.groups is None:
        return None
    place: dict[str | None, int] = {None: -1, **{name: number for number, name in enumerate(listing.group_names)}}
    return Groups(names=listing.group_names, of=np.array([place[name] for name in listing.groups], dtype=np.int64))


def _label_of(spec: Spec, classes: Classes, where: str, of_images: Iterable[str | int]) -> dict[str | int, int]:
    """Return the label of each word of a source.

    Raises:
        DatasetError: as `_labels`.
    """
    words = list(dict.fromkeys(of_images))
    found = {word: word if isinstance(word, int) else classes.find(word) for word in words}
    label_of = {word: label for word, label in found.items() if label is not None}
    if unknown := [word for word in words if word not in label_of]:
        raise DatasetError(
            f"{len(unknown)} of {len(words)} classes in {where} are none of {spec.title}, first:"
            f" {first(unknown)}.{nearest(str(unknown[0]), classes.ids)} Is it another data set, or another version?"
        )
    if beyond := [word for word in words if isinstance(word, int) and not 0 <= word < len(classes.ids)]:
        raise DatasetError(
            f"{where}: {len(beyond)} labels are outside 0 to {len(classes.ids) - 1}, first: {first(beyond)}."
            " A split without labels (often 'test') cannot be scored."
        )
    word_of: dict[int, str | int] = {}
    for word, label in label_of.items():
        if label in word_of:
            raise DatasetError(
                f"{where}: the classes {word_of[label]!r} and {word!r} are both"
                f" {classes.ids[label]!r} of {spec.title}; one of the two must be another class."
            )
        word_of[label] = word
    return label_of
