"""Strategies side by side over data sets (pure): ranks, wins, skill, critical difference, and how much of it is noise.

A table of values has a row per data set and a column per strategy; a greater value is better, and none is missing.
Which number may be used for how many data sets is said by each function; `report.standings` keeps to it.

Source: Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006), 1-30.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy import stats

from cupl_bench.report.significance import ALPHA

__all__ = [
    "FEWEST",
    "average_ranks",
    "critical_difference",
    "fewest_for_signed_rank",
    "friedman_p",
    "noise",
    "resampled_datasets",
    "resampled_images",
    "signed_rank_p",
    "skill_scores",
    "swaps",
    "win_rates",
]

FEWEST = 6
"""Data sets that a statement about other data sets takes. With five, not even a strategy that wins on all of them is
better by a two-sided test: p = 2 / 2**5 = 0.06."""
DRAWS = 1_000
QUICKER = 10
"""To draw how often a pattern of answers comes takes so much longer than to draw an image."""
SEED = 0
LEAST_RATIO = 0.01
"""Ratios of errors are cut here and at its inverse: a single data set without errors does not decide a mean."""
TIE = 9
"""Decimals that two values are equal in: means over seeds are equal to rounding."""

Table = Float64[np.ndarray, "d s"]


def average_ranks(values: Table) -> Float64[np.ndarray, " s"]:
    """Return the mean over data sets of the rank of each strategy, 1 for the best; equal values share their ranks.

    >>> average_ranks(np.array([[0.9, 0.8, 0.8], [0.7, 0.6, 0.5]])).tolist()
    [1.0, 2.25, 2.75]
    """
    ranks: Float64[np.ndarray, " s"] = _ranks(values).mean(axis=0)
    return ranks


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.asarray(stats.rankdata(-np.round(values, TIE), axis=-1), dtype=np.float64)


def win_rates(values: Table) -> Float64[np.ndarray, " s"]:
    """Return the share of comparisons, over data sets and other strategies, that each wins; a tie is half a win.

    >>> win_rates(np.array([[0.9, 0.8], [0.7, 0.7]])).tolist()
    [0.75, 0.25]
    """
    num_strategies = values.shape[1]
    rates: Float64[np.ndarray, " s"] = (num_strategies - average_ranks(values)) / (num_strategies - 1)
    return rates


def skill_scores(values: Table, baseline: int) -> Float64[np.ndarray, " s"]:
    """Return by which share each strategy lowers the baseline's error: 1 minus the geometric mean of their ratios.

    Ratios are cut to 0.01 and 100; where neither errs the ratio is 1. It describes these data sets, however many.

    >>> skill_scores(np.array([[0.8, 0.9], [0.6, 0.8]]), baseline=0).round(3).tolist()
    [0.0, 0.5]

    Args:
        values: accuracies, fractions.
        baseline: the column of the baseline.

    Source: the geometric mean is that of Fleming and Wallace, "How not to lie with statistics", CACM 29 (1986); a
    mean of ratios would depend on which strategy is the baseline.
    """
    errors = 1 - values
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(errors == errors[:, [baseline]], 1.0, errors / errors[:, [baseline]])
    score: Float64[np.ndarray, " s"] = 1 - np.exp(np.log(np.clip(ratio, LEAST_RATIO, 1 / LEAST_RATIO)).mean(axis=0))
    return score


def friedman_p(values: Table) -> float:
    """Return the p of Friedman's test that all strategies are equally good, corrected for ties: three or more of them.

    For `FEWEST` data sets or more: the chi-square distribution is an approximation.

    >>> bool(friedman_p(np.array([[0.9, 0.8, 0.7]] * 6)) < 0.01)
    True
    """
    if (values == values[:, :1]).all():  # the statistic of ties alone does not exist
        return 1.0
    return float(stats.friedmanchisquare(*np.round(values, TIE).T).pvalue)


def critical_difference(num_strategies: int, num_datasets: int, alpha: float = ALPHA) -> float:
    """Return the difference of two average ranks from which on it is significant, for all pairs at once (Nemenyi).

    For three strategies and `FEWEST` data sets or more.

    >>> round(critical_difference(num_strategies=4, num_datasets=14), 2)  # the example of Demšar's section 3.2.4
    1.25
    """
    quantile = float(stats.studentized_range.ppf(1 - alpha, num_strategies, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(num_strategies * (num_strategies + 1) / (6 * num_datasets))


def signed_rank_p(differences: Float64[np.ndarray, " d"]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of the differences of two strategies, one per data set.

    Exact for any number of data sets: of scipy without ties, else by counting all changes of sign; differences of none
    share their ranks out to both sides, as Demšar does. How many data sets it takes says `fewest_for_signed_rank`.

    >>> signed_rank_p(np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]))
    0.03125
    """
    steps = np.round(differences, TIE)
    if not steps.any():
        return 1.0
    sizes = np.abs(steps)
    if steps.all() and len(np.unique(sizes)) == len(sizes):
        return float(stats.wilcoxon(steps, method="exact").pvalue)
    doubled = np.rint(2 * stats.rankdata(sizes)).astype(np.int64)
    ways = np.ones(1)  # how likely each sum of the ranks of positive differences is
    for rank in doubled[steps != 0]:
        ways = (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))) / 2
    seen = int(doubled[steps > 0].sum())
    return float(min(1.0, 2 * min(ways[: seen + 1].sum(), ways[seen:].sum())))


