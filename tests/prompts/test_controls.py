"""Controls keep what they say and lack what they say: names, lengths, numbers, the sentences of other classes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.controls import (
    LengthMatchedDescriptionsStrategy,
    NamelessDescriptionsStrategy,
    RandomWordsStrategy,
    without_name,
)
from cupl_bench.prompts.strategies import DescriptionsStrategy

SENTENCES = {
    "tree frog": ["A tree frog has large eyes.", "Tree-frogs sit on leaves; the frog is green.", "It is small."],
    "daisy": ["A daisy has white rays.", "Daisies open in the morning on short green lawns."],
    "iris": ["An iris has three standards.", "The iris's falls hang down, blue or white, in the garden."],
    "newt": ["A newt has a tail."],
}
NAMES = list(SENTENCES)


@pytest.fixture
def descriptions(tmp_path: Path) -> DescriptionsStrategy:
    (tmp_path / "cupl.json").write_text(json.dumps(SENTENCES))
    return DescriptionsStrategy(
        path=str(tmp_path / "cupl.json"), variant=None, cache_dir=str(tmp_path), templates=None, aliases=None,
        extra="error", clean=False, aggregation=Aggregation.MEAN,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("A tree frog is green.", "tree frog", "A thing is green."),
        ("An old Tree_Frog and two tree frogs.", "tree-frog", "An old thing and two things."),
        ("The frog's eyes; frogfish, froglet.", "tree frog", "The thing's eyes; frogfish, froglet."),
        ("Daisies, a daisy-like head.", "daisy", "Things, a thing-like head."),
        ("An osprey, ospreys.", "osprey", "A thing, things."),
        ("A bus among buses.", "bus", "A thing among things."),
        ("It is small.", "newt", "It is small."),
        ("a C++ book (2nd)", "C++", "a thing book (2nd)"),
        ("\u4e00\u53ea\u9752\u86d9\u5f88\u5c0f", "\u9752\u86d9", "\u4e00\u53eathing\u5f88\u5c0f"),  # no spaces
        ("a - b", "-", "a thing b"),
        ("the 747 and a 7470", "747", "the thing and a 7470"),
    ],
)
def test_a_name_its_plural_and_its_last_word_make_way_for_the_word(text: str, name: str, expected: str) -> None:
    assert without_name(text, name, "thing") == expected


def test_the_article_is_that_of_the_word() -> None:
    assert without_name("A newt, a newt.", "newt", "object") == "An object, an object."


def test_nameless_descriptions_name_no_class_and_keep_all_else(descriptions: DescriptionsStrategy) -> None:
    found = NamelessDescriptionsStrategy(descriptions=descriptions, word="thing")(NAMES)
    assert [len(row) for row in found.texts] == [3, 2, 2, 1]
    assert not re.search("frog|dais|iris|newt", " ".join(text for row in found.texts for text in row).lower())
    assert found.texts[3] == ("A thing has a tail.",)
    assert (found.seed, found.join["exact"]) == (None, 4)
    with pytest.raises(PromptsError, match=r"prompts\.word='two words' should be one word"):
        NamelessDescriptionsStrategy(descriptions=descriptions, word="two words")(NAMES)


@pytest.mark.parametrize("seed", range(4))
def test_length_matched_sentences_are_of_other_classes_and_as_long(
    descriptions: DescriptionsStrategy, seed: int
) -> None:
    strategy = LengthMatchedDescriptionsStrategy(descriptions=descriptions, seed=seed)
    found, own = strategy(NAMES), descriptions(NAMES)
    for name, row, before in zip(NAMES, found.texts, own.texts, strict=True):
        others = {
            text.lower().replace(other, name)
            for other in NAMES
            if other != name
            for text in map(str.lower, SENTENCES[other])
        }
        assert len(row) == len(before)
        assert {text.lower() for text in row} <= others
    # There are three sentences of five words with their names as one: each class finds its length elsewhere.
    assert len(found.texts[3][0].replace("tree frog", "x").split()) == 5
    assert found.texts == strategy(NAMES).texts
    assert found.seed == seed


def test_a_single_class_has_nobody_to_exchange_sentences_with(descriptions: DescriptionsStrategy) -> None:
    lone = replace(descriptions, extra="ignore")
    with pytest.raises(PromptsError, match="two classes or more"):
        LengthMatchedDescriptionsStrategy(descriptions=lone, seed=0)(["newt"])


def test_classes_that_share_an_entry_are_no_others_of_each_other(descriptions: DescriptionsStrategy) -> None:
    names = [*NAMES, "newt"]
    for seed in range(8):
        found = LengthMatchedDescriptionsStrategy(descriptions=descriptions, seed=seed)(names)
        assert found.texts[3] != ("A newt has a tail.",) != found.texts[4]


@pytest.mark.parametrize("seed", range(2))
def test_random_words_have_the_same_lengths_marks_and_capitals_and_the_name_stays(
    descriptions: DescriptionsStrategy, tmp_path: Path, seed: int
) -> None:
    (tmp_path / "words.txt").write_text(
        "\n".join(["ox", "cow", "Boar", "zebra", "jackal", "giraffe", "antelope", "crocodile"])
    )
    strategy = RandomWordsStrategy(descriptions=descriptions, words=str(tmp_path / "words.txt"), seed=seed)
    found = strategy(NAMES)

    def shape(text: str, name: str) -> list[tuple[str, str, int]]:
        """Return of each word but the name how it begins, small or capital, and its length; and the marks."""
        words = re.split(r"(\W+)", re.sub(name, "@", text, flags=re.IGNORECASE))
        return [("X" if word[:1].isupper() else "x", "" if word.isalpha() else word, len(word)) for word in words]

    for name, row in zip(NAMES, found.texts, strict=True):
        for text, own in zip(row, SENTENCES[name], strict=True):
            assert shape(text, name) == shape(own, name)
    assert found.texts[3][0].lower().split()[1] == "newt"
    assert not set(" ".join(found.texts[1]).lower().split()) & {"white", "rays.", "morning"}
    assert found.texts == strategy(NAMES).texts
    other = RandomWordsStrategy(descriptions=descriptions, words=str(tmp_path / "words.txt"), seed=seed + 10)(NAMES)
    assert found.texts != other.texts
