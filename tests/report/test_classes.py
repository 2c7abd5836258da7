"""Classes and confusions beside the baseline's."""

import numpy as np
import pandas as pd
import pytest
from recorded import LABELS, Store
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from cupl_bench.intervals import wilson


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
