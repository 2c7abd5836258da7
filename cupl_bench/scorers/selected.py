"""Prompts that are not nearly the same as one before: a selection by the features of texts alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float32

from cupl_bench.embeddings import build_class_embeddings
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scores import similarity_tiles

__all__ = ["SelectedScorer", "unlike_before"]


@dataclass(frozen=True, kw_only=True)
class SelectedScorer:
    """Leave out a prompt that is nearly the same as one of its class before it, then score as the plain scorer does.

    The prompts of a class are walked in their order; one is kept if its cosine similarity to each kept one is at most
    ``tau``, until ``cap`` are kept. The first prompt is always kept. The kept ones are aggregated as the prompts of the
    run are, with their weights if they have any. ``tau`` 1 keeps repeated prompts too; ``cap`` null keeps any number.

    It is a scorer and no prompt strategy, because strategies see no features. The class embeddings that a run writes
    are those of all its prompts.

    Source: the description half of BiFTA (arXiv 2601.20419). The release of tmlr-group/BiFTA@29646f9 has the selected
    texts, of names such as bifta0.99_top50, and not the selection: that texts are walked in the order of the file, and
    that the cap ends the walk, is assumed.
    """

    tau: float = 0.99
    cap: int | None = 50

    constants_from: ClassVar[str] = "tmlr-group/BiFTA@29646f9, names of its files"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if not -1 <= self.tau <= 1:
            raise ValueError(f"tau={self.tau} should be a cosine similarity, from -1 to 1")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap={self.cap} should be 1 or more, or null for no limit")

    @property
    def needs(self) -> Needs:
        """The features of each prompt."""
        return Needs(prompts=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        assert inputs.prompts is not None  # noqa: S101 - asked for
        kept = [unlike_before(inputs.prompts[list(rows)], self.tau, self.cap) for rows in inputs.rows_of_class]
        classes = build_class_embeddings(
            inputs.prompts,
            [[row[place] for place in places] for row, places in zip(inputs.rows_of_class, kept, strict=True)],
            inputs.classes.aggregation,
            inputs.weights
            and [[row[place] for place in places] for row, places in zip(inputs.weights, kept, strict=True)],
        )
        return similarity_tiles(inputs.images, classes, inputs.device)


def unlike_before(rows: Float32[np.ndarray, "p d"], tau: float, cap: int | None) -> Sequence[int]:
    """Return the places of the unit rows whose cosine similarity to each kept one before is at most ``tau``, in order.

    >>> unlike_before(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), tau=0.99, cap=50)
    [0, 2]
    """
    # A row and its like differ from one by rounding; above one nothing is left out.
    similar = np.minimum(rows.astype(np.float64) @ rows.astype(np.float64).T, 1)
    kept: list[int] = []
    for place in range(len(rows)):
        if cap is not None and len(kept) == cap:
            break
        if not kept or similar[place, kept].max() <= tau:
            kept.append(place)
    return kept
