"""Decoding on a GPU, with the CPU in the GPU's place: what goes where, and what is refused."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cupl_bench import features, nvjpeg
from cupl_bench.backbone.pixels import FastPixels
from cupl_bench.dataset.decode import decode_tensor
from cupl_bench.errors import BrokenImageError, DatasetError
from cupl_bench.nvjpeg import GpuPixels

FAST = FastPixels(size=(16, 16), squash=False, interpolation="bicubic")


def file(seed: int, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((70, 50)).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def on_cpu() -> GpuPixels:
    return GpuPixels(FAST, torch.device("cpu"))


FILES = [file(0), file(1, "PNG"), file(2, mode="L"), file(3, mode="CMYK"), file(4, progressive=True), file(5) + b"\0\0"]


def test_a_batch_is_the_fast_pixels_in_order(on_cpu: GpuPixels) -> None:
    found = [on_cpu(content) for content in FILES]
    assert [one.dim() for one in found] == [1, 3, 1, 3, 1, 1]
    expected = torch.stack([FAST(decode_tensor(content)) for content in FILES])
    assert torch.equal(on_cpu.batch(found), expected)
    assert len({row.numpy().tobytes() for row in expected}) == len(FILES)
    assert len(on_cpu.batch([])) == 0
    assert torch.equal(on_cpu.batch(found[1:2]), expected[1:2])


@pytest.mark.parametrize("content", [b"", b"no image", FILES[0][:200], FILES[1][:100], b"\xff\xd8\xff\xd9"])
def test_what_is_broken_is_said_before_a_gpu_sees_it(on_cpu: GpuPixels, content: bytes) -> None:
    with pytest.raises(BrokenImageError):
        on_cpu.batch([on_cpu(content)])


def test_a_bomb_is_said_too(on_cpu: GpuPixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BrokenImageError, match="unpacks to more than 100 pixels"):
        on_cpu(FILES[0])


def test_another_image_is_refused(on_cpu: GpuPixels, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [on_cpu(file(seed)) for seed in range(3)]
    decoded = on_cpu._decoded(found)
    monkeypatch.setattr(GpuPixels, "_decoded", lambda *_: decoded[::-1])
    with pytest.raises(DatasetError, match=r"another image .* differ by [0-9.]+ of 255 .* dataset.decode=fast"):
        on_cpu.batch(found)
    near = [(one.int() + 2).clamp(0, 255).to(torch.uint8) for one in decoded]
    monkeypatch.setattr(GpuPixels, "_decoded", lambda *_: near)
    assert on_cpu.batch(found).shape == (3, 3, 16, 16)


def test_a_batch_that_the_gpu_does_not_take_is_decoded_by_the_cpu(
    on_cpu: GpuPixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object, **__: object) -> None:
        raise RuntimeError("nvjpegDecodeBatched: JPEG_NOT_SUPPORTED")

    monkeypatch.setattr("torchvision.io.decode_jpeg", unable)
    found = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in (file(0), file(1))]
    assert torch.equal(on_cpu.batch(found), torch.stack([FAST(decode_tensor(file(0))), FAST(decode_tensor(file(1)))]))


def test_without_a_gpu_it_is_the_users_mistake(cli, on_photos) -> None:
    assert on_photos("dataset.decode=nvjpeg") == 2
    assert "dataset.decode=nvjpeg decodes on an NVIDIA GPU, and this run is on cpu. Take dataset.decode=fast" in cli.err


@pytest.mark.parametrize("num_workers", [0, 1])
def test_it_is_a_question_of_its_own(
    cli, on_photos, photos: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    (photos / "ant" / "odd.jpg").write_bytes(FILES[0])
    (photos / "ant" / "broken.jpg").write_bytes(FILES[0][:200])
    assert on_photos("dataset.decode=fast", "dataset.skip_broken=true") == 0, cli.err
    fast = cli.record()
    monkeypatch.setattr(features, "DEVICE", "cpu")
    batches = []
    batch = GpuPixels.batch
    monkeypatch.setattr(GpuPixels, "batch", lambda self, found: batches.append(len(found)) or batch(self, found))
    arguments = ("dataset.decode=nvjpeg", "dataset.skip_broken=true", f"num_workers={num_workers}", "batch_size=4")
    assert on_photos(*arguments) == 0, cli.err
    assert sum(batches) == 16
    record = cli.record()
    assert record.run_key != fast.run_key
    assert record.dataset.num_broken == fast.dataset.num_broken == 1
    assert record.metrics == fast.metrics
    assert re.search(r"1[67] encoded|16 encoded", cli.out)
    assert nvjpeg.DEVICE == "cuda"
