"""The layouts in which data sets lie on a disk; each lists the images of one split with the source's own classes.

A layout is data (part of a spec) and one method: ``listing`` gives None where the folder is not of that layout, so that
several can be tried. Which label a class is, is not decided here.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.hf import HfSource
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing, Rows
from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.texts import Facts
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.errors import DatasetError, first
from cupl_bench.identity import bytes_key
from cupl_bench.keys import Keys

__all__ = ["Layout", "find_root"]


class Place(Facts):
    """What all layouts say: which protocols their images answer, and below which folders the tree may lie."""

    protocols: tuple[str, ...]
    roots: tuple[str, ...]


def find_root(given: Path, roots: Sequence[str], marker: str) -> Path | None:
    """The first of ``roots`` below ``given`` that holds ``marker``."""
    return next((given / root for root in roots if (given / root / marker).exists()), None)


def _read_lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error


def _read_pairs(path: Path) -> dict[str, str]:
    """Lines of a key, a space and a value; the value may hold spaces."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        key, _, value = line.partition(" ")
        if not value or key in pairs:
            raise DatasetError(
                f"{path}, line {number}: {line!r} should be an id that stands once, a space and a value."
            )
        pairs[key] = value.strip()
    return pairs


def _read_mat(path: Path) -> dict[str, Any]:
    import scipy.io

    try:
        return dict(scipy.io.loadmat(str(path), squeeze_me=True, struct_as_record=False))
    except (OSError, ValueError, NotImplementedError, TypeError, KeyError) as error:
        raise DatasetError(f"{path} is not a whole MATLAB file ({error}). Download it again.") from error


