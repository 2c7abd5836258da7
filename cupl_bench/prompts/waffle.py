"""WaffleCLIP: random words and characters where others have descriptors, alone or among true ones."""

import gzip
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Literal, TypeVar

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.open_clip_files import open_clip_file
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.descriptors import NO_DESCRIPTORS, join_lists, read_lists, which, worded
from cupl_bench.prompts.strategies import with_concept

__all__ = ["DclipWaffleStrategy", "WaffleStrategy"]

T = TypeVar("T")

CLIP_VOCABULARY = "clip_vocabulary"
"""The word list of no file: the whole words of CLIP's own vocabulary."""

OPENING = "A photo of a "
CLIP_MERGES = 48894
"""How many merges of the file CLIP's tokenizer takes: its 49,152 tokens minus 256 and 2."""


@dataclass(frozen=True, kw_only=True)
class WaffleStrategy:
    """WaffleCLIP: ``pairs`` random word sequences and as many random character sequences, the same for all classes.

    A word descriptor has as many words as a class name has on average (rounded, at least one), each cut to the average
    length of a class name's words. A character descriptor has one group more than a class name has spaces on average,
    joined by ", ", in all about as many characters as the longest words of the class names have. Both are worded like
    descriptors: "A photo of a {name}, which has {...}.".

    ``words``: where random words come from: ``clip_vocabulary``, or a text file with a word on each line. The original
    has a list of its own (a pickle without source or licence), which is not here: so its prompts are not ours.
    ``characters``: a file of descriptors, whose characters random ones are of; None: those of the words.
    ``concept``: if given, prompts begin "A photo of a {concept}: a ".
    ``seed``: of the draw. The original draws by numpy's generator and can replace a class name inside a random word.

    Source: "Waffling around for Performance" (Roth et al., arXiv 2306.07282), section 3.2; mode `waffle` in
    `waffle_tools.py` of ExplainableML/WaffleCLIP@7a1b8ee, with the values of its `replicate_key_runs.sh`.
    """

    words: str
    characters: str | None
    pairs: int
    concept: str | None
    seed: int
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        descriptors = self.random_descriptors(class_names, self.pairs)
        return Prompts(
            texts=tuple(tuple(self.prompt(name, one) for one in descriptors) for name in class_names),
            aggregation=self.aggregation,
            parallel=True,
            seed=self.seed,
        )

    def prompt(self, class_name: str, descriptor: str) -> str:
        """Return the prompt of a class with a descriptor, true or random."""
        opening = OPENING if self.concept is None else with_concept(OPENING, self.concept)
        return f"{opening}{worded(class_name)}, {which(descriptor, 'original')}."

    def random_descriptors(self, class_names: Sequence[str], pairs: int) -> list[str]:
        """Return ``pairs`` times a word sequence and a character sequence, in this order.

        Raises:
            PromptsError: the number of pairs is none, or there is no word.
        """
        if pairs < 1:
            raise PromptsError(f"prompts.pairs={self.pairs} is too small; 15 is usual.")
        words = read_words(self.words)
        characters = self._characters(words)
        named = [worded(name).split(" ") for name in class_names]
        num_words = max(round(fmean(len(parts) for parts in named)), 1)
        length = round(fmean(fmean(len(part) for part in parts) for parts in named))
        words = [word[:length] for word in words]
        groups, size = groups_of_characters(class_names)
        generator = random.Random(f"waffle {self.seed}")  # noqa: S311 - not for secrets
        out = []
        for _ in range(pairs):
            out.append(" ".join(pick(generator, words) for _ in range(num_words)))
            out.append(", ".join("".join(pick(generator, characters) for _ in range(size)) for _ in range(groups)))
        return out

    def _characters(self, words: Sequence[str]) -> list[str]:
        if self.characters is None:
            texts: Sequence[str] = words
        else:
            held = read_lists(self.characters, "descriptors: class name -> list of texts")
            texts = [text for row in held.values() for text in row]
        # All that descriptors are written with but white space, commas and full stops, as the original.
        found = sorted({character for text in texts for character in text if character not in " ,."})
        if not found:
            raise PromptsError(f"{self.characters or self.words} holds no character to draw from.")
        return found


