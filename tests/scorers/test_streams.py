"""Scorers that remember the images before."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores, units, with_images

from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.scorers import Inputs, Scorer, tda
from cupl_bench.scorers.dmn import DmnScorer
from cupl_bench.scorers.stream import arrivals
from cupl_bench.scorers.tda import TdaScorer


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def in_order(inputs: Inputs, seed: int) -> list[int]:
    return np.argsort(arrivals(len(inputs.images), seed)).tolist()


def stored(lists: dict[int, list[tuple[float, int]]], label: int, entropy: float, image: int, capacity: int) -> None:
    held = lists.setdefault(label, [])
    if len(held) < capacity:
        held.append((entropy, image))
    elif held and entropy < max(held, key=lambda one: one[0])[0]:
        held.sort(key=lambda one: one[0])  # stable: the latest of equals is last
        held[-1] = (entropy, image)


def tda_slowly(scorer: TdaScorer, inputs: Inputs) -> np.ndarray:
    images, texts = inputs.images[:].astype(np.float64), inputs.classes.matrix.astype(np.float64)
    sure: dict[int, list[tuple[float, int]]] = {}
    unsure: dict[int, list[tuple[float, int]]] = {}
    found = np.zeros((len(images), len(texts)))
    for place in in_order(inputs, scorer.seed):
        logits = inputs.logit_scale * texts @ images[place]
        shares = softmax(logits)
        entropy = -(shares * np.log(shares)).sum()
        label = int(logits.argmax())
        stored(sure, label, entropy, place, scorer.positive)
        if scorer.entropy_low < entropy / np.log2(len(texts)) < scorer.entropy_high:
            stored(unsure, label, entropy, place, scorer.negative)
        for of, held in sure.items():
            for _, other in held:
                logits[of] += scorer.alpha * np.exp(-scorer.beta * (1 - images[place] @ images[other]))
        for held in unsure.values():
            for _, other in held:
                of_other = softmax(inputs.logit_scale * texts @ images[other])
                like = np.exp(-scorer.negative_beta * (1 - images[place] @ images[other]))
                logits -= scorer.negative_alpha * like * ((of_other > scorer.possible) & (of_other < 1))
        found[place] = logits
    return found


def dmn_slowly(scorer: DmnScorer, inputs: Inputs) -> np.ndarray:
    images, texts = inputs.images[:].astype(np.float64), inputs.classes.matrix.astype(np.float64)
    lists: dict[int, list[tuple[float, int]]] = {}
    found = np.zeros((len(images), len(texts)))
    for place in in_order(inputs, scorer.seed):
        image = images[place]
        shares = softmax(inputs.logit_scale * texts @ image)
        stored(lists, int(shares.argmax()), -(shares * np.log(shares + 1e-8)).sum(), place, scorer.capacity)
        logits = np.zeros(len(texts))
        for label, text in enumerate(texts):
            vector = np.exp(-scorer.beta * (1 - image @ text)) * text
            for _, other in lists.get(label, []):
                vector = vector + np.exp(-scorer.beta * (1 - image @ images[other])) * images[other]
            logits[label] = inputs.logit_scale * image @ vector / np.linalg.norm(vector)
        found[place] = shares + scorer.fusion * softmax(logits)
    return found


def unsure(inputs: Inputs) -> Inputs:
    return replace(inputs, logit_scale=8.0)


@pytest.mark.parametrize(
    "scorer",
    [
        TdaScorer(),
        TdaScorer(seed=3, alpha=3.0, beta=2.0, positive=1, negative=3, negative_alpha=0.7, negative_beta=2.0),
        TdaScorer(entropy_low=0.05, entropy_high=0.3, possible=0.2, positive=0),
    ],
    ids=["default", "other", "unsure"],
)
def test_tda(scorer: TdaScorer) -> None:
    inputs = with_images(unsure(scene(num_images=60)), [*range(60), 4, 4, 7])
    assert scores(scorer, inputs) == pytest.approx(tda_slowly(scorer, inputs), abs=2e-5)


def test_more_is_remembered_than_is_compared_with_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = unsure(scene(num_images=60))
    whole = scores(TdaScorer(), inputs)
    monkeypatch.setattr(tda, "CHUNK", 4)
    assert scores(TdaScorer(), inputs) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("scorer", [DmnScorer(), DmnScorer(seed=3, capacity=3, beta=2.0, fusion=3.0)], ids=["50", "3"])
def test_dmn(scorer: DmnScorer) -> None:
    inputs = with_images(unsure(scene(num_images=60)), [*range(60), 4, 4, 7])
    assert scores(scorer, inputs) == pytest.approx(dmn_slowly(scorer, inputs), abs=2e-5)


def two_images(first: int) -> tuple[Inputs, TdaScorer]:
    """Two images of known similarities, and the seed by which one of them comes first."""
    images = np.zeros((2, 4))
    images[0, :3] = [0.30, 0.28, np.sqrt(1 - 0.30**2 - 0.28**2)]
    images[1, :2] = [0.27, 0.275]
    images[1, 2] = (0.9 - images[0, :2] @ images[1, :2]) / images[0, 2]
    images[1, 3] = np.sqrt(1 - (images[1] ** 2).sum())
    texts = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(4, dtype=np.float32)[:2])
    seed = next(seed for seed in range(100) if np.random.default_rng(seed).permutation(2)[0] == first)
    inputs = replace(scene(), images=units(images), classes=texts, class_names=["one", "two"])
    return inputs, TdaScorer(alpha=2.0, beta=5.0, negative=0, seed=seed)


@pytest.mark.parametrize(
    ("first", "expected"),
    [(0, [[32.0, 28.0], [28.2131, 29.5]]), (1, [[32.0, 29.2131], [27.0, 29.5]])],
    ids=["in order", "the other way"],
)
def test_tda_of_two_images_by_hand(first: int, expected: list[list[float]]) -> None:
    inputs, scorer = two_images(first)
    assert scores(scorer, inputs) == pytest.approx(np.array(expected), abs=1e-4)


def test_nothing_remembered_is_the_plain_score() -> None:
    inputs = unsure(scene())
    logits = 8 * inputs.images[:] @ inputs.classes.matrix.T
    assert scores(TdaScorer(alpha=0.0, negative_alpha=0.0), inputs) == pytest.approx(logits, abs=1e-5)
    expected = np.stack([softmax(row) for row in logits])
    assert scores(DmnScorer(fusion=0.0), inputs) == pytest.approx(expected, abs=1e-6)
    assert scores(DmnScorer(capacity=0), inputs) == pytest.approx(2 * expected, abs=1e-5)


@pytest.mark.parametrize("kind", [TdaScorer, DmnScorer])
def test_another_order_changes_scores_and_the_same_order_does_not(kind: type[Scorer]) -> None:
    inputs = unsure(scene())
    found = [scores(kind(seed=seed), inputs) for seed in (0, 1, 0)]
    assert not np.allclose(found[0], found[1], atol=1e-3)
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("kind", [TdaScorer, DmnScorer])
def test_later_images_change_nothing(kind: type[Scorer]) -> None:
    """The first image of the stream has the score that it has alone."""
    inputs = unsure(scene())
    earliest = in_order(inputs, 0)[0]
    alone = scores(kind(), with_images(inputs, [earliest]))
    assert scores(kind(), inputs)[[earliest]] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (TdaScorer, {"alpha": -1.0}),
        (TdaScorer, {"positive": -1}),
        (TdaScorer, {"entropy_low": 0.6}),
        (DmnScorer, {"capacity": -1}),
        (DmnScorer, {"fusion": float("nan")}),
    ],
)
def test_wrong_parameters(kind: type[Scorer], wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)
