"""Several strategies in one, each with its weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import InstanceOf

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError, nearest
from cupl_bench.prompts import Prompts, PromptStrategy, prompts_of

__all__ = ["UnionStrategy"]


@dataclass(frozen=True, kw_only=True)
class UnionStrategy:
    """The prompts of all members; in every class those of a member weigh as much together as ``weights`` says.

    So the number of its prompts gives a member no advantage, unlike in ``cupl_ensemble``.

    ``members``: strategies by a name, in the order in which their prompts stand.
    ``weights``: member -> weight, above zero.
    ``aggregation``: of the union, and of every member.
    """

    members: Mapping[str, InstanceOf[PromptStrategy]]
    weights: Mapping[str, float]
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if not self.members:
            raise PromptsError("A union has members; prompts.members is empty.")
        for name in [*self.weights, *self.members]:
            if name not in self.members or name not in self.weights:
                raise PromptsError(
                    f"prompts.members and prompts.weights differ: {name!r} is in one alone."
                    f"{nearest(name, {*self.members, *self.weights} - {name})}"
                )
        parts = {name: prompts_of(strategy, class_names) for name, strategy in self.members.items()}
        for name, part in parts.items():
            if part.aggregation != self.aggregation:
                raise PromptsError(
                    f"prompts.members.{name} aggregates by {part.aggregation}, the union by {self.aggregation}; a"
                    " number needs one aggregation. Set both to the same."
                )
            if part.given is not None:
                raise PromptsError(f"prompts.members.{name} gives vectors and no texts, which no union can encode.")
            if part.weigh_by_images:
                raise PromptsError(f"prompts.members.{name} is weighed by images, which a union cannot be.")
        if len(seeds := {part.seed for part in parts.values() if part.seed is not None}) > 1:
            raise PromptsError(f"The members draw with different seeds {sorted(seeds)}, but a record has one seed.")
        labels = range(len(class_names))
        join = [part.join for part in parts.values() if part.join is not None]
        sources = [part.source for part in parts.values() if part.source is not None]
        return Prompts(
            texts=tuple(tuple(text for part in parts.values() for text in part.texts[label]) for label in labels),
            weights=tuple(
                tuple(weight for name, part in parts.items() for weight in shares(part, label, self.weights[name]))
                for label in labels
            ),
            aggregation=self.aggregation,
            parallel=all(part.parallel for part in parts.values()),
            join=join[0] if len(join) == 1 else None,
            source="; ".join(dict.fromkeys(sources)) or None,
            seed=next(iter(seeds), None),
        )


def shares(part: Prompts, label: int, total: float) -> list[float]:
    """Return the weights of a class's prompts in the proportions that they have, scaled to ``total``."""
    own = [1.0] * len(part.texts[label]) if part.weights is None else part.weights[label]
    return [total * weight / sum(own) for weight in own]
