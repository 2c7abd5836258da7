"""Records side by side: each is read and resampled once, and every table shows that."""

import json

import numpy as np
import pandas as pd
import pytest
from recorded import LABELS, Store, answers_of
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

import cupl_bench
from cupl_bench.records import (
    Record,
)
from cupl_bench.report import comparison as of_comparison
from cupl_bench.report import significance
from cupl_bench.report.shown import shown
from cupl_bench.report.significance import mcnemar_exact, paired
from cupl_bench.report.standings import notes_of


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


@pytest.mark.slow
@pytest.mark.usefixtures("with_page")
def test_a_sweep_reads_predictions_once_and_resamples_each_difference_once(
    on_photos, cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    resampled: list[int] = []
    true_read, true_bootstrap = of_comparison.read_answers, significance._resampled_means
    monkeypatch.setattr(
        of_comparison, "read_answers", lambda folder, run: (read.append(run.record.run_key), true_read(folder, run))[1]
    )
    monkeypatch.setattr(
        significance, "_resampled_means", lambda *of: (resampled.append(of[-1]), true_bootstrap(*of))[1]
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


def test_names_stay_inert_in_every_table(store: Store) -> None:
    store.add("simple", dataset="=1+1")
    store.add("@cupl|<b>", 0.7, dataset="=1+1")
    store.write()
    tables = store.folder / "tables"
    assert "'=1+1" in (tables / "comparison.csv").read_text()
    assert "'@cupl" in (tables / "comparison.csv").read_text()
    assert "@cupl\\|&lt;b>" in (tables / "comparison.md").read_text()
