"""The scores that zero-shot classification has always had: cosine similarities."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cupl_bench.scorers import Inputs, Needs, ScoresAre

if TYPE_CHECKING:
    import torch

__all__ = ["PlainScorer"]


@dataclass(frozen=True, kw_only=True)
class PlainScorer:
    """The similarity of an image to each class, by the aggregation of the prompts: CLIP's own rule.

    Source: "Learning Transferable Visual Models From Natural Language Supervision" (Radford et al., arXiv 2103.00020),
    section 3.1.
    """

    constants_from: ClassVar[str] = "none to choose"
    scores_are: ClassVar[ScoresAre] = "similarities"

    @property
    def needs(self) -> Needs:
        """Nothing but images and class embeddings."""
        return Needs()

    def __call__(self, inputs: Inputs) -> "Iterator[torch.Tensor]":
        from cupl_bench.scores import similarity_tiles  # so that a question that is answered imports no torch

        return similarity_tiles(inputs.images, inputs.classes, inputs.device)
