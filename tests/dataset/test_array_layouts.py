"""Data sets whose images are arrays in a few files: the pixels and labels that torchvision reads, and damaged files."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from trees import ARRAYS, ids_of, load, pixels_of

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import decode
from cupl_bench.errors import DatasetError


def by_pixels(found: Dataset, name: str) -> dict[bytes, str]:
    return {pixels_of(content): one for content, one in ids_of(found, name).items()}


@pytest.mark.parametrize("name", list(ARRAYS))
def test_every_image_has_its_pixels_and_its_label(name: str, tmp_path: Path) -> None:
    expected = ARRAYS[name](tmp_path / "set")
    found = load(name, tmp_path / "set", tmp_path / "cache")
    assert len(found.labels) == len(expected)
    assert by_pixels(found, name) == expected
    assert {np.array(decode(found.read(i))).tobytes() for i in range(len(found.labels))} == set(expected)
    assert load(name, tmp_path / "set", tmp_path / "other").fingerprint == found.fingerprint


def torchvisions(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from torchvision import datasets as theirs
    from torchvision.datasets import fer2013

    if name == "mnist":
        monkeypatch.setattr(theirs.MNIST, "_check_exists", lambda _: True)
        return theirs.MNIST(str(root), train=False)
    if name == "stl10":
        monkeypatch.setattr(theirs.STL10, "_check_integrity", lambda _: True)
        return theirs.STL10(str(root), split="test")
    if name == "svhn":
        monkeypatch.setattr(theirs.SVHN, "_check_integrity", lambda _: True)
        return theirs.SVHN(str(root), split="test")
    monkeypatch.setattr(fer2013, "check_integrity", lambda *_, **__: True)
    return theirs.FER2013(str(root), split="test")


@pytest.mark.parametrize("name", list(ARRAYS))
def test_images_and_labels_are_torchvisions_in_its_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ARRAYS[name](tmp_path / "set")
    ours = load(name, tmp_path / "set", tmp_path / "cache")
    theirs = torchvisions(name, tmp_path / "set", monkeypatch)
    assert ours.labels.tolist() == [int(theirs[i][1]) for i in range(len(theirs))]
    for i in range(len(theirs)):
        assert pixels_of(ours.read(i)) == np.array(theirs[i][0].convert("RGB")).tobytes()


def test_ferss_two_tables_and_its_folders_have_one_label_for_an_emotion(tmp_path: Path) -> None:
    for place, make in enumerate((trees.fer2013, lambda root: trees.fer2013(root, "icml_face_data.csv"))):
        expected = make(tmp_path / str(place))
        assert by_pixels(load("fer2013", tmp_path / str(place), tmp_path / "cache"), "fer2013") == expected
    expected = trees.fer2013_folders(tmp_path / "folders")
    found = load("fer2013", tmp_path / "folders", tmp_path / "cache")
    assert ids_of(found, "fer2013") == expected
    assert found.class_names[4:] == ("sad", "surprised", "neutral")


@pytest.mark.parametrize(("packed", "signs"), [(True, "--"), (False, ".."), (True, "-.")])
def test_mnists_files_under_each_of_their_names(packed: bool, signs: str, tmp_path: Path) -> None:
    expected = trees.mnist(tmp_path, packed, signs)
    assert by_pixels(load("mnist", tmp_path, tmp_path / "cache"), "mnist") == expected


def test_fashion_under_the_names_of_mnist_is_refused(tmp_path: Path) -> None:
    """Its test images are as many, of as many classes."""
    digits = bytes(range(10)) * 1000
    for name, head, content in (
        ("t10k-images-idx3-ubyte", struct.pack(">IIII", 2051, 10_000, 1, 1), bytes(10_000)),
        ("t10k-labels-idx1-ubyte", struct.pack(">II", 2049, 10_000), digits),
    ):
        (tmp_path / name).write_bytes(head + content)
    with pytest.raises(DatasetError, match="1,000 images of each class: those of Fashion-MNIST or KMNIST"):
        load("mnist", tmp_path, tmp_path / "cache")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 10_000) + digits[:-1] + b"\0")
    assert len(load("mnist", tmp_path, tmp_path / "cache").labels) == 10_000


def cut(path: Path, by: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte", cut, "is not a whole file of the IDX format"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte", cut, "is not a whole file of the IDX format"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte", Path.unlink, "t10k-labels-idx1-ubyte is not"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte", lambda path: path.write_bytes(struct.pack(">II", 2049, 0)),
         "holds 11 images and 0 labels"),
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte", lambda path: path.write_bytes(b"<html>"), "IDX format"),
        ("stl10", "stl10_binary/test_X.bin", cut, "test_X.bin has 276,479 bytes, not the 276,480 of 10 labels"),
        ("stl10", "stl10_binary/test_y.bin", Path.unlink, "test_y.bin cannot be read"),
        ("stl10", "stl10_binary/class_names.txt", Path.unlink, "class_names.txt cannot be read"),
        ("stl10", "stl10_binary/test_y.bin", lambda path: path.write_bytes(bytes(10)), "that are not 1 to 10: 0"),
        ("svhn", "test_32x32.mat", lambda path: cut(path, 9000), "is not a whole MATLAB file"),
        ("fer2013", "fer2013/fer2013.csv", lambda path: cut(path, 20), "row 10: "),
        ("fer2013", "fer2013/fer2013.csv", lambda path: path.write_text("pixels\n1 2 3\n"), "it should have"),
        ("fer2013", "fer2013/fer2013.csv", lambda path: path.write_text("emotion,pixels,Usage\n7,1 2,PublicTest\n"),
         "row 2: .* no face with an emotion of 0 to 6"),
        ("fer2013", "fer2013/fer2013.csv", lambda path: path.write_text("emotion,pixels,Usage\n6,1 2,PublicTest\n"),
         "row 2: its pixels are not 48 x 48 values"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_message(name: str, file: str, change: Any, message: str, tmp_path: Path) -> None:
    ARRAYS[name](tmp_path)
    change(tmp_path / file)
    with pytest.raises(DatasetError, match=message):
        load(name, tmp_path, tmp_path / "cache")


def test_svhns_labels_are_1_to_10(tmp_path: Path) -> None:
    import scipy.io

    scipy.io.savemat(tmp_path / "test_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[0], [3]])})
    with pytest.raises(DatasetError, match="holds labels that are not 1 to 10, where 10 is the digit 0: 0"):
        load("svhn", tmp_path, tmp_path / "cache")
    scipy.io.savemat(tmp_path / "test_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[3]])})
    with pytest.raises(DatasetError, match="its 1 labels and its images of .* do not fit"):
        load("svhn", tmp_path, tmp_path / "cache")


def test_one_image_of_svhn(tmp_path: Path) -> None:
    """MATLAB's reader drops the last axis, and the label is a scalar."""
    import scipy.io

    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 1), dtype=np.uint8)
    scipy.io.savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[10]], dtype=np.uint8)})
    found = load("svhn", tmp_path, tmp_path / "cache")
    assert found.labels.tolist() == [0]
    assert pixels_of(found.read(0)) == pixels[..., 0].tobytes()
