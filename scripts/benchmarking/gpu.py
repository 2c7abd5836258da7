"""On a GPU: how near the towers come to the machine's matrix rate, and text against open_clip's batches.

The same code runs on a CPU with a small model, which a test does; its figures say nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor

from benchmarking.rows import Row, Table, median
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.pixels import ImageTransform, normalise, transform_of_open_clip
from cupl_bench.backbone.prefix_tree import encode_sequences, find_causal_tower
from cupl_bench.dataset.decode import decode_tensor

__all__ = ["measure", "without"]

MODELS = ("ViT-B-32", "ViT-L-14")
GFLOP_PER_IMAGE = {"ViT-B-32": 8.8, "ViT-L-14": 162.0}
"""Multiplications and additions of the image tower; others have no share of the matrix rate."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured: edges of matrices, images of a batch and in all, classes, times."""

    matrix: int
    batch: int
    images: int
    classes: int
    repeats: int


FULL = Size(matrix=8192, batch=256, images=2048, classes=1000, repeats=3)


def without() -> Table:
    """The rows of a machine that has no GPU: empty."""
    rows = [
        Row(what=what, against=against, value="", bar=bar)
        for name in MODELS
        for what, against, bar in (
            (f"{name}: bare forward pass, images/s", "the measured matrix rate", ""),
            (f"{name}: bytes on the host to features, images/s", "the bare forward pass", ">= 60%"),
            (f"{name}: the text tree, prompts/s, encoding alone", "open_clip's batches in bf16", ">= 5 times"),
            (f"{name}: 1,000 classes x 80 templates, tokenising included", "", ""),
            (f"{name}: 1,000 classes x 50 sentences, tokenising included", "", ""),
            (f"{name}: simple, templates and sentences together, tokenising included", "", _bar_of_all(name)),
        )
    ]
    rows.append(Row(what="decoding, all cores, fast", against="", value=""))
    return Table(title="GPU", note="No GPU was at hand: these rows are empty.", rows=rows)


