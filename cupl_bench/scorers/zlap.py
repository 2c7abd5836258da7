"""ZLaP: labels that spread from the class texts over a graph of all images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import cg

from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.neighbours import both_ways, distinct, links, spread

__all__ = ["ZlapScorer"]

EXACTNESS = 1e-9
"""How far a solution may be off, as a share of what is spread."""


@dataclass(frozen=True, kw_only=True)
class ZlapScorer:
    """Let each class text spread its label along the links between images, and between images and texts.

    ``k``: the nearest images, the image itself among them, and the nearest class texts to which an image is linked.
    ``gamma``: the power of the similarities to texts, which brings them to the scale of those between images.
    ``alpha``: how far labels spread: towards 0 to direct neighbours alone.

    A score is the share of a label that arrives at an image; a class that is among the ``k`` nearest texts of no image
    has the score 0 everywhere. Equal images, and equal classes, share their places in lists of neighbours, so that
    they get equal scores; the authors' lists cut such ties by position. Equations are solved to 1e-9, where the
    authors stop at 1e-6 or after 50 rounds. Of the paper's variants this is the transductive one with the class
    embeddings as texts.

    Memory: the features and the scores of all images. Time: the square of the number of images for the neighbours,
    which torch finds by exact comparison, and one sparse system for each class.

    Source: "Label Propagation for Zero-shot Classification with Vision-Language Models" (Stojnic et al., arXiv
    2404.04072), with the constants of vladan-stojnic/ZLaP@89ab14b.
    """

    k: int = 5
    gamma: float = 5.0
    alpha: float = 0.3

    constants_from: ClassVar[str] = "vladan-stojnic/ZLaP@89ab14b"
    scores_are: ClassVar[ScoresAre] = "scores"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} should be at least 1")
        if not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma={self.gamma} should be above 0")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha={self.alpha} should be above 0 and below 1")

    @property
    def needs(self) -> Needs:
        """All images, and one vector of each class."""
        return Needs(uses=("other_images",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        images, texts = distinct(inputs.images), distinct(inputs.classes.matrix)
        to_texts = links(images, texts, self.k, inputs.device, power=self.gamma)
        to_images = links(images, images, self.k, inputs.device, within=True)
        copies = np.concatenate([texts.copies, images.copies])
        system, scale = _system(to_texts, to_images, copies, self.alpha)
        scores = np.empty((len(images), len(texts)), dtype=np.float32)
        for label in range(len(texts)):
            start = np.zeros(len(copies))
            start[label] = 1.0 / np.sqrt(copies[label])
            solution, _ = cg(system, start, rtol=EXACTNESS, atol=0.0)
            scores[:, label] = (solution / scale)[len(texts) :]
        yield from spread(scores, images, texts, inputs.device)


def _system(
    to_texts: scipy.sparse.csr_array, to_images: scipy.sparse.csr_array, copies: np.ndarray, alpha: float
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Return the symmetric matrix of the equations, and by what a solution is divided; the texts come first.

    The unknowns are scaled by the root of the copies: that makes the matrix of rows with copies symmetric.
    """
    num_texts = to_texts.shape[1]
    graph = both_ways(
        scipy.sparse.vstack(
            [scipy.sparse.csr_array((num_texts, len(copies))), scipy.sparse.hstack([to_texts, to_images])], format="csr"
        ),
        copies,
    )
    degrees = graph.sum(axis=1)
    root = np.sqrt(np.where(degrees > 0, degrees, 1.0))
    scale = np.sqrt(copies)
    normalised = scipy.sparse.diags_array(scale / root) @ graph @ scipy.sparse.diags_array(1.0 / (root * scale))
    return scipy.sparse.csr_array(scipy.sparse.eye_array(len(copies)) - alpha * normalised), scale
