import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from cupl_bench.embeddings import Aggregation
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.budget import BudgetStrategy, drawn
from cupl_bench.prompts.strategies import TemplatesStrategy

TEMPLATES = TemplatesStrategy(templates=[f"{i} {{}}" for i in range(9)], aggregation=Aggregation.MEAN)


@dataclass(frozen=True)
class Ragged:
    """Class i has ``counts[i]`` prompts, with weights that tell them apart."""

    counts: tuple[int, ...]
    seed: int | None = None

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        return Prompts(
            texts=tuple(tuple(f"{n} {i}" for i in range(c)) for n, c in zip(class_names, self.counts, strict=True)),
            weights=tuple(tuple(float(i + 1) for i in range(c)) for c in self.counts),
            aggregation=Aggregation.MEAN,
            seed=self.seed,
        )


def budget(strategy, k: int, seed: int = 0) -> BudgetStrategy:
    return BudgetStrategy(strategy=strategy, budget=k, seed=seed)


def test_draws_of_one_seed_are_nested_and_without_replacement() -> None:
    names = ["a", "b", "c"]
    rows = [budget(Ragged((20, 30, 5)), k)(names).texts for k in range(1, 31)]
    for small, large in pairwise(rows):
        for few, more in zip(small, large, strict=True):
            assert set(few) <= set(more)
    assert [len(row) for row in rows[9]] == [10, 10, 5]
    assert all(len(set(row)) == len(row) for drawn_rows in rows for row in drawn_rows)
    assert rows[-1] == Ragged((20, 30, 5))(names).texts


def test_a_draw_is_the_head_of_one_permutation_in_the_order_of_the_prompts() -> None:
    generator = random.Random("budget 3 7")
    size = [generator.random() for _ in range(12)]
    assert drawn(12, 5, 3, "7") == sorted(np.argsort(size)[:5].tolist())


def test_every_prompt_is_drawn_alike_over_seeds() -> None:
    counts = Counter(place for seed in range(2000) for place in drawn(6, 2, seed, "0"))
    assert all(abs(counts[place] - 2000 / 3) < 100 for place in range(6))  # 4.7 standard deviations


def test_a_class_has_the_same_draw_whatever_the_others_are() -> None:
    alone = budget(Ragged((9, 8)), 3)(["x", "y"]).texts
    among = budget(Ragged((9, 8, 40)), 3)(["x", "y", "z"]).texts
    assert alone == among[:2]
    assert len({tuple(drawn(30, 5, 0, str(label))) for label in range(20)}) > 15


def test_templates_are_drawn_once_for_all_classes() -> None:
    prompts = budget(TEMPLATES, 4)(["frog", "newt"])
    first, second = ([text.split()[0] for text in row] for row in prompts.texts)
    assert first == second
    assert len(set(first)) == 4
    assert (prompts.seed, prompts.budget, prompts.parallel) == (0, 4, True)
    assert budget(TEMPLATES, 4, seed=1)(["frog", "newt"]).texts != prompts.texts


def test_weights_follow_their_prompts() -> None:
    prompts = budget(Ragged((9, 9)), 4)(["x", "y"])
    for row, weights in zip(prompts.texts, prompts.weights or (), strict=True):
        assert [int(text.split()[1]) + 1.0 for text in row] == list(weights)


def test_where_nothing_is_drawn_there_is_no_seed_and_the_same_digest() -> None:
    whole = budget(TEMPLATES, 9)(["frog", "newt"])
    assert (whole.seed, whole.budget) == (None, 9)
    assert whole.digest == TEMPLATES(["frog", "newt"]).digest


@pytest.mark.parametrize("seed", [0, 5])
def test_a_strategy_that_draws_lends_its_seed(seed: int) -> None:
    """A record has one seed; so the prompts and their selection cannot have two."""
    prompts = budget(Ragged((9, 9), seed=seed), 4, seed=77)(["x", "y"])
    assert prompts.seed == seed
    assert prompts.texts == budget(Ragged((9, 9)), 4, seed=seed)(["x", "y"]).texts
