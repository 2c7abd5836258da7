"""The selection of prompts by their features against a straight loop, and its limits."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores, units

from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.plain import PlainScorer
from cupl_bench.scorers.selected import SelectedScorer, unlike_before


def straight(inputs: Inputs, tau: float, cap: int) -> np.ndarray:
    """The scores of each image by the rule, in float64."""
    means = []
    for rows in inputs.rows_of_class:
        kept: list[np.ndarray] = []
        for row in rows:
            prompt = inputs.prompts[row].astype("f8")
            if len(kept) < cap and all(prompt @ other <= tau for other in kept):
                kept.append(prompt)
        mean = np.mean(kept, axis=0)
        means.append(mean / np.linalg.norm(mean))
    return inputs.images @ np.stack(means).T


@pytest.mark.parametrize("tau", [0.0, 0.6, 0.8, 0.99])
@pytest.mark.parametrize("cap", [1, 3, 50])
def test_it_is_the_rule(tau: float, cap: int) -> None:
    inputs = scene(num_prompts=8)
    assert scores(SelectedScorer(tau=tau, cap=cap), inputs) == pytest.approx(straight(inputs, tau, cap), abs=1e-6)


def test_the_rules_differ_in_this_scene() -> None:
    inputs = scene(num_prompts=8)
    found = {
        settings: straight(inputs, *settings).tobytes() for settings in [(0.6, 50), (0.8, 50), (0.99, 50), (0.6, 3)]
    }
    assert len(set(found.values())) == 4


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_at_one_and_without_a_cap_nothing_is_left_out(aggregation: Aggregation) -> None:
    inputs = scene(num_prompts=5)
    rows = [[*row, row[0], row[0]] for row in inputs.rows_of_class]  # a prompt that stands thrice
    classes = build_class_embeddings(inputs.prompts, rows, aggregation)
    repeated = replace(inputs, rows_of_class=rows, classes=classes)
    assert np.array_equal(scores(SelectedScorer(tau=1.0, cap=None), repeated), scores(PlainScorer(), repeated))
    plain = replace(inputs, classes=build_class_embeddings(inputs.prompts, inputs.rows_of_class, aggregation))
    assert np.array_equal(scores(SelectedScorer(tau=0.999, cap=None), repeated), scores(PlainScorer(), plain))


def test_a_cap_of_one_is_the_first_prompt() -> None:
    inputs = scene()
    first = inputs.prompts[[row[0] for row in inputs.rows_of_class]]
    assert scores(SelectedScorer(cap=1), inputs) == pytest.approx(inputs.images @ first.T, abs=1e-6)


def test_weights_go_with_their_prompts() -> None:
    inputs = scene(num_prompts=3)
    rows = [[row[0], row[0], row[1], row[2]] for row in inputs.rows_of_class]
    weights = [[1.0, 7.0, 2.0, 3.0]] * 6
    weighed = replace(inputs, rows_of_class=rows, weights=weights)
    expected = build_class_embeddings(inputs.prompts, inputs.rows_of_class, weights=[[1.0, 2.0, 3.0]] * 6)
    assert scores(SelectedScorer(), weighed) == pytest.approx(inputs.images @ expected.matrix.T, abs=1e-6)


def test_the_first_of_prompts_that_are_alike_is_kept_and_order_matters() -> None:
    rows = units(np.array([[1, 0, 0], [1, 0.3, 0], [1, 0.6, 0], [0, 0, 1]]))
    assert unlike_before(rows, tau=0.9, cap=None) == [0, 2, 3]
    assert unlike_before(rows[[1, 0, 2, 3]], tau=0.9, cap=None) == [0, 3]
    assert unlike_before(rows, tau=0.9, cap=2) == [0, 2]
    assert unlike_before(rows, tau=-1.0, cap=None) == [0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 1.1}, "tau=1.1 should be a cosine similarity"),
        ({"tau": float("nan")}, "tau=nan should be a cosine similarity"),
        ({"cap": 0}, "cap=0 should be 1 or more, or null"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectedScorer(**settings)


def test_it_needs_prompts_and_is_zero_shot() -> None:
    needs = SelectedScorer().needs
    assert (needs.prompts, needs.parallel, needs.kind) == (True, False, "zero_shot")
