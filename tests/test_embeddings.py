import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench.embeddings import Aggregation, build_class_embeddings, unit_rows
from cupl_bench.template_weights import zero_shot_weights

UNITS = unit_rows(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32), "rows")
RAGGED = st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=9), min_size=2, max_size=6)


@given(RAGGED)
def test_mean_is_the_published_loop(rows_of_class: list[list[int]]) -> None:
    """CuPL and open_clip: mean of unit features, then unit again."""
    matrix = build_class_embeddings(UNITS, rows_of_class).matrix
    for label, rows in enumerate(rows_of_class):
        mean = UNITS[rows].mean(axis=0)
        np.testing.assert_allclose(matrix[label], mean / np.linalg.norm(mean), atol=1e-6)


@given(RAGGED, st.randoms(use_true_random=False))
def test_the_order_of_prompts_moves_no_bit(rows_of_class: list[list[int]], random) -> None:
    shuffled = [random.sample(rows, len(rows)) for rows in rows_of_class]
    left, right = build_class_embeddings(UNITS, rows_of_class), build_class_embeddings(UNITS, shuffled)
    assert np.array_equal(left.matrix, right.matrix)


def test_a_repeated_sentence_weighs_as_often_as_it_stands() -> None:
    twice = build_class_embeddings(UNITS, [[0, 0, 1], [2]]).matrix[0]
    once = build_class_embeddings(UNITS, [[0, 1], [2]]).matrix[0]
    expected = 2 * UNITS[0] + UNITS[1]
    np.testing.assert_allclose(twice, expected / np.linalg.norm(expected), atol=1e-6)
    assert np.abs(twice - once).max() > 1e-3


@given(RAGGED)
def test_mean_similarity_is_the_mean_of_the_similarities(rows_of_class: list[list[int]]) -> None:
    image = UNITS[3]
    classes = build_class_embeddings(UNITS, rows_of_class, Aggregation.MEAN_SIMILARITY)
    expected = [np.mean(UNITS[rows] @ image) for rows in rows_of_class]
    np.testing.assert_allclose(classes.matrix @ image, expected, atol=1e-6)


def test_mean_and_mean_similarity_are_different_classifiers() -> None:
    """Trap T10: without the second normalisation a class with scattered prompts scores lower."""
    rows = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    image = np.array([0.55, 0.83], dtype=np.float32)
    scattered_and_tight = [[0, 1], [2]]
    mean = build_class_embeddings(rows, scattered_and_tight).matrix @ image
    similarity = build_class_embeddings(rows, scattered_and_tight, Aggregation.MEAN_SIMILARITY).matrix @ image
    assert mean[1] - mean[0] < 0.05 < similarity[1] - similarity[0]


def test_a_class_without_prompts_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"2 of 3 classes have no prompt, first: \[0, 2\]"):
        build_class_embeddings(UNITS, [[], [1], []])