def measure(
    photos: Sequence[bytes],
    sentences: Mapping[str, Sequence[str]],
    device: torch.device,
    models: Sequence[str] = MODELS,
    size: Size = FULL,
) -> Table:
    """Rates of each model in bf16, with random weights.

    Args:
        photos: JPEG files.
        sentences: class name -> CuPL sentences.
        device: where to compute.
        models: names of open_clip.
        size: how much is measured.
    """
    stopwatch = Stopwatch(device=device, repeats=size.repeats)
    rate = _matrix_rate(stopwatch, size.matrix)
    rows = [Row(what=f"bf16 matrix product of {size.matrix}", against="", value=f"{rate / 1e12:.1f} TFLOP/s")]
    for name in models:
        torch.manual_seed(0)
        model = open_clip.create_model(name, precision="bf16", device=device).eval().requires_grad_(requires_grad=False)
        rows += _images(name, model, stopwatch, size, rate)
        rows += _texts(name, model, open_clip.get_tokenizer(name), sentences, stopwatch, size)
    rows += _decoding(photos, stopwatch)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU, to see that it runs"
    return Table(title="GPU", note=f"{name}; bf16, random weights, medians of {size.repeats}, wall time.", rows=rows)


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Seconds of work on a device, all of it finished."""

    device: torch.device
    repeats: int

    def seconds(self, work: Callable[[], object]) -> float:
        """The median, after a first time that is not counted."""
        found = []
        for _ in range(self.repeats + 1):
            self._wait()
            began = time.perf_counter()
            work()
            self._wait()
            found.append(time.perf_counter() - began)
        return median(found[1:])

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _matrix_rate(stopwatch: Stopwatch, size: int) -> float:
    """FLOP per second of a large product of matrices in bf16."""
    a, b = torch.randn(2, size, size, device=stopwatch.device, dtype=torch.bfloat16)
    return 2 * size**3 / stopwatch.seconds(lambda: a @ b)


def _transform(model: Any) -> ImageTransform:
    image_size = model.visual.image_size
    return transform_of_open_clip({**asdict(PreprocessCfg()), "size": image_size})


def _images(name: str, model: Any, stopwatch: Stopwatch, size: Size, rate: float) -> list[Row]:
    transform = _transform(model)
    assert transform.table is not None  # noqa: S101
    height, width = model.visual.image_size
    resident = torch.randn(size.batch, 3, height, width, device=stopwatch.device, dtype=torch.bfloat16)
    table = transform.table.to(stopwatch.device, torch.bfloat16)
    on_host = torch.randint(0, 256, (size.images, 3, height, width), dtype=torch.uint8)
    if stopwatch.device.type == "cuda":
        on_host = on_host.pin_memory()

    def from_host() -> None:
        for batch in torch.split(on_host, size.batch):
            model.encode_image(normalise(batch.to(stopwatch.device, non_blocking=True), table))

    with torch.inference_mode():
        bare = size.batch / stopwatch.seconds(lambda: model.encode_image(resident))
        ours = size.images / stopwatch.seconds(from_host)
    flops = GFLOP_PER_IMAGE.get(name)
    share = "" if flops is None else f", {100 * bare * flops * 1e9 / rate:.0f}% of the matrix rate"
    return [
        Row(
            what=f"{name}: bare forward pass on resident data, batches of {size.batch}",
            against="the measured matrix rate",
            value=f"{bare:,.0f} images/s{share}",
        ),
        Row(
            what=f"{name}: bytes on the host to features",
            against="the bare forward pass",
            value=f"{ours:,.0f} images/s, {100 * ours / bare:.0f}%",
            bar=">= 60%",
            met=ours >= 0.6 * bare,
        ),
    ]


def _texts(
    name: str,
    model: Any,
    tokenizer: Callable[[Sequence[str]], Tensor],
    sentences: Mapping[str, Sequence[str]],
    stopwatch: Stopwatch,
    size: Size,
) -> list[Row]:
    fast, tower = FastBpe.from_tokenizer(tokenizer), find_causal_tower(model)
    if fast is None or tower is None:
        raise SystemExit(f"{name} has no causal text tower with open_clip's own tokenizer.")
    names = open_clip.IMAGENET_CLASSNAMES[: size.classes]
    templates = [template(one) for one in names for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    described = [text for texts in list(sentences.values())[: size.classes] for text in texts[:50]]
    simple = [f"a photo of a {one}." for one in names]
    # The peer encodes a sample: its time grows with the number of prompts alone.
    sample = templates[: 16 * size.batch]
    rows_of_peer = tokenizer(sample).to(stopwatch.device)

    def peer() -> None:
        for batch in torch.split(rows_of_peer, size.batch):
            model.encode_text(batch)

    sequences, _ = fast(templates)
    with torch.inference_mode():
        rate_of_peer = len(sample) / stopwatch.seconds(peer)
    rate = len(templates) / stopwatch.seconds(lambda: encode_sequences(tower, sequences))
    rows = [
        Row(
            what=f"{name}: the text tree, {len(templates):,} prompts of {len(names):,} classes, encoding alone",
            against=f"open_clip in batches of {size.batch}, bf16, {rate_of_peer:,.0f} prompts/s",
            value=f"{rate:,.0f} prompts/s, {rate / rate_of_peer:.1f} times",
            bar=">= 5 times",
            met=rate >= 5 * rate_of_peer,
        )
    ]

    def whole(texts: Sequence[str]) -> None:
        known = FastBpe.from_tokenizer(tokenizer)  # without the words of the time before
        assert known is not None  # noqa: S101
        encode_sequences(tower, known(list(dict.fromkeys(texts)))[0])

    for what, texts, bar in (
        (f"{len(names):,} classes x 80 templates", templates, ""),
        (f"{len(names):,} classes x at most 50 sentences", described, ""),
        ("simple, templates and sentences together", [*simple, *templates, *described], _bar_of_all(name)),
    ):
        spent = stopwatch.seconds(partial(whole, texts))
        rows.append(
            Row(
                what=f"{name}: {what}, {len(texts):,} prompts, tokenising included",
                against="",
                value=f"{spent:.1f} s",
                bar=bar,
                met=spent < 20 if bar else None,
            )
        )
    return rows


def _bar_of_all(name: str) -> str:
    return "< 20 s" if name == "ViT-L-14" else ""


def _decoding(photos: Sequence[bytes], stopwatch: Stopwatch) -> list[Row]:
    """Files to pixels at 224, on all cores, apart from encoding."""
    fast = transform_of_open_clip({**asdict(PreprocessCfg()), "size": 224}).fast
    assert fast is not None  # noqa: S101

    def on_cores() -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda file: fast(decode_tensor(file)), photos))

    return [
        Row(
            what="decoding and resizing, fast, a thread for each core",
            against="",
            value=f"{len(photos) / stopwatch.seconds(on_cores):,.0f} images/s",
        )
    ]