@dataclass(frozen=True, kw_only=True)
class DclipWaffleStrategy(WaffleStrategy):
    """DCLIP and WaffleCLIP together: random words, random characters and true descriptors, as many prompts as Waffle.

    Two thirds of ``pairs`` random pairs, the same for all classes, and for each pair two of the class's own
    descriptors, drawn with replacement; of these a class keeps three quarters, drawn without: 30 of 40 where ``pairs``
    is 15.

    ``path``, ``aliases``, ``extra``: the descriptors, as for DCLIP. The rest is as for WaffleCLIP.

    Source: mode `waffle_and_gpt` in `waffle_tools.py` of ExplainableML/WaffleCLIP@7a1b8ee.
    """

    path: str | None
    aliases: str | None
    extra: Literal["error", "ignore"]

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if self.path is None:
            raise PromptsError(NO_DESCRIPTORS)
        join, rows = join_lists(class_names, self.path, self.aliases, ignore_extra=self.extra == "ignore")
        pairs = int(2 / 3 * self.pairs)
        shared = self.random_descriptors(class_names, pairs)
        texts = []
        for label, (name, row) in enumerate(zip(class_names, rows, strict=True)):
            generator = random.Random(f"dclip_waffle {self.seed} {label}")  # noqa: S311 - not for secrets
            all_of_class = shared + [pick(generator, row or [""]) for _ in range(2 * pairs)]
            size = [generator.random() for _ in all_of_class]
            kept = sorted(range(len(size)), key=size.__getitem__)[: 3 * pairs]
            texts.append(tuple(self.prompt(name, all_of_class[place]) for place in sorted(kept)))
        return Prompts(
            texts=tuple(texts), aggregation=self.aggregation, join=join.counts, source=join.where, seed=self.seed
        )


def pick(generator: random.Random, items: Sequence[T]) -> T:
    """Return one of ``items``, each as likely, by the numbers that Python keeps the same between versions."""
    return items[int(generator.random() * len(items))]


def groups_of_characters(class_names: Sequence[str]) -> tuple[int, int]:
    """Return how many groups a character descriptor has, and how many characters each.

    One group more than there are spaces in a class name on average; the average of the longest words' lengths, rounded
    up, then up to the next multiple of the groups (the one after, where it is a multiple), shared among them.
    """
    groups = round(fmean(name.count(" ") for name in class_names)) + 1
    longest = math.ceil(fmean(max(len(part) for part in name.split(" ")) for name in class_names))
    return groups, (longest + groups - longest % groups) // groups


def read_words(source: str) -> list[str]:
    """Return the words of a text file, one on each line, or of CLIP's vocabulary.

    Raises:
        PromptsError: there is no such file, or no word in it.
    """
    if source == CLIP_VOCABULARY:
        return [*_clip_words()]
    try:
        lines = Path(source).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsError(
            f"{source} cannot be read ({error}); prompts.words should be a text file with a word on each line, or"
            f" {CLIP_VOCABULARY}."
        ) from error
    if not (words := [line.strip() for line in lines if line.strip()]):
        raise PromptsError(f"{source} holds no word; it should have one on each line.")
    return words


@cache
def _clip_words() -> tuple[str, ...]:
    """Return the whole words of three or more letters among the tokens of CLIP's tokenizer, as open_clip has them."""
    content = gzip.decompress(open_clip_file("bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode("utf-8")
    merges = content.split("\n")[1 : 1 + CLIP_MERGES]
    tokens = ["".join(merge.split()) for merge in merges]
    words = [token.removesuffix("</w>") for token in tokens if token.endswith("</w>")]
    return tuple(word for word in words if len(word) >= 3 and word.isascii() and word.isalpha())
