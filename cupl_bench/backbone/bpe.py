"""The ids of open_clip's byte-pair tokenizer, several times faster.

Its pattern never matches across a space, so a text is the sequence of its words and each different word need
be merged once. Cleaning is most of the rest, and does nothing to plain ASCII but what the steps below repeat;
any other text goes through the tokenizer's own code.

Source: open_clip 3.3.0, `tokenizer.py`, `SimpleTokenizer`, and ftfy 6.3, `fix_text`.
"""

import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from cupl_bench.backbone import TokenIds

__all__ = ["FastBpe"]

PLAIN = re.compile(r"[ -%'-~\n\t]*")
"""ASCII without control characters and without ``&``, which may begin an HTML entity."""

PUNCTUATION_TO_NOTHING = str.maketrans({**dict.fromkeys(string.punctuation), "_": " "})


class FastBpe:
    """Texts to ids without padding, as ``tokenizer([text])`` gives them, and whether each was cut to fit."""

    def __init__(self, tokenizer: Any, clean_plain: Callable[[str], str]) -> None:
        """Read the tokenizer's own merges, vocabulary, cleaning and context length.

        Args:
            tokenizer: open_clip's `SimpleTokenizer`.
            clean_plain: what its cleaning does to plain ASCII, but for white space.
        """
        self._tokenizer = tokenizer
        self._clean_plain = clean_plain
        self._words = _Words(tokenizer)
        self._room = tokenizer.context_length - 2
        self._start = (tokenizer.sot_token_id,)
        self._end = (tokenizer.eot_token_id,)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "FastBpe | None":
        """Return the fast form of a tokenizer, or None if it is anything but the one that is understood here."""
        from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

        if type(tokenizer) is not SimpleTokenizer:
            return None
        known: dict[Any, Callable[[str], str]] = {
            get_clean_fn("lower"): str.lower,
            get_clean_fn("whitespace"): str,
            get_clean_fn("canonicalize"): _canonical,
        }
        if (
            tokenizer.clean_fn not in known
            or tokenizer.reduction_fn is not None
            or len(tokenizer.all_special_ids) != 2
            or not tokenizer.context_length
            or tokenizer.context_length < 2
        ):
            return None
        return cls(tokenizer, known[tokenizer.clean_fn])

    def __call__(self, texts: Sequence[str]) -> tuple[list[TokenIds], list[bool]]:
        """Return the ids of each text from start to end of text, and whether some of them had to be left out."""
        sequences, truncated = [], []
        for text in texts:
            if PLAIN.fullmatch(text):
                ids: list[int] = []
                for word in self._clean_plain(text).split():
                    ids += self._words[word]
            else:
                ids = self._tokenizer.encode(text)
            sequences.append((*self._start, *ids[: self._room], *self._end))
            truncated.append(len(ids) > self._room)
        return sequences, truncated


class _Words(dict[str, list[int]]):
    """Ids of words that are cleaned already; a new word is merged by the tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> list[int]:
        # Bytes of plain ASCII stand for themselves in the vocabulary.
        pieces = [piece for part in self._tokenizer.pat.findall(word) for piece in self._tokenizer.bpe(part).split(" ")]
        ids = self[word] = [self._tokenizer.encoder[piece] for piece in pieces]
        return ids


def _canonical(text: str) -> str:
    return text.translate(PUNCTUATION_TO_NOTHING).lower()
