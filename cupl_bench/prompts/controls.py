"""Controls: descriptions that lack one thing which a gain could come from, and keep the others.

A strategy that is no better than a control owes its gain to what the control keeps. Shuffled descriptions are
`cupl_bench.prompts.strategies.ShuffledDescriptionsStrategy`; random descriptors `cupl_bench.prompts.waffle`.
"""

import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from cupl_bench.errors import PromptsError
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.sources import replace_name
from cupl_bench.prompts.strategies import DescriptionsStrategy
from cupl_bench.prompts.waffle import pick, read_words

__all__ = ["LengthMatchedDescriptionsStrategy", "NamelessDescriptionsStrategy", "RandomWordsStrategy", "without_name"]

WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
SHORTEST = 3
"""The last word of a name is taken out by itself if it has so many letters."""


@dataclass(frozen=True, kw_only=True)
class NamelessDescriptionsStrategy:
    """A control: each class keeps its sentences, with a neutral word in the place of its name.

    What remains above chance is what the descriptions say; what is lost is the class name's. The last word of a name
    goes too where it stands alone ("frog" of "tree frog"), and so do plurals; other names of the class stay.

    ``word``: what stands in the place of the name.
    """

    descriptions: DescriptionsStrategy
    word: str

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if not WORD.fullmatch(self.word):
            raise PromptsError(f"prompts.word={self.word!r} should be one word, such as thing.")
        join, rows = self.descriptions.sentences(class_names)
        texts = tuple(
            tuple(without_name(text, name, self.word) for text in row)
            for name, row in zip(class_names, rows, strict=True)
        )
        return Prompts(texts=texts, aggregation=self.descriptions.aggregation, join=join.counts, source=join.where)


