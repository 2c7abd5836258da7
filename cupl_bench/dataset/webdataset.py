"""Tar shards in the webdataset layout, read by position: every image once, in the order of the shard numbers."""

import glob
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import braceexpand
import numpy as np
from jaxtyping import Int64

from cupl_bench.dataset import Dataset, part_of
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.digests import keys_inside
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.names import read_class_names
from cupl_bench.errors import DatasetError, first
from cupl_bench.keys import Keys
from cupl_bench.progress import track

__all__ = ["Samples", "WebdatasetSource"]


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
    """The images of all shards, the content keys of those at some places, and their labels as stored."""

    labels: Int64[np.ndarray, " n"]
    names: ImageNames
    keys: Callable[[Int64[np.ndarray, " m"], Path], Keys]
    read: ReadMember


@dataclass(frozen=True, kw_only=True)
class WebdatasetSource:
    """Shards of samples that share a name: an image, and `.cls` with the label as a number.

    ``path``: a folder of `*.tar`, a glob, or a brace pattern such as `shards/{0..7}.tar`.
    ``class_names``: a JSON list in label order; without it `classnames.txt` beside the shards or one folder above,
    as CLIP_benchmark's sets have it.
    """

    path: str
    split: str
    class_names: str | None

    def __call__(self, cache_dir: Path) -> Dataset:
        return self.part(cache_dir, None)

    def part(self, cache_dir: Path, shard: tuple[int, int] | None) -> Dataset:
        """Part i of n of the images; all of them if None."""
        names = self.names()
        if names is None:
            raise DatasetError(
                f"{self.path} has no classnames.txt beside its shards. Give the names in label order:"
                " dataset.class_names=FILE.json"
            )
        samples = self.samples()
        count = len(samples.labels)
        own = np.array(range(count) if shard is None else part_of(shard, count), dtype=np.int64)
        return Dataset(
            split=self.split,
            class_names=tuple(names),
            labels=samples.labels[own],
            image_ids=samples.names.take(own),
            image_keys=samples.keys(own, cache_dir),
            read=ReadMember(samples.read.shards, samples.read.places[own]),
            num_whole=None if shard is None else count,
        )

    def samples(self) -> Samples:
        """Every image of the shards once, in their order, with its label.

        Raises:
            DatasetError: a shard is missing or damaged, or an image or a label stands alone.
        """
        shards = self._shards()
        endings = extensions()
        places, labels = array("q"), array("q")
        num_labels = 0
        unlabelled: list[str] = []
        without_image: list[str] = []

        def listed() -> Iterator[str]:
            nonlocal num_labels
            for number, shard in enumerate(track(shards, "listing shards")):
                images, label_of = _list_shard(shard, endings)
                num_labels += len(label_of)
                unlabelled.extend(name for name in images if name not in label_of)
                without_image.extend(name for name in label_of if name not in images)
                for name, place in images.items():
                    places.extend((number, *place))
                    labels.append(label_of.get(name, -1))
                    yield f"{shard.name}/{name}"

        names = ImageNames.of(listed())
        if unlabelled:
            raise DatasetError(
                f"{len(unlabelled)} of {len(names)} images of {self.path} have no .cls label, first:"
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

        return Samples(labels=np.array(labels, dtype=np.int64), names=names, keys=keys, read=read)

    def _shards(self) -> list[Path]:
        folder = Path(self.path)
        if folder.is_dir():
            found = list(folder.glob("*.tar"))
        elif "{" in self.path:
            found = [Path(path) for path in braceexpand.braceexpand(self.path)]
        else:
            found = [Path(path) for path in glob.glob(self.path)]  # noqa: PTH207 - the pattern may be absolute
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
        """The class names in label order: given, or from `classnames.txt`; None where there are none."""
        folder = self._shards()[0].parent
        if self.class_names is not None:
            given = read_class_names(Path(self.class_names))
            if isinstance(given, dict):
                raise DatasetError(f"{self.class_names} should be a JSON list of class names in label order.")
            return given
        for place in (folder / "classnames.txt", folder.parent / "classnames.txt"):
            if place.is_file():
                return [line.strip() for line in place.read_text(encoding="utf-8").splitlines() if line.strip()]
        return None


def _list_shard(shard: Path, endings: frozenset[str]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """The samples of one shard, in their order: at which byte and how long its image is, and its label."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard, mode="r:") as archive:
            members = [member for member in archive if member.isfile()]
            twice = [name for name, count in Counter(member.name for member in members).items() if count > 1]
            if twice:
                raise DatasetError(f"{shard} holds {len(twice)} files more than once, first: {first(twice)}.")
            for member in members:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                sample = f"{folder}/{stem}" if folder else stem
                if f".{ending.lower()}" in endings:
                    if sample in images:
                        raise DatasetError(f"{shard}: sample {sample!r} has two images.")
                    images[sample] = (member.offset_data, member.size)
                elif ending.lower() == "cls":
                    file = archive.extractfile(member)
                    text = b"" if file is None else file.read()
                    try:
                        labels[sample] = int(text)
                    except ValueError as error:
                        raise DatasetError(
                            f"{shard}: the label of {sample!r} is {text[:40]!r}; it should be a whole number."
                        ) from error
    except tarfile.TarError as error:
        raise DatasetError(
            f"{shard} is not a whole, uncompressed tar file ({error}). Download it again, or unpack its compression."
        ) from error
    return images, labels
