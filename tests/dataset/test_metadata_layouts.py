"""Data sets whose images have groups or several classes: what is read, and what a wrong tree is told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trees
from making import encoded
from trees import ids_of, load

from cupl_bench.dataset import Dataset
from cupl_bench.errors import DatasetError
from cupl_bench.truth import ClassSets, Groups


def sets_of(found: Dataset, name: str) -> list[dict[str, int]]:
    assert found.sets is not None
    ids = trees.ids(name)
    return [{ids[label]: int(row[label]) for label in np.flatnonzero(row)} for row in found.sets.matrix]


# Several classes ------------------------------------------------------------------------------------------------------


def test_vocs_difficult_objects_are_left_out_or_counted(tmp_path: Path) -> None:
    trees.voc2007(tmp_path / "set")
    left_out = load("voc2007", tmp_path / "set", tmp_path / "cache")
    assert sets_of(left_out, "voc2007") == [
        {"dog": 1, "person": 1}, {"cat": 1}, {"chair": -1, "diningtable": 1}, {"boat": -1}
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="holds 4 images of 5 classes; Pascal VOC 2007.* has 4,952 of 20"):
        load("voc2007", tmp_path / "set", tmp_path / "cache", protocol="standard")
    # The other protocol has its own layout: with as many images as it takes, it would count them.
    with pytest.raises(DatasetError, match="holds 4 images of 6 classes"):
        load("voc2007", tmp_path / "set", tmp_path / "cache", protocol="difficult_counted")


def test_a_broken_list_of_voc_is_told(tmp_path: Path) -> None:
    trees.voc2007(tmp_path)
    lists = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    file = lists / "cow_test.txt"
    whole = file.read_text()
    file.write_text(whole.replace("000002 -1", "000002  2"))
    with pytest.raises(DatasetError, match=r"cow_test.txt, line 2: '000002  2' should be an image that stands once"):
        load("voc2007", tmp_path, tmp_path / "cache")
    file.write_text(whole.replace("000002", "000003"))
    with pytest.raises(DatasetError, match="1 classes are told of other images than aeroplane, first: 'cow'"):
        load("voc2007", tmp_path, tmp_path / "cache")
    file.unlink()
    with pytest.raises(DatasetError, match=r"cow_test.txt is not there; there is such a list for each class"):
        load("voc2007", tmp_path, tmp_path / "cache")


def test_real_is_found_beside_imagenet_and_in_imagenets_own_folder(tmp_path: Path) -> None:
    """The user has ImageNet where it is looked for, and puts one file into the folder of the new data set."""
    datasets = tmp_path / "cache" / "datasets"
    expected = trees.imagenet_real(datasets / "imagenet")
    (datasets / "imagenet_real").mkdir()
    (datasets / "imagenet" / "real.json").rename(datasets / "imagenet_real" / "real.json")
    found = load("imagenet_real", None, tmp_path / "cache")
    assert ids_of(found, "imagenet_real") == expected
    assert "1 images without a label of ReaL are left out" in found.notes
    assert found.sets is not None
    assert [np.flatnonzero(row).tolist() for row in found.sets.matrix] == [[0, 277], [5, 278], [0, 1]]
    folders = tmp_path / "folders"
    for number, wnid in ((1, "n02119022"), (2, "n01440764")):
        trees.put(folders / "val" / wnid / f"ILSVRC2012_val_{number:08}.JPEG")
    trees.real_labels(folders / "real.json", {1: [277], 2: [0]})
    assert load("imagenet_real", folders, tmp_path / "cache").labels.tolist() == [0, 277]


def test_real_without_its_labels_or_with_renamed_images_is_told(tmp_path: Path) -> None:
    trees.imagenet_real(tmp_path)
    truth = tmp_path / "real.json"
    content = truth.read_text()
    truth.unlink()
    with pytest.raises(DatasetError, match=r"the labels of ReaL are missing: download https://.*/real.json into"):
        load("imagenet_real", tmp_path, tmp_path / "cache")
    for wrong in (json.dumps([[1]]), json.dumps([[1000]] + [[]] * 49_999), json.dumps({"a": 1}), "[[[true]]]"):
        truth.write_text(wrong)
        with pytest.raises(DatasetError, match="should be a list of 50,000 lists of labels, 0 to 999"):
            load("imagenet_real", tmp_path, tmp_path / "cache")
    truth.write_text("[[")
    with pytest.raises(DatasetError, match="real.json cannot be read"):
        load("imagenet_real", tmp_path, tmp_path / "cache")
    truth.write_text(content)
    for folder in ("n01440764", "n02119022"):
        (tmp_path / "val" / folder).mkdir()
        (tmp_path / "val" / folder / f"{folder}_1.jpg").write_bytes(encoded(5))
    (tmp_path / "val" / "n01440764" / "ILSVRC2012_val_00000001.JPEG").write_bytes(encoded(6))
    with pytest.raises(DatasetError, match="2 of 3 images of .* are not named ILSVRC2012_val_00000001"):
        load("imagenet_real", tmp_path, tmp_path / "cache")


# Groups ---------------------------------------------------------------------------------------------------------------


def test_imagenet_o_takes_its_other_side_from_imagenet(tmp_path: Path) -> None:
    trees.imagenet_o(tmp_path)
    found = load("imagenet_o", tmp_path, tmp_path / "cache")
    assert found.groups is not None
    assert found.groups.names == ("imagenet", "outlier")
    assert found.groups.of.tolist() == [0, 0, 1, 1, 1]
    (tmp_path / "imagenet").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="ImageNet's validation images of the same classes, which its metric"):
        load("imagenet_o", tmp_path, tmp_path / "cache")


def test_celeba_is_read_as_its_authors_wrote_it(tmp_path: Path) -> None:
    expected = trees.celeba_hair(tmp_path / "kaggle")
    found = load("celeba_hair", tmp_path / "kaggle", tmp_path / "cache")
    text = tmp_path / "kaggle"
    rows = (text / "list_attr_celeba.csv").read_text().splitlines()[1:]
    told = [" ".join(row.split(",")) for row in rows]
    (text / "list_attr_celeba.txt").write_text("\n".join([str(len(told)), "Bangs Blond_Hair Male", *told]) + "\n")
    parts = (text / "list_eval_partition.csv").read_text().splitlines()[1:]
    (text / "list_eval_partition.txt").write_text("\n".join(row.replace(",", " ") for row in parts) + "\n")
    for name in ("list_attr_celeba.csv", "list_eval_partition.csv"):
        (text / name).unlink()
    again = load("celeba_hair", text, tmp_path / "cache")
    assert ids_of(again, "celeba_hair") == expected
    assert again.fingerprint == found.fingerprint
    (text / "list_eval_partition.txt").write_text(parts[0].replace(",", " ") + "\n")
    with pytest.raises(DatasetError, match=r"list_attr_celeba.txt and list_eval_partition.txt differ in 5 images"):
        load("celeba_hair", text, tmp_path / "cache")


BIRDS = "waterbird_complete95_forest2water2/metadata.csv"


def test_geodes_regions_stand_in_arrays_beside_the_images(tmp_path: Path) -> None:
    trees.geode(tmp_path / "set")
    found = load("geode", tmp_path / "set", tmp_path / "cache")
    assert found.groups is not None
    assert found.groups.names == ("group 0", "group 2", "group 5")
    assert [found.groups.names[place] for place in found.groups.of] == ["group 2", "group 0", "group 5", "group 2"]
    names = ["tree", "bag"]
    trees.shards(tmp_path / "short", names, [0, 1], names, arrays=[[], [1]])
    with pytest.raises(
        DatasetError, match=r"0.tar: an array beside an image does not hold whole numbers, one at place 0"
    ):
        load("geode", tmp_path / "short", tmp_path / "cache")
    trees.shards(tmp_path / "none", names, [0, 1], names)
    with pytest.raises(DatasetError, match="2 of 2 images of .* have no .npy with a group beside them"):
        load("geode", tmp_path / "none", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        ("waterbirds", BIRDS, ",1,2,1,", ",1,2,7,", "y place is '1 7' in some rows"),
        ("waterbirds", BIRDS, "place,", "where,", "lacks the columns 'place'"),
        ("iwildcam", "iwildcam_v2.0/metadata.csv", "0,train", "0,1,train", "1 rows have another length than its head"),
        ("fmow", "fmow_v1.1/rgb_metadata.csv", "2016-03-01T", "March ", "2 timestamps do not begin with a year"),
        ("fmow", "fmow_v1.1/rgb_metadata.csv", "zoo", "zoological", "1 of 2 classes in .* are none of FMoW"),
        ("hateful_memes", "dev.jsonl", '"label": 1, ', "", "should be a JSON object with img and label"),
        ("camelyon17", "camelyon17_v1.0/metadata.csv", "center", "hospital", "lacks the columns 'center'"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_told(name: str, file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    trees.MAKERS[name](tmp_path)
    path = tmp_path / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        load(name, tmp_path, tmp_path / "cache")


# What a data set holds ------------------------------------------------------------------------------------------------


@pytest.fixture
def plain() -> Dataset:
    return Dataset(
        split="all", class_names=("ant", "bee", "cat"), labels=np.array([0, 1, 2, 0]), image_ids=list("abcd"),
        image_keys=[bytes([number]) * 16 for number in range(4)], read=lambda _: b"",
    )  # fmt: skip


def test_sets_and_groups_change_the_fingerprint_and_are_cut_with_the_images(plain: Dataset) -> None:
    matrix = np.eye(3, dtype=np.int8)[[0, 1, 2, 0]]
    several = replace(plain, sets=ClassSets(matrix=matrix))
    grouped = replace(plain, groups=Groups(names=("x", "y"), of=np.array([0, 1, 1, -1])))
    other = replace(grouped, groups=Groups(names=("x", "y"), of=np.array([0, 1, 0, -1])))
    renamed = replace(grouped, groups=Groups(names=("x", "z"), of=np.array([0, 1, 1, -1])))
    assert len({one.fingerprint for one in (plain, several, grouped, other, renamed)}) == 5
    part = replace(grouped, sets=several.sets).part((2, 2))
    assert part.groups is not None
    assert part.sets is not None
    assert part.groups.of.tolist() == [1, -1]
    assert part.sets.matrix.tolist() == matrix[2:].tolist()


def test_sets_and_groups_that_do_not_fit_are_refused(plain: Dataset) -> None:
    for matrix in (np.eye(3, dtype=np.int8), np.eye(3, dtype=np.int8)[[0, 1, 2, 0]] * 2):
        with pytest.raises(DatasetError, match=r"they should be int8 of the shape \(4, 3\), 1, 0 or -1"):
            replace(plain, sets=ClassSets(matrix=matrix))
    empty = np.eye(3, dtype=np.int8)[[0, 1, 2, 0]]
    empty[1] = 0
    with pytest.raises(
        DatasetError, match="The label of 1 of 4 images is none of the classes of the image, first: 'b'"
    ):
        replace(plain, sets=ClassSets(matrix=empty))
    for groups in (Groups(names=("x",), of=np.array([0, 1, 0, 0])), Groups(names=("x",), of=np.array([0]))):
        with pytest.raises(DatasetError, match="groups.of should hold a place among 1 names of groups"):
            replace(plain, groups=groups)
    with pytest.raises(DatasetError, match="Names of groups stand twice"):
        replace(plain, groups=Groups(names=("x", "x"), of=np.array([0, 1, 0, 0])))


def test_a_few_images_of_each_class_keep_their_sets_and_groups(tmp_path: Path) -> None:
    trees.waterbirds(tmp_path / "set")
    found = load("waterbirds", tmp_path / "set", tmp_path / "cache", limit=1)
    whole = load("waterbirds", tmp_path / "set", tmp_path / "cache")
    assert found.groups is not None
    assert whole.groups is not None
    place = {image: number for number, image in enumerate(whole.image_ids)}
    assert found.groups.of.tolist() == [int(whole.groups.of[place[image]]) for image in found.image_ids]
    assert len(found.labels) == 2
