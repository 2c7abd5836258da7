"""What a metric is: what it needs, its value with its parts, and its values in resamples of the images."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from cupl_bench.truth import Truth

__all__ = ["Measured", "Metric", "Part", "Scored", "in_groups", "shares_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The answers to images, and what is true of them.

    ``top``: the best labels of each image. ``scores``: of each image for each class, where a metric ranks by them.
    ``confidence``: as in `cupl_bench.scores.Predictions`; None where a scorer says how sure of none.
    """

    truth: Truth
    predictions: Int64[np.ndarray, " n"]
    top: Int64[np.ndarray, "n k"] | None = None
    scores: Float32[np.ndarray, "n c"] | None = None
    confidence: Float32[np.ndarray, " n"] | None = None

    def right(self, among: int) -> Bool[np.ndarray, " n"]:
        """Tell of each image whether one of its best ``among`` labels is right.

        >>> scored = Scored(truth=Truth(labels=np.array([0]), num_classes=2), predictions=np.array([0]))
        >>> scored.right(1).tolist()
        [True]
        """
        if among == 1 or self.top is None:
            return self.truth.holds(self.predictions)
        return self.truth.holds_any(self.top[:, :among])


@dataclass(frozen=True, kw_only=True)
class Part:
    """The value of one class or group; ``what`` is the label of a class or the name of a group. None: not defined."""

    what: int | str
    num_images: int
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The value of a metric, or why it has none, and the values of the classes or groups that it is made of."""

    value: float | None
    undefined: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A metric of a data set; its value lies in [0, 1].

    ``name``: what configurations and records call it. ``title``: what tables call it. ``along``: the metrics that are
    measured beside it. ``lower_is_better``: such a one is no headline.
    """

    name: str
    title: str
    along: tuple[str, ...] = ()
    lower_is_better: bool = False

    @property
    def ranks(self) -> bool:
        """Whether it reads the score of each image for each class."""
        return False

    @property
    def is_sure(self) -> bool:
        """Whether it reads how sure each prediction is."""
        return False

    @abstractmethod
    def undefined(self, truth: Truth) -> str | None:
        """Tell why it is not defined of these images, whatever the answers; None where it is."""

    @abstractmethod
    def measured(self, scored: Scored) -> Measured:
        """Measure the answers; what `undefined` tells is told again."""

    @abstractmethod
    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        """Measure the answers in resamples in which image i stands ``counts[:, i]`` times; NaN where not defined."""

    def own_interval(self, scored: Scored) -> tuple[tuple[float, float], str] | None:  # noqa: ARG002 - most have none
        """Return its 95% interval by a method of its own, and the method in words; None: that of the resamples."""
        return None

    def lacking(self, scored: Scored) -> str | None:
        """Tell what these answers lack to be measured; None where it is nothing."""
        if (why := self.undefined(scored.truth)) is not None:
            return why
        if self.ranks and (scored.scores is None or not np.isfinite(scored.scores).all()):
            return "the scorer leaves classes out, and it ranks by the scores of all"
        if self.is_sure and (scored.confidence is None or not np.isfinite(scored.confidence).all()):
            return "the scorer does not say how sure it is of an image"
        return None


def shares_of(hits: Bool[np.ndarray, " n"], counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
    """Return the share of the hits in each resample.

    >>> shares_of(np.array([True, False]), np.array([[1, 1], [3, 1]], dtype=np.float32)).tolist()
    [0.5, 0.75]
    """
    shares: Float64[np.ndarray, " b"] = (counts @ hits.astype(np.float32)).astype(np.float64) / counts.sum(axis=1)
    return shares


def in_groups(
    counts: Float32[np.ndarray, "b n"], of: Int64[np.ndarray, " n"], num_groups: int
) -> Float64[np.ndarray, "b g"]:
    """Return the sum of each row within each group; -1 stands for no group.

    >>> in_groups(np.ones((1, 3), dtype=np.float32), np.array([0, -1, 0]), num_groups=2).tolist()
    [[2.0, 0.0]]
    """
    from scipy import sparse

    there = np.flatnonzero(of >= 0)
    chosen = sparse.csr_matrix((np.ones(len(there), dtype=np.float32), (of[there], there)), shape=(num_groups, len(of)))
    sums: Float64[np.ndarray, "b g"] = (chosen @ counts.T).T.astype(np.float64)
    return sums
