"""Accuracy of the images that the classifier is surest of."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from cupl_bench.metrics.metric import Measured, Metric, Scored
from cupl_bench.truth import Truth

__all__ = ["SelectiveAccuracy"]


@dataclass(frozen=True, kw_only=True)
class SelectiveAccuracy(Metric):
    """The accuracy of the ``coverage`` percent of the images with the greatest confidence.

    These are the first ceil(coverage * n / 100) images by falling confidence, the softmax probability of the
    prediction at the model's own temperature; equals stand in the order of the images.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", arXiv 1705.08500.
    """

    coverage: int

    @property
    def is_sure(self) -> bool:
        return True

    def undefined(self, truth: Truth) -> str | None:  # noqa: ARG002 - of any images
        return None

    def _count(self, num_images: int) -> int:
        return -(-self.coverage * num_images // 100)

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        surest = _by_confidence(scored)[: self._count(len(scored.predictions))]
        return Measured(value=float(scored.right(1)[surest].mean()))

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        order = _by_confidence(scored)
        kept = self._count(len(order))
        ordered = counts[:, order]
        before = np.cumsum(ordered, axis=1) - ordered
        taken = np.clip(kept - before, 0, ordered)
        shares: Float64[np.ndarray, " b"] = (taken @ scored.right(1)[order].astype(np.float32)).astype(
            np.float64
        ) / kept
        return shares


def _by_confidence(scored: Scored) -> Int64[np.ndarray, " n"]:
    assert scored.confidence is not None  # noqa: S101 - lacking() has seen to it
    order: Int64[np.ndarray, " n"] = np.argsort(-scored.confidence.astype(np.float64), kind="stable")
    return order
