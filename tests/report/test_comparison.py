"""Records side by side: what is compared, what is refused, and how a table reads."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

import cupl_bench
from cupl_bench.errors import ResultsError
from cupl_bench.identity import PROTOCOL_VERSION
from cupl_bench.intervals import wilson
from cupl_bench.records import (
    ArtifactsRecord,
    BackboneRecord,
    DatasetRecord,
    MetricsRecord,
    PromptsRecord,
    Record,
    read_records,
    write_record,
)
from cupl_bench.report import comparison as of_comparison
from cupl_bench.report import significance
from cupl_bench.report.answers import Answers, read_answers
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.missing import missing_cells
from cupl_bench.report.shown import shown, shown_pooled
from cupl_bench.report.significance import mcnemar_exact, paired
from cupl_bench.report.standings import notes_of
from cupl_bench.report.tables import write_tables

LABELS = np.repeat(np.arange(6), 40)
BORN = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """A results folder that a test fills with runs; strategies are right on a given share of the images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def add(
        self,
        prompts: str = "simple",
        share: float = 0.6,
        *,
        dataset: str = "birds",
        backbone: str = "small",
        predictions: np.ndarray | None = None,
        labels: np.ndarray = LABELS,
        split: str = "test",
        fingerprint: str = "f" * 64,
        index: np.ndarray | None = None,
        config: dict | None = None,
        origin: dict | None = None,
        pretrained: str = "none",
        architecture: str = "none",
        confidence: np.ndarray | None = None,
        status: str = "ok",
        names: list[str] | None = None,
        activation: str = "gelu",
        protocol_version: int = PROTOCOL_VERSION,
        **of_prompts: object,
    ) -> Record:
        self.count += 1
        key = f"{self.count:012x}"
        generator = np.random.default_rng(7)  # the same images are hard for all
        if predictions is None:
            predictions = np.where(generator.random(len(labels)) < share, labels, (labels + 1) % 6)
        right = predictions == labels
        frame = pd.DataFrame(
            {
                "index": np.arange(len(labels)) if index is None else index,
                "image_id": [f"{place}.jpg" for place in range(len(labels))],
                "label": labels,
                "prediction": predictions,
                "correct": right,
            }
        )
        if confidence is not None:
            frame["confidence"] = confidence
        (self.folder / "predictions").mkdir(parents=True, exist_ok=True)
        frame.to_parquet(self.folder / f"predictions/{key}.parquet", index=False)
        own = np.bincount(labels[right], minlength=6) / np.maximum(np.bincount(labels, minlength=6), 1)
        if names is not None:
            (self.folder / "prompts").mkdir(exist_ok=True)
            rows = pd.DataFrame({"label": range(6), "class_name": names, "text": "x"})
            rows.to_parquet(self.folder / f"prompts/{key}.parquet", index=False)
        record = Record(
            protocol_version=protocol_version,
            run_key=key,
            status=status,
            error="DatasetError: not here" if status == "failed" else None,
            created_at=BORN + timedelta(minutes=self.count),
            dataset=DatasetRecord(
                name=dataset,
                split=split,
                fingerprint=fingerprint,
                num_images=len(labels),
                num_classes=6,
                origin=origin,
            ),
            backbone=BackboneRecord(
                name=backbone,
                architecture=architecture,
                pretrained=pretrained,
                weights_sha256=backbone,
                activation=activation,
                precision="fp32",
                embed_dim=8,
                image_size=(32, 32),
                transform={},
            ),
            prompts=PromptsRecord(
                **{
                    "name": prompts,
                    "digest": key,
                    "num_prompts": 6,
                    "num_distinct": 6,
                    "num_truncated": 0,
                    "aggregation": "mean",
                    **of_prompts,
                }
            ),
            metrics=None
            if status == "failed"
            else MetricsRecord(
                top1=float(right.mean()),
                top1_ci95=wilson(int(right.sum()), len(labels)),
                top5=0.99,
                mean_per_class=float(np.nanmean(own)),
                primary=float(right.mean()),
                primary_name="top1",
            ),
            environment={},
            config=config,
            artifacts=None
            if status == "failed"
            else ArtifactsRecord(
                predictions=f"predictions/{key}.parquet",
                class_embeddings=f"class_embeddings/{key}.safetensors",
                prompts=None if names is None else f"prompts/{key}.parquet",
            ),
        )
        write_record(self.folder, record)
        return record

    def compared(self, baseline: str | None = None) -> Comparison:
        return compare(read_records(self.folder), self.folder, baseline=baseline)

    def table(self, baseline: str | None = None) -> pd.DataFrame:
        return self.compared(baseline).runs

    def write(self) -> Comparison:
        comparison = self.compared()
        write_tables(comparison, self.folder)
        return comparison


def answers_of(store: Store, record: Record) -> Answers:
    (run,) = [
        run for members in store.compared().groups.values() for run in members if run.record.run_key == record.run_key
    ]
    return read_answers(store.folder, run)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.mark.slow
def test_each_row_is_compared_with_simple_on_the_same_images(store: Store) -> None:
    simple, cupl = store.add("simple", 0.5), store.add("cupl", 0.6)
    store.add("ensemble", 0.51)
    table = store.table().set_index("prompts")
    ours, base = (answers_of(store, record) for record in (cupl, simple))
    expected = paired(ours.hits, base.hits, LABELS, seed=int(cupl.run_key, 16))
    row = table.loc["cupl"]
    assert row["difference"] == expected.difference == pytest.approx(cupl.metrics.top1 - simple.metrics.top1)
    assert (row["difference_low"], row["difference_high"]) == expected.over_images
    assert (row["difference_classes_low"], row["difference_classes_high"]) == expected.over_classes
    assert (row["gained"], row["lost"]) == (expected.gained, expected.lost)
    p = [mcnemar([[0, one["gained"]], [one["lost"], 0]], exact=True).pvalue for one in (row, table.loc["ensemble"])]
    assert row["p"] == pytest.approx(p[0])
    assert list(table.loc[["cupl", "ensemble"], "p_holm"]) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert table.loc["simple", ["difference", "p", "p_holm"]].isna().all()
    assert table["best"].to_dict() == {"simple": False, "cupl": True, "ensemble": False}
    read = shown(store.table())
    assert [cell.endswith("n.s.") for cell in read["minus simple [95%]"]] == [False, False, True]


