"""TransCLIP: a mixture of Gaussians over all images, tied to the texts and smoothed between neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse
import torch

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.balance import blocks, shares_of
from cupl_bench.scorers.neighbours import Distinct, both_ways, distinct, links, spread
from cupl_bench.scores import best_columns

__all__ = ["TransClipScorer"]

LEAST_VARIANCE = 1e-3
"""The least variance of a dimension, as a share of what it starts with: where all images agree, it would be zero."""


@dataclass(frozen=True, kw_only=True)
class TransClipScorer:
    """Fit a Gaussian to each class of all images together; the texts say where to start, and stay a party to it.

    ``neighbours``: the nearest other images whose assignment an image shares. ``confident``: the images that a class
    centre is made of at first. ``text_weight``: the power of the text's own probabilities. ``likelihood_weight``: the
    factor of the log-likelihood of the mixture. ``rounds``: new assignments, centres and variances, one after the
    other; 0 leaves the text's probabilities. ``inner_rounds``: of the assignments in each of these.

    A score is the probability that an image is assigned to a class. The method takes all classes to occur: with few
    images or few of the classes it can fall below its start.

    Assumed, because the authors' code was not read for it: the form of the log-likelihood (half the squared distance
    in units of the shared diagonal variance), ``text_weight``, ``inner_rounds``, and the model's own factor from
    similarities to logits. Similarities between images below zero count as zero, as in the paper. Equal images, and
    equal classes, share their places in lists of neighbours.

    Memory: three times the scores of all images. Time: the square of the number of images for the neighbours.

    Source: "Boosting Vision-Language Models with Transduction" (Zanella et al., arXiv 2406.01837), with the constants
    of MaxZanella/transduction-for-vlms@6a9e8f3.
    """

    neighbours: int = 3
    confident: int = 8
    text_weight: float = 1.0
    likelihood_weight: float = 0.02
    rounds: int = 10
    inner_rounds: int = 5

    constants_from: ClassVar[str] = "MaxZanella/transduction-for-vlms@6a9e8f3; text_weight and inner_rounds assumed"
    scores_are: ClassVar[ScoresAre] = "probabilities"

    def __post_init__(self) -> None:
        for name in ("neighbours", "confident", "inner_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} should be at least 1")
        if self.rounds < 0:
            raise ValueError(f"rounds={self.rounds} should be 0 or more")
        for name in ("text_weight", "likelihood_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")

    @property
    def needs(self) -> Needs:
        """All images, and one vector of each class."""
        return Needs(uses=("other_images",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        images, texts = distinct(inputs.images), distinct(inputs.classes.matrix)
        found = self._fitted(images, texts, inputs.logit_scale, inputs.device)
        yield from spread(found.cpu().numpy(), images, texts, inputs.device)

    def _fitted(self, images: Distinct, texts: Distinct, scale: float, device: torch.device) -> torch.Tensor:
        """Return the probabilities of the distinct images for one copy of each distinct class, m x c."""
        rows, to = torch.from_numpy(images.rows).to(device), torch.from_numpy(texts.rows).to(device)
        copies = torch.from_numpy(images.copies).to(device)
        of_class = torch.from_numpy(texts.copies).to(device)
        assigned = torch.empty((len(rows), len(to)), device=device)
        parts = blocks(*assigned.shape)
        for block in parts:
            assigned[block] = shares_of(scale * (rows[block] @ to.T), of_class)
        if self.rounds == 0:
            return assigned
        near = links(images, images, self.neighbours + 1, device, within=True)
        smooth = _on(both_ways(near, images.copies) / (2 * self.neighbours), device)
        centres = self._first_centres(rows, to, scale, copies, of_class, parts)
        first_variance = 1.0 / rows.shape[1]
        variance = torch.full((rows.shape[1],), first_variance, dtype=torch.float64, device=device)
        squares = torch.zeros_like(variance)
        for block in parts:
            squares += (copies[block, None] * rows[block].double() ** 2).sum(dim=0)
        for _ in range(self.rounds):
            # What depends on the image alone is left out: it falls away where probabilities are made to sum to one.
            direction = (self.text_weight * scale * to + self.likelihood_weight * centres / variance).float()
            offset = (-0.5 * self.likelihood_weight * (centres**2 / variance).sum(dim=1)).float()
            for _ in range(self.inner_rounds):
                shared = torch.sparse.mm(smooth, assigned)
                for block in parts:
                    assigned[block] = shares_of(rows[block] @ direction.T + offset + shared[block], of_class)
            sums, sizes = torch.zeros_like(centres), torch.zeros_like(of_class)
            for block in parts:
                weights = copies[block, None].float() * assigned[block]
                sums += (weights.T @ rows[block]).double()
                sizes += weights.double().sum(dim=0)
            lengths = sums.norm(dim=1, keepdim=True)
            centres = torch.where(lengths > 0, sums / lengths.clamp(min=1e-300), centres)
            apart = squares + (of_class[:, None] * (sizes[:, None] * centres**2 - 2 * centres * sums)).sum(dim=0)
            variance = (apart / copies.sum()).clamp(min=LEAST_VARIANCE * first_variance)
        return assigned

    def _first_centres(
        self,
        rows: torch.Tensor,
        to: torch.Tensor,
        scale: float,
        copies: torch.Tensor,
        of_class: torch.Tensor,
        parts: list[slice],
    ) -> torch.Tensor:
        """Return the unit mean of the images that are surest of each class, weighted by how sure; c x d in float64.

        Logarithms of probabilities in float64: in float32 many an image is wholly sure, and none would be the surest.
        """
        surest = torch.empty((len(to), 0), dtype=torch.float64, device=rows.device)
        members = torch.empty((len(to), 0), dtype=torch.int64, device=rows.device)
        for block in parts:
            logits = scale * (rows[block] @ to.T).double() + of_class.log()
            sure = torch.cat([surest, torch.log_softmax(logits, dim=1).T], dim=1)
            here = torch.arange(len(rows), device=rows.device)[block].expand(len(to), -1)
            best, surest = best_columns(sure, min(self.confident, sure.shape[1]))
            members = torch.cat([members, here], dim=1).gather(1, best)
        of_each = copies[members]
        taken = (self.confident - (of_each.cumsum(dim=1) - of_each)).clamp(min=0.0).minimum(of_each)
        weights = taken * (surest - surest[:, :1]).exp()
        sums = torch.einsum("ck,ckd->cd", weights, rows[members].double())
        centres: torch.Tensor = sums / sums.norm(dim=1, keepdim=True)
        return centres


def _on(matrix: scipy.sparse.csr_array, device: torch.device) -> torch.Tensor:
    """Return a sparse matrix as one of torch, in float32."""
    entries = matrix.tocoo()
    places = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
    values = torch.from_numpy(entries.data.astype(np.float32))
    return torch.sparse_coo_tensor(places, values, matrix.shape, check_invariants=True).coalesce().to(device)
