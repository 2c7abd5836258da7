"""Tar shards in the webdataset layout, read by position: every image once, in the order of the shard numbers."""

import glob
import io
import re
import tarfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import braceexpand
import numpy as np
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveInt

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.digests import keys_inside
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.limit import chosen, limited
from cupl_bench.dataset.more_told import groups_told, sets_told
from cupl_bench.dataset.names import read_class_names
from cupl_bench.errors import DatasetError, first
from cupl_bench.keys import Keys
from cupl_bench.progress import track

__all__ = ["Samples", "WebdatasetSource", "read_npy_column"]

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words in the names of shards and their folders -> the split that they mean."""
TEMPLATES = "zeroshot_classification_templates.txt"
"""CLIP_benchmark's file of templates, one a line, with ``{c}`` for the class name."""


@dataclass(frozen=True)
class ReadMember:
    """Reads image i from its place in a shard.

    ``places``: for each image which shard, at which byte, how many bytes.
    """

    shards: tuple[str, ...]
    places: Int64[np.ndarray, "n 3"]

    def __call__(self, index: int) -> bytes:
        shard, offset, size = self.places[index].tolist()
        with Path(self.shards[shard]).open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise DatasetError(f"{self.shards[shard]} is cut short: {len(content)} of {size} bytes of image {index}")
        return content


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The images of all shards, the content keys of those at some places, and their labels as stored.

    ``notes``: what of the shards was left out, one line each.
    """

    labels: Int64[np.ndarray, " n"]
    names: ImageNames
    keys: Callable[[Int64[np.ndarray, " m"], Path], Keys]
    read: ReadMember
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WebdatasetSource:
    """Shards of samples that share a name: an image, and `.cls` with the label as a number.

    ``path``: a folder of `*.tar`, or one that holds such a folder for each split; a glob, or a brace pattern such as
    `shards/{0..7}.tar`.
    ``class_names``: a JSON list in label order; without it `classnames.txt` beside the shards or one folder above,
    as CLIP_benchmark's sets have it.
    ``groups``, ``sets``: JSON files that tell the group, or all classes, of each image (`dataset/more_told.py`).
    ``limit``: so many images of each class, drawn with ``seed``; for a quick look.

    A sample's name ends where `.cls` or the ending of its image begins, so it may hold dots.
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
        names = self.names()
        if names is None:
            raise DatasetError(
                f"{self.path} has no classnames.txt beside its shards. Give the names in label order:"
                " dataset.class_names=FILE.json"
            )
        samples = self.samples()
        groups = groups_told(self.groups, samples.names)
        sets = sets_told(self.sets, samples.names, names, samples.labels.tolist())
        own, num_whole = chosen(samples.labels, self.limit, self.seed, shard)
        return Dataset(
            split=limited(self.split, self.limit, self.seed),
            class_names=tuple(names),
            labels=samples.labels[own],
            image_ids=samples.names.take(own),
            image_keys=samples.keys(own, cache_dir),
            read=ReadMember(samples.read.shards, samples.read.places[own]),
            notes=samples.notes,
            num_whole=num_whole,
            sets=None if sets is None else sets.taken(own),
            groups=None if groups is None else groups.taken(own),
        )

    def samples(self) -> Samples:
        """Return every image of the shards once, in their order, with its label.

        Raises:
            DatasetError: a shard is missing or damaged, an image or a label stands alone, or there is no image.
        """
        shards = self._shards()
        endings = extensions()
        places, labels = array("q"), array("q")
        num_labels = num_images = 0
        unlabelled: list[str] = []
        without_image: list[str] = []
        others: Counter[str] = Counter()

        def listed() -> Iterator[str]:
            nonlocal num_labels, num_images
            for number, shard in enumerate(track(shards, "listing shards")):
                found = _list_shard(shard, endings)
                num_labels += len(found.labels)
                num_images += len(found.images)
                others.update(found.others)
                unlabelled.extend(name for name in found.images if name not in found.labels)
                without_image.extend(name for name in found.labels if name not in found.images)
                for name, place in found.images.items():
                    if name in found.labels:
                        places.extend((number, *place))
                        labels.append(found.labels[name])
                        yield f"{shard.name}/{name}"

        names = ImageNames.of(listed())
        held = ", ".join(f"{ending or 'without an ending'} ({count:,})" for ending, count in others.most_common(5))
        if not num_images and not num_labels:
            raise DatasetError(
                f"{len(shards)} shards of {self.path} hold no image and no .cls label; they hold {held or 'nothing'}."
                " The split holds no image that could be scored: take other shards."
            )
        if unlabelled:
            raise DatasetError(
                f"{len(unlabelled)} of {num_images} images of {self.path} have no .cls label, first:"
                f" {first(unlabelled)}."
            )
        if without_image:
            raise DatasetError(
                f"{len(without_image)} of {num_labels} labels of {self.path} have no image, first:"
                f" {first(without_image)}."
            )
        read = ReadMember(tuple(map(str, shards)), np.array(places, dtype=np.int64).reshape(-1, 3))

        def keys(indices: Int64[np.ndarray, " m"], cache_dir: Path) -> Keys:
            return keys_inside(shards, [str(len(names))], indices, read, cache_dir)

        left = f"{others.total():,} members are neither images nor .cls labels of a sample and are not read: {held}"
        return Samples(
            labels=np.array(labels, dtype=np.int64),
            names=names,
            keys=keys,
            read=read,
            notes=(left,) if others else (),
        )

    def templates(self) -> Path | None:
        """Return CLIP_benchmark's file of templates beside the shards or one folder above; None where there is none."""
        return self._beside(TEMPLATES)

    def _shards(self) -> list[Path]:
        folder = Path(self.path)
        if folder.is_dir():
            folder = self._folder_of_split(folder)
            found = [path for path in folder.iterdir() if _is_shard(path) and not path.name.startswith(".")]
            if len(by_split := _by_split(found)) > 1:
                counts = ", ".join(f"{split!r} ({len(paths)})" for split, paths in by_split.items())
                raise DatasetError(
                    f"{folder} holds shards of {len(by_split)} splits: {counts}. Name those of one, such as"
                    f" 'dataset.path={folder}/*{SPLIT_OF.get(self.split, 'test')}*.tar'."
                )
        elif "{" in self.path:
            found = [Path(path) for path in braceexpand.braceexpand(self.path)]
        else:
            found = [Path(path) for path in glob.glob(self.path)]  # noqa: PTH207 - the pattern may be absolute
        if packed := [path.name for path in found if path.name.lower().endswith(COMPRESSED)]:
            raise DatasetError(
                f"{len(packed)} of {len(found)} shards of {self.path} are compressed, first: {first(packed)}. Images"
                " are read by their place in the file, which needs plain .tar shards: decompress them (for instance"
                " with gunzip) and take those."
            )
        if not found:
            raise DatasetError(
                f"dataset.path={self.path} leads to no .tar shard; give a folder, a glob or a brace pattern."
            )
        if lost := [path.name for path in found if not path.is_file()]:
            raise DatasetError(f"{len(lost)} of {len(found)} shards of {self.path} do not exist, first: {first(lost)}.")
        found.sort(key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)])
        counted = found[0].parent / "nshards.txt"
        if folder.is_dir() and counted.is_file() and (said := counted.read_text().strip()) != str(len(found)):
            raise DatasetError(f"{counted} says {said} shards, but {len(found)} are here. Complete the download.")
        return found

    def names(self) -> list[str] | None:
        """Return the class names in label order: given, or from `classnames.txt`; None where there are none."""
        if self.class_names is not None:
            given = read_class_names(Path(self.class_names))
            if isinstance(given, dict):
                raise DatasetError(f"{self.class_names} should be a JSON list of class names in label order.")
            return given
        place = self._beside("classnames.txt")
        if place is None:
            return None
        # A blank line has a label: without it each name after it would belong to the label before.
        return [line.strip() for line in place.read_text(encoding="utf-8-sig").rstrip().split("\n")]

    def _beside(self, name: str) -> Path | None:
        folder = self._shards()[0].parent
        return next((place for place in (folder / name, folder.parent / name) if place.is_file()), None)

    def _folder_of_split(self, folder: Path) -> Path:
        """Return ``folder`` if it holds shards itself, else the folder inside it that holds those of the split."""
        if any(map(_is_shard, folder.iterdir())):
            return folder
        inside = sorted(child for child in folder.iterdir() if child.is_dir() and any(map(_is_shard, child.iterdir())))
        if not inside:
            return folder
        wanted = SPLIT_OF.get(self.split, self.split)
        found = [child for child in inside if SPLIT_OF.get(child.name, child.name) == wanted]
        if len(found) != 1:
            raise DatasetError(
                f"{folder} holds shards of {first([child.name for child in inside])}; dataset.split={self.split} is"
                f" {'none' if not found else 'more than one'} of these. Name one of them in dataset.split, or"
                " its folder in dataset.path."
            )
        return found[0]


