"""What holds of every option of conf/scorer."""

from dataclasses import fields, replace

import numpy as np
import pytest
import yaml
from hydra.utils import get_class
from scorers.scenes import scene, scores, with_classes, with_images

from cupl_bench import scores as arithmetic
from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset import Dataset
from cupl_bench.errors import ScorerError
from cupl_bench.scorers import INDEPENDENT, Inputs, Scorer
from cupl_bench.scorers.facts import facts_of

OPTIONS = sorted(path.stem for path in (conf_dir() / "scorer").glob("*.yaml"))
NAMES = [f"class {label}" for label in range(6)]
FILES: dict[str, dict[str, object]] = {
    "disclip": {"descriptions": {name: [f"kind {label}", f"kind {label % 2}"] for label, name in enumerate(NAMES)}},
    "hierarchy": {
        "hierarchy": {name: {"children": [f"{name}.a"] * (name > "class 2"), "parents": []} for name in NAMES}
    },
    "fudd": {
        "names": NAMES,
        "pairs": {
            f"{a}_{b}": {"classes": [a, b], "prompt_pairs": [{"prompt_pair": [f"{a} not {b}", f"{b} not {a}"]}]}
            for a, b in [(0, 1), (0, 2), (1, 2), (2, 3), (4, 5)]
        },
    },
    "perceptionclip": {"contexts": {"quality": {"good": ["good", "fine"], "any": [""]}, "place": {"sea": ["at sea"]}}},
    "chils": {
        "label_sets": {
            name: [name, *[f"{name}.{kind}" for kind in range(label % 3)]] for label, name in enumerate(NAMES)
        }
    },
}
"""What the files of an option hold; an option that needs none is not named."""
DRAWN_FROM_PLACES: set[str] = set()
"""Options whose scores may change with the order of the images although no image sees another."""


def built(option: str) -> Scorer:
    node = yaml.safe_load((conf_dir() / f"scorer/{option}.yaml").read_text())
    settings = {name: value for name, value in node.items() if name not in ("_target_", "name")}
    settings |= {name: f"{name}.json" for name in FILES.get(option, {})}
    if str(settings.get("seed", "")).startswith("${"):
        settings["seed"] = 0
    if str(settings.get("templates", "")).startswith("${"):
        settings["templates"] = ["a photo of a {}.", "a drawing of a {}."]
    return get_class(node["_target_"])(**settings)


def asked(option: str, **changed: int) -> tuple[Scorer, Inputs]:
    scorer = built(option)
    views = 0 if scorer.needs.views is None else scorer.needs.views.count
    return scorer, scene(**{"num_views": views, **changed}, files=FILES.get(option))


@pytest.mark.parametrize("option", OPTIONS)
def test_a_scorer_says_what_it_is(option: str) -> None:
    scorer = built(option)
    assert isinstance(scorer, Scorer)
    assert scorer.scores_are in ("similarities", "probabilities", "scores")
    assert scorer.constants_from
    told = yaml.safe_load((conf_dir() / f"scorer/{option}.yaml").read_text())
    assert told["name"] == option


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_scores_are_one_row_an_image_and_one_column_a_class(option: str) -> None:
    found = scores(*asked(option))
    assert found.shape == (30, 6)
    assert found.dtype == np.float32
    assert not np.isnan(found).any()
    assert np.isfinite(found).any(axis=1).all()


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_permuted_classes_have_permuted_scores(option: str) -> None:
    scorer, inputs = asked(option)
    order = [3, 0, 5, 1, 4, 2]
    assert scores(scorer, with_classes(inputs, order)) == pytest.approx(scores(scorer, inputs)[:, order], abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_permuted_images_have_permuted_scores_but_in_a_stream(option: str) -> None:
    scorer, inputs = asked(option)
    order = np.random.default_rng(1).permutation(len(inputs.images))
    if scorer.needs.kind != "online":
        assert scores(scorer, with_images(inputs, order)) == pytest.approx(scores(scorer, inputs)[order], abs=2e-5)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_image_alone_has_its_scores_where_no_other_counts(option: str) -> None:
    scorer, inputs = asked(option)
    if scorer.needs.kind in INDEPENDENT:
        assert scores(scorer, with_images(inputs, [7])) == pytest.approx(scores(scorer, inputs)[[7]], abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_tiles_of_any_size_give_the_same_scores(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, inputs = asked(option)
    whole = scores(scorer, inputs)
    monkeypatch.setattr(arithmetic, "TILE_VALUES", 40)
    assert len(list(scorer(inputs))) > 1
    assert scores(scorer, inputs) == pytest.approx(whole, abs=2e-5)


@pytest.mark.parametrize("option", OPTIONS)
def test_equal_classes_have_equal_scores(option: str) -> None:
    scorer, inputs = asked(option)
    names = [*inputs.class_names[:5], inputs.class_names[0]]
    rows = [*inputs.rows_of_class[:5], inputs.rows_of_class[0]]
    matrix = np.concatenate([inputs.classes.matrix[:5], inputs.classes.matrix[:1]])
    twice = replace(inputs, class_names=names, rows_of_class=rows, classes=replace(inputs.classes, matrix=matrix))
    found = scores(scorer, twice)
    assert np.array_equal(found[:, 0], found[:, 5])


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    "changed", [{"num_images": 1}, {"num_images": 2}, {"num_classes": 2}, {"num_prompts": 1}], ids=str
)
def test_a_small_question_has_an_answer(option: str, changed: dict[str, int]) -> None:
    found = scores(*asked(option, **changed))
    assert not np.isnan(found).any()
    assert np.isfinite(found).any(axis=1).all()


@pytest.mark.parametrize("option", OPTIONS)
def test_images_that_are_all_equal_have_equal_scores(option: str) -> None:
    scorer, inputs = asked(option)
    views = None if inputs.views is None else np.repeat(inputs.views[:1], 30, axis=0)
    found = scores(scorer, replace(inputs, images=np.repeat(inputs.images[:1], 30, axis=0), views=views))
    assert not np.isnan(found).any()
    if scorer.needs.kind != "online":
        assert found == pytest.approx(np.repeat(found[:1], 30, axis=0), abs=2e-5)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_scorer_is_identified_by_its_parameters(option: str) -> None:
    scorer = built(option)
    if FILES.get(option):
        return  # the files are read; their own tests do
    facts = facts_of(option, scorer)
    assert set(facts.parameters) == {one.name for one in fields(scorer)}
    assert (facts.key is None) == (option == "plain")


@pytest.mark.parametrize("option", [option for option in OPTIONS if FILES.get(option)])
def test_a_file_is_part_of_the_key_and_is_checked_before_anything_is_encoded(option: str) -> None:
    scorer, inputs = asked(option)
    assert set(scorer.needs.files) >= set(FILES[option])
    check = scorer.needs.check
    assert check is not None
    check(inputs.class_names, inputs.files)
    for name in FILES[option]:
        for odd in ([], {}, "text", 3, None, {"class 0": {"class 1": [3]}}):
            with pytest.raises(ScorerError, match=rf"scorer\.{name}"):
                check(inputs.class_names, {**inputs.files, name: odd})


def test_nothing_that_a_scorer_is_handed_holds_a_label() -> None:
    """The names of what it sees; `run.scoring` builds it of these alone."""
    handed = {one.name for one in fields(Inputs)}
    assert handed == {
        "images", "class_names", "classes", "encode", "logit_scale", "device", "views", "prompts", "rows_of_class",
        "weights", "files",
    }  # fmt: skip
    of_images = {one.name for one in fields(Dataset)} - {"class_names"}
    assert not handed & of_images
