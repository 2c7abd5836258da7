"""The layouts in which data sets lie on a disk; each lists the images of one split with the source's own classes.

A layout is data (part of a spec) and one method: ``listing`` of one of its roots gives None where that folder is not of
that layout, so that several can be tried. Which label a class is, is not decided here.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from cupl_bench.dataset.annotation_layouts import Annotations, Clevr, Kitti
from cupl_bench.dataset.array_layouts import Cifar, Fer2013, Mnist, Stl10, Svhn
from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.hf import HfSource
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing, Rows
from cupl_bench.dataset.metadata_layouts import Celeba, Fmow, JsonLines, MetadataTable, VocSets
from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.source_files import Place, read_lines, read_mat, read_pairs
from cupl_bench.dataset.webdataset import WebdatasetSource, read_npy_column
from cupl_bench.errors import DatasetError, first

__all__ = ["Layout"]


def _above(folder: Path) -> list[Path]:
    """Return ``folder`` and the four above it, the nearest first."""
    return [folder, *folder.absolute().parents[:4]]


def _walk(folder: str, inside: str = "") -> Iterator[tuple[str, str]]:
    """Yield each file below ``folder`` in sorted order: the folder it lies in, relative, and its name."""
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
    themselves (ImageNet-V2, where sorting them as text gives the wrong ones). ``left_out``: folders of the source that
    are no class of the data set; they may be there or not.
    """

    kind: Literal["class_folders"]
    drop: int
    numbers: bool
    left_out: tuple[str, ...] = ()

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where no folder is a class."""
        if not base.is_dir() or not any(self._is_class(folder, classes) for folder in self._top(base)):
            return None
        endings = extensions()
        found: list[str | int] = []
        others: list[str] = []
        names = ImageNames.of(self._images(base, endings, found, others))
        left = f"{len(others)} files are not images of a class folder and are left out, first: {first(others, 3)}"
        return Listing(
            where=str(base),
            classes=found,
            images=Files(folder=str(base), names=names, root=base),
            notes=(left,) if others else (),
        )

    def _images(self, base: Path, endings: frozenset[str], found: list[str | int], others: list[str]) -> Iterator[str]:
        """Yield the path of each image below ``base``; its class, one text for all of a folder, goes to ``found``."""
        class_of: dict[str, str | int] = {}
        left_out = frozenset(self.left_out)
        for folder, name in _walk(str(base)):
            if folder in left_out:
                continue
            if not folder or not _is_image(name, endings):
                others.append(f"{folder}/{name}" if folder else name)
            else:
                if folder not in class_of:
                    word = "/".join(folder.split("/")[self.drop :])
                    class_of[folder] = int(word) if self.numbers and word.isdigit() else word
                found.append(class_of[folder])
                yield f"{folder}/{name}"

    def _top(self, base: Path) -> Iterator[str]:
        """Yield the folders at the depth where classes begin; of deeper ones the first is enough to know the layout."""
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
    """All images of ImageNet's validation in one folder, with a wnid in each name, or with their labels near them.

    Labels are in the devkit, or in Kaggle's `LOC_val_solution.csv`, in the folder or up to four above it. The devkit's
    numbers (ILSVRC2012_ID) are not labels: `meta.mat` leads from them to wnids. The ground truth belongs to an image by
    the number in its name, a row of Kaggle's file by the name itself, so a part of the images keeps its true labels.

    Source: readme.txt of ILSVRC2012_devkit_t12; torchvision `parse_devkit_archive`; Kaggle's
    imagenet-object-localization-challenge.
    """

    kind: Literal["imagenet_flat"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where no file is named like ImageNet's validation images.

        Raises:
            DatasetError: names have no wnid, and no file near them has the label of each image.
        """
        if not base.is_dir():
            return None
        pattern = re.compile(r"(ILSVRC2012_val_(\d{8}))(?:_(n\d{8}))?\.jpe?g", re.IGNORECASE)
        files = sorted(entry.name for entry in os.scandir(base) if not entry.name.startswith("."))
        matches = [match for name in files if (match := pattern.fullmatch(name))]
        if not matches:
            return None
        wnids: list[str | None] = [match[3] for match in matches]
        if any(wnid is None for wnid in wnids):
            source, label_of = self._labels(base)
            wnids = [label_of.get(int(match[2])) for match in matches]
            if lost := [match[0] for match, wnid in zip(matches, wnids, strict=True) if wnid is None]:
                raise DatasetError(
                    f"{len(lost)} of {len(matches)} images of {base} have no label in {source}, first: {first(lost)}."
                )
        others = [name for name in files if not pattern.fullmatch(name) and _is_image(name, extensions())]
        left = f"{len(others)} images have other names than ImageNet's and are left out, first: {first(others, 3)}"
        return Listing(
            where=str(base),
            classes=[wnid for wnid in wnids if wnid is not None],
            images=Files(folder=str(base), names=ImageNames.of(match[0] for match in matches), root=base),
            notes=(left,) if others else (),
        )

    def _labels(self, base: Path) -> tuple[Path, dict[int, str]]:
        """Return the file that has the labels, and the wnid of each image by the number in its name."""
        for folder in _above(base):
            for inside in ("ILSVRC2012_devkit_t12/data", "data", "devkit/data", ""):
                truth, meta = folder / inside / "ILSVRC2012_validation_ground_truth.txt", folder / inside / "meta.mat"
                if truth.is_file() and meta.is_file():
                    return truth, self._of_devkit(truth, meta)
            if (solution := folder / "LOC_val_solution.csv").is_file():
                return solution, self._of_kaggle(solution)
        raise DatasetError(
            f"The images of {base} lie in one folder and their names hold no wnid: their labels are in the devkit."
            " Download https://image-net.org/data/ILSVRC/2012/ILSVRC2012_devkit_t12.tar.gz and unpack it into"
            f" {base.parent}, so that {base.parent / 'ILSVRC2012_devkit_t12' / 'data' / 'meta.mat'} exists; or put"
            f" Kaggle's LOC_val_solution.csv there."
        )

    def _of_devkit(self, truth: Path, meta: Path) -> dict[int, str]:
        synsets = np.atleast_1d(read_mat(meta, "synsets"))
        wnid_of = {int(synset.ILSVRC2012_ID): str(synset.WNID) for synset in synsets if int(synset.num_children) == 0}
        lines = read_lines(truth)
        if unknown := [line for line in lines if not line.isdigit() or int(line) not in wnid_of]:
            raise DatasetError(f"{len(unknown)} lines of {truth} name no class of {meta}, first: {first(unknown)}.")
        return {number: wnid_of[int(line)] for number, line in enumerate(lines, start=1)}

    def _of_kaggle(self, solution: Path) -> dict[int, str]:
        """Return the label of each image; a row is an image without ending, then a wnid and four numbers per box."""
        label_of: dict[int, str] = {}
        wrong: list[str] = []
        rows = csv.reader(read_lines(solution))
        for row in list(rows)[1:]:
            name = re.fullmatch(r"ILSVRC2012_val_(\d{8})", row[0].strip()) if len(row) == 2 else None
            wnids = set(row[1].split()[::5]) if name else set()
            if name is None or len(wnids) != 1 or label_of.setdefault(int(name[1]), *wnids) not in wnids:
                wrong.append(",".join(row)[:60])
        if wrong:
            raise DatasetError(
                f"{len(wrong)} rows of {solution} do not give one class to one image, first: {first(wrong, 3)}."
                " A row is ILSVRC2012_val_00000001,'n01751748 111 108 230 366'. Download the file again."
            )
        return label_of


