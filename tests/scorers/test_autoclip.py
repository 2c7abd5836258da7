"""AutoCLIP against the worked example, a loop in float64, and its limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scorers.scenes import scene, scores, units

from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.scorers.autoclip import AutoClipScorer, weights_of_entropy
from cupl_bench.scorers.plain import PlainScorer


def by_loop(similar: np.ndarray, beta: float, tau: float) -> np.ndarray:
    """Scores of one image from similarities, classes x templates, by the formula and a root finder."""
    num_templates = similar.shape[1]
    means = similar.mean(axis=1)
    classes = np.exp(tau * means) / np.exp(tau * means).sum()
    gradient = np.zeros(num_templates)
    fit = classes @ similar
    for place in range(num_templates):
        gradient[place] = tau / num_templates * (fit[place] - fit.mean())

    def weights(step: float) -> np.ndarray:
        raised = np.exp(step * gradient - (step * gradient).max())
        return raised / raised.sum()

    def gap(step: float) -> float:
        found = weights(step)
        return -(found * np.log2(found + 1e-300)).sum() - beta * np.log2(num_templates)

    return similar @ weights(brentq(gap, 0, 1e9, xtol=1e-9, rtol=1e-14, maxiter=1000))


@pytest.mark.parametrize("tau", [1.0, 100.0])
def test_it_is_the_loop(tau: float) -> None:
    inputs = scene()
    found = scores(AutoClipScorer(beta=0.85, tau=tau), inputs)
    prompts = inputs.prompts.astype(np.float64)[np.array(inputs.rows_of_class)]
    for image, row in zip(inputs.images.astype(np.float64), found, strict=True):
        assert row == pytest.approx(by_loop(prompts @ image, 0.85, tau), abs=2e-6)


def test_a_small_case_by_hand() -> None:
    """Two classes, two templates; the root to five digits (0.72396, 0.27604)."""
    fit = torch.tensor([[0.250625, 0.2246875]]).double()
    assert weights_of_entropy(fit, 0.85)[0].tolist() == pytest.approx([0.72396, 0.27604], abs=5e-6)


def test_equal_weights_are_the_mean_of_similarities() -> None:
    inputs = scene()
    mean = build_class_embeddings(inputs.prompts, inputs.rows_of_class, Aggregation.MEAN_SIMILARITY)
    plain = scores(PlainScorer(), replace(inputs, classes=mean))
    assert scores(AutoClipScorer(beta=1.0), inputs) == pytest.approx(plain, abs=1e-6)


def test_towards_no_entropy_one_template_takes_all() -> None:
    inputs = scene()
    similar = np.einsum("nd,cpd->ncp", inputs.images, inputs.prompts[np.array(inputs.rows_of_class)])
    fit = np.einsum("nc,ncp->np", np.exp(similar.mean(2)) / np.exp(similar.mean(2)).sum(1, keepdims=True), similar)
    best = similar[np.arange(30), :, fit.argmax(axis=1)]
    assert scores(AutoClipScorer(beta=1e-6), inputs) == pytest.approx(best, abs=1e-4)


def test_templates_that_are_all_equal_keep_equal_weights() -> None:
    inputs = scene(num_prompts=1)
    rows = [[row] * 3 for (row,) in inputs.rows_of_class]
    assert scores(AutoClipScorer(), replace(inputs, rows_of_class=rows)) == pytest.approx(
        scores(AutoClipScorer(), inputs), abs=1e-6
    )


def test_more_best_templates_than_the_entropy_asks_for_share() -> None:
    fit = torch.tensor([[1.0, 1.0, 1.0, 0.0]]).double()
    assert weights_of_entropy(fit, 0.5)[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=1e-6)


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta": 1.1}, {"tau": 0.0}, {"tau": float("inf")}])
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="should be"):
        AutoClipScorer(**wrong)


def test_the_width_of_a_tile_is_no_part_of_the_answer() -> None:
    """One class far wider than the others leaves the weights of each image its own."""
    inputs = scene(num_images=3)
    wide = replace(inputs, images=units(np.concatenate([inputs.images, inputs.images[:1] * 5])))
    assert scores(AutoClipScorer(), wide)[3] == pytest.approx(scores(AutoClipScorer(), wide)[0], abs=1e-6)
