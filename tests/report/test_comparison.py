"""Records side by side: what is compared, what is refused, and how a table reads."""

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from cupl_bench.errors import ResultsError
from cupl_bench.identity import PROTOCOL_VERSION
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
from cupl_bench.report.answers import missing_cells, read_answers
from cupl_bench.report.comparison import compare, groups_of_answers, shown, weigh
from cupl_bench.report.significance import paired
from cupl_bench.report.tables import write_tables
from cupl_bench.scores import wilson

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
                activation="gelu",
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

    def table(self) -> pd.DataFrame:
        return compare(read_records(self.folder), self.folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_each_row_is_compared_with_simple_on_the_same_images(store: Store) -> None:
    simple, cupl = store.add("simple", 0.5), store.add("cupl", 0.6)
    store.add("ensemble", 0.51)
    table = store.table().set_index("prompts")
    ours, base = (read_answers(store.folder, record) for record in (cupl, simple))
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
    assert [cell.endswith("n.s.") for cell in read["less simple [95%]"]] == [False, False, True]


def test_the_best_is_bold_only_where_it_is_significantly_better_than_every_other(store: Store) -> None:
    for name, share in (("simple", 0.5), ("cupl", 0.7), ("ensemble", 0.695)):
        store.add(name, share)
    assert not store.table()["best"].any()
    write_tables(store.folder)
    assert "\\textbf" not in (store.folder / "tables" / "comparison.tex").read_text()
    store.add("waffle", 0.8)
    write_tables(store.folder)
    bold = [line for line in (store.folder / "tables" / "comparison.tex").read_text().splitlines() if "textbf" in line]
    assert len(bold) == 1
    assert bold[0].startswith("birds & small & waffle")


def test_negative_numbers_have_a_minus_in_latex(store: Store) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.4)
    write_tables(store.folder)
    text = (store.folder / "tables" / "comparison.tex").read_text()
    assert re.search(r"& \$-\$\d+\.\d \[\$-\$\d", text)
    assert not re.search(r"[ \[]-\d", text)


def test_no_difference_is_minus_zero(store: Store) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.5)
    table = store.table().assign(difference=-1e-5, difference_low=-2e-5, difference_high=-1e-5)
    assert shown(table)["less simple [95%]"].iloc[-1].startswith("+0.0 [+0.0, +0.0]")


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
    assert f"birds x small stands in 2 groups that are not compared: they differ in {differs}" in caplog.text


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


def test_the_newest_of_a_cell_stays_and_the_others_are_named(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    old, new = store.add("cupl", 0.5), store.add("cupl", 0.6)
    store.add("cupl", 0.6, aggregation="max_similarity")
    store.add("cupl", 0.6, budget=4, seed=0)
    with caplog.at_level(logging.WARNING):
        table = store.table()
    assert old.run_key not in set(table["run_key"])
    assert new.run_key in set(table["run_key"])
    assert (
        f"1 older runs of the same data set, backbone, prompts name, budget and seed are left out: '{old.run_key}'"
        in (caplog.text)
    )
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
    write_tables(store.folder)
    assert len(pd.read_csv(store.folder / "tables" / "missing.csv")) == 2


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
    write_tables(store.folder)
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
    comparison = weigh(groups_of_answers(read_records(store.folder), store.folder))
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
    again = weigh(groups_of_answers(read_records(store.folder), store.folder)).pooled
    assert (again["datasets"][0], again["left_out"][0]) == ("cars dogs", "birds")


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


# Which classes --------------------------------------------------------------------------------------------------------


def test_classes_and_confusions_are_counted_against_the_baseline(store: Store) -> None:
    names = ["ant", "=HYPERLINK(1)", "cat|dog", "<b>eel</b>", "fox", "fox"]
    generator = np.random.default_rng(3)
    before = np.where(generator.random(240) < 0.5, LABELS, generator.integers(0, 6, 240))
    after = np.where(LABELS == 2, LABELS, before)  # all of class 2 is mended
    after = np.where((LABELS == 4) & (before == 4), 5, after)  # all of class 4 is taken for 5
    store.add("simple", predictions=before, names=names)
    cupl = store.add("cupl", predictions=after, names=names)
    write_tables(store.folder)
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
    write_tables(store.folder)
    classes = pd.read_parquet(store.folder / "tables" / "per_class.parquet")
    of_three = classes[classes["label"] == 3]
    assert list(of_three["class_name"]) == ["3", "3"]
    assert (of_three["images"] == 0).all()
    assert of_three[["top1", "low", "high", "change", "p"]].isna().all(axis=None)


def test_names_stay_inert_in_every_table(store: Store) -> None:
    store.add("simple", dataset="=1+1")
    store.add("@cupl|<b>", 0.7, dataset="=1+1")
    write_tables(store.folder)
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
    tables, _ = write_tables(store.folder)
    return tables.published


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
    from cupl_bench.report.published import METRICS, read_published

    root = Path(__file__).parents[2]
    rows = read_published()
    assert not rows.duplicated().any()
    assert set(rows["metric"]) <= set(METRICS)
    assert set(rows["verified"]) == {"yes", "no"}
    assert rows["value"].between(0, 100).all()
    for name, own in rows.groupby("dataset"):
        spec = read_spec(name)
        assert set(own["protocol"]) - {""} <= set(spec.protocols)
        assert set(own["names"]) <= set(spec.classes.names)
    for name in set(rows["strategy"]):
        assert (root / "conf" / "prompts" / f"{name}.yaml").is_file(), name
    for (name, architecture, pretrained), _ in rows[rows["backbone"] != ""].groupby(
        ["backbone", "architecture", "pretrained"]
    ):
        option = yaml.safe_load((root / "conf" / "backbone" / f"{name}.yaml").read_text())
        assert (option["architecture"], option["pretrained"]) == (architecture, pretrained)