def _walk(folder: str, inside: str = "") -> Iterator[tuple[str, str]]:
    """Each file below ``folder`` in sorted order: the folder it lies in, relative, and its name."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, f"{inside}/{entry.name}" if inside else entry.name)
        else:
            yield inside, entry.name


def _is_image(name: str, endings: frozenset[str]) -> bool:
    return os.path.splitext(name)[1].lower() in endings  # noqa: PTH122 - called 50,000 times


class ClassFolders(Place):
    """One folder per class; a class may lie deeper (`a/apse/indoor`).

    ``drop``: how many leading folders are no part of the class. ``numbers``: whether folder names are the labels
    themselves (ImageNet-V2, where sorting them as text gives the wrong ones).
    """

    kind: Literal["class_folders"]
    drop: int
    numbers: bool

    def listing(self, given: Path, classes: Classes) -> Listing | None:
        """None where no folder is a class."""
        for base in [given / root for root in self.roots if (given / root).is_dir()]:
            if not any(self._is_class(folder, classes) for folder in self._top(base)):
                continue
            endings = extensions()
            found: list[str | int] = []
            names = ImageNames.of(self._images(base, endings, found))
            return Listing(where=str(base), classes=found, images=Files(folder=str(base), names=names, root=base))
        return None

    def _images(self, base: Path, endings: frozenset[str], found: list[str | int]) -> Iterator[str]:
        """The path of each image below ``base``; its class, one text for all of a folder, goes to ``found``."""
        class_of: dict[str, str | int] = {}
        for folder, name in _walk(str(base)):
            if folder and _is_image(name, endings):
                if folder not in class_of:
                    word = "/".join(folder.split("/")[self.drop :])
                    class_of[folder] = int(word) if self.numbers and word.isdigit() else word
                found.append(class_of[folder])
                yield f"{folder}/{name}"

    def _top(self, base: Path) -> Iterator[str]:
        """The folders at the depth where classes begin; of deeper ones the first is enough to know the layout."""
        folders = [base]
        for _ in range(self.drop):
            folders = [child for folder in folders for child in folder.iterdir() if child.is_dir()]
        for folder in folders:
            yield from (child.name for child in folder.iterdir() if child.is_dir())

    def _is_class(self, folder: str, classes: Classes) -> bool:
        if self.numbers:
            return folder.isdigit() and int(folder) < len(classes.ids)
        return classes.find(folder) is not None


class ImagenetFlat(Place):
    """All images of ImageNet's validation in one folder, with the devkit beside it, or with a wnid in each name.

    The devkit's numbers (ILSVRC2012_ID) are not labels: `meta.mat` leads from them to wnids. The ground truth belongs
    to an image by the number in its name, so a part of the images keeps its true labels.

    Source: readme.txt of ILSVRC2012_devkit_t12; torchvision `parse_devkit_archive`.
    """

    kind: Literal["imagenet_flat"]

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where no file is named as ImageNet's validation images are.

        Raises:
            DatasetError: names have no wnid and there is no devkit, or it does not fit.
        """
        pattern = re.compile(r"ILSVRC2012_val_(\d{8})(?:_(n\d{8}))?\.jpe?g", re.IGNORECASE)
        for base in [given / root for root in self.roots if (given / root).is_dir()]:
            names = sorted(entry.name for entry in os.scandir(base) if pattern.fullmatch(entry.name))
            if not names:
                continue
            matches = [match for name in names if (match := pattern.fullmatch(name))]
            wnids = [match[2] for match in matches]
            if any(wnid is None for wnid in wnids):
                truth = self._ground_truth(given, base)
                numbers = [int(match[1]) for match in matches]
                if beyond := [names[i] for i, number in enumerate(numbers) if not 0 < number <= len(truth)]:
                    raise DatasetError(
                        f"{len(beyond)} images of {base} have a number beyond the {len(truth)} lines of the ground"
                        f" truth, first: {first(beyond)}."
                    )
                wnids = [truth[number - 1] for number in numbers]
            return Listing(
                where=str(base),
                classes=wnids,
                images=Files(folder=str(base), names=ImageNames.of(names), root=base),
            )
        return None

    def _ground_truth(self, given: Path, base: Path) -> list[str]:
        """The wnid of image k (from 1) at place k - 1."""
        places = [
            folder / inside
            for folder in (given, base, base.parent)
            for inside in ("ILSVRC2012_devkit_t12/data", "data", "devkit/data", "")
        ]
        for place in places:
            truth, meta = place / "ILSVRC2012_validation_ground_truth.txt", place / "meta.mat"
            if truth.is_file() and meta.is_file():
                synsets = np.atleast_1d(_read_mat(meta)["synsets"])
                wnid_of = {
                    int(synset.ILSVRC2012_ID): str(synset.WNID) for synset in synsets if int(synset.num_children) == 0
                }
                lines = _read_lines(truth)
                if unknown := [line for line in lines if not line.isdigit() or int(line) not in wnid_of]:
                    raise DatasetError(
                        f"{len(unknown)} lines of {truth} are no class of {meta}, first: {first(unknown)}."
                    )
                return [wnid_of[int(line)] for line in lines]
        raise DatasetError(
            f"The images of {base} lie in one folder and their names hold no wnid: their labels are in the devkit."
            " Download https://image-net.org/data/ILSVRC/2012/ILSVRC2012_devkit_t12.tar.gz and unpack it into"
            f" {base.parent}, so that {base.parent / 'ILSVRC2012_devkit_t12' / 'data' / 'meta.mat'} exists."
        )


