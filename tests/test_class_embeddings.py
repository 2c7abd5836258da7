import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench.class_embeddings import Aggregation, build_class_embeddings, unit_rows

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
    with pytest.raises(ValueError, match=r"2 of 3 classes own no prompt, first: \[0, 2\]"):
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
