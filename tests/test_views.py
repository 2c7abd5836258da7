"""Crops are drawn from the content of an image, and are those of torchvision's transform in distribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import InterpolationMode, RandomResizedCrop, functional

from cupl_bench.views import Box, ViewFamily, boxes_of, view_keys, view_of

FAMILY = ViewFamily(count=400)


def keys(count: int) -> list[bytes]:
    return [number.to_bytes(16, "little") for number in range(count)]


def test_views_are_the_same_on_every_machine() -> None:
    """Written down once: a new version of numpy or of this file must not draw others under the same keys."""
    first, second = list(boxes_of(ViewFamily(count=3), bytes(16), (500, 375)))
    assert (first, second) == (Box(195, 110, 171, 187, True), Box(107, 174, 195, 151, True))
    assert view_keys(ViewFamily(count=2), [bytes(16)])[0].hex() == "17d1e9d4eb50e2158554678a66beca3c"


def test_more_views_begin_with_the_same_ones() -> None:
    few, many = ViewFamily(count=5), ViewFamily(count=9)
    assert list(boxes_of(few, bytes(16), (500, 375))) == list(boxes_of(many, bytes(16), (500, 375)))[:4]
    assert view_keys(few, keys(1)) == view_keys(many, keys(1))[:4]


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"scale": (0.5, 1.0)}, {"flip": 0.0}, {"interpolation": "bicubic"}, {"shape": "square"}],
    ids=str,
)
def test_other_settings_and_other_images_have_other_views(other: dict[str, object]) -> None:
    asked = ViewFamily(count=5)
    changed = replace(asked, **other)
    assert not set(view_keys(asked, keys(3))) & set(view_keys(changed, keys(3)))
    assert len(set(view_keys(asked, keys(3)))) == 12
    assert list(boxes_of(asked, keys(2)[0], (500, 375))) != list(boxes_of(asked, keys(2)[1], (500, 375)))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (40, 2000), (1, 1), (3, 2)])
def test_every_crop_lies_in_its_image(size: tuple[int, int]) -> None:
    for family in (FAMILY, replace(FAMILY, shape="square", scale=(0.5, 0.9))):
        for box in boxes_of(family, bytes(16), size):
            assert box.width >= 1
            assert box.height >= 1
            assert 0 <= box.left <= size[0] - box.width
            assert 0 <= box.top <= size[1] - box.height


def test_crops_are_distributed_as_those_of_torchvision() -> None:
    torch.manual_seed(0)
    image = torch.empty(3, 375, 500)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    ours = [box for key in keys(10) for box in boxes_of(replace(FAMILY, count=401), key, (500, 375))]
    top, left, height, width = theirs.T
    for what, one, other in (
        ("width", [box.width for box in ours], width),
        ("height", [box.height for box in ours], height),
        ("left", [box.left for box in ours], left),
        ("top", [box.top for box in ours], top),
    ):
        assert ks_2samp(one, other).pvalue > 0.001, what
    assert np.mean([box.flipped for box in ours]) == pytest.approx(0.5, abs=0.03)


def test_where_no_crop_fits_the_largest_in_the_middle_is_taken() -> None:
    box = next(boxes_of(ViewFamily(count=2, scale=(1.0, 1.0)), bytes(16), (40, 2000)))
    assert (box.width, box.height, box.left, box.top) == (40, 53, 0, 973)


def test_sides_of_squares_are_shares_of_the_shorter_side() -> None:
    sides = [box.width for box in boxes_of(replace(FAMILY, shape="square", scale=(0.5, 0.9)), bytes(16), (500, 300))]
    assert min(sides) >= 150
    assert max(sides) < 270
    assert np.mean(sides) == pytest.approx(210, abs=8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_view_is_the_crop_that_torchvision_makes(interpolation: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    box = Box(10, 20, 61, 47, True)
    ours = view_of(image, box, replace(FAMILY, interpolation=interpolation), (32, 24))
    theirs = functional.resized_crop(image, 20, 10, 47, 61, [32, 24], InterpolationMode(interpolation))
    assert np.array_equal(np.array(ours), np.array(functional.hflip(theirs)))
    square = view_of(image, replace(box, flipped=False), replace(FAMILY, shape="square"), (32, 24))
    assert square.size == (61, 47)


@pytest.mark.parametrize("wrong", [{"count": 1}, {"scale": (0.0, 1.0)}, {"scale": (0.5, 1.5)}, {"flip": 2.0}], ids=str)
def test_a_value_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="views|should"):
        ViewFamily(**{"count": 4, **wrong})
