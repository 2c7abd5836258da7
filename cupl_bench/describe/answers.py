"""From an answer to a sentence, and what is to be said of it (pure)."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cupl_bench.dataset.names import normalised

__all__ = ["MARKS", "ClassNames", "Sentence", "marked", "sentence_of"]

MARKS = {
    "empty": "hold no sentence",
    "refusal": "refuse to answer",
    "cut": "were cut off in the middle of their only sentence",
    "shortened": "lost a last sentence that was cut off",
    "fragment": "have at most 3 words",
    "another": "name another class in place of their own",
    "unnamed": "name no class",
    "long": "are longer than a text tower reads",
    "beside": "name another class beside their own",
    "repeat": "repeat another of their class",
}
"""The marks of an answer: the word for each, and its meaning."""

FRAGMENT_WORDS = 3

REFUSES = re.compile(
    r"\W*(i'?m sorry|i am sorry|sorry\b|i apologi[sz]e|i can(no|')?t\b|i can not\b|i'?m (not able|unable)"
    r"|i am (not able|unable)|as an ai\b|i (do not|don't) (know|have)|unfortunately, i\b)",
    re.IGNORECASE,
)
CLOSING = r"\"\u201d\u2019')\]"
GLUED = re.compile(rf"(?<=[a-z0-9{CLOSING}])([.!?])(?=[A-Z])")
END = re.compile(rf"[.!?][{CLOSING}]*(?= |$)")
NO_END = re.compile(
    r"(?:\b(?:st|mt|dr|mr|mrs|ms|approx|ca|cf|vs|e\.g|i\.e|etc|sp|ssp|var|fig|no|[A-Za-z])\.)$", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """An answer made a sentence, and what happened on the way; ``text`` is empty where nothing was left."""

    text: str
    marks: tuple[str, ...] = ()


def sentence_of(
    text: str, finish_reason: str | None, rule: Literal["clean", "paper"], stop: Sequence[str] = ()
) -> Sentence:
    """Return the sentence, or sentences, of an answer.

    `paper`: empty lines go, a dot is added, and nothing else, so sentences may stick together and a cut one gets a dot.
    `clean`: white space is one space, sentences that stick together are parted, a last sentence that was cut off is
    left out, and the end is one dot, unless it is another mark.

    Args:
        text: as the model gave it.
        finish_reason: why it ended; `length` where the limit of tokens ended it.
        rule: of the two.
        stop: the stop words; some servers leave them at the end, where OpenAI's does not.

    Source: CuPL, `generate_image_prompts.py` @719619c, for `paper`.
    """
    cut = finish_reason == "length"
    for word in stop:
        text = text if cut else text.removesuffix(word)
    if rule == "paper":
        return Sentence(text=text.replace("\n\n", "") + ".", marks=("cut",) if cut else ())
    plain = GLUED.sub(r"\1 ", " ".join(text.split()))
    marks: tuple[str, ...] = ()
    if cut:
        ends = _ends(plain)
        if not ends:
            return Sentence(text="", marks=("cut",))
        if ends[-1] < len(plain):
            plain, marks = plain[: ends[-1]], ("shortened",)
    if not any(character.isalnum() for character in plain):
        return Sentence(text="", marks=marks)
    if plain[-1] in ".…":
        plain = plain.rstrip(" .…") + "."
    return Sentence(text=plain if END.search(plain[-3:]) else f"{plain}.", marks=marks)


def _ends(text: str) -> list[int]:
    """Return the places where the sentences of a text end; a dot after an abbreviation does not end one."""
    return [end.end() for end in END.finditer(text) if not NO_END.search(text[: end.start() + 1])]


class ClassNames:
    """The names of a data set, to be found in sentences; plurals count, and the longest name at a place."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names of all classes, which may repeat."""
        self._named: dict[tuple[str, ...], str] = {}
        for name in names:
            *front, last = _words(name) or [""]
            for ending in (last, f"{last}s", f"{last}es", f"{last[:-1]}ies" if last.endswith("y") else last):
                self._named.setdefault((*front, ending), normalised(name))
        self._longest = max(map(len, self._named), default=0)

    def among(self, text: str) -> Iterator[str]:
        """Yield the normalised names in a text, one for each place."""
        words, place = _words(text), 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                if (name := self._named.get(tuple(words[place : place + length]))) is not None:
                    yield name
                    place += length
                    break
            else:
                place += 1


def marked(
    rows: Sequence[Sequence[Sentence]],
    refused: Sequence[Sequence[bool]],
    class_names: Sequence[str],
    count_tokens: Callable[[Sequence[str]], list[int]],
    context_length: int,
) -> list[list[tuple[str, ...]]]:
    """Return the marks of every sentence of every class.

    Args:
        rows: the sentences of each class.
        refused: whether the server itself says that an answer is a refusal.
        class_names: in label order.
        count_tokens: tokens of texts, start and end included.
        context_length: how many a text tower reads.
    """
    names = ClassNames(class_names)
    distinct = list(dict.fromkeys(sentence.text for row in rows for sentence in row))
    tokens = dict(zip(distinct, count_tokens(distinct), strict=True))
    found = []
    for row, refusals, class_name in zip(rows, refused, class_names, strict=True):
        seen: set[str] = set()
        marks_of_row = []
        for sentence, refusal in zip(row, refusals, strict=True):
            text = sentence.text
            marks = list(sentence.marks)
            if refusal or REFUSES.match(text.replace("\u2019", "'")):
                marks.append("refusal")
            if not any(character.isalnum() for character in text):
                marks += [] if "cut" in marks else ["empty"]
            else:
                marks += _marks_of_names(text, class_name, names)
                if len(text.split()) <= FRAGMENT_WORDS:
                    marks.append("fragment")
                if tokens[text] > context_length:
                    marks.append("long")
                if text in seen:
                    marks.append("repeat")
                seen.add(text)
            marks_of_row.append(tuple(mark for mark in MARKS if mark in marks))
        found.append(marks_of_row)
    return found


def _marks_of_names(text: str, class_name: str, names: ClassNames) -> list[str]:
    own, named = normalised(class_name), list(names.among(text))
    others = [name for name in named if name != own]
    if own in named or (own in normalised(text) and not any(own in other for other in others)):
        return ["beside"] if others else []
    return ["another"] if others else ["unnamed"]


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return re.findall(r"[^\W_]+", plain)
