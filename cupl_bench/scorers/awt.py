"""AWT: views and sentences weighed by how sure they are, and matched by optimal transport."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float32

from cupl_bench.errors import ScorerError, first
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.view_tiles import view_tiles
from cupl_bench.scores import product_with
from cupl_bench.views import ViewFamily

__all__ = ["AwtScorer"]


@dataclass(frozen=True, kw_only=True)
class AwtScorer:
    """Move the weight of an image's views onto the sentences of each class at the least cost; score what arrives.

    ``views``: how many, the whole image included. ``sentences``: how many of each class count, the first ones; every
    class needs as many. ``temperature``: of the weights that views and sentences get from their entropy. ``sharpness``:
    of the transport (the authors' epsilon). ``rounds`` and ``still``: how often marginals are scaled at most, and the
    mean change of a scale, over all classes and views of an image, at which scaling ends. ``seed``: of the crops.

    Source: "AWT: Transferring Vision-Language Models via Augmentation, Weighting, and Transportation" (Zhu et al.,
    arXiv 2407.04603), with the constants of MCG-NJU/AWT@b2b49a8. The authors compute in half precision.
    """

    views: int = 51
    sentences: int = 51
    temperature: float = 0.5
    sharpness: float = 0.1
    rounds: int = 100
    still: float = 0.01
    seed: int = 0

    constants_from: ClassVar[str] = "MCG-NJU/AWT@b2b49a8"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        for name in ("sentences", "temperature", "sharpness", "rounds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} should be above 0")

    @property
    def needs(self) -> Needs:
        """Crops of the image and the features of each sentence."""
        return Needs(uses=("views",), prompts=True, views=ViewFamily(count=self.views, seed=self.seed))

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        assert inputs.prompts is not None  # noqa: S101 - asked for
        fewest = min(len(rows) for rows in inputs.rows_of_class)
        number = min(self.sentences, fewest)
        if fewest < self.sentences and max(len(rows) for rows in inputs.rows_of_class) > fewest:
            few = [name for name, rows in zip(inputs.class_names, inputs.rows_of_class, strict=True)
                   if len(rows) < self.sentences]  # fmt: skip
            raise ScorerError(
                f"scorer=awt takes as many sentences of every class: {len(few)} of {len(inputs.class_names)} classes"
                f" have fewer than {self.sentences}, first: {first(few, 3)}. Take scorer.sentences={fewest}, or prompts"
                " with as many of each."
            )
        rows = [row for of_class in inputs.rows_of_class for row in of_class[:number]]
        to_prompts = product_with(inputs.prompts[rows], inputs.device)
        num_classes = len(inputs.rows_of_class)
        for tile in view_tiles(inputs, num_classes * number):
            similar = to_prompts(tile).view(len(tile), tile.shape[1], num_classes, number)
            yield torch.stack([self._scores(one, inputs.logit_scale) for one in similar])

    def _scores(self, similar: Float32[torch.Tensor, "v c p"], scale: float) -> Float32[torch.Tensor, " c"]:
        """Return the scores of one image; each image stops scaling by itself."""
        logits = scale * similar
        of_views = torch.special.entr(torch.softmax(logits.mean(dim=2), dim=1)).sum(dim=1)
        views = torch.softmax(-of_views / self.temperature, dim=0)  # v
        texts = torch.softmax(-_entropies_in_place(logits[0]) / self.temperature, dim=1)  # c x p
        kernel = torch.exp((similar.permute(1, 0, 2) - 1) / self.sharpness)  # c x v x p
        left, right = torch.ones_like(kernel[:, :, 0]), torch.ones_like(kernel[:, 0])
        for _ in range(self.rounds):
            before = left
            left = views / torch.einsum("cvp,cp->cv", kernel, right)
            right = texts / torch.einsum("cvp,cv->cp", kernel, left)
            # A GPU is waited for in each round of each image: whether an image is done decides whether there is another
            # round, and rounds that are not needed would change its scores.
            if float((left - before).abs().mean()) < self.still:
                break
        moved = kernel * left[:, :, None] * right[:, None, :]
        return (moved * similar.permute(1, 0, 2)).sum(dim=(1, 2))


def _entropies_in_place(logits: Float32[torch.Tensor, "c p"]) -> Float32[torch.Tensor, "c p"]:
    """Return the entropy of the prediction that has each sentence's logit in place of its class's mean.

    The sums over classes change by one term only, so no vector of all classes is made for each sentence.
    """
    logits = logits.double()
    means = logits.mean(dim=1)
    top = torch.maximum(means.max(), logits.max())
    means, own = means - top, logits - top
    total, weighted = means.exp().sum(), (means * means.exp()).sum()
    total = total - means.exp()[:, None] + own.exp()
    weighted = weighted - (means * means.exp())[:, None] + own * own.exp()
    return (total.log() - weighted / total).float()
