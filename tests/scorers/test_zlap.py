"""Label propagation over the graph of all images."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores, units, with_images

from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.zlap import ZlapScorer


def slowly(scorer: ZlapScorer, inputs: Inputs) -> np.ndarray:
    """The formula in float64, a link at a time, for images and classes that are all different."""
    texts, images = inputs.classes.matrix.astype(np.float64), inputs.images[:].astype(np.float64)
    nodes = len(texts) + len(images)
    links = np.zeros((nodes, nodes))
    for place, image in enumerate(images):
        to_texts, to_images = texts @ image, images @ image
        to_images[place] = np.inf
        for label in np.argsort(-to_texts)[: scorer.k]:
            links[len(texts) + place, label] = max(to_texts[label], 0.0) ** scorer.gamma
        for other in np.argsort(-to_images)[: scorer.k]:
            if other != place:
                links[len(texts) + place, len(texts) + other] = max(to_images[other], 0.0)
    graph = links + links.T
    degrees = graph.sum(axis=1)
    degrees[degrees == 0] = 1.0
    normalised = graph / np.sqrt(degrees[:, None] * degrees[None, :])
    return np.linalg.inv(np.eye(nodes) - scorer.alpha * normalised)[len(texts) :, : len(texts)]


@pytest.mark.parametrize("scorer", [ZlapScorer(), ZlapScorer(k=3, gamma=2.0, alpha=0.8)], ids=["default", "other"])
def test_the_formula(scorer: ZlapScorer) -> None:
    inputs = scene(num_images=40)
    assert scores(scorer, inputs) == pytest.approx(slowly(scorer, inputs), abs=1e-6)


def test_one_neighbour_and_no_spreading_is_the_nearest_text() -> None:
    inputs = scene()
    found = scores(ZlapScorer(k=1, alpha=1e-6), inputs)
    assert np.array_equal(found.argmax(axis=1), (inputs.images[:] @ inputs.classes.matrix.T).argmax(axis=1))


def test_other_images_change_the_scores_of_an_image() -> None:
    inputs = scene()
    some = list(range(0, 30, 2))
    assert not np.allclose(scores(ZlapScorer(), with_images(inputs, some)), scores(ZlapScorer(), inputs)[some])


@pytest.mark.parametrize("copies", [2, 3, 9])
def test_copies_of_an_image_have_equal_scores_whatever_their_number_and_order(copies: int) -> None:
    inputs = scene()
    order = np.random.default_rng(2).permutation([*range(30), *([4] * (copies - 1))])
    found = scores(ZlapScorer(), with_images(inputs, order))
    of_copies = found[order == 4]
    assert len(of_copies) == copies
    assert (of_copies == of_copies[0]).all()


def test_lists_that_end_amid_copies_share_what_is_left() -> None:
    """Two images, one of them five times; every copy counts as much as another."""
    images = units(np.array([[1.0, 0.2], *[[1.0, 0.0]] * 5]))
    texts = units(np.array([[1.0, 0.1], [0.0, 1.0]]))
    inputs = replace(scene(), images=images, classes=ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=texts))
    scorer = ZlapScorer(k=3)
    wide, own = images.astype(np.float64), texts.astype(np.float64)
    links = np.zeros((8, 8))
    links[2:, :2] = (wide @ own.T).clip(min=0) ** scorer.gamma
    between = wide @ wide.T
    links[2, 3:] = 2 / 5 * between[0, 1:]  # two places, five copies
    for copy in range(1, 6):
        for other in range(1, 6):
            if other != copy:
                links[2 + copy, 2 + other] = 2 / 4
    graph = links + links.T
    root = np.sqrt(graph.sum(axis=1))
    solved = np.linalg.inv(np.eye(8) - scorer.alpha * graph / root[:, None] / root[None, :])
    assert scores(scorer, inputs) == pytest.approx(solved[2:, :2], abs=1e-6)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"gamma": 0.0}, {"alpha": 1.0}, {"alpha": 0.0}], ids=str)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ZlapScorer(**wrong)  # type: ignore[arg-type]