@pytest.mark.slow
def test_the_best_is_bold_only_where_it_is_significantly_better_than_every_other(store: Store) -> None:
    for name, share in (("simple", 0.5), ("cupl", 0.7), ("ensemble", 0.695)):
        store.add(name, share)
    assert not store.table()["best"].any()
    store.write()
    assert "\\textbf" not in (store.folder / "tables" / "comparison.tex").read_text()
    store.add("waffle", 0.8)
    store.write()
    bold = [line for line in (store.folder / "tables" / "comparison.tex").read_text().splitlines() if "textbf" in line]
    assert len(bold) == 1
    assert bold[0].startswith("birds & small & waffle")


def test_negative_numbers_have_a_minus_in_latex(store: Store) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.4)
    store.write()
    text = (store.folder / "tables" / "comparison.tex").read_text()
    assert re.search(r"& \$-\$\d+\.\d \[\$-\$\d", text)
    assert not re.search(r"[ \[]-\d", text)


def test_no_difference_is_minus_zero(store: Store) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.5)
    table = store.table().assign(difference=-1e-5, difference_low=-2e-5, difference_high=-1e-5)
    assert shown(table)["minus simple [95%]"].iloc[-1].startswith("+0.0 [+0.0, +0.0]")


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"split": "val"}, "split"),
        ({"fingerprint": "0" * 64}, "fingerprint"),
        ({"labels": LABELS[:200]}, "num_images"),
        ({"config": {"dataset": {"decode": "fast"}}}, "decode"),
    ],
)
def test_what_differs_is_never_compared_and_is_named(
    store: Store, caplog: pytest.LogCaptureFixture, change: dict, differs: str
) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.6, **change)
    with caplog.at_level(logging.WARNING):
        table = store.table()
    assert table["difference"].isna().all()
    assert not table["best"].any()
    assert f"birds x small is split into 2 groups that are not compared: they differ in {differs}" in caplog.text


def test_other_images_of_the_same_number_are_never_compared(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.6, index=np.arange(len(LABELS)) + 1)
    with caplog.at_level(logging.WARNING):
        assert store.table()["difference"].isna().all()
    assert "left out other images than simple" in caplog.text


def test_protocol_versions_are_never_mixed(store: Store) -> None:
    store.add("simple")
    store.add("cupl", protocol_version=PROTOCOL_VERSION + 1)
    with pytest.raises(ResultsError, match=r"mix protocol versions"):
        store.table()


def test_the_newest_run_of_a_question_stays_and_the_others_are_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = store.add("cupl", 0.5, digest="d" * 64), store.add("cupl", 0.6, digest="d" * 64)
    store.add("cupl", 0.6, aggregation="max_similarity")
    store.add("cupl", 0.6, budget=4, seed=0)
    with caplog.at_level(logging.WARNING):
        table = store.table()
    assert old.run_key not in set(table["run_key"])
    assert new.run_key in set(table["run_key"])
    assert f"1 older runs of questions that were answered again are left out: '{old.run_key}'" in caplog.text
    assert list(shown(table)["prompts"]) == ["cupl (mean)", "cupl (max_similarity)", "cupl (mean, budget 4, seed 0)"]


def test_missing_cells_are_those_that_the_others_of_the_sweep_have(store: Store) -> None:
    for dataset in ("birds", "cars"):
        for backbone in ("small", "large"):
            for prompts in ("simple", "cupl"):
                cell = (dataset, backbone, prompts)
                if cell == ("cars", "large", "cupl"):
                    store.add(prompts, dataset=dataset, backbone=backbone, status="failed")
                elif cell != ("birds", "large", "simple"):
                    store.add(prompts, dataset=dataset, backbone=backbone)
    store.add("waffle", dataset="demo", backbone="demo")  # another sweep
    missing = missing_cells(read_records(store.folder))
    assert missing[["dataset", "backbone", "prompts"]].to_numpy().tolist() == [
        ["birds", "large", "simple"],
        ["cars", "large", "cupl"],
    ]
    assert list(missing["why"]) == ["not run", "DatasetError: not here"]
    store.write()
    assert len(pd.read_csv(store.folder / "tables" / "missing.csv")) == 2


def test_the_rows_of_a_sweep_stand_as_it_asked_whichever_answer_came_first(store: Store) -> None:
    """Jobs side by side end in any order; the seeds of a strategy stay together, their mean above them."""
    asked: dict[tuple[str, int | None, str], Record] = {}
    for seed, prompts, backbone in [(1, "waffle", "b"), (None, "simple", "b"), (1, "waffle", "a"), (0, "waffle", "b"),
                                    (None, "simple", "a"), (0, "waffle", "a")]:  # fmt: skip
        asked[backbone, seed, prompts] = store.add(
            prompts, backbone=backbone, **({} if seed is None else {"seed": seed})
        )
    store.add("other", backbone="a")
    order = [asked[backbone, seed, prompts].run_key for backbone in "ab"
             for seed, prompts in [(None, "simple"), (0, "waffle"), (1, "waffle")]]  # fmt: skip
    rows = store.compared().of(order)
    assert list(rows["backbone"]) == ["a"] * 4 + ["b"] * 4
    assert list(rows["run_key"]) == [*order[:1], "", *order[1:3], *order[3:4], "", *order[4:]]
    assert list(rows["prompts"]) == ["simple", "waffle", "waffle", "waffle"] * 2


def test_several_seeds_are_a_row_of_their_own_above_their_runs(store: Store) -> None:
    store.add("simple", 0.5)
    shares = (0.55, 0.6, 0.62)
    runs = [store.add("waffle", share, seed=seed) for seed, share in enumerate(shares)]
    table = store.table()
    (row,) = table[table["num_seeds"].notna()].to_dict("records")
    top1 = [record.metrics.top1 for record in runs]
    assert row["num_seeds"] == 3
    assert row["top1"] == pytest.approx(np.mean(top1))
    assert row["top1_sd"] == pytest.approx(np.std(top1, ddof=1))
    assert row["difference"] == pytest.approx(np.mean(top1) - table["top1"][0])
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert {record.run_key for record in runs} < set(table["run_key"])
    read = shown(table)
    assert list(read["prompts"]) == ["simple", "waffle (3 seeds)"]
    store.write()
    written = pd.read_csv(store.folder / "tables" / "comparison.csv")
    assert len(written) == 5
    assert list(written["seed"].dropna()) == [0, 1, 2]


