"""Find the smallest set of prompts that is not significantly worse than all of them.

It is chosen on one half of the images and judged on the other.
On the choosing half the prompts that add least are left out step by step, and effects are measured anew at each step.
How small the set may be is found there by two folds: prompts are ranked on one and the smaller sets tried on the
other. Then all that is left to do is to judge a single set, once, on images that had no say in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from cupl_bench.effects import measure_prompts, measure_templates, right_images
from cupl_bench.embeddings import Aggregation, Features
from cupl_bench.report.significance import ALPHA, change_intervals, mcnemar_exact
from cupl_bench.truth import ClassSets

__all__ = ["SIZES", "SmallestSet", "Tried", "halves", "smallest_set"]

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of prompts of each class that are tried."""

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A set of so many prompts of each class against all prompts, on ``images`` images.

    ``gained`` and ``lost``: images that only the set, or only all prompts have right; ``p``: McNemar's exact test.
    """

    size: int
    images: int
    top1: float
    top1_of_all: float
    gained: int
    lost: int
    p: float

    @property
    def worse(self) -> bool:
        """Whether the set is significantly worse than all prompts."""
        return self.lost > self.gained and self.p < ALPHA

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of its top-1 minus that of all prompts."""
        low, high = change_intervals(*(np.array([count]) for count in (self.gained, self.lost, self.images)))
        return float(low[0]), float(high[0])


@dataclass(frozen=True, kw_only=True)
class SmallestSet:
    """What was chosen.

    ``rows``: of each class, those of its prompts that stay; ``tried``: on the choosing half, larger sets first;
    ``judged``: the chosen set on the other half. ``rows`` and ``judged`` are None where no smaller set was found.
    """

    rows: tuple[tuple[int, ...], ...] | None
    tried: tuple[Tried, ...]
    judged: Tried | None


