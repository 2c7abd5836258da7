import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import encoded, make_folder

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import decode
from cupl_bench.dataset.hf import HfSource
from cupl_bench.errors import DatasetError

DEFAULTS: dict[str, Any] = {
    "split": "test",
    "data_files": None,
    "image_column": None,
    "label_column": None,
    "class_names": None,
    "revision": None,
    "limit": None,
    "seed": 0,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def load(path: Path | str, cache: Path, **changes: Any) -> Dataset:
    return HfSource(path=str(path), **{**DEFAULTS, **changes})(cache)


def write_parquet(path: Path, labels: list[Any], feature: Any, column: str = "label", image: str = "image") -> Path:
    table = datasets.Dataset.from_dict(
        {image: [{"bytes": encoded(i), "path": None} for i in range(len(labels))], column: labels},
        features=datasets.Features({image: datasets.Image(), column: feature}),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(path))
    return path.parent


def test_parquet_with_class_labels(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [1, 0, 1], datasets.ClassLabel(names=["ant", "bee"]))
    found = load(root, tmp_path / "cache", data_files="*.parquet")
    assert found.class_names == ("ant", "bee")
    assert found.labels.tolist() == [1, 0, 1]
    assert [found.read(i) for i in range(3)] == [encoded(i) for i in range(3)]


def test_other_column_names_are_found_or_asked_for(tmp_path: Path) -> None:
    feature = datasets.ClassLabel(names=["ant", "bee"])
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [1, 0], feature, column="fine_label", image="img")
    assert load(root, tmp_path / "cache", data_files="*.parquet").labels.tolist() == [1, 0]
    with pytest.raises(
        DatasetError, match=r"no column 'fine_labels' \(dataset.label_column\).*Did you mean 'fine_label'"
    ):
        load(root, tmp_path / "cache", data_files="*.parquet", label_column="fine_labels")


