"""Something is always compared, and with what is told."""

import logging

import pytest
from recorded import Store, asked

from cupl_bench.errors import ResultsError
from cupl_bench.report.shown import shown, shown_pooled


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
