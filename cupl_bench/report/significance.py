"""How sure a number is (pure): intervals by bootstrap, McNemar's exact test, Holm's correction, calibration.

Two bootstraps answer two questions. Over *images*: had other images of the same classes been taken, how far would
the difference move? Over *classes*: had other classes like these been taken, each with its images, how far then?
A strategy that wins on a few classes alone is sure by the first and unsure by the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int64
from scipy import stats

__all__ = [
    "ALPHA",
    "Paired",
    "benjamini_hochberg",
    "calibration_error",
    "change_intervals",
    "class_bootstrap",
    "difference_p",
    "holm",
    "image_bootstrap",
    "mcnemar_exact",
    "mean_per_class_change",
    "mean_per_class_interval",
    "over_datasets",
    "paired",
    "paired_all",
    "paired_mean",
    "percentile_interval",
    "resampled_pair",
]

ALPHA = 0.05
"""Intervals hold 1 - ALPHA; a corrected p below it counts as significant."""
DRAWS = 10_000
CLASS_SEED = 0
BLOCK_VALUES = 16_000_000
"""Random numbers that the bootstrap over classes holds at once."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Accuracy of one strategy minus another's on the same images; fractions, intervals of 95%.

    ``gained`` and ``lost``: images that only the one, or only the other, has right; None for a mean over seeds.
    ``p``: McNemar's exact test; for a mean over seeds the paired t test over images.
    ``draws``: the bootstrap over images, from which means over data sets are made.
    """

    difference: float
    over_images: Interval
    over_classes: Interval | None
    gained: int | None
    lost: int | None
    p: float
    draws: Float64[np.ndarray, " b"]


def percentile_interval(draws: Float64[np.ndarray, " b"], size: int) -> Interval:
    """Return the 95% percentile interval of a bootstrap over ``size`` units, its tails widened for small samples.

    >>> low, high = percentile_interval(np.linspace(0, 1, 10_001), size=1_000)
    >>> f"{low:.3f} to {high:.3f}"
    '0.025 to 0.975'

    Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015), on
    the expanded percentile interval: the plain one is that of a normal sample with the variance divided by n and the
    quantile of z; the expanded one takes n - 1 and t. From a few hundred units on they are the same.
    """
    return _percentile_intervals(draws[None], size)[0]


def _percentile_intervals(draws: Float64[np.ndarray, "k b"], size: int) -> list[Interval]:
    """Return the interval of each row of draws."""
    tail = _expanded_tail(size)
    ends = (np.quantile(row, [tail, 1 - tail]).tolist() for row in draws)  # of all at once takes three times as long
    return [(low, high) for low, high in ends]


@lru_cache(maxsize=16)
def _expanded_tail(size: int) -> float:
    reach = np.sqrt(size / (size - 1)) * stats.t.ppf(1 - ALPHA / 2, size - 1)
    return float(stats.norm.cdf(-reach))


def image_bootstrap(values: Float64[np.ndarray, " n"], seed: int) -> Float64[np.ndarray, " b"]:
    """Return the means of ``DRAWS`` resamples of the images.

    A paired difference takes few distinct values, so the counts of a resample are multinomial: exact, whatever the
    number of images.

    >>> image_bootstrap(np.array([1.0, 1.0, 0.0]), seed=0).shape
    (10000,)
    """
    distinct, counts = np.unique(values, return_counts=True)
    return _resampled_means(distinct, counts, seed)


def _resampled_means(
    distinct: Float64[np.ndarray, " d"], counts: Int64[np.ndarray, " d"], seed: int
) -> Float64[np.ndarray, " b"]:
    """Return the means of ``DRAWS`` resamples of images of which ``counts`` have each of the ``distinct`` values."""
    total = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=DRAWS)
    means: Float64[np.ndarray, " b"] = drawn @ distinct / total
    return means


@lru_cache(maxsize=2)
def _resampled_classes(num_classes: int) -> tuple[Float32[np.ndarray, "_ c"], ...]:
    """Return how often each class stands in each resample of the classes, in blocks of ``DRAWS`` rows in all."""
    generator = np.random.default_rng(CLASS_SEED)
    blocks = []
    step = max(1, BLOCK_VALUES // num_classes)
    for start in range(0, DRAWS, step):
        rows = min(step, DRAWS - start)
        drawn = generator.integers(0, num_classes, (rows, num_classes)) + np.arange(rows)[:, None] * num_classes
        counts = np.bincount(drawn.ravel(), minlength=rows * num_classes).reshape(rows, num_classes)
        blocks.append(counts.astype(np.float32))
    return tuple(blocks)


@lru_cache(maxsize=2)
def _resampled_images(images: bytes) -> Float64[np.ndarray, " b"]:
    """Return how many images each resample of the classes holds; ``images``: of each class, int64."""
    of_class = np.frombuffer(images, dtype=np.int64).astype(np.float32)
    return np.concatenate([counts @ of_class for counts in _resampled_classes(len(of_class))]).astype(np.float64)


def class_bootstrap(values: Float64[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Interval | None:
    """Return the 95% interval of the mean of ``values`` over drawn classes with their images; None for one class.

    >>> class_bootstrap(np.array([1.0, 0.0]), labels=np.array([0, 0])) is None
    True
    >>> class_bootstrap(np.array([1.0, 1.0]), labels=np.array([0, 1]))
    (1.0, 1.0)
    """
    return _class_bootstraps([values], labels)[0]


def _class_bootstraps(
    several: Sequence[Float64[np.ndarray, " n"]], labels: Int[np.ndarray, " n"]
) -> list[Interval | None]:
    """Return what `class_bootstrap` returns of each of some values of the same images: the resamples are read once."""
    images = np.bincount(labels)
    seen = images > 0
    num_classes = int(seen.sum())
    if num_classes < 2:
        return [None] * len(several)
    sums = [np.bincount(labels, weights=values)[seen] for values in several]
    totals = np.empty((len(several), DRAWS), dtype=np.float32)
    whole = [place for place, one in enumerate(sums) if (one == np.rint(one)).all()]
    if whole:  # whole numbers: the same in any order of adding, so the quickest is taken
        both = np.stack([sums[place] for place in whole]).astype(np.float32)
        totals[whole] = np.concatenate([both @ counts.T for counts in _resampled_classes(num_classes)], axis=1)
    for place in set(range(len(sums))) - set(whole):
        both = np.stack([sums[place], images[seen]], axis=1).astype(np.float32)
        totals[place] = np.concatenate([counts @ both for counts in _resampled_classes(num_classes)])[:, 0]
    return list(_percentile_intervals(totals / _resampled_images(images[seen].tobytes()), num_classes))


def mcnemar_exact(
    gained: Int[np.ndarray, " k"] | Sequence[int], lost: Int[np.ndarray, " k"] | Sequence[int]
) -> Float64[np.ndarray, " k"]:
    """Return the two-sided p of each pair of counts of discordant images; 1 where there are none.

    >>> mcnemar_exact(gained=[6, 0], lost=[1, 0]).tolist()
    [0.125, 1.0]
    """
    fewer, total = np.minimum(gained, lost), np.add(gained, lost)
    return np.asarray(np.minimum(1.0, 2 * stats.binom.cdf(fewer, total, 0.5)), dtype=np.float64)


def holm(p: Float[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Return each p corrected for all of them, after Holm; NaN stays and does not count.

    The step-down rule itself: that of statsmodels collects garbage at each call, which takes the most of a report.

    >>> holm(np.array([0.01, 0.5, 0.02])).tolist()
    [0.03, 0.5, 0.04]
    """
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    rising = known[np.argsort(p[known], kind="stable")]
    out[rising] = np.minimum(1.0, np.maximum.accumulate(p[rising] * np.arange(len(rising), 0, -1)))
    return out


