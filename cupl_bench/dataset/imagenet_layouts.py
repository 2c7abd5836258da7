"""The layouts of ImageNet's validation images, and of the data sets that are labelled or drawn from them."""

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.decode import extensions
from cupl_bench.dataset.folder_layouts import ClassFolders, is_image
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.source_files import Place, read_lines, read_mat
from cupl_bench.errors import DatasetError, first

__all__ = ["ImagenetFlat", "ImagenetO", "ImagenetReal", "ImagenetX"]


def _above(folder: Path) -> list[Path]:
    """Return ``folder`` and the four above it, the nearest first."""
    return [folder, *folder.absolute().parents[:4]]


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
        others = [name for name in files if not pattern.fullmatch(name) and is_image(name, extensions())]
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

    ``factor``: only those whose top factor it is. ``groups``: these factors, in which the images are grouped by their
    top factor; one that has none of them is in no group. Images lie as ImageNet's do, in class folders or in one
    folder; the annotations lie in a folder of theirs, `annotations` in it, or up to four above it.

    Source: `imagenet_x_val_top_factor.jsonl` and `prototypical_paths.csv` of imagenet-x 0.0.7, `load_annotations`.
    """

    kind: Literal["imagenet_x"]
    factor: str | None
    groups: tuple[str, ...] = ()

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
        file, told_of = self._annotated(base)
        numbers = [NUMBER_OF_VAL.search(name) for name in images.images.names]
        kept = [place for place, number in enumerate(numbers) if number is not None and int(number[1]) in told_of]
        listing = images.take(np.array(kept, dtype=np.int64))
        told = [told_of[int(number[1])] for number in (numbers[place] for place in kept) if number is not None]
        theirs = [label for label, _ in told]
        ours = [one if isinstance(one, int) else classes.find(one) for one in listing.classes]
        if other := [name for name, one, two in zip(listing.images.names, ours, theirs, strict=True) if one != two]:
            raise DatasetError(
                f"{len(other)} of {len(theirs)} images of {base} have another class in {file}, first: {first(other)}."
                " Images are found by the number in their names: were they renamed?"
            )
        return (
            replace(listing, groups=[group for _, group in told], group_names=self.groups) if self.groups else listing
        )

    def _annotated(self, base: Path) -> tuple[Path, dict[int, tuple[int, str | None]]]:
        """Return the file of annotations, and label and group of each image that counts, by the number in its name."""
        found = [folder / inside for folder in _above(base) for inside in ("", "annotations", "imagenet_x/annotations")]
        folder = next((one for one in found if (one / FACTORS_FILE).is_file()), None)
        if folder is None:
            raise DatasetError(
                f"{FACTORS_FILE} is not in {base} nor in the folders above it. It is in the package imagenet-x, below"
                f" imagenet_x/annotations: put it and prototypical_paths.csv into {base.parent}."
            )
        prototypes = set(read_lines(folder / "prototypical_paths.csv")[1:])
        told_of = {}
        for number, line in enumerate(read_lines(folder / FACTORS_FILE), start=1):
            try:
                row = json.loads(line)
                name, counts = str(row["file_name"]), self.factor is None or bool(row[self.factor])
                group = next((factor for factor in self.groups if row[factor]), None)
                image, label = int(NUMBER_OF_VAL.search(name)[1]), int(row["class"])  # type: ignore[index]
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetError(
                    f"{folder / FACTORS_FILE}, line {number}: it should hold file_name, class and factors ({error})."
                ) from error
            if counts and name not in prototypes:
                told_of[image] = label, group
        return folder / FACTORS_FILE, told_of


FACTORS_FILE = "imagenet_x_val_top_factor.jsonl"

NUMBER_OF_VAL = re.compile(r"ILSVRC2012_val_(\d{8})")