@dataclass(frozen=True, kw_only=True)
class _Question:
    """The texts of all classes, and the images of a part of the data set."""

    images: Features
    labels: Int64[np.ndarray, " n"]
    texts: Float32[np.ndarray, "u d"]
    aggregation: Aggregation
    parallel: bool
    device: torch.device | None
    sets: ClassSets | None

    def part(self, places: Int64[np.ndarray, " m"]) -> "_Question":
        part = _Part(images=self.images, places=places)
        sets = None if self.sets is None else self.sets.taken(places)
        return _Question(**{**vars(self), "images": part, "labels": self.labels[places], "sets": sets})

    def right(self, rows: Rows) -> Bool[np.ndarray, " n"]:
        given = (self.images, self.labels, self.texts, rows, self.aggregation, None, self.device, self.sets)
        return right_images(*given)

    def keys(self, own: Sequence[int]) -> Sequence[int]:
        """Return what stays or goes together in a class: a place of all classes, or all prompts of one row."""
        return range(len(own)) if self.parallel else own

    def effects(self, rows: Rows) -> list[dict[int, tuple[float, float]]]:
        """Return for each class how much each key adds to the right images, and its top-1 alone, which breaks ties."""
        given = (self.images, self.labels, self.texts, rows, self.aggregation, None, self.device, self.sets)
        if self.parallel:
            of_templates = measure_templates(*given)
            adds = of_templates.only_with - of_templates.only_without
            worth = list(zip(adds.tolist(), of_templates.top1_alone.tolist(), strict=True))
            return [dict(enumerate(worth))] * len(rows)
        found = measure_prompts(*given)
        effects: list[dict[int, tuple[float, float]]] = [{} for _ in rows]
        adds = found.only_with - found.only_without
        for label, row, *worth in zip(
            found.label.tolist(), found.row.tolist(), adds.tolist(), found.top1_alone.tolist(), strict=True
        ):
            effects[label][row] = (worth[0], worth[1])
        return effects


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some of the images; they are read when they are taken."""

    images: Features
    places: Int64[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: slice | Int64[np.ndarray, " k"]) -> Float32[np.ndarray, "k d"]:
        return self.images[self.places[which]]


def halves(labels: Int64[np.ndarray, " n"], seed: int) -> tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"]]:
    """Return the places of two halves of the images, drawn within each class; both in rising order.

    They differ by one image at most, in each class and in all.

    >>> one, other = halves(np.array([0, 0, 1, 1]), seed=0)
    >>> len(one), sorted([*one.tolist(), *other.tolist()])
    (2, [0, 1, 2, 3])
    """
    drawn = np.random.default_rng(seed).permutation(len(labels))
    in_turn = drawn[np.argsort(labels[drawn], kind="stable")]
    return np.sort(in_turn[::2]), np.sort(in_turn[1::2])


def smallest_set(
    images: Features,
    labels: Int64[np.ndarray, " n"],
    texts: Float32[np.ndarray, "u d"],
    rows: Rows,
    aggregation: Aggregation,
    *,
    parallel: bool,
    seed: int,
    device: torch.device | None = None,
    sets: ClassSets | None = None,
) -> SmallestSet:
    """Return the smallest set of prompts that is not significantly worse than all, and how it fares on other images.

    A set has the same number of distinct prompts of each class; a class that has fewer keeps its own. Larger sets are
    tried first, and the first that is significantly worse on the choosing half ends the search.

    Args:
        images: unit features.
        labels: the class of each image.
        texts: unit features of distinct prompts.
        rows: for each class the rows of its prompts in ``texts``.
        aggregation: how prompts become a class.
        parallel: whether the prompts at a place are one template in all classes; then they stay or go together.
        seed: of the halves and the folds.
        device: where to multiply; the CPU if None.
        sets: all classes of each image, where it may be of several.
    """
    whole = _Question(
        images=images,
        labels=labels,
        texts=texts,
        aggregation=aggregation,
        parallel=parallel,
        device=device,
        sets=sets,
    )
    choosing, judging = halves(labels, seed)
    sizes = [size for size in reversed(SIZES) if size < max(len(set(whole.keys(own))) for own in rows)]
    folds = [choosing[places] for places in halves(labels[choosing], seed + 1)]
    gained, lost, hits = (np.zeros(len(sizes), dtype=np.int64) for _ in range(3))
    right_of_all = 0
    for own, other in (folds, reversed(folds)):
        ranked = _smaller(whole.part(own), rows, sizes)
        on = whole.part(other)
        right = on.right(rows)
        right_of_all += int(right.sum())
        for place, size in enumerate(sizes):
            here = on.right(ranked[size])
            gained[place] += int((here & ~right).sum())
            lost[place] += int((right & ~here).sum())
            hits[place] += int(here.sum())
    tried = []
    for size, won, gone, found in zip(sizes, gained.tolist(), lost.tolist(), hits.tolist(), strict=True):
        tried.append(_tried(size, len(choosing), found, right_of_all, won, gone))
        if tried[-1].worse:
            break
    small_enough = [one.size for one in tried if not one.worse]
    if not small_enough:
        return SmallestSet(rows=None, tried=tuple(tried), judged=None)
    size = small_enough[-1]
    kept = _smaller(whole.part(choosing), rows, [one for one in sizes if one >= size])[size]
    judges = whole.part(judging)
    right, here = judges.right(rows), judges.right(kept)
    judged = _tried(
        size, len(judging), int(here.sum()), int(right.sum()), int((here & ~right).sum()), int((right & ~here).sum())
    )
    return SmallestSet(rows=tuple(tuple(own) for own in kept), tried=tuple(tried), judged=judged)


def _tried(size: int, images: int, hits: int, hits_of_all: int, gained: int, lost: int) -> Tried:
    return Tried(
        size=size,
        images=images,
        top1=hits / images,
        top1_of_all=hits_of_all / images,
        gained=gained,
        lost=lost,
        p=float(mcnemar_exact([gained], [lost])[0]),
    )


def _smaller(question: _Question, rows: Rows, sizes: Sequence[int]) -> Mapping[int, Rows]:
    """Return for each size, falling, the rows that stay when those that add least are left out step by step."""
    kept: dict[int, Rows] = {}
    for size in sizes:
        effects = question.effects(rows)
        rows = [_best(own, question.keys(own), worth, size) for own, worth in zip(rows, effects, strict=True)]
        kept[size] = rows
    return kept


def _best(own: Sequence[int], keys: Sequence[int], worth: Mapping[int, tuple[float, float]], size: int) -> list[int]:
    """Return the rows of a class without those that add least; of equal ones the first stay, repeats stay together."""
    best = set(sorted(dict.fromkeys(keys), key=worth.__getitem__, reverse=True)[:size])
    return [row for row, key in zip(own, keys, strict=True) if key in best]