class _Sentence(NamedTuple):
    """A sentence of a class; ``key``: of the class in the file."""

    key: str
    class_name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class LengthMatchedDescriptionsStrategy:
    """A control: each sentence of a class makes way for one of another class with as many words, and this one's name.

    A class keeps the number of its sentences, their lengths and its name. Unlike shuffled descriptions, which are all
    of one other class, they come from many. Where no sentence of another class is as long, one of the nearest length
    is drawn; the name counts as one word. ``seed`` draws.
    """

    descriptions: DescriptionsStrategy
    seed: int

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        join, rows = self.descriptions.sentences(class_names)
        if len(set(join.keys)) < 2:
            raise PromptsError("Sentences of a single class cannot be exchanged; take two classes or more.")
        # Classes that share an entry of the file share its sentences: they are no others of each other.
        texts_of = {key: (name, row) for key, name, row in zip(join.keys, class_names, rows, strict=True)}
        pool: dict[int, list[_Sentence]] = {}
        for key, (name, row) in texts_of.items():
            for text in row:
                pool.setdefault(_length(text, name), []).append(_Sentence(key, name, text))
        drawn = []
        for label, (key, name, row) in enumerate(zip(join.keys, class_names, rows, strict=True)):
            generator = random.Random(f"length_matched {self.seed} {label}")  # noqa: S311 - not for secrets
            donors = (_donor(generator, pool, key, _length(text, name)) for text in row)
            drawn.append(tuple(replace_name(donor.text, donor.class_name, name) for donor in donors))
        return Prompts(
            texts=tuple(drawn),
            aggregation=self.descriptions.aggregation,
            join=join.counts,
            source=join.where,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class RandomWordsStrategy:
    """A control: each word of a description but the class name becomes a random word with as many letters.

    A class keeps its name, the number of its sentences, their lengths, marks and capitals. Sentences of two classes
    get different words: unlike Waffle's, which are the same for all classes.

    ``words``: where random words come from: ``clip_vocabulary``, the whole words of CLIP's own vocabulary, or a text
    file with a word on each line. Where none is so short, longer ones are cut. ``seed`` draws.
    """

    descriptions: DescriptionsStrategy
    words: str
    seed: int

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        join, rows = self.descriptions.sentences(class_names)
        words = sorted(read_words(self.words), key=len)
        lengths = [len(word) for word in words]

        def random_text(text: str, name: str, generator: random.Random) -> str:
            def random_word(found: re.Match[str]) -> str:
                like = found.group()
                length = min(len(like), lengths[-1])
                first, end = bisect_left(lengths, length), bisect_left(lengths, length + 1)
                if first == end:  # none of this length: a longer one is cut
                    end = len(words)
                word = words[pick(generator, range(first, end))][: len(like)].lower()
                return word.capitalize() if like[0].isupper() else word

            return "".join(part if is_name else WORD.sub(random_word, part) for is_name, part in _parts(text, name))

        texts = []
        for label, (name, row) in enumerate(zip(class_names, rows, strict=True)):
            generator = random.Random(f"random_words {self.seed} {label}")  # noqa: S311 - not for secrets
            texts.append(tuple(random_text(text, name, generator) for text in row))
        return Prompts(
            texts=tuple(texts),
            aggregation=self.descriptions.aggregation,
            join=join.counts,
            source=join.where,
            seed=self.seed,
        )


def without_name(text: str, class_name: str, word: str) -> str:
    """Return ``text`` with ``word`` in the place of the class name, its plural, and its last word alone.

    >>> without_name("An iris has petals; irises are blue.", "iris", "thing")
    'A thing has petals; things are blue.'
    >>> without_name("Tree frogs: each frog is green.", "tree_frog", "thing")
    'Things: each thing is green.'
    """

    def replaced(found: re.Match[str]) -> str:
        article, space, plural, name = found.groups()
        new = f"{word}s" if plural else word
        if article is None:
            return new.capitalize() if found.start() == 0 and (plural or name)[0].isupper() else new
        fitting = "an" if word[0].lower() in "aeiou" else "a"
        return f"{fitting.capitalize() if article[0].isupper() else fitting}{space}{new}"

    return _name_pattern(class_name).sub(replaced, text)


@lru_cache(maxsize=4)
def _name_pattern(class_name: str) -> re.Pattern[str]:
    """Return what finds a class name, however its words are joined, its last word, and the plurals of both."""
    parts = [re.escape(part) for part in re.split(r"[\s_-]+", class_name) if part] or [re.escape(class_name)]
    names = [r"[\s_-]+".join(parts), *([parts[-1]] if len(parts) > 1 and len(parts[-1]) >= SHORTEST else [])]
    plurals = [f"{name}e?s" for name in names] + [f"{name[:-1]}ies" for name in names if name.endswith("y")]
    found = rf"(?:(an?)(\s+))?(?:({'|'.join(plurals)})|({'|'.join(names)}))"
    # Scripts without capitals put no space around a word, or write an article into it.
    spaced = any(letter.lower() != letter.upper() for letter in class_name) or not any(map(str.isalpha, class_name))
    return re.compile(rf"(?<!\w){found}(?!\w)" if spaced else found, flags=re.IGNORECASE)


def _parts(text: str, class_name: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a text, and whether each is the class name."""
    for place, part in enumerate(re.split(rf"((?<!\w){re.escape(class_name)}(?!\w))", text, flags=re.IGNORECASE)):
        yield place % 2 == 1, part


def _length(text: str, class_name: str) -> int:
    """Return the number of words, of which the class name is one."""
    return len(WORD.findall(replace_name(text, class_name, "name")))


def _donor(generator: random.Random, pool: Mapping[int, Sequence[_Sentence]], key: str, length: int) -> _Sentence:
    """Return a sentence of another class, of this length or the nearest that there is."""
    for near in sorted(pool, key=lambda one: (abs(one - length), one)):
        if any(one.key != key for one in pool[near]):
            while (found := pick(generator, pool[near])).key == key:
                pass
            return found
    raise AssertionError("there is another class")  # which is checked before
