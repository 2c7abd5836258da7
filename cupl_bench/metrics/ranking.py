"""Metrics of rankings: average precision and ROC AUC. Equal scores count as one threshold, never by their order."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int8, Int64

from cupl_bench.metrics.metric import Measured, Metric, Part, Scored
from cupl_bench.truth import Truth

__all__ = ["MeanAveragePrecision", "OutlierPrecision", "OutlierRoc", "RocAuc"]

OUTLIER = "outlier"
"""The group of images that are of none of the classes."""


@dataclass(frozen=True, kw_only=True)
class MeanAveragePrecision(Metric):
    """The mean over classes of the average precision of their images, ranked by the score for the class.

    ``points``: 11 for the mean of the greatest precision at a recall of 0, 0.1, ... 1 or more (Pascal VOC 2007); None
    for the area: the mean over the images of the class of the precision at their rank, without interpolation. A class
    without an image is no part of the mean. Images that a class leaves out (-1) are no part of its ranking.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2; scikit-learn
    `average_precision_score`.
    """

    points: int | None

    @property
    def ranks(self) -> bool:
        return True

    def undefined(self, truth: Truth) -> str | None:
        if truth.sets is None:
            return "no set of classes is known of its images"
        if not (truth.sets.matrix == 1).any():
            return f"none of {len(truth.labels):,} images is of a class"
        return None

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        parts = []
        for label, (truth, scores) in enumerate(_by_class(scored)):
            positive = truth == 1
            value = self._precision(positive, scores) if positive.any() else None
            parts.append(Part(what=label, num_images=int(positive.sum()), value=value))
        value = float(np.mean([part.value for part in parts if part.value is not None]))
        return Measured(value=value, parts=tuple(parts))

    def _precision(self, positive: Bool[np.ndarray, " n"], scores: Float32[np.ndarray, " n"]) -> float:
        from sklearn.metrics import average_precision_score, precision_recall_curve

        if self.points is None:
            return float(average_precision_score(positive, scores))
        precision, recall, _ = precision_recall_curve(positive, scores)
        precision, found = precision[:-1], np.rint(recall[:-1] * positive.sum())  # without the added point at recall 0
        steps = self.points - 1
        best = [precision[found * steps >= step * positive.sum()].max() for step in range(self.points)]
        return float(np.mean(best))

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        assert scored.truth.sets is not None  # noqa: S101 - undefined() has seen to it
        of_images, matrix, values = np.ascontiguousarray(counts.T), scored.truth.sets.matrix, []
        for label, (truth, scores) in enumerate(_by_class(scored)):
            positive, counted = truth == 1, matrix[:, label] != -1
            if positive.any():
                own = of_images if counted.all() else of_images[counted]
                values.append(average_precisions(positive, scores, own, self.points))
        of_classes = np.stack(values)
        with np.errstate(invalid="ignore"):
            means: Float64[np.ndarray, " b"] = np.nansum(of_classes, axis=0) / (~np.isnan(of_classes)).sum(axis=0)
        return means


def _by_class(scored: Scored) -> Iterator[tuple[Int8[np.ndarray, " m"], Float32[np.ndarray, " m"]]]:
    """Yield of each class the truth and the scores of the images that it counts."""
    assert scored.truth.sets is not None  # noqa: S101 - undefined() has seen to it
    assert scored.scores is not None  # noqa: S101 - lacking() has
    for label in range(scored.truth.num_classes):
        truth = scored.truth.sets.matrix[:, label]
        counted = truth != -1
        yield truth[counted], scored.scores[counted, label]


@dataclass(frozen=True, kw_only=True)
class _OfTwo(Metric):
    """A metric that ranks images of which some are positive, by one value each."""

    @abstractmethod
    def ranked(self, scored: Scored) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Return which images are positive, and the value that each is ranked by."""


@dataclass(frozen=True, kw_only=True)
class RocAuc(_OfTwo):
    """The share of the pairs of an image of each of two classes in which that of class 1 has the greater score.

    The score of an image is that of class 1 minus that of class 0; equal ones count one half.

    Source: scikit-learn `roc_auc_score`; Radford et al., arXiv 2103.00020, for the Hateful Memes.
    """

    @property
    def ranks(self) -> bool:
        return True

    def undefined(self, truth: Truth) -> str | None:
        if truth.num_classes != 2 or truth.sets is not None:
            return f"it takes two classes and one label for each image, and there are {truth.num_classes} classes"
        if len(seen := np.unique(truth.labels)) < 2:
            return f"all {len(truth.labels):,} images are of class {seen[0]}, and it compares the two classes"
        return None

    def ranked(self, scored: Scored) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        assert scored.scores is not None  # noqa: S101 - lacking() has seen to it
        scores = scored.scores.astype(np.float64)
        return scored.truth.labels == 1, scores[:, 1] - scores[:, 0]

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        from sklearn.metrics import roc_auc_score

        return Measured(value=float(roc_auc_score(*self.ranked(scored))))

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return roc_areas(*self.ranked(scored), counts)


