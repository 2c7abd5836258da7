"""The assignment of all images together."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores, with_images

from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.otter import OtterScorer


def similarities(inputs: Inputs) -> np.ndarray:
    return inputs.images[:].astype(np.float64) @ inputs.classes.matrix.astype(np.float64).T


def test_the_exact_plan_is_the_best_of_all_assignments() -> None:
    inputs = scene(num_images=6, num_classes=3)
    assert len(inputs.images) == 6
    similarity = similarities(inputs)
    best = max(
        (
            labels
            for labels in itertools.product(range(3), repeat=6)
            if np.bincount(labels, minlength=3).tolist() == [2, 2, 2]
        ),
        key=lambda labels: similarity[np.arange(6), list(labels)].sum(),
    )
    found = scores(OtterScorer(), inputs)
    assert found.argmax(axis=1).tolist() == list(best)
    assert similarity.argmax(axis=1).tolist() != list(best)  # or the test says nothing
    assert np.isneginf(found).sum() == 12


def test_the_shares_of_the_plain_predictions_give_the_plain_predictions() -> None:
    inputs = scene()
    plain = similarities(inputs).argmax(axis=1)
    shares = np.bincount(plain, minlength=6) / 30
    content = dict(zip(inputs.class_names, shares.tolist(), strict=True))
    found = scores(OtterScorer(prior="prior.json"), replace(inputs, files={"prior": content}))
    assert np.array_equal(found.argmax(axis=1), plain)


def test_a_class_without_a_share_gets_no_image() -> None:
    inputs = scene()
    content = {name: (0.0 if place == 2 else 0.2) for place, name in enumerate(inputs.class_names)}
    for temperature in (None, 0.1):
        found = scores(OtterScorer(prior="p.json", temperature=temperature), replace(inputs, files={"prior": content}))
        assert not (found[:, 2] > 0).any()
        assert np.bincount(found.argmax(axis=1), minlength=6).max() == 6 if temperature is None else True


def test_each_class_gets_its_share() -> None:
    inputs = scene(num_images=32)
    exact = scores(OtterScorer(), inputs)
    assert np.where(np.isfinite(exact), exact, 0).sum(axis=0) == pytest.approx(32 / 6, abs=1e-5)
    assert np.where(np.isfinite(exact), exact, 0).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (np.isfinite(exact).sum(axis=1) > 1).sum() <= 5  # images that are split
    entropic = scores(OtterScorer(temperature=0.1, rounds=500), inputs)
    assert entropic.sum(axis=0) == pytest.approx(32 / 6, abs=1e-3)
    assert entropic.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_entropic_plan() -> None:
    inputs = scene(num_images=32)
    plan = np.exp(similarities(inputs) / 0.1)
    plan /= plan.sum(axis=1, keepdims=True)
    for _ in range(7):
        plan = plan / plan.sum(axis=0) * 32 / 6
        plan /= plan.sum(axis=1, keepdims=True)
    assert scores(OtterScorer(temperature=0.1, rounds=7), inputs) == pytest.approx(plan, abs=2e-5)


def test_the_entropic_plan_becomes_the_exact_one() -> None:
    inputs = scene()
    exact, entropic = scores(OtterScorer(), inputs), scores(OtterScorer(temperature=0.002, rounds=3000), inputs)
    assert np.array_equal(exact.argmax(axis=1), entropic.argmax(axis=1))


def test_estimated_shares_are_the_mean_probabilities() -> None:
    inputs = scene()
    object.__setattr__(inputs, "logit_scale", 3.0)
    raised = np.exp(3 * similarities(inputs))
    shares = (raised / raised.sum(axis=1, keepdims=True)).mean(axis=0)
    content = dict(zip(inputs.class_names, shares.tolist(), strict=True))
    given = scores(OtterScorer(prior="p.json"), replace(inputs, files={"prior": content}))
    assert scores(OtterScorer(prior="estimated"), inputs) == pytest.approx(given, abs=1e-4)
    assert OtterScorer(prior="estimated").needs.uses == ("other_images",)
    assert "label_prior" in OtterScorer().needs.uses


def test_copies_of_an_image_go_the_same_way() -> None:
    found = scores(OtterScorer(), with_images(scene(), [*range(30), *[3] * 15]))
    assert (found[30:] == found[3]).all()
    assert np.where(np.isfinite(found), found, 0).sum(axis=0) == pytest.approx(45 / 6, abs=1e-5)


def test_other_images_change_the_scores_of_an_image() -> None:
    inputs = scene()
    some = list(range(0, 30, 2))
    found = scores(OtterScorer(), with_images(inputs, some)).argmax(axis=1)
    assert not np.array_equal(found, scores(OtterScorer(), inputs).argmax(axis=1)[some])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([0.5, 0.5], "holds a list; it should map each class name to its share"),
        ({"class 0": "half"}, "1 of 1 shares of p.json are no numbers from 0 to 1, first: 'class 0'"),
        ({f"class {label}": -0.1 for label in range(6)}, "6 of 6 shares"),
        ({f"class {label}": float("nan") for label in range(6)}, "6 of 6 shares"),
        ({f"class {label}": 0.1 for label in range(6)}, "sum to 0.6 over the 6 classes; they should sum to one"),
        ({f"class {label}": 0.2 for label in range(5)}, "1 classes have none, first: 'class 5'; 0 names"),
        (
            {f"class {label}": 1 / 7 for label in range(7)},
            "0 classes have none; 1 names are no class, first: 'class 6'",
        ),
        ({f"thing {label}": 0.2 for label in range(5)}, "None of the 5 names of p.json is a class of the data set"),
        ({}, "None of the 0 names of p.json is a class"),
    ],
)
def test_a_malformed_file_of_shares(content: object, message: str) -> None:
    with pytest.raises(ScorerError) as raised:
        scores(OtterScorer(prior="p.json"), replace(scene(), files={"prior": content}))
    assert message in str(raised.value)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"rounds": 0}], ids=str)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OtterScorer(**wrong)  # type: ignore[arg-type]