class Cub(Place):
    """The archive of CUB-200-2011: five text files that are joined by the image id, never by line.

    Source: README of CUB_200_2011; in `train_test_split.txt` 1 means training.
    """

    kind: Literal["cub"]

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where there is no `images.txt`.

        Raises:
            DatasetError: a file is missing, or the files name different images or classes.
        """
        base = find_root(given, self.roots, "images.txt")
        if base is None:
            return None
        path_of = _read_pairs(base / "images.txt")
        class_of = _read_pairs(base / "image_class_labels.txt")
        training = _read_pairs(base / "train_test_split.txt")
        name_of = _read_pairs(base / "classes.txt")
        boxes = _read_pairs(base / "bounding_boxes.txt")
        for file, held in (
            ("image_class_labels.txt", class_of),
            ("train_test_split.txt", training),
            ("bounding_boxes.txt", boxes),
        ):
            if different := sorted(set(path_of) ^ set(held)):
                raise DatasetError(
                    f"{base}: images.txt and {file} differ in {len(different)} image ids, first: {first(different)}."
                    " Unpack the archive again."
                )
        if unknown := sorted(set(class_of.values()) - set(name_of)):
            raise DatasetError(
                f"{base}: {len(unknown)} classes of images are not in classes.txt, first: {first(unknown)}."
            )
        if odd := sorted(set(training.values()) - {"0", "1"}):
            raise DatasetError(f"{base / 'train_test_split.txt'} holds {first(odd)}; it should hold 0 and 1.")
        ids = [one for one, is_training in training.items() if is_training == "0"]
        ids.sort(key=int)
        return Listing(
            where=str(base),
            classes=[name_of[class_of[one]] for one in ids],
            images=Files(folder=f"{base}/images", names=ImageNames.of(path_of[one] for one in ids), root=base),
        )


class Flowers(Place):
    """The archive of Flowers-102: labels and split in MATLAB files, counted from 1.

    Labels are stored in 8 bits: they become whole numbers of 64 before anything is computed. A split of one image is
    a scalar in the file.

    Source: README of https://www.robots.ox.ac.uk/~vgg/data/flowers/102/; torchvision `Flowers102`.
    """

    kind: Literal["flowers"]

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where there is no `setid.mat`.

        Raises:
            DatasetError: the other file is missing or damaged, or the split names images that have no label.
        """
        base = find_root(given, self.roots, "setid.mat")
        if base is None:
            return None
        split = np.atleast_1d(_read_mat(base / "setid.mat")["tstid"]).astype(np.int64)
        labels = np.atleast_1d(_read_mat(base / "imagelabels.mat")["labels"]).astype(np.int64)
        if (beyond := split[(split < 1) | (split > len(labels))]).size:
            raise DatasetError(
                f"{base}: the split names {beyond.size} images without a label, first: {first(beyond.tolist())}."
            )
        names = [f"image_{number:05}.jpg" for number in split.tolist()]
        return Listing(
            where=str(base),
            classes=[str(labels[number - 1]) for number in split.tolist()],
            images=Files(folder=f"{base}/jpg", names=ImageNames.of(names), root=base),
        )


class SplitFile(Place):
    """Images named by a text file, one a line.

    ``split_file``: the text file; ``images``: the folder its entries are below; ``ending``: what to put in the place of
    the entries' own ending, or after entries that have none.
    ``class_from``: where the class stands: the ``folder`` of the entry, the ``rest`` of the line after the first space,
    or the file ``stem`` up to its last underscore. ``drop``: leading folders that are no part of the class.
    """

    kind: Literal["split_file"]
    split_file: str
    images: str
    ending: str
    class_from: Literal["folder", "rest", "stem"]
    drop: int

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where there is no such text file.

        Raises:
            DatasetError: a line names no image or no class.
        """
        base = find_root(given, self.roots, self.split_file)
        if base is None:
            return None
        folder = base / self.images
        beside = (
            {normalised(entry.name): entry.name for entry in os.scandir(folder) if entry.is_dir()}
            if (folder.is_dir())
            else {}
        )
        names, source = [], []
        for line in _read_lines(base / self.split_file):
            entry, _, rest = line.partition(" ")
            path = entry.strip("/")
            head, _, tail = path.rpartition("/")
            # UCF101's lists say ApplyLipstick where the folders of its frames say Apply_Lipstick.
            top, slash, deeper = head.partition("/")
            head = f"{beside.get(normalised(top), top)}{slash}{deeper}"
            if self.ending:
                tail = re.sub(r"\.\w{1,4}$", "", tail) + self.ending
            found = {
                "folder": "/".join(path.split("/")[self.drop : -1]),
                "rest": rest.strip(),
                "stem": tail.rpartition("_")[0],
            }[self.class_from]
            if not tail or not found:
                raise DatasetError(f"{base / self.split_file}: {line!r} names no image with a class.")
            names.append(f"{head}/{tail}" if head else tail)
            source.append(found)
        return Listing(
            where=str(base),
            classes=source,
            images=Files(folder=str(folder), names=ImageNames.of(names), root=base),
        )


class Cars(Place):
    """Stanford Cars: file names and classes (from 1) in MATLAB files; the names of the classes are in the devkit.

    Source: README of the devkit; torchvision `StanfordCars`.
    """

    kind: Literal["cars"]

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where there is no `cars_test_annos_withlabels.mat`.

        Raises:
            DatasetError: the devkit is missing or does not fit.
        """
        base = find_root(given, self.roots, "cars_test_annos_withlabels.mat")
        if base is None:
            return None
        rows = np.atleast_1d(_read_mat(base / "cars_test_annos_withlabels.mat")["annotations"])
        names = [str(name) for name in np.atleast_1d(_read_mat(base / "devkit" / "cars_meta.mat")["class_names"])]
        numbers = [int(row.__dict__["class"]) for row in rows]
        if beyond := [number for number in numbers if not 1 <= number <= len(names)]:
            raise DatasetError(f"{base}: {len(beyond)} images have a class outside 1 to {len(names)}.")
        files = [str(row.fname) for row in rows]
        return Listing(
            where=str(base),
            classes=[names[number - 1] for number in numbers],
            images=Files(folder=f"{base}/cars_test", names=ImageNames.of(files), root=base),
        )


