"""Means over data sets."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cupl_bench.metrics import ACCURACIES
from cupl_bench.report.significance import over_datasets, percentile_interval

__all__ = ["pooled_over_datasets"]


def pooled_over_datasets(table: pd.DataFrame, draws: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """Return means over data sets of each strategy of a backbone, with the baseline on the same data sets beside them.

    A data set that stands here in several versions is not a single number and is left out; so is one whose headline
    metric is beyond accuracy: its top-1 is no number to average.
    """
    rows = []
    by = ["backbone", "backbone_shown", "precision", "prompts", "scorer", "kind", "aggregation", "budget", "baseline"]
    read = table[~table["of_seeds"].astype(bool)]
    top1_of = dict(zip(table["run_key"], table["top1"], strict=True))
    for key, members in read.groupby(by, dropna=False, sort=False):
        with_difference = members[members["difference"].notna()]
        several = with_difference["collection"].duplicated(keep=False)
        several |= ~with_difference["primary"].isin(ACCURACIES)
        taken = with_difference[~several]
        if len(taken) < 2:
            continue
        over_images: tuple[float | None, float | None] = (None, None)
        if taken["difference_low"].notna().all():
            mean_of_draws = np.mean(np.stack([draws[int(place)] for place in taken.index]), axis=0)
            over_images = percentile_interval(mean_of_draws, int(taken["num_images"].sum()))
        sets = over_datasets(taken["difference"].astype(float).tolist()) or (None, None)
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "num_datasets": len(taken),
                "datasets": " ".join(taken["collection"]),
                "left_out": " ".join(dict.fromkeys(with_difference["collection"][several])),
                "top1": taken["top1"].mean(),
                "baseline_top1": np.mean([top1_of[run_key] for run_key in taken["baseline_run_key"]]),
                "difference": taken["difference"].astype(float).mean(),
                "difference_low": over_images[0],
                "difference_high": over_images[1],
                "difference_datasets_low": sets[0],
                "difference_datasets_high": sets[1],
                "better_on": int((taken["difference"].astype(float) > 0).sum()),
            }
        )
    return pd.DataFrame(rows)