def test_means_over_data_sets_hold_the_same_data_sets_on_both_sides(store: Store) -> None:
    sets = {"birds": (0.5, 0.55), "cars": (0.6, 0.62), "dogs": (0.4, 0.47), "eels": (0.9, None)}
    for place, (name, (simple, cupl)) in enumerate(sets.items()):
        own = {"dataset": name, "fingerprint": f"{place}" * 64}
        store.add("simple", simple, **own)
        if cupl is not None:
            store.add("cupl", cupl, **own)
    comparison = store.compared()
    (row,) = comparison.pooled.to_dict("records")
    runs = comparison.runs[comparison.runs["dataset"] != "eels"]
    by = runs.pivot_table(index="dataset", columns="prompts", values="top1")
    assert row["datasets"] == "birds cars dogs"
    assert row["top1"] == pytest.approx(by["cupl"].mean())
    assert row["baseline_top1"] == pytest.approx(by["simple"].mean())
    assert row["difference"] == pytest.approx((by["cupl"] - by["simple"]).mean())
    assert row["better_on"] == 3
    # Images within the data sets: variances of independent means add up.
    steps = runs[runs["difference"].notna()]
    variance = sum((one["gained"] + one["lost"]) / 240 - one["difference"] ** 2 for one in steps.to_dict("records"))
    reach = 1.96 * np.sqrt(variance / 240) / 3
    assert row["difference_high"] - row["difference_low"] == pytest.approx(2 * reach, rel=0.1)
    store.add("simple", 0.5, dataset="birds", split="val")
    store.add("cupl", 0.5, dataset="birds", split="val")
    again = store.compared().pooled
    assert (again["datasets"][0], again["left_out"][0]) == ("cars dogs", "birds")


@pytest.mark.slow
def test_ranks_over_data_sets_are_written_read_in_python_and_removed(store: Store) -> None:
    for place, name in enumerate(("birds", "cars")):
        for prompts, share in (("simple", 0.5), ("cupl", 0.6)):
            store.add(prompts, share, dataset=name, fingerprint=f"{place}" * 64)
    standings = store.write().standings
    tables = store.folder / "tables"
    (league,) = json.loads((tables / "ranking.json").read_text())
    assert league["datasets"] == "birds cars"
    assert [row["prompts"] for row in league["strategies"]] == ["cupl", "simple"]
    assert league["strategies"][0]["average_rank"] == 1.0
    assert league["critical_difference"] is None
    assert league["notes"] == list(standings.notes[0])
    assert list(pd.read_csv(tables / "ranking.csv")["average_rank"]) == [1.0, 2.0]
    assert all(note in (tables / "ranking.md").read_text() for note in league["notes"])
    assert "\\toprule" in (tables / "ranking.tex").read_text()
    ranking = cupl_bench.compare(store.folder, over_datasets=True)
    pd.testing.assert_frame_equal(ranking, standings.table)
    assert ranking.attrs["notes"] == notes_of(standings)
    for path in (store.folder / "records").glob("*.json"):
        if json.loads(path.read_text())["dataset"]["name"] == "cars":
            path.unlink()
    store.write()
    assert not list(tables.glob("ranking.*"))
    assert cupl_bench.compare(store.folder, over_datasets=True).empty


def written_by(strategy: str) -> dict:
    return {"prompts": {"_target_": f"cupl_bench.prompts.{strategy}"}}


@pytest.mark.slow
def test_the_controls_that_a_strategy_beats_are_told(store: Store) -> None:
    cupl = store.add("cupl", 0.7, config=written_by("strategies.DescriptionsStrategy"))
    shuffled = store.add("mixed", 0.5, config=written_by("strategies.ShuffledDescriptionsStrategy"))
    store.add("nameless", 0.69, config=written_by("controls.NamelessDescriptionsStrategy"))
    seeds = [store.add("waffle", share, config=written_by("waffle.WaffleStrategy"), seed=seed)
             for seed, share in enumerate((0.52, 0.56))]  # fmt: skip
    store.add("theirs", 0.4, config={"prompts": {"_target_": "elsewhere.WaffleStrategy"}})
    store.add("mixed", 0.5, budget=2, config=written_by("strategies.ShuffledDescriptionsStrategy"))
    comparison = store.write()
    table = comparison.controls
    assert list(zip(table["prompts"], table["control"], strict=True)) == [
        (strategy, control) for strategy in ("cupl", "theirs") for control in ("mixed", "nameless", "waffle")
    ]
    rows = table[table["prompts"] == "cupl"].set_index("control")
    ours, theirs = (answers_of(store, record) for record in (cupl, shuffled))
    expected = paired(ours.hits, theirs.hits, LABELS, seed=int(cupl.run_key, 16))
    assert rows["difference"]["mixed"] == pytest.approx(expected.difference)
    assert (rows["difference_low"]["mixed"], rows["difference_high"]["mixed"]) == expected.over_images
    assert rows["p"]["mixed"] == expected.p
    assert rows["control_top1"]["waffle"] == pytest.approx(np.mean([record.metrics.top1 for record in seeds]))
    np.testing.assert_allclose(table["p_holm"], multipletests(table["p"], method="holm")[1])
    assert rows["beats"].to_dict() == {"mixed": True, "nameless": False, "waffle": True}
    assert not table.loc[table["prompts"] == "theirs", "beats"].any()  # significantly worse is no win
    text = (store.folder / "tables" / "controls.md").read_text()
    assert "2 of 3" in text
    assert "minus nameless" in text
    assert (pd.read_csv(store.folder / "tables" / "controls.csv")["keeps"].str.contains("class name")).all()
    for path in (store.folder / "records").glob("*.json"):
        if json.loads(path.read_text())["prompts"]["name"] in ("mixed", "nameless", "waffle"):
            path.unlink()
    store.write()
    assert not list((store.folder / "tables").glob("controls.*"))


