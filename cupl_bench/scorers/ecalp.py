"""ECALP: labels that spread from the class texts over a graph that grows with each image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float32, Float64, Int64

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.neighbours import distinct, links
from cupl_bench.scorers.stream import arrivals
from cupl_bench.scores import tile_images

__all__ = ["EcalpScorer"]

KEPT = 0.2
"""What an image keeps of its best class for the next propagation: a fifth."""
AGAINST_ZERO = 1e-6
"""Added to the roots of degrees, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class EcalpScorer:
    """Add each image to a graph of those before and of the class texts, and let labels spread over it.

    ``k_text``: the nearest class texts that an image is linked to. ``k_image``: the nearest images so far, itself among
    them; their similarity weighs each dimension of the one that looks for them by how much the texts differ in it.
    ``gamma``: the power of all similarities. ``rounds``: of spreading, after each image. ``seed``: of the order of the
    stream.

    As in the authors' code an image is entered twice, and the second is read, and of every image before a fifth of its
    best class is kept from one image to the next. Two of its accidents are left out: that negative similarities become
    links by an even power, and that removed neighbours can come back as strong links among the first ten images. Equal
    classes are one text.

    Time: every image spreads labels over the whole graph so far, so it grows with the square of the images: two minutes
    for 2,000 and 1,000 classes, most of an hour for 10,000, most of a day for 50,000; the method makes it so. It is
    computed on the CPU. Memory: the features and the scores of all images.

    Source: "Efficient and Context-Aware Label Propagation for Zero-/Few-Shot Training-Free Adaptation of
    Vision-Language Model" (Li et al., arXiv 2412.18303), with the constants of Yushu-Li/ECALP@96ddf0b.
    """

    k_text: int = 3
    k_image: int = 8
    gamma: float = 10.0
    rounds: int = 3
    seed: int = 0

    constants_from: ClassVar[str] = "Yushu-Li/ECALP@96ddf0b"
    scores_are: ClassVar[ScoresAre] = "scores"

    def __post_init__(self) -> None:
        for name in ("k_text", "k_image", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma={self.gamma} should be above 0")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} should be 0 or more")

    @property
    def needs(self) -> Needs:
        """The images before, and one vector of each class."""
        return Needs(uses=("stream",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        texts, images = distinct(inputs.classes.matrix), distinct(inputs.images)
        single = texts.single()
        to_texts = links(images, single, self.k_text, inputs.device, power=self.gamma)
        times = arrivals(len(images.place), self.seed)
        order = images.place[np.argsort(times)]
        spread_of = inputs.classes.matrix.var(axis=0, ddof=1)
        rows = images.rows.astype(np.float64)
        queries = rows * spread_of
        queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        scores = self._streamed(rows[order], queries[order], to_texts[order])
        step = tile_images(len(texts.place))
        for start in range(0, len(times), step):
            tile = scores[times[start : start + step]][:, texts.place]
            yield torch.from_numpy(tile).to(inputs.device)

    def _streamed(
        self,
        rows: Float64[np.ndarray, "n d"],
        queries: Float64[np.ndarray, "n d"],
        to_texts: scipy.sparse.csr_array,
    ) -> Float32[np.ndarray, "n t"]:
        """Return the scores of images that come in the order of their rows."""
        lists = _Lists(len(rows), self.k_image)
        labels = np.zeros(len(rows), dtype=np.int64)
        kept = np.zeros(len(rows))
        scores = np.empty(to_texts.shape, dtype=np.float32)
        for now in range(len(rows)):
            # Rounded to float32, so that copies of an image are equally near, whatever the order of a sum.
            to_new = (queries[:now] @ rows[now]).astype(np.float32)
            of_new = (rows[: now + 1] @ queries[now]).astype(np.float32)
            graph = lists.added(to_new, of_new)
            count = now + 2
            texts = scipy.sparse.vstack([to_texts[: now + 1], to_texts[[now]]], format="csr")
            graph.data **= self.gamma
            between = graph + graph.T
            root = np.sqrt(between.sum(axis=1) + texts.sum(axis=1)) + AGAINST_ZERO
            of_texts = np.sqrt(texts.sum(axis=0)) + AGAINST_ZERO
            inverse = scipy.sparse.diags_array(1 / root)
            between = scipy.sparse.csr_array(inverse @ between @ inverse)
            texts = scipy.sparse.csr_array(inverse @ texts @ scipy.sparse.diags_array(1 / of_texts))
            places = np.arange(now)
            state = scipy.sparse.csr_array((kept[:now], (places, labels[:now])), shape=(count, to_texts.shape[1]))
            for _ in range(self.rounds):
                state = scipy.sparse.csr_array(texts + between @ state)
            scores[now] = state[[now + 1]].toarray()[0]
            best, label = _largest(state)
            kept[: now + 1], labels[: now + 1] = KEPT * best[:-1], label[:-1]
        return scores


class _Lists:
    """The nearest images of each image so far, nearest first."""

    def __init__(self, num_images: int, length: int) -> None:
        self.length = length
        self.value = np.full((num_images, length), -np.inf)
        self.other = np.zeros((num_images, length), dtype=np.int64)

    def added(self, to_new: Float32[np.ndarray, " m"], of_new: Float32[np.ndarray, " m+1"]) -> scipy.sparse.csr_array:
        """Add an image, and return the similarities in all lists as they are with the image in it twice.

        ``to_new``: of the images before to the new one. ``of_new``: of the new one to these and to itself.
        """
        now = len(to_new)
        changed = np.flatnonzero(to_new > self.value[:now, -1])
        value = np.concatenate([self.value[: now + 1], self.value[[now]]])
        other = np.concatenate([self.other[: now + 1], self.other[[now]]])
        new = to_new[changed].astype(np.float64)[:, None]
        value[changed], other[changed] = self._longest(
            np.hstack([self.value[changed], new, new]),
            np.hstack([self.other[changed], np.full(new.shape, now), np.full(new.shape, now + 1)]),
        )
        self.value[changed], self.other[changed] = self._longest(
            np.hstack([self.value[changed], new]), np.hstack([self.other[changed], np.full(new.shape, now)])
        )
        everyone = np.append(of_new, of_new[now]).astype(np.float64)[None, :]
        found, whom = self._longest(everyone, np.arange(now + 2)[None, :])
        value[now:], other[now:] = found, whom
        self.value[now], self.other[now] = self._longest(everyone[:, :-1], np.arange(now + 1)[None, :])
        linked = value > 0
        row = np.broadcast_to(np.arange(now + 2)[:, None], value.shape)
        return scipy.sparse.csr_array((value[linked], (row[linked], other[linked])), shape=(now + 2, now + 2))

    def _longest(
        self, value: Float64[np.ndarray, "r k"], other: Int64[np.ndarray, "r k"]
    ) -> tuple[Float64[np.ndarray, "r l"], Int64[np.ndarray, "r l"]]:
        """Return the nearest of each row, nearest first, the earliest of equals; short lists end in minus infinity."""
        order = np.argsort(-value, axis=1, kind="stable")[:, : self.length]
        gap = ((0, 0), (0, self.length - order.shape[1]))
        value, other = np.take_along_axis(value, order, axis=1), np.take_along_axis(other, order, axis=1)
        return np.pad(value, gap, constant_values=-np.inf), np.pad(other, gap)


def _largest(rows: scipy.sparse.csr_array) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return the largest value of each row and its column, the first of equals; zeros where a row is empty."""
    rows.sort_indices()
    best, column = np.zeros(rows.shape[0]), np.zeros(rows.shape[0], dtype=np.int64)
    full = np.flatnonzero(np.diff(rows.indptr))
    if len(full):
        starts = rows.indptr[full]
        best[full] = np.maximum.reduceat(rows.data, starts)
        hits = np.flatnonzero(rows.data == np.repeat(best, np.diff(rows.indptr)))
        first = hits[np.searchsorted(hits, starts)]
        column[full] = rows.indices[first]
    return best, column
