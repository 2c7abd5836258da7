"""TDA: images that look like those that were sure of a class before, and unlike those that were not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.balance import shares_of
from cupl_bench.scorers.stream import Stream
from cupl_bench.scores import tile_images

__all__ = ["TdaScorer"]

CHUNK = 4096
"""Remembered images that are compared with at once."""


@dataclass(frozen=True, kw_only=True)
class TdaScorer:
    """Add to the logits of an image how much it is like the surest images of each class that came before.

    ``alpha`` and ``beta``: the factor and the sharpness of that likeness. ``positive``: how many images each class
    remembers, those of least entropy. ``negative``: how many unsure ones; what these take for possible is taken off,
    with ``negative_alpha`` and ``negative_beta``. ``entropy_low`` and ``entropy_high``: between which an image is
    unsure: its entropy in nats, divided by the logarithm of the number of classes to base 2, as in the authors' code.
    ``possible``: the probability above which a class is possible. ``seed``: of the order of the stream.

    An image is remembered before it is scored, so it can be its own neighbour. The authors chose ``alpha`` and
    ``beta`` for each data set, for the best result; the defaults are those for ImageNet, everywhere. On four variants
    of ImageNet the authors look at 64 views of each image, and here an image is one view. Their factor of 100 from
    similarities to logits is the model's own here.

    Time: all images against all that were ever remembered, some ten for each class.

    Source: "Efficient Test-Time Adaptation of Vision-Language Models" (Karmanov et al., arXiv 2403.18293), with the
    constants of kdiAAA/TDA@e697fb0.
    """

    alpha: float = 2.0
    beta: float = 5.0
    positive: int = 3
    negative: int = 2
    negative_alpha: float = 0.117
    negative_beta: float = 1.0
    entropy_low: float = 0.2
    entropy_high: float = 0.5
    possible: float = 0.03
    seed: int = 0

    constants_from: ClassVar[str] = "kdiAAA/TDA@e697fb0: those for ImageNet, for every data set"
    scores_are: ClassVar[ScoresAre] = "scores"

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "positive", "negative", "negative_alpha", "negative_beta", "possible", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")
        if not self.entropy_low <= self.entropy_high:
            raise ValueError(f"entropy_low={self.entropy_low} should be at most entropy_high={self.entropy_high}")

    @property
    def needs(self) -> Needs:
        """The images before, and one vector of each class."""
        return Needs(uses=("stream",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        stream = Stream.of(inputs, self.seed)
        doubt = stream.entropies / np.log2(len(inputs.class_names))
        sure = stream.memory(self.positive)
        unsure = stream.memory(self.negative, asked=(self.entropy_low < doubt) & (doubt < self.entropy_high))
        scale = inputs.logit_scale
        for images, times in stream.tiles(tile_images(max(CHUNK, len(stream.texts)))):
            scores = scale * (images @ stream.texts.T)
            for memory, factor, sharpness in (
                (sure, self.alpha, self.beta),
                (unsure, -self.negative_alpha, self.negative_beta),
            ):
                for start in range(0, len(memory), CHUNK):
                    some = memory.chosen(slice(start, start + CHUNK))
                    rows = stream.rows[some.places]
                    like = torch.exp(-sharpness * (1 - images @ rows.T)) * some.known_at(times)
                    if memory is sure:
                        says = torch.zeros((len(rows), len(stream.texts)), device=images.device)
                        says.scatter_(1, some.labels[:, None], 1.0)
                    else:
                        shares = shares_of(scale * (rows @ stream.texts.T).double(), stream.copies)
                        says = ((shares > self.possible) & (shares < 1)).float()
                    scores += factor * (like @ says)
            yield stream.for_all_classes(scores)