@pytest.mark.slow
def test_files_of_descriptions_stand_side_by_side_with_cost_and_length(store: Store) -> None:
    cost = {"language_model": "a-model", "input_tokens": 900, "output_tokens": 100, "cost": 0.25}
    store.add("simple", 0.5)
    long = store.add("file", 0.7, source="long.json sha256:1", cost=cost, names=list("abcdef"))
    assert store.compared().writers.empty  # one file has no rival
    short = store.add("file", 0.6, source="short.json sha256:2")
    third = store.add("cupl", 0.69, source="cupl.json sha256:3")
    shuffled = written_by("strategies.ShuffledDescriptionsStrategy")
    store.add("shuffled", 0.8, source="long.json sha256:1", config=shuffled)
    table = store.write().writers
    assert list(table["prompts_file"].str.split(".").str[0]) == ["long", "cupl", "short"]
    hits = [answers_of(store, record).hits for record in (long, third, short)]
    p = [mcnemar_exact([int((one & ~two).sum())], [int((two & ~one).sum())])[0]
         for one, two in ((hits[0], hits[1]), (hits[0], hits[2]), (hits[1], hits[2]))]  # fmt: skip
    assert table["p_holm"][1:].tolist() == pytest.approx(multipletests(p, method="holm")[1][:2].tolist())
    assert table["difference"].tolist() == pytest.approx([0, *(one.mean() - hits[0].mean() for one in hits[1:])])
    assert (table["language_model"][0], table["input_tokens"][0], table["cost"][0]) == ("a-model", 900, 0.25)
    assert table["prompts_per_class"].tolist() == [1.0, 1.0, 1.0]
    words = pd.read_parquet(store.folder / long.artifacts.prompts)["text"].str.split().str.len().mean()
    assert table["words_per_prompt"][0] == pytest.approx(words)
    text = (store.folder / "tables" / "writers.md").read_text()
    assert "1,000" in text
    assert "n.s." in text
    assert len(pd.read_csv(store.folder / "tables" / "writers.csv")) == 3


def test_calibration_is_told_where_confidence_is(store: Store) -> None:
    store.add("simple", 0.5, confidence=np.full(len(LABELS), 0.9, dtype=np.float32))
    store.add("cupl", 0.6)
    table = store.table().set_index("prompts")
    assert table["calibration_error"]["simple"] == pytest.approx(0.9 - table["top1"]["simple"], abs=1e-6)
    assert np.isnan(table["calibration_error"]["cupl"])


def test_predictions_that_are_not_those_of_the_record_are_refused(store: Store) -> None:
    record = store.add("simple")
    path = store.folder / record.artifacts.predictions
    pd.read_parquet(path).iloc[:-3].to_parquet(path)
    with pytest.raises(ResultsError, match="holds 237 predictions"):
        store.table()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultsError, match="cannot be read"):
        store.table()
    path.unlink()
    with pytest.raises(ResultsError, match="rerun=always"):
        store.table()


# Questions of one name ------------------------------------------------------------------------------------------------


