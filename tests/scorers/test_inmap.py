"""Class vectors that are learnt among the images."""

import numpy as np
import pytest
from scorers.scenes import scene, scores, with_images

from cupl_bench.scorers import Inputs
from cupl_bench.scorers.inmap import InMapScorer


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def slowly(scorer: InMapScorer, inputs: Inputs) -> np.ndarray:
    """The formula in float64, with whole matrices."""
    images, texts = inputs.images[:].astype(np.float64), inputs.classes.matrix.astype(np.float64)
    count, num_classes = len(images), len(texts)
    said = softmax(images @ texts.T / scorer.tau_text) / count
    shares = said.sum(axis=0) ** scorer.gamma
    shares /= shares.sum()
    for _ in range(scorer.rounds):
        said = said / said.sum(axis=0) * shares
        said = said / said.sum(axis=1, keepdims=True) / count
    said *= count
    sure = said.max(axis=1) > scorer.sure
    said[sure] = np.eye(num_classes)[said[sure].argmax(axis=1)]
    vectors, wanted = texts.T.copy(), images.T @ said
    rate, before = scorer.rate, np.inf
    for _ in range(scorer.steps):
        gradient = images.T @ softmax(images @ vectors / scorer.tau_image) - wanted
        length = np.linalg.norm(gradient)
        if length > before:
            rate /= 2
        before = length
        vectors = vectors - rate / (count * scorer.tau_image) * gradient
        vectors /= np.linalg.norm(vectors, axis=0)
    return softmax(images @ vectors / scorer.tau_image)


@pytest.mark.parametrize(
    "scorer",
    [
        InMapScorer(steps=300),
        InMapScorer(steps=40, rounds=3, gamma=0.5, sure=0.9, tau_text=0.1, tau_image=0.2, rate=3.0),
    ],
    ids=["default", "other"],
)
@pytest.mark.parametrize("order", [list(range(40)), [*range(40), 4, 4, 7]], ids=["all", "copies"])
def test_the_formula(scorer: InMapScorer, order: list[int]) -> None:
    inputs = with_images(scene(num_images=40), order)
    assert scores(scorer, inputs) == pytest.approx(slowly(scorer, inputs), abs=2e-5)


def test_no_steps_leave_the_texts() -> None:
    inputs = scene()
    found = scores(InMapScorer(steps=0), inputs)
    assert found == pytest.approx(softmax(inputs.images[:] @ inputs.classes.matrix.T / 0.04), abs=1e-5)


def test_other_images_change_the_scores_of_an_image() -> None:
    inputs = scene()
    some = list(range(0, 30, 2))
    found = scores(InMapScorer(steps=50), with_images(inputs, some))
    assert not np.allclose(found, scores(InMapScorer(steps=50), inputs)[some], atol=1e-3)


def test_equal_shares_are_said_to_be_assumed_where_they_are() -> None:
    assert "label_prior" in InMapScorer().needs.uses
    assert "label_prior" not in InMapScorer(gamma=1.0).needs.uses
    assert "label_prior" not in InMapScorer(rounds=0).needs.uses


@pytest.mark.parametrize(
    "wrong", [{"tau_text": 0.0}, {"rounds": -1}, {"gamma": -1.0}, {"sure": 1.5}, {"steps": -1}, {"rate": 0.0}], ids=str
)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        InMapScorer(**wrong)  # type: ignore[arg-type]
