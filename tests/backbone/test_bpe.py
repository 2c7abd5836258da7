"""The fast tokenizer gives exactly the ids of open_clip's."""

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from cupl_bench.backbone.bpe import FastBpe

CLEANS = ["lower", "whitespace", "canonicalize"]
TOKENIZERS = {
    (clean, length): SimpleTokenizer(clean=clean, context_length=length) for clean in CLEANS for length in (77, 8)
}
FAST = {key: FastBpe.from_tokenizer(tokenizer) for key, tokenizer in TOKENIZERS.items()}

AWKWARD = [
    "",
    " ",
    "\n",
    "a  photo\tof\na cat. ",
    "It's the DOG's; they'll, I'D, 'S 'RE",
    "a_b__c -- (d) [e] {f} ~!@#$%^*+=|\\:;\"'`?/.,>",
    "fish &amp; chips &lt;b&gt; AT&T & co",
    "<start_of_text> x <END_OF_TEXT> y <",
    "a<start_of_text",
    "naïve café Ünïcode İstanbul ǅ ﬁ １２ …“x”",  # noqa: RUF001
    "ÃƒÂ© mojibake â€œ",
    "日本語 한국어 😀👍🏽",
    "\x00\x07\x1b[31mred\x1b[0m\x7f\r\n\x0b\x0c\x1c\x85\u2028\ufeff\u200b",
    "1234567890 3.14 1,000",
    "word " * 100,
    "x" * 500,
]


def assert_same_ids(key: tuple[str, int], texts: list[str]) -> None:
    tokenizer, fast = TOKENIZERS[key], FAST[key]
    assert fast is not None
    sequences, truncated = fast(texts)
    rows = tokenizer(texts).tolist()
    for text, sequence, was_cut, row in zip(texts, sequences, truncated, rows, strict=True):
        assert [*sequence, *[0] * (key[1] - len(sequence))] == row, repr(text)
        assert sequence[0] == tokenizer.sot_token_id
        assert sequence[-1] == tokenizer.eot_token_id
        whole = len(tokenizer.encode(text)) + 2
        assert len(sequence) == min(whole, key[1])
        assert was_cut == (whole > key[1])


@pytest.mark.parametrize("key", TOKENIZERS)
def test_awkward_texts(key: tuple[str, int]) -> None:
    assert_same_ids(key, AWKWARD)


@pytest.mark.slow
@given(st.sampled_from(list(TOKENIZERS)), st.lists(st.text(max_size=60), max_size=4))
def test_any_unicode(key: tuple[str, int], texts: list[str]) -> None:
    assert_same_ids(key, texts)


@given(st.sampled_from(list(TOKENIZERS)), st.text(st.characters(max_codepoint=127), max_size=120))
def test_any_ascii(key: tuple[str, int], text: str) -> None:
    assert_same_ids(key, [text])


def test_published_prompts() -> None:
    content = json.loads((files("clip_benchmark") / "datasets" / "cupl_prompts.json").read_text())
    prompts = [prompt for sentences in content["imagenet1k"].values() for prompt in sentences]
    assert_same_ids(("lower", 77), prompts[::97])


def test_memo_does_not_leak_between_texts() -> None:
    fast = FAST["lower", 77]
    assert fast is not None
    first = fast(["a photo of a cat"])
    fast(["a photo", "of a cat a photo"])
    assert fast(["a photo of a cat"]) == first


def test_masking_tokenizer_is_left_alone() -> None:
    assert FastBpe.from_tokenizer(SimpleTokenizer(reduction_mask="simple")) is None


def test_more_special_tokens_are_left_alone() -> None:
    assert FastBpe.from_tokenizer(SimpleTokenizer(additional_special_tokens=["<mask>"])) is None


def test_unknown_cleaning_is_left_alone() -> None:
    tokenizer = SimpleTokenizer()
    tokenizer.clean_fn = str.upper
    assert FastBpe.from_tokenizer(tokenizer) is None


def test_no_context_length_is_left_alone() -> None:
    assert FastBpe.from_tokenizer(SimpleTokenizer(context_length=None)) is None


def test_another_class_is_left_alone() -> None:
    class Tokenizer(SimpleTokenizer):
        pass

    assert FastBpe.from_tokenizer(Tokenizer()) is None
    assert FastBpe.from_tokenizer(len) is None
