"""Layouts of data sets whose images are arrays in a few files: pickles, IDX, raw bytes, MATLAB, CSV.

Images are read as PNG, which loses nothing; what is identified is their pixels.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.dataset.listing import Listing, Rows
from cupl_bench.dataset.source_files import Place, read_lines, read_mat
from cupl_bench.errors import DatasetError, first
from cupl_bench.identity import bytes_key
from cupl_bench.keys import Keys

__all__ = ["Cifar", "Fer2013", "Mnist", "ReadArray", "Stl10", "Svhn"]


class Cifar(Place):
    """CIFAR's pickles, which torchvision opens only after it has checked their md5.

    ``name``: `CIFAR10` or `CIFAR100` of torchvision. Images are arrays: they are read as PNG, which loses nothing.
    """

    kind: Literal["cifar"]
    name: Literal["CIFAR10", "CIFAR100"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where the folder of the pickles is not there.

        Raises:
            DatasetError: a file is missing or not the published one.
        """
        import torchvision.datasets

        known = getattr(torchvision.datasets, self.name)
        if not (base / known.base_folder).exists():
            return None
        try:
            opened = known(str(base), train=False)
        except RuntimeError as error:
            raise DatasetError(
                f"{base / known.base_folder} is not whole ({error}). Remove it and download it again: {known.url}"
            ) from error
        classes_of = [opened.classes[label] for label in opened.targets]
        return _arrays(base / known.base_folder, opened.data, classes_of)


class Mnist(Place):
    """MNIST's two files of test images in the IDX format, plain or packed by gzip; grey, 28 x 28.

    Source: http://yann.lecun.com/exdb/mnist; torchvision `MNIST` (`MNIST/raw`).
    """

    kind: Literal["mnist"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and digits; None where there is no file of test images.

        Raises:
            DatasetError: a file is missing or not whole, or of a data set that took the names of MNIST's.
        """
        images, labels = _idx_file(base, "t10k-images", 3), _idx_file(base, "t10k-labels", 1)
        if images is None:
            return None
        if labels is None:
            raise DatasetError(f"{images} is there, but t10k-labels-idx1-ubyte is not. Download it again.")
        pixels, digits = _read_idx(images, 3), _read_idx(labels, 1)
        if len(digits) == 10_000 and (np.bincount(digits) == 1000).all():
            raise DatasetError(
                f"{images} holds 1,000 images of each class: those of Fashion-MNIST or KMNIST, whose files have the"
                " same names. MNIST has 980 of the digit 0 and 1,135 of 1. Name its folder with dataset.path=FOLDER."
            )
        return _arrays(images, pixels, [str(digit) for digit in digits.tolist()])


def _idx_file(base: Path, name: str, dimensions: int) -> Path | None:
    forms = [f"{name}{sign}idx{dimensions}-ubyte{ending}" for ending in ("", ".gz") for sign in "-."]
    return next((path for form in forms if (path := base / form).is_file()), None)


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the array of bytes in an IDX file: two zeros, 8 for bytes, the number of dimensions, each as 32 bits."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Download it again.") from error
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content[4:start], dtype=">i4").tolist()) if len(content) >= start else ()
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) != start + int(np.prod(shape)):
        raise DatasetError(f"{path} is not a whole file of the IDX format. Download it again.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


class Stl10(Place):
    """STL-10's raw bytes: 96 x 96 pixels, colour by colour and column by column; labels from 1 to 10.

    What a label means stands in `class_names.txt`.

    Source: https://cs.stanford.edu/~acoates/stl10; torchvision `STL10` (`stl10_binary`).
    """

    kind: Literal["stl10"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and labels; None where there is no `test_X.bin`.

        Raises:
            DatasetError: a file is missing, or they do not fit each other.
        """
        if not (base / "test_X.bin").is_file():
            return None
        names = read_lines(base / "class_names.txt")
        content, labels = (_read_bytes(base / file) for file in ("test_X.bin", "test_y.bin"))
        if content.size != len(labels) * 3 * 96 * 96:
            raise DatasetError(
                f"{base}: test_X.bin has {content.size:,} bytes, not the {len(labels) * 3 * 96 * 96:,} of"
                f" {len(labels):,} labels. Download it again."
            )
        if odd := sorted(set(labels.tolist()) - set(range(1, len(names) + 1))):
            raise DatasetError(f"{base / 'test_y.bin'} holds labels that are not 1 to {len(names)}: {first(odd)}.")
        pixels = content.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        return _arrays(base, pixels, [names[label - 1] for label in labels.tolist()])


def _read_bytes(path: Path) -> UInt8[np.ndarray, " n"]:
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error}). Download it again.") from error