def benjamini_hochberg(p: Float[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Return each p corrected for all of them, after Benjamini and Hochberg; NaN stays and does not count.

    Of those below 0.05 about 5% at most are expected to be false, where `holm` bounds the chance of a single false
    one: for thousands of prompts, of which many may add something.

    >>> benjamini_hochberg(np.array([0.01, 0.5, 0.02])).tolist()
    [0.03, 0.5, 0.03]
    """
    out = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        out[known] = stats.false_discovery_control(p[known])
    return out


def change_intervals(
    gained: Int[np.ndarray, " k"], lost: Int[np.ndarray, " k"], images: Int[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return the 95% interval of each paired difference of two proportions, from counts, which may be few.

    >>> low, high = change_intervals(gained=np.array([5]), lost=np.array([1]), images=np.array([20]))
    >>> f"{low[0]:+.2f} to {high[0]:+.2f}"
    '-0.06 to +0.42'

    Source: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data", Journal of Educational and Behavioral Statistics 37 (2012): Wald's interval with one image added to
    each of the discordant cells.
    """
    count = images + 2.0
    up, down = (gained + 1) / count, (lost + 1) / count
    reach = stats.norm.ppf(1 - ALPHA / 2) * np.sqrt((up + down - (up - down) ** 2) / count)
    return np.maximum(up - down - reach, -1.0), np.minimum(up - down + reach, 1.0)


def paired(
    ours: Bool[np.ndarray, " n"], baseline: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], seed: int
) -> Paired:
    """Test whether one strategy is better than another on the same images, by both bootstraps and McNemar's test.

    >>> ours, baseline = np.array([True, True, False]), np.array([True, False, False])
    >>> found = paired(ours, baseline, labels=np.array([0, 1, 1]), seed=0)
    >>> found.gained, found.lost, round(found.difference, 3), found.p
    (1, 0, 0.333, 1.0)

    Args:
        ours: which images it has right.
        baseline: which images the other has right.
        labels: the class of each image.
        seed: of the bootstrap over images; differs between data sets whose differences are averaged.

    Raises:
        ValueError: there are fewer than two images.
    """
    return paired_all([(ours, baseline)], labels, [seed])[0]


def resampled_pair(gained: int, lost: int, total: int, seed: int) -> Float64[np.ndarray, " b"]:
    """Return the difference of two strategies in each resample of ``total`` images, as `Paired` has it in ``draws``.

    >>> resampled_pair(gained=1, lost=0, total=2, seed=0).shape
    (10000,)
    """
    counts = np.array([lost, total - gained - lost, gained])
    return _resampled_means(np.array([-1.0, 0.0, 1.0])[counts > 0], counts[counts > 0], seed)


def paired_all(
    pairs: Sequence[tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]],
    labels: Int[np.ndarray, " n"],
    seeds: Sequence[int],
) -> list[Paired]:
    """Test each pair of strategies as `paired` does, all on the same images: in a fraction of the time, the same bits.

    >>> ours, baseline = np.array([True, True, False]), np.array([True, False, False])
    >>> [one.gained for one in paired_all([(ours, baseline), (baseline, ours)], np.array([0, 1, 1]), seeds=[0, 1])]
    [1, 0]

    Args:
        pairs: which images the one, and which the other has right.
        labels: the class of each image.
        seeds: of the bootstrap over images, one for each pair.

    Raises:
        ValueError: there are fewer than two images.
    """
    total = len(labels)
    if total < 2:
        raise ValueError("a paired difference takes two images or more")
    if not pairs:
        return []
    gained = np.array([np.count_nonzero(ours > baseline) for ours, baseline in pairs])
    lost = np.array([np.count_nonzero(ours < baseline) for ours, baseline in pairs])
    draws = np.empty((len(pairs), DRAWS))
    for place, seed in enumerate(seeds):
        draws[place] = resampled_pair(int(gained[place]), int(lost[place]), total, seed)
    over_classes = _class_bootstraps([np.subtract(*pair, dtype=np.float64) for pair in pairs], labels)
    return [
        Paired(
            difference=float((gained[place] - lost[place]) / total),
            over_images=over_images,
            over_classes=over_classes[place],
            gained=int(gained[place]),
            lost=int(lost[place]),
            p=float(p),
            draws=draws[place],
        )
        for place, (over_images, p) in enumerate(
            zip(_percentile_intervals(draws, total), mcnemar_exact(gained, lost), strict=True)
        )
    ]


