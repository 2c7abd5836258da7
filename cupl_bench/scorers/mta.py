"""MTA: the mode of an image's views."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float32

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.view_tiles import view_tiles
from cupl_bench.scores import product_with
from cupl_bench.views import ViewFamily

__all__ = ["MtaScorer"]

OUTER, INNER = 5, 5
"""How often the two steps alternate, and how often each is repeated at most."""
STILL = 1e-6
"""A step that moves less has arrived."""


@dataclass(frozen=True, kw_only=True)
class MtaScorer:
    """Find where the views of an image lie densest, weighing them by how much they belong together; score that point.

    ``views``: how many, the whole image included. ``nearest``: the share of the other views from which the width of
    each view's kernel is taken. ``entropy`` and ``affinity``: how even the weights of the views are, and how much views
    of like predictions share theirs (the authors' lambda_y and lambda_q). ``seed``: of the crops.

    Where all views of an image are equal there is no width, and the point is the image.

    Source: "On the test-time zero-shot generalization of vision-language models: Do we really need prompt learning?"
    (Zanella and Ben Ayed, arXiv 2405.02266), with the constants of MaxZanella/MTA@cafafdf. The authors compute in half
    precision.
    """

    views: int = 64
    nearest: float = 0.3
    entropy: float = 0.2
    affinity: float = 4.0
    seed: int = 0

    constants_from: ClassVar[str] = "MaxZanella/MTA@cafafdf"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if not 0 < self.nearest <= 1:
            raise ValueError(f"nearest={self.nearest} should be a share of the views, above 0 and at most 1")
        if not self.entropy > 0:
            raise ValueError(f"entropy={self.entropy} should be above 0")

    @property
    def needs(self) -> Needs:
        """Crops of the image."""
        return Needs(uses=("views",), one_vector=True, views=ViewFamily(count=self.views, seed=self.seed))

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        to_classes = product_with(inputs.classes.matrix, inputs.device)
        for tile in view_tiles(inputs, len(inputs.classes.matrix)):
            yield to_classes(self._mode(tile, torch.softmax(inputs.logit_scale * to_classes(tile), dim=2)))

    def _mode(
        self, views: Float32[torch.Tensor, "m v d"], predictions: Float32[torch.Tensor, "m v c"]
    ) -> Float32[torch.Tensor, "m d"]:
        """Return the point of each image, a unit row."""
        num_views = views.shape[1]
        others = max(1, int(self.nearest * (num_views - 1)))
        distances = (2 - 2 * views @ views.transpose(1, 2)).clamp(min=0)
        # The nearest is the view itself. Rounding leaves equal views a little apart, which is no width.
        widths = distances.sort(dim=2).values[:, :, 1 : others + 1].mean(dim=2)  # 2 h^2
        has_width = widths > STILL
        affinities = predictions @ predictions.transpose(1, 2)
        weights = torch.full_like(widths, 1 / num_views)
        mode = views[:, 0]

        def kernel(point: torch.Tensor) -> torch.Tensor:
            apart = (2 - 2 * torch.einsum("mvd,md->mv", views, point)).clamp(min=0)
            return torch.where(has_width, torch.exp(-apart / torch.where(has_width, widths, 1.0)), 1.0)

        for _ in range(OUTER):
            near = kernel(mode)
            moving = torch.ones_like(weights[:, :1], dtype=torch.bool)
            for _ in range(INNER):
                shared = torch.einsum("mvw,mw->mv", affinities, weights)
                new = torch.softmax((near + self.affinity * shared) / self.entropy, dim=1)
                arrived = (new - weights).norm(dim=1, keepdim=True) < STILL
                weights, moving = torch.where(moving, new, weights), moving & ~arrived
            moving = torch.ones_like(mode[:, :1], dtype=torch.bool)
            for _ in range(INNER):
                new = torch.einsum("mv,mvd->md", weights * kernel(mode), views)
                new = torch.nn.functional.normalize(new, dim=1)
                arrived = (new - mode).norm(dim=1, keepdim=True) < STILL
                mode, moving = torch.where(moving, new, mode), moving & ~arrived
        return mode
