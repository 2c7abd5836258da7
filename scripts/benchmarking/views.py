"""Views: files to the floats of 64 views of each image, against a loop that decodes and crops each view anew."""

import io
import time
from collections.abc import Sequence

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

from benchmarking.rows import Row, Table, in_turn, median
from cupl_bench.backbone.open_clip import DEFAULT_TRANSFORM
from cupl_bench.backbone.pixels import normalise, transform_of_open_clip
from cupl_bench.identity import bytes_key
from cupl_bench.view_features import CroppedImages
from cupl_bench.views import Box, ViewFamily, boxes_of

__all__ = ["measure"]

FAMILY = ViewFamily(count=64)
BATCH = 32
"""As they are encoded on a CPU."""


class _Files:
    """Files as the images of a data set."""

    def __init__(self, files: Sequence[bytes]) -> None:
        self.files = files
        self.image_ids = [str(place) for place in range(len(files))]
        self.image_keys = [bytes_key(file) for file in files]

    def content(self, index: int) -> bytes:
        return self.files[index]


def measure(files: Sequence[bytes], repeats: int) -> Table:
    """Both ways to the same floats, without any model."""
    facts = {**DEFAULT_TRANSFORM, "size": 224}
    transform = transform_of_open_clip(facts)
    table, affine = transform.table, transform.affine
    assert table is not None  # noqa: S101
    images = _Files(files)
    numbers = list(range(1, FAMILY.count))
    cropped = CroppedImages(
        FAMILY, images, [(place, numbers) for place in range(len(files))], (224, 224), transform.exact
    )

    def ours(place: int) -> list[torch.Tensor]:
        found = cropped[place]
        assert isinstance(found, tuple)  # noqa: S101
        return [normalise(batch, table, affine) for batch in torch.split(found[1], BATCH)]

    def one_by_one(place: int, box: Box) -> torch.Tensor:
        image = Image.open(io.BytesIO(files[place])).convert("RGB")
        crop = functional.resized_crop(
            image, box.top, box.left, box.height, box.width, [224, 224], InterpolationMode.BILINEAR
        )
        floats = functional.to_tensor(functional.hflip(crop) if box.flipped else crop)
        normalised: torch.Tensor = functional.normalize(floats, list(facts["mean"]), list(facts["std"]))
        return normalised

    def loop(place: int) -> list[torch.Tensor]:
        size = Image.open(io.BytesIO(files[place])).size
        floats = [one_by_one(place, box) for box in boxes_of(FAMILY, images.image_keys[place], size)]
        return [torch.stack(floats[start : start + BATCH]) for start in range(0, len(floats), BATCH)]

    off = max(float((torch.cat(ours(place)) - torch.cat(loop(place))).abs().max()) for place in range(len(files)))
    seconds = in_turn(
        {
            "loop": lambda: [len(loop(place)) for place in range(len(files))],
            "ours": lambda: [len(ours(place)) for place in range(len(files))],
        },
        repeats,
        time.process_time,
    )
    rates = {name: len(files) * len(numbers) / median(values) for name, values in seconds.items()}
    row = Row(
        what="decode, crop and preprocess 63 crops of each image",
        against=f"a loop that decodes and crops each view anew with Pillow, {rates['loop']:.0f} views/s",
        value=f"{rates['ours'] / rates['loop']:.2f} times ({rates['ours']:.0f} views/s)",
        bar=">= 3",
        met=rates["ours"] / rates["loop"] >= 3,
        seconds=seconds,
    )
    note = f"{len(files)} images, {len(files) * len(numbers):,} crops; the floats differ by at most {off:.1e}."
    return Table(title="Views", note=note, rows=[row])
