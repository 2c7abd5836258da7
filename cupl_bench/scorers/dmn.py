"""DMN: each class remembers images, and every image makes of these a class vector of its own."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.balance import shares_of
from cupl_bench.scorers.stream import Stream
from cupl_bench.scores import tile_images

__all__ = ["DmnScorer"]


@dataclass(frozen=True, kw_only=True)
class DmnScorer:
    """Compare an image with its text, and with a mean of the remembered images and the text that is made for it.

    ``capacity``: how many images each class remembers, those of least entropy. ``beta``: how sharply likeness to the
    image decides the weights in the mean. ``fusion``: the factor of the probabilities by these means; those by the
    texts have one. ``seed``: of the order of the stream.

    A score is the sum of the two probabilities. An image is remembered before it is scored. The authors search
    ``fusion`` on the labels of each test set, from 0.001 to 1,000; here it is 1 unless chosen, which uses no label.
    They also make 32 views of each image, and its prediction and entropy are those of the three views of least
    entropy; here they are those of the image alone, so other images are remembered. Their texts are templates together
    with CuPL's sentences; here they are what the prompts give.

    Assumed: among equal entropies the latest image gives way. The factor of 100 from similarities to logits is the
    model's own here.

    Time: all images against all that were ever remembered, which are nearly all where classes have fewer than
    ``capacity`` images.

    Source: "Dual Memory Networks: A Versatile Adaptation Approach for Vision-Language Models" (Zhang et al., arXiv
    2403.17589), the part without training, with the constants of YBZh/DMN@c6c218c.
    """

    capacity: int = 50
    beta: float = 5.5
    fusion: float = 1.0
    seed: int = 0

    constants_from: ClassVar[str] = "YBZh/DMN@c6c218c; fusion ours"
    scores_are: ClassVar[ScoresAre] = "scores"

    def __post_init__(self) -> None:
        for name in ("capacity", "beta", "fusion", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} should be 0 or more")

    @property
    def needs(self) -> Needs:
        """The images before, and one vector of each class."""
        return Needs(uses=("stream",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        stream = Stream.of(inputs, self.seed)
        of_class = stream.memory(self.capacity).of_each_class(len(stream.texts))
        rows = [
            torch.cat([text[None], stream.rows[of.places]]) for text, of in zip(stream.texts, of_class, strict=True)
        ]
        between = [one @ one.T for one in rows]
        scale = inputs.logit_scale
        for images, times in stream.tiles(tile_images(len(stream.texts))):
            likeness = torch.empty((len(images), len(stream.texts)), device=images.device)
            for label, known in enumerate(of_class):
                similarity = images @ rows[label].T  # to the text, and to each image that is ever remembered
                weights = torch.exp(-self.beta * (1 - similarity))
                weights[:, 1:] *= known.known_at(times)
                length = ((weights @ between[label]) * weights).sum(dim=1).sqrt()
                likeness[:, label] = (weights * similarity).sum(dim=1) / length
            by_text = shares_of(scale * (images @ stream.texts.T), stream.copies)
            yield stream.for_all_classes(by_text + self.fusion * shares_of(scale * likeness, stream.copies))