@dataclass
class Shard:
    """The samples of one shard, in their order.

    ``images``: at which byte and how long the image of each is. ``others``: how many members are neither image nor
    label of a sample, by their endings.
    """

    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def _is_shard(path: Path) -> bool:
    return path.name.lower().endswith((".tar", *COMPRESSED)) and path.is_file()


def _by_split(shards: Sequence[Path]) -> dict[str, list[Path]]:
    """Return shards by the split that their names contain; leave out those whose names contain none."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in shards:
        splits = {SPLIT_OF[word] for word in re.findall("[a-z]+", path.name.lower()) if word in SPLIT_OF}
        if len(splits) == 1:
            found[splits.pop()].append(path)
    return dict(sorted(found.items()))


def _list_shard(path: Path, endings: frozenset[str]) -> Shard:
    found = Shard()
    try:
        with tarfile.open(path, mode="r:") as archive:
            members = [member for member in archive if not member.isdir()]
            if links := [member.name for member in members if not member.isfile()]:
                raise DatasetError(
                    f"{path} holds {len(links)} members that are links or devices, first: {first(links)}. Pack it with"
                    " the files themselves (tar --dereference --hard-dereference)."
                )
            twice = [name for name, count in Counter(member.name for member in members).items() if count > 1]
            if twice:
                raise DatasetError(f"{path} holds {len(twice)} files more than once, first: {first(twice)}.")
            for member in members:
                sample, dot, ending = member.name.rpartition(".")
                hidden = member.name.rpartition("/")[2].startswith(".")
                if hidden or not dot or "/" in ending:
                    found.others["hidden" if hidden else ""] += 1
                elif f".{ending.lower()}" in endings:
                    if sample in found.images:
                        raise DatasetError(f"{path}: sample {sample!r} has two images.")
                    found.images[sample] = (member.offset_data, member.size)
                elif ending.lower() == "cls":
                    file = archive.extractfile(member)
                    found.labels[sample] = _label(path, sample, b"" if file is None else file.read())
                else:
                    found.others[f".{ending.lower()}"] += 1
    except tarfile.TarError as error:
        raise DatasetError(
            f"{path} is not a whole, uncompressed tar file ({error}). Download it again, or unpack its compression."
        ) from error
    # By webdataset's rule a name ends at its first dot: `a.seg.png` is a further image of the sample of `a.jpg`.
    whole = found.images.keys() & found.labels.keys()
    for sample in [sample for sample in found.images if sample not in found.labels]:
        folder, slash, name = sample.rpartition("/")
        parts = name.split(".")
        if any(f"{folder}{slash}{'.'.join(parts[:count])}" in whole for count in range(1, len(parts))):
            del found.images[sample]
            found.others["further images"] += 1
    return found


def read_npy_column(shards: Sequence[Path], column: int) -> dict[str, int]:
    """Return a whole number of the array in `.npy` of each sample, by the shard and the name of the sample.

    Raises:
        DatasetError: a shard is damaged, or an array does not have such a number.
    """
    numbers: dict[str, int] = {}
    for path in shards:
        try:
            with tarfile.open(path, mode="r:") as archive:
                for member in archive:
                    sample, _, ending = member.name.rpartition(".")
                    file = archive.extractfile(member) if ending == "npy" and member.isfile() else None
                    if file is not None:
                        row = np.ravel(np.load(io.BytesIO(file.read()), allow_pickle=False))
                        numbers[f"{path.name}/{sample}"] = int(row[column])
        except (tarfile.TarError, ValueError, EOFError, IndexError, OverflowError) as error:
            raise DatasetError(
                f"{path}: an array beside an image does not hold whole numbers, one at place {column} ({error})."
            ) from error
    return numbers


def _label(path: Path, sample: str, text: bytes) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DatasetError(f"{path}: the label of {sample!r} is {text[:40]!r}; it should be a whole number.") from error