def fewest_for_signed_rank(comparisons: int) -> int:
    """Return how many data sets it takes until Wilcoxon's test after Holm can find anything, whatever the differences.

    The smallest p of d data sets is 2 / 2**d, and Holm multiplies the smallest by the number of comparisons.

    >>> fewest_for_signed_rank(1), fewest_for_signed_rank(4)
    (6, 8)
    """
    return math.ceil(math.log2(2 * comparisons / ALPHA))


def resampled_datasets(values: Table) -> Float64[np.ndarray, "b s"]:
    """Return the average ranks of `DRAWS` resamples of the data sets, each with its values: other data sets like these.

    For `FEWEST` data sets or more. The images of a data set are not drawn anew: how far they move its values is part
    of how far the data sets differ already.

    >>> resampled_datasets(np.array([[0.9, 0.8], [0.7, 0.9]])).shape
    (1000, 2)
    """
    num_datasets = len(values)
    drawn = np.random.default_rng(SEED).multinomial(num_datasets, np.full(num_datasets, 1 / num_datasets), size=DRAWS)
    ranks: Float64[np.ndarray, "b s"] = drawn @ _ranks(values) / num_datasets
    return ranks


def resampled_images(
    hits: Sequence[Bool[np.ndarray, "r n"] | Float64[np.ndarray, "r b"]], owners: Sequence[Int[np.ndarray, " r"]]
) -> Float64[np.ndarray, "b s"]:
    """Return the average ranks of `DRAWS` resamples of the images within each data set: these data sets, other images.

    An image is drawn with the answers of all strategies to it. For any number of data sets, where the score of an
    image depends on no other image.

    >>> hits = [np.array([[True, True, False], [False, False, True]])]
    >>> resampled_images(hits, owners=[np.array([0, 1])]).mean(axis=0).round(1).tolist()
    [1.3, 1.7]

    Args:
        hits: of each data set, which images each run has right; or, of a metric that is no share of images, its
            values in `DRAWS` resamples, the same ones for all runs.
        owners: of each data set, the strategy of each run: several are seeds, whose mean counts.
    """
    generator = np.random.default_rng(SEED)
    total: np.ndarray | None = None
    for runs, owner in zip(hits, owners, strict=True):
        share = np.zeros((int(owner.max()) + 1, len(owner)))
        share[owner, np.arange(len(owner))] = 1 / np.bincount(owner)[owner]
        means = _resampled_means(share, runs, generator) if runs.dtype == np.bool_ else (share @ runs).T
        ranks = _ranks(means)
        total = ranks if total is None else total + ranks
    if total is None:
        raise ValueError("there is no data set")
    return total / len(hits)


def _resampled_means(
    share: Float64[np.ndarray, "s r"], runs: Bool[np.ndarray, "r n"], generator: np.random.Generator
) -> Float64[np.ndarray, "b s"]:
    means: Float64[np.ndarray, "b s"]
    count = runs.shape[1]
    patterns, times = _patterns(runs)
    values = share @ patterns
    if len(times) * QUICKER < count:
        means = generator.multinomial(count, times / count, size=DRAWS) @ values.T / count
        return means
    of_images = (share @ runs).astype(np.float32)
    drawn = (np.bincount(generator.integers(0, count, count), minlength=count) for _ in range(DRAWS))
    means = np.stack([of_images @ one.astype(np.float32) for one in drawn]) / np.float64(count)
    return means


def _patterns(runs: Bool[np.ndarray, "r n"]) -> tuple[Bool[np.ndarray, "r k"], Int[np.ndarray, " k"]]:
    """Return the different columns, and how often each stands there."""
    words = np.packbits(runs, axis=0).T
    words = np.ascontiguousarray(np.pad(words, ((0, 0), (0, -words.shape[1] % 8)))).view(np.uint64)
    if words.shape[1] == 1:
        _, first, counts = np.unique(words[:, 0], return_index=True, return_counts=True)
    else:
        _, first, counts = np.unique(words, axis=0, return_index=True, return_counts=True)
    return runs[:, first], counts


def swaps(draws: Float64[np.ndarray, "b s"], order: Sequence[int]) -> Float64[np.ndarray, " s"]:
    """Return how likely each strategy of an order, best first, changes places with the next one; NaN for the last.

    A tie is half a change.

    >>> swaps(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [1.5, 1.5]]), order=[0, 1]).tolist()
    [0.375, nan]
    """
    ordered = draws[:, list(order)]
    step = ordered[:, 1:] - ordered[:, :-1]
    return np.append((step < 0).mean(axis=0) + (step == 0).mean(axis=0) / 2, np.nan)


def noise(draws: Float64[np.ndarray, "b s"], ranks: Float64[np.ndarray, " s"]) -> float:
    """Return the share of all pairs of strategies whose order in a resample is not the one that was seen.

    A tie is half of it. 0 is a ranking that stays; of strategies that are equally good it is about 0.25, and not 0.5,
    since resamples scatter around the order that was seen.

    >>> noise(np.array([[1.0, 2.0], [2.0, 1.0]]), ranks=np.array([1.0, 2.0]))
    0.5
    """
    one, other = np.triu_indices(len(ranks), k=1)
    seen = np.sign(ranks[one] - ranks[other])
    drawn = np.sign(draws[:, one] - draws[:, other])
    return float((np.abs(drawn - seen) / 2).mean())
