"""WCA against a loop in float64, and its limits."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import encoded, scene, scores

from cupl_bench.errors import ScorerError
from cupl_bench.scorers.wca import WcaScorer


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def weighed(rows: np.ndarray, whole: np.ndarray, power: float) -> np.ndarray:
    likeness = np.array([np.exp(power) * row @ whole for row in rows])
    weights = np.exp(likeness - likeness.max())
    return sum(weight * row for weight, row in zip(weights / weights.sum(), rows, strict=True))


@pytest.mark.parametrize("form", ["code", "paper"])
def test_it_is_the_loop(form: str) -> None:
    inputs = scene(num_images=10, num_views=9)
    found = scores(WcaScorer(crops=8, form=form), inputs)
    names = encoded([f"a photo of a {name}." for name in inputs.class_names]).astype(np.float64)
    for views, row in zip(inputs.views.astype(np.float64), found, strict=True):
        image = unit(weighed(views[1:], views[0], 4))
        for label, score in enumerate(row):
            mean = weighed(inputs.prompts[inputs.rows_of_class[label]].astype(np.float64), names[label], 2)
            assert score == pytest.approx(image @ (unit(mean) if form == "code" else mean), abs=2e-6)


def test_equal_crops_and_one_sentence_are_the_image_and_the_sentence() -> None:
    inputs = scene(num_prompts=1, num_views=9)
    same = replace(inputs, views=np.repeat(inputs.images[:, None], 9, axis=1))
    assert scores(WcaScorer(crops=8), same) == pytest.approx(inputs.images @ inputs.classes.matrix.T, abs=1e-6)


def test_draws_are_those_of_the_seed() -> None:
    inputs = scene(num_views=9)
    one, again, other = (scores(WcaScorer(crops=8, draws=2, seed=seed), inputs) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_weights_of_the_users_own_are_refused() -> None:
    inputs = replace(scene(num_views=9), weights=[[1.0] * 4] * 6)
    with pytest.raises(ScorerError, match="finds the weights"):
        scores(WcaScorer(crops=8), inputs)


def test_a_template_without_a_place_for_the_name_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        WcaScorer(template="a photo")
