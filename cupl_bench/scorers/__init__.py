"""Scorers: from the features of images and texts to the score of each image for each class.

A scorer is one class and one file in conf/scorer. It says what it needs, and gives its scores tile by tile, in the
order of the images. It never sees a label: nothing that it is handed holds any.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32

from cupl_bench.errors import ScorerError, first
from cupl_bench.views import ViewFamily

if TYPE_CHECKING:  # torch takes seconds to import, and a question that is answered needs none
    import torch

    from cupl_bench.embeddings import ClassEmbeddings, Features

__all__ = ["INDEPENDENT", "Inputs", "Kind", "Needs", "Scorer", "ScoresAre", "Use", "checked", "kind_of"]

Use = Literal["second_texts", "groups", "views", "other_images", "label_prior", "stream", "labels"]
"""What a scorer looks at beside an image and the class embeddings.

``second_texts``: texts that are not the strategy's. ``groups``: texts in groups, such as sub-classes or contexts.
``views``: crops of the image. ``other_images``: all images that are classified, without their labels.
``label_prior``: how often each class is thought to occur. ``stream``: the images before it. ``labels``: labels.
"""
Kind = Literal["zero_shot", "zero_shot_views", "transductive", "online", "uses_labels"]
"""The one word for what a scorer looks at. Numbers of different kinds are never ranked together."""
INDEPENDENT: tuple[Kind, ...] = ("zero_shot", "zero_shot_views")
"""The kinds in which the score of an image depends on no other image, so that intervals over images hold."""
ScoresAre = Literal["similarities", "probabilities", "scores"]
"""What a scorer's values are, as `cupl_bench.scores.ScoresAre`."""


def kind_of(uses: Sequence[Use]) -> Kind:
    """Return the kind of a scorer.

    >>> kind_of(["second_texts"]), kind_of(["views"]), kind_of(["views", "stream"])
    ('zero_shot', 'zero_shot_views', 'online')
    """
    order: tuple[tuple[Use, Kind], ...] = (
        ("labels", "uses_labels"),
        ("stream", "online"),
        ("other_images", "transductive"),
        ("label_prior", "transductive"),
        ("views", "zero_shot_views"),
    )
    return next((kind for use, kind in order if use in uses), "zero_shot")


def checked(tiles: "Iterable[torch.Tensor]", name: str, shape: tuple[int, int]) -> "Iterator[torch.Tensor]":
    """Yield the tiles of a scorer, and check that they are of so many images and classes in all.

    Raises:
        ScorerError: they are not.
    """
    num_images, num_classes = shape
    seen = 0
    for tile in tiles:
        if tile.ndim != 2 or tile.shape[1] != num_classes or not tile.is_floating_point():
            raise ScorerError(
                f"scorer={name} gives a tile of the shape {tuple(tile.shape)} and the type {tile.dtype}; it should be"
                f" images x {num_classes:,} classes, of float32."
            )
        seen += len(tile)
        yield tile.float()
    if seen != num_images:
        raise ScorerError(f"scorer={name} gives scores of {seen:,} images, and there are {num_images:,}.")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a scorer needs.

    ``uses``: see `Use`. ``prompts``: whether it reads the features of each prompt, and not class embeddings alone.
    ``parallel``: whether the prompts at a place must be the same in every class but for the class name, as templates
    are. ``one_vector``: whether every class must have one vector, which max_similarity has not. ``views``: which views
    of the images. ``files``: the files that it reads, a path or URL by the name of the parameter; their content is part
    of the run key, and their place is not. ``check``: called with the class names and the content of the files before
    anything is encoded; it raises a `ScorerError` where they do not fit. ``own_prompts``: whether it writes all its
    texts itself, so that those of the prompts count for nothing.

    Raises:
        ScorerError: a use is none.
    """

    uses: tuple[Use, ...] = ()
    prompts: bool = False
    parallel: bool = False
    one_vector: bool = False
    views: ViewFamily | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Sequence[str], Mapping[str, object]], object] | None = None
    own_prompts: bool = False

    def __post_init__(self) -> None:
        if odd := [use for use in self.uses if use not in get_args(Use)]:
            raise ScorerError(f"{first(odd)} is none of what a scorer can use: {', '.join(get_args(Use))}.")

    @property
    def kind(self) -> Kind:
        """The kind of the scorer."""
        return kind_of(self.uses)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """What a scorer may look at: all of a question but the labels.

    ``images``: unit features, n x D, in the order of the data set; rows may lie on the disk. ``views``: unit features
    of each image's views, n x V x D; None where none were asked for. ``class_names``: in label order. ``classes``: the
    class embeddings. ``prompts``: the unit features of the distinct prompts, u x D, and ``rows_of_class`` and
    ``weights`` of each class's prompts among them; empty where no prompts were asked for. ``encode``: texts -> their
    unit features, through the store. ``files``: the content of the files that were asked for. ``logit_scale``: the
    model's factor from similarities to logits. ``device``: where to compute.
    """

    images: "Features"
    class_names: Sequence[str]
    classes: "ClassEmbeddings"
    encode: "Callable[[Sequence[str]], Float32[np.ndarray, 't d']]"
    logit_scale: float
    device: "torch.device"
    views: "Features | None" = None
    prompts: "Float32[np.ndarray, 'u d'] | None" = None
    rows_of_class: Sequence[Sequence[int]] = ()
    weights: Sequence[Sequence[float]] | None = None
    files: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class Scorer(Protocol):
    """Scores images.

    ``constants_from``: where the values of its parameters come from. ``scores_are``: see `ScoresAre`.
    """

    @property
    def constants_from(self) -> str: ...

    @property
    def scores_are(self) -> ScoresAre: ...

    @property
    def needs(self) -> Needs:
        """What the scorer needs, as its parameters say."""
        ...

    def __call__(self, inputs: Inputs) -> "Iterator[torch.Tensor]":
        """Yield the scores of the images in order, tile by tile: m x c, float32, higher is likelier.

        A class that is not considered for an image has minus infinity there; each image has a class that is.
        """
        ...
