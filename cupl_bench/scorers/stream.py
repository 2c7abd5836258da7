"""Images that come one after the other, and what a method remembers of those before.

Which images are remembered, and when, depends on each one's own prediction and entropy alone. So it is found first, in
the order of the stream; then images are scored in any order, each against what was remembered at its own time.
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from cupl_bench.scorers import Inputs
from cupl_bench.scorers.balance import blocks, shares_of
from cupl_bench.scorers.neighbours import Distinct, distinct

__all__ = ["Memory", "Stream", "arrivals", "remember"]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Images that are remembered for a while: place among the distinct images, class, first and first missing time."""

    places: Int64[torch.Tensor, " m"]
    labels: Int64[torch.Tensor, " m"]
    starts: Int64[torch.Tensor, " m"]
    ends: Int64[torch.Tensor, " m"]

    def __len__(self) -> int:
        return len(self.places)

    def chosen(self, which: slice) -> "Memory":
        """Return some of it."""
        return Memory(
            places=self.places[which], labels=self.labels[which], starts=self.starts[which], ends=self.ends[which]
        )

    def on(self, device: torch.device) -> "Memory":
        """Return it on a device: copied there as a whole, since a GPU is waited for with each copy."""
        return Memory(
            places=self.places.to(device),
            labels=self.labels.to(device),
            starts=self.starts.to(device),
            ends=self.ends.to(device),
        )

    def of_each_class(self, num_classes: int) -> "list[Memory]":
        """Return what is remembered of each class, in its order; all parts share one copy."""
        order = self.labels.argsort(stable=True)
        whole = Memory(
            places=self.places[order], labels=self.labels[order], starts=self.starts[order], ends=self.ends[order]
        )
        ends = self.labels.bincount(minlength=num_classes).cumsum(0).tolist()
        return [whole.chosen(slice(start, end)) for start, end in pairwise([0, *ends])]

    def known_at(self, times: torch.Tensor) -> torch.Tensor:
        """Return whether each image was remembered at each time, t x m."""
        return (self.starts <= times[:, None]) & (times[:, None] < self.ends)


def arrivals(num_images: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Return when each image comes, by a permutation that is drawn.

    >>> sorted(arrivals(3, seed=0).tolist())
    [0, 1, 2]
    """
    times = np.empty(num_images, dtype=np.int64)
    times[np.random.default_rng(seed).permutation(num_images)] = np.arange(num_images)
    return times


def remember(
    labels: Int64[np.ndarray, " n"],
    entropies: Float64[np.ndarray, " n"],
    places: Int64[np.ndarray, " n"],
    capacity: int,
    asked: Bool[np.ndarray, " n"] | None = None,
) -> Memory:
    """Return which images of a stream are remembered: of each class the ``capacity`` of least entropy so far.

    An image is remembered from its own time on. One that finds its class full takes the place of the greatest entropy,
    the latest of equals, if its own is less.

    >>> found = remember(np.array([0, 0, 0]), np.array([0.5, 0.9, 0.1]), np.array([7, 8, 9]), capacity=2)
    >>> found.places.tolist(), found.starts.tolist(), found.ends.tolist()[1:2]
    ([7, 8, 9], [0, 1, 2], [2])

    Args:
        labels: the prediction of each image, in the order of the stream.
        entropies: of its probabilities.
        places: whatever names the image.
        capacity: of each class.
        asked: which images are to be remembered at all; all if None.
    """
    of_class: dict[int, list[tuple[float, int]]] = {}
    times = range(len(labels)) if asked is None else np.flatnonzero(asked).tolist()
    known, entropy = labels.tolist(), entropies.tolist()
    ends = np.full(len(labels), NEVER)
    kept = np.zeros(len(labels), dtype=bool)
    for time in times:
        held = of_class.setdefault(known[time], [])
        if len(held) >= capacity:
            if not held or entropy[time] >= held[-1][0]:
                continue
            ends[held.pop()[1]] = time
        bisect.insort(held, (entropy[time], time))
        kept[time] = True
    starts = np.flatnonzero(kept)
    return Memory(
        places=torch.from_numpy(places[starts]),
        labels=torch.from_numpy(labels[starts]),
        starts=torch.from_numpy(starts),
        ends=torch.from_numpy(ends[starts]),
    )


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Distinct images and classes, when each image of the data set comes, and what the texts say of it.

    ``times``: of each image of the data set, n. ``rows`` and ``texts``: the distinct ones on the device. ``labels``
    (among the distinct texts) and ``entropies`` (in nats) of the distinct images.
    """

    images: Distinct
    classes: Distinct
    times: Int64[np.ndarray, " n"]
    rows: torch.Tensor
    texts: torch.Tensor
    copies: torch.Tensor
    labels: Int64[np.ndarray, " m"]
    entropies: Float64[np.ndarray, " m"]

    @classmethod
    def of(cls, inputs: Inputs, seed: int) -> "Stream":
        """Return the stream of a question, in an order that is drawn."""
        images, classes = distinct(inputs.images), distinct(inputs.classes.matrix)
        rows, texts = (torch.from_numpy(one.rows).to(inputs.device) for one in (images, classes))
        copies = torch.from_numpy(classes.copies).to(inputs.device)
        labels = np.empty(len(images), dtype=np.int64)
        entropies = np.empty(len(images))
        for block in blocks(len(rows), len(texts)):
            logits = inputs.logit_scale * (rows[block] @ texts.T).double()
            shares = shares_of(logits, copies)
            labels[block] = logits.argmax(dim=1).cpu().numpy()
            entropies[block] = -(copies * torch.special.xlogy(shares, shares)).sum(dim=1).cpu().numpy()
        return cls(
            images=images,
            classes=classes,
            times=arrivals(len(images.place), seed),
            rows=rows,
            texts=texts,
            copies=copies,
            labels=labels,
            entropies=entropies,
        )

    def memory(self, capacity: int, asked: Bool[np.ndarray, " m"] | None = None) -> Memory:
        """Return what is remembered, on the device; ``asked``: of which distinct images."""
        places = self.images.place[np.argsort(self.times)]
        return remember(
            self.labels[places], self.entropies[places], places, capacity, None if asked is None else asked[places]
        ).on(self.rows.device)

    def tiles(self, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield features and times of the images, in the order of the data set."""
        for start in range(0, len(self.times), step):
            which = slice(start, start + step)
            places = torch.from_numpy(self.images.place[which]).to(self.rows.device)
            yield self.rows[places], torch.from_numpy(self.times[which]).to(self.rows.device)

    def for_all_classes(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the columns of all classes, in float32, from those of the distinct ones."""
        return scores.float().index_select(1, torch.from_numpy(self.classes.place).to(scores.device))
