"""The one decoder of all sources: bytes to RGB, without EXIF rotation, as the reference codes do.

Pillow decides what is an image and of which kind. Grey and three-channel JPEGs are then decoded by torchvision: the
same library below, so the same pixels (a test says so), without Pillow's detour through its own layout.

Source: openai/CLIP `clip.py`, open_clip `transform.py` and torchvision's `pil_loader` all call
`Image.open(...).convert("RGB")` and leave the EXIF orientation alone.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from cupl_bench.errors import BrokenImageError, MachineError
from cupl_bench.memory import is_lack_of_memory

if TYPE_CHECKING:  # heavy: who lists images decodes none
    import torch

__all__ = ["Decode", "decode", "decode_tensor", "extensions"]

# Pillow gives the memory of each image back to the system and asks for it anew, page by page; now it keeps 64 MB.
Image.core.set_blocks_max(4)  # type: ignore[attr-defined]

Decode = Literal["exact", "fast"]
"""How images become pixels: as the model's own transform does it on Pillow, or on tensors, nearly so."""

VERDICTS = (
    OSError, SyntaxError, ValueError, EOFError, RuntimeError, TypeError, LookupError, ArithmeticError, AttributeError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's readers raise about the bytes, as mutated files of all its formats show. Not among them: MemoryError,
ImportError, and whatever PyTorch raises, which runs outside."""
BYTES_PER_PIXEL = 32
"""More than any of Pillow's decoders takes for a pixel: JPEG 2000, the largest, takes about 12."""
PIXELS_UNKNOWN = 8_000_000
"""Taken for the size of an image whose header was not read."""


def decode(content: bytes) -> Image.Image:
    """Return the image in mode RGB; of an animation the first frame.

    Raises:
        BrokenImageError: the bytes are not an image, are cut short, or unpack to a size that Pillow calls a bomb.
        MemoryError: there is too little memory to know.
        MachineError: the decoder of JPEGs is not installed as it should be.
    """
    found = _open(content)
    if isinstance(found, Image.Image):
        return found
    return Image.fromarray(found.transpose(1, 2, 0))


def decode_tensor(content: bytes) -> "torch.Tensor":
    """Return the same pixels as a tensor, 3 x H x W, of bytes.

    Raises:
        BrokenImageError, MemoryError, MachineError: as `decode`.
    """
    import torch

    found = _open(content)
    if isinstance(found, Image.Image):
        return torch.from_numpy(np.array(found)).permute(2, 0, 1)
    return torch.from_numpy(found)


def _open(content: bytes) -> Image.Image | UInt8[np.ndarray, "3 h w"]:
    """Return the image in mode RGB, as whichever decoder made it."""
    with _opened(content) as image:
        if not _is_jpeg(image):
            _check_range(image)
            return image.convert("RGB")
    if (pixels := _decode_jpeg(content)) is not None:
        return pixels
    with _opened(content) as image:
        _check_range(image)
        return image.convert("RGB")


def _check_range(image: Image.Image) -> None:
    """Refuse what `convert("RGB")` would clip to a plain picture: deep grey, and pictures in the alpha channel alone.

    Raises:
        BrokenImageError: values lie outside 0 to 255, or all colours are one and only the alpha channel differs.
    """
    if image.mode.startswith("I") or image.mode == "F":
        low, high = cast(tuple[float, float], image.getextrema())
        if low < 0 or high > 255 or (image.mode == "F" and low != high and high <= 1):
            raise BrokenImageError(
                f"its grey values go from {low} to {high}, and would be clipped to 0 to 255: convert it to 8 bits"
            )
    elif image.mode in ("RGBA", "LA"):
        *colours, alpha = cast(tuple[tuple[int, int], ...], image.getextrema())
        if all(low == high for low, high in colours) and alpha[0] != alpha[1]:
            raise BrokenImageError("its picture is in the alpha channel alone, which is not read: give it a background")


def _is_jpeg(image: Image.Image) -> bool:
    return image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Yield what Pillow opens of the bytes; errors raised inside the block count as faults of the bytes.

    Raises:
        BrokenImageError: the bytes are not a whole image.
        MemoryError: memory is short, which decoders also call a broken stream: nothing is known about the bytes.
        OSError: one of the system, not of the image.
    """
    if not content:
        raise BrokenImageError("the file is empty")
    num_pixels = PIXELS_UNKNOWN
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # palette and EXIF warnings do not change pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                num_pixels = image.width * image.height
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenImageError(f"it unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except VERDICTS as error:
        if is_lack_of_memory(error) or not (isinstance(error, UnidentifiedImageError) or _has_memory(num_pixels)):
            raise MemoryError(str(error)) from error
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BrokenImageError(str(error).split("<_io.")[0].strip() or type(error).__name__) from error


def _decode_jpeg(content: bytes) -> UInt8[np.ndarray, "3 h w"] | None:
    """Return the pixels, or None if torchvision refuses the file, such as one cut short: Pillow then judges it."""
    import torch

    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torchvision 0.29, in favour of torchcodec
            pixels: np.ndarray = decode_jpeg(
                torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB
            ).numpy()
    except (ImportError, AttributeError) as error:  # also of operators that torchvision could not load
        raise MachineError(
            f"torchvision cannot decode JPEGs here ({error}). Install the torch and torchvision that belong together."
        ) from error
    except RuntimeError as error:
        if is_lack_of_memory(error):
            raise MemoryError(str(error).partition("\n")[0]) from error
        return None
    return pixels


def _has_memory(num_pixels: int) -> bool:
    """Return whether memory for an image of that size can be allocated; it is freed at once, and never written."""
    try:
        np.empty(num_pixels * BYTES_PER_PIXEL, dtype=np.uint8)
    except MemoryError:
        return False
    return True


def extensions() -> frozenset[str]:
    """Return the file name endings, in lower case with their dot, that Pillow can read."""
    return frozenset(
        ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind != "PDF"
    )
