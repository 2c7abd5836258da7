"""InMaP: class vectors moved from the texts to where the images are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.balance import balanced, blocks, shares_of
from cupl_bench.scorers.neighbours import distinct, spread

__all__ = ["InMapScorer"]


@dataclass(frozen=True, kw_only=True)
class InMapScorer:
    """Learn a vector of each class among the images, from what the texts say of all of them together.

    ``tau_text``: the temperature of the similarities to texts. ``rounds``: of scaling what the texts say, so that
    every class gets its share of the images; 0 takes the softmax as it is. ``gamma``: the power of the share that the
    texts give to each class, of which its share is made; 0 gives all classes the same. ``sure``: the probability above
    which an image is taken to be of one class wholly. ``tau_image``: the temperature of the similarities to the new
    vectors. ``steps``: of gradient descent; 0 leaves the texts. ``rate``: its step size at first, halved whenever the
    gradient has grown.

    A score is the softmax of the similarities to the new vectors at ``tau_image``. Equal shares of the classes are an
    assumption about the data, and a wrong one where they differ. Sums over images are float64, but products are
    float32, and halving depends on a comparison: other hardware can come to slightly other vectors.

    Time: two products of all images with all classes for each step. With 50,000 images and 1,000 classes these are
    hours on a core, and minutes on a GPU; the method makes it so. Memory: twice the scores of all images.

    Source: "Intra-Modal Proxy Learning for Zero-Shot Visual Categorization with CLIP" (Qian et al., arXiv 2310.19752),
    with the constants of idstcv/InMaP@5a6f7c9.
    """

    tau_text: float = 0.01
    rounds: int = 20
    gamma: float = 0.0
    sure: float = 0.6
    tau_image: float = 0.04
    steps: int = 2000
    rate: float = 10.0

    constants_from: ClassVar[str] = "idstcv/InMaP@5a6f7c9"
    scores_are: ClassVar[ScoresAre] = "probabilities"

    def __post_init__(self) -> None:
        for name in ("tau_text", "tau_image", "rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} should be above 0")
        for name in ("rounds", "steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")
        if not 0 <= self.gamma < math.inf:
            raise ValueError(f"gamma={self.gamma} should be 0 or more")
        if not 0 < self.sure <= 1:
            raise ValueError(f"sure={self.sure} should be above 0 and at most 1")

    @property
    def needs(self) -> Needs:
        """All images, one vector of each class, and, in the rounds, an assumption about the share of each class."""
        assumed = self.rounds > 0 and self.gamma == 0
        return Needs(uses=("other_images", "label_prior") if assumed else ("other_images",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        images, texts = distinct(inputs.images), distinct(inputs.classes.matrix)
        rows = torch.from_numpy(images.rows).to(inputs.device)
        copies = torch.from_numpy(images.copies).to(inputs.device)
        of_class = torch.from_numpy(texts.copies).to(inputs.device)
        vectors = torch.from_numpy(texts.rows).to(inputs.device)
        found = torch.empty((len(rows), len(vectors)), device=inputs.device)
        parts = blocks(*found.shape)
        if self.steps:
            vectors = self._moved(rows, vectors, copies, of_class, parts)
        for block in parts:
            found[block] = shares_of(rows[block] @ vectors.T / self.tau_image, of_class)
        yield from spread(found.cpu().numpy(), images, texts, inputs.device)

    def _moved(
        self,
        rows: torch.Tensor,
        texts: torch.Tensor,
        copies: torch.Tensor,
        of_class: torch.Tensor,
        parts: list[slice],
    ) -> torch.Tensor:
        """Return the new vectors of the distinct classes, unit rows, c x d in float32."""
        count = copies.sum()
        wanted = self._wanted(rows, texts, copies, of_class, parts)
        vectors = texts.double()
        rate = torch.tensor(self.rate, dtype=torch.float64, device=rows.device)
        before = torch.tensor(math.inf, dtype=torch.float64, device=rows.device)
        for _ in range(self.steps):
            gradient, now = -wanted, vectors.float()
            for block in parts:
                shares = shares_of(rows[block] @ now.T / self.tau_image, of_class)
                gradient = gradient + ((shares * copies[block, None].float()).T @ rows[block]).double()
            length = (of_class[:, None] * gradient**2).sum().sqrt()
            rate = torch.where(length > before, rate / 2, rate)
            before = length
            vectors = vectors - rate / (count * self.tau_image) * gradient
            vectors = vectors / vectors.norm(dim=1, keepdim=True)
        return vectors.float()

    def _wanted(
        self,
        rows: torch.Tensor,
        texts: torch.Tensor,
        copies: torch.Tensor,
        of_class: torch.Tensor,
        parts: list[slice],
    ) -> torch.Tensor:
        """Return the sum of the images of each class as the texts have it, c x d in float64."""
        logits = torch.empty((len(rows), len(texts)), device=rows.device)
        for block in parts:
            logits[block] = rows[block] @ texts.T / self.tau_text
        start = torch.zeros_like(of_class)
        for block in parts:
            start += (shares_of(logits[block].double(), of_class) * copies[block, None]).sum(dim=0)
        shares = of_class * start**self.gamma
        of_classes, of_images = balanced(logits, shares / shares.sum(), copies, of_class, self.rounds)
        wanted = torch.zeros(texts.shape, dtype=torch.float64, device=rows.device)
        for block in parts:
            said = (logits[block].double() + of_images[block, None] + of_classes).exp()
            best, place = said.max(dim=1, keepdim=True)
            said = torch.where(best > self.sure, torch.zeros_like(said).scatter_(1, place, 1.0), said)
            wanted += ((said * copies[block, None]).float().T @ rows[block]).double()
        return wanted