class Cifar(Place):
    """CIFAR's pickles, which torchvision opens only after it has checked their md5.

    ``name``: `CIFAR10` or `CIFAR100` of torchvision. Images are arrays: they are read as PNG, which loses nothing.
    """

    kind: Literal["cifar"]
    name: Literal["CIFAR10", "CIFAR100"]

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where the folder of the pickles is not there.

        Raises:
            DatasetError: a file is missing or not the published one.
        """
        import torchvision.datasets

        known = getattr(torchvision.datasets, self.name)
        base = find_root(given, self.roots, known.base_folder)
        if base is None:
            return None
        try:
            opened = known(str(base), train=False)
        except RuntimeError as error:
            raise DatasetError(
                f"{base / known.base_folder} is not whole ({error}). Remove it and download it again: {known.url}"
            ) from error
        pixels = opened.data
        return Listing(
            where=str(base / known.base_folder),
            classes=[opened.classes[label] for label in opened.targets],
            images=Rows(
                names=ImageNames.of(str(index) for index in range(len(pixels))),
                read_row=ReadArray(pixels),
                row_keys=partial(_keys_of_arrays, pixels),
                indices=np.arange(len(pixels)),
                key_of=None,  # of the arrays, which are in memory and cannot change
            ),
        )


def _keys_of_arrays(pixels: np.ndarray, indices: Int64[np.ndarray, " m"], cache_dir: Path) -> Keys:  # noqa: ARG001
    images = (pixels[index] for index in indices)
    return Keys.of(bytes_key(f"{image.shape}".encode() + image.tobytes()) for image in images)


class ReadArray:
    """Reads image i of an array (n, height, width, 3) of bytes as a PNG."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def __call__(self, index: int) -> bytes:
        import io

        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self._pixels[index]).save(buffer, "PNG")
        return buffer.getvalue()


