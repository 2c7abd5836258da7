import json
from dataclasses import replace
from pathlib import Path

import pytest

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.strategies import DescriptionsStrategy, ShuffledDescriptionsStrategy, TemplatesStrategy

SENTENCES = {
    "tree frog": ["A tree frog has large eyes.", "A tree frog has large eyes.", " Green skin. "],
    "tailed frog": ["A tailed frog is small."],
    "newt": ["A newt has a tail.", "."],
}


@pytest.fixture
def strategy(tmp_path: Path) -> DescriptionsStrategy:
    (tmp_path / "cupl.json").write_text(json.dumps(SENTENCES))
    return DescriptionsStrategy(
        path=str(tmp_path / "cupl.json"),
        variant=None,
        cache_dir=str(tmp_path / "cache"),
        templates=None,
        aliases=None,
        extra="error",
        clean=False,
        aggregation=Aggregation.MEAN,
    )


def test_row_i_answers_class_i_whatever_the_order_of_the_file(strategy: DescriptionsStrategy) -> None:
    prompts = strategy(["newt", "tree frog", "tailed frog"])
    assert prompts.texts[1] == tuple(SENTENCES["tree frog"])
    assert [len(row) for row in prompts.texts] == [2, 3, 1]
    assert (prompts.num_prompts, len(prompts.distinct())) == (6, 5)


def test_names_that_repeat_share_their_sentences_and_keep_their_rows(strategy: DescriptionsStrategy) -> None:
    """Trap T2: ImageNet's list holds "missile" and "sunglasses" twice."""
    prompts = strategy(["newt", "tree frog", "newt", "tailed frog"])
    assert prompts.texts[0] == prompts.texts[2]
    assert len(prompts.texts) == 4


def test_nothing_is_cleaned_unless_asked(strategy: DescriptionsStrategy) -> None:
    names = list(SENTENCES)
    assert strategy(names).texts == tuple(tuple(row) for row in SENTENCES.values())
    cleaned = replace(strategy, clean=True)(names)
    assert cleaned.texts == (
        ("A tree frog has large eyes.", "Green skin."),
        ("A tailed frog is small.",),
        ("A newt has a tail.",),
    )
    assert cleaned.digest != strategy(names).digest


def test_cupl_ensemble_is_one_list_of_both(strategy: DescriptionsStrategy) -> None:
    both = replace(strategy, templates=["a photo of a {}.", "art of the {}."])(list(SENTENCES))
    assert both.texts[1] == ("a photo of a tailed frog.", "art of the tailed frog.", "A tailed frog is small.")


def test_templates_fill_every_name() -> None:
    prompts = TemplatesStrategy(templates=["a {}", "the {}"], aggregation=Aggregation.MEAN)(["x", "{y}"])
    assert prompts.texts == (("a x", "the x"), ("a {y}", "the {y}"))


def test_no_data_set_gets_the_templates_of_another() -> None:
    """Trap T21: CLIP_benchmark falls back to ImageNet's templates without a word."""
    with pytest.raises(PromptsError, match="no hand-written templates of its own"):
        TemplatesStrategy(templates=None, aggregation=Aggregation.MEAN)(["a", "b"])


def test_no_data_set_gets_descriptions_of_another(strategy: DescriptionsStrategy) -> None:
    with pytest.raises(PromptsError, match="no descriptions of its own"):
        replace(strategy, path=None)(["a", "b"])


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_descriptions_belong_to_another_class_and_bear_this_ones_name(
    strategy: DescriptionsStrategy, seed: int
) -> None:
    names = list(SENTENCES)
    shuffled = ShuffledDescriptionsStrategy(descriptions=strategy, seed=seed)(names)
    own = strategy(names)
    assert all(ours != theirs for ours, theirs in zip(shuffled.texts, own.texts, strict=True))
    assert sorted(len(row) for row in shuffled.texts) == [1, 2, 3]
    for name, row in zip(names, shuffled.texts, strict=True):
        others = [other for other in names if other != name]
        assert not any(other in text for text in row for other in others)
    assert shuffled.texts == ShuffledDescriptionsStrategy(descriptions=strategy, seed=seed)(names).texts


def test_the_digest_changes_with_texts_their_place_and_the_aggregation() -> None:
    def digest(texts: tuple[tuple[str, ...], ...], aggregation: Aggregation = Aggregation.MEAN) -> str:
        return Prompts(texts=texts, aggregation=aggregation).digest

    one = digest((("a",), ("b", "c")))
    others = [
        digest((("b", "c"), ("a",))), digest((("a", "b"), ("c",))), digest((("a",), ("b", "c "))),
        digest((("a",), ("b", "c"), ("c",))), digest((("a",), ("b", "c")), Aggregation.MAX_SIMILARITY),
    ]  # fmt: skip
    assert len({one, *others}) == 6


def test_empty_and_blank_prompts_are_errors() -> None:
    with pytest.raises(PromptsError, match="1 of 2 classes have no prompt, first: class 1"):
        Prompts(texts=(("a",), ()), aggregation=Aggregation.MEAN)
    with pytest.raises(PromptsError, match="1 of 2 classes have a blank prompt, first: class 0"):
        Prompts(texts=(("a", " \n"), ("b",)), aggregation=Aggregation.MEAN)


def test_weights_are_one_for_each_prompt_and_enter_the_digest_where_they_are() -> None:
    texts = (("a", "b"), ("c",))
    plain = Prompts(texts=texts, aggregation=Aggregation.MEAN)
    known = "96beb527b67989c368cadf1eaf794c1e7c2643ab48bfe7f863b08ac77286c15a"  # of the JSON, by hand
    assert plain.digest == known
    weighted = replace(plain, weights=((1.0, 2.0), (1.0,)))
    others = {plain.digest, weighted.digest, replace(plain, weights=((2.0, 1.0), (1.0,))).digest}
    assert len(others) == 3
    assert (plain.weighting, weighted.weighting) == (None, "given")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (((1.0,), (1.0,)), "of another shape"),
        (((1.0, 0.0), (1.0,)), "1 weights are not above zero, first: 0.0"),
        (((1.0, float("nan")), (-1.0,)), "2 weights are not above zero"),
    ],
)
def test_weights_that_cannot_be_are_errors(weights: tuple[tuple[float, ...], ...], message: str) -> None:
    with pytest.raises(PromptsError, match=message):
        Prompts(texts=(("a", "b"), ("c",)), aggregation=Aggregation.MEAN, weights=weights)


def test_the_nearest_prompt_takes_no_weights() -> None:
    with pytest.raises(PromptsError, match="max_similarity takes no weights"):
        Prompts(texts=(("a",),), aggregation=Aggregation.MAX_SIMILARITY, weights=((1.0,),))


def test_images_weigh_parallel_prompts_alone() -> None:
    with pytest.raises(PromptsError, match="for templates alone"):
        Prompts(texts=(("a",), ("b",)), aggregation=Aggregation.MEAN, weigh_by_images=True)
    with pytest.raises(PromptsError, match="as many in every class"):
        Prompts(texts=(("a",), ("b", "c")), aggregation=Aggregation.MEAN, parallel=True)
    found = Prompts(texts=(("a",), ("b",)), aggregation=Aggregation.MEAN, parallel=True, weigh_by_images=True)
    assert found.weighting == "zpe"
    assert found.digest != replace(found, weigh_by_images=False).digest