def test_parquet_without_the_librarys_metadata(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    table = pa.table({"image": [{"bytes": encoded(i), "path": ""} for i in range(2)], "label": ["b", "a"]})
    pq.write_table(table, tmp_path / "set" / "test.parquet")
    found = load(tmp_path / "set", tmp_path / "cache", data_files="*.parquet")
    assert (found.class_names, found.labels.tolist()) == (("a", "b"), [1, 0])
    assert decode(found.read(1)).size == (40, 36)


def test_bare_numbers_need_names(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [2, 0], datasets.Value("int64"))
    with pytest.raises(DatasetError, match="are bare numbers"):
        load(root, tmp_path / "cache", data_files="*.parquet")
    (tmp_path / "names.json").write_text(json.dumps(["a", "b", "c"]))
    found = load(root, tmp_path / "cache", data_files="*.parquet", class_names=str(tmp_path / "names.json"))
    assert found.labels.tolist() == [2, 0]


def test_hidden_labels_of_a_test_split_are_refused(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [-1, -1], datasets.ClassLabel(names=["a", "b"]))
    with pytest.raises(DatasetError, match="2 of 2 images have a label outside"):
        load(root, tmp_path / "cache", data_files="*.parquet")


def test_image_folders_are_not_rotated(tmp_path: Path) -> None:
    """Rule: the library's decoder would apply the EXIF rotation."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    root = make_folder(tmp_path / "set", {"a": 1, "b": 1})
    (root / "a" / "0.jpg").write_bytes(encoded(1, exif=exif))
    found = load(root, tmp_path / "cache", data_files="**/*.jpg")
    assert found.class_names == ("a", "b")
    assert decode(found.read(0)).size == (40, 36)


def test_a_split_or_file_that_is_not_there(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [1, 0], datasets.ClassLabel(names=["ant", "bee"]))
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load(root, tmp_path / "cache", data_files="*.csv")
    with pytest.raises(DatasetError, match="does not exist; give a folder, or a hub id"):
        load(tmp_path / "nowhere", tmp_path / "cache")


def test_a_truncated_parquet_is_an_error(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [1, 0], datasets.ClassLabel(names=["ant", "bee"]))
    path = root / "test-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load(root, tmp_path / "cache", data_files="*.parquet")


def test_the_fingerprint_does_not_know_the_place(tmp_path: Path) -> None:
    feature = datasets.ClassLabel(names=["ant", "bee"])
    one = load(write_parquet(tmp_path / "x" / "test.parquet", [1, 0], feature), tmp_path / "c1", data_files="*.parquet")
    two = load(write_parquet(tmp_path / "y" / "a.parquet", [1, 0], feature), tmp_path / "c2", data_files="*.parquet")
    other = load(write_parquet(tmp_path / "z" / "a.parquet", [0, 1], feature), tmp_path / "c3", data_files="*.parquet")
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert np.array_equal(one.labels, two.labels)


@pytest.mark.parametrize("folders", [("train", "test"), ("val", "test")])
def test_images_in_the_folders_of_splits_have_no_label(folders: tuple[str, str], tmp_path: Path) -> None:
    """The library takes the name of the folder for the class where nothing else is there."""
    for folder in folders:
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "set" / folder / f"{number}.jpg").write_bytes(encoded(number))
    with pytest.raises(DatasetError, match=r"these are names of splits|could be the label column"):
        load(tmp_path / "set", tmp_path / "cache")


def test_class_folders_below_the_folders_of_splits(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 10)):
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            (tmp_path / "set" / split / name / "0.jpg").write_bytes(encoded(first + label))
    found = load(tmp_path / "set", tmp_path / "cache")
    assert found.class_names == ("ant", "bee")
    assert [found.read(i) for i in range(2)] == [encoded(10), encoded(11)]


def test_a_limit_takes_so_many_of_each_class(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set" / "test-0.parquet", [1, 0, 1, 1, 0], datasets.ClassLabel(names=["a", "b"]))
    found = load(root, tmp_path / "cache", data_files="*.parquet", limit=1, seed=4)
    assert sorted(found.labels.tolist()) == [0, 1]
    assert found.split == "test, 1 per class (seed 4)"
    assert [found.read(i) for i in range(2)] == [encoded(int(name)) for name in found.image_ids]


def test_a_data_set_of_several_configurations_asks_which(tmp_path: Path) -> None:
    feature = datasets.ClassLabel(names=["ant", "bee"])
    for name, labels in (("small", [0, 1]), ("large", [0, 1, 1])):
        (tmp_path / name).mkdir()
        write_parquet(tmp_path / name / "test-0.parquet", labels, feature)
    lines = ["---", "configs:"]
    for name in ("small", "large"):
        lines += [f"- config_name: {name}", "  data_files:", "  - split: test", f"    path: {name}/test-*.parquet"]
    (tmp_path / "README.md").write_text("\n".join([*lines, "---", ""]))
    with pytest.raises(
        DatasetError, match=r"2 configurations, 'small', 'large'. Choose one: dataset.config_name=small"
    ):
        load(tmp_path, tmp_path / "c")
    assert len(load(tmp_path, tmp_path / "c", config_name="large").labels) == 3
    with pytest.raises(DatasetError, match="config_name=larg is not a configuration .* Did you mean 'large'"):
        load(tmp_path, tmp_path / "c", config_name="larg")


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_parquet(tmp_path / "in" / "test-0.parquet", [0, 1, 1], datasets.ClassLabel(names=["ant", "bee"]))
    expected = load(tmp_path / "in", tmp_path / "c")
    table = datasets.load_dataset(str(tmp_path / "in"), split="test")
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": table, "train": table}).save_to_disk(tmp_path / "several")
    for name in ("one", "several"):
        assert load(tmp_path / name, tmp_path / "c").fingerprint == expected.fingerprint
    with pytest.raises(DatasetError, match="no split 'tset'; it has 'test', 'train'. Did you mean 'test'"):
        load(tmp_path / "several", tmp_path / "c", split="tset")
