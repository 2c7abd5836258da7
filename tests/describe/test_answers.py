"""Answers made sentences, and what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench.describe.answers import MARKS, Sentence, marked, sentence_of


@pytest.mark.parametrize(
    ("answer", "reason", "sentence", "marks"),
    [
        ("A rose is red.", "stop", "A rose is red.", ()),
        ("  A rose\n\n is   red ", "stop", "A rose is red.", ()),
        ("A rose is red.It has thorns.", "stop", "A rose is red. It has thorns.", ()),
        ("A rose (a shrub).Its petals are red", "stop", "A rose (a shrub). Its petals are red.", ()),
        (
            "A rose is 3.5 cm wide, from the U.S.A. and node.js",
            "stop",
            "A rose is 3.5 cm wide, from the U.S.A. and node.js.",
            (),
        ),
        ("A rose is red..", "stop", "A rose is red.", ()),
        ("A rose is red ...", "stop", "A rose is red.", ()),
        ("A rose is red…", "stop", "A rose is red.", ()),
        ("Is it red?", "stop", "Is it red?", ()),
        ('He said "A rose is red."', "stop", 'He said "A rose is red."', ()),
        ("A rose is red. It has man", "length", "A rose is red.", ("shortened",)),
        ("A rose is red.It has man", "length", "A rose is red.", ("shortened",)),
        ("A rose is red. It has thorns.", "length", "A rose is red. It has thorns.", ()),
        ("A St. Bernard is a large", "length", "", ("cut",)),
        ("A St. Bernard is large. It weighs approx. 80", "length", "A St. Bernard is large.", ("shortened",)),
        ("A rose is 3.5 cm wi", "length", "", ("cut",)),
        ("", "stop", "", ()),
        (" \n\n. ", "stop", "", ()),
        ("", "length", "", ("cut",)),
        ("バラは赤い", "stop", "バラは赤い.", ()),
    ],
)
def test_clean(answer: str, reason: str, sentence: str, marks: tuple[str, ...]) -> None:
    assert sentence_of(answer, reason, "clean") == Sentence(text=sentence, marks=marks)


@pytest.mark.slow
@given(st.text(), st.sampled_from(["stop", "length", None]))
def test_paper_is_the_rule_of_its_script(answer: str, reason: str | None) -> None:
    assert sentence_of(answer, reason, "paper").text == answer.replace("\n\n", "") + "."


def test_a_stop_word_that_a_server_leaves_goes_before_either_rule() -> None:
    assert sentence_of("A rose is red.", "stop", "paper", ["."]).text == "A rose is red."
    assert sentence_of("A rose is red .", "stop", "clean", ["."]).text == "A rose is red."


@given(st.text(alphabet="aB.!? \n\"'…)", max_size=40), st.sampled_from(["stop", "length"]))
def test_clean_is_one_line_with_one_end_and_cleaning_it_again_changes_nothing(answer: str, reason: str) -> None:
    text = sentence_of(answer, reason, "clean").text
    assert text == " ".join(text.split())
    assert not text.endswith("..")
    assert not text or any(mark in text[-4:] for mark in ".!?")
    assert sentence_of(text, "stop", "clean").text == text


NAMES = ("robin", "American robin", "sunflower", "black-footed albatross", "cherry", "crane", "crane", "café")


@pytest.mark.parametrize(
    ("label", "text", "marks"),
    [
        (0, "A robin has a red breast.", ()),
        (0, "An American robin has a red breast.", ("another",)),
        (1, "An American robin has a red breast.", ()),
        (1, "A robin has a red breast.", ("another",)),
        (1, "An American robin, unlike the robin, is grey.", ("beside",)),
        (2, "Sunflowers are tall yellow plants.", ()),
        (3, "The Black footed Albatross is brown.", ()),
        (3, "The BLACK-FOOTED ALBATROSS is brown.", ()),
        (4, "Many cherries hang on the tree.", ()),
        (5, "A crane has long legs.", ()),
        (7, "A cafe with small tables.", ()),
        (0, "It has a red breast.", ("unnamed",)),
        (0, "A robin.", ("fragment",)),
        (0, "I\u2019m sorry, I cannot describe a robin.", ("refusal",)),
        (0, "As an AI language model, I see no robin.", ("refusal",)),
        (0, "A robin says: I cannot sing today.", ()),
        (0, "A robin " + "and more " * 5, ("long",)),
        (0, "...", ("empty",)),
        (0, "", ("empty",)),
    ],
)
def test_marks(label: int, text: str, marks: tuple[str, ...]) -> None:
    rows = [[Sentence(text=text)] if place == label else [] for place in range(len(NAMES))]
    refused = [[False] * len(row) for row in rows]
    found = marked(rows, refused, NAMES, lambda texts: [len(text.split()) for text in texts], 11)
    assert found[label] == [marks]


def test_marks_of_a_row_and_of_the_server() -> None:
    row = [
        Sentence(text="A robin is red here."),
        Sentence(text="A robin is red here."),
        Sentence(text="", marks=("cut",)),
    ]
    found = marked([row], [[False, True, False]], ["robin"], lambda texts: [1 for _ in texts], 77)
    assert found == [[(), ("refusal", "repeat"), ("cut",)]]
    assert {mark for marks in found[0] for mark in marks} <= set(MARKS)
