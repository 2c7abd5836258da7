"""Prompt features -> class embeddings, the three ways to aggregate them, and weights for them (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64

__all__ = [
    "ALMOST_ONE",
    "Aggregation",
    "ClassEmbeddings",
    "Features",
    "build_class_embeddings",
    "distinct_rows",
    "unit_rows",
]

ALMOST_ONE = 1e-5
"""A length that differs from one by less is float32's rounding: such given rows are taken as they are."""


@runtime_checkable
class Features(Protocol):
    """Unit features that give a part of themselves as an array: an array, or rows that stay on the disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: slice | Int64[np.ndarray, " m"], /) -> np.ndarray: ...


class Aggregation(StrEnum):
    """How the prompts of a class become its score.

    ``mean``: the unit mean of the unit prompt features, as CuPL, open_clip and CLIP_benchmark do.
    ``mean_similarity``: the mean of the similarities to each prompt, as DCLIP does. It equals the product with the
    mean that is *not* normalised again, so classes with scattered prompts score lower: another classifier.
    ``max_similarity``: the similarity to the nearest prompt.
    """

    MEAN = "mean"
    MEAN_SIMILARITY = "mean_similarity"
    MAX_SIMILARITY = "max_similarity"


@dataclass(frozen=True, kw_only=True)
class ClassEmbeddings:
    """The class embeddings that images are compared with.

    ``matrix``: row i is label i. Unit rows, but for ``mean_similarity``, whose rows are shorter than one.
    ``prompts`` and ``owner``: for ``max_similarity`` alone, the unit features of the distinct prompts of each class
    and the class that each belongs to; classes in order.
    ``weights``: of the templates, where images decided them.
    """

    aggregation: Aggregation
    matrix: Float32[np.ndarray, "c d"]
    prompts: Float32[np.ndarray, "p d"] | None = None
    owner: Int64[np.ndarray, " p"] | None = None
    weights: Float64[np.ndarray, " t"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "aggregation", Aggregation(self.aggregation))
        if (self.aggregation == Aggregation.MAX_SIMILARITY) == (self.prompts is None or self.owner is None):
            raise ValueError("features of single prompts belong to max_similarity alone")

    @property
    def num_columns(self) -> int:
        """Of the widest product with images: the classes, or the prompts where there are more."""
        return max(len(self.matrix), 0 if self.prompts is None else len(self.prompts))

    @property
    def num_bytes(self) -> int:
        """Of memory that these rows take."""
        return self.matrix.nbytes + (0 if self.prompts is None else self.prompts.nbytes)


def unit_rows(rows: Float32[np.ndarray, "n d"], what: str) -> Float32[np.ndarray, "n d"]:
    """Return ``rows`` scaled to length one, computed in float64.

    >>> unit_rows(np.array([[0, 2], [-4, 0]], dtype=np.float32), "features").tolist()
    [[0.0, 1.0], [-1.0, 0.0]]

    Raises:
        ValueError: a row is zero or not finite; ``what`` names the rows.
    """
    wide = rows.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if bad := (~np.isfinite(lengths) | (lengths == 0)).ravel().nonzero()[0].tolist():
        raise ValueError(f"{len(bad)} of {len(rows)} {what} are zero or not finite, first: rows {bad[:5]}")
    scaled: Float32[np.ndarray, "n d"] = (wide / lengths).astype(np.float32)
    return scaled


def build_class_embeddings(
    features: Float32[np.ndarray, "u d"],
    rows_of_class: Sequence[Sequence[int]],
    aggregation: Aggregation = Aggregation.MEAN,
    weights: Sequence[Sequence[float]] | None = None,
) -> ClassEmbeddings:
    """Return class embeddings built from unit features of distinct prompts.

    >>> build_class_embeddings(np.eye(2, dtype=np.float32), rows_of_class=[[0], [1, 1]]).matrix.tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Args:
        features: unit rows, one per distinct prompt.
        rows_of_class: for each class the rows that its prompts have in ``features``; a row that stands twice counts
            twice. Their order does not matter.
        aggregation: how prompts become a class.
        weights: for each class the weights of its prompts, in the shape of ``rows_of_class``; None if all are one.

    Raises:
        ValueError: the aggregation is none, a class owns no prompt, its prompts cancel each other out, or weights are
            of another shape or given for ``max_similarity``.

    Source: CuPL, `classify_imagenet.py` at commit 719619c (unit features, mean, unit again), for ``mean``;
    "Visual Classification via Description from Large Language Models" (Menon and Vondrick), section 3, for
    ``mean_similarity``.
    """
    aggregation = Aggregation(aggregation)  # so that no text and no nonsense is taken for the last rule below
    if empty := [label for label, rows in enumerate(rows_of_class) if len(rows) == 0]:
        raise ValueError(f"{len(empty)} of {len(rows_of_class)} classes have no prompt, first: {empty[:5]}")
    if weights is not None and [len(row) for row in weights] != [len(rows) for rows in rows_of_class]:
        raise ValueError("weights do not have the shape of the prompts")
    if weights is not None and aggregation == Aggregation.MAX_SIMILARITY:
        raise ValueError("weights do not change which prompt is nearest: max_similarity takes no weights")
    means = np.empty((len(rows_of_class), features.shape[1]), dtype=np.float64)
    distinct: list[np.ndarray] = []
    for label, rows in enumerate(rows_of_class):
        # Sorted, so that neither the order of a file nor of the store can move the last bit of the sum.
        members, totals = distinct_rows(rows, None if weights is None else weights[label])
        means[label] = totals @ features[members].astype(np.float64) / totals.sum()
        distinct.append(members)
    if aggregation == Aggregation.MEAN_SIMILARITY:
        return ClassEmbeddings(aggregation=aggregation, matrix=means.astype(np.float32))
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if bad := (~np.isfinite(lengths) | (lengths == 0)).ravel().nonzero()[0].tolist():
        raise ValueError(f"{len(bad)} of {len(means)} class embeddings are zero or not finite, first: {bad[:5]}")
    matrix = (means / lengths).astype(np.float32)
    if aggregation == Aggregation.MEAN:
        return ClassEmbeddings(aggregation=aggregation, matrix=matrix)
    return ClassEmbeddings(
        aggregation=aggregation,
        matrix=matrix,
        prompts=features[np.concatenate(distinct)],
        owner=np.repeat(np.arange(len(distinct)), [len(rows) for rows in distinct]).astype(np.int64),
    )


def distinct_rows(
    rows: Sequence[int], weights: Sequence[float] | None
) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the distinct rows in rising order, and the weight of all prompts that each stands for.

    >>> rows, weights = distinct_rows([3, 1, 3], weights=None)
    >>> rows.tolist(), weights.tolist()
    ([1, 3], [1.0, 2.0])
    """
    if weights is None:
        members, counts = np.unique(np.asarray(rows, dtype=np.int64), return_counts=True)
        return members, counts.astype(np.float64)
    ordered = sorted(zip(rows, weights, strict=True))
    members, places = np.unique(np.asarray([row for row, _ in ordered], dtype=np.int64), return_inverse=True)
    return members, np.bincount(places.reshape(-1), weights=[weight for _, weight in ordered])