def paired_mean(
    ours: Sequence[Bool[np.ndarray, " n"]], baseline: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], seed: int
) -> Paired:
    """Test as `paired`, for the mean over several runs of one strategy, which differ in their seeds.

    The intervals hold for these seeds; how far other seeds would go is the spread over the seeds.

    >>> seeds, baseline = [np.array([True, True]), np.array([True, False])], np.array([True, False])
    >>> paired_mean(seeds, baseline, labels=np.array([0, 1]), seed=0).difference
    0.25

    Raises:
        ValueError: there are fewer than two images.
    """
    steps = np.stack(ours).astype(np.float64).mean(axis=0) - baseline
    if len(steps) < 2:
        raise ValueError("a paired difference takes two images or more")
    draws = image_bootstrap(steps, seed)
    return Paired(
        difference=float(steps.mean()),
        over_images=percentile_interval(draws, len(steps)),
        over_classes=class_bootstrap(steps, labels),
        gained=None,
        lost=None,
        p=difference_p(ours, [baseline]),
        draws=draws,
    )


def difference_p(ours: Sequence[Bool[np.ndarray, " n"]], others: Sequence[Bool[np.ndarray, " n"]]) -> float:
    """Return the two-sided p that two strategies are equally good on the same images; each has one run per seed.

    McNemar's exact test for one run against one; for means over seeds the paired t test over images.

    >>> difference_p([np.array([True, True])], [np.array([True, False])])
    1.0
    """
    if len(ours) == len(others) == 1:
        return float(mcnemar_exact([int((ours[0] & ~others[0]).sum())], [int((others[0] & ~ours[0]).sum())])[0])
    steps = np.stack(ours).astype(np.float64).mean(axis=0) - np.stack(others).astype(np.float64).mean(axis=0)
    if (steps == steps[0]).all():  # the t statistic of a constant does not exist
        return float(steps[0] == 0)
    return float(stats.ttest_1samp(steps, 0.0).pvalue)


