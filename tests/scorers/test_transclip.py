"""The mixture over all images."""

import numpy as np
import pytest
from scorers.scenes import places_taken, scene, scores, with_images

from cupl_bench.scorers import Inputs
from cupl_bench.scorers.transclip import LEAST_VARIANCE, TransClipScorer


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def slowly(scorer: TransClipScorer, inputs: Inputs) -> np.ndarray:
    """The formula in float64, an image at a time; what is equal shares its places."""
    images, texts = inputs.images[:].astype(np.float64), inputs.classes.matrix.astype(np.float64)
    count, width = images.shape
    of_text = np.stack([softmax(inputs.logit_scale * texts @ image) for image in images])
    centres = np.zeros_like(texts)
    for label in range(len(texts)):
        surest = places_taken(np.log(of_text[:, label]), scorer.confident)
        centres[label] = (surest * of_text[:, label]) @ images
        centres[label] /= np.linalg.norm(centres[label])
    near = np.zeros((count, count))
    for place, image in enumerate(images):
        similarity = images @ image
        similarity[place] = -2.0
        near[place] = places_taken(similarity, scorer.neighbours) * similarity.clip(min=0)
    variance, assigned = np.full(width, 1 / width), of_text.copy()
    for _ in range(scorer.rounds):
        likelihood = np.array([[-0.5 * ((x - centre) ** 2 / variance).sum() for centre in centres] for x in images])
        for _ in range(scorer.inner_rounds):
            shared = near.T @ assigned + near @ assigned
            assigned = np.stack(
                [
                    softmax(
                        scorer.text_weight * np.log(of_text[place])
                        + scorer.likelihood_weight * likelihood[place]
                        + shared[place] / (2 * scorer.neighbours)
                    )
                    for place in range(count)
                ]
            )
        centres = assigned.T @ images
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        apart = (images[:, None, :] - centres[None]) ** 2
        variance = np.einsum("nc,ncd->d", assigned, apart) / assigned.sum()
        variance = variance.clip(min=LEAST_VARIANCE / width)
    return assigned


@pytest.mark.parametrize(
    "scorer",
    [
        TransClipScorer(),
        TransClipScorer(neighbours=2, confident=4, text_weight=0.5, likelihood_weight=0.1, rounds=3, inner_rounds=2),
    ],
    ids=["default", "other"],
)
@pytest.mark.parametrize(
    "order", [list(range(40)), [*range(40), 4, 4, 7], [4] * 9 + [7, 8] * 3], ids=["all", "copies", "few"]
)
def test_the_formula(scorer: TransClipScorer, order: list[int]) -> None:
    inputs = with_images(scene(num_images=40), order)
    object.__setattr__(inputs, "logit_scale", 20.0)  # so that images are unsure, and every part counts
    assert scores(scorer, inputs) == pytest.approx(slowly(scorer, inputs), abs=2e-5)


def test_no_rounds_are_the_probabilities_of_the_texts() -> None:
    inputs = scene()
    expected = np.stack([softmax(100.0 * inputs.classes.matrix @ image) for image in inputs.images[:]])
    assert scores(TransClipScorer(rounds=0), inputs) == pytest.approx(expected, abs=1e-5)


def test_scores_are_probabilities() -> None:
    found = scores(TransClipScorer(), scene())
    assert found.sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_other_images_change_the_scores_of_an_image() -> None:
    inputs = scene()
    some = list(range(0, 30, 2))
    found = scores(TransClipScorer(), with_images(inputs, some))
    assert not np.allclose(found, scores(TransClipScorer(), inputs)[some], atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"neighbours": 0}, {"confident": 0}, {"rounds": -1}, {"text_weight": -1.0}, {"inner_rounds": 0}], ids=str
)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TransClipScorer(**wrong)  # type: ignore[arg-type]
