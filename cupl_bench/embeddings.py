"""Prompt features -> class embeddings, the three ways to aggregate them, and weights for them (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

__all__ = [
    "ALMOST_ONE",
    "Aggregation",
    "ClassEmbeddings",
    "Features",
    "build_class_embeddings",
    "distinct_rows",
    "unit_rows",
    "zero_shot_weights",
]

ALMOST_ONE = 1e-5
"""A length that differs from one by less is float32's rounding: such given rows are taken as they are."""
TILE_IMAGES = 4096
"""Images whose similarities to one template's classes are held at once."""


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


def zero_shot_weights(
    images: Features,
    templates: Sequence[Float32[np.ndarray, "c d"]],
    logit_scale: float,
    device: torch.device | None = None,
) -> Float64[np.ndarray, " t"]:
    """Return a weight for each template, from how sure it is of images whose labels are not known; they sum to one.

    A template's score is the mean over the images of its highest logit, after the mean logit of each class over the
    images has been taken off, so that a class that a template favours whatever it sees does not count. The weights are
    the softmax of the scores. The paper also takes off the mean over pretraining images, half and half; there are none
    here, so the mean is of the images that are then classified alone (``debias_mode='test'`` of its notebook).

    >>> both_alike = [np.eye(2, dtype=np.float32)] * 2
    >>> zero_shot_weights(np.eye(2, dtype=np.float32), both_alike, logit_scale=100.0).tolist()
    [0.5, 0.5]

    Args:
        images: unit features of the images; those on the disk are read twice, tile by tile.
        templates: for each template the unit features of its prompt for each class.
        logit_scale: the factor of the model from similarities to logits.
        device: where to multiply; the CPU if None.

    Source: "A Simple Zero-shot Prompt Weighting Technique to Improve Prompt Ensembling in Text-Image Models"
    (Allingham et al., arXiv 2302.06235), section 3; `get_weights` of its notebook in
    google/uncertainty-baselines@258f347.
    """
    if not len(images):
        raise ValueError("there is no image to weigh templates by")
    tiles = [slice(begin, begin + TILE_IMAGES) for begin in range(0, len(images), TILE_IMAGES)]
    total = sum(images[tile].sum(axis=0, dtype=np.float64) for tile in tiles)
    mean_image = (total / len(images)).astype(np.float32)
    scores = np.zeros(len(templates))
    classes = [torch.from_numpy(rows).to(device) for rows in templates]
    means = [torch.from_numpy(rows @ mean_image).to(device) for rows in templates]
    for here in tiles:
        tile = torch.from_numpy(images[here]).to(device)
        for place, (rows, mean) in enumerate(zip(classes, means, strict=True)):
            scores[place] += float(torch.addmm(-mean, tile, rows.T).amax(dim=1).double().sum())
    scores *= logit_scale / len(images)
    raised = np.exp(scores - scores.max())
    weights: Float64[np.ndarray, " t"] = raised / raised.sum()
    return weights
