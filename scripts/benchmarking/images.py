"""Decoding and preprocessing: files to the floats that a model reads, images per second and core."""

import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from benchmarking.rows import Row, Table, in_turn, median
from cupl_bench.backbone.open_clip import DEFAULT_TRANSFORM
from cupl_bench.backbone.pixels import normalise, transform_of_open_clip
from cupl_bench.dataset.decode import decode, decode_tensor

__all__ = ["measure", "photographs"]

NUM_PHOTOGRAPHS = 100
BATCH = 50


def photographs(folder: Path | None) -> list[bytes]:
    """JPEG files, at most 100: those of a folder, or coloured noise of ImageNet's usual size."""
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        return [path.read_bytes() for path in paths[:NUM_PHOTOGRAPHS]]
    files = []
    for seed in range(NUM_PHOTOGRAPHS):
        coarse = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
        files.append(buffer.getvalue())
    return files


def measure(files: Sequence[bytes], repeats: int) -> Table:
    """Three ways to the same floats."""
    facts = {**DEFAULT_TRANSFORM, "size": 224}
    peer = image_transform_v2(PreprocessCfg(**facts), is_train=False)
    transform = transform_of_open_clip(facts)
    table, affine, fast = transform.table, transform.affine, transform.fast
    assert table is not None  # noqa: S101
    assert fast is not None  # noqa: S101

    def of_pillow(batch: Sequence[bytes]) -> torch.Tensor:
        return torch.stack([peer(Image.open(io.BytesIO(file)).convert("RGB")) for file in batch])

    def exact(batch: Sequence[bytes]) -> torch.Tensor:
        return normalise(torch.stack([transform.exact(decode(file)) for file in batch]), table, affine)

    def of_tensors(batch: Sequence[bytes]) -> torch.Tensor:
        return normalise(torch.stack([fast(decode_tensor(file)) for file in batch]), table, affine)

    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    equal, off = True, 0.0
    for batch in batches:
        theirs = of_pillow(batch)
        equal &= torch.equal(exact(batch), theirs)
        off = max(off, float((of_tensors(batch) - theirs).abs().max()) * 255 * min(facts["std"]))
    seconds = in_turn(
        {
            "open_clip": lambda: [of_pillow(batch).shape for batch in batches],
            "exact": lambda: [exact(batch).shape for batch in batches],
            "fast": lambda: [of_tensors(batch).shape for batch in batches],
        },
        repeats,
        time.process_time,
    )
    rates = {name: len(files) / median(values) for name, values in seconds.items()}
    rows = [
        Row(
            what=f"decode + preprocess, {name}",
            against=f"open_clip's transform with Pillow, {rates['open_clip']:.0f} images/s",
            value=f"{rates[name] / rates['open_clip']:.2f} times ({rates[name]:.0f} images/s)",
            bar=f">= {bar}",
            met=rates[name] / rates["open_clip"] >= bar,
            seconds={way: seconds[way] for way in ("open_clip", name)},
        )
        for name, bar in (("exact", 1.05), ("fast", 1.8))
    ]
    note = (
        f"{len(files)} JPEGs to 224 x 224 floats, in batches of {BATCH}, by CPU time. Exact floats equal"
        f" open_clip's to the last bit: {'yes' if equal else '**no**'}. Fast pixels differ by at most {off:.1f} of 255."
    )
    return Table(title="Images", note=note, rows=rows)
