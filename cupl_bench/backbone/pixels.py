"""Image transforms in two parts: pixels (decoded, resized, cropped; whole numbers), then their normalisation.

Normalisation works value by value, and a pixel has 256 values: a table of what the model's own transform makes of
each gives the same floats to the last bit, on any device, and bytes are a quarter of what workers and stores carry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

__all__ = ["ImageTransform", "normalise", "split_transform", "transform_of_open_clip"]


@dataclass(frozen=True, kw_only=True)
class ImageTransform:
    """The steps between a decoded image and the image tower.

    ``exact``: an RGB image to pixels as the model's own transform makes them, or to its floats where ``table`` is
    None. ``fast``: the same on tensors, pixels within 3 of 255, where that is possible. ``table``: the float that the
    model reads for each channel and value; ``affine``: means and deviations, where ``(value / 255 - mean) / deviation``
    is the table to the last bit. ``geometry``: all that ``exact`` depends on but the image.
    """

    exact: Callable[[Image.Image], Tensor]
    fast: Callable[[UInt8[Tensor, "3 a b"]], UInt8[Tensor, "3 h w"]] | None
    table: Float32[Tensor, "3 256"] | None
    affine: Float32[Tensor, "2 3"] | None
    geometry: Mapping[str, object]

    def floats(self, image: Image.Image) -> Float32[Tensor, "3 h w"]:
        """Return the pixels that the image tower reads of an RGB image, in float32."""
        pixels = self.exact(image)
        return pixels if self.table is None else normalise(pixels[None], self.table, self.affine)[0]


@dataclass(frozen=True)
class PixelsOf:
    """Turns an image into pixels by the geometric steps of a transform; for worker processes."""

    geometric: Callable[[Any], Any]

    def __call__(self, image: Image.Image) -> UInt8[Tensor, "3 h w"]:
        return torch.from_numpy(np.array(self.geometric(image))).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class ShortestEdge:
    """Resizes the shortest edge with Pillow and crops the centre; skips what the crop of a wide image throws away.

    Pillow resizes rows first, then columns, each by itself: columns may go between the two.

    Source: torchvision 0.29, `Resize`, `CenterCrop`, for the sizes; Pillow 13, `Resample.c`, for the order.
    """

    size: int
    resample: Image.Resampling

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if width <= height:
            resized = image.resize((self.size, self.size * height // width), self.resample)
            top = round((resized.height - self.size) / 2)
            return resized.crop((0, top, self.size, top + self.size))
        resized = image.resize((self.size * width // height, height), self.resample)
        left = round((resized.width - self.size) / 2)
        return resized.crop((left, 0, left + self.size, height)).resize((self.size, self.size), self.resample)


@dataclass(frozen=True)
class FastPixels:
    """Resizes the shortest edge, or both, and crops the centre, on tensors, with antialias."""

    size: tuple[int, int]
    squash: bool
    interpolation: str

    def __call__(self, pixels: UInt8[Tensor, "3 a b"]) -> UInt8[Tensor, "3 h w"]:
        from torchvision.transforms.v2 import InterpolationMode, functional

        resized = functional.resize(
            pixels,
            list(self.size) if self.squash else [self.size[0]],
            interpolation=InterpolationMode(self.interpolation),
            antialias=True,
        )
        cropped: Tensor = functional.center_crop(resized, list(self.size))
        return cropped.contiguous()


def split_transform(
    whole: Callable[[Image.Image], Tensor],
    geometric: Callable[[Image.Image], UInt8[Tensor, "3 h w"]],
    pointwise: Callable[[Image.Image], Float32[Tensor, "3 h w"]],
    fast: Callable[[UInt8[Tensor, "3 a b"]], UInt8[Tensor, "3 h w"]] | None,
    geometry: Mapping[str, object],
    affine: Float32[Tensor, "2 3"] | None = None,
) -> ImageTransform:
    """Return the two parts of a transform, if together they give what it gives, to the last bit; else the whole.

    Args:
        whole: the model's own transform.
        geometric: its part up to the pixels.
        pointwise: its part from the pixels on, of an image of any size.
        fast: the geometric part on tensors.
        geometry: what identifies the geometric part.
        affine: means and deviations that may say the same as ``pointwise``.
    """
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (1, 256, 3))
    table = pointwise(Image.fromarray(np.ascontiguousarray(ramp)))[:, 0].float().contiguous()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (301, 407, 3), dtype=np.uint8))
    for size in ((509, 331), (331, 509)):
        image = noise.resize(size, Image.Resampling.BICUBIC)
        if not torch.equal(normalise(geometric(image)[None], table)[0], whole(image)):
            return ImageTransform(exact=whole, fast=None, table=None, affine=None, geometry=geometry)
    values = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    if affine is not None and not torch.equal(normalise(values, table, affine)[0, :, 0], table):
        affine = None
    return ImageTransform(exact=geometric, fast=fast, table=table, affine=affine, geometry=geometry)


def transform_of_open_clip(facts: Mapping[str, Any]) -> ImageTransform:
    """Return open_clip's inference transform for a `PreprocessCfg`, in two parts.

    Source: open_clip 3.3.0, `transform.py`, `image_transform_v2`: resize, crop, RGB; to floats, normalise.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms import Compose

    whole = image_transform_v2(PreprocessCfg(**facts), is_train=False)
    size = facts["size"] if not isinstance(facts["size"], int) else (facts["size"], facts["size"])
    squash = facts["resize_mode"] == "squash"
    shortest = facts["resize_mode"] == "shortest" and size[0] == size[1]
    interpolation = "bilinear" if facts["interpolation"] == "bilinear" else "bicubic"
    geometric = (
        ShortestEdge(size=size[0], resample=Image.Resampling[interpolation.upper()])
        if shortest
        else Compose(whole.transforms[:-2])
    )
    return split_transform(
        whole,
        PixelsOf(geometric),
        Compose(whole.transforms[-2:]),
        FastPixels(size=(size[0], size[1]), squash=squash, interpolation=interpolation) if squash or shortest else None,
        {"source": "open_clip", **{name: facts[name] for name in facts if name not in ("mean", "std")}},
        torch.tensor([facts["mean"], facts["std"]]),
    )


def normalise(
    pixels: UInt8[Tensor, "n 3 h w"], table: Float[Tensor, "3 256"], affine: Float32[Tensor, "2 3"] | None = None
) -> Float[Tensor, "n 3 h w"]:
    """Look each pixel up in ``table``; the result has its dtype, on the device of both.

    Args:
        pixels: of a batch of images.
        table: the float for each channel and value.
        affine: means and deviations that say the same; quicker on a CPU in float32.
    """
    if pixels.device.type != "cpu" or table.dtype != torch.float32:
        offsets = torch.arange(0, 768, 256, dtype=torch.int32, device=pixels.device).view(3, 1, 1)
        return table.flatten()[pixels + offsets]
    out = torch.empty(pixels.shape)
    for image, floats in zip(pixels, out, strict=True):  # one after the other: they stay in the cache
        if affine is None:
            for channel, row in enumerate(table.numpy()):  # numpy looks up twice as fast as torch
                np.take(row, image[channel].numpy(), out=floats[channel].numpy(), mode="clip")
        else:
            mean, deviation = affine.view(2, 3, 1, 1)
            torch.div(image, 255, out=floats).sub_(mean).div_(deviation)
    return out
