"""Metrics beyond accuracy, one class each (pure); docs/metrics.md says what each is, and where it comes from.

A metric is an entry of `METRICS`, and nothing else knows it by name. A data set names one as its ``primary``; those
that go ``along`` with it are measured too.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64

from cupl_bench.metrics.classes import MacroF1, RealAccuracy
from cupl_bench.metrics.confident import SelectiveAccuracy
from cupl_bench.metrics.groups import GroupGap, WorstGroup
from cupl_bench.metrics.metric import Measured, Metric, Part, Scored
from cupl_bench.metrics.ranking import MeanAveragePrecision, OutlierPrecision, OutlierRoc, RocAuc
from cupl_bench.truth import Truth

__all__ = [
    "ACCURACIES",
    "DRAWS",
    "METRICS",
    "Measured",
    "Metric",
    "Part",
    "Scored",
    "along_with",
    "draws_of",
    "interval_of",
    "intervals_of",
    "resampled",
    "seed_of",
    "standard_error_p",
    "undefined",
]

ACCURACIES = ("top1", "mean_per_class")
"""The headline metrics that every record has, and that are counted while the images are scored."""

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        MeanAveragePrecision(name="map_11", title="mAP, 11 points", along=("map_area",), points=11),
        MeanAveragePrecision(name="map_area", title="mAP, area", along=("map_11",), points=None),
        RealAccuracy(name="real_accuracy", title="ReaL accuracy"),
        RocAuc(name="roc_auc", title="ROC AUC"),
        MacroF1(name="f1_macro", title="macro F1"),
        WorstGroup(name="worst_group", title="worst group", along=("group_gap",), among=1),
        WorstGroup(name="worst_group_top5", title="worst group, top-5", along=("group_gap_top5",), among=5),
        GroupGap(name="group_gap", title="gap to the worst group", among=1, lower_is_better=True),
        GroupGap(name="group_gap_top5", title="gap to the worst group, top-5", among=5, lower_is_better=True),
        SelectiveAccuracy(name="selective_50", title="accuracy of the surest 50%", coverage=50),
        SelectiveAccuracy(name="selective_80", title="accuracy of the surest 80%", coverage=80),
        SelectiveAccuracy(name="selective_90", title="accuracy of the surest 90%", coverage=90),
        OutlierPrecision(name="outlier_aupr", title="AUPR of outliers", along=("outlier_auroc",)),
        OutlierRoc(name="outlier_auroc", title="AUROC of outliers", along=("outlier_aupr",)),
    )
}
"""Every metric by its name, which a configuration and a record use."""

DRAWS = 1_000
BLOCK_VALUES = 8_000_000
"""Counts of resampled images that are held at once."""
FEWEST_DEFINED = 0.9
"""The share of the resamples in which a metric must be defined, so that they give an interval."""


def along_with(primary: str) -> tuple[Metric, ...]:
    """Return the metrics that a record of this headline metric holds beside the accuracies, the headline first.

    >>> [metric.name for metric in along_with("map_11")], along_with("top1")
    (['map_11', 'map_area'], ())
    """
    if primary not in METRICS:
        return ()
    return (METRICS[primary], *(METRICS[name] for name in METRICS[primary].along))


def seed_of(fingerprint: str) -> int:
    """Return the seed of the resamples of a data set: all runs on it are resampled alike, so differences are paired.

    >>> seed_of("0000001f" + 56 * "0")
    31
    """
    return int(fingerprint[:8], 16)


def resampled(
    num_images: int, groups: Int64[np.ndarray, " n"] | None, seed: int
) -> Iterator[Float32[np.ndarray, "b n"]]:
    """Yield how often each image stands in each of ``DRAWS`` resamples, in blocks; images are drawn within groups.

    >>> blocks = list(resampled(3, np.array([0, 0, 1]), seed=0))
    >>> sum(len(block) for block in blocks), set(blocks[0][:, 2].tolist()), set(blocks[0].sum(axis=1).tolist())
    (1000, {1.0}, {3.0})
    """
    generator = np.random.default_rng(seed)
    if groups is None:
        groups = np.zeros(num_images, dtype=np.int64)
    order = np.argsort(groups, kind="stable")
    sizes = np.unique(groups, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    step = max(1, BLOCK_VALUES // num_images)
    for first in range(0, DRAWS, step):
        rows = min(step, DRAWS - first)
        drawn = np.concatenate(
            [
                generator.integers(start, start + size, (rows, size))
                for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
            ],
            axis=1,
        )
        drawn += np.arange(rows)[:, None] * num_images
        counts = np.bincount(drawn.ravel(), minlength=rows * num_images).reshape(rows, num_images)
        block = np.empty((rows, num_images), dtype=np.float32)
        block[:, order] = counts
        yield block


def draws_of(metrics: Sequence[Metric], scored: Scored, seed: int) -> list[Float64[np.ndarray, " b"]]:
    """Return the values of each metric in the same resamples; NaN in those where it is not defined.

    >>> truth = Truth(labels=np.array([0, 1, 1]), num_classes=2)
    >>> scored = Scored(truth=truth, predictions=np.array([0, 1, 1]))
    >>> float(draws_of([METRICS["f1_macro"]], scored, seed=0)[0].min())
    1.0
    """
    groups = None
    if scored.truth.groups is not None:  # numbered as they first appear, whatever the order of their names
        _, first, place = np.unique(scored.truth.groups.of, return_index=True, return_inverse=True)
        groups = np.argsort(np.argsort(first))[place.reshape(-1)]
    blocks = [
        [metric.resampled(scored, counts) for metric in metrics]
        for counts in resampled(len(scored.predictions), groups, seed)
    ]
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def interval_of(draws: Float64[np.ndarray, " b"]) -> tuple[float, float] | None:
    """Return the 95% percentile interval of resamples; None where the metric is not defined in a tenth of them.

    >>> interval_of(np.linspace(0, 1, 1001)), interval_of(np.array([0.5, np.nan]))
    ((0.025, 0.975), None)
    """
    defined = draws[~np.isnan(draws)]
    if len(defined) < FEWEST_DEFINED * len(draws):
        return None
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)


def intervals_of(
    found: Mapping[Metric, Measured], scored: Scored, seed: int
) -> dict[Metric, tuple[tuple[float, float] | None, str]]:
    """Return the interval of each metric, and in words how it was made, or why there is none.

    >>> truth = Truth(labels=np.array([0, 1]), num_classes=2)
    >>> scored = Scored(truth=truth, predictions=np.array([0, 1]))
    >>> intervals_of({METRICS["f1_macro"]: Measured(value=1.0)}, scored, seed=0)[METRICS["f1_macro"]]
    (None, 'none: it is the same in every resample of the images')
    """
    measured = [metric for metric, one in found.items() if one.value is not None]
    own = {metric: metric.own_interval(scored) for metric in measured}
    defined = [metric for metric in measured if own[metric] is None]
    where = "images" if scored.truth.groups is None else "images within their groups"
    how = f"percentiles of a bootstrap over {where}, {DRAWS:,} draws, seed {seed}"
    told: dict[Metric, tuple[tuple[float, float] | None, str]] = dict.fromkeys(found, (None, "none: it has no value"))
    told |= {metric: interval for metric, interval in own.items() if interval is not None}
    for metric, draws in zip(defined, draws_of(defined, scored, seed) if defined else (), strict=True):
        interval, lost = interval_of(draws), int(np.isnan(draws).sum())
        if interval is None:
            told[metric] = None, f"none: it is not defined in {lost:,} of {DRAWS:,} resamples of the images"
        elif interval[0] == interval[1] and np.nanmin(draws) == np.nanmax(draws):
            told[metric] = None, "none: it is the same in every resample of the images"
        else:
            told[metric] = interval, f"{how}, {lost:,} without a value" if lost else how
    return told


def standard_error_p(difference: float, draws: Float64[np.ndarray, " b"]) -> float | None:
    """Return the two-sided p that a paired difference is none: the normal test with the spread of its resamples.

    A share of the resamples could not be smaller than one of their number, and would never survive a correction for
    many comparisons. None where there is no interval.

    >>> round(standard_error_p(0.196, np.tile([0.1, 0.3], 500)), 2)
    0.05
    """
    from scipy.special import ndtr

    if interval_of(draws) is None:
        return None
    spread = float(np.nanstd(draws, ddof=1))
    if spread == 0:
        return float(difference == 0)
    return float(2 * ndtr(-abs(difference) / spread))


def undefined(primary: str, truth: Truth) -> str | None:
    """Tell why images have no such headline metric, before any is scored; None where they have.

    >>> undefined("roc_auc", Truth(labels=np.array([1, 1]), num_classes=2))
    'all 2 images are of class 1, and it compares the two classes'
    """
    return METRICS[primary].undefined(truth) if primary in METRICS else None
