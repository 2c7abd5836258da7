"""The evaluation of DisCLIP against a straight loop, its limits, and files that are malformed or name their class."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import encoded, scene, scores

from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.disclip import DisclipScorer

DESCRIBED = {
    "class 0": ["round", "red", "round"],
    "class 1": ["red"],
    "class 2": ["flat", "broad leaves", "a stem", "red"],
    "class 3": ["spotted"],
    "class 4": ["hairy", "tall"],
    "class 5": ["thin"],
}


def disclip(**settings: object) -> DisclipScorer:
    return DisclipScorer(**{"descriptions": "descriptions.json", **settings})


def asked(content: object = DESCRIBED, **files: object) -> Inputs:
    return scene(files={"descriptions": content, **files})


def straight(inputs: Inputs, weight: float, k: int) -> np.ndarray:
    """The scores of each image by the formula, in float64."""
    out = np.full((len(inputs.images), 6), -np.inf)
    for row, image in enumerate(inputs.images.astype("f8")):
        of_names = inputs.classes.matrix.astype("f8") @ image
        for label in np.argsort(-of_names)[:k]:
            texts = set(DESCRIBED[inputs.class_names[label]])
            mean = np.mean([encoded([text])[0].astype("f8") @ image for text in texts])
            out[row, label] = (weight * of_names[label] + mean) / (weight + 1)
    return out


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0, 39.75])
@pytest.mark.parametrize("k", [None, 1, 3, 8])
def test_it_is_the_formula(weight: float, k: int | None) -> None:
    inputs = asked()
    found, expected = scores(disclip(name_weight=weight, k=k), inputs), straight(inputs, weight, k or 6)
    assert np.array_equal(np.isneginf(found), np.isneginf(expected))
    assert found[np.isfinite(found)] == pytest.approx(expected[np.isfinite(expected)], abs=1e-6)


def test_without_the_name_it_is_the_mean_similarity_to_descriptions_and_with_it_alone_the_plain_scorer() -> None:
    inputs = asked()
    texts = list(dict.fromkeys(text for row in DESCRIBED.values() for text in row))
    rows = [sorted({texts.index(text) for text in row}) for row in DESCRIBED.values()]
    described = build_class_embeddings(encoded(texts), rows, Aggregation.MEAN_SIMILARITY)
    assert scores(disclip(name_weight=0.0), inputs) == pytest.approx(inputs.images @ described.matrix.T, abs=1e-6)
    assert scores(disclip(name_weight=1e9), inputs) == pytest.approx(inputs.images @ inputs.classes.matrix.T, abs=1e-6)


def test_the_authors_form_of_a_file() -> None:
    order = [3, 0, 5, 1, 2, 4]
    theirs = {
        "index_to_descriptions": {str(place): DESCRIBED[f"class {label}"] for place, label in enumerate(order)},
        "index_to_classname": {str(place): f"Class_{label}" for place, label in enumerate(order)},
    }
    assert np.array_equal(scores(disclip(), asked(theirs)), scores(disclip(), asked()))
    twice = {**theirs, "index_to_classname": {**theirs["index_to_classname"], "1": "Class_3"}}
    lacking = {**theirs, "index_to_classname": {"0": "Class_3"}}
    for odd in (twice, lacking, {"index_to_descriptions": {"0": ["x"]}}, {**theirs, "index_to_classname": ["Class_3"]}):
        with pytest.raises(ScorerError, match="scorer.descriptions: index_to_descriptions and index_to_classname"):
            scores(disclip(), asked(odd))


def test_aliases() -> None:
    renamed = {name.replace("class 3", "drei"): row for name, row in DESCRIBED.items()}
    found = scores(disclip(aliases="a.json"), asked(renamed, aliases={"class 3": "drei"}))
    assert np.array_equal(found, scores(disclip(), asked()))
    assert set(disclip(aliases="a.json").needs.files) == {"descriptions", "aliases"}


def test_classes_as_likely_as_the_last_are_compared_too() -> None:
    inputs = asked()
    equal = replace(inputs, classes=replace(inputs.classes, matrix=np.repeat(inputs.classes.matrix[:1], 6, axis=0)))
    assert np.isfinite(scores(disclip(k=2), equal)).all()


def test_descriptions_that_name_their_class_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    check = disclip().needs.check
    assert check is not None
    with caplog.at_level(logging.WARNING, logger="cupl_bench"):
        check(["class 0", "class_1"], {"descriptions": {"class 0": ["a classy thing", "red"], "class 1": ["class 10"]}})
        assert not caplog.records
        naming = {"class 0": ["A Class 0, which is red", "red"], "class 1": ["the class 1.", "class 0"]}
        check(["class 0", "class_1"], {"descriptions": naming})
    (told,) = caplog.messages
    assert "2 of 4 descriptions have the name of their class, first: 'A Class 0, which is red', 'the class 1.'" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["class 0"], "scorer.descriptions names a file of another form"),
        ({**DESCRIBED, "class 1": []}, "1 of 6 classes of the file are of another form, first: 'class 1' .list should"),
        ({**DESCRIBED, "class 1": "red"}, "1 of 6 classes of the file"),
        ({**DESCRIBED, "class 1": ["red", ""]}, "1 of 6 classes of the file"),
        ({name: DESCRIBED[name] for name in list(DESCRIBED)[1:]}, "1 of 6 classes are not in the file"),
    ],
)
def test_a_malformed_file_is_told(content: object, message: str) -> None:
    check = disclip().needs.check
    assert check is not None
    with pytest.raises(ScorerError, match=message):
        check(list(DESCRIBED), {"descriptions": content})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name_weight": -0.1}, "name_weight=-0.1 should be 0 or more"),
        ({"name_weight": float("nan")}, "name_weight=nan should be 0 or more"),
        ({"k": 0}, "k=0 should be 1 or more, or null"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        disclip(**settings)
