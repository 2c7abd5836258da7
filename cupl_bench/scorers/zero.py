"""ZERO: votes of the views that a model is surest of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float32

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.view_tiles import view_tiles
from cupl_bench.scores import product_with
from cupl_bench.views import ViewFamily

__all__ = ["ZeroScorer"]


@dataclass(frozen=True, kw_only=True)
class ZeroScorer:
    """Let the views of least entropy vote, each for one class.

    ``views``: how many, the whole image included. ``kept``: the share of them that votes. ``soft``: whether a view
    gives its vote in parts, by a softmax at the smallest step of half precision, as the authors' code does because it
    computes in half precision; their paper's votes are whole, as here. ``seed``: of the crops.

    Two classes with equally many votes: the other views, from the surest on, decide as soon as one is for either; if
    none is, the one with the higher mean similarity over the views that voted. (The authors' last resort selects other
    classes than it means to, and is not imitated.) The score is the number of votes, and below one what breaks ties.

    Source: "Frustratingly Easy Test-Time Adaptation of Vision-Language Models" (Farina et al., arXiv 2405.18330), with
    the constants of FarinaMatteo/zero@c609f7c.
    """

    views: int = 64
    kept: float = 0.3
    soft: bool = False
    seed: int = 0

    constants_from: ClassVar[str] = "FarinaMatteo/zero@c609f7c"
    scores_are: ClassVar[ScoresAre] = "scores"

    def __post_init__(self) -> None:
        if not 0 < self.kept <= 1:
            raise ValueError(f"kept={self.kept} should be a share of the views, above 0 and at most 1")
        if int(self.kept * self.views) < 1:
            raise ValueError(f"kept={self.kept} of views={self.views} is no view at all: take more of either")

    @property
    def needs(self) -> Needs:
        """Crops of the image."""
        return Needs(uses=("views",), one_vector=True, views=ViewFamily(count=self.views, seed=self.seed))

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        to_classes = product_with(inputs.classes.matrix, inputs.device)
        for tile in view_tiles(inputs, len(inputs.classes.matrix)):
            yield self._votes(to_classes(tile), inputs.logit_scale)

    def _votes(self, similarities: Float32[torch.Tensor, "m v c"], scale: float) -> Float32[torch.Tensor, "m c"]:
        """Return the votes for each class, and below one what decides between equals."""
        num_kept = int(self.kept * similarities.shape[1])
        probabilities = torch.softmax(scale * similarities, dim=2)
        entropy = torch.special.entr(probabilities).sum(dim=2)
        order = entropy.sort(dim=1, stable=True).indices
        ordered = similarities.gather(1, order[:, :, None].expand_as(similarities))
        kept, others = ordered[:, :num_kept], ordered[:, num_kept:]
        if self.soft:
            return torch.softmax(kept / torch.finfo(torch.float16).eps, dim=2).sum(dim=1)
        votes = torch.zeros_like(similarities[:, 0])
        votes.scatter_add_(1, kept.argmax(dim=2), torch.ones_like(kept[:, :, 0]))
        tied = votes == votes.amax(dim=1, keepdim=True)
        # The first view whose choice is one of the tied classes: earlier ones weigh more than all later ones could.
        decided = torch.zeros_like(votes)
        open_still = torch.ones_like(votes[:, :1])
        for place in range(others.shape[1]):
            choice = others[:, place].argmax(dim=1, keepdim=True)
            is_tied = tied.gather(1, choice).float() * open_still
            decided.scatter_add_(1, choice, is_tied)
            open_still = open_still - is_tied
        # A mean similarity is at most 1 in size: less than half a vote tells equals apart, and no more.
        return votes + 0.5 * decided + 0.1 * tied * kept.mean(dim=1)
