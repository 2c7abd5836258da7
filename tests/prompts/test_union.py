import json
from dataclasses import replace
from pathlib import Path

import pytest

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.budget import BudgetStrategy
from cupl_bench.prompts.names import NamesStrategy
from cupl_bench.prompts.strategies import (
    ConceptStrategy,
    DescriptionsStrategy,
    ShuffledDescriptionsStrategy,
    TemplatesStrategy,
    WeightedTemplatesStrategy,
)
from cupl_bench.prompts.union import UnionStrategy

NAMES = ["newt", "tree frog"]
SENTENCES = {"newt": ["A newt is wet."], "tree frog": ["A tree frog climbs.", "A tree frog is green.", "Frogs."]}
TEMPLATES = TemplatesStrategy(templates=["a {}", "the {}"], aggregation=Aggregation.MEAN)


@pytest.fixture
def descriptions(tmp_path: Path) -> DescriptionsStrategy:
    (tmp_path / "cupl.json").write_text(json.dumps(SENTENCES))
    return DescriptionsStrategy(
        path=str(tmp_path / "cupl.json"), variant=None, cache_dir=str(tmp_path), templates=None, aliases=None,
        extra="error", clean=False, aggregation=Aggregation.MEAN,
    )  # fmt: skip


def union(members: dict, weights: dict, aggregation: Aggregation = Aggregation.MEAN) -> UnionStrategy:
    return UnionStrategy(members=members, weights=weights, aggregation=aggregation)


def test_every_member_weighs_in_every_class_what_it_should(descriptions: DescriptionsStrategy) -> None:
    prompts = union({"t": TEMPLATES, "s": descriptions}, {"t": 1.0, "s": 3.0})(NAMES)
    assert prompts.texts[1] == ("a tree frog", "the tree frog", *SENTENCES["tree frog"])
    assert prompts.weights == ((0.5, 0.5, 3.0), (0.5, 0.5, 1.0, 1.0, 1.0))
    assert (prompts.source, prompts.join) == (descriptions(NAMES).source, descriptions(NAMES).join)
    assert prompts.weighting == "given"


def test_a_union_in_a_union_keeps_its_proportions(descriptions: DescriptionsStrategy) -> None:
    inner = union({"t": TEMPLATES, "s": descriptions}, {"t": 1.0, "s": 3.0})
    outer = union({"inner": inner, "t": TEMPLATES}, {"inner": 8.0, "t": 1.0})(NAMES)
    assert outer.weights is not None
    assert outer.weights[1] == pytest.approx((1, 1, 2, 2, 2, 0.5, 0.5))


def test_a_union_of_templates_stays_parallel() -> None:
    prompts = union({"a": TEMPLATES, "b": TEMPLATES}, {"a": 1.0, "b": 2.0})(NAMES)
    assert prompts.parallel
    assert BudgetStrategy(strategy=union({"a": TEMPLATES}, {"a": 1.0}), budget=1, seed=0)(NAMES).parallel


def test_a_union_bears_the_seed_of_what_it_draws(descriptions: DescriptionsStrategy) -> None:
    shuffled = ShuffledDescriptionsStrategy(descriptions=descriptions, seed=4)
    assert union({"s": shuffled, "t": TEMPLATES}, {"s": 1.0, "t": 1.0})(NAMES).seed == 4
    with pytest.raises(PromptsError, match=r"different seeds \[4, 5\]"):
        union({"s": shuffled, "r": replace(shuffled, seed=5)}, {"s": 1.0, "r": 1.0})(NAMES)


def test_mistakes_are_named(descriptions: DescriptionsStrategy) -> None:
    with pytest.raises(PromptsError, match="prompts.members is empty"):
        union({}, {})(NAMES)
    with pytest.raises(PromptsError, match="'sentences' is in one alone"):
        union({"sentences": descriptions}, {})(NAMES)
    with pytest.raises(PromptsError, match="'sentence' is in one alone. Did you mean 'sentences'"):
        union({"sentences": descriptions}, {"sentence": 1.0})(NAMES)
    with pytest.raises(PromptsError, match="aggregates by mean, the union by mean_similarity"):
        union({"t": TEMPLATES}, {"t": 1.0}, Aggregation.MEAN_SIMILARITY)(NAMES)
    weighed = WeightedTemplatesStrategy(templates=["a {}"], aggregation=Aggregation.MEAN)
    with pytest.raises(PromptsError, match="members.z is weighed by images"):
        union({"z": weighed}, {"z": 1.0})(NAMES)
    with pytest.raises(PromptsError, match="weights are not above zero"):
        union({"t": TEMPLATES}, {"t": 0.0})(NAMES)


def test_zpe_is_its_templates_yet_to_be_weighed() -> None:
    prompts = WeightedTemplatesStrategy(templates=["a {}", "the {}"], aggregation=Aggregation.MEAN_SIMILARITY)(NAMES)
    assert prompts.texts == TEMPLATES(NAMES).texts
    assert prompts.weigh_by_images
    assert BudgetStrategy(strategy=lambda names: prompts, budget=1, seed=0)(NAMES).weigh_by_images


def test_a_concept_says_what_the_class_is() -> None:
    """The published sentence, article and all."""
    prompts = ConceptStrategy(concept="land use", aggregation=Aggregation.MEAN)(["highway", "river"])
    assert prompts.texts == (("A photo of a land use: a highway.",), ("A photo of a land use: a river.",))
    with pytest.raises(PromptsError, match=r"dataset.texts.concept=WORD"):
        ConceptStrategy(concept=None, aggregation=Aggregation.MEAN)(["a"])


def names_strategy(tmp_path: Path, content: object, **changes: object) -> NamesStrategy:
    (tmp_path / "names.json").write_text(json.dumps(content))
    settings = {
        "path": str(tmp_path / "names.json"), "templates": ["a {}", "the {}"], "aliases": None, "extra": "error",
        "aggregation": Aggregation.MEAN, **changes,
    }  # fmt: skip
    return NamesStrategy(**settings)


def test_names_fill_the_templates_own_name_first_and_none_twice(tmp_path: Path) -> None:
    prompts = names_strategy(tmp_path, {"newt": ["eft", "Newt", " ", "eft"], "tree frog": []})(["newt", "tree frog"])
    assert prompts.texts == (("a newt", "the newt", "a eft", "the eft"), ("a tree frog", "the tree frog"))
    assert not prompts.parallel


def test_names_that_are_missing_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="1 of 2 classes have no prompts in"):
        names_strategy(tmp_path, {"newt": ["eft"]})(NAMES)
    with pytest.raises(PromptsError, match=r"dataset.texts.names=FILE"):
        names_strategy(tmp_path, {}, path=None)(NAMES)
    with pytest.raises(PromptsError, match="should hold names"):
        names_strategy(tmp_path, {})(NAMES)