def asked(**prompts: object) -> dict:
    """A configuration: of the user's own data set, with these settings of prompts."""
    texts = {"templates": "own.json", "cupl": "cupl:birds"}
    return {"dataset": {"path": "/data/birds", "texts": texts}, "prompts": {"_target_": "a.B", "seed": 0, **prompts}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({"config": asked(path="x/a.json"), "source": "a.json"}, {"config": asked(path="x/b.json"), "source": "b.json"},
         ["file (a.json)", "file (b.json)"]),
        ({"config": asked(path="x/a.json"), "source": "a.json"}, {"config": asked(path="y/a.json"), "source": "a.json"},
         ["file (000000)", "file (111111)"]),
        ({"config": asked(path="a"), "source": f"a.json sha256:{'e' * 64}"},
         {"config": asked(path="b"), "source": f"b.json sha256:{'d' * 64}"}, ["file (a.json)", "file (b.json)"]),
        ({"config": asked(path="a"), "source": f"a.json sha256:{'e' * 64}"},
         {"config": asked(path="a"), "source": f"a.json sha256:{'d' * 64}"}, ["file (eeeeee)", "file (dddddd)"]),
        ({"config": asked(path="a.json"), "source": "a.json"}, {"config": asked(path="a.json"), "source": "a.json"},
         ["file (000000)", "file (111111)"]),
        ({"config": asked(templates=["a {}."])}, {"config": asked(templates=["the {}."])},
         ['file ("a {}.")', 'file ("the {}.")']),
        ({"config": asked(clean=False)}, {"config": asked(clean=True)}, ["file (clean=false)", "file (clean=true)"]),
        (
            {"config": asked(variant="base")},
            {"config": asked(variant=None)},
            ["file (variant=base)", "file (no variant)"],
        ),
        ({"config": asked(weights={"a": 1, "b": 2})}, {"config": asked(weights={"a": 2, "b": 2})},
         ["file (weights.a=1)", "file (weights.a=2)"]),
        ({"config": asked(members={"a": {"path": "1.json"}})}, {"config": asked(members={"a": {"path": "2.json"}})},
         ["file (1.json)", "file (2.json)"]),
        ({"config": None}, {"config": None}, ["file (000000)", "file (111111)"]),
        ({"config": {}, "source": "https://x/a.json"}, {"config": asked(path="b.json"), "source": "b.json"},
         ["file (a.json)", "file (b.json)"]),
        ({"config": {"prompts": {"path": "${dataset.texts.cupl}"}, "dataset": {"texts": {"cupl": "1.json"}}}},
         {"config": {"prompts": {"path": "${dataset.texts.cupl}"}, "dataset": {"texts": {"cupl": "2.json"}}}},
         ["file (1.json)", "file (2.json)"]),
    ],
)  # fmt: skip
def test_two_questions_never_share_a_row_and_their_names_differ(
    store: Store, one: dict, other: dict, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    store.add("simple", 0.5)
    store.add("file", 0.6, digest="0" * 64, **one)
    store.add("file", 0.7, digest="1" * 64, **other)
    with caplog.at_level(logging.WARNING):
        comparison = store.write()
    runs = comparison.runs
    assert list(runs["prompts_name"]) == ["simple", "file", "file"]
    assert runs["prompts"][0] == "simple"
    for name, expected in zip(runs["prompts"][1:], names, strict=True):
        assert name.startswith(expected)
    assert runs["prompts"].nunique() == 3
    assert runs["difference"].notna().sum() == 2
    assert "left out" not in caplog.text
    assert set(shown(runs)["prompts"]) == set(runs["prompts"])
    text = (store.folder / "tables" / "classes.md").read_text()
    assert all(f"x {name}, minus simple" in text for name in runs["prompts"][1:])


def test_the_same_words_with_another_content_are_two_rows_and_it_is_said_which_is_newer(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.add("file", 0.6, config=asked(path="a.json"), digest="0" * 64)
    newer = store.add("file", 0.7, config=asked(path="a.json"), digest="1" * 64)
    with caplog.at_level(logging.WARNING):
        assert len(store.table()) == 2
    assert "were asked in the same words, but the files that they read held different prompts" in caplog.text
    assert f"file (111111) of run {newer.run_key}" in caplog.text


def test_settings_that_other_versions_lack_or_that_ask_nothing_are_no_difference(store: Store) -> None:
    """One strategy on two data sets, by two versions of the program, from two caches, with a file for each."""
    for place, (dataset, more) in enumerate({"birds": {}, "cars": {"clean": False, "cache_dir": "/b"}}.items()):
        own = {"dataset": dataset, "fingerprint": f"{place}" * 64}
        store.add("simple", 0.5, **own, config=asked(templates=["x"]))
        store.add("file", 0.6, **own, config=asked(path=f"{dataset}.json", **more), source=f"{dataset}.json")
    comparison = store.compared()
    assert set(comparison.runs["prompts"]) == {"simple", "file"}
    assert list(comparison.pooled["datasets"]) == ["birds cars"]


def test_other_words_are_never_averaged_over_data_sets(store: Store) -> None:
    for place, dataset in enumerate(("birds", "cars", "dogs")):
        own = {"dataset": dataset, "fingerprint": f"{place}" * 64}
        store.add("simple", 0.5, **own)
        for template in ("a {}.", "the {}."):
            if (dataset, template) != ("birds", "the {}."):
                store.add("templates", 0.6, **own, config=asked(templates=[template]))
    pooled = store.compared().pooled
    assert list(zip(pooled["prompts"], pooled["datasets"], strict=True)) == [
        ('templates ("a {}.")', "birds cars dogs"),
        ('templates ("the {}.")', "cars dogs"),
    ]


def test_seeds_of_two_questions_are_two_means(store: Store) -> None:
    for pairs in (5, 15):
        for seed in range(3):
            store.add("waffle", 0.5 + pairs / 100, config=asked(pairs=pairs, seed="${seed}"), seed=seed)
    read = shown(store.table())
    assert list(read["prompts"]) == ["waffle (pairs=5) (3 seeds)", "waffle (pairs=15) (3 seeds)"]


def test_seeds_of_a_file_that_changed_have_no_common_mean(store: Store) -> None:
    for seed, content in enumerate("eedd"):
        source = f"words.json sha256:{content * 64}"
        store.add("cupl", 0.5, config=asked(path="words.json"), source=source, budget=2, seed=seed)
    read = shown(store.table())
    assert list(read["prompts"]) == ["cupl (eeeeee) (2 seeds)", "cupl (dddddd) (2 seeds)"]


def test_a_prompt_of_an_environment_is_never_looked_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "hidden")
    store.add("file", 0.6, config=asked(path="${oc.env:SECRET_OF_MINE}"))
    store.add("file", 0.7, config=asked(path="b.json"))
    store.write()
    assert "hidden" not in (store.folder / "tables" / "comparison.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other", "column", "names"),
    [
        ({"config": {"dataset": {"path": "/x/left"}}}, {"config": {"dataset": {"path": "/x/right"}}},
         "dataset_shown", ["birds (left)", "birds (right)"]),
        ({}, {"split": "val"}, "dataset_shown", ["birds (test)", "birds (val)"]),
        ({}, {"config": {"dataset": {"decode": "fast"}}}, "dataset_shown",
         ["birds (decode=exact)", "birds (decode=fast)"]),
        ({}, {}, "dataset_shown", ["birds (000000)", "birds (111111)"]),
    ],
)  # fmt: skip
def test_two_data_sets_of_one_name_have_two_names(
    store: Store, one: dict, other: dict, column: str, names: list[str]
) -> None:
    for digit, own in enumerate((one, other)):
        for prompts, share in (("simple", 0.5), ("cupl", 0.6)):
            store.add(prompts, share, **({"fingerprint": f"{digit}" * 64} | own))
    comparison = store.write()
    assert list(dict.fromkeys(comparison.runs[column])) == names
    assert list(dict.fromkeys(shown(comparison.runs)["dataset"])) == names
    assert set(comparison.runs["dataset"]) == {"birds"}
    # Two folders are two data sets; two splits, or two versions, of one are no two samples of data sets.
    assert len(comparison.pooled) == (1 if "left" in names[0] else 0)


def test_two_models_of_one_name_have_two_names(store: Store) -> None:
    for weights in ("a.safetensors", "b.safetensors"):
        store.add("simple", 0.5, pretrained=weights, architecture="/models/tiny.json", activation=weights)
    assert list(shown(store.table())["backbone"]) == ["small (a.safetensors)", "small (b.safetensors)"]


# The baseline ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "asked_for", "expected"),
    [
        (["cupl", "simple", "name_only"], None, "simple"),
        (["cupl", "name_only", "ensemble"], None, "name_only"),
        (["cupl", "ensemble"], None, "cupl"),
        (["cupl", "simple", "ensemble"], "ensemble", "ensemble"),
    ],
)
def test_something_is_always_compared_and_the_baseline_is_named(
    store: Store, run: list[str], asked_for: str | None, expected: str
) -> None:
    for dataset, order in (("birds", run), ("cars", run[::-1])):  # a cluster ends its jobs in any order
        for place, name in enumerate(order):
            store.add(name, 0.5 + place / 20, dataset=dataset, fingerprint=dataset * 16)
    comparison = store.compared(asked_for)
    runs = comparison.runs
    assert set(runs["baseline"]) == {expected}
    assert set(runs.loc[runs["difference"].isna(), "prompts"]) == {expected}
    assert set(runs.loc[runs["run_key"].isin(runs["baseline_run_key"]), "prompts"]) == {expected}
    assert f"minus {expected} [95%]" in shown(runs)
    assert expected in shown_pooled(comparison.pooled)
    assert set(comparison.classes["baseline_run_key"].dropna()) == set(runs["baseline_run_key"])


