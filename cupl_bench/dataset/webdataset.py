"""Tar shards in the webdataset layout, read by position: every image once, in the order of the shard numbers."""

import glob
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import braceexpand
import numpy as np

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.digests import remembered_keys
from cupl_bench.dataset.names import read_class_names
from cupl_bench.errors import DatasetError, first
from cupl_bench.identity import bytes_key
from cupl_bench.progress import track

__all__ = ["Samples", "WebdatasetSource"]


@dataclass(frozen=True)
class ReadMember:
    """Reads image i from its place in a shard."""

    shards: tuple[str, ...]
    places: tuple[tuple[int, int, int], ...]
    """For each image: which shard, at which byte, how many bytes."""

    def __call__(self, index: int) -> bytes:
        shard, offset, size = self.places[index]
        with Path(self.shards[shard]).open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise DatasetError(f"{self.shards[shard]} is cut short: {len(content)} of {size} bytes of image {index}")
        return content


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The images of all shards and their labels as stored."""

    labels: Sequence[int]
    image_ids: Sequence[str]
    keys: Sequence[bytes]
    read: Callable[[int], bytes]


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
        names = self.names()
        if names is None:
            raise DatasetError(
                f"{self.path} has no classnames.txt beside its shards. Give the names in label order:"
                " dataset.class_names=FILE.json"
            )
        samples = self.samples(cache_dir)
        return Dataset(
            split=self.split,
            class_names=tuple(names),
            labels=np.array(samples.labels, dtype=np.int64),
            image_ids=samples.image_ids,
            image_keys=samples.keys,
            read=samples.read,
        )

    def samples(self, cache_dir: Path) -> Samples:
        """Every image of the shards once, in their order, with its label.

        Raises:
            DatasetError: a shard is missing or damaged, or an image or a label stands alone.
        """
        shards = self._shards()
        endings = extensions()
        images: dict[tuple[int, str], tuple[int, int, int]] = {}
        labels: dict[tuple[int, str], int] = {}
        for number, shard in enumerate(track(shards, "listing shards")):
            _list_shard(number, shard, endings, images, labels)
        if lost := [name for name in images if name not in labels]:
            raise DatasetError(
                f"{len(lost)} of {len(images)} images of {self.path} have no .cls label, first:"
                f" {first([sample for _, sample in lost])}."
            )
        if lost := [name for name in labels if name not in images]:
            raise DatasetError(
                f"{len(lost)} of {len(labels)} labels of {self.path} have no image, first:"
                f" {first([sample for _, sample in lost])}."
            )
        read = ReadMember(tuple(str(shard) for shard in shards), tuple(images.values()))
        return Samples(
            labels=[labels[sample] for sample in images],
            image_ids=[f"{shards[shard].name}/{sample}" for shard, sample in images],
            keys=remembered_keys(
                shards,
                [str(len(images))],
                cache_dir,
                lambda: [
                    bytes_key(read(i)) for i in track(range(len(images)), "reading images for their content keys")
                ],
            ),
            read=read,
        )

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


def _list_shard(
    number: int,
    shard: Path,
    endings: frozenset[str],
    images: dict[tuple[int, str], tuple[int, int, int]],
    labels: dict[tuple[int, str], int],
) -> None:
    """Add the samples of one shard, in their order, to ``images`` and ``labels``."""
    try:
        with tarfile.open(shard, mode="r:") as archive:
            members = [member for member in archive if member.isfile()]
            twice = [name for name, count in Counter(member.name for member in members).items() if count > 1]
            if twice:
                raise DatasetError(f"{shard} holds {len(twice)} files more than once, first: {first(twice)}.")
            for member in members:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                sample = (number, f"{folder}/{stem}" if folder else stem)
                if f".{ending.lower()}" in endings:
                    if sample in images:
                        raise DatasetError(f"{shard}: sample {sample[1]!r} has two images.")
                    images[sample] = (number, member.offset_data, member.size)
                elif ending.lower() == "cls":
                    file = archive.extractfile(member)
                    text = b"" if file is None else file.read()
                    try:
                        labels[sample] = int(text)
                    except ValueError as error:
                        raise DatasetError(
                            f"{shard}: the label of {sample[1]!r} is {text[:40]!r}; it should be a whole number."
                        ) from error
    except tarfile.TarError as error:
        raise DatasetError(
            f"{shard} is not a whole, uncompressed tar file ({error}). Download it again, or unpack its compression."
        ) from error
