"""Means over data sets."""

import numpy as np
import pytest
from recorded import Store


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
