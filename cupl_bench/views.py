"""Views of an image: crops and flips that are drawn from its content, so that any machine draws the same."""

from dataclasses import dataclass

__all__ = ["ViewFamily"]


@dataclass(frozen=True, kw_only=True)
class ViewFamily:
    """How the views of an image are drawn. Two families that agree in all but ``count`` share their views.

    ``count``: how many, the whole image included, which is view 0. ``scale``: the share of the image's area that a crop
    has, from and to. ``ratio``: its width by its height, from and to. ``flip``: how often it is mirrored, from 0 to 1.
    ``square``: whether the crop is a square, whose side is a share (``scale``) of the image's shorter side.
    ``interpolation``: how a crop is resized. ``seed``: of the draws.
    """

    count: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    square: bool
    interpolation: str
    seed: int
