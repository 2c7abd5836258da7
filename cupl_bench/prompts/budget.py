"""So many prompts of each class, drawn from those of any strategy: for curves of accuracy against their number."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cupl_bench.prompts import Prompts, PromptStrategy, prompts_of

__all__ = ["BudgetStrategy"]


@dataclass(frozen=True, kw_only=True)
class BudgetStrategy:
    """At most ``budget`` prompts of each class, drawn without replacement; classes that have fewer keep all.

    Draws are nested: of one seed, the prompts of a smaller budget are among those of a larger one. Each class has a
    permutation of its own, which depends on the seed and the label alone, not on the other classes; but prompts that
    are parallel (of templates) are drawn once for all classes. Prompts that were drawn keep their order and weights.

    ``seed``: of the draw, unless the strategy has itself drawn with a seed: then that one, so that a record has one.
    """

    strategy: PromptStrategy
    budget: int
    seed: int

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        prompts = prompts_of(self.strategy, class_names)
        seed = self.seed if prompts.seed is None else prompts.seed
        places = [
            drawn(len(row), self.budget, seed, "all" if prompts.parallel else str(label))
            for label, row in enumerate(prompts.texts)
        ]
        draws = any(len(row) > self.budget for row in prompts.texts)
        weights = prompts.weights
        return replace(
            prompts,
            texts=tuple(tuple(row[i] for i in kept) for row, kept in zip(prompts.texts, places, strict=True)),
            weights=None
            if weights is None
            else tuple(tuple(row[i] for i in kept) for row, kept in zip(weights, places, strict=True)),
            seed=seed if draws else prompts.seed,
            budget=self.budget,
        )


def drawn(count: int, budget: int, seed: int, stream: str) -> list[int]:
    """Return the first ``budget`` places of a permutation of ``count``, in rising order.

    ``seed`` and ``stream`` decide the permutation. It is by the size of random numbers, which Python promises to keep
    between versions, as it does not for `shuffle`.
    """
    generator = random.Random(f"budget {seed} {stream}")  # noqa: S311 - not for secrets
    size = [generator.random() for _ in range(count)]
    return sorted(sorted(range(count), key=size.__getitem__)[:budget])