class Svhn(Place):
    """SVHN's cropped digits in one MATLAB file: images along the last axis; the digit 0 has the label 10.

    Source: http://ufldl.stanford.edu/housenumbers, format 2; torchvision `SVHN`.
    """

    kind: Literal["svhn"]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the images and digits; None where there is no `test_32x32.mat`.

        Raises:
            DatasetError: the file is damaged, or holds something else.
        """
        file = base / "test_32x32.mat"
        if not file.is_file():
            return None
        pixels = np.asarray(read_mat(file, "X"))
        labels = np.atleast_1d(read_mat(file, "y")).astype(np.int64)
        if pixels.dtype != np.uint8 or pixels.size != len(labels) * 32 * 32 * 3:
            raise DatasetError(f"{file}: its {len(labels)} labels and its images of {pixels.shape} do not fit.")
        if odd := sorted(set(labels.tolist()) - set(range(1, 11))):
            raise DatasetError(f"{file} holds labels that are not 1 to 10, where 10 is the digit 0: {first(odd)}.")
        images = pixels.reshape(32, 32, 3, -1).transpose(3, 0, 1, 2)
        return _arrays(file, images, [str(label % 10) for label in labels.tolist()])


class Fer2013(Place):
    """FER2013's table of a competition: a row per face, 48 x 48 grey values as text, and the part it belongs to.

    The numbers of its column `emotion` are in the order of ``EMOTIONS``, which is not that of the sorted folders of
    copies. `test.csv` of the competition has no labels.

    Source: torchvision `FER2013` for files and columns; the order is that of the competition's page.
    """

    kind: Literal["fer2013"]
    usage: tuple[str, ...]

    def listing(self, base: Path, classes: Classes) -> Listing | None:  # noqa: ARG002
        """Return the faces of the parts ``usage`` and their emotions; None where neither table is there.

        Raises:
            DatasetError: a row is not what it should be.
        """
        file = next((path for name in FER2013_FILES if (path := base / name).is_file()), None)
        if file is None:
            return None
        rows = list(csv.reader(read_lines(file), skipinitialspace=True))
        head = [name.strip() for name in rows[0]] if rows else []
        if not {"emotion", "pixels", "Usage"} <= set(head):
            raise DatasetError(f"{file} has the columns {first(head)}; it should have emotion, pixels and Usage.")
        emotion, values, usage = (head.index(name) for name in ("emotion", "pixels", "Usage"))
        faces, found = [], []
        for number, row in enumerate(rows[1:], start=2):
            if len(row) != len(head) or not row[emotion].isdigit() or int(row[emotion]) >= len(EMOTIONS):
                raise DatasetError(
                    f"{file}, row {number}: {','.join(row)[:40]!r} is no face with an emotion of 0 to 6."
                )
            if row[usage] not in self.usage:
                continue
            face = np.array(row[values].split(), dtype=np.int64)
            if face.size != 48 * 48 or face.min() < 0 or face.max() > 255:
                raise DatasetError(f"{file}, row {number}: its pixels are not 48 x 48 values from 0 to 255.")
            faces.append(face.astype(np.uint8).reshape(48, 48))
            found.append(EMOTIONS[int(row[emotion])])
        pixels = np.stack(faces) if faces else np.empty((0, 48, 48), dtype=np.uint8)
        return _arrays(file, pixels, found)


FER2013_FILES = ("fer2013.csv", "icml_face_data.csv")
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def _arrays(where: Path, pixels: np.ndarray, classes: Sequence[str]) -> Listing:
    """Return images that are arrays in memory, named by their place.

    Raises:
        DatasetError: there are more or fewer labels than images.
    """
    if len(classes) != len(pixels):
        raise DatasetError(f"{where} holds {len(pixels)} images and {len(classes)} labels. Download it again.")
    return Listing(
        where=str(where),
        classes=classes,
        images=Rows(
            names=ImageNames.of(str(index) for index in range(len(pixels))),
            read_row=ReadArray(pixels),
            row_keys=partial(_keys_of_arrays, pixels),
            indices=np.arange(len(pixels)),
            key_of=None,  # of the arrays, which are in memory and cannot change
        ),
    )


def _keys_of_arrays(
    pixels: np.ndarray,
    indices: Int64[np.ndarray, " m"],
    cache_dir: Path,  # noqa: ARG001
) -> Keys:
    images = (pixels[index] for index in indices)
    return Keys.of(bytes_key(f"{image.shape}".encode() + image.tobytes()) for image in images)


class ReadArray:
    """Reads image i of an array of bytes, (n, height, width, 3) or grey (n, height, width), as a PNG."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def __call__(self, index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self._pixels[index]).save(buffer, "PNG")
        return buffer.getvalue()