def _imagenet(base: Path, classes: Classes) -> Listing | None:
    """Return ImageNet's validation images in a folder, in either layout, under the names that they came with."""
    if not base.is_dir():
        return None
    shared: dict[str, tuple[str, ...]] = {"protocols": (), "roots": ()}
    folders = ClassFolders(kind="class_folders", drop=0, numbers=False, **shared).listing(base, classes)
    found = folders or ImagenetFlat(kind="imagenet_flat", **shared).listing(base, classes)
    if found is None or not any(VALIDATION.search(name) for name in found.images.names):
        return None
    return found


VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})", re.IGNORECASE)


class ImagenetReal(Place):
    """ImageNet's validation images with the labels of ReaL: all classes of each image, by the number in its name.

    Images without a class are left out. `real.json` lies in the folder of the images, in one above it, or there in
    `imagenet_real`. An image is counted under its class of ImageNet where that is among them, else under the first.

    Source: google-research/reassessed-imagenet, README.md: the images in the order of their names, the indices of
    sorted wnids.
    """

    kind: Literal["imagenet_real"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images that have a class; None where there is no validation image of ImageNet.

        Raises:
            DatasetError: there is no `real.json`, it is another file, or images have lost their names.
        """
        found = _imagenet(base, classes)
        if found is None:
            return None
        truth = self._truth(base, len(classes.ids))
        matches = [VALIDATION.search(name) for name in found.images.names]
        if lost := [name for name, match in zip(found.images.names, matches, strict=True) if match is None]:
            raise DatasetError(
                f"{len(lost):,} of {len(matches):,} images of {base} are not named ILSVRC2012_val_00000001 and so on,"
                f" first: {first(lost, 3)}. The labels of ReaL belong to these numbers: copies under other names cannot"
                " be scored."
            )
        of_images = [truth[int(match[1]) - 1] if 0 < int(match[1]) <= len(truth) else [] for match in matches if match]
        kept = np.array([place for place, labels in enumerate(of_images) if labels], dtype=np.int64)
        left_out = len(of_images) - len(kept)
        listing = found.take(kept)
        label_of = {word: classes.find(str(word)) for word in set(listing.classes)}
        labels = [label_of[word] for word in listing.classes]
        return replace(
            listing,
            classes=[
                label if label is not None and label in of_images[place] else of_images[place][0]
                for label, place in zip(labels, kept.tolist(), strict=True)
            ],
            sets=[dict.fromkeys(of_images[place], 1) for place in kept.tolist()],
            notes=(*listing.notes, f"{left_out:,} images without a label of ReaL are left out"),
        )

    def _truth(self, base: Path, num_classes: int) -> list[list[int]]:
        """Return the labels of each image."""
        places = [folder / inside / "real.json" for folder in _above(base) for inside in ("", "imagenet_real")]
        file = next((path for path in places if path.is_file()), None)
        if file is None:
            raise DatasetError(
                f"The images of ImageNet are in {base}, and the labels of ReaL are missing: download"
                " https://raw.githubusercontent.com/google-research/reassessed-imagenet/master/real.json into"
                f" {base.parent}."
            )
        try:
            truth = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise DatasetError(f"{file} cannot be read ({error}). Download it again.") from error
        rows = truth if isinstance(truth, list) else []
        if len(rows) != NUM_VALIDATION or not all(
            isinstance(row, list) and all(type(one) is int and 0 <= one < num_classes for one in row) for row in rows
        ):
            raise DatasetError(
                f"{file} should be a list of {NUM_VALIDATION:,} lists of labels, 0 to {num_classes - 1}; it is another"
                " file. Download it again."
            )
        return rows


NUM_VALIDATION = 50_000


class ImagenetO(Place):
    """ImageNet-O with ImageNet's validation images of its 200 classes, which are the other side of its metric.

    The images of ImageNet-O are the group `outlier`: they are of none of ImageNet's classes, and their folders are the
    classes that a ResNet took them for. ImageNet lies in a folder beside or above that of ImageNet-O.
    """

    kind: Literal["imagenet_o"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images of both; None where there is no image of ImageNet-O.

        Raises:
            DatasetError: ImageNet is not found.
        """
        shared: dict[str, tuple[str, ...]] = {"protocols": (), "roots": ()}
        layout = ClassFolders(kind="class_folders", drop=0, numbers=False, **shared)
        outliers = layout.listing(base, classes)
        if outliers is None or any(VALIDATION.search(name) for name in outliers.images.names):
            return None
        places = (folder / inside for folder in _above(base) for inside in IMAGENET)
        normal = next((found for place in places if (found := _imagenet(place, classes)) is not None), None)
        if normal is None:
            raise DatasetError(
                f"The images of ImageNet-O are in {base}, and ImageNet's validation images of the same classes, which"
                f" its metric compares them with, are not found: link or put them into {base.parent / 'imagenet'}."
            )
        own = [place for place, one in enumerate(normal.classes) if classes.find(str(one)) is not None]
        normal = normal.take(np.array(own, dtype=np.int64))
        assert isinstance(outliers.images, Files)  # noqa: S101 - both layouts give files
        assert isinstance(normal.images, Files)  # noqa: S101
        folder = os.path.commonpath([Path(outliers.images.folder).absolute(), Path(normal.images.folder).absolute()])
        names = [
            f"{os.path.relpath(images.folder, folder)}/{name}"
            for images in (normal.images, outliers.images)
            for name in images.names
        ]
        return Listing(
            where=f"{base} and {normal.where}",
            classes=[*normal.classes, *outliers.classes],
            images=Files(folder=folder, names=ImageNames.of(names), root=Path(folder)),
            notes=outliers.notes,
            groups=[*(["imagenet"] * len(normal.classes)), *(["outlier"] * len(outliers.classes))],
            group_names=("imagenet", "outlier"),
        )


IMAGENET = ("imagenet/val", "imagenet", "val", "imagenet/ILSVRC2012_img_val", "ILSVRC2012_img_val",
            "imagenet/ILSVRC/Data/CLS-LOC/val", "ILSVRC/Data/CLS-LOC/val", "imagenet/images/val")  # fmt: skip
"""Where ImageNet's validation images lie, from a folder above."""


class ImagenetX(Place):
    """ImageNet's validation images that ImageNet-X annotates, without its prototypes.

    ``factor``: only those whose top factor it is. Images lie as ImageNet's do, in class folders or in one folder; the
    annotations lie in a folder of theirs, `annotations` in it, or up to four above it.

    Source: `imagenet_x_val_top_factor.jsonl` and `prototypical_paths.csv` of imagenet-x 0.0.7, `load_annotations`.
    """

    kind: Literal["imagenet_x"]
    factor: str | None

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where there are no images of ImageNet.

        Raises:
            DatasetError: the annotations are missing, or name another class of an image.
        """
        place = {"protocols": self.protocols, "roots": self.roots}
        folders = ClassFolders(kind="class_folders", drop=0, numbers=False, **place).listing(base, classes)
        images = folders or ImagenetFlat(kind="imagenet_flat", **place).listing(base, classes)
        if images is None:
            return None
        file, label_of = self._annotated(base)
        numbers = [NUMBER_OF_VAL.search(name) for name in images.images.names]
        kept = [place for place, number in enumerate(numbers) if number is not None and int(number[1]) in label_of]
        listing = images.take(np.array(kept, dtype=np.int64))
        theirs = [label_of[int(number[1])] for number in (numbers[place] for place in kept) if number is not None]
        ours = [one if isinstance(one, int) else classes.find(one) for one in listing.classes]
        if other := [name for name, one, two in zip(listing.images.names, ours, theirs, strict=True) if one != two]:
            raise DatasetError(
                f"{len(other)} of {len(theirs)} images of {base} have another class in {file}, first: {first(other)}."
                " Images are found by the number in their names: were they renamed?"
            )
        return listing

    def _annotated(self, base: Path) -> tuple[Path, dict[int, int]]:
        """Return the file of annotations, and the label of each image that counts, by the number in its name."""
        found = [folder / inside for folder in _above(base) for inside in ("", "annotations", "imagenet_x/annotations")]
        folder = next((one for one in found if (one / FACTORS_FILE).is_file()), None)
        if folder is None:
            raise DatasetError(
                f"{FACTORS_FILE} is not in {base} nor in the folders above it. It is in the package imagenet-x, below"
                f" imagenet_x/annotations: put it and prototypical_paths.csv into {base.parent}."
            )
        prototypes = set(read_lines(folder / "prototypical_paths.csv")[1:])
        label_of = {}
        for number, line in enumerate(read_lines(folder / FACTORS_FILE), start=1):
            try:
                row = json.loads(line)
                name, counts = str(row["file_name"]), self.factor is None or bool(row[self.factor])
                image, label = int(NUMBER_OF_VAL.search(name)[1]), int(row["class"])  # type: ignore[index]
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetError(
                    f"{folder / FACTORS_FILE}, line {number}: it should hold file_name, class and factors ({error})."
                ) from error
            if counts and name not in prototypes:
                label_of[image] = label
        return folder / FACTORS_FILE, label_of


FACTORS_FILE = "imagenet_x_val_top_factor.jsonl"
NUMBER_OF_VAL = re.compile(r"ILSVRC2012_val_(\d{8})")


class Cub(Place):
    """The archive of CUB-200-2011: text files that are joined by the image id, never by line.

    The class of an image is the folder in its path, as `classes.txt` names it; the other files, such as
    `bounding_boxes.txt`, are not needed.

    Source: README of CUB_200_2011; in `train_test_split.txt` 1 means training.
    """

    kind: Literal["cub"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no `images.txt`.

        Raises:
            DatasetError: a file is missing, or the files name different images or classes.
        """
        if not (base / "images.txt").is_file():
            return None
        path_of = read_pairs(base / "images.txt")
        training = read_pairs(base / "train_test_split.txt")
        if different := sorted(set(path_of) ^ set(training)):
            raise DatasetError(
                f"{base}: images.txt and train_test_split.txt differ in {len(different)} image ids, first:"
                f" {first(different)}. Unpack the archive again."
            )
        if odd := sorted(set(training.values()) - {"0", "1"}):
            raise DatasetError(f"{base / 'train_test_split.txt'} holds {first(odd)}; it should hold 0 and 1.")
        ids = [one for one, is_training in training.items() if is_training == "0"]
        ids.sort(key=int)
        return Listing(
            where=str(base),
            classes=[path_of[one].rpartition("/")[0] for one in ids],
            images=Files(folder=f"{base}/images", names=ImageNames.of(path_of[one] for one in ids), root=base),
        )


class Flowers(Place):
    """The archive of Flowers-102: labels and split in MATLAB files, counted from 1.

    Labels are stored in 8 bits: they become whole numbers of 64 before anything is computed. A split of one image is
    a scalar in the file.

    Source: README of https://www.robots.ox.ac.uk/~vgg/data/flowers/102/; torchvision `Flowers102`.
    """

    kind: Literal["flowers"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no `setid.mat`.

        Raises:
            DatasetError: the other file is missing or damaged, or the split names images that have no label.
        """
        if not (base / "setid.mat").is_file():
            return None
        split = np.atleast_1d(read_mat(base / "setid.mat", "tstid")).astype(np.int64)
        labels = np.atleast_1d(read_mat(base / "imagelabels.mat", "labels")).astype(np.int64)
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
    ``numbers_of``: a file with a class and its number on each line, where the class of an entry is such a number.
    """

    kind: Literal["split_file"]
    split_file: str
    images: str
    ending: str
    class_from: Literal["folder", "rest", "stem"]
    drop: int
    numbers_of: str | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no such text file.

        Raises:
            DatasetError: a line names no image or no class.
        """
        if not (base / self.split_file).is_file():
            return None
        folder = base / self.images
        beside = (
            {normalised(entry.name): entry.name for entry in os.scandir(folder) if entry.is_dir()}
            if (folder.is_dir())
            else {}
        )
        class_of = None if self.numbers_of is None else self._class_of(base / self.numbers_of)
        names, source = [], []
        for line in read_lines(base / self.split_file):
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
            if class_of is not None:
                if found not in class_of:
                    raise DatasetError(f"{base / self.split_file}: {line!r} has no number of {self.numbers_of}.")
                found = class_of[found]
            names.append(f"{head}/{tail}" if head else tail)
            source.append(found)
        return Listing(
            where=str(base),
            classes=source,
            images=Files(folder=str(folder), names=ImageNames.of(names), root=base),
        )

    def _class_of(self, path: Path) -> dict[str, str]:
        """Return the class of each number."""
        number_of = read_pairs(path)
        class_of = {number: one for one, number in number_of.items()}
        if len(class_of) != len(number_of) or not all(number.isdigit() for number in class_of):
            raise DatasetError(f"{path} should hold a class and its own number on each line. Download it again.")
        return class_of


class TableFile(Place):
    """Images and their classes in a table, one row each.

    ``table``: the file; ``separator``: what stands between its columns; ``images``: the folder of the images.
    ``name_column``, ``class_column``: the columns of the image and of its class. ``numbers``: its classes are our
    labels.
    """

    kind: Literal["table_file"]
    table: str
    separator: str
    images: str
    name_column: str
    class_column: str
    numbers: bool

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no such table.

        Raises:
            DatasetError: it lacks a column, or a row names no image or no class.
        """
        if not (base / self.table).is_file():
            return None
        rows = list(csv.reader(read_lines(base / self.table), delimiter=self.separator, skipinitialspace=True))
        head = [column.strip() for column in rows[0]] if rows else []
        if lacking := [column for column in (self.name_column, self.class_column) if column not in head]:
            raise DatasetError(f"{base / self.table} lacks the columns {first(lacking)}; it has {first(head)}.")
        names: list[str] = []
        found: list[str | int] = []
        for number, row in enumerate(rows[1:], start=2):
            entry = dict(zip(head, (value.strip() for value in row), strict=False))
            name, one = entry.get(self.name_column), entry.get(self.class_column)
            if not name or not one or (self.numbers and not one.isdigit()):
                raise DatasetError(f"{base / self.table}, row {number}: {row} names no image with a class.")
            names.append(name)
            found.append(int(one) if self.numbers else one)
        return Listing(
            where=str(base),
            classes=found,
            images=Files(folder=str(base / self.images), names=ImageNames.of(names), root=base),
        )


class Dogs(Place):
    """Stanford Dogs: the test images in a MATLAB list, each below the folder of its class.

    Source: http://vision.stanford.edu/aditya86/ImageNetDogs; `file_list` of `test_list.mat`.
    """

    kind: Literal["dogs"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no `test_list.mat`.

        Raises:
            DatasetError: it is damaged, or names no image with a class.
        """
        for lists in (base, base / "lists"):
            if (lists / "test_list.mat").is_file():
                break
        else:
            return None
        names = [str(name) for name in np.atleast_1d(read_mat(lists / "test_list.mat", "file_list"))]
        if odd := [name for name in names if name.count("/") != 1]:
            raise DatasetError(f"{lists / 'test_list.mat'}: {len(odd)} entries have no folder, first: {first(odd)}.")
        return Listing(
            where=str(base),
            classes=[name.partition("/")[0] for name in names],
            images=Files(folder=f"{base}/Images", names=ImageNames.of(names), root=base),
        )


class Cars(Place):
    """Stanford Cars: file names and classes (from 1) in MATLAB files; the names of the classes are in the devkit.

    The test images lie in `cars_test`, or in `cars_test/cars_test` as in Kaggle's copy, with their labels in
    `cars_test_annos_withlabels.mat`; or all images lie in `car_ims`, and `cars_annos.mat` says which are of the test.
    Where there is no devkit, the numbers are those of our classes, whose order is the devkit's.

    Source: README of the devkit; torchvision `StanfordCars`; the release of 16,185 images for `cars_annos.mat`.
    """

    kind: Literal["cars"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where there is neither file of labels.

        Raises:
            DatasetError: a file does not fit, or is that of the other release.
        """
        labelled, of_all = base / "cars_test_annos_withlabels.mat", base / "cars_annos.mat"
        if labelled.is_file():
            rows = np.atleast_1d(read_mat(labelled, "annotations"))
            files = [str(row.fname) for row in rows]
            nested = base / "cars_test" / "cars_test"
            folder = nested if nested.is_dir() else base / "cars_test"
        elif not of_all.is_file():
            return None
        elif not (base / "car_ims").is_dir():
            raise DatasetError(
                f"{of_all} is of the release whose images lie in 'car_ims' under other names, and that folder is not"
                f" here. Labels of 'cars_test' are in cars_test_annos_withlabels.mat, which pytorch/vision's issue 7545"
                f" links: put it into {base}."
            )
        else:
            rows = np.array([row for row in np.atleast_1d(read_mat(of_all, "annotations")) if int(row.test) == 1])
            files = [str(row.relative_im_path) for row in rows]
            folder = base
        meta = next((path for inside in CARS_DEVKITS if (path := base / inside / "cars_meta.mat").is_file()), None)
        names = [str(name) for name in np.atleast_1d(read_mat(meta, "class_names"))] if meta else list(classes.ids)
        numbers = [int(row.__dict__["class"]) for row in rows]
        if beyond := [number for number in numbers if not 1 <= number <= len(names)]:
            raise DatasetError(f"{base}: {len(beyond)} images have a class outside 1 to {len(names)}.")
        return Listing(
            where=str(base),
            classes=[names[number - 1] for number in numbers],
            images=Files(folder=str(folder), names=ImageNames.of(files), root=base),
        )


CARS_DEVKITS = ("devkit", "car_devkit/devkit", "devkit/devkit", "car_devkit")


class CoopSplit(Place):
    """A split of CoOp: `split_zhou_*.json` with [path, label, class name] of each image.

    ``images``: the folder that its paths start from. ``class_from``: what leads to our class: the ``folder`` of the
    path (``drop`` leading ones left out), or the class ``name`` in the file; its labels are never taken.
    ``sha256``: how the digest of CoOp's own file begins, where it is known.

    Source: KaiyangZhou/CoOp `datasets/*.py`, DATASETS.md.
    """

    kind: Literal["coop_split"]
    split_file: str
    images: str
    class_from: Literal["folder", "name"]
    drop: int
    sha256: str | None = None

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no such split file.

        Raises:
            DatasetError: it does not hold what it should.
        """
        if not (base / self.split_file).is_file():
            return None
        try:
            content = (base / self.split_file).read_bytes()
            entries = [(str(path).lstrip("/"), str(name)) for path, _, name in json.loads(content)["test"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{base / self.split_file} should hold 'test': [[path, label, class name], ...] ({error})."
            ) from error
        found: list[str | int]
        if self.class_from == "folder":
            found = ["/".join(path.split("/")[self.drop : -1]) for path, _ in entries]
        else:
            found = [name for _, name in entries]
        names = ImageNames.of(path for path, _ in entries)
        images = Files(folder=str(base / self.images), names=names, root=base)
        return Listing(where=str(base), classes=found, images=images, notes=self._checked(content))

    def _checked(self, content: bytes) -> tuple[str, ...]:
        """Return what differs from CoOp's own files; the sizes are always compared, where the protocol is known."""
        if self.sha256 is None:
            return (f"{self.split_file}: the digest of CoOp's own file is not known here; only sizes are compared",)
        if (digest := hashlib.sha256(content).hexdigest()).startswith(self.sha256):
            return ()
        return (
            f"{self.split_file} is not CoOp's own file (sha256 {digest[:16]}, CoOp's {self.sha256}): only sizes are"
            " compared",
        )


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

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images and labels; None where there is no such file.

        Raises:
            DatasetError: as `HfSource`; or numbers in another count than the classes.
        """
        files = sorted(str(path) for path in base.glob(self.files)) if base.is_dir() else []
        if not files:
            return None
        source = HfSource(
            path="parquet",
            split="test",
            data_files=files,
            image_column=self.image_column,
            label_column=self.label_column,
            class_names=None,
            revision=None,
            limit=None,
            seed=0,
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

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no shard.

        Raises:
            DatasetError: as `WebdatasetSource`; or labels are numbers and there is no `classnames.txt`.
        """
        if base.name != self.folder or not any(base.glob("*.tar")):  # else the user named the folder of shards itself
            base = base / self.folder
        if not any(base.glob("*.tar")):
            return None
        source = WebdatasetSource(path=str(base), split="test", class_names=None, limit=None, seed=0)
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
            notes=samples.notes,
        )


class WebdatasetGroups(Place):
    """Tar shards as `Webdataset`, with an array in `.npy` beside each image, one of whose numbers is its group.

    ``column``: the place of that number. ``classnames.txt`` names the labels.
    """

    kind: Literal["webdataset_groups"]
    folder: str
    column: int

    def listing(self, base: Path, classes: Classes) -> Listing | None:
        """Return the images, classes and groups; None where there is no shard.

        Raises:
            DatasetError: as `Webdataset`; or an image has no such number.
        """
        shards = Webdataset(
            kind="webdataset", protocols=self.protocols, roots=self.roots, folder=self.folder, numbers=False
        )
        found = shards.listing(base, classes)
        if found is None:
            return None
        numbers = read_npy_column(sorted((base / self.folder).glob("*.tar")), self.column)
        names = list(found.images.names)
        if lost := [name for name in names if name not in numbers]:
            raise DatasetError(
                f"{len(lost):,} of {len(names):,} images of {found.where} have no .npy with a group beside them, first:"
                f" {first(lost, 3)}."
            )
        groups = [numbers[name] for name in names]
        return replace(
            found,
            groups=[f"group {number}" for number in groups],
            group_names=tuple(f"group {number}" for number in sorted(set(groups))),
        )


Layout = Annotated[
    ClassFolders
    | ImagenetFlat
    | ImagenetX
    | Cub
    | Flowers
    | SplitFile
    | TableFile
    | Cars
    | Dogs
    | Clevr
    | Kitti
    | Annotations
    | Cifar
    | Mnist
    | Stl10
    | Svhn
    | Fer2013
    | CoopSplit
    | Parquet
    | Webdataset
    | ImagenetReal
    | ImagenetO
    | VocSets
    | MetadataTable
    | Celeba
    | Fmow
    | JsonLines
    | WebdatasetGroups,
    Field(discriminator="kind"),
]
