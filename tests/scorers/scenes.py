"""Small questions for scorers: features that are made up, and a text tower that makes a vector of each text."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from cupl_bench.embeddings import build_class_embeddings
from cupl_bench.scorers import Inputs, Scorer

WIDTH = 16


def units(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def encoded(texts: Sequence[str]) -> np.ndarray:
    """Unit rows that depend on the text alone."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
    return units(np.stack([np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds]))


def scene(
    num_images: int = 30,
    num_classes: int = 6,
    num_prompts: int = 4,
    num_views: int = 0,
    seed: int = 0,
    files: dict[str, object] | None = None,
) -> Inputs:
    """Images that lie near one class each, so that a score says something."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_classes, WIDTH))
    prompts = units(np.repeat(centres, num_prompts, axis=0) + 0.6 * rng.normal(size=(num_classes * num_prompts, WIDTH)))
    rows = [list(range(label * num_prompts, (label + 1) * num_prompts)) for label in range(num_classes)]
    images = units(centres[rng.integers(num_classes, size=num_images)] + 0.8 * rng.normal(size=(num_images, WIDTH)))
    views = units(images[:, None] + 0.5 * rng.normal(size=(num_images, num_views, WIDTH))) if num_views else None
    if views is not None:
        views[:, 0] = images
    return Inputs(
        images=images,
        class_names=[f"class {label}" for label in range(num_classes)],
        classes=build_class_embeddings(prompts, rows),
        prompts=prompts,
        rows_of_class=rows,
        views=views,
        encode=encoded,
        files=files or {},
        logit_scale=100.0,
        device=torch.device("cpu"),
    )


def scores(scorer: Scorer, inputs: Inputs) -> np.ndarray:
    return np.concatenate([tile.numpy() for tile in scorer(inputs)])


def with_classes(inputs: Inputs, order: Sequence[int]) -> Inputs:
    """The same question with its classes in another order."""
    rows = [inputs.rows_of_class[label] for label in order]
    return replace(
        inputs,
        class_names=[inputs.class_names[label] for label in order],
        rows_of_class=rows,
        classes=replace(inputs.classes, matrix=inputs.classes.matrix[list(order)]),
    )


def with_images(inputs: Inputs, order: Sequence[int]) -> Inputs:
    """The same question about some of its images, in another order."""
    views = None if inputs.views is None else inputs.views[np.asarray(order)]
    return replace(inputs, images=inputs.images[np.asarray(order)], views=views)


def places_taken(values: np.ndarray, count: int) -> np.ndarray:
    """How much of a place each value has in the list of the ``count`` largest; equals share what is left of it."""
    taken, left = np.zeros(len(values)), float(count)
    rounded = np.round(values, 9)
    for value in np.unique(rounded)[::-1]:
        equals = rounded == value
        taken[equals] = min(left, float(equals.sum())) / equals.sum()
        left -= taken[equals].sum()
    return taken
