"""AutoCLIP: weights of the templates that each image finds for itself."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scores import image_tiles

__all__ = ["AutoClipScorer", "weights_of_entropy"]

STEPS = 60
"""Halvings of the search for the step size, each of which doubles its exactness."""


@dataclass(frozen=True, kw_only=True)
class AutoClipScorer:
    """Weigh the templates anew for each image: one step of gradient ascent on how well it fits any class at all.

    ``beta``: the entropy of the weights, as a share of that of equal weights; 1 is ``mean_similarity``, towards 0 one
    template takes all. ``tau``: the factor from similarities to logits inside of the gradient; the factor before the
    gradient does not matter, because the step size is chosen by the entropy.

    The step size is solved to the last bits of float64, where the authors' file stops within one percent. Where all
    templates fit equally well, or as many share the best fit as the entropy asks for, the weights are the limit: equal
    among the best.

    Source: "AutoCLIP: Auto-tuning Zero-Shot Classifiers for Vision-Language Models" (Metzen et al., arXiv 2309.16414),
    with the constants of boschresearch/autoclip@ffe8748.
    """

    beta: float = 0.85
    tau: float = 1.0

    constants_from: ClassVar[str] = "boschresearch/autoclip@ffe8748"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta={self.beta} should be above 0 and at most 1")
        if not (math.isfinite(self.tau) and self.tau > 0):
            raise ValueError(f"tau={self.tau} should be above 0")

    @property
    def needs(self) -> Needs:
        """The features of each template's prompts."""
        return Needs(prompts=True, parallel=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        assert inputs.prompts is not None  # noqa: S101 - asked for
        rows = torch.tensor(np.asarray(inputs.rows_of_class, dtype=np.int64), device=inputs.device)  # c x t
        num_classes, num_templates = rows.shape
        prompts = torch.from_numpy(inputs.prompts).to(inputs.device)
        for tile in image_tiles(inputs.images, num_classes * num_templates, inputs.device):
            of_prompts = (tile @ prompts.T)[:, rows.flatten()].view(len(tile), num_classes, num_templates)
            weights = self._weights(of_prompts)
            yield torch.einsum("nct,nt->nc", of_prompts, weights.float())

    def _weights(self, of_prompts: torch.Tensor) -> torch.Tensor:
        """Return the weights of the templates for each image, n x t in float64, from the similarities, n x c x t."""
        classes = torch.softmax(self.tau * of_prompts.mean(dim=2), dim=1)
        fit = torch.einsum("nc,nct->nt", classes.double(), of_prompts.double())
        return weights_of_entropy(fit, self.beta)


def weights_of_entropy(fit: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the softmax of ``fit`` in each row, at the temperature at which its entropy is a share of the highest.

    >>> weights_of_entropy(torch.tensor([[1.0, 1.0]]).double(), beta=0.5).tolist()
    [[0.5, 0.5]]

    Args:
        fit: rows of values, n x t, in float64.
        beta: the share, above 0 and at most 1.
    """
    target = beta * math.log(fit.shape[1])
    scaled = fit - fit.amax(dim=1, keepdim=True)
    spread = -scaled.amin(dim=1, keepdim=True)
    # The factor is that of the widest difference in a row, so that one range holds the root of every row.
    scaled = scaled / torch.where(spread > 0, spread, 1.0)
    low, high = torch.zeros_like(spread), torch.full_like(spread, 1e7)
    for _ in range(STEPS):
        middle = (low + high) / 2
        weights = torch.softmax(middle * scaled, dim=1)
        entropy = -torch.special.xlogy(weights, weights).sum(dim=1, keepdim=True)
        above = entropy > target
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.softmax((low + high) / 2 * scaled, dim=1)