def test_prompts_that_cancel_are_an_error() -> None:
    rows = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    with pytest.raises(ValueError, match="1 of 2 class embeddings are zero"):
        build_class_embeddings(rows, [[0, 1], [0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_rows_without_a_direction_are_an_error(bad: float) -> None:
    rows = np.ones((3, 2), dtype=np.float32)
    rows[1] = bad
    with pytest.raises(ValueError, match=r"1 of 3 things are zero or not finite, first: rows \[1\]"):
        unit_rows(rows, "things")


@given(RAGGED, st.sampled_from([Aggregation.MEAN, Aggregation.MEAN_SIMILARITY]), st.integers(1, 3))
def test_a_weight_is_a_multiplicity(rows_of_class: list[list[int]], aggregation: Aggregation, times: int) -> None:
    weights = [[float(times) if place % 2 else 1.0 for place in range(len(rows))] for rows in rows_of_class]
    repeated = [
        [row for row, weight in zip(rows, row_weights, strict=True) for _ in range(int(weight))]
        for rows, row_weights in zip(rows_of_class, weights, strict=True)
    ]
    weighted = build_class_embeddings(UNITS, rows_of_class, aggregation, weights)
    assert np.array_equal(weighted.matrix, build_class_embeddings(UNITS, repeated, aggregation).matrix)


@given(RAGGED, st.data())
def test_weighted_means_are_the_plain_formula_and_heed_ratios_alone(rows_of_class: list[list[int]], data) -> None:
    weights = [data.draw(st.lists(st.floats(0.1, 9), min_size=len(rows), max_size=len(rows))) for rows in rows_of_class]
    matrix = build_class_embeddings(UNITS, rows_of_class, Aggregation.MEAN_SIMILARITY, weights).matrix
    tenfold = [[10 * weight for weight in row] for row in weights]
    scaled = build_class_embeddings(UNITS, rows_of_class, Aggregation.MEAN_SIMILARITY, tenfold).matrix
    np.testing.assert_allclose(matrix, scaled, atol=1e-6)
    for label, (rows, row) in enumerate(zip(rows_of_class, weights, strict=True)):
        np.testing.assert_allclose(matrix[label], np.average(UNITS[rows], axis=0, weights=row), atol=1e-6)


def test_weights_of_another_shape_or_for_the_nearest_prompt_are_errors() -> None:
    with pytest.raises(ValueError, match="do not have the shape"):
        build_class_embeddings(UNITS, [[0, 1], [2]], Aggregation.MEAN, [[1.0], [1.0]])
    with pytest.raises(ValueError, match="max_similarity takes no weights"):
        build_class_embeddings(UNITS, [[0, 1], [2]], Aggregation.MAX_SIMILARITY, [[1.0, 2.0], [1.0]])


def brute_force_zpe(images: np.ndarray, templates: list[np.ndarray], scale: float) -> np.ndarray:
    """The notebook's steps with all logits in memory: [image, template, class]."""
    logits = np.stack([scale * images.astype(np.float64) @ rows.T for rows in templates], axis=1)
    normalised = logits - logits.mean(axis=0, keepdims=True)
    scores = normalised.max(axis=2).mean(axis=0)
    return np.exp(scores) / np.exp(scores).sum()


@pytest.mark.parametrize("tile", [3, 5000])
def test_zero_shot_weights_are_the_notebooks(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupl_bench.template_weights.TILE_IMAGES", tile)
    generator = np.random.default_rng(1)
    images = unit_rows(generator.normal(size=(50, 16)).astype(np.float32), "images")
    templates = [unit_rows(generator.normal(size=(7, 16)).astype(np.float32), "prompts") for _ in range(6)]
    weights = zero_shot_weights(images, templates, 20.0)
    np.testing.assert_allclose(weights, brute_force_zpe(images, templates, 20.0), rtol=1e-4)
    assert weights.sum() == pytest.approx(1)
    assert weights.max() > 1.5 * weights.min()


def test_a_template_that_favours_a_class_whatever_it_sees_gains_nothing_by_it() -> None:
    """The debiasing: high logits that are the same for every image do not make a template heavier."""
    generator = np.random.default_rng(2)
    images = unit_rows(
        np.concatenate([np.full((40, 1), 3.0), generator.normal(size=(40, 15))], axis=1).astype(np.float32), "images"
    )
    told = np.eye(16, dtype=np.float32)[1:6]
    biased = told.copy()
    biased[0] = np.eye(16, dtype=np.float32)[0]  # close to every image alike
    assert (images @ biased.T).max(axis=1).mean() > (images @ told.T).max(axis=1).mean()
    weights = zero_shot_weights(images, [told, biased], 100.0)
    assert weights[0] > weights[1]


def test_no_image_weighs_no_template() -> None:
    with pytest.raises(ValueError, match="no image"):
        zero_shot_weights(np.empty((0, 8), dtype=np.float32), [UNITS], 1.0)