def over_datasets(differences: Sequence[float]) -> Interval | None:
    """Return the 95% interval of the mean over data sets, taken as a sample: Student's t; None for one.

    >>> low, high = over_datasets([0.01, 0.02, 0.03])
    >>> f"{low:+.3f} to {high:+.3f}"
    '-0.005 to +0.045'
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    reach = float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - reach, float(values.mean()) + reach


def mean_per_class_interval(hits: Int64[np.ndarray, " c"], images: Int64[np.ndarray, " c"]) -> Interval:
    """Return the 95% interval of the mean over classes of their accuracies, images drawn within each class.

    The normal interval of a stratified mean, classes that have images having equal weight.

    >>> low, high = mean_per_class_interval(hits=np.array([8, 5]), images=np.array([10, 10]))
    >>> f"{low:.3f} to {high:.3f}"
    '0.441 to 0.859'
    """
    seen = images > 0
    rate, count = hits[seen] / images[seen], images[seen]
    variance = (rate * (1 - rate) / np.maximum(count - 1, 1)).sum() / seen.sum() ** 2
    reach = float(stats.norm.ppf(1 - ALPHA / 2) * np.sqrt(variance))
    mean = float(rate.mean())
    return max(0.0, mean - reach), min(1.0, mean + reach)


def mean_per_class_change(
    steps: Float[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> tuple[float, Interval | None, float | None]:
    """Return the paired change of the mean per class, its 95% interval and the two-sided p that it is none.

    The normal interval and test of a stratified mean of the changes of images, drawn within each class. None of both
    where no change varies within a class.

    >>> change, (low, high), p = mean_per_class_change(np.array([1.0, 0.0, 1.0, 0.0]), labels=np.array([0, 0, 1, 1]))
    >>> f"{change:.2f}, {low:.2f} to {high:.2f}, {p:.2f}"
    '0.50, -0.19 to 1.19, 0.16'

    Args:
        steps: of each image, right in one run minus right in the other.
        labels: of each image.
    """
    images = np.bincount(labels)
    seen = images > 0
    means = np.bincount(labels, weights=steps)[seen] / images[seen]
    squares = np.bincount(labels, weights=steps**2)[seen] - images[seen] * means**2
    variance = (np.maximum(squares, 0) / np.maximum(images[seen] - 1, 1) / images[seen]).sum() / seen.sum() ** 2
    change, spread = float(means.mean()), float(np.sqrt(variance))
    if spread == 0:
        return change, None, None
    reach = float(stats.norm.ppf(1 - ALPHA / 2)) * spread
    return change, (change - reach, change + reach), float(2 * stats.norm.sf(abs(change) / spread))


def calibration_error(confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = 15) -> float:
    """Return the expected calibration error: the gap between confidence and accuracy, by bins of equal width.

    >>> calibration_error(np.array([1.0, 1.0]), correct=np.array([True, False]))
    0.5

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 2, with its 15 bins.
    """
    place = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=correct, minlength=bins) - np.bincount(place, weights=confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
