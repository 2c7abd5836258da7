"""JPEGs decoded by torchvision are Pillow's to the pixel; the two parts of a transform are the whole to the bit."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import TinyModel, encoded, picture
from PIL import Image

from cupl_bench.backbone.open_clip import DEFAULT_TRANSFORM
from cupl_bench.backbone.pixels import ShortestEdge, normalise, split_transform, transform_of_open_clip
from cupl_bench.dataset.decode import decode, decode_tensor
from cupl_bench.errors import BrokenImageError


def by_pillow(content: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:
        return None


def by_us(content: bytes) -> np.ndarray | None:
    try:
        image = decode(content)
        pixels = decode_tensor(content)
    except BrokenImageError:
        return None
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))
    return np.asarray(image)


def assert_same(content: bytes) -> None:
    ours, theirs = by_us(content), by_pillow(content)
    assert (ours is None) == (theirs is None)
    if ours is not None:
        np.testing.assert_array_equal(ours, theirs)


def noise(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    """Half coarse, half fine: both smooth areas and clipped ones."""
    fine = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    return Image.blend(picture(seed, size), fine, 0.3).convert(mode)


@pytest.mark.slow
@given(
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    size=st.tuples(st.integers(1, 67), st.integers(1, 67)),
    options=st.fixed_dictionaries(
        {
            "quality": st.integers(1, 100),
            "progressive": st.booleans(),
            "optimize": st.booleans(),
            "restart_marker_blocks": st.integers(0, 3),
        },
        optional={"subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0"])},
    ),
    seed=st.integers(0, 9),
)
def test_jpegs_are_pillows_to_the_pixel(mode: str, size: tuple[int, int], options: dict, seed: int) -> None:
    buffer = io.BytesIO()
    noise(mode, size, seed).save(buffer, "JPEG", **options)
    assert_same(buffer.getvalue())


@pytest.mark.parametrize(
    "options",
    [
        {"keep_rgb": True},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        {"icc_profile": b"x" * 70000},
        {"comment": b"\xff\xd9"},
    ],
)
def test_uncommon_jpegs_are_too(options: dict) -> None:
    buffer = io.BytesIO()
    noise("RGB", (53, 41), 0).save(buffer, "JPEG", **options)
    assert_same(buffer.getvalue())
    assert_same(buffer.getvalue() + b"\0" * 10)
    assert_same(buffer.getvalue() + b"\0" * 1000)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "MPO"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_all_other_kinds_are_pillows(kind: str, mode: str) -> None:
    if (kind, mode) in {("MPO", "P"), ("MPO", "RGBA")}:
        pytest.skip("no such file")
    assert_same(encoded(3, kind, mode=mode))


@settings(max_examples=100)
@given(
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, 10**6),
    progressive=st.booleans(),
)
def test_damaged_jpegs_are_broken_where_pillow_says_so_and_pillows_elsewhere(
    damage: list, cut: int, progressive: bool
) -> None:
    buffer = io.BytesIO()
    noise("RGB", (61, 47), 1).save(buffer, "JPEG", progressive=progressive)
    content = bytearray(buffer.getvalue())
    for place, value in damage:
        content[place % len(content)] = value
    assert_same(bytes(content))
    shorter = content[: cut % len(content)]
    assert_same(bytes(shorter))
    assert_same(bytes(shorter) + b"\xff\xd9")


def test_torchvision_decodes_the_common_jpegs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it all of the above would hold, and nothing be gained."""
    files = [encoded(0), encoded(0, mode="L"), encoded(0, progressive=True)]
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("Pillow decoded it"))
    assert {decode(content).mode for content in files} == {"RGB"}


def test_a_bomb_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(BrokenImageError, match="more than 500 pixels"):
        decode(encoded(0))


TRANSFORMS = [
    {"size": 32},
    {"size": 32, "interpolation": "bilinear"},
    {"size": 32, "resize_mode": "squash"},
    {"size": 32, "resize_mode": "longest", "fill_color": 7},
    {"size": (32, 32), "mean": [0.5] * 3, "std": [0.5] * 3},
    {"size": (24, 40)},
]


