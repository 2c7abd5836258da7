"""FuDD against a straight loop, its limits, ties at the cut, and files that are malformed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scorers.scenes import encoded, scene, scores, with_classes

from cupl_bench import scores as arithmetic
from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs
from cupl_bench.scorers import fudd as module
from cupl_bench.scorers.fudd import FuddScorer

NAMES = [f"class {label}" for label in range(6)]


def entry(a: object, b: object, *texts: tuple[str, str]) -> dict[str, object]:
    return {
        "classes": [a, b],
        "prompt_pairs": [{"attr_type": "any", "prompt_pair": [one, other]} for one, other in texts],
    }


PAIRS = {
    "0_1": entry(0, 1, ("Nought has petals", "One has Leaves"), ("shared of nought", "round one")),
    "0_2": entry(0, 2, ("shared of nought", "two is flat"), ("nought IS small", "two is flat")),
    "2_1": entry(2, 1, ("two is flat", "round one")),  # the higher number first
    "3_4": entry(3, 4, ("three", "four")),
    "3_5": entry(3, 5),  # says nothing
}


def fudd(**settings: object) -> FuddScorer:
    return FuddScorer(**{"pairs": "pairs.json", "names": "names.json", **settings})


def asked(pairs: object = PAIRS, names: object = NAMES, **changed: int) -> Inputs:
    return scene(files={"pairs": pairs, "names": names}, **changed)


def texts_of(label: int, others: Sequence[int], names: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for other in others:
        here = [one for one in PAIRS.values() if set(one["classes"]) == {label, other}]
        if not here:
            found.add(f"a photo of a {names[label]}.")
        for one in here:
            side = one["classes"].index(label)
            found.update(pair["prompt_pair"][side] for pair in one["prompt_pairs"])
    return [text.capitalize() for text in found]


def straight(inputs: Inputs, k: int) -> np.ndarray:
    """The scores of each image by the rule, in float64."""
    out = np.full((len(inputs.images), len(inputs.class_names)), -np.inf)
    for row, image in enumerate(inputs.images.astype("f8")):
        likely = inputs.classes.matrix.astype("f8") @ image
        compared = sorted(range(len(likely)), key=lambda label: -likely[label])[:k]
        for label in compared:
            texts = texts_of(label, [one for one in compared if one != label], inputs.class_names)
            mean = encoded(texts or [f"A photo of a {inputs.class_names[label]}."]).astype("f8").mean(axis=0)
            out[row, label] = image @ mean / np.linalg.norm(mean)
    return out


@pytest.mark.parametrize("k", [2, 3, 4, 10])
def test_it_is_the_rule(k: int) -> None:
    inputs = asked()
    found, expected = scores(fudd(k=k), inputs), straight(inputs, k)
    assert np.array_equal(np.isneginf(found), np.isneginf(expected))
    assert np.isneginf(found).any() == (k < 6)
    assert found[np.isfinite(found)] == pytest.approx(expected[np.isfinite(expected)], abs=1e-6)


def test_a_text_counts_once_however_many_pairs_have_it() -> None:
    assert texts_of(0, [1, 2], NAMES).count("Shared of nought") == 1
    assert texts_of(2, [0, 1], NAMES) == ["Two is flat"]


def test_all_classes_and_one_text_each_are_one_embedding_a_class() -> None:
    pairs = {f"{a}_{b}": entry(a, b, (f"the {a}", f"the {b}")) for a, b in combinations(range(6), 2)}
    inputs = asked(pairs)
    plain = inputs.images @ encoded([f"The {label}" for label in range(6)]).T
    assert scores(fudd(k=6), inputs) == pytest.approx(plain, abs=1e-6)


def test_only_texts_that_are_wanted_are_encoded_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = asked(num_images=12)
    whole = scores(fudd(k=2), inputs)
    asked_for: list[list[str]] = []
    again = replace(inputs, encode=lambda texts: asked_for.append(list(texts)) or encoded(texts))
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 3)
    monkeypatch.setattr(arithmetic, "TILE_VALUES", 1)
    assert scores(fudd(k=2), again) == pytest.approx(whole, abs=1e-6)
    assert len(asked_for) == 12
    assert all(2 <= len(few) < 7 and len(few) == len(set(few)) for few in asked_for)
    assert all(text[0].isupper() and text[1:].islower() for few in asked_for for text in few)


def test_classes_are_joined_by_name_and_not_by_place() -> None:
    inputs = asked()
    order = [4, 2, 0, 5, 3, 1]
    assert scores(fudd(k=3), with_classes(inputs, order)) == pytest.approx(
        scores(fudd(k=3), inputs)[:, order], abs=1e-6
    )
    named = {key: {**one, "classes": [NAMES[label] for label in one["classes"]]} for key, one in PAIRS.items()}
    by_name = scene(files={"pairs": {**named, "x": entry("class 5", "class 4", ("x y", "z"))}})
    numbered = asked({**PAIRS, "x": entry(5, 4, ("x y", "z"))})
    assert scores(fudd(names=None), by_name) == pytest.approx(scores(fudd(), numbered), abs=1e-6)


def test_names_in_another_spelling_by_aliases_and_of_more_classes() -> None:
    names = ["nought", "Class-1", "class_2", "class 3", "class 4", "class 5", "zebra"]
    pairs = {**PAIRS, "0_6": entry(0, 6, ("x", "y"))}
    inputs = scene(files={"pairs": pairs, "names": names, "aliases": {"class 0": "nought"}})
    assert np.array_equal(scores(fudd(aliases="a.json"), inputs), scores(fudd(), asked()))
    assert set(fudd(aliases="a.json").needs.files) == {"pairs", "names", "aliases"}
    with pytest.raises(ScorerError, match="1 of 6 classes are not in the file of scorer.names, first: 'class 0'"):
        scores(fudd(), scene(files={"pairs": pairs, "names": names}))


def test_classes_as_likely_as_the_last_are_compared_too() -> None:
    inputs = asked()
    rows = [*inputs.rows_of_class[:5], inputs.rows_of_class[0]]
    matrix = inputs.classes.matrix[[0, 1, 2, 3, 4, 0]]
    classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=matrix)
    twice = replace(inputs, class_names=[*NAMES[:5], NAMES[0]], rows_of_class=rows, classes=classes)
    found = scores(fudd(k=2), twice)
    assert np.array_equal(found[:, 0], found[:, 5])
    assert set(np.isfinite(found).sum(axis=1).tolist()) == {2, 3}
    equal = replace(inputs, classes=replace(inputs.classes, matrix=np.repeat(matrix[:1], 6, axis=0)))
    assert np.isfinite(scores(fudd(k=2), equal)).all()


def test_images_that_compare_the_same_classes_share_their_texts() -> None:
    pairs = module._Pairs.of(NAMES, {"pairs": PAIRS, "names": NAMES})
    rows, starts, bag_of = module._bags(pairs, [0, 0, 1, 1, 2, 2], [0, 1, 3, 4, 0, 1])
    assert len(starts) == 4
    assert bag_of == [0, 1, 2, 3, 0, 1]
    assert [pairs.texts[row] for row in rows[starts[1] : starts[2]]] == ["One has leaves", "Round one"]


@pytest.mark.parametrize(
    ("pairs", "names", "message"),
    [
        ([entry(0, 1, ("a", "b"))], NAMES, "scorer.pairs names a file of another form"),
        ({}, NAMES, "scorer.pairs names a file of another form"),
        ({**PAIRS, "x": entry(0, 9, ("a", "b"))}, NAMES, "1 of 6 entries .*first: 'x'.* in the authors' form"),
        ({**PAIRS, "x": entry(4, 4, ("a", "b"))}, NAMES, "1 of 6 entries"),
        ({**PAIRS, "x": entry(1, 0, ("a", "b"))}, NAMES, "a pair that stood before, first: 'x'"),
        ({**PAIRS, "x": entry(4, 5, ("a", " "))}, NAMES, "1 of 6 entries"),
        ({**PAIRS, "x": entry(4, 5, ("a", chr(0xD800)))}, NAMES, "1 of 6 entries"),
        ({**PAIRS, "x": entry(4, True, ("a", "b"))}, NAMES, "1 of 6 entries"),
        ({**PAIRS, "x": {"classes": [4, 5]}}, NAMES, "1 of 6 entries"),
        ({**PAIRS, "x": {"classes": [4, 5], "prompt_pairs": [["a", "b"]]}}, NAMES, "1 of 6 entries"),
        ({**PAIRS, "x": {"classes": [4, 5, 3], "prompt_pairs": []}, "y": 3}, NAMES, "2 of 7 entries .*'x', 'y'"),
        (PAIRS, [*NAMES, NAMES[0]], "scorer.names: 1 names stand twice, first: 'class 0'"),
        (PAIRS, {"class 0": 0}, "scorer.names names a file of another form"),
        (PAIRS, [1, 2], "scorer.names names a file of another form"),
        (PAIRS, None, "calls classes by numbers.*scorer.names=FILE.json"),
    ],
)
def test_malformed_files_are_told_before_anything_is_encoded(pairs: object, names: object, message: str) -> None:
    files = {"pairs": pairs} if names is None else {"pairs": pairs, "names": names}
    check = fudd().needs.check
    assert check is not None
    with pytest.raises(ScorerError, match=message):
        check(NAMES, files)


def test_one_class_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="k=1 should be 2 or more"):
        fudd(k=1)
