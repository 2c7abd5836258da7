"""Label propagation over the graph of all images."""

import numpy as np
import pytest
from scorers.scenes import places_taken, scene, scores, with_images

from cupl_bench.scorers import Inputs
from cupl_bench.scorers.zlap import ZlapScorer


def slowly(scorer: ZlapScorer, inputs: Inputs) -> np.ndarray:
    """The formula in float64, an image at a time; what is equal shares its places."""
    texts, images = inputs.classes.matrix.astype(np.float64), inputs.images[:].astype(np.float64)
    nodes = len(texts) + len(images)
    links = np.zeros((nodes, nodes))
    for place, image in enumerate(images):
        to_texts, to_images = texts @ image, images @ image
        to_images[place] = -2.0  # it takes one place of its own list, which is left out
        links[len(texts) + place, : len(texts)] = (
            places_taken(to_texts, scorer.k) * to_texts.clip(min=0) ** scorer.gamma
        )
        links[len(texts) + place, len(texts) :] = places_taken(to_images, scorer.k - 1) * to_images.clip(min=0)
    graph = links + links.T
    degrees = graph.sum(axis=1)
    degrees[degrees == 0] = 1.0
    normalised = graph / np.sqrt(degrees[:, None] * degrees[None, :])
    return np.linalg.inv(np.eye(nodes) - scorer.alpha * normalised)[len(texts) :, : len(texts)]


@pytest.mark.parametrize("scorer", [ZlapScorer(), ZlapScorer(k=3, gamma=2.0, alpha=0.8)], ids=["default", "other"])
@pytest.mark.parametrize(
    "order", [list(range(40)), [*range(40), 4, 4, 7], [4] * 9 + [7] * 3], ids=["all", "copies", "few"]
)
def test_the_formula(scorer: ZlapScorer, order: list[int]) -> None:
    inputs = with_images(scene(num_images=40), order)
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


@pytest.mark.parametrize("wrong", [{"k": 0}, {"gamma": 0.0}, {"alpha": 1.0}, {"alpha": 0.0}], ids=str)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ZlapScorer(**wrong)  # type: ignore[arg-type]
