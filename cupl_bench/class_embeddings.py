"""Prompt features -> class embeddings, and the three ways to aggregate them (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float32, Int64

__all__ = ["Aggregation", "ClassEmbeddings", "build_class_embeddings", "unit_rows"]


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
    """What images are compared with.

    ``matrix``: row i is label i. Unit rows, but for ``mean_similarity``, whose rows are shorter than one.
    ``prompts`` and ``owner``: for ``max_similarity`` alone, the unit features of the distinct prompts of each class
    and the class that each belongs to; classes in order.
    """

    aggregation: Aggregation
    matrix: Float32[np.ndarray, "c d"]
    prompts: Float32[np.ndarray, "p d"] | None = None
    owner: Int64[np.ndarray, " p"] | None = None


def unit_rows(rows: Float32[np.ndarray, "n d"], what: str) -> Float32[np.ndarray, "n d"]:
    """``rows`` scaled to length one, computed in float64.

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
) -> ClassEmbeddings:
    """Class embeddings from unit features of distinct prompts.

    Args:
        features: unit rows, one per distinct prompt.
        rows_of_class: for each class the rows that its prompts have in ``features``; a row that stands twice counts
            twice. Their order does not matter.
        aggregation: how prompts become a class.

    Raises:
        ValueError: a class owns no prompt, or its prompts cancel each other out.

    Source: CuPL, `classify_imagenet.py` at commit 719619c (unit features, mean, unit again), for ``mean``;
    "Visual Classification via Description from Large Language Models" (Menon and Vondrick), section 3, for
    ``mean_similarity``.
    """
    if empty := [label for label, rows in enumerate(rows_of_class) if len(rows) == 0]:
        raise ValueError(f"{len(empty)} of {len(rows_of_class)} classes own no prompt, first: {empty[:5]}")
    means = np.empty((len(rows_of_class), features.shape[1]), dtype=np.float64)
    distinct: list[np.ndarray] = []
    for label, rows in enumerate(rows_of_class):
        # Sorted, so that neither the order of a file nor of the store can move the last bit of the sum.
        members, counts = np.unique(np.asarray(rows, dtype=np.int64), return_counts=True)
        means[label] = counts @ features[members].astype(np.float64) / counts.sum()
        distinct.append(members)
    if aggregation is Aggregation.MEAN_SIMILARITY:
        return ClassEmbeddings(aggregation=aggregation, matrix=means.astype(np.float32))
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if bad := (~np.isfinite(lengths) | (lengths == 0)).ravel().nonzero()[0].tolist():
        raise ValueError(f"{len(bad)} of {len(means)} class embeddings are zero or not finite, first: {bad[:5]}")
    matrix = (means / lengths).astype(np.float32)
    if aggregation is Aggregation.MEAN:
        return ClassEmbeddings(aggregation=aggregation, matrix=matrix)
    return ClassEmbeddings(
        aggregation=aggregation,
        matrix=matrix,
        prompts=features[np.concatenate(distinct)],
        owner=np.repeat(np.arange(len(distinct)), [len(rows) for rows in distinct]).astype(np.int64),
    )
