"""So many images of each class, for a quick look at any data set."""

import numpy as np
from jaxtyping import Int64

from cupl_bench.dataset import part_of

__all__ = ["chosen", "limited"]


def limited(split: str, limit: int | None, seed: int) -> str:
    """Return how the record calls the images of ``split`` that `chosen` takes."""
    return split if limit is None else f"{split}, {limit} per class (seed {seed})"


def chosen(
    labels: Int64[np.ndarray, " n"], limit: int | None, seed: int, shard: tuple[int, int] | None
) -> tuple[Int64[np.ndarray, " m"], int | None]:
    """Return the places of the images to take, in their own order, and how many they are in all where they are a part.

    Args:
        labels: the class of each image.
        limit: so many of each class, all of a class that has fewer; None: all.
        seed: by which they are drawn.
        shard: part i of n of those; None: all of them.
    """
    places = np.arange(len(labels)) if limit is None else _some_of_each(labels, limit, seed)
    if shard is None:
        return places, None
    own = part_of(shard, len(places))
    return places[own.start : own.stop], len(places)


def _some_of_each(labels: Int64[np.ndarray, " n"], limit: int, seed: int) -> Int64[np.ndarray, " m"]:
    """Return ``limit`` places of each class (or all that it has), drawn without replacement, in their own order."""
    drawn = np.random.default_rng(seed).permutation(len(labels))
    taken: dict[int, int] = {}
    kept: list[int] = []
    for place in drawn.tolist():
        label = int(labels[place])
        if taken.get(label, 0) < limit:
            taken[label] = taken.get(label, 0) + 1
            kept.append(place)
    return np.array(sorted(kept), dtype=np.int64)
