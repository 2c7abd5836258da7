"""The layouts of fine-grained data sets as their authors released them."""

from pathlib import Path
from typing import Literal

import numpy as np

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Files, Listing
from cupl_bench.dataset.source_files import Place, read_mat, read_pairs
from cupl_bench.errors import DatasetError, first

__all__ = ["Cars", "Cub", "Dogs", "Flowers"]


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
