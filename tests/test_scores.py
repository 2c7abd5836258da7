from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics
from statsmodels.stats.proportion import proportion_confint

from cupl_bench import scores
from cupl_bench.embeddings import Aggregation, ClassEmbeddings, build_class_embeddings, unit_rows
from cupl_bench.intervals import wilson, wilson_intervals
from cupl_bench.scores import (
    count,
    measure,
    measure_tiers,
    predict,
    predict_parts,
    similarities,
)
from cupl_bench.store import RowStore


def classes_of(matrix: np.ndarray) -> ClassEmbeddings:
    return ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=matrix.astype(np.float32))


def random_units(seed: int, count: int, width: int = 16) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32), "rows")


@pytest.mark.parametrize("num_classes", [2, 4, 5, 30])
@pytest.mark.parametrize("tile", [16_000_000, 40])
def test_metrics_equal_scikit_learn(num_classes: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "TILE_VALUES", tile)
    images, matrix = random_units(1, 333), random_units(2, num_classes)
    labels = np.random.default_rng(3).integers(0, num_classes, 333)
    predictions = predict(images, classes_of(matrix))
    found = measure(count(predictions, labels, num_classes))
    similarity = images @ matrix.T
    assert np.array_equal(predictions.prediction, similarity.argmax(1))
    assert found.top1 == pytest.approx(sklearn_metrics.accuracy_score(labels, similarity.argmax(1)))
    assert found.mean_per_class == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, similarity.argmax(1)))
    if num_classes < 5:
        assert found.top5 is None
    else:
        every = np.arange(num_classes)
        expected = (
            sklearn_metrics.top_k_accuracy_score(labels, similarity, k=5, labels=every) if num_classes > 5 else 1.0
        )
        assert found.top5 == pytest.approx(expected)
    ordered = np.sort(similarity, axis=1)
    np.testing.assert_allclose(predictions.score, ordered[:, -1], atol=1e-6)
    np.testing.assert_allclose(predictions.margin, ordered[:, -1] - ordered[:, -2], atol=1e-6)


def test_labels_shifted_by_one_are_not_right() -> None:
    matrix = np.eye(6)
    predictions = predict(np.eye(6, dtype=np.float32), classes_of(matrix))
    assert measure(count(predictions, np.arange(6), 6)).top1 == 1.0
    assert measure(count(predictions, (np.arange(6) + 1) % 6, 6)).top1 == 0.0


def test_classes_that_never_occur_do_not_count_in_the_mean() -> None:
    """torchmetrics' macro average counts a class that is predicted but never present; balanced accuracy does not."""
    predictions = predict(np.eye(4, dtype=np.float32)[[0, 0, 1, 3]], classes_of(np.eye(4)))
    assert measure(count(predictions, np.array([0, 0, 1, 1]), 4)).mean_per_class == pytest.approx(0.75)


@pytest.mark.parametrize("copies", [[0, 7], [3, 5, 9], list(range(10))])
def test_the_lowest_index_wins_ties_in_every_metric(copies: list[int]) -> None:
    """Trap T3: with two classes of one name, argmax and topk give different labels."""
    matrix = random_units(4, 10)
    matrix[copies] = matrix[copies[0]]
    images = random_units(5, 500)
    images[:200] = matrix[copies[0]]
    predictions = predict(images, classes_of(matrix))
    assert set(predictions.prediction[:200].tolist()) == {copies[0]}
    assert np.array_equal(predictions.top[:, 0], predictions.prediction)
    assert predictions.top[0, : min(5, len(copies))].tolist() == copies[:5]
    assert not set(predictions.prediction.tolist()) & set(copies[1:])


@pytest.mark.parametrize("num_classes", [2, 4, 5, 6, 40])
def test_the_best_five_are_those_of_a_stable_sort_whatever_is_equal(num_classes: int) -> None:
    generator = np.random.default_rng(num_classes)
    matrix = generator.integers(0, 2, (num_classes, 6)).astype(np.float32)
    images = generator.integers(0, 3, (300, 6)).astype(np.float32)
    expected = np.argsort(-(images @ matrix.T), axis=1, kind="stable")[:, :5]
    assert np.array_equal(predict(images, classes_of(matrix)).top, expected)


def test_equal_classes_have_equal_similarities_wherever_they_stand() -> None:
    matrix = random_units(6, 1000, 33)
    matrix[[657, 744]] = matrix[1]
    found = similarities(torch.from_numpy(random_units(7, 64, 33)), classes_of(matrix))
    assert torch.equal(found[:, 657], found[:, 1])
    assert torch.equal(found[:, 744], found[:, 1])


def test_nan_is_an_error_and_never_a_label() -> None:
    """Trap T4: argmax of a NaN row gives a label."""
    images = random_units(8, 5)
    images[2, 0] = np.nan
    with pytest.raises(ValueError, match="1 images have similarities that are not finite, first: 2"):
        predict(images, classes_of(random_units(9, 4)))


def test_no_image_is_an_error_and_never_zero() -> None:
    with pytest.raises(ValueError, match="no image"):
        predict(np.empty((0, 16), dtype=np.float32), classes_of(random_units(9, 4)))
    with pytest.raises(ValueError, match="no image"):
        wilson(0, 0)


def test_one_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to choose"):
        predict(random_units(1, 3), classes_of(random_units(9, 1)))


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_is_no_class_is_an_error(label: int) -> None:
    predictions = predict(random_units(1, 2), classes_of(random_units(9, 4)))
    with pytest.raises(ValueError, match="labels run from"):
        measure(count(predictions, np.array([0, label]), 4))


