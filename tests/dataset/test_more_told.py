"""Groups, and several classes of an image, in data sets of a user's own: the same two options in all four."""

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import trees
from conftest import Cli
from making import TinyModel, encoded, make_folder

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.dataset.given import FeaturesSource
from cupl_bench.dataset.hf import HfSource
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.errors import DatasetError

NAMES = ["ant", "bee"]
LABELS = [0, 0, 1, 1]
GROUPS = ["night", None, "day", "night"]
SETS = [["ant"], ["ant", "bee"], ["bee"], ["bee", "ant"]]
MATRIX = [[1, 0], [1, 1], [0, 1], [1, 1]]


def saved(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def folder(tmp_path: Path, **told: str) -> Dataset:
    make_folder(tmp_path / "photos", {"ant": 2, "bee": 2})
    return FolderSource(path=str(tmp_path / "photos"), split="all", class_names=None, **told)(tmp_path / "cache")


def webdataset(tmp_path: Path, **told: str) -> Dataset:
    if not (tmp_path / "set").is_dir():
        trees.shards(tmp_path / "set", NAMES, LABELS, NAMES)
    return WebdatasetSource(path=str(tmp_path / "set"), split="test", class_names=None, **told)(tmp_path / "cache")


def table(tmp_path: Path, columns: dict[str, list], features: dict[str, object]) -> Path:
    images = [{"bytes": encoded(number, "PNG"), "path": None} for number in range(4)]
    kinds = datasets.Features({"image": datasets.Image(decode=False), **features})
    datasets.Dataset.from_dict({"image": images, **columns}, features=kinds).to_parquet(str(tmp_path / "test.parquet"))
    return tmp_path


def loaded(path: Path, cache: Path, **told: str) -> Dataset:
    given = {"split": "test", "data_files": None, "image_column": None, "label_column": None, "class_names": None}
    return HfSource(path=str(path), revision=None, **given, **told)(cache)


def hf(tmp_path: Path, **told: str) -> Dataset:
    (tmp_path / "table").mkdir(exist_ok=True)
    path = table(tmp_path / "table", {"label": LABELS}, {"label": datasets.ClassLabel(names=NAMES)})
    return loaded(path, tmp_path / "cache", **told)


def features(tmp_path: Path, **told: object) -> Dataset:
    arrays = {"features": np.eye(4, 8, dtype=np.float32), "labels": np.array(LABELS), "class_names": np.array(NAMES)}
    np.savez(tmp_path / "features.npz", **(arrays | told.pop("arrays", {})))  # type: ignore[operator]
    nothing = dict.fromkeys(
        ("layout", "split", "model", "labels", "label_column", "orientation", "class_names", "names_of", "protocol",
         "only", "said_to_be_of", "limit")
    )  # fmt: skip
    source = FeaturesSource(**{**nothing, "path": str(tmp_path / "features.npz"), "names": "openai", "seed": 0, **told})
    return source(tmp_path / "cache")


SOURCES = {"folder": folder, "webdataset": webdataset, "hf": hf, "features": features}
Source = Callable[..., Dataset]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_list_in_the_order_of_the_images_or_a_map_from_their_names(source: Source, tmp_path: Path) -> None:
    plain = source(tmp_path)
    assert (plain.sets, plain.groups) == (None, None)
    groups, sets = saved(tmp_path / "groups.json", GROUPS), saved(tmp_path / "sets.json", SETS)
    found = source(tmp_path, groups=groups, sets=sets)
    assert found.groups is not None
    assert found.sets is not None
    assert (found.groups.names, found.groups.of.tolist()) == (("day", "night"), [1, -1, 0, 1])
    assert found.sets.matrix.tolist() == MATRIX
    assert found.labels.tolist() == plain.labels.tolist() == LABELS
    ids = list(plain.image_ids)
    by_name = {one: group for one, group in zip(ids, GROUPS, strict=True) if group is not None}
    more = {ids[1]: ["bee", "ant"], ids[3]: [0, 1]}  # the others are of their label alone; labels serve as names do
    again = source(tmp_path, groups=saved(tmp_path / "groups.json", by_name), sets=saved(tmp_path / "sets.json", more))
    assert again.fingerprint == found.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("groups", ["a", "b"], "groups.json has 2 entries for 4 images"),
        ("groups", [["a"], "a", "a", "a"], r"1 of 4 groups are neither text nor number: \['a'\]"),
        ("groups", ["b", "day off", "day  off", " b"], r"2 groups stand under several names .* first: \[' b', 'b'\]"),
        ("groups", ["caf\u00e9", "cafe\u0301", "a", "a"], r"1 groups stand .* first: \['cafe\\u0301', 'caf\\xe9'\]"),
        ("groups", ["", "a", "a", None], "a group has no name: ''. Null says that an image is in no group"),
        ("groups", [None] * 4, "none of 4 images is in a group"),
        ("groups", {"ant/9.jpg": "a"}, "1 of 1 names are of no image, first: 'ant/9.jpg'. Images are called .* 'ant/0"),
        ("groups", 3, "should hold a JSON list with an entry for each image, or a map"),
        ("sets", [["ant"], [], ["bee"], "bee"], "the classes of 2 of 4 images are no list of names or labels, or an"),
        ("sets", [["ant", "be"], ["ant"], ["bee"], ["bee"]], "not among the 2 classes of the data set: 'be'. .*'bee'"),
        ("sets", [["bee"], ["ant"], ["bee"], ["bee"]], "The label of 1 of 4 images is none of the classes of the imag"),
        ("sets", [[2], ["ant"], ["bee"], ["bee"]], "not among the 2 classes of the data set: 2."),
    ],
)
def test_what_does_not_fit_is_told(key: str, content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        folder(tmp_path, **{key: saved(tmp_path / f"{key}.json", content)})


def test_a_limit_takes_groups_and_sets_along(tmp_path: Path) -> None:
    groups, sets = saved(tmp_path / "groups.json", GROUPS), saved(tmp_path / "sets.json", SETS)
    whole = folder(tmp_path, groups=groups, sets=sets)
    few = folder(tmp_path, groups=groups, sets=sets, limit=1)  # type: ignore[arg-type]
    kept = [list(whole.image_ids).index(one) for one in few.image_ids]
    assert len(kept) == 2
    assert few.groups is not None
    assert few.sets is not None
    assert few.sets.matrix.tolist() == [MATRIX[place] for place in kept]
    assert [few.groups.of.tolist(), few.labels.tolist()] == [
        [[1, -1, 0, 1][place] for place in kept], [LABELS[place] for place in kept]
    ]  # fmt: skip


@pytest.mark.parametrize("words", [True, False])
def test_columns_of_a_table_tell_both(words: bool, tmp_path: Path) -> None:
    """A list of classes needs no other label: the first of them is it."""
    kinds = datasets.ClassLabel(names=NAMES)
    told = SETS if words else [[NAMES.index(one) for one in row] for row in SETS]
    path = table(
        tmp_path,
        {"classes": told, "time": [None if one is None else ["day", "night"].index(one) for one in GROUPS]},
        {
            "classes": datasets.Sequence(datasets.Value("string") if words else kinds),
            "time": datasets.ClassLabel(names=["day", "night"]),
        },
    )
    found = loaded(path, tmp_path / "cache", sets="classes", groups="time")
    assert found.class_names == tuple(NAMES)
    assert found.labels.tolist() == LABELS
    assert found.sets is not None
    assert found.groups is not None
    assert found.sets.matrix.tolist() == MATRIX
    assert (found.groups.names, found.groups.of.tolist()) == (("day", "night"), [1, -1, 0, 1])
    with pytest.raises(DatasetError, match="dataset.sets=class is neither a column, .* nor a file. .*'classes'"):
        loaded(path, tmp_path / "cache", sets="class", groups="time")


def test_an_image_of_no_class_in_a_column_is_told(tmp_path: Path) -> None:
    kinds = {"classes": datasets.Sequence(datasets.ClassLabel(names=NAMES))}
    path = table(tmp_path, {"classes": [[0], [], [1], []]}, kinds)
    with pytest.raises(DatasetError, match="2 of 4 rows of .* are of no class in 'classes'. Leave them out."):
        loaded(path, tmp_path / "cache", sets="classes")


def test_rows_of_labels_with_several_ones_are_sets(tmp_path: Path) -> None:
    found = features(tmp_path, arrays={"labels": np.array(MATRIX, dtype=np.float32)})
    assert found.sets is not None
    assert found.sets.matrix.tolist() == MATRIX
    assert found.labels.tolist() == [0, 0, 1, 0]
    one_hot = features(tmp_path, arrays={"labels": np.eye(2)[LABELS]})
    assert (one_hot.sets, one_hot.labels.tolist()) == (None, LABELS)
    with pytest.raises(
        DatasetError, match=r"2 of 4 rows of labels \(2 columns\) have no 1, or something that is neithe"
    ):
        features(tmp_path, arrays={"labels": np.array([[1, 0], [0, 0], [1, 2], [0, 1]])})
    with pytest.raises(DatasetError, match="tells of 3 classes, and there are 2 class names"):
        features(tmp_path, arrays={"labels": np.array([*[[1, 0, 0]] * 3, [1, 1, 1]])})
    with pytest.raises(DatasetError, match="dataset.only takes one label for each image"):
        features(tmp_path, arrays={"labels": np.array(MATRIX)}, only=["ant"])


def test_own_images_are_measured_by_groups_and_sets(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", {"ant": 2, "bee": 2})
    asked = ["dataset=folder", f"dataset.path={tmp_path / 'photos'}", "prompts=simple", *tiny.overrides]
    groups, sets = saved(tmp_path / "groups.json", GROUPS), saved(tmp_path / "sets.json", SETS)
    assert cli("eval", *asked, f"dataset.groups={groups}", "dataset.primary=worst_group") == 0, cli.err
    of_groups = cli.record().metrics
    assert of_groups is not None
    assert of_groups.more is not None
    assert [(one.name, one.num_images) for one in of_groups.more["worst_group"].parts] == [("day", 1), ("night", 2)]
    assert cli("eval", *asked, f"dataset.sets={sets}", "dataset.primary=map_area") == 0, cli.err
    of_sets = cli.record().metrics
    assert of_sets is not None
    assert of_sets.more is not None
    assert set(of_sets.more) == {"map_11", "map_area"}
    assert cli("eval", *asked, "dataset.primary=map_area") == 2
    assert "Traceback" not in cli.err
