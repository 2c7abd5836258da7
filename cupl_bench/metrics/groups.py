"""Metrics over groups of images: the group that is served worst, and how far it is from the whole."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from cupl_bench.intervals import wilson
from cupl_bench.metrics.metric import Measured, Metric, Part, Scored, in_groups, shares_of
from cupl_bench.truth import Truth

__all__ = ["GroupGap", "WorstGroup"]


@dataclass(frozen=True, kw_only=True)
class _OverGroups(Metric):
    """``among``: an image is right if one of so many best labels is."""

    among: int

    def undefined(self, truth: Truth) -> str | None:
        if truth.groups is None:
            return "no group is known of its images"
        if not (truth.groups.of >= 0).any():
            return f"none of {len(truth.labels):,} images is in a group"
        if self.among > truth.num_classes:
            return f"there are {truth.num_classes} classes, and it looks at the best {self.among}"
        return None

    def lacking(self, scored: Scored) -> str | None:
        if (why := super().lacking(scored)) is None and self.among > 1 and scored.top is None:
            return "the best five labels of its images are not known"
        return why

    def _accuracies(self, scored: Scored) -> tuple[float, tuple[Part, ...]]:
        """Return the accuracy of all images, and of each group."""
        groups, right = scored.truth.groups, scored.right(self.among)
        assert groups is not None  # noqa: S101 - undefined() has seen to it
        parts = []
        for place, name in enumerate(groups.names):
            here = groups.of == place
            count = int(here.sum())
            parts.append(Part(what=name, num_images=count, value=float(right[here].mean()) if count else None))
        return float(right.mean()), tuple(parts)

    def _worst(
        self, scored: Scored, counts: Float32[np.ndarray, "b n"]
    ) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
        """Return the accuracy of all images and of the worst group in each resample."""
        groups, right = scored.truth.groups, scored.right(self.among)
        assert groups is not None  # noqa: S101 - undefined() has seen to it
        images = in_groups(counts, groups.of, len(groups.names))
        hits = in_groups(counts * right, groups.of, len(groups.names))
        accuracies = np.where(images > 0, hits / np.maximum(images, 1), np.inf)
        return shares_of(right, counts), accuracies.min(axis=1)


@dataclass(frozen=True, kw_only=True)
class WorstGroup(_OverGroups):
    """The least accuracy of a group; groups without an image are left out.

    Source: Sagawa et al., "Distributionally Robust Neural Networks for Group Shifts", arXiv 1911.08731; WILDS.
    """

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        _, parts = self._accuracies(scored)
        return Measured(value=min(part.value for part in parts if part.value is not None), parts=parts)

    def own_interval(self, scored: Scored) -> tuple[tuple[float, float], str]:
        """Return Wilson's interval of the group that is worst.

        The least of several accuracies is biased downwards, and in resamples twice: of four groups that are equally
        good their percentiles hold the truth half of the time, this one in nine of ten.
        """
        parts = [part for part in self._accuracies(scored)[1] if part.value is not None]
        worst = min(parts, key=lambda part: part.value if part.value is not None else np.inf)
        assert worst.value is not None  # noqa: S101 - those without were left out
        hits = round(worst.value * worst.num_images)
        return wilson(hits, worst.num_images), f"Wilson's interval of the group {worst.what!r} alone"

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        return self._worst(scored, counts)[1]


@dataclass(frozen=True, kw_only=True)
class GroupGap(_OverGroups):
    """The accuracy of all images minus that of the worst group: the plain average over images, not over groups."""

    def measured(self, scored: Scored) -> Measured:
        if (why := self.lacking(scored)) is not None:
            return Measured(value=None, undefined=why)
        whole, parts = self._accuracies(scored)
        worst = min(part.value for part in parts if part.value is not None)
        # Images of no group may be worse than every group.
        return Measured(value=max(0.0, whole - worst))

    def resampled(self, scored: Scored, counts: Float32[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        whole, worst = self._worst(scored, counts)
        gaps: Float64[np.ndarray, " b"] = np.maximum(0.0, whole - worst)
        return gaps