def test_two_baselines_stand_in_the_rows(store: Store) -> None:
    for dataset, names in {"birds": ("simple", "cupl"), "cars": ("name_only", "cupl")}.items():
        for place, name in enumerate(names):
            store.add(name, 0.5 + place / 10, dataset=dataset, fingerprint=dataset * 16)
    comparison = store.compared()
    read = shown(comparison.runs)
    assert list(read["baseline"]) == ["", "simple", "", "name_only"]
    assert "minus baseline [95%]" in read
    assert len(comparison.pooled) == 0  # differences to two baselines have no mean


def test_a_baseline_of_several_seeds_is_one_run_and_its_seed_is_named(store: Store) -> None:
    for seed in range(2):
        store.add("waffle", 0.5 + seed / 10, seed=seed)
    store.add("cupl", 0.6, budget=2, seed=0)
    assert set(store.table()["baseline"]) == {"waffle (seed 0)"}


def test_a_baseline_that_is_not_there_is_refused_with_the_names(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.add("simple")
    store.add("file", config=asked(path="a.json"), source="a.json")
    store.add("file", config=asked(path="b.json"), source="b.json")
    store.add("simple", dataset="cars", fingerprint="c" * 64)
    with pytest.raises(ResultsError, match=r"baseline=simpel is not a strategy .* Did you mean 'simple'"):
        store.table("simpel")
    with pytest.raises(ResultsError, match=r"baseline=file stands for 2 strategies .*'file \(a.json\)'"):
        store.table("file")
    with caplog.at_level(logging.WARNING):
        assert set(store.table("file (a.json)")["baseline"].dropna()) == {"file (a.json)"}
    assert "was not run in 1 of 2 groups, which are not compared: 'cars x small'" in caplog.text


@pytest.mark.slow
def test_the_command_takes_a_baseline_and_names_it(cli, store: Store) -> None:
    for place, name in enumerate(("simple", "cupl", "ensemble")):
        store.add(name, 0.5 + place / 10)
    assert cli.raw("report", f"results_dir={store.folder}", f"cache_dir={cli.cache}", "baseline=cupl") == 0, cli.err
    assert "minus cupl [95%]" in cli.out
    assert "baseline: cupl" in cli.out
    assert "minus cupl" in (store.folder / "tables" / "classes.md").read_text()
    assert "minus cupl" in (store.folder / "tables" / "comparison.tex").read_text()
    assert cli.raw("report", f"results_dir={store.folder}", f"cache_dir={cli.cache}", "baseline=none_of_them") == 2
    assert "baseline=none_of_them is not a strategy" in cli.err


# Compared once --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("with_page")
def test_a_sweep_reads_predictions_once_and_resamples_each_difference_once(
    on_photos, cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    resampled: list[int] = []
    true_read, true_bootstrap = of_comparison.read_answers, significance.image_bootstrap
    monkeypatch.setattr(
        of_comparison, "read_answers", lambda folder, run: (read.append(run.record.run_key), true_read(folder, run))[1]
    )
    monkeypatch.setattr(
        significance, "image_bootstrap", lambda values, seed: (resampled.append(seed), true_bootstrap(values, seed))[1]
    )
    assert on_photos("-m", "prompts=simple,name_only,templates", "prompts.templates=['{}!']") == 0, cli.err
    assert len(read) == len(set(read)) == 3
    assert len(resampled) == 3  # two differences of the table, and the third pair of the page
    assert (cli.results / "report" / "index.html").is_file()


@pytest.mark.slow
def test_the_end_of_a_sweep_shows_its_own_rows_of_the_one_comparison(on_photos, cli) -> None:
    assert on_photos("prompts=simple") == 0, cli.err
    assert on_photos("-m", "prompts=name_only,templates", "prompts.templates=['{}!']", "output=json") == 0, cli.err
    rows = json.loads(cli.out)["comparison"]
    assert [row["prompts"] for row in rows] == ["name_only", "templates"]
    assert {row["baseline"] for row in rows} == {"simple"}
    written = pd.read_csv(cli.results / "tables" / "comparison.csv").set_index("run_key")
    assert [row["p_holm"] for row in rows] == [written["p_holm"][row["run_key"]] for row in rows]


@pytest.mark.slow
def test_a_sweep_ends_with_its_table_though_another_run_of_the_folder_is_damaged(on_photos, cli) -> None:
    assert on_photos("prompts=simple") == 0, cli.err
    (path,) = (cli.results / "predictions").iterdir()
    path.write_bytes(b"no parquet")
    assert on_photos("-m", "prompts=name_only,templates", "prompts.templates=['{}!']") == 0, cli.err
    assert "minus name_only [95%]" in cli.out
    assert "no report was written" in cli.err


# Which classes --------------------------------------------------------------------------------------------------------


def test_classes_and_confusions_are_counted_against_the_baseline(store: Store) -> None:
    names = ["ant", "=HYPERLINK(1)", "cat|dog", "<b>eel</b>", "fox", "fox"]
    generator = np.random.default_rng(3)
    before = np.where(generator.random(240) < 0.5, LABELS, generator.integers(0, 6, 240))
    after = np.where(LABELS == 2, LABELS, before)  # all of class 2 is mended
    after = np.where((LABELS == 4) & (before == 4), 5, after)  # all of class 4 is taken for 5
    store.add("simple", predictions=before, names=names)
    cupl = store.add("cupl", predictions=after, names=names)
    store.write()
    classes = pd.read_parquet(store.folder / "tables" / "per_class.parquet")
    own = classes[classes["run_key"] == cupl.run_key].set_index("label")
    assert list(own["class_name"]) == names
    for label in range(6):
        here = label == LABELS
        assert own["top1"][label] == (after[here] == label).mean()
        assert (own["low"][label], own["high"][label]) == pytest.approx(wilson(int((after[here] == label).sum()), 40))
        assert own["change"][label] == pytest.approx((after[here] == label).mean() - (before[here] == label).mean())
        gained = int(((after == label) & (before != label) & here).sum())
        lost = int(((after != label) & (before == label) & here).sum())
        assert own["p"][label] == pytest.approx(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)
    np.testing.assert_allclose(own["p_holm"], multipletests(own["p"], method="holm")[1])
    moved = pd.read_parquet(store.folder / "tables" / "confusions.parquet")
    of_four = moved[(moved["label"] == 4) & (moved["prediction"] == 5)].iloc[0]
    assert of_four["change"] == int(((LABELS == 4) & (before == 4)).sum()) > 0
    assert (moved[moved["label"] == 2]["change"] < 0).all()
    assert (moved[moved["label"] == 2]["images"] == 0).all()
    text = (store.folder / "tables" / "classes.md").read_text()
    assert "cat\\|dog" in text
    assert "<b>" not in text


def test_a_class_without_images_and_records_without_names(store: Store) -> None:
    labels = LABELS[LABELS != 3]
    store.add("simple", 0.5, labels=labels)
    store.add("cupl", 0.6, labels=labels)
    store.write()
    classes = pd.read_parquet(store.folder / "tables" / "per_class.parquet")
    of_three = classes[classes["label"] == 3]
    assert list(of_three["class_name"]) == ["3", "3"]
    assert (of_three["images"] == 0).all()
    assert of_three[["top1", "low", "high", "change", "p"]].isna().all(axis=None)


def test_names_stay_inert_in_every_table(store: Store) -> None:
    store.add("simple", dataset="=1+1")
    store.add("@cupl|<b>", 0.7, dataset="=1+1")
    store.write()
    tables = store.folder / "tables"
    assert "'=1+1" in (tables / "comparison.csv").read_text()
    assert "'@cupl" in (tables / "comparison.csv").read_text()
    assert "@cupl\\|&lt;b>" in (tables / "comparison.md").read_text()


# Published numbers ----------------------------------------------------------------------------------------------------

OPENAI = {"architecture": "ViT-B-32-quickgelu", "pretrained": "openai", "backbone": "vit_b32_openai"}
IMAGENET = {"dataset": "imagenet", "origin": {"protocol": "standard", "names": "openai"}, "split": "val"}


def settings(**changes: object) -> dict:
    """The configuration of an ensemble on ImageNet."""
    return {
        "dataset": {"texts": {"templates": "openai_imagenet_80", "cupl": "cupl:imagenet"}, "decode": "exact"},
        "prompts": {"templates": "${dataset.texts.templates}", "aggregation": "mean", **changes},
    }


def published(store: Store) -> pd.DataFrame:
    return store.write().published


def test_the_same_question_stands_beside_its_published_number(store: Store) -> None:
    store.add("ensemble", 0.6333, **OPENAI, **IMAGENET, config=settings())
    table = published(store)
    exact = table[table["match"] == "exact"]
    assert set(exact["source"]) >= {"CLIP_benchmark benchmark.csv", "open_clip docs/openclip_results.csv"}
    row = exact[exact["source"] == "open_clip docs/openclip_results.csv"].iloc[0]
    assert row["published"] == pytest.approx(0.633, abs=0.001)
    assert row["difference"] == pytest.approx(row["ours"] - row["published"])
    assert row["agrees"] == (row["ours_low"] - 0.003 <= row["published"] <= row["ours_high"] + 0.003)
    assert (table["verified"] == "verified").all()
    assert "open_clip docs" in (store.folder / "tables" / "published.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"origin": {"protocol": "custom", "names": "openai"}}, "split: val"),
        ({"origin": {"protocol": "standard", "names": "disambiguated"}}, "class names: openai"),
        ({"config": settings(aggregation="max_similarity")}, "prompts.aggregation=max_similarity"),
        ({"config": settings(templates=["{}"])}, "prompts.templates="),
        ({"config": None}, "settings not recorded"),
        ({"split": "val, 3 per class (seed 0)"}, "split: val"),
    ],
)
def test_a_near_match_says_what_differs(store: Store, change: dict, differs: str) -> None:
    store.add("ensemble", 0.6333, **{**OPENAI, **IMAGENET, "config": settings(), **change})
    table = published(store)
    assert set(table["match"]) == {"near"}
    assert table["differs"].str.contains(differs, regex=False).all()


CUB = {"dataset": "cub", "origin": {"protocol": "standard", "names": "hyphen"}, "split": "test"}
DCLIP = {
    "_target_": "cupl_bench.prompts.descriptors.DescriptorsStrategy", "name": "dclip", "article": "original",
    "path": "${dataset.texts.descriptors}", "before": "", "after": "", "aggregation": "mean_similarity",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "name", "prompts", "texts", "source", "exact"),
    [
        (CUB, "dclip", DCLIP, {}, "WaffleCLIP repo results", None),  # its DCLIP begins with "A photo of a"
        (CUB, "dclip_photo", DCLIP | {"before": "A photo of a ", "after": "."}, {}, "WaffleCLIP repo results", True),
        (CUB, "dclip_photo", DCLIP | {"before": "a picture of a ", "after": "."}, {}, "WaffleCLIP repo results", False),
        (CUB, "dclip", DCLIP, {}, "DCLIP paper Table", True),
        (CUB, "dclip", DCLIP | {"path": "mine.json"}, {}, "DCLIP paper Table", False),
        (CUB, "dclip", DCLIP | {"_target_": "a.Mine"}, {}, "DCLIP paper Table", False),
        (CUB, "dclip", DCLIP | {"more": 1}, {}, "DCLIP paper Table", False),
        (IMAGENET, "dclip", DCLIP, {}, "DCLIP paper Table", False),  # DCLIP's code ends those of ImageNet with a stop
        (IMAGENET, "dclip", DCLIP | {"after": "${dataset.texts.end}"}, {"end": "."}, "wording", True),
        (CUB, "simple", {"_target_": "x.TemplatesStrategy", "templates": ["a photo of a {}."]}, {},
         "WaffleCLIP repo results", True),
        (CUB, "simple", {"_target_": "x.TemplatesStrategy", "templates": ["a photo of the {}."]}, {},
         "WaffleCLIP repo results", False),
    ],
)  # fmt: skip
def test_a_published_number_of_another_wording_is_never_shown_as_the_same(
    store: Store, dataset: dict, name: str, prompts: dict, texts: dict, source: str, exact: bool | None
) -> None:
    config = {"dataset": {"texts": {"descriptors": None, "concept": "bird", **texts}}, "prompts": prompts}
    store.add(name, 0.5, **OPENAI, **dataset, config=config)
    table = published(store)
    if source == "wording":  # only the wording is asked about: the option of this version may refer to nothing
        assert not table["differs"].str.contains("wording", regex=False).any()
        return
    own = table[table["source"] == source]
    if exact is None:
        assert not len(own)
        return
    assert len(own)
    others = own["differs"].str.contains("wording|prompts[.]")
    assert (own["wording"].str.len() > 0).all()
    assert exact != others.any()
    if not exact:
        assert set(own["match"]) == {"near"}
        assert others.all()


