import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.descriptors import DescriptorsStrategy, which

DESCRIPTORS = {
    "tree frog": ["a long tongue", "antennae", "has large eyes", "candles for toes", "used as a pet", "green skin"],
    "tailed_frog": [],
    "newt": ["an orange belly", "may be wet", "is wet", "often seen by ponds", "typically small", "can swim"],
}
NAMES = list(DESCRIPTORS)


def published(descriptors: dict[str, list[str]]) -> dict[str, list[str]]:
    """DCLIP's rules, one after the other, as its `loading_helpers.py` applies them with the values of its `load.py`."""

    def clause(text: str) -> str:
        for start in ("a", "an"):
            if text[: len(start)] == start:
                return "which is " + text
        for start in ("has", "often", "typically", "may", "can"):
            if text[: len(start)] == start:
                return "which " + text
        if text[:4] == "used":
            return "which is " + text
        return "which has " + text

    out = {}
    for name, row in descriptors.items():
        filled = row if len(row) > 0 else [""]
        out[name] = [name.replace("_", " ") + ", " + clause(text) for text in filled]
    return out


def strategy(tmp_path: Path, descriptors: object = DESCRIPTORS, **changes: object) -> DescriptorsStrategy:
    (tmp_path / "descriptors.json").write_text(json.dumps(descriptors))
    settings = {
        "path": str(tmp_path / "descriptors.json"), "before": "", "after": "", "article": "original", "aliases": None,
        "extra": "error", "aggregation": Aggregation.MEAN_SIMILARITY, **changes,
    }  # fmt: skip
    return DescriptorsStrategy(**settings)


def test_prompts_are_the_published_ones_to_the_letter(tmp_path: Path) -> None:
    prompts = strategy(tmp_path)(NAMES)
    assert prompts.texts == tuple(tuple(row) for row in published(DESCRIPTORS).values())
    assert prompts.texts[0][:4] == (
        "tree frog, which is a long tongue", "tree frog, which is antennae", "tree frog, which has large eyes",
        "tree frog, which candles for toes",
    )  # fmt: skip
    assert prompts.texts[1] == ("tailed frog, which has ",)
    assert prompts.aggregation == Aggregation.MEAN_SIMILARITY
    assert prompts.source is not None
    assert prompts.source.startswith("descriptors.json sha256:")


WORDS = st.sampled_from(
    ["a", "an", "antennae", "has", "hash", "can", "candle", "used", "useless", "may", "often", "is"]
)


@given(st.lists(WORDS, max_size=4))
def test_the_original_article_is_the_published_rule_for_any_descriptor(words: list[str]) -> None:
    text = " ".join(words)
    assert [f"x, {which(text, 'original')}"] == published({"x": [text]})["x"]


def test_fixed_chooses_by_whole_words(tmp_path: Path) -> None:
    prompts = strategy(tmp_path, article="fixed")(NAMES)
    assert prompts.texts[0] == (
        "tree frog, which is a long tongue", "tree frog, which has antennae", "tree frog, which has large eyes",
        "tree frog, which has candles for toes", "tree frog, which is used as a pet", "tree frog, which has green skin",
    )  # fmt: skip
    assert prompts.texts[1] == ("tailed frog",)
    assert prompts.texts[2][2] == "newt, which is wet"


def test_rows_follow_the_labels_and_not_the_file(tmp_path: Path) -> None:
    assert strategy(tmp_path)(["newt", "Tree Frog", "tailed frog"]).texts[1][0] == "Tree Frog, which is a long tongue"


def test_what_stands_before_and_after_is_kept(tmp_path: Path) -> None:
    prompts = strategy(tmp_path, before="A photo of a ", after=".")(NAMES)
    assert prompts.texts[0][-1] == "A photo of a tree frog, which has green skin."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "should hold descriptors"),
        ({}, "should hold descriptors"),
        ({"newt": "wet"}, "1 of 1 classes hold no list of texts, first: 'newt'"),
        ({"newt": ["wet", 3]}, "hold no list of texts"),
        ({"newt": ["wet"]}, "2 of 3 classes have no prompts in"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(PromptsError, match=message):
        strategy(tmp_path, content)(NAMES)


def test_a_data_set_without_descriptors_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"dataset.texts.descriptors=FILE"):
        strategy(tmp_path, path=None)(NAMES)
