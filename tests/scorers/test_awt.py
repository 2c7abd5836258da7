"""AWT against a loop over classes in float64, and its limits."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores

from cupl_bench.errors import ScorerError
from cupl_bench.scorers.awt import AwtScorer


def entropy_of(logits: np.ndarray) -> float:
    raised = np.exp(logits - logits.max())
    shares = raised / raised.sum()
    return -sum(share * np.log(share) for share in shares if share > 0)


def softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def by_loop(views: np.ndarray, prompts: np.ndarray, rounds: int, still: float) -> np.ndarray:
    """Scores of one image; ``prompts`` classes x sentences x width."""
    similar = np.einsum("vd,cpd->vcp", views.astype(np.float64), prompts.astype(np.float64))
    logits = 100 * similar
    of_views = softmax(-np.array([entropy_of(view.mean(axis=1)) for view in logits]) / 0.5)
    means = logits[0].mean(axis=1)
    of_texts = []
    for label in range(len(prompts)):
        entropies = []
        for logit in logits[0, label]:
            replaced = means.copy()
            replaced[label] = logit
            entropies.append(entropy_of(replaced))
        of_texts.append(softmax(-np.array(entropies) / 0.5))
    kernels = [np.exp(-(1 - similar[:, label]) / 0.1) for label in range(len(prompts))]
    left = [np.ones(len(views)) for _ in prompts]
    right = [np.ones(prompts.shape[1]) for _ in prompts]
    for _ in range(rounds):
        before = [one.copy() for one in left]
        left = [of_views / (kernel @ one) for kernel, one in zip(kernels, right, strict=True)]
        right = [texts / (kernel.T @ one) for texts, kernel, one in zip(of_texts, kernels, left, strict=True)]
        if np.mean(np.abs(np.array(left) - np.array(before))) < still:
            break
    plans = [one[:, None] * kernel * other for one, kernel, other in zip(left, kernels, right, strict=True)]
    return np.array([(plan * similar[:, label]).sum() for label, plan in enumerate(plans)])


def test_it_is_the_loop() -> None:
    inputs = scene(num_images=8, num_views=5)
    prompts = inputs.prompts[np.array(inputs.rows_of_class)]
    found = scores(AwtScorer(views=5, sentences=4), inputs)
    for views, row in zip(inputs.views, found, strict=True):
        assert row == pytest.approx(by_loop(views, prompts, 100, 0.01), abs=1e-5)


def test_one_view_and_one_sentence_are_the_plain_scores() -> None:
    inputs = scene(num_prompts=1, num_views=2)
    same = replace(inputs, views=np.repeat(inputs.images[:, None], 2, axis=1))
    found = scores(AwtScorer(views=2, sentences=1), same)
    assert found == pytest.approx(inputs.images @ inputs.classes.matrix.T, abs=1e-5)


def test_classes_with_fewer_sentences_than_others_are_named() -> None:
    inputs = scene(num_views=3)
    rows = [inputs.rows_of_class[0][:2], *inputs.rows_of_class[1:]]
    with pytest.raises(ScorerError, match=r"1 of 6 classes have fewer than 4, first: 'class 0'.*sentences=2"):
        scores(AwtScorer(views=3, sentences=4), replace(inputs, rows_of_class=rows))
    assert scores(AwtScorer(views=3, sentences=2), replace(inputs, rows_of_class=rows)).shape == (30, 6)
