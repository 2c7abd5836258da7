"""Hierarchy-CLIP against a straight loop, its gate, its texts, and files that are malformed."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import encoded, scene, scores

from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.hierarchy import HierarchyScorer

TREE = {
    "class 0": {"children": ["nought", "zero"], "parents": ["number", "digit"]},
    "class 1": {"children": [f"one {kind}" for kind in range(14)], "parents": ["digit"]},
    "class 2": {"children": [], "parents": []},
    "class 3": {},
    "class 4": {"parents": ["digit"]},
    "class 5": {"children": ["five"]},
}


def hierarchy(**settings: object) -> HierarchyScorer:
    return HierarchyScorer(**{"hierarchy": "tree.json", **settings})


def asked(tree: object = TREE, **changed: int) -> Inputs:
    """The scene with an encoder that knows the class names: so most images agree, and some do not."""
    inputs = scene(files={"hierarchy": tree}, num_images=60, **changed)
    near = {name: inputs.classes.matrix[label] for label, name in enumerate(inputs.class_names)}

    def encode(texts: list[str]) -> np.ndarray:
        rows = [0.7 * near[text] + encoded([text])[0] if text in near else encoded([text])[0] for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    return replace(inputs, encode=encode)


def mean(inputs: Inputs, rows: list[int]) -> np.ndarray:
    row = inputs.prompts[rows].astype("f8").mean(axis=0)
    return row / np.linalg.norm(row)


def straight(inputs: Inputs, k: int, between: str, max_children: int) -> tuple[np.ndarray, int]:
    """The scores of each image by the rule, in float64, and how many are stable."""
    out, num_stable = [], 0
    for image in inputs.images.astype("f8"):
        of_names = inputs.encode(list(inputs.class_names)).astype("f8") @ image
        first = int(of_names.argmax())
        agree = True
        for part in (slice(None), slice(0, 2), slice(2, 4)):
            votes = [mean(inputs, rows[part]) @ image for rows in inputs.rows_of_class]
            agree = agree and int(np.argmax(votes)) == first
        num_stable += agree
        if agree:
            out.append(of_names)
            continue
        row = np.full(len(of_names), -np.inf)
        for label in np.argsort(-of_names)[:k]:
            name = inputs.class_names[label]
            told = inputs.files["hierarchy"][name]
            words = [name, *told.get("children", [])[:max_children]]
            texts = [f"{word}{between}{', '.join(told.get('parents', []))}" for word in words]
            row[label] = (inputs.encode(texts).astype("f8") @ image).max()
        out.append(row)
    return np.array(out), num_stable


@pytest.mark.parametrize("k", [1, 3, 5, 9])
@pytest.mark.parametrize("settings", [{}, {"between": " which is a kind of ", "max_children": 0}], ids=str)
def test_it_is_the_rule(k: int, settings: dict) -> None:
    inputs = asked()
    expected, num_stable = straight(inputs, k, **{"between": " which is a kind of", "max_children": 10, **settings})
    assert 5 < num_stable < 55
    found = scores(hierarchy(k=k, **settings), inputs)
    assert np.array_equal(np.isneginf(found), np.isneginf(expected))
    assert found[np.isfinite(found)] == pytest.approx(expected[np.isfinite(expected)], abs=2e-6)


def test_the_texts_of_a_class() -> None:
    texts: list[str] = []
    inputs = asked()
    scores(hierarchy(), replace(inputs, encode=lambda more: texts.extend(more) or inputs.encode(more)))
    assert [text for text in texts if "kind of" in text][:4] == [
        "class 0 which is a kind ofnumber, digit",
        "nought which is a kind ofnumber, digit",
        "zero which is a kind ofnumber, digit",
        "class 1 which is a kind ofdigit",
    ]
    assert sum(text.startswith("one ") for text in texts) == 10
    assert "class 3 which is a kind of" in texts


def test_where_all_agree_the_class_names_decide() -> None:
    inputs = asked()
    names = inputs.encode(list(inputs.class_names))
    rows = [[label] for label in range(6)]
    agree = replace(inputs, prompts=names, rows_of_class=rows, classes=build_class_embeddings(names, rows))
    assert scores(hierarchy(), agree) == pytest.approx(inputs.images @ names.T, abs=1e-6)


@pytest.mark.parametrize("part", [slice(0, 2), slice(2, 4), None])
def test_each_half_has_a_vote_and_so_has_the_whole(part: slice | None) -> None:
    """All but one say the same; that one says the opposite, so no image is stable."""
    inputs = asked()
    names = inputs.encode(list(inputs.class_names))
    prompts = np.concatenate([names, -names])
    rows = [[label] * 4 for label in range(6)]
    for label, row in enumerate(rows):
        row[part or slice(0, 0)] = [6 + label] * (2 if part else 0)
    classes = build_class_embeddings(names if part else -names, [[label] for label in range(6)])
    found = scores(hierarchy(k=2), replace(inputs, prompts=prompts, rows_of_class=rows, classes=classes))
    assert np.isneginf(found).sum(axis=1).tolist() == [4] * 60


def test_the_aggregation_of_the_prompts_counts_in_the_gate() -> None:
    inputs = asked()
    nearest = build_class_embeddings(inputs.prompts, inputs.rows_of_class, Aggregation.MAX_SIMILARITY)
    found = np.isneginf(scores(hierarchy(k=2), replace(inputs, classes=nearest))).any(axis=1)
    votes = [np.stack([inputs.encode(list(inputs.class_names)) @ image for image in inputs.images]).argmax(axis=1)]
    for part in (slice(None), slice(0, 2), slice(2, 4)):
        of_prompts = [(inputs.prompts[rows[part]] @ inputs.images.T).max(axis=0) for rows in inputs.rows_of_class]
        votes.append(np.stack(of_prompts).argmax(axis=0))
    assert np.array_equal(found, [len(set(row)) > 1 for row in zip(*votes, strict=True)])
    assert found.any()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (["class 0"], "scorer.hierarchy names a file of another form"),
        ({**TREE, "class 1": ["digit"]}, "1 of 6 classes of the file are of another form, first: 'class 1'"),
        ({**TREE, "class 1": {"child": ["x"]}}, "1 of 6 classes .*extra inputs are not permitted"),
        ({**TREE, "class 1": {"children": "x"}, "class 2": {"parents": [""]}}, "2 of 6 classes"),
        ({name: TREE[name] for name in list(TREE)[1:]}, "1 of 6 classes are not in the file of scorer.hierarchy"),
    ],
)
def test_a_malformed_file_is_told(tree: object, message: str) -> None:
    check = hierarchy().needs.check
    assert check is not None
    with pytest.raises(ScorerError, match=message):
        check(list(TREE), {"hierarchy": tree})


def test_parameters_that_make_no_sense_and_needs() -> None:
    with pytest.raises(ValueError, match="k=0 should be 1 or more"):
        hierarchy(k=0)
    with pytest.raises(ValueError, match="max_children=-1 should be 0 or more"):
        hierarchy(max_children=-1)
    assert set(hierarchy(aliases="a.json").needs.files) == {"hierarchy", "aliases"}
    assert hierarchy().needs.parallel
    assert hierarchy().needs.prompts
