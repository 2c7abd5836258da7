"""WCA: parts of an image and sentences of a class, each weighed by how well it stands for the whole."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64

from cupl_bench.errors import ScorerError
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.view_tiles import view_tiles
from cupl_bench.scores import product_with
from cupl_bench.views import ViewFamily

__all__ = ["WcaScorer"]


@dataclass(frozen=True, kw_only=True)
class WcaScorer:
    """Average the crops of an image, and the sentences of a class, by their likeness to the image and to the name.

    ``crops``: how many, beside the whole image, which only weighs them. ``smallest``: the least share of the image's
    shorter side that the side of a crop has; the most is 0.9. ``image_scale`` and ``text_scale``: the powers of e that
    make weights of similarities sharp. ``template``: what stands for a class as a whole. ``form``: ``code`` scores the
    unit mean of the sentences; ``paper`` their mean as it is, which is the double sum of its formula. ``draws``: how
    many sets of crops are drawn from those of an image, with replacement, the same places in each; their scores are
    averaged. The authors report the mean accuracy of twenty draws of all, which is another number; 0 takes every crop
    once. ``seed``: of the crops and of the draws.

    Source: "Visual-Text Cross Alignment: Refining the Similarity Score in Vision-Language Models" (Li et al., arXiv
    2406.02915), with the constants of JinhaoLee/WCA@dfb4e6f.
    """

    crops: int = 60
    smallest: float = 0.5
    image_scale: float = 4.0
    text_scale: float = 2.0
    template: str = "a photo of a {}."
    form: Literal["code", "paper"] = "code"
    draws: int = 0
    seed: int = 0

    constants_from: ClassVar[str] = "JinhaoLee/WCA@dfb4e6f"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if "{}" not in self.template:
            raise ValueError(f"template={self.template!r} has no {{}} for the class name")
        if self.draws < 0:
            raise ValueError(f"draws={self.draws} should be 0 or more")

    @property
    def needs(self) -> Needs:
        """Square crops, the features of each sentence, and those of the class names."""
        family = ViewFamily(count=self.crops + 1, shape="square", scale=(self.smallest, 0.9), flip=0.0, seed=self.seed)
        return Needs(uses=("second_texts", "views"), prompts=True, views=family)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        to_classes = product_with(self._classes(inputs), inputs.device)
        num_classes = len(inputs.class_names)
        places = self._places(inputs.device)
        for tile in view_tiles(inputs, num_classes):
            whole, crops = tile[:, 0], tile[:, 1:]
            likeness = math.exp(self.image_scale) * torch.einsum("mvd,md->mv", crops, whole)
            total = torch.zeros(len(tile), num_classes, device=inputs.device)
            for here in places:
                weights = torch.softmax(likeness[:, here], dim=1)
                mean = torch.einsum("mv,mvd->md", weights, crops[:, here])
                total += to_classes(torch.nn.functional.normalize(mean, dim=1))
            yield total / len(places)

    def _places(self, device: torch.device) -> list[torch.Tensor]:
        if not self.draws:
            return [torch.arange(self.crops, device=device)]
        rng = np.random.default_rng(self.seed)
        return [torch.from_numpy(rng.integers(self.crops, size=self.crops)).to(device) for _ in range(self.draws)]

    def _classes(self, inputs: Inputs) -> Float32[np.ndarray, "c d"]:
        if inputs.weights is not None:
            raise ScorerError("scorer=wca finds the weights of the sentences itself, and these prompts have weights.")
        assert inputs.prompts is not None  # noqa: S101 - asked for
        names = inputs.encode([self.template.replace("{}", name) for name in inputs.class_names])
        rows = [
            self._class(inputs.prompts[list(of_class)].astype(np.float64), name.astype(np.float64))
            for of_class, name in zip(inputs.rows_of_class, names, strict=True)
        ]
        return np.stack(rows).astype(np.float32)

    def _class(
        self, sentences: Float64[np.ndarray, "p d"], name: Float64[np.ndarray, " d"]
    ) -> Float64[np.ndarray, " d"]:
        likeness = math.exp(self.text_scale) * (sentences @ name)
        raised = np.exp(likeness - likeness.max())
        mean: Float64[np.ndarray, " d"] = (raised / raised.sum()) @ sentences
        return mean if self.form == "paper" else mean / np.linalg.norm(mean)
