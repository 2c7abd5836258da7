"""Prompt strategies: from class names to a ragged list of prompts per class, with an aggregation.

A strategy knows neither data set nor backbone. Row i answers class i: class names may repeat, indices do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cupl_bench.class_embeddings import Aggregation
from cupl_bench.errors import PromptsError, first
from cupl_bench.identity import content_key

__all__ = ["PromptStrategy", "Prompts"]


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of every class in label order; a prompt that stands twice in a class weighs twice.

    ``join`` counts how the class names found their entries in a file: ``exact``, ``normalised``, ``aliased`` and
    ``ignored`` (entries that belong to no class); None where no file was joined. ``source`` names that file.

    Raises:
        PromptsError: a class has no prompt, or a prompt is blank.
    """

    texts: tuple[tuple[str, ...], ...]
    aggregation: Aggregation
    join: Mapping[str, int] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if empty := [label for label, row in enumerate(self.texts) if not row]:
            raise PromptsError(
                f"{len(empty)} of {len(self.texts)} classes have no prompt, first: class {first(empty)}."
                " Give each class at least one."
            )
        if blank := [label for label, row in enumerate(self.texts) if not all(text.strip() for text in row)]:
            raise PromptsError(
                f"{len(blank)} of {len(self.texts)} classes have a blank prompt, first: class {first(blank)}."
                " Remove the blanks, or say prompts.clean=true where the strategy reads a file."
            )

    @property
    def digest(self) -> str:
        """The sha256 of all that can move a number: the texts in class order, and the aggregation."""
        return content_key({"texts": self.texts, "aggregation": self.aggregation})

    @property
    def num_prompts(self) -> int:
        """How many prompts there are, repeats counted."""
        return sum(len(row) for row in self.texts)

    def distinct(self) -> list[str]:
        """Each different text once, in the order in which they first stand."""
        return list(dict.fromkeys(text for row in self.texts for text in row))


@runtime_checkable
class PromptStrategy(Protocol):
    """Writes prompts for every class."""

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        """Row i of the result answers ``class_names[i]``."""
        ...
