"""Prompts that the user hands over in memory: sentences by class name, or a function of class names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.embeddings import GivenVectors, prompts_of_vectors
from cupl_bench.prompts.joining import join_by_name

__all__ = ["GivenDescriptions", "GivenFunction", "GivenMatrix"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenDescriptions:
    """Sentences for each class by its name, as a CuPL file holds them.

    ``descriptions``: class name -> its sentences; names join as those of a file do.
    """

    descriptions: Mapping[str, Sequence[str]]
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if text := [name for name, sentences in self.descriptions.items() if isinstance(sentences, str)]:
            raise PromptsError(f"The sentences of {text[0]!r} are one text; give a list of texts.")
        join = join_by_name(class_names, list(self.descriptions), "the given prompts", {}, ignore_extra=False)
        return Prompts(
            texts=tuple(tuple(self.descriptions[key]) for key in join.keys),
            aggregation=self.aggregation,
            join=join.counts,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenMatrix:
    """Class vectors as a strategy. ``vectors``: C x D or D x C, a vector for each class in label order."""

    vectors: np.ndarray
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        return prompts_of_vectors(
            GivenVectors(vectors=self.vectors), class_names, "the given array", aggregation=self.aggregation
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenFunction:
    """A function of class names as a strategy.

    ``function``: class names in label order -> `Prompts`, or a list of texts for each class.
    """

    function: Callable[[Sequence[str]], Prompts | Sequence[Sequence[str]]]
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        found = self.function(class_names)
        if isinstance(found, Prompts):
            return found
        if len(found) != len(class_names):
            raise PromptsError(
                f"The function of prompts gives texts for {len(found)} classes, and there are {len(class_names)}."
                " Return a list of texts for each class, in the order of the class names."
            )
        if any(isinstance(texts, str) for texts in found):
            raise PromptsError("The function of prompts gives one text for a class; return a list of texts for each.")
        return Prompts(texts=tuple(tuple(texts) for texts in found), aggregation=self.aggregation)
