"""Ranks over data sets against scipy, Demšar's published example and brute force; their levels by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cupl_bench.report.ranking import (
    FEWEST,
    average_ranks,
    critical_difference,
    fewest_for_signed_rank,
    friedman_p,
    noise,
    resampled_datasets,
    resampled_images,
    signed_rank_p,
    skill_scores,
    swaps,
    win_rates,
)

# Ranks of C4.5 with and without two parameters on 14 data sets: Demšar, JMLR 7 (2006), table 6.
DEMSAR = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
)  # fmt: skip
# Its differences of the first two, in thousandths of AUC: table 2.
STEPS = np.array([5, -8, 17, 33, 6, -5, 7, 0, 63, 0, 22, 47, 9, 21]) / 1000


def test_demsar_s_example_is_met() -> None:
    ranks = average_ranks(-DEMSAR)
    assert ranks.round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    assert round(critical_difference(4, 14), 2) == 1.25
    assert round(critical_difference(4, 14, alpha=0.1), 2) == 1.12
    plain = 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 5**2 / 4)
    assert round(plain, 2) == 9.28  # which is not corrected for its 10 tied ranks
    ties = 1 - sum(n**3 - n for n in (2, 2, 4, 2)) / (14 * 4 * 15)
    assert friedman_p(-DEMSAR) == pytest.approx(stats.chi2.sf(plain / ties, 3))


def test_the_quantiles_are_those_of_demsar_s_table_5() -> None:
    found = [critical_difference(k, 1) / np.sqrt(k * (k + 1) / 6) for k in range(2, 11)]
    np.testing.assert_allclose(found, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164], atol=1.2e-3)


def test_the_signed_rank_test_splits_the_ranks_of_zeros_as_demsar_does() -> None:
    sizes = stats.rankdata(np.abs(STEPS.round(9)))
    assert sizes[STEPS < 0].sum() + sizes[STEPS == 0].sum() / 2 == 12  # section 3.1.3: below the critical 21
    assert stats.wilcoxon(STEPS.round(9), zero_method="zsplit").statistic == 12
    assert signed_rank_p(STEPS) < 0.05


@pytest.mark.parametrize(
    "steps", [np.random.default_rng(6).normal(0.5, 1, 6), np.random.default_rng(9).normal(1, 1, 9).round(0), STEPS[:12]]
)
def test_the_signed_rank_test_is_exact_with_ties_and_without(steps: np.ndarray) -> None:
    ranks = stats.rankdata(np.abs(steps.round(9))) * (steps != 0)  # both signs of a zero are the same
    sums = np.array([ranks[list(signs)].sum() for signs in itertools.product([False, True], repeat=len(steps))])
    seen = ranks[steps > 0].sum()
    expected = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
    assert signed_rank_p(steps) == pytest.approx(expected)
    assert signed_rank_p(np.zeros(len(steps))) == 1.0


def test_fewer_data_sets_than_said_can_find_nothing_and_so_many_can() -> None:
    for comparisons in (1, 3, 4, 19):
        fewest = fewest_for_signed_rank(comparisons)
        assert signed_rank_p(np.arange(1, fewest + 1) / 100) * comparisons <= 0.05
        assert signed_rank_p(np.arange(1, fewest) / 100) * comparisons > 0.05
    assert fewest_for_signed_rank(1) == FEWEST


def test_ranks_wins_and_skill_by_hand() -> None:
    values = np.array([[0.5, 0.75, 0.75], [0.9, 0.9, 0.8], [1.0, 0.9, 1.0]])
    assert average_ranks(values).tolist() == pytest.approx([(3 + 1.5 + 1.5) / 3, 2.0, (1.5 + 3 + 1.5) / 3])
    assert win_rates(values).tolist() == pytest.approx([(0 + 1.5 + 1.5) / 6, (1.5 + 1.5 + 0) / 6, (1.5 + 0 + 1.5) / 6])
    # An error of none on the third data set: the ratio is cut at 100, and is 1 where neither errs.
    expected = [0.0, 1 - (0.5 * 1 * 100) ** (1 / 3), 1 - (0.5 * 2 * 1) ** (1 / 3)]
    assert skill_scores(values, baseline=0).tolist() == pytest.approx(expected)


def test_means_over_seeds_that_differ_by_rounding_are_a_tie() -> None:
    assert average_ranks(np.array([[0.1 + 0.2, 0.3]])).tolist() == [1.5, 1.5]
    assert friedman_p(np.array([[0.3, 0.3, 0.3]] * 6)) == 1.0


def test_images_are_resampled_with_the_answers_of_all_strategies() -> None:
    generator = np.random.default_rng(0)
    one = generator.random(400) < 0.7
    other = np.where(generator.random(400) < 0.1, ~one, one)
    draws = resampled_images([np.stack([one, other])], [np.array([0, 1])])
    first = (draws[:, 0] < draws[:, 1]).mean() + (draws[:, 0] == draws[:, 1]).mean() / 2
    places = np.random.default_rng(1).integers(0, 400, (4_000, 400))
    steps = (one.astype(int) - other)[places].sum(axis=1)
    assert first == pytest.approx((steps > 0).mean() + (steps == 0).mean() / 2, abs=0.04)
    same = resampled_images([np.stack([one, one, other])], [np.array([0, 1, 2])])
    assert (same[:, 0] == same[:, 1]).all()
    mean = resampled_images([np.stack([one, other, one])], [np.array([0, 0, 1])])  # two seeds of the first
    step = np.sign(one.mean() - other.mean())  # half a step from the mean of both to the one
    assert (np.sign(mean[:, 0] - mean[:, 1]) == step).mean() == pytest.approx(first if step > 0 else 1 - first, abs=0.1)


def test_many_runs_are_resampled_as_few_are() -> None:
    hits = np.random.default_rng(0).random((70, 100)) < np.linspace(0.1, 0.9, 70)[:, None]
    draws = resampled_images([hits], [np.arange(70)])
    assert stats.spearmanr(draws.mean(axis=0), -hits.mean(axis=1)).statistic > 0.99


def test_data_sets_are_resampled_whole() -> None:
    values = np.array([[0.9, 0.1], [0.9, 0.2], [0.3, 0.4]])
    draws = resampled_datasets(values)
    assert set(np.unique(draws[:, 0].round(3))) == {1.0, 1.333, 1.667, 2.0}
    assert (draws.sum(axis=1) == 3).all()
    assert swaps(draws, [0, 1])[0] == pytest.approx(7 / 27, abs=0.04)
    assert noise(draws, average_ranks(values)) == swaps(draws, [0, 1])[0]


def simulated(values: np.ndarray) -> dict[str, float]:
    """Return how often each test finds something among equally good strategies, and the mean noise."""
    num_datasets, num_strategies = values.shape[1:]
    limit = critical_difference(num_strategies, num_datasets)
    ranks = [average_ranks(table) for table in values]
    return {
        "friedman": float(np.mean([friedman_p(table) < 0.05 for table in values[:500]])),
        "nemenyi": float(np.mean([np.ptp(one) >= limit for one in ranks])),
        "noise": float(
            np.mean([noise(resampled_datasets(table), one) for table, one in zip(values[:200], ranks, strict=False)])
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("num_datasets", "num_strategies"), [(FEWEST, 5), (10, 3)])
def test_the_critical_difference_holds_its_level(num_datasets: int, num_strategies: int) -> None:
    """Strategies that are equally good; data sets differ by much more than strategies. See scripts/levels.py."""
    generator = np.random.default_rng(num_datasets)
    hard = generator.normal(0.6, 0.1, (1500, num_datasets, 1))
    found = simulated(hard + generator.normal(0, 0.01, (1500, num_datasets, num_strategies)))
    assert found["nemenyi"] < 0.065
    assert found["friedman"] < 0.08
    assert 0.2 < found["noise"] < 0.3
