"""The one decoder of all sources: bytes -> Pillow -> RGB, without EXIF rotation, as the reference codes do.

Source: openai/CLIP `clip.py`, open_clip `transform.py` and torchvision's `pil_loader` all call
`Image.open(...).convert("RGB")` and leave the EXIF orientation alone.
"""

import io
import warnings

from PIL import Image

from cupl_bench.errors import BrokenImageError

__all__ = ["decode", "extensions"]


def decode(content: bytes) -> Image.Image:
    """The image in mode RGB; of an animation the first frame.

    Raises:
        BrokenImageError: the bytes are no image, are cut short, or unpack to a size that Pillow calls a bomb.
    """
    if not content:
        raise BrokenImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # palette and EXIF warnings do not change pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                return image.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenImageError(f"it unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except Exception as error:
        raise BrokenImageError(str(error).split("<_io.")[0].strip() or type(error).__name__) from error


def extensions() -> frozenset[str]:
    """The file name endings, in lower case with their dot, that Pillow can read."""
    return frozenset(
        ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind != "PDF"
    )
