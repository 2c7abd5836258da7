"""Descriptions chosen by what they say alone: the sentences of each class that share least with other classes'."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cupl_bench.errors import PromptsError
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.strategies import DescriptionsStrategy

__all__ = ["TopDescriptionsStrategy", "distinctiveness"]

WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class TopDescriptionsStrategy:
    """The ``keep`` most distinctive sentences of each class, by words alone; see `distinctiveness`.

    Sentences that repeat within a class count once. Classes that have fewer keep all; ties go to the earlier sentence,
    and those that are kept stay in their order. No image is looked at. A rule of this project, not of a paper.
    """

    descriptions: DescriptionsStrategy
    keep: int

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if self.keep < 1:
            raise PromptsError(f"prompts.keep={self.keep} should be 1 or more.")
        join, rows = self.descriptions.sentences(class_names)
        distinct = [list(dict.fromkeys(row)) for row in rows]
        scores = distinctiveness(class_names, distinct, join.keys)
        texts = []
        for row, row_scores in zip(distinct, scores, strict=True):
            best = sorted(range(len(row)), key=row_scores.__getitem__, reverse=True)[: self.keep]  # ties as they stand
            texts.append(tuple(row[place] for place in sorted(best)))
        return Prompts(
            texts=tuple(texts), aggregation=self.descriptions.aggregation, join=join.counts, source=join.where
        )


def distinctiveness(
    class_names: Sequence[str], rows: Sequence[Sequence[str]], keys: Sequence[str]
) -> list[list[float]]:
    """Return for each sentence the mean over its distinct words of log(classes / classes that use the word).

    Zero for a sentence whose every word all classes use; log(classes) if no other class uses any. Words are runs of
    letters and digits in lower case. Left out are those that begin with a word (of three letters or more) of the
    class's own name, since no other class has "ostriches"; a sentence of nothing else scores zero. Classes that share a
    key of the file count as one class.

    >>> found = distinctiveness(["ant", "bee"], [["red legs"], ["red wings"]], keys=["ant", "bee"])
    >>> [[round(score, 2) for score in row] for row in found]
    [[0.35], [0.35]]
    """
    words = [[set(WORD.findall(text.lower())) for text in row] for row in rows]
    of_key = {key: set().union(*row) for key, row in zip(keys, words, strict=True)}
    used_by = Counter(word for vocabulary in of_key.values() for word in vocabulary)
    rarity = {word: math.log(len(of_key) / count) for word, count in used_by.items()}
    scores = []
    for name, row in zip(class_names, words, strict=True):
        own = tuple(word for word in WORD.findall(name.lower()) if len(word) >= 3)
        others = [[word for word in text if not word.startswith(own)] for text in row]
        scores.append([math.fsum(rarity[word] for word in text) / max(len(text), 1) for text in others])
    return scores
