import io

import numpy as np
import pytest
from making import encoded, picture
from PIL import Image

from cupl_bench.dataset.decode import decode, extensions
from cupl_bench.errors import BrokenImageError


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_any_mode_becomes_rgb_as_the_reference_does(mode: str) -> None:
    content = encoded(1, "JPEG", mode=mode)
    expected = Image.open(io.BytesIO(content)).convert("RGB")
    assert np.array_equal(np.asarray(decode(content)), np.asarray(expected))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGBA", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGB", "WEBP"), ("P", "GIF")],
)
def test_other_kinds(mode: str, kind: str) -> None:
    buffer = io.BytesIO()
    image = picture(2)
    (image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)).save(buffer, kind)
    assert decode(buffer.getvalue()).mode == "RGB"


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def alpha_alone(mode: str) -> Image.Image:
    image = Image.new(mode, (40, 36))
    image.putalpha(picture(2, mode="L"))
    return image


DEEP = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(Image.fromarray(DEEP), "PNG"), "grey values go from 0 to 65520.*convert it to 8 bits"),
        (saved(Image.fromarray(DEEP), "TIFF"), "grey values go from 0 to 65520"),
        (saved(Image.fromarray(DEEP.astype(np.int32) - 7), "TIFF"), "grey values go from -7 to 65513"),
        (saved(Image.fromarray((DEEP / 65535).astype(np.float32)), "TIFF"), "grey values go from 0.0 to 0.99"),
        (saved(alpha_alone("RGBA"), "PNG"), "in the alpha channel alone"),
        (saved(alpha_alone("LA"), "PNG"), "in the alpha channel alone"),
    ],
)
def test_a_picture_that_would_become_plain_is_refused(content: bytes, message: str) -> None:
    """Pillow clips to 0 to 255 and drops the alpha channel, so that most of these would be one colour."""
    with pytest.raises(BrokenImageError, match=message):
        decode(content)


def test_exif_rotation_is_left_alone() -> None:
    """The reference codes do not rotate; the datasets library would."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(3, "JPEG", exif=exif)
    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == 6
    assert decode(content).size == picture(3).size == (40, 36)


def test_an_animation_gives_its_first_frame() -> None:
    buffer = io.BytesIO()
    picture(4).save(buffer, "GIF", save_all=True, append_images=[picture(5)])
    first = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
    assert np.array_equal(np.asarray(decode(buffer.getvalue())), np.asarray(first))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a text file called .jpg",
        encoded(6)[:-40],
        encoded(6)[:300],
        encoded(6, "PNG")[:80],
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
    ],
)
def test_what_is_no_whole_image_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenImageError):
        decode(content)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BrokenImageError, match="more than 1000 pixels"):
        decode(encoded(7))


def test_usual_endings_are_known() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"} <= extensions()
    assert not {".txt", ".json", ".pdf", ".mp4"} & extensions()
