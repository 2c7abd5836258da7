"""How much each template counts, from images whose labels are not known (pure)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64

from cupl_bench.embeddings import Features

__all__ = ["zero_shot_weights"]

TILE_IMAGES = 4096
"""Images whose similarities to one template's classes are held at once."""


def zero_shot_weights(
    images: Features,
    templates: Sequence[Float32[np.ndarray, "c d"]],
    logit_scale: float,
    device: torch.device | None = None,
) -> Float64[np.ndarray, " t"]:
    """Return a weight for each template, from how sure it is of images whose labels are not known; they sum to one.

    A template's score is the mean over the images of its highest logit, after the mean logit of each class over the
    images has been taken off, so that a class that a template favours whatever it sees does not count. The weights are
    the softmax of the scores. The paper also takes off the mean over pretraining images, half and half; there are none
    here, so the mean is of the images that are then classified alone (``debias_mode='test'`` of its notebook).

    >>> both_alike = [np.eye(2, dtype=np.float32)] * 2
    >>> zero_shot_weights(np.eye(2, dtype=np.float32), both_alike, logit_scale=100.0).tolist()
    [0.5, 0.5]

    Args:
        images: unit features of the images; those on the disk are read twice, tile by tile.
        templates: for each template the unit features of its prompt for each class.
        logit_scale: the factor of the model from similarities to logits.
        device: where to multiply; the CPU if None.

    Source: "A Simple Zero-shot Prompt Weighting Technique to Improve Prompt Ensembling in Text-Image Models"
    (Allingham et al., arXiv 2302.06235), section 3; `get_weights` of its notebook in
    google/uncertainty-baselines@258f347.
    """
    if not len(images):
        raise ValueError("there is no image to weigh templates by")
    tiles = [slice(begin, begin + TILE_IMAGES) for begin in range(0, len(images), TILE_IMAGES)]
    total = sum(images[tile].sum(axis=0, dtype=np.float64) for tile in tiles)
    mean_image = (total / len(images)).astype(np.float32)
    sums = torch.zeros(len(templates), dtype=torch.float64, device=device)  # read once: a GPU is waited for each time
    # A copy for each template, which a GPU waits for: megabytes, and all of them as one would be held twice.
    classes = [torch.from_numpy(rows).to(device) for rows in templates]
    means = torch.from_numpy(np.stack([rows @ mean_image for rows in templates])).to(device)
    for here in tiles:
        tile = torch.from_numpy(images[here]).to(device)
        for place, (rows, mean) in enumerate(zip(classes, means, strict=True)):
            sums[place] += torch.addmm(-mean, tile, rows.T).amax(dim=1).double().sum()
    scores = sums.cpu().numpy() * (logit_scale / len(images))
    raised = np.exp(scores - scores.max())
    weights: Float64[np.ndarray, " t"] = raised / raised.sum()
    return weights