class CoopSplit(Place):
    """A split of CoOp: `split_zhou_*.json` with [path, label, class name] of each image.

    ``class_from``: what leads to our class: the ``folder`` of the path (``drop`` leading ones left out), the class
    ``name`` in the file, or its ``label`` where CoOp numbers classes as the archive does.

    Source: KaiyangZhou/CoOp `datasets/*.py`, DATASETS.md.
    """

    kind: Literal["coop_split"]
    split_file: str
    images: str
    class_from: Literal["folder", "name", "label"]
    drop: int

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where there is no such split file.

        Raises:
            DatasetError: it does not hold what it should.
        """
        base = find_root(given, self.roots, self.split_file)
        if base is None:
            return None
        try:
            rows = json.loads((base / self.split_file).read_text(encoding="utf-8"))["test"]
            entries = [(str(path), int(label), str(name)) for path, label, name in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{base / self.split_file} should hold 'test': [[path, label, class name], ...] ({error})."
            ) from error
        found: list[str | int]
        if self.class_from == "folder":
            found = ["/".join(path.split("/")[self.drop : -1]) for path, _, _ in entries]
        else:
            found = [name if self.class_from == "name" else label for _, label, name in entries]
        names = ImageNames.of(path for path, _, _ in entries)
        images = Files(folder=f"{base}/{self.images}", names=names, root=base)
        return Listing(where=str(base), classes=found, images=images)


class Parquet(Place):
    """Parquet files as the hub has them; their files are named here, never guessed, and no script is run.

    ``label_column`` holds class names (or numbers with names), or, where ``numbers``, our own labels: for tables whose
    numbers are in a known order and whose names are other words.
    """

    kind: Literal["parquet"]
    files: str
    image_column: str
    label_column: str
    numbers: bool

    def listing(self, given: Path, classes: Classes) -> Listing | None:
        """None where there is no such file.

        Raises:
            DatasetError: as `HfSource`; or numbers in another count than the classes.
        """
        for base in [given / root for root in self.roots]:
            files = sorted(str(path) for path in base.glob(self.files))
            if files:
                break
        else:
            return None
        source = HfSource(
            path="parquet",
            split="test",
            data_files=files,
            image_column=self.image_column,
            label_column=self.label_column,
            class_names=None,
            revision=None,
        )
        rows = source.rows()
        found: list[str | int] = list(rows.values)
        if rows.names is not None and not self.numbers:
            names = rows.names
            if outside := sum(not 0 <= int(value) < len(names) for value in rows.values):
                raise DatasetError(
                    f"{outside} of {len(found)} rows of {base} have a label outside 0 to {len(names) - 1}. A split"
                    " without labels cannot be scored."
                )
            found = [names[int(value)] for value in rows.values]
        elif rows.names is not None and len(rows.names) != len(classes.ids):
            raise DatasetError(f"{base} has {len(rows.names)} classes; {len(classes.ids)} are expected.")
        return Listing(
            where=str(base),
            classes=found,
            images=Rows(
                names=ImageNames.of(str(index) for index in range(len(found))),
                read_row=rows.read,
                row_keys=rows.keys,
                indices=np.arange(len(found)),
            ),
        )


class Webdataset(Place):
    """Tar shards with `.cls` labels and `classnames.txt`.

    ``numbers``: the labels are ours, and `classnames.txt` is not read.
    """

    kind: Literal["webdataset"]
    folder: str
    numbers: bool

    def listing(self, given: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """None where there is no shard.

        Raises:
            DatasetError: as `WebdatasetSource`; or labels are numbers and there is no `classnames.txt`.
        """
        base = next(
            (given / root / self.folder for root in self.roots if any((given / root / self.folder).glob("*.tar"))), None
        )
        if base is None:
            return None
        source = WebdatasetSource(path=str(base), split="test", class_names=None)
        samples = source.samples()
        found: list[str | int] = samples.labels.tolist()
        if not self.numbers:
            names = source.names()
            if names is None:
                raise DatasetError(f"{base} has no classnames.txt beside its shards: its labels cannot be named.")
            if outside := int(((samples.labels < 0) | (samples.labels >= len(names))).sum()):
                raise DatasetError(f"{outside} of {len(found)} labels of {base} are outside 0 to {len(names) - 1}.")
            found = [names[label] for label in samples.labels.tolist()]
        return Listing(
            where=str(base),
            classes=found,
            images=Rows(
                names=samples.names,
                read_row=samples.read,
                row_keys=samples.keys,
                indices=np.arange(len(found)),
            ),
        )


Layout = Annotated[
    ClassFolders | ImagenetFlat | Cub | Flowers | SplitFile | Cars | Cifar | CoopSplit | Parquet | Webdataset,
    Field(discriminator="kind"),
]
