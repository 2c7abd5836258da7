"""Data sets with metrics beyond accuracy, from their true layouts in miniature to the comparison."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import trees
from conftest import Cli
from making import TinyModel, make_folder

import cupl_bench
from cupl_bench.__main__ import main
from cupl_bench.checking import check_runs
from cupl_bench.dataset.spec import read_spec
from cupl_bench.metrics import METRICS, along_with, draws_of, seed_of
from cupl_bench.records import MetricsRecord, Record, read_record, write_record
from cupl_bench.report.comparison import compare
from cupl_bench.report.matrix import matrices
from cupl_bench.report.published import match_published, read_published
from cupl_bench.report.tables import write_tables
from cupl_bench.scored_file import read_scored

COMPARED = ["voc2007", "waterbirds", "camelyon17"]
NAMES = [
    "voc2007", "imagenet_real", "imagenet_o", "hateful_memes", "waterbirds", "celeba_hair", "iwildcam", "fmow",
    "camelyon17",
]  # fmt: skip


@dataclass
class Swept:
    """Every data set by `simple`, and some by `name_only`."""

    results: Path
    expected: dict[str, trees.Expected]
    records: dict[tuple[str, str], Record]


@pytest.fixture(scope="module")
def swept(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    root = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:  # the same images whichever tests came before
        patch.setattr(trees, "_seeds", itertools.count(1000))
        expected = {name: trees.MAKERS[name](root / "cache" / "datasets" / name) for name in NAMES}
    others = [name for name in NAMES if name not in COMPARED]
    sweeps = [["prompts=simple", f"dataset={','.join(others)}"]]
    sweeps += [["prompts=simple,name_only", f"dataset={','.join(COMPARED)}"]]
    places = [f"results_dir={root / 'results'}", f"cache_dir={root / 'cache'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cupl_bench.commands.report.QUICK", 0)
        for asked in sweeps:
            assert main(["eval", "-m", *asked, "dataset.protocol=custom", *tiny.overrides, *places]) == 0
    records = [read_record(path) for path in (root / "results" / "records").glob("*.json")]
    return Swept(
        results=root / "results",
        expected=expected,
        records={(one.dataset.name, one.prompts.name): one for one in records},
    )


def metrics_of(record: Record) -> MetricsRecord:
    assert record.metrics is not None
    return record.metrics


def predictions_of(swept: Swept, record: Record) -> pd.DataFrame:
    assert record.artifacts is not None
    return pd.read_parquet(swept.results / record.artifacts.predictions)


@pytest.mark.slow
def test_each_data_set_is_measured_by_its_own_metric(swept: Swept) -> None:
    assert set(swept.records) == {(name, "simple") for name in NAMES} | {(name, "name_only") for name in COMPARED}
    for (name, _), record in swept.records.items():
        metrics = metrics_of(record)
        assert record.dataset.num_images == len(swept.expected[name])
        wanted = [metric.name for metric in along_with(metrics.primary_name)]
        assert list(metrics.more or {}) == wanted
        assert bool(wanted) == (name != "camelyon17")
        for one in (metrics.more or {}).values():
            assert one.value is not None
            assert (one.ci95 is None) == one.interval.startswith("none: ")


@pytest.mark.slow
def test_voc_ranks_every_image_by_its_similarity_to_each_class(swept: Swept) -> None:
    """The boat is difficult in the only image that has one, so its class has no positive image and no precision."""
    record = swept.records["voc2007", "simple"]
    rows, ids = predictions_of(swept, record), trees.ids("voc2007")
    assert [[ids[label] for label in labels] for labels in rows["labels"]] == [
        ["dog", "person"], ["cat"], ["diningtable"], []
    ]  # fmt: skip
    assert [[ids[label] for label in labels] for labels in rows["not_counted"]] == [[], [], ["chair"], ["boat"]]
    scores = np.stack(rows["scores"].to_numpy())
    assert (scores.argmax(axis=1) == rows["prediction"]).all()
    assert np.allclose(scores.max(axis=1), rows["score"])
    more = metrics_of(record).more or {}
    assert {part.name: part.num_images for part in more["map_area"].parts if part.num_images} == {
        "cat": 1, "diningtable": 1, "dog": 1, "person": 1
    }  # fmt: skip
    precisions = []
    for word, image in (("cat", 1), ("diningtable", 2), ("dog", 0), ("person", 0)):
        column = scores[:, ids.index(word)]
        precisions.append(1 / (column >= column[image]).sum())
    assert more["map_area"].value == pytest.approx(np.mean(precisions))
    assert [part.value for part in more["map_area"].parts if part.value is not None] == pytest.approx(precisions)
    right = [
        one in (*row.labels, *row.not_counted) for one, row in zip(rows["prediction"], rows.itertuples(), strict=True)
    ]
    assert rows["correct"].tolist() == right
    assert metrics_of(record).top1 == np.mean(right)


@pytest.mark.slow
def test_real_takes_any_of_its_labels_and_groups_are_what_the_tables_say(swept: Swept) -> None:
    rows = predictions_of(swept, swept.records["imagenet_real", "simple"])
    assert sorted(list(labels) for labels in rows["labels"]) == [[0, 1], [0, 277], [5, 278]]
    assert sorted(rows["label"]) == [1, 277, 278]
    metrics = metrics_of(swept.records["imagenet_real", "simple"])
    assert metrics.primary == metrics.top1
    of = {
        name: predictions_of(swept, swept.records[name, "simple"])["group"].tolist()
        for name in ("waterbirds", "celeba_hair", "fmow", "imagenet_o")
    }
    assert of["waterbirds"] == ["landbird on land", "waterbird on water", "landbird on water", "waterbird on water"]
    assert of["celeba_hair"] == ["dark hair, woman", "blond hair, woman", "blond hair, man", "dark hair, man"]
    assert [one for one in of["fmow"] if isinstance(one, str)] == ["Europe", "Africa"]
    assert len(of["fmow"]) == 3
    assert of["imagenet_o"] == ["imagenet"] * 2 + ["outlier"] * 3
    parts = (metrics_of(swept.records["waterbirds", "simple"]).more or {})["worst_group"].parts
    assert [(part.name, part.num_images, part.value is None) for part in parts] == [
        ("landbird on land", 1, False), ("landbird on water", 1, False), ("waterbird on land", 0, True),
        ("waterbird on water", 2, False),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_comparison_takes_the_metric_of_each_data_set(swept: Swept, tmp_path: Path) -> None:
    found = compare(list(swept.records.values()), swept.results)
    rows = found.runs.set_index(["dataset", "prompts"])
    for (name, prompts), record in swept.records.items():
        metrics, row = metrics_of(record), rows.loc[name, prompts]
        assert row["primary"] == metrics.primary_name
        assert row["primary_value"] == pytest.approx(metrics.primary)
        if prompts == "name_only":
            step = metrics.primary - metrics_of(swept.records[name, "simple"]).primary
            assert row["primary_difference"] == pytest.approx(step)
            if not pd.isna(row["primary_difference_low"]):
                assert row["primary_difference_low"] <= row["primary_difference_high"]
                assert row["primary_test"].startswith("paired bootstrap over images")
    # Both runs in the same resamples: the spread of the difference is that of a pair.
    one, two = (
        read_scored(swept.results / f"predictions/{swept.records['voc2007', prompts].run_key}.parquet", 20, ())
        for prompts in ("name_only", "simple")
    )
    seed = seed_of(swept.records["voc2007", "simple"].dataset.fingerprint)
    (ours,), (theirs,) = (draws_of([METRICS["map_11"]], scored, seed) for scored in (one, two))
    row = rows.loc["voc2007", "name_only"]
    low, high = np.nanquantile(ours - theirs, [0.025, 0.975])  # without the boat alone
    assert (row["primary_difference_low"], row["primary_difference_high"]) == pytest.approx((low, high))
    z = abs(row["primary_difference"]) / np.nanstd(ours - theirs, ddof=1)
    assert row["primary_p"] == pytest.approx(2 * NormalDist().cdf(-z))
    # What is not significantly worse than the best is so in this metric, and the matrix shows it.
    (matrix,) = matrices(found)
    head = "voc2007, mAP, 11 points"
    assert matrix.values[head].dropna().to_dict() == pytest.approx(
        {name: metrics_of(swept.records["voc2007", name]).primary for name in ("simple", "name_only")}
    )
    assert matrix.level[head].tolist() == [row["primary_p"] >= 0.05 or best for best in matrix.best[head]]
    # The mean over data sets is one of top-1: what is measured by something else is no part of it.
    assert found.pooled.empty
    written = {path.name: path.read_text() for path in write_tables(found, tmp_path) if path.suffix in (".md", ".tex")}
    assert "mAP, 11 points" in written["comparison.md"]
    assert "value minus simple [95%]" in written["comparison.md"]


@pytest.mark.slow
def test_a_check_finds_what_is_altered(swept: Swept, tmp_path: Path) -> None:
    def numbers(results: Path) -> list[str]:
        (found,) = (one for one in check_runs(results).findings if one.check == "numbers")
        return [found.verdict, *found.cases]

    assert numbers(swept.results) == ["ok"]
    record = swept.records["voc2007", "simple"]
    assert record.artifacts is not None
    for place in ("predictions", "class_embeddings", "prompts"):
        path = getattr(record.artifacts, place)
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes((swept.results / path).read_bytes())
    content = json.loads(record.model_dump_json())
    content["metrics"]["more"]["map_area"]["value"] += 0.001
    write_record(tmp_path, Record.model_validate(content))
    verdict, case = numbers(tmp_path)
    assert verdict == "differs"
    assert "value of map_area is" in case
    content["metrics"]["primary"] += 0.001
    with pytest.raises(ValueError, match="primary is not the value of map_11 among 'more'"):
        Record.model_validate(content)


@pytest.mark.slow
def test_python_reads_the_metrics_too(swept: Swept) -> None:
    frame = cupl_bench.load_results(swept.results).set_index(["dataset", "prompts"])
    record = swept.records["hateful_memes", "simple"]
    assert frame.loc[("hateful_memes", "simple"), "roc_auc"] == metrics_of(record).primary
    assert pd.isna(frame.loc[("camelyon17", "simple"), "roc_auc"])


@pytest.mark.slow
def test_a_metric_that_is_not_defined_is_refused_before_anything_is_encoded(cli: Cli, tiny: TinyModel) -> None:
    trees.waterbirds(cli.cache / "datasets" / "waterbirds")
    asked = ["dataset=waterbirds", "dataset.protocol=custom", *tiny.overrides]
    assert cli("eval", *asked, "dataset.primary=map_11") == 2
    assert "dataset.primary=map_11 is not defined of dataset=waterbirds: no set of classes is known" in cli.err
    assert cli("plan", *asked, "dataset.primary=map_11") == 2
    assert cli("eval", *asked, "dataset.primary=group_gap") == 2
    assert "dataset.primary=group_gap: less of it is better, so it is no headline" in cli.err
    assert cli("eval", *asked, "dataset.primary=worst_grup") == 2
    assert "dataset.primary=worst_grup is not a metric" in cli.err
    assert "Did you mean 'worst_group'" in cli.err
    assert not list((cli.results / "records").glob("*.json"))


@pytest.mark.slow
def test_any_data_set_may_be_asked_for_a_metric_that_it_has(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    """Of two classes with one of them absent the area is not defined; with both it is, and the key is another."""
    photos = make_folder(tmp_path / "photos", {"ant": 3, "bee": 3})
    asked = ["dataset=folder", f"dataset.path={photos}", "prompts=simple", *tiny.overrides]
    assert cli("eval", *asked) == 0, cli.err
    plain = cli.record()
    assert '"more"' not in plain.model_dump_json()
    assert "scores" not in pd.read_parquet(cli.results / f"predictions/{plain.run_key}.parquet")
    assert cli("eval", *asked, "dataset.primary=roc_auc") == 0, cli.err
    found = cli.record()
    assert found.run_key != plain.run_key
    assert metrics_of(found).primary_name == "roc_auc"
    assert "ROC AUC: " in cli.out
    assert cli("eval", *asked, "dataset.primary=selective_80") == 0, cli.err
    assert list(metrics_of(cli.record()).more or {}) == ["selective_80"]


def test_sets_of_classes_go_out_as_features_and_come_back(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    """Also with the difficult objects of VOC, which count neither way."""
    trees.voc2007(cli.cache / "datasets" / "voc2007")
    asked = ["dataset=voc2007", "dataset.protocol=custom", "prompts=ensemble", *tiny.overrides]
    assert cli("eval", *asked) == 0, cli.err
    ours = cli.record()
    assert cli("features", *asked, f"to={tmp_path / 'short'}", "layout=zlap") == 2
    assert "layout=zlap holds one label for each image, and an image of this data set may be of several" in cli.err
    assert cli("features", *asked, f"to={tmp_path / 'out'}") == 0, cli.err
    back = ["dataset=features", f"dataset.path={tmp_path / 'out'}", "dataset.primary=map_11", "backbone=given"]
    assert cli("eval", *back, "prompts=embeddings", f"prompts.path={tmp_path / 'out'}") == 0, cli.err
    theirs = next(one for path in (cli.results / "records").glob("*.json") if (one := read_record(path)) != ours)
    values = [{name: one.value for name, one in (metrics_of(run).more or {}).items()} for run in (ours, theirs)]
    assert values[0] == values[1]
    assert set(values[0]) == {"map_11", "map_area"}
    assert metrics_of(theirs).top1 == metrics_of(ours).top1
    assert cli("effects", *asked) == 0, cli.err
    effects = pd.read_parquet(cli.results / f"effects/{ours.run_key}.parquet")
    assert set(effects["top1"]) == {metrics_of(ours).top1}


def test_every_metric_has_a_part_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert not [name for name in METRICS if f"`{name}`" not in page]


def test_published_numbers_are_held_against_the_metric_that_they_are_of() -> None:
    """CLIP's table has VOC 2007 and the Hateful Memes by metrics of their own; no accuracy is held against them."""
    published = read_published()
    found = published[published["metric"].isin(METRICS)].groupby(["dataset", "metric"]).size()
    assert found.to_dict() == {("hateful_memes", "roc_auc"): 9, ("voc2007", "map_11"): 9}
    for dataset in ("hateful_memes", "voc2007"):
        assert set(published.loc[published["dataset"] == dataset, "metric"]) == {read_spec(dataset).primary}


@pytest.mark.slow
def test_a_run_by_another_metric_is_held_against_none(swept: Swept) -> None:
    record = swept.records["voc2007", "simple"]
    content = json.loads(record.model_dump_json())
    content["backbone"] |= {"architecture": "ViT-B-32-quickgelu", "pretrained": "openai"}
    content["prompts"]["name"] = content["config"]["prompts"]["name"] = "ensemble"
    alike = Record.model_validate(content)
    row = compare([record], swept.results).runs.assign(prompts="ensemble")
    table = match_published(row, [alike])
    assert table[["metric", "published"]].to_numpy().tolist() == [["map_11", 0.831]]
    assert table["ours"][0] == metrics_of(record).primary
    assert match_published(row.assign(primary="top1"), [alike]).empty