def test_half_precision_would_change_predictions_and_is_not_used() -> None:
    """Trap T11: scores in fp16 make ties; ours are float32 whatever encoded the features."""
    images, matrix = random_units(10, 2000, 512), random_units(11, 1000, 512)
    ours = predict(images, classes_of(matrix)).prediction
    half = (torch.from_numpy(images).half() @ torch.from_numpy(matrix).half().T).float().argmax(1).numpy()
    exact = (images.astype(np.float64) @ matrix.astype(np.float64).T).argmax(1)
    assert (half != exact).any()
    assert np.array_equal(ours, exact)


def test_max_similarity_takes_the_nearest_prompt() -> None:
    units = random_units(12, 9)
    rows_of_class = [[0, 1, 1], [2], [3, 4, 5, 8]]
    classes = build_class_embeddings(units, rows_of_class, Aggregation.MAX_SIMILARITY)
    images = random_units(13, 20)
    expected = np.stack([(images @ units[rows].T).max(1) for rows in rows_of_class], axis=1)
    np.testing.assert_allclose(similarities(torch.from_numpy(images), classes).numpy(), expected, atol=1e-6)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_scipy(pair: tuple[int, int]) -> None:
    interval = stats.binomtest(*pair).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(*pair) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert (wilson(*pair)[0] == 0, wilson(*pair)[1] == 1) == (pair[0] == 0, pair[0] == pair[1])


def test_many_wilson_intervals_are_those_of_scipy_and_statsmodels() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 5000, 2000)
    hits = np.concatenate([np.zeros(100, int), counts[100:200], generator.binomial(counts[200:], 0.7)])
    low, high = wilson_intervals(hits, counts)
    some = counts > 0
    assert (np.isnan(low) == ~some).all()
    assert (np.isnan(high) == ~some).all()
    expected = proportion_confint(hits[some], counts[some], alpha=0.05, method="wilson")
    np.testing.assert_allclose((low[some], high[some]), expected, rtol=0, atol=1e-14)
    for place in range(100, 110):
        found = stats.binomtest(int(hits[place]), int(counts[place])).proportion_ci(method="wilson")
        assert (low[place], high[place]) == pytest.approx((found.low, found.high), abs=1e-12)


def test_rows_on_the_disk_are_classified_as_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "TILE_VALUES", 70)  # seven images a tile
    images, classes = random_units(5, 50), classes_of(random_units(6, 10))
    store = RowStore(folder=tmp_path, facts={})
    keys = [bytes([number]) * 16 for number in range(50)]
    for start in range(0, 50, 8):
        store.write(keys[start : start + 8], images[start : start + 8])
    order = np.random.default_rng(7).permutation(50)
    found, expected = predict(store.find([keys[i] for i in order]), classes), predict(images[order], classes)
    assert np.array_equal(found.top, expected.top)
    assert np.array_equal(found.score, expected.score)


class Watched:
    """Features that tell how many were ever taken at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.most = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        self.most = max(self.most, len(self.rows[which]))
        return self.rows[which]


@pytest.mark.parametrize(("most", "part", "sizes"), [(7, 20, [21, 21, 8]), (7, 5, [7] * 7 + [1]), (50, 50, [50])])
def test_answers_come_in_parts_and_features_in_tiles(
    most: int, part: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two classes a tile of similarities would hold the features of eight million images."""
    monkeypatch.setattr(scores, "TILE_IMAGES", most)
    monkeypatch.setattr(scores, "PART_IMAGES", part)
    images, classes = Watched(random_units(5, 50)), classes_of(random_units(6, 2))
    parts = list(predict_parts(images, classes))
    assert images.most == most
    assert [len(one.prediction) for one in parts] == sizes
    monkeypatch.undo()
    whole = predict(images.rows, classes)
    labels = np.arange(50) % 2
    for name in ("prediction", "top", "score", "margin", "confidence"):
        joined = np.concatenate([getattr(one, name) for one in parts])
        np.testing.assert_allclose(joined, getattr(whole, name), atol=1e-6)  # tiles round otherwise
    starts = np.cumsum([0, *sizes])
    tallies = [count(one, labels[at : at + len(one.prediction)], 2) for one, at in zip(parts, starts, strict=False)]
    assert measure(sum(tallies[1:], start=tallies[0])) == measure(count(whole, labels, 2))


def test_tiers_are_counted_from_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    images, classes = Watched(random_units(7, 200)), classes_of(random_units(8, 6))
    labels = np.random.default_rng(9).integers(0, 6, 200)
    tiers = ["often", "never", "often", "never", "rare", "often"]
    whole = predict(images.rows, classes)
    monkeypatch.setattr(scores, "TILE_IMAGES", 9)
    monkeypatch.setattr(scores, "PART_IMAGES", 20)
    found = measure_tiers(images, classes, count(whole, labels, 6), labels, tiers)
    assert list(found) == ["often", "never", "rare"]
    assert images.most == 9
    similarity = images.rows @ classes.matrix.T
    for tier, members in (("often", [0, 2, 5]), ("never", [1, 3]), ("rare", [4])):
        here = np.isin(labels, members)
        within = np.array(members)[similarity[here][:, members].argmax(1)]
        assert found[tier].num_images == here.sum()
        assert found[tier].top1 == (whole.prediction[here] == labels[here]).mean()
        assert found[tier].top1_within == (within == labels[here]).mean()


@pytest.mark.parametrize("tile", [16_000_000, 40])
def test_confidence_is_the_softmax_at_the_models_temperature(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "TILE_VALUES", tile)
    images, matrix = random_units(4, 100), random_units(5, 7)
    found = predict(images, classes_of(matrix), logit_scale=100.0)
    expected = softmax(100.0 * (images.astype(np.float64) @ matrix.T), axis=1).max(axis=1)
    np.testing.assert_allclose(found.confidence, expected, rtol=2e-4)
    assert np.array_equal(found.prediction, predict(images, classes_of(matrix)).prediction)
