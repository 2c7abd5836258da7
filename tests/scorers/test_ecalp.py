"""Label propagation over a graph that grows."""

import numpy as np
import pytest
from scorers.scenes import scene, scores, with_images

from cupl_bench.scorers import Inputs
from cupl_bench.scorers.ecalp import EcalpScorer
from cupl_bench.scorers.stream import arrivals


def slowly(scorer: EcalpScorer, inputs: Inputs) -> np.ndarray:
    """The formula in float64, with the whole graph made anew for each image."""
    order = np.argsort(arrivals(len(inputs.images), scorer.seed))
    images, texts = inputs.images[:].astype(np.float64)[order], inputs.classes.matrix.astype(np.float64)
    weights = texts.var(axis=0, ddof=1)
    count = len(texts)
    start = np.zeros((0, count))
    found = np.zeros((len(images), count))
    for now in range(len(images)):
        nodes = images[[*range(now + 1), now]]
        links = np.zeros((count + now + 2, count + now + 2))
        for place, image in enumerate(nodes):
            query = weights * image / np.linalg.norm(weights * image)
            nearest = np.argsort(-np.round(nodes @ query, 7), kind="stable")[: scorer.k_image]
            links[count + place, count + nearest] = np.maximum(nodes[nearest] @ query, 0) ** scorer.gamma
            best = np.argsort(-texts @ image)[: scorer.k_text]
            links[count + place, best] = np.maximum(texts[best] @ image, 0) ** scorer.gamma
        graph = links + links.T
        root = np.sqrt(graph.sum(axis=1)) + 1e-6
        graph = graph / root[:, None] / root[None, :]
        state = np.concatenate([start, np.zeros((2, count))])
        for _ in range(scorer.rounds):
            state = graph[count:] @ np.concatenate([np.eye(count), state])
        found[now] = state[-1]
        start = np.zeros((now + 1, count))
        for place in range(now + 1):
            start[place, state[place].argmax()] = state[place].max() / 5
    return found[np.argsort(order)]


@pytest.mark.parametrize(
    "scorer",
    [EcalpScorer(), EcalpScorer(k_text=2, k_image=3, gamma=3.0, rounds=2, seed=5)],
    ids=["default", "other"],
)
@pytest.mark.parametrize("order", [list(range(40)), [*range(40), 4, 4, 7]], ids=["all", "copies"])
def test_the_formula(scorer: EcalpScorer, order: list[int]) -> None:
    inputs = with_images(scene(num_images=40), order)
    assert scores(scorer, inputs) == pytest.approx(slowly(scorer, inputs), abs=2e-5)


def test_another_order_changes_scores_and_the_same_order_does_not() -> None:
    found = [scores(EcalpScorer(seed=seed), scene()) for seed in (0, 1, 0)]
    assert not np.allclose(found[0], found[1], atol=1e-3)
    assert np.array_equal(found[0], found[2])


def test_later_images_change_nothing() -> None:
    inputs = scene()
    earliest = int(np.argmin(arrivals(30, 0)))
    assert scores(EcalpScorer(), inputs)[[earliest]] == pytest.approx(
        scores(EcalpScorer(), with_images(inputs, [earliest])), abs=1e-6
    )


@pytest.mark.parametrize("wrong", [{"k_text": 0}, {"k_image": 0}, {"gamma": 0.0}, {"rounds": 0}, {"seed": -1}], ids=str)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EcalpScorer(**wrong)  # type: ignore[arg-type]
