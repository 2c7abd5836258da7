"""What choices cost and change: `dataset.decode`, kept pixels, `precision`, a pass over the features for each strategy.

ViT-B-32, random weights, one thread, CPU time (waiting for the disk is not in it).

PYTHONPATH=scripts taskset -c 0 .venv/bin/python -m benchmarking.choices PHOTOS
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarking.images import photographs
from benchmarking.rows import in_turn, median
from cupl_bench.backbone.open_clip import DEFAULT_TRANSFORM
from cupl_bench.backbone.pixels import normalise, transform_of_open_clip
from cupl_bench.dataset.decode import decode, decode_tensor
from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.identity import bytes_key
from cupl_bench.pixel_store import PixelStore
from cupl_bench.scores import predict
from cupl_bench.store import RowStore

__all__ = ["measure"]

MODEL = "ViT-B-32"
NUM_CLASSES = 1000
NUM_ENCODED = 128
NUM_FEATURES, WIDTH, SHARD = 50_000, 768, 4096
REPEATS = 3


@torch.inference_mode()
def measure(photos: list[bytes]) -> Iterator[str]:
    """A line for each figure."""
    transform = transform_of_open_clip({**DEFAULT_TRANSFORM, "size": 224})
    table, fast = transform.table, transform.fast
    assert table is not None  # noqa: S101
    assert fast is not None  # noqa: S101
    torch.manual_seed(0)
    model = open_clip.create_model(MODEL).eval()

    exact_pixels = torch.stack([transform.exact(decode(photo)) for photo in photos])
    fast_pixels = torch.stack([fast(decode_tensor(photo)) for photo in photos])
    off = (exact_pixels.int() - fast_pixels.int()).abs()
    share = 100 * float((off > 0).float().mean())
    yield f"fast pixels: at most {int(off.max())} of 255 off, {share:.2f}% of values differ"

    def features(pixels: Tensor) -> Tensor:
        floats = normalise(pixels, table, transform.affine)
        return torch.cat([F.normalize(model.encode_image(batch), dim=-1) for batch in torch.split(floats, 25)])

    exact, near = features(exact_pixels), features(fast_pixels)
    apart = 1 - (exact.double() * near.double()).sum(1)
    yield f"fast features: 1 - cos {float(apart.mean()):.0e} on average, {float(apart.max()):.0e} at most"
    others = (exact @ exact.T).masked_select(~torch.eye(len(exact), dtype=torch.bool))
    yield f"two photographs: 1 - cos {1 - float(others.mean()):.2f}"
    yield f"fast features: largest difference of a component {float((exact - near).abs().max()):.1e}"
    classes = F.normalize(torch.randn(exact.shape[1], NUM_CLASSES), dim=0)
    same = int(((exact @ classes).argmax(1) == (near @ classes).argmax(1)).sum())
    yield f"fast predictions among {NUM_CLASSES:,} random classes: {same} of {len(photos)} the same"

    def rates(ways: dict[str, Callable[[], object]], count: int) -> Iterator[str]:
        for name, seconds in in_turn(ways, REPEATS, time.process_time).items():
            yield f"{name}: {count / median(seconds):,.1f} images/s"

    with tempfile.TemporaryDirectory() as folder:
        keys = [bytes_key(photo) for photo in photos]
        store = PixelStore(folder=Path(folder) / "pixels", facts={}, limit_bytes=1e9)
        ways: dict[str, Callable[[], object]] = {
            "decode and preprocess, exact": lambda: [transform.exact(decode(photo)) for photo in photos],
            "write pixels": lambda: store.write(keys, exact_pixels.numpy()),
            "read pixels": lambda: list(store.stored(keys)),
        }
        yield from rates(ways, len(photos))
    some = normalise(
        exact_pixels.repeat(-(-NUM_ENCODED // len(photos)), 1, 1, 1)[:NUM_ENCODED], table, transform.affine
    )
    half = open_clip.create_model(MODEL, precision="bf16").eval()
    last = open_clip.create_model(MODEL).eval().to(memory_format=torch.channels_last)
    ways = {
        "encode, fp32, 32 at once": lambda: [model.encode_image(batch) for batch in torch.split(some, 32)],
        "encode, fp32, 128 at once": lambda: model.encode_image(some),
        "encode, bf16, 32 at once": lambda: [half.encode_image(batch) for batch in torch.split(some.bfloat16(), 32)],
        "encode, bf16, 128 at once": lambda: half.encode_image(some.bfloat16()),
        "encode, fp32, channels-last, 32 at once": lambda: [
            last.encode_image(batch.to(memory_format=torch.channels_last)) for batch in torch.split(some, 32)
        ],
    }
    yield from rates(ways, len(some))
    with torch.inference_mode(mode=False):  # parameters that are made inside are frozen for good
        half = open_clip.create_model(MODEL, precision="bf16").eval()
    rows = torch.full((10, half.context_length), half.vocab_size - 1)
    seconds = {}
    for frozen in (True, False):
        half.requires_grad_(not frozen)
        times = in_turn({"": lambda: half.encode_text(rows)}, REPEATS, time.process_time)
        seconds[frozen] = median(times[""])
    yield f"ten padded prompts in bf16: {seconds[True]:.2f} s with frozen parameters, {seconds[False]:.2f} s without"
    yield from _passes()


def _passes() -> Iterator[str]:
    """What one strategy's pass over stored features costs, and how much of it is to read them."""
    generator = torch.Generator().manual_seed(0)
    matrix = F.normalize(torch.randn(NUM_CLASSES, WIDTH, generator=generator)).numpy()
    classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=matrix)
    keys = [index.to_bytes(16, "big") for index in range(NUM_FEATURES)]
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore(folder=Path(folder), facts={})
        for start in range(0, NUM_FEATURES, SHARD):
            rows = F.normalize(torch.randn(min(SHARD, NUM_FEATURES - start), WIDTH, generator=generator)).numpy()
            store.write(keys[start : start + SHARD], rows)
        rows_on_disk = store.find(keys)
        ways: dict[str, Callable[[], object]] = {
            "read": lambda: [rows_on_disk[start : start + SHARD].sum() for start in range(0, NUM_FEATURES, SHARD)],
            "score": lambda: predict(rows_on_disk, classes),
        }
        seconds = {name: median(values) for name, values in in_turn(ways, REPEATS, time.perf_counter).items()}
    yield (
        f"a strategy's pass over {NUM_FEATURES:,} stored features x {NUM_CLASSES:,} classes: {seconds['score']:.2f} s,"
        f" of which reading takes {seconds['read']:.2f} s, {100 * seconds['read'] / seconds['score']:.0f}%"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in measure(photographs(Path(sys.argv[1]))):
        print(line, flush=True)
