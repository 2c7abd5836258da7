"""Prompt strategies: from class names to a ragged list of prompts per class, with an aggregation and maybe weights.

A strategy knows neither data set nor backbone. Row i answers class i: class names may repeat, indices do not.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol, get_type_hints, runtime_checkable

import numpy as np
from jaxtyping import Float32

from cupl_bench.border import name_of, parse, shown
from cupl_bench.dataset.names import is_unicode
from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError, first
from cupl_bench.identity import content_key

__all__ = ["Aggregation", "GivenEmbeddings", "PromptStrategy", "Prompts", "prompts_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenEmbeddings:
    """Features of texts that somebody computed.

    ``rows``: unit rows. ``row_of``: text -> its row. ``is_of_classes``: whether they are class embeddings, one for each
    class, which are taken as they are.
    """

    rows: Float32[np.ndarray, "u d"]
    row_of: Mapping[str, int]
    is_of_classes: bool = False

    @property
    def sha256(self) -> str:
        """The sha256 of the rows, 64 hex digits."""
        digest = hashlib.sha256(f"{self.rows.shape} {self.is_of_classes};".encode())
        digest.update(np.ascontiguousarray(self.rows, dtype="<f4").data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of every class in label order; a prompt that stands twice in a class weighs twice.

    All values are parsed: lists become tuples, and an aggregation that is given by its name becomes that member.

    ``weights``: for each prompt how much it counts, above zero; only their ratios within a class matter. None where
    all count the same. A prompt of weight 2 is the same as one that stands twice.
    ``weigh_by_images``: whether the weights are yet to be found from the images, without their labels
    (`cupl_bench.template_weights.zero_shot_weights`): one for each place of ``parallel`` prompts.
    ``parallel``: whether the prompts at a place are the same in every class but for the class name, as those of a
    template are. So a draw takes the same places in every class.
    ``join`` counts how the class names found their entries in a file: ``exact``, ``normalised``, ``aliased`` and
    ``ignored`` (entries that belong to no class); None where no file was joined. ``source`` names that file.
    ``given``: the features of the prompts, where somebody computed them: then no text is encoded.
    ``seed``: with which the prompts were drawn; None where nothing was. ``budget``: how many of each class were asked
    for; None where all were.

    Raises:
        PromptsError: a value is of another type, the aggregation is none, a class has no prompt, a prompt is blank, or
            weights are of another shape, not above zero, or of no use to the aggregation.
    """

    texts: tuple[tuple[str, ...], ...]
    aggregation: Aggregation
    weights: tuple[tuple[float, ...], ...] | None = None
    weigh_by_images: bool = False
    parallel: bool = False
    join: Mapping[str, int] | None = None
    source: str | None = None
    seed: int | None = None
    budget: int | None = None
    given: "GivenEmbeddings | None" = None

    def __post_init__(self) -> None:
        hints = get_type_hints(Prompts)
        for row in self.texts if isinstance(self.texts, Sequence) else ():
            if isinstance(row, set | frozenset):
                raise PromptsError(f"texts holds a set ({shown(row)}), which has no order; give a list for each class.")
        for one in fields(self):
            object.__setattr__(self, one.name, parse(hints[one.name], getattr(self, one.name), one.name, PromptsError))
        if not self.texts:
            raise PromptsError("There are prompts of no class; give a list of prompts for each class.")
        if empty := [label for label, row in enumerate(self.texts) if not row]:
            raise PromptsError(
                f"{len(empty)} of {len(self.texts)} classes have no prompt, first: class {first(empty)}."
                " Give each class at least one."
            )
        if odd := [label for label, row in enumerate(self.texts) if not all(is_unicode(text) for text in row)]:
            raise PromptsError(
                f"{len(odd)} of {len(self.texts)} classes have a prompt that is no Unicode text (half a surrogate"
                f" pair), first: class {first(odd)}."
            )
        if blank := [label for label, row in enumerate(self.texts) if not all(text.strip() for text in row)]:
            raise PromptsError(
                f"{len(blank)} of {len(self.texts)} classes have a blank prompt, first: class {first(blank)}."
                " Remove the blanks, or say prompts.clean=true where the strategy reads a file."
            )
        if self.parallel and len({len(row) for row in self.texts}) > 1:
            raise PromptsError("Prompts that are parallel are as many in every class; these are not.")
        if self.given is not None and (lost := sorted(set(self.distinct()) - set(self.given.row_of))):
            raise PromptsError(
                f"{len(lost):,} prompts are not among the texts whose features are given: {first(lost)}."
            )
        self._check_weights()

    def _check_weights(self) -> None:
        if self.weights is None and not self.weigh_by_images:
            return
        if self.aggregation == Aggregation.MAX_SIMILARITY:
            raise PromptsError(
                "The similarity to the nearest prompt is the same whatever the prompts weigh:"
                " aggregation=max_similarity takes no weights. Choose mean or mean_similarity."
            )
        if self.weigh_by_images:
            if not self.parallel or self.weights is not None:
                raise PromptsError(
                    "Weights are found from images for templates alone, which are the same in every class, and where"
                    " none are given."
                )
            return
        weights = self.weights or ()
        if [len(row) for row in weights] != [len(row) for row in self.texts]:
            raise PromptsError("Weights are one for each prompt of each class; these are of another shape.")
        if wrong := [value for row in weights for value in row if not (math.isfinite(value) and value > 0)]:
            raise PromptsError(f"{len(wrong)} weights are not above zero, first: {first(wrong)}.")

    @cached_property
    def digest(self) -> str:
        """The sha256 of all that can move a number: the texts in class order, the aggregation, and any weights."""
        facts: dict[str, object] = {"texts": self.texts, "aggregation": self.aggregation}
        if self.weights is not None:
            facts["weights"] = self.weights
        if self.weigh_by_images:
            facts["weigh_by_images"] = True
        if self.given is not None:
            facts["given"] = self.given.sha256
        return content_key(facts)

    @property
    def weighting(self) -> str | None:
        """By which rule prompts are weighed: ``given`` or ``zpe``; None where all count the same."""
        if self.weigh_by_images:
            return "zpe"
        return None if self.weights is None else "given"

    @property
    def num_prompts(self) -> int:
        """How many prompts there are, repeats counted."""
        return sum(len(row) for row in self.texts)

    def distinct(self) -> list[str]:
        """Return each different text once, in the order in which they first stand."""
        return list(dict.fromkeys(text for row in self.texts for text in row))


@runtime_checkable
class PromptStrategy(Protocol):
    """Writes prompts for every class."""

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        """Return the prompts of each class; row i of the result answers ``class_names[i]``."""
        ...


def prompts_of(strategy: PromptStrategy, class_names: Sequence[str]) -> Prompts:
    """Return the prompts that ``strategy``, maybe a class of a user's own, writes for ``class_names``.

    Raises:
        PromptsError: it gives anything but `Prompts` of so many classes; a message of a user's class names the class.
    """
    name = name_of(strategy)
    try:
        prompts: object = strategy(class_names)
    except PromptsError as error:
        if name.startswith("cupl_bench."):
            raise
        raise PromptsError(f"{name}: {error}") from error
    if not isinstance(prompts, Prompts):
        raise PromptsError(
            f"{name} gives {shown(prompts)}, of the class {type(prompts).__name__}; a strategy gives"
            " cupl_bench.prompts.Prompts."
        )
    if len(prompts.texts) != len(class_names):
        raise PromptsError(
            f"{name} gives prompts of {len(prompts.texts):,} classes for {len(class_names):,} class names; row i"
            " answers class i, whether or not names repeat."
        )
    return prompts
