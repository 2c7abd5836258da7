"""The headline metric of each run beside that of its baseline, where a data set names one beyond accuracy.

All runs on a data set are resampled alike, so the difference of two runs in a resample is that of the same images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from cupl_bench.metrics import ACCURACIES, METRICS, draws_of, interval_of, seed_of, standard_error_p
from cupl_bench.records import MetricsRecord, Record
from cupl_bench.report.answers import Answers, is_by_image, same_images
from cupl_bench.report.best import best_of
from cupl_bench.report.runs import Run
from cupl_bench.report.significance import ALPHA, holm, mean_per_class_change

__all__ = [
    "COLUMNS",
    "Headlines",
    "beyond_accuracy",
    "has_headline",
    "headline_title",
    "is_beyond",
    "own_metric",
    "ranked_values",
]

COLUMNS = (
    "primary_value", "primary_low", "primary_high", "primary_difference", "primary_difference_low",
    "primary_difference_high", "primary_p", "primary_test",
)  # fmt: skip
"""Columns that the comparison has where a run of it has another headline metric than top-1."""
BOOTSTRAP = "paired bootstrap over images: percentiles, p by its standard error"
MCNEMAR = "paired bootstrap over images: percentiles, p by McNemar's exact test"
STRATIFIED = "normal interval and test of a stratified mean: images drawn within each class"


def has_headline(records: Sequence[Record]) -> bool:
    """Tell whether a run has another headline metric than top-1."""
    return any(record.metrics is not None and record.metrics.primary_name != "top1" for record in records)


def is_beyond(record: Record) -> bool:
    """Tell whether the headline metric of a run is beyond accuracy."""
    return record.metrics is not None and record.metrics.primary_name in METRICS


def headline_title(name: str) -> str:
    """Return what tables call a headline metric.

    >>> headline_title("map_11"), headline_title("mean_per_class")
    ('mAP, 11 points', 'mean per class')
    """
    return METRICS[name].title if name in METRICS else {"top1": "top-1"}.get(name, name.replace("_", " "))


def beyond_accuracy(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Tell of each row of a comparison whether its headline metric is beyond accuracy."""
    return ~runs["primary"].isin(ACCURACIES)


def ranked_values(runs: pd.DataFrame) -> "pd.Series[float]":
    """Return what strategies are ranked by on a data set: its own metric where that is beyond accuracy, else top-1.

    >>> runs = {"primary": ["top1", "map_11"], "top1": [0.6, 0.9], "primary_value": [0.6, 0.7]}
    >>> ranked_values(pd.DataFrame(runs)).tolist()
    [0.6, 0.7]
    """
    beyond = beyond_accuracy(runs)
    return (runs["top1"].where(~beyond, runs["primary_value"]) if beyond.any() else runs["top1"]).astype(float)


