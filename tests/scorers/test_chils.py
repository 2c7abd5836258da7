"""CHiLS against a straight loop, the four numbers that tell its rules apart, and label sets that are malformed."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import encoded, scene, scores

from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs
from cupl_bench.scorers.chils import ChilsScorer

TEMPLATES = ["a photo of a {}.", "a drawing of a {}."]
SETS = {
    "class 0": ["class 0"],
    "class 1": ["one", "class 1", "uno"],
    "class 2": ["one", "two"],
    "class 3": ["three", "three", "drei"],
    "class 4": ["four"],
    "class 5": ["five", "cinq"],
}
RULES = ("normal", "hat", "supagg", "no_reweighting")


def chils(**settings: object) -> ChilsScorer:
    return ChilsScorer(**{"label_sets": "sets.json", "templates": TEMPLATES, **settings})


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def straight(inputs: Inputs, rule: str) -> np.ndarray:
    """The scores of each image by the formula, in float64: products of two softmaxes."""
    subs, parent = [], []
    for label, name in enumerate(inputs.class_names):
        for sub in inputs.files["label_sets"][name]:
            texts = encoded([template.replace("{}", sub) for template in TEMPLATES]).astype("f8")
            subs.append(unit(texts.mean(axis=0)))
            parent.append(label)
    out = []
    for image in inputs.images.astype("f8"):
        q = np.exp(inputs.logit_scale * (np.stack(subs) @ image))
        q /= q.sum()
        r = np.exp(inputs.logit_scale * (inputs.classes.matrix.astype("f8") @ image))
        r /= r.sum()
        row = []
        for label in range(len(r)):
            own = [q[place] for place in range(len(q)) if parent[place] == label]
            row.append(
                {
                    "normal": max(own) * r[label],
                    "hat": max(own) * sum(own),
                    "supagg": sum(own) * r[label],
                    "no_reweighting": max(own),
                }[rule]
            )
        out.append(row)
    return np.array(out)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_it_is_the_formula(rule: str, scale: float) -> None:
    inputs = replace(scene(files={"label_sets": SETS}), logit_scale=scale)
    expected = straight(inputs, rule)
    found = np.exp(scale * scores(chils(reweigh=rule), inputs).astype("f8"))
    shares = found / found.sum(axis=1, keepdims=True)
    assert shares == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=2e-5, rel=2e-4)


def test_normal_is_the_highest_sum_of_two_similarities_and_no_scale_matters() -> None:
    inputs = scene(files={"label_sets": SETS})
    found = scores(chils(), inputs)
    assert np.array_equal(found, scores(chils(), replace(inputs, logit_scale=1.0)))
    texts = [
        encoded([t.replace("{}", "five") for t in TEMPLATES]),
        encoded([t.replace("{}", "cinq") for t in TEMPLATES]),
    ]
    subs = np.stack([unit(rows.mean(axis=0)) for rows in texts])
    rows = subs + inputs.classes.matrix[5]  # not of unit length
    assert found[:, 5] == pytest.approx((inputs.images @ rows.T).max(axis=1), abs=1e-6)


def test_one_sub_class_that_is_the_class_changes_no_order() -> None:
    names = [f"class {label}" for label in range(6)]
    texts = [[template.replace("{}", name) for template in TEMPLATES] for name in names]
    matrix = np.stack([unit(encoded(row).mean(axis=0)) for row in texts])
    classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=matrix)
    inputs = replace(scene(files={"label_sets": {name: [name] for name in names}}), classes=classes)
    plain = inputs.images @ matrix.T
    assert scores(chils(), inputs) == pytest.approx(2 * plain, abs=1e-6)
    assert scores(chils(reweigh="no_reweighting"), inputs) == pytest.approx(plain, abs=1e-6)
    assert scores(chils(reweigh="hat"), inputs) == pytest.approx(2 * plain, abs=1e-6)


@pytest.fixture
def example() -> Inputs:
    """One image whose similarities are known: to the sub-classes .28, .24 and .27, to the classes .22 and .24."""

    def at(*cosines: float) -> np.ndarray:
        rows = np.zeros((len(cosines), 8), dtype=np.float32)
        rows[:, 0] = cosines
        rows[np.arange(len(cosines)), 1 + np.arange(len(cosines))] = np.sqrt(1 - np.square(cosines))
        return rows

    known = dict(zip(("a1", "a2", "b1"), at(0.28, 0.24, 0.27), strict=True))
    return replace(
        scene(num_classes=2),
        images=np.eye(1, 8, dtype=np.float32),
        class_names=["A", "B"],
        classes=ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=at(0.22, 0.24)),
        encode=lambda texts: np.stack([known[text] for text in texts]),
        files={"label_sets": {"B": ["b1"], "A": ["a1", "a2"]}},
    )


def test_four_numbers_tell_the_rules_apart(example: Inputs) -> None:
    def answer(rule: str) -> np.ndarray:
        return scores(chils(templates=["{}"], reweigh=rule), example)[0]

    assert answer("normal") == pytest.approx([0.50, 0.51], abs=1e-6)
    assert answer("no_reweighting") == pytest.approx([0.28, 0.27], abs=1e-6)
    of_both = np.exp(100 * answer("supagg").astype("f8"))
    assert of_both[0] / of_both[1] == pytest.approx(0.0876 / 0.2338, rel=2e-3)
    of_both = np.exp(100 * answer("hat").astype("f8"))
    assert of_both[0] / of_both[1] == pytest.approx(0.7214 * 0.7346 / 0.2654**2, rel=2e-3)


def test_nothing_underflows(example: Inputs) -> None:
    for rule in RULES:
        found = scores(chils(templates=["{}"], reweigh=rule), replace(example, logit_scale=1e5))
        assert np.isfinite(found).all()
        assert found[0, 0] != found[0, 1]


def test_texts_are_encoded_in_blocks_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = scene(files={"label_sets": SETS})
    whole = scores(chils(), inputs)
    monkeypatch.setattr("cupl_bench.scorers.texts.TEXTS_AT_ONCE", 4)
    asked: list[list[str]] = []
    again = replace(inputs, encode=lambda texts: asked.append(list(texts)) or encoded(texts))
    assert np.array_equal(scores(chils(), again), whole)
    assert len(asked) == 5  # two sub-classes at a time of ten, each in two templates
    assert sorted(text for block in asked for text in block) == sorted(
        template.replace("{}", sub) for sub in {sub for row in SETS.values() for sub in row} for template in TEMPLATES
    )


MALFORMED: list[tuple[object, str]] = [
    (["class 0"], "scorer.label_sets names a file of another form: it should hold sub-classes of each class"),
    ({}, "another form"),
    (
        {**SETS, "class 1": "one"},
        "1 of 6 classes of the file are of another form, first: 'class 1' \\(input should be a",
    ),
    ({**SETS, "class 1": [], "class 2": [3]}, "2 of 6 classes .*first: 'class 1', 'class 2' \\(list should have at"),
    ({**SETS, "class 1": ["one", " "]}, "1 of 6 classes .*a text is blank or no Unicode"),
    ({name: SETS[name] for name in list(SETS)[:4]}, "2 of 6 classes are not in the file of scorer.label_sets, first:"),
    ({name.replace("class 3", "klass 3"): row for name, row in SETS.items()}, 'scorer.aliases .*"class 3": "klass 3"'),
]


@pytest.mark.parametrize(("content", "message"), MALFORMED)
def test_a_malformed_file_is_told_before_anything_is_encoded(content: object, message: str) -> None:
    inputs = scene(files={"label_sets": content})
    check = chils().needs.check
    assert check is not None
    with pytest.raises(ScorerError, match=message):
        check(inputs.class_names, inputs.files)
    with pytest.raises(ScorerError, match=message):
        next(iter(chils()(inputs)))
    with pytest.raises(ScorerError) as caught:
        check(inputs.class_names, inputs.files)
    assert "prompts" not in str(caught.value)


def test_two_names_that_could_be_the_class_are_told() -> None:
    sets = {**{name: row for name, row in SETS.items() if name != "class 1"}, "Class-1": ["x"], "CLASS 1": ["y"]}
    with pytest.raises(ScorerError, match="2 classes that could be 'class 1'.*scorer.aliases"):
        scores(chils(), scene(files={"label_sets": sets}))


def test_aliases_and_names_of_other_classes() -> None:
    sets = {**{name: row for name, row in SETS.items() if name != "class 1"}, "primo": SETS["class 1"], "zebra": ["z"]}
    inputs = scene(files={"label_sets": sets, "aliases": {"class 1": "primo"}})
    assert chils(aliases="a.json").needs.files == {"label_sets": "sets.json", "aliases": "a.json"}
    assert np.array_equal(scores(chils(aliases="a.json"), inputs), scores(chils(), scene(files={"label_sets": SETS})))
    with pytest.raises(ScorerError, match="scorer.aliases should hold a map"):
        scores(chils(), replace(inputs, files={"label_sets": SETS, "aliases": ["class 1"]}))


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        (None, "no hand-written templates of its own.*scorer.templates="),
        (["no place"], "scorer.templates: 1 of 1 templates lack the {}"),
        ("nonsense", "'nonsense' names no templates"),
        ("lines.txt", "scorer.templates names a file of another form: it should be JSON"),  # it would be in no run key
    ],
)
def test_templates_that_are_none(templates: object, message: str) -> None:
    with pytest.raises(ScorerError, match=message):
        scores(chils(templates=templates), scene(files={"label_sets": SETS}))


def test_templates_of_a_file_are_part_of_what_identifies_the_scorer() -> None:
    one = chils(templates="mine.json")
    assert one.needs.files == {"label_sets": "sets.json", "templates": "mine.json"}
    inputs = scene(files={"label_sets": SETS, "templates": TEMPLATES})
    assert np.array_equal(scores(one, inputs), scores(chils(), scene(files={"label_sets": SETS})))
    with pytest.raises(ScorerError, match="scorer.templates names a file of another form"):
        scores(one, replace(inputs, files={"label_sets": SETS, "templates": {"a": "b"}}))


def test_a_rule_that_is_none() -> None:
    with pytest.raises(ValueError, match="reweigh=both should be one of normal, hat"):
        chils(reweigh="both")