@pytest.mark.parametrize("changes", TRANSFORMS, ids=str)
def test_the_two_parts_are_open_clips_transform_to_the_bit(changes: dict) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    facts = {**DEFAULT_TRANSFORM, **changes}
    transform = transform_of_open_clip(facts)
    whole = image_transform_v2(PreprocessCfg(**facts), is_train=False)
    assert transform.table is not None
    for image in (noise("RGB", (90, 61), 0), noise("RGB", (31, 77), 1), noise("RGB", (32, 32), 2)):
        pixels = transform.exact(image)
        assert pixels.dtype == torch.uint8
        assert torch.equal(normalise(pixels[None], transform.table)[0], whole(image))
        assert transform.affine is not None
        assert torch.equal(normalise(pixels[None], transform.table, transform.affine)[0], whole(image))
        for dtype in (torch.bfloat16, torch.float64):  # the lookup of other devices
            assert torch.equal(normalise(pixels[None], transform.table.to(dtype))[0], whole(image).to(dtype))


@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    target=st.integers(1, 64),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    seed=st.integers(0, 9),
)
def test_what_the_crop_throws_away_may_be_left_out(
    size: tuple[int, int], target: int, interpolation: str, seed: int
) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = noise("RGB", size, seed)
    if max(size) * target > 5000 * min(size):  # a pixel wide: torchvision would make a band without end
        return
    theirs = Compose([Resize(target, InterpolationMode(interpolation)), CenterCrop(target)])(image)
    ours = ShortestEdge(size=target, resample=Image.Resampling[interpolation.upper()])(image)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_means_that_say_something_else_are_not_taken() -> None:
    facts = {**DEFAULT_TRANSFORM, "size": 32}
    transform = transform_of_open_clip(facts)

    def table(image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert transform.table is not None
        return normalise(pixels[None], transform.table)[0]

    wrong = torch.tensor([facts["mean"], facts["std"]])
    wrong[0, 1] = torch.nextafter(wrong[0, 1], torch.tensor(1.0))
    again = split_transform(transform.floats, transform.exact, table, None, {}, wrong)
    assert again.table is not None
    assert again.affine is None


@pytest.mark.parametrize("changes", TRANSFORMS[:3], ids=str)
def test_fast_pixels_are_nearly_the_exact_ones(changes: dict) -> None:
    transform = transform_of_open_clip({**DEFAULT_TRANSFORM, **changes})
    assert transform.fast is not None
    for seed, size in enumerate([(90, 61), (61, 90), (32, 32), (20, 33)]):
        image = noise("RGB", size, seed)
        fast = transform.fast(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        difference = (fast.int() - transform.exact(image).int()).abs()
        assert difference.max() <= 3
        assert difference.float().mean() < 0.5


def test_what_tensors_cannot_do_has_no_fast_form() -> None:
    assert transform_of_open_clip({**DEFAULT_TRANSFORM, **TRANSFORMS[3]}).fast is None
    assert transform_of_open_clip({**DEFAULT_TRANSFORM, **TRANSFORMS[5]}).fast is None


@pytest.mark.slow
def test_fast_is_another_question_with_features_of_its_own(cli, on_photos, tiny: TinyModel) -> None:
    assert on_photos() == 0
    exact = cli.record()
    assert on_photos("dataset.decode=fast") == 0
    assert "0 reused, 15 encoded" in cli.out
    assert cli.record().run_key != exact.run_key
    assert on_photos("dataset.decode=quick") == 2
    assert "choose one of exact, fast." in cli.err


def test_a_transform_without_a_fast_form_says_so(cli, on_photos, tiny: TinyModel, tmp_path: Path) -> None:
    config = json.loads(tiny.config.read_text())
    (tmp_path / "longest.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"resize_mode": "longest"}})
    )
    assert on_photos("dataset.decode=fast", f"backbone.architecture={tmp_path / 'longest.json'}") == 2
    assert "dataset.decode=exact" in cli.err