@dataclass(frozen=True, kw_only=True)
class _OfOutliers(_OfTwo):
    """Outliers are ranked by how unsure the classifier is: 1 minus the confidence of its prediction."""

    @property
    def is_sure(self) -> bool:
        return True

    def undefined(self, truth: Truth) -> str | None:
        if truth.groups is None or OUTLIER not in truth.groups.names:
            return f"none of its images is in a group {OUTLIER!r}"
        outlier = truth.groups.of == truth.groups.names.index(OUTLIER)
        if outlier.all() or not outlier.any():
            return f"{int(outlier.sum()):,} of {len(outlier):,} images are outliers, and it compares these with others"
        return None

    def ranked(self, scored: Scored) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        groups = scored.truth.groups
        assert groups is not None  # noqa: S101 - undefined() has seen to it
        assert scored.confidence is not None  # noqa: S101 - lacking() has
        return groups.of == groups.names.index(OUTLIER), -scored.confidence.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class OutlierPrecision(_OfOutliers):
    """The average precision (area) of the outliers. Its parts are the accuracies of each group against its folders.

    Source: Hendrycks et al., "Natural Adversarial Examples", arXiv 1907.07174, section 4 (AUPR).
    """

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        from sklearn.metrics import average_precision_score

        groups, right = scored.truth.groups, scored.right(1)
        assert groups is not None  # noqa: S101 - undefined() has seen to it
        parts = []
        for place, name in enumerate(groups.names):
            here = groups.of == place
            count = int(here.sum())
            parts.append(Part(what=name, num_images=count, value=float(right[here].mean()) if count else None))
        return Measured(value=float(average_precision_score(*self.ranked(scored))), parts=tuple(parts))

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return average_precisions(*self.ranked(scored), counts.T, None)


@dataclass(frozen=True, kw_only=True)
class OutlierRoc(_OfOutliers):
    """The share of the pairs of an outlier and another image in which the classifier is less sure of the outlier."""

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        from sklearn.metrics import roc_auc_score

        return Measured(value=float(roc_auc_score(*self.ranked(scored))))

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return roc_areas(*self.ranked(scored), counts)


def average_precisions(
    positive: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    counts: Float32[np.ndarray, "n b"],
    points: int | None,
) -> Float64[np.ndarray, " b"]:
    """Return the average precision in resamples of the images; NaN where a resample has no positive one.

    >>> scores, counts = np.array([0.9, 0.8, 0.7]), np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=np.float32)
    >>> average_precisions(np.array([False, True, False]), scores, counts, points=None).tolist()
    [0.5, nan, nan]

    Args:
        positive: which images are.
        scores: by which they are ranked, greatest first.
        counts: how often each image stands in each resample.
        points: of `MeanAveragePrecision`.
    """
    order, ends = _thresholds(-scores)
    # Only a threshold at which a positive image comes in adds to the area, or has the greatest precision of its recall.
    has_positive = np.add.reduceat(positive[order], np.r_[0, ends[:-1] + 1]) > 0
    ends = ends[has_positive]
    starts = np.r_[0, ends[:-1] + 1]
    ordered = counts[order[: ends[-1] + 1]]
    above = np.cumsum(np.add.reduceat(ordered, starts, axis=0), axis=0, dtype=np.float64)
    ordered[~positive[order[: ends[-1] + 1]]] = 0
    found = np.cumsum(np.add.reduceat(ordered, starts, axis=0), axis=0, dtype=np.float64)
    total = found[-1]
    precision = found / np.maximum(above, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if points is None:
            area: Float64[np.ndarray, " b"] = (np.diff(found, axis=0, prepend=0) * precision).sum(axis=0) / total
            return area
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]  # at this recall or more
    sums = np.zeros(len(total))
    for step in range(points):
        first = (found * (points - 1) >= step * total).argmax(axis=0)
        sums += best[first, np.arange(len(total))]
    means: Float64[np.ndarray, " b"] = np.where(total > 0, sums / points, np.nan)
    return means


def roc_areas(
    positive: Bool[np.ndarray, " n"], scores: Float64[np.ndarray, " n"], counts: Float32[np.ndarray, "b n"]
) -> Float64[np.ndarray, " b"]:
    """Return the area under the ROC curve in resamples of the images; NaN where a resample has one class alone.

    >>> counts = np.array([[1, 1, 1], [2, 1, 0]], dtype=np.float32)
    >>> roc_areas(np.array([False, True, False]), np.array([0.1, 0.2, 0.2]), counts).tolist()
    [0.75, 1.0]
    """
    order, ends = _thresholds(scores)
    negatives = np.cumsum(counts[:, order] * ~positive[order], axis=1)[:, ends].astype(np.float64)
    positives = np.cumsum(counts[:, order] * positive[order], axis=1)[:, ends].astype(np.float64)
    at = np.diff(positives, axis=1, prepend=0)
    below = negatives - 0.5 * np.diff(negatives, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Float64[np.ndarray, " b"] = (at * below).sum(axis=1) / (positives[:, -1] * negatives[:, -1])
    return area


def _thresholds(values: Float[np.ndarray, " n"]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " t"]]:
    """Return the rising order of values, and in it the place of the last of each run of equal ones."""
    order = np.argsort(values, kind="stable")
    rising = values[order]
    ends: Int64[np.ndarray, " t"] = np.flatnonzero(np.r_[rising[1:] != rising[:-1], True])
    return order, ends
