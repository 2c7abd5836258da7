"""Every statistic against an independent computation, and the coverage of every interval by simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from cupl_bench.intervals import wilson_intervals
from cupl_bench.report.significance import (
    calibration_error,
    change_intervals,
    class_bootstrap,
    holm,
    image_bootstrap,
    mcnemar_exact,
    mean_per_class_interval,
    over_datasets,
    paired,
    paired_mean,
    percentile_interval,
)

REPLICATES = 2000


def answers(seed: int, count: int = 600, classes: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    easy = generator.random(classes)[labels]
    ours = generator.random(count) < np.clip(easy + 0.08, 0, 1)
    baseline = np.where(generator.random(count) < 0.7, ours, generator.random(count) < easy)
    return ours, baseline, labels


# Parity -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_that_of_statsmodels(gained: int, lost: int) -> None:
    expected = mcnemar([[500, gained], [lost, 100]], exact=True).pvalue
    assert mcnemar_exact([gained], [lost])[0] == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.integers(1, 400), st.integers(1, 400))
def test_mcnemar_is_a_binomial_test(gained: int, lost: int) -> None:
    assert mcnemar_exact([gained], [lost])[0] == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_holm_is_the_step_down_rule_and_leaves_gaps() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    order, found = [4, 0, 3, 2], holm(p)
    expected = np.maximum.accumulate([min(1.0, (4 - place) * p[index]) for place, index in enumerate(order)])
    np.testing.assert_allclose(found[order], expected)
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[order], multipletests(p[order], method="holm")[1])
    assert np.isnan(holm(np.array([np.nan, np.nan]))).all()
    assert len(holm(np.array([]))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_bootstrap_over_images_is_that_of_scipy(seed: int) -> None:
    ours, baseline, labels = answers(seed)
    steps = ours.astype(float) - baseline
    brute = stats.bootstrap((steps,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(9))
    found = paired(ours, baseline, labels, seed=seed)
    assert found.difference == pytest.approx(steps.mean())
    np.testing.assert_allclose(found.over_images, brute.confidence_interval, atol=0.002)
    assert found.draws.std() == pytest.approx(brute.standard_error, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_the_bootstrap_over_classes_is_that_of_brute_force(seed: int) -> None:
    ours, baseline, labels = answers(seed)
    steps = ours.astype(float) - baseline
    generator = np.random.default_rng(5)
    members = [np.flatnonzero(labels == label) for label in range(12)]
    means = []
    for _ in range(4000):
        taken = np.concatenate([members[label] for label in generator.integers(0, 12, 12)])
        means.append(steps[taken].mean())
    expected = percentile_interval(np.array(means), 12)
    found = class_bootstrap(steps, labels)
    np.testing.assert_allclose(found, expected, atol=0.006)
    gaps = class_bootstrap(steps, labels * 3)  # classes without images do not count
    assert gaps == found


def test_wide_data_need_many_blocks_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    from cupl_bench.report import significance

    ours, baseline, labels = answers(1)
    steps = ours.astype(float) - baseline
    at_once = class_bootstrap(steps, labels)
    significance._resampled_classes.cache_clear()
    monkeypatch.setattr(significance, "BLOCK_VALUES", 12 * 700)
    assert class_bootstrap(steps, labels) == pytest.approx(at_once, abs=0.006)
    significance._resampled_classes.cache_clear()


def test_sums_that_are_no_whole_numbers_are_resampled_alike() -> None:
    ours, baseline, labels = answers(1)
    steps = ours.astype(float) - baseline
    whole = np.array(class_bootstrap(steps, labels))
    np.testing.assert_allclose(np.array(class_bootstrap(steps / 3, labels)) * 3, whole, rtol=1e-5)


def test_classes_of_other_sizes_have_an_interval_of_their_own() -> None:
    ours, baseline, labels = answers(1)
    steps = ours.astype(float) - baseline
    first = class_bootstrap(steps, labels)
    twice = np.concatenate([labels, labels[labels < 6]])  # as many classes, half of them with twice the images
    larger = np.concatenate([steps, steps[labels < 6]])
    found = class_bootstrap(larger, twice)
    assert found != first
    assert found[0] < larger.mean() < found[1]
    assert class_bootstrap(np.ones(len(twice)), twice) == (1.0, 1.0)
    assert class_bootstrap(np.ones(len(labels)), labels) == (1.0, 1.0)


def test_several_seeds_are_one_mean_with_its_own_interval() -> None:
    runs = [answers(seed)[0] for seed in range(4)]
    _, baseline, labels = answers(9)
    found = paired_mean(runs, baseline, labels, seed=1)
    steps = np.mean(runs, axis=0) - baseline
    assert found.difference == pytest.approx(np.mean([run.mean() for run in runs]) - baseline.mean())
    brute = stats.bootstrap((steps,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(3))
    np.testing.assert_allclose(found.over_images, brute.confidence_interval, atol=0.003)
    assert found.p == pytest.approx(stats.ttest_rel(np.mean(runs, axis=0), baseline.astype(float)).pvalue)
    assert (found.gained, found.lost) == (None, None)
    assert paired_mean([baseline, baseline], baseline, labels, seed=1).p == 1.0


def test_equal_answers_differ_by_nothing() -> None:
    ours, _, labels = answers(0)
    found = paired(ours, ours, labels, seed=0)
    assert (found.difference, found.over_images, found.over_classes, found.p) == (0.0, (0.0, 0.0), (0.0, 0.0), 1.0)
    assert paired(ours, ours, np.zeros_like(labels), seed=0).over_classes is None
    with pytest.raises(ValueError, match="two images"):
        paired(ours[:1], ours[:1], labels[:1], seed=0)


def test_data_sets_are_a_sample_of_their_own() -> None:
    values = [0.01, 0.03, -0.02, 0.05]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(over_datasets(values), expected)
    assert over_datasets([0.1]) is None


def test_calibration_is_the_weighted_gap_of_the_bins() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(3000).astype(np.float32)
    correct = generator.random(3000) < confidence**2
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        here = (confidence > low) & (confidence <= high)
        if here.any():
            expected += here.mean() * abs(confidence[here].mean() - correct[here].mean())
    assert calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-6)
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


# Coverage ---------------------------------------------------------------------------------------------------------


def share_that_holds(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_wilson_holds_the_truth_95_times_of_100() -> None:
    hits = np.random.default_rng(0).binomial(1000, 0.68, REPLICATES)
    low, high = wilson_intervals(hits, np.full(REPLICATES, 1000))
    assert share_that_holds(list(zip(low, high, strict=True)), 0.68) == pytest.approx(0.95, abs=0.01)


@pytest.mark.long
def test_the_bootstrap_over_images_holds_the_truth_95_times_of_100() -> None:
    generator = np.random.default_rng(0)
    intervals = []
    for seed in range(REPLICATES):
        steps = generator.choice([-1.0, 0.0, 1.0], 1000, p=[0.06, 0.85, 0.09])
        intervals.append(percentile_interval(image_bootstrap(steps, seed), 1000))
    assert share_that_holds(intervals, 0.03) == pytest.approx(0.95, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [pytest.param(12, marks=pytest.mark.long), 100])
def test_the_bootstrap_over_classes_holds_the_truth_95_times_of_100(classes: int) -> None:
    """Classes differ in their gain, so the bootstrap over images would be far too sure of the mean gain."""
    generator = np.random.default_rng(2)
    labels = np.repeat(np.arange(classes), 20)
    intervals, of_images = [], []
    for seed in range(REPLICATES):
        gain = generator.normal(0.03, 0.12, classes)[labels]
        steps = (generator.random(len(labels)) < 0.5 + gain).astype(float) - (generator.random(len(labels)) < 0.5)
        found = class_bootstrap(steps, labels)
        assert found is not None
        intervals.append(found)
        if seed < 500:
            of_images.append(percentile_interval(image_bootstrap(steps, seed), len(steps)))
    assert share_that_holds(intervals, 0.03) == pytest.approx(0.95, abs=0.01)
    if classes == 100:
        assert share_that_holds(of_images, 0.03) < 0.92


def test_the_interval_of_the_mean_per_class_holds_the_truth_95_times_of_100() -> None:
    generator = np.random.default_rng(0)
    rates = generator.uniform(0.2, 0.95, 50)
    images = generator.integers(15, 60, 50)
    intervals = [mean_per_class_interval(generator.binomial(images, rates), images) for _ in range(REPLICATES)]
    assert share_that_holds(intervals, rates.mean()) == pytest.approx(0.95, abs=0.01)
    hits, counts = np.array([3, 5]), np.array([6, 5])
    mean = (0.5 + 1.0) / 2
    reach = 1.959964 * np.sqrt(0.25 / 5 / 4)
    assert mean_per_class_interval(hits, counts) == pytest.approx((mean - reach, mean + reach))


@pytest.mark.parametrize(("images", "up", "down"), [(10, 0.2, 0.1), (30, 0.05, 0.05), (50, 0.4, 0.02), (50, 0.01, 0.0)])
def test_the_intervals_of_classes_hold_what_they_should(images: int, up: float, down: float) -> None:
    drawn_counts = np.random.default_rng(0).multinomial(images, [up, down, 1 - up - down], size=4000)
    low, high = change_intervals(drawn_counts[:, 0], drawn_counts[:, 1], np.full(4000, images))
    share = ((low <= up - down) & (up - down <= high)).mean()
    assert share >= 0.935
    assert (low >= -1).all()
    assert (high <= 1).all()


def test_the_intervals_are_those_of_the_paper() -> None:
    """By hand for 5 gained, 1 lost of 20: (6 - 2) / 22 and 1.96 sqrt((8/22 - (4/22)^2) / 22)."""
    low, high = change_intervals(np.array([5]), np.array([1]), np.array([20]))
    reach = 1.959964 * ((8 / 22 - (4 / 22) ** 2) / 22) ** 0.5
    assert (low[0], high[0]) == pytest.approx((4 / 22 - reach, 4 / 22 + reach))
