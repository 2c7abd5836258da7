"""Views of an image: crops and flips that are drawn from its content, so that any machine draws the same."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from PIL import Image

from cupl_bench.identity import content_key

__all__ = ["Box", "ViewFamily", "boxes_of", "view_keys", "view_of"]

TRIES = 10
"""How often a crop is drawn that does not fit into the image, before the largest one in its middle is taken."""


@dataclass(frozen=True, kw_only=True)
class ViewFamily:
    """How the views of an image are drawn. Families that agree in all but ``count`` share their views.

    View 0 is the whole image, as every run sees it; the others are crops of the image as it was decoded, at its full
    size, each drawn from the content of the image, these settings and its number. So neither the order of the images
    nor the number of processes, nor what else is in the data set, can change a crop.

    ``count``: how many views, the whole image included. ``shape``: ``resized``, crops of any proportions that are
    resized to the size that the model reads; or ``square``, square crops that pass through the model's own transform.
    ``scale``: from and to: of ``resized`` the share of the image's area, of ``square`` the share of its shorter side.
    ``ratio``: of ``resized``, width by height, from and to. ``flip``: of how many crops the mirror image is taken, from
    0 to 1. ``interpolation``: how ``resized`` crops are resized. ``seed``: of the draws.

    Raises:
        ValueError: a value is out of range.

    Source: torchvision's ``RandomResizedCrop``, for ``resized``, which MTA, ZERO, AWT and DMN take; WCA's crops, for
    ``square``.
    """

    count: int
    shape: Literal["resized", "square"] = "resized"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"{self.count} views are the whole image alone, or nothing: take 2 or more")
        for name, (low, high), most in (("scale", self.scale, 1.0), ("ratio", self.ratio, math.inf)):
            if not 0 < low <= high <= most:
                raise ValueError(f"{name}={low} to {high} should rise from above 0{' to at most 1' * (most == 1.0)}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip={self.flip} should be a share from 0 to 1")

    @property
    def digest(self) -> bytes:
        """What a view depends on beside its image and its number, 16 bytes."""
        settings = asdict(self)
        del settings["count"]
        return bytes.fromhex(content_key(settings))[:16]


@dataclass(frozen=True)
class Box:
    """A crop in pixels of the decoded image, and whether its mirror image is taken."""

    left: int
    top: int
    width: int
    height: int
    flipped: bool


def view_keys(family: ViewFamily, image_keys: Sequence[bytes]) -> list[bytes]:
    """Return the 16 bytes by which the features of views 1 and following are found, one image after another.

    >>> family = ViewFamily(count=3)
    >>> len(view_keys(family, [bytes(16), bytes(16)]))
    4
    """
    numbers = [number.to_bytes(4, "little") for number in range(1, family.count)]
    started = [hashlib.sha256(family.digest + key) for key in image_keys]
    found = []
    for start in started:
        for number in numbers:
            one = start.copy()
            one.update(number)
            found.append(one.digest()[:16])
    return found


def boxes_of(family: ViewFamily, image_key: bytes, size: tuple[int, int]) -> Iterator[Box]:
    """Yield the crops of views 1 and following; more views begin with the same ones.

    >>> boxes = list(boxes_of(ViewFamily(count=3), bytes(16), size=(500, 375)))
    >>> len(boxes), all(0 <= box.left <= 500 - box.width for box in boxes)
    (2, True)

    Args:
        family: how they are drawn.
        image_key: of the image's content, 16 bytes.
        size: of the decoded image, width and height.
    """
    draw = _draws(family.digest + image_key)
    for _ in range(1, family.count):
        width, height = _square(family, draw, size) if family.shape == "square" else _resized(family, draw, size)
        left, top = int(next(draw) * (size[0] - width + 1)), int(next(draw) * (size[1] - height + 1))
        if family.shape == "resized" and (width, height) == _largest(family, size):
            left, top = (size[0] - width) // 2, (size[1] - height) // 2  # as torchvision has it where no crop fits
        yield Box(left, top, width, height, bool(next(draw) < family.flip))


def _draws(content: bytes) -> Iterator[float]:
    """Yield numbers from 0 to below 1 that depend on ``content`` alone.

    Of numpy's generators only the bits are the same in all versions, so the numbers are made of these.
    """
    key = np.frombuffer(hashlib.sha256(content).digest()[:16], dtype="<u8")
    bits = np.random.Philox(key=key)
    while True:
        yield from (bits.random_raw(64) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _square(family: ViewFamily, draw: Iterator[float], size: tuple[int, int]) -> tuple[int, int]:
    low, high = family.scale
    side = max(1, int((low + (high - low) * next(draw)) * min(size)))
    return side, side


def _resized(family: ViewFamily, draw: Iterator[float], size: tuple[int, int]) -> tuple[int, int]:
    (small, large), (low, high) = family.scale, (math.log(one) for one in family.ratio)
    for _ in range(TRIES):
        area = size[0] * size[1] * (small + (large - small) * next(draw))
        ratio = math.exp(low + (high - low) * next(draw))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= size[0] and 0 < height <= size[1]:
            return width, height
    return _largest(family, size)


def _largest(family: ViewFamily, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of the largest crop whose proportions are allowed."""
    width, height = size
    if width / height < family.ratio[0]:
        return width, round(width / family.ratio[0])
    if width / height > family.ratio[1]:
        return round(height * family.ratio[1]), height
    return width, height


def view_of(image: Image.Image, box: Box, family: ViewFamily, size: tuple[int, int]) -> Image.Image:
    """Return a crop of an image, mirrored where its box says so, for the model's own transform.

    Args:
        image: in mode RGB, at the size at which it was decoded.
        box: the crop.
        family: which says how crops are resized.
        size: height and width of what the model reads, to which ``resized`` crops are brought.
    """
    crop = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    if family.shape == "resized":
        crop = crop.resize((size[1], size[0]), Image.Resampling[family.interpolation.upper()])
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if box.flipped else crop
