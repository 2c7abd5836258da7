"""What is said where class names and a file do not join, and what is done for classes that a file lacks."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from cupl_bench.dataset.names import normalised, other_lists, without_words
from cupl_bench.dataset.spec import read_spec
from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.descriptors import read_lists
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.selection import TopDescriptionsStrategy
from cupl_bench.prompts.sources import read_descriptions, read_templates
from cupl_bench.prompts.strategies import DescriptionsStrategy, ShuffledDescriptionsStrategy


def keys_of(names: Iterable[str]) -> list[str]:
    return [normalised(name) for name in names]


# The lists of cub differ by their spelling alone, so that each joins the others anyway.
LISTS = [
    (dataset, one, other)
    for dataset in ("imagenet", "imagenet_r", "flowers")
    for one, row in read_spec(dataset).classes.names.items()
    for other, others in read_spec(dataset).classes.names.items()
    if keys_of(row) != keys_of(others)
]


@pytest.mark.parametrize(("dataset", "one", "other"), LISTS)
def test_a_file_of_another_list_of_names_is_recognised(dataset: str, one: str, other: str) -> None:
    """The advice was prompts.extra=ignore, or to write the names anew, where a list that joins was there."""
    lists = read_spec(dataset).classes.names
    alike = "|".join(name for name, row in lists.items() if keys_of(row) == keys_of(lists[other]))
    with pytest.raises(PromptsError, match=f"match another list .*: take dataset.names=({alike})") as caught:
        join_by_name(lists[one], list(dict.fromkeys(lists[other])), "the file")
    assert "prompts.extra" not in str(caught.value)


def test_every_list_of_a_data_set_is_found_from_every_other() -> None:
    cub = read_spec("cub").classes.names
    assert {variant for _, variant, _ in other_lists(cub["hyphen"])} == {"archive", "lower"}
    assert not list(other_lists(["ant", "bee"]))
    assert not list(other_lists(read_spec("dtd").classes.names["openai"]))


def test_a_list_that_joins_a_part_alone_is_not_advised() -> None:
    lists = read_spec("imagenet").classes.names
    keys = list(dict.fromkeys(lists["disambiguated"]))[:-1]
    with pytest.raises(PromptsError) as caught:
        join_by_name(lists["openai"], keys, "the file")
    assert "dataset.names" not in str(caught.value)


def test_missing_classes_stand_beside_the_entries_that_nobody_claims() -> None:
    with pytest.raises(PromptsError) as caught:
        join_by_name(["ball moss", "sun flower", "rose"], ["bal moss", "rose", "zebra"], "the file")
    message = str(caught.value)
    assert "2 of 3 classes have no prompts in the file, first: 'ball moss', 'sun flower'." in message
    assert "2 of its 3 entries belong to no class, first: 'bal moss', 'zebra'." in message
    assert '{"ball moss": "bal moss"}' in message
    assert "prompts.missing" not in message, "the strategy has no such key"


@pytest.mark.parametrize(
    "aliases", [{"ball moss": "Air-Plant"}, {"Ball Moss": "air plant"}, {"ball-moss": "AIR_PLANT"}]
)
def test_aliases_match_as_names_do(aliases: dict[str, str]) -> None:
    join = join_by_name(["ball moss"], ["air plant"], "file", aliases)
    assert (join.keys, join.counts["aliased"]) == (("air plant",), 1)


def test_an_alias_that_could_be_two_names_is_an_error() -> None:
    with pytest.raises(PromptsError, match="1 words of the aliases could be more than one name, first: 'AIR PLANT'"):
        join_by_name(["ball moss"], ["air plant", "air-plant"], "file", {"ball moss": "AIR PLANT"}, ignore_extra=True)
    assert join_by_name(["a"], ["air plant", "air-plant"], "file", {"a": "air-plant"}, True).keys == ("air-plant",)


@pytest.fixture
def partial(tmp_path: Path) -> DescriptionsStrategy:
    """Sentences of one class of three, and of another an empty list."""
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"bee": ["A bee hums.", "A bee stings."], "ant": []}))
    return DescriptionsStrategy(
        path=str(path),
        variant=None,
        cache_dir=str(tmp_path),
        templates=None,
        aliases=None,
        extra="error",
        clean=False,
        aggregation=Aggregation.MEAN,
        missing="templates",
        fill=["a photo of a {}.", "one {}."],
    )


NAMES = ["ant", "bee", "cat"]


@pytest.mark.parametrize("clean", [False, True])
def test_classes_that_a_file_lacks_are_filled_and_counted(partial: DescriptionsStrategy, clean: bool) -> None:
    prompts = replace(partial, clean=clean)(NAMES)
    assert prompts.texts == (
        ("a photo of a ant.", "one ant."),
        ("A bee hums.", "A bee stings."),
        ("a photo of a cat.", "one cat."),
    )
    assert prompts.join == {"exact": 1, "normalised": 0, "aliased": 0, "ignored": 0, "filled": 2}


def test_an_ensemble_is_not_filled_twice(partial: DescriptionsStrategy) -> None:
    prompts = replace(partial, templates=["the {}."])(NAMES)
    assert prompts.texts == (("the ant.",), ("the bee.", "A bee hums.", "A bee stings."), ("the cat.",))


def test_nothing_is_filled_unless_asked_nor_from_nowhere(partial: DescriptionsStrategy) -> None:
    with pytest.raises(PromptsError, match=r"1 of 2 classes hold an empty list.*prompts=dclip dataset.texts.desc"):
        replace(partial, missing="error")(NAMES)
    with pytest.raises(PromptsError, match=r"fill 2 of 3 classes.*prompts.fill="):
        replace(partial, fill=None)(NAMES)
    with pytest.raises(PromptsError, match="3 of 3 classes have no prompts"):
        partial(["dog", "eel", "fox"])
    Path(str(partial.path)).write_text(json.dumps({"bee": ["A bee hums."]}))
    with pytest.raises(PromptsError, match="2 of 3 classes have no prompts.*prompts.missing=templates"):
        replace(partial, missing="error")(NAMES)


def test_a_whole_file_has_the_same_prompts_whatever_would_be_filled(partial: DescriptionsStrategy) -> None:
    names = ["bee"]
    Path(str(partial.path)).write_text(json.dumps({"bee": ["A bee hums.", "A bee stings."]}))
    assert partial(names).digest == replace(partial, missing="error", fill=None)(names).digest
    assert "filled" not in (replace(partial, missing="error")(names).join or {})


def test_what_is_made_of_descriptions_takes_filled_ones(partial: DescriptionsStrategy) -> None:
    top = TopDescriptionsStrategy(descriptions=partial, keep=1)(NAMES)
    assert [len(row) for row in top.texts] == [1, 1, 1]
    shuffled = ShuffledDescriptionsStrategy(descriptions=partial, seed=0)(NAMES)
    assert all(name in text for name, row in zip(NAMES, shuffled.texts, strict=True) for text in row)


@pytest.mark.parametrize(
    ("read", "content", "remedy"),
    [
        (read_descriptions, {"ant": ["six legs"], "bee": []}, "prompts=dclip dataset.texts.descriptors="),
        (read_descriptions, ["a photo of a {}."], "prompts=templates prompts.templates="),
        (read_descriptions, {"ant": "Formicidae"}, "prompts.aliases or dataset.class_names"),
        (read_templates, {"ant": ["An ant."]}, "prompts=file prompts.path="),
        (lambda path: read_lists(path, "descriptors"), ["a photo of a {}."], "prompts=templates prompts.templates="),
        (lambda path: read_lists(path, "descriptors"), {"ant": "six legs"}, "stands in a list of its own"),
    ],
)
def test_a_file_that_another_strategy_reads_is_sent_there(
    tmp_path: Path, read: Callable[[str], object], content: object, remedy: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PromptsError, match=remedy):
        read(str(path))


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (["n01494475", "n01537544"], r"2 of 2 class names are ids of WordNet, first: 'n01494475'.*dataset=imagenet"),
        (["n01494475", "tree frog"], "1 of 2 class names are ids of WordNet"),
        (["0001", "0002"], "2 of 2 class names are numbers and no words, first: '0001', '0002'"),
        (["class_12", "Class 7", "label-3", "7"], "4 of 4 class names are numbers"),
        (["3.0", "1"], "2 of 2 class names are numbers"),
        (["c12", "frog"], "1 of 2 class names are numbers"),
    ],
)
def test_names_without_words_are_counted(names: list[str], warning: str) -> None:
    import re

    assert re.search(warning, without_words(names) or "")
    assert "dataset.class_names=FILE.json" in str(without_words(names))


@pytest.mark.parametrize(
    "names", [["A380", "F-16A/B"], ["001.Black_footed_Albatross"], ["ant", "!?"], ["树蛙", "二十"], ["cat", "class"]]
)
def test_names_with_words_pass(names: list[str]) -> None:
    assert without_words(names) is None