@pytest.mark.slow
def test_one_sentence_under_two_names_has_the_published_numbers_of_both(store: Store) -> None:
    """CoOp's template of Cars is the plain one, its template of DTD another."""
    own = {"architecture": "ViT-B-16-quickgelu", "pretrained": "openai", "backbone": "vit_b16_openai"}

    def sources(dataset: str, name: str, template: str) -> set[tuple[str, str]]:
        origin = {"dataset": dataset, "split": "coop test", "origin": {"protocol": "coop", "names": "openai"}}
        prompts = {"_target_": "x.TemplatesStrategy", "templates": "${dataset.texts.coop}"}
        config = {"dataset": {"texts": {"coop": [template]}}, "prompts": prompts}
        store.add(name, 0.5, **own, **origin, config=config)
        table = published(store)
        table = table[(table["dataset"] == dataset) & (table["prompts"] == name)]
        return set(zip(table["source"], table["match"], strict=True))

    assert ("mariodoebler/test-time-adaptation tutorial", "near") not in sources("eurosat", "coop", "{} texture.")
    assert sources("dtd", "coop", "{} texture.") == {("ProText paper", "near")}
    assert sources("imagenet_r", "coop", "a photo of a {}.") == {("mariodoebler/test-time-adaptation tutorial", "near")}
    assert sources("imagenet_r", "simple", "a photo of the {}.") >= {("ProText paper", "near")}


