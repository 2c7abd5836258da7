"""PerceptionCLIP against a straight loop, its limits, the texts of a context, and files that are malformed."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import encoded, scene, scores

from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.perceptionclip import PerceptionClipScorer, texts_of_contexts

CONTEXTS = {
    "quality": {"good": ["a good photo", "a clear photo"], "bad": ["a blurred photo"], "any": [""]},
    "place": {"sea": ["at sea"], "wood": ["in a wood", "among trees"]},
}


def perception(**settings: object) -> PerceptionClipScorer:
    return PerceptionClipScorer(**{"contexts": "contexts.json", **settings})


def asked(content: object = CONTEXTS, **changed: int) -> Inputs:
    return replace(scene(files={"contexts": content}, **changed), logit_scale=10.0)


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def straight(inputs: Inputs, estimate: str, temperature: float) -> np.ndarray:
    """The probabilities of each image by the formula, in float64 and without logarithms."""
    contexts = [
        [f", {one}" * bool(one) + f", {other}" for one in quality for other in place]
        for quality in CONTEXTS["quality"].values()
        for place in CONTEXTS["place"].values()
    ]

    def row(name: str, context: list[str]) -> np.ndarray:
        return unit(encoded([f"a photo of a {name}{end}." for end in context]).astype("f8").mean(axis=0))

    out = []
    for image in inputs.images.astype("f8"):
        f = np.array(
            [[inputs.logit_scale * image @ row(name, context) for context in contexts] for name in inputs.class_names]
        )
        if estimate == "with_y":
            of_contexts = np.exp(f / temperature).sum(axis=0)
        else:
            of_contexts = np.exp([inputs.logit_scale * image @ row("thing", one) / temperature for one in contexts])
        given = np.exp(f) / np.exp(f).sum(axis=0)
        out.append(given @ (of_contexts / of_contexts.sum()))
    return np.array(out)


@pytest.mark.parametrize("estimate", ["with_y", "without_y"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_the_formula(estimate: str, temperature: float) -> None:
    inputs = asked(num_images=8)
    scorer = perception(estimate=estimate, temperature=temperature, general="thing")
    found = scores(scorer, inputs)
    assert found == pytest.approx(straight(inputs, estimate, temperature), abs=2e-5)
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_at_temperature_one_the_guess_with_classes_adds_up_exponentials() -> None:
    inputs = asked()
    ends = texts_of_contexts(CONTEXTS)
    rows = [
        [unit(encoded([f"a photo of a {n}{e}" for e in one]).mean(axis=0)) for one in ends] for n in inputs.class_names
    ]
    total = np.exp(10 * np.einsum("nd,czd->ncz", inputs.images, np.array(rows))).sum(axis=2)
    assert scores(perception(), inputs) == pytest.approx(total / total.sum(axis=1, keepdims=True), abs=2e-5)


def test_a_high_temperature_is_the_mean_over_the_contexts() -> None:
    found = scores(perception(temperature=1e9), asked(num_images=5))
    assert found == pytest.approx(straight(asked(num_images=5), "with_y", 1e9), abs=2e-5)
    again = scores(perception(temperature=1e9, estimate="without_y"), asked(num_images=5))
    assert again == pytest.approx(found, abs=2e-5)


@pytest.mark.parametrize("estimate", ["with_y", "without_y"])
def test_one_context_that_says_nothing_is_the_plain_softmax(estimate: str) -> None:
    inputs = asked({"any": {"any": [""]}})
    rows = encoded([f"a photo of a {name}." for name in inputs.class_names])
    logits = 10 * inputs.images @ rows.T
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores(perception(estimate=estimate), inputs) == pytest.approx(plain, abs=1e-6)


def test_texts_of_contexts_are_all_combinations_in_the_order_of_the_file() -> None:
    assert texts_of_contexts(CONTEXTS) == [
        [", a good photo, at sea.", ", a clear photo, at sea."],
        [", a good photo, in a wood.", ", a good photo, among trees.", ", a clear photo, in a wood.",
         ", a clear photo, among trees."],
        [", a blurred photo, at sea."],
        [", a blurred photo, in a wood.", ", a blurred photo, among trees."],
        [", at sea."],
        [", in a wood.", ", among trees."],
    ]  # fmt: skip
    assert texts_of_contexts({"any": {"any": [""]}}) == [["."]]


def test_large_logits_are_numbers() -> None:
    for estimate in ("with_y", "without_y"):
        found = scores(perception(estimate=estimate, temperature=1e-3), replace(asked(), logit_scale=1e4))
        assert np.isfinite(found).all()
        assert found.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_the_class_name_is_in_no_text_that_guesses_without_it() -> None:
    texts: list[str] = []
    inputs = replace(asked(num_classes=2), encode=lambda more: texts.extend(more) or encoded(more))
    scores(perception(estimate="without_y", general="bird"), inputs)
    assert len(texts) == len(set(texts)) == 3 * 4 * 3  # two classes and a bird, descriptions by descriptions
    assert sum("bird" in text for text in texts) == 4 * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["good"], "names a file of another form \\(in all of it"),
        ({"quality": ["good"]}, "in 'quality': input should be a valid dict"),
        ({"quality": {"good": "a good photo"}}, "in 'good' of 'quality': input should be a valid list"),
        ({"quality": {"good": ["x", 3]}}, "in 1 of 'good' of 'quality'"),
        ({}, "a file without a factor"),
        (
            {f"f{number}": {str(value): ["x"] for value in range(10)} for number in range(6)},
            "10 f0 x 10 f1 .* make 6,000,000 means of texts for 6 classes, .*Take fewer factors",
        ),
        ({"quality": {"good": ["x"]}, "place": {}, "light": {"dark": []}}, "2 of 3 factors .*first: 'place'"),
        ({"quality": {"good": [" x"]}}, "1 of 1 descriptions begin or end with white space"),
        ({"quality": {"good": ["x", chr(0xD800)]}}, "1 of 2 descriptions .*no Unicode"),
    ],
)
def test_a_malformed_file_is_told(content: object, message: str) -> None:
    with pytest.raises(ScorerError, match=f"scorer.contexts.*{message}"):
        scores(perception(), asked(content))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "a photo"}, "should have a {} for the class name"),
        ({"template": "a photo of a {}."}, "no full stop or comma at its end"),
        ({"estimate": "both"}, "estimate=both should be one of with_y, without_y"),
        ({"general": " "}, "general is blank"),
        ({"temperature": 0.0}, "temperature=0.0 should be above 0"),
        ({"temperature": float("inf")}, "temperature=inf should be above 0"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        perception(**settings)


def test_its_needs() -> None:
    needs = perception().needs
    assert needs.own_prompts
    assert (needs.kind, needs.uses, needs.files) == (
        "zero_shot", ("second_texts", "groups"), {"contexts": "contexts.json"}
    )  # fmt: skip
