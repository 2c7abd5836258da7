"""The headline metric of a data set in the comparison, where it is an accuracy."""

import numpy as np
import pandas as pd
import pytest
from recorded import Store

from cupl_bench.records import Record, write_record
from cupl_bench.report.shown import shown

LABELS = np.repeat(np.arange(6), [10, 20, 40, 80, 30, 60])


def measured_per_class(store: Store, record: Record) -> Record:
    """The run as one of a data set whose headline metric is the mean per class."""
    assert record.metrics is not None
    of = {"primary_name": "mean_per_class", "primary": record.metrics.mean_per_class}
    changed = record.model_copy(update={"metrics": record.metrics.model_copy(update=of)})
    write_record(store.folder, changed)
    return changed


def test_the_difference_of_a_mean_per_class_is_its_own(store: Store) -> None:
    """Of classes that differ in size the two differences differ, here even in their sign."""
    generator = np.random.default_rng(0)
    wrong = (LABELS + 1) % 6
    base = np.where(generator.random(len(LABELS)) < 0.5, LABELS, wrong)
    better = np.where(
        (LABELS < 2) | ((base == LABELS) & ~((LABELS == 3) & (generator.random(len(LABELS)) < 0.9))), LABELS, wrong
    )
    ours, theirs = (
        measured_per_class(store, store.add(prompts, predictions=given, labels=LABELS))
        for prompts, given in (("cupl", better), ("simple", base))
    )
    table = store.table()
    row = table.set_index("prompts").loc["cupl"]
    assert ours.metrics is not None
    assert theirs.metrics is not None
    assert row["primary_value"] == ours.metrics.mean_per_class
    assert row["primary_difference"] == pytest.approx(ours.metrics.mean_per_class - theirs.metrics.mean_per_class)
    assert row["difference"] == pytest.approx(ours.metrics.top1 - theirs.metrics.top1)
    assert row["difference"] < 0 < row["primary_difference"]
    assert row["primary_test"] == "normal interval and test of a stratified mean: images drawn within each class"
    steps = (better == LABELS).astype(float) - (base == LABELS)
    places = [np.flatnonzero(label == LABELS) for label in range(6)]
    draws = np.mean([steps[generator.choice(own, (4_000, len(own)))].mean(axis=1) for own in places], axis=0)
    expected = np.percentile(draws, [2.5, 97.5])
    assert [row["primary_difference_low"], row["primary_difference_high"]] == pytest.approx(expected, abs=0.012)
    assert 0 < row["primary_p"] < 0.001
    of_person = shown(table)
    assert list(of_person["metric"]) == ["mean per class"] * 2
    told = dict(zip(of_person["prompts"], of_person["value minus simple [95%]"], strict=True))
    assert told["cupl"].startswith(f"{100 * row['primary_difference']:+.1f} [")
    assert told["simple"] == ""


def test_a_table_of_top1_alone_has_no_such_columns(store: Store) -> None:
    for prompts in ("cupl", "simple"):
        store.add(prompts)
    assert "primary_value" not in store.table()


def test_without_a_change_within_a_class_there_is_no_interval(store: Store) -> None:
    for prompts in ("cupl", "simple"):
        measured_per_class(store, store.add(prompts, labels=LABELS))
    row = store.table().set_index("prompts").loc["cupl"]
    assert row["primary_difference"] == 0
    assert pd.isna(row["primary_p"])
    assert row["primary_test"] is None