def test_every_published_row_of_coops_template_is_told_by_its_option() -> None:
    import yaml

    from cupl_bench.report.published import read_published

    conf = Path(__file__).parents[2] / "conf" / "dataset"
    own = {path.stem: yaml.safe_load(path.read_text())["texts"]["coop"] for path in conf.glob("*.yaml")}
    rows = read_published()
    theirs = [
        place
        for place, row in rows.iterrows()
        if [row["wording"]] == own.get(row["dataset"]) != ["a photo of a {}."] or "as CoOp" in row["wording"]
    ]
    assert len(theirs) == 17
    assert set(rows.loc[theirs, "strategy"]) == {"coop"}
    assert theirs == rows.index[rows["strategy"] == "coop"].tolist()


def test_every_published_row_says_its_wording_and_that_of_an_option_is_the_options() -> None:
    import yaml

    from cupl_bench.report.naming import leaves
    from cupl_bench.report.published import our_wording, read_published

    rows = read_published()
    assert (rows["wording"].str.len() > 0).all()
    conf = Path(__file__).parents[2] / "conf"
    for _, row in rows[rows["source"] == "WaffleCLIP repo results"].iterrows():
        option = leaves(yaml.safe_load((conf / "prompts" / f"{row['strategy']}.yaml").read_text()))
        dataset = leaves(yaml.safe_load((conf / "dataset" / f"{row['dataset']}.yaml").read_text()), "${dataset.")
        settings = {key: dataset.get(str(value).rstrip("}"), value) for key, value in option.items()}
        assert our_wording(settings).casefold() == row["wording"].casefold()


def test_unverified_numbers_are_called_so_and_strangers_have_none(store: Store) -> None:
    own = {"architecture": "ViT-L-14-quickgelu", "pretrained": "openai", "backbone": "vit_l14_openai"}
    store.add("cupl", 0.76, **own, **IMAGENET, config={"dataset": {}, "prompts": {"variant": None}})
    store.add("cupl", 0.76, dataset="mine")
    table = published(store)
    assert set(table["dataset"]) == {"imagenet"}
    unverified = table[table["verified"] == "unverified"]
    assert list(unverified["source"]) == ["CuPL paper main table"]
    assert "(unverified)" in (store.folder / "tables" / "published.md").read_text()


def test_published_rows_speak_our_words() -> None:
    import yaml

    from cupl_bench.dataset.spec import read_spec
    from cupl_bench.metrics import METRICS as BEYOND_ACCURACY
    from cupl_bench.report.published import METRICS, read_published

    root = Path(__file__).parents[2]
    rows = read_published()
    assert not rows.duplicated().any()
    assert set(rows["metric"]) <= {*METRICS, *BEYOND_ACCURACY}
    assert set(rows["verified"]) == {"yes", "no"}
    assert rows["value"].between(0, 100).all()
    for name, own in rows.groupby("dataset"):
        spec = read_spec(name)
        assert set(own["protocol"]) - {""} <= set(spec.protocols)
        assert set(own["names"]) - {""} <= set(spec.classes.names)
    for name in set(rows["strategy"]):
        assert (root / "conf" / "prompts" / f"{name}.yaml").is_file(), name
    for (name, architecture, pretrained), _ in rows[rows["backbone"] != ""].groupby(
        ["backbone", "architecture", "pretrained"]
    ):
        option = yaml.safe_load((root / "conf" / "backbone" / f"{name}.yaml").read_text())
        assert (option["architecture"], option["pretrained"]) == (architecture, pretrained)