def own_metric(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the headline metric of a row of a comparison with its title; None where it is an accuracy.

    >>> own_metric({"primary": "top1"}) is None
    True
    """
    if row["primary"] in ACCURACIES:
        return None
    names = ("value", "low", "high", "difference", "difference_low", "difference_high", "p_holm")
    return {"title": headline_title(row["primary"])} | {name: row[f"primary_{name}"] for name in names}


def _metrics(answers: Answers) -> MetricsRecord:
    metrics = answers.record.metrics
    assert metrics is not None  # noqa: S101 - comparable() lets finished records through, and those have metrics
    return metrics


@dataclass
class Headlines:
    """The headline metrics of runs; each run is read and resampled once: ``draws`` holds its resamples, by run key."""

    results_dir: Path
    draws: dict[str, Float64[np.ndarray, " b"]] = field(default_factory=dict)

    def columns(self, runs: Sequence[Answers], against: Answers | None, row: Mapping[str, object]) -> dict[str, object]:
        """Return the columns of a run, or of the mean over the seeds of a strategy.

        Args:
            runs: the run, or one for each seed.
            against: the baseline; None for none.
            row: what the accuracies of the same runs are, for data sets whose headline metric is one of them.
        """
        names = {_metrics(answers).primary_name for answers in runs}
        name = next(iter(names))
        found: dict[str, object] = dict.fromkeys(COLUMNS)
        if len(names) > 1:  # the seeds of one strategy were asked for several metrics
            return found
        if name in ACCURACIES:
            found |= {f"primary_{end}": row[f"{name}{part}"] for end, part in ENDS.items()}
            if name == "top1" and row["difference"] is not None:
                found |= {f"primary_{part}": row[part] for part in ("difference", "difference_low", "difference_high")}
                found |= {"primary_p": row["p"], "primary_test": None if row["p"] is None else MCNEMAR}
            if name == "mean_per_class" and against is not None:
                found |= _change_per_class(runs, against)
            return found
        value = float(np.mean([_metrics(answers).primary for answers in runs]))
        found["primary_value"] = value
        if not is_by_image(*runs) or not all(same_images(answers, runs[0]) for answers in runs):
            return found
        draws = np.mean([self._of(answers) for answers in runs], axis=0)
        of_record = _metrics(runs[0]).primary_more
        if len(runs) == 1 and of_record is not None:
            interval = of_record.ci95
        else:  # resamples that never differ say nothing of the value
            interval = None if np.ptp(draws) == 0 else interval_of(draws)
        found |= dict(zip(("primary_low", "primary_high"), interval or (None, None), strict=True))
        if against is None or _metrics(against).primary_name != name:
            return found
        difference = value - _metrics(against).primary
        found["primary_difference"] = difference
        if is_by_image(against):
            steps = draws - self._of(against)
            low, high = interval_of(steps) or (None, None)
            p = standard_error_p(difference, steps)
            found |= {"primary_difference_low": low, "primary_difference_high": high, "primary_p": p}
            found["primary_test"] = None if p is None else BOOTSTRAP
        return found

    def best(self, read: Mapping[int, Sequence[Answers]]) -> int | None:
        """Return the row whose headline metric is significantly better than that of all others, Holm-corrected."""
        first = next(iter(read.values()))[0]
        name = _metrics(first).primary_name
        if name in ACCURACIES:  # another run of the group was asked for a metric beyond accuracy
            return best_of(read)
        rows = {
            place: runs
            for place, runs in read.items()
            if all(same_images(one, first) and _metrics(one).primary_name == name for one in runs)
            and is_by_image(*runs)
        }
        if len(rows) < 2:
            return None
        values = {place: float(np.mean([_metrics(one).primary for one in runs])) for place, runs in rows.items()}
        draws = {place: np.mean([self._of(one) for one in runs], axis=0) for place, runs in rows.items()}
        best = max(values, key=lambda place: values[place])
        p = [
            standard_error_p(values[best] - values[other], draws[best] - draws[other])
            for other in rows
            if other != best
        ]
        known = [one for one in p if one is not None]
        return best if len(known) == len(p) and (holm(np.array(known)) < ALPHA).all() else None

    def resamples(self, runs: Sequence[Run]) -> Float64[np.ndarray, " b"] | None:
        """Return the headline metric of a row in each resample, the mean over its runs; None where it has none."""
        found = [self.draws.get(run.record.run_key) for run in runs]
        known = [draws for draws in found if draws is not None and interval_of(draws) is not None]
        return np.mean(known, axis=0) if len(known) == len(found) else None

    def _of(self, answers: Answers) -> Float64[np.ndarray, " b"]:
        key = answers.record.run_key
        if key not in self.draws:
            metric = METRICS[_metrics(answers).primary_name]
            seed = seed_of(answers.record.dataset.fingerprint)
            (self.draws[key],) = draws_of([metric], answers.scored(self.results_dir), seed)
        return self.draws[key]


def _change_per_class(runs: Sequence[Answers], against: Answers) -> dict[str, object]:
    """Return the columns of the difference of the mean per class, or of its mean over seeds, to the baseline's."""
    same = all(same_images(answers, against) for answers in runs)
    if _metrics(against).primary_name != "mean_per_class" or not same:
        return {}
    hits = np.mean([answers.hits for answers in runs], axis=0)
    change, interval, p = mean_per_class_change(hits - against.hits, against.labels)
    if not is_by_image(*runs, against):
        return {"primary_difference": change}
    low, high = interval or (None, None)
    return {
        "primary_difference": change,
        "primary_difference_low": low,
        "primary_difference_high": high,
        "primary_p": p,
        "primary_test": None if p is None else STRATIFIED,
    }


ENDS = {"value": "", "low": "_low", "high": "_high"}
