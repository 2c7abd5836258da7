"""Metrics over classes: macro F1, and the accuracy where an image may be of several classes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from cupl_bench.intervals import wilson
from cupl_bench.metrics.metric import Measured, Metric, Part, Scored, in_groups, shares_of
from cupl_bench.truth import Truth

__all__ = ["MacroF1", "RealAccuracy"]


@dataclass(frozen=True, kw_only=True)
class RealAccuracy(Metric):
    """The share of images whose prediction is one of their classes; images without a class are no part of the data set.

    Source: Beyer et al., "Are we done with ImageNet?", arXiv 2006.07159, section 3.
    """

    def undefined(self, truth: Truth) -> str | None:
        return None if truth.sets is not None else "no set of classes is known of its images"

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        return Measured(value=float(scored.right(1).mean()))

    def own_interval(self, scored: Scored) -> tuple[tuple[float, float], str]:
        right = scored.right(1)
        return wilson(int(right.sum()), len(right)), "Wilson's interval of a proportion"

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return shares_of(scored.right(1), counts)


@dataclass(frozen=True, kw_only=True)
class MacroF1(Metric):
    """The mean over the classes that have images of F1 = 2 tp / (2 tp + fp + fn).

    A class that is predicted and has no image is no part of the mean, though its images cost the classes they are of.

    Source: WILDS, `F1(average="macro")`, which asks scikit-learn for the labels that are in the truth.
    """

    def undefined(self, truth: Truth) -> str | None:
        return "its images may be of several classes" if truth.sets is not None else None

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        from sklearn.metrics import f1_score

        labels, num_classes = scored.truth.labels, scored.truth.num_classes
        images = np.bincount(labels, minlength=num_classes)
        seen = np.flatnonzero(images)
        values = np.full(num_classes, np.nan)
        values[seen] = f1_score(labels, scored.predictions, labels=seen, average=None, zero_division=0)
        parts = tuple(
            Part(what=label, num_images=count, value=value if count else None)
            for label, (count, value) in enumerate(zip(images.tolist(), values.tolist(), strict=True))
        )
        return Measured(value=float(values[seen].mean()), parts=parts)

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        labels, predictions, num_classes = scored.truth.labels, scored.predictions, scored.truth.num_classes
        true = in_groups(counts, labels, num_classes)
        predicted = in_groups(counts, predictions, num_classes)
        both = in_groups(counts, np.where(labels == predictions, labels, -1), num_classes)
        values = 2 * both / np.maximum(true + predicted, 1)
        sums: Float64[np.ndarray, " b"] = np.where(true > 0, values, 0).sum(axis=1) / (true > 0).sum(axis=1)
        return sums
