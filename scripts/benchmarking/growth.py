"""Time and memory by size: the text stage with a tiny tower, and scores of stored images."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from benchmarking.rows import Row, Table, median
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.embeddings import Aggregation, ClassEmbeddings
from cupl_bench.features import encode_texts
from cupl_bench.identity import bytes_key
from cupl_bench.scores import predict
from cupl_bench.store import RowStore

__all__ = ["measure", "peak_bytes"]

TINY = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
WIDTH = 768
NUM_CLASSES = 1000


def measure(work: Path, files: Sequence[Path], repeats: int, *, quick: bool) -> list[Table]:
    """The growth of text and scores, and two bars: memory at 150,000 prompts, seconds at 50,000 images."""
    torch.manual_seed(0)
    (work / "tiny.json").write_text(json.dumps(TINY))
    weights = {name: value.contiguous() for name, value in open_clip.model.CLIP(**TINY).state_dict().items()}
    save_file(weights, work / "tiny.safetensors")
    scale = 100 if quick else 1
    sizes = [n // scale for n in (1_000, 10_000, 50_000, 100_000, 150_000)]
    texts = {n: _own_process(repeats, "texts", n, work, *files) for n in sizes}
    images = {n: _own_process(repeats, "scores", n, work) for n in sizes}
    memory = max(peak for _, peak in texts[sizes[4]])
    scored = [spent for spent, _ in images[sizes[2]]]
    rows = [
        Row(
            what=f"peak memory of the text stage, {sizes[4]:,} prompts, tiny tower",
            against="",
            value=f"{memory / 1e9:.2f} GB",
            bar="< 3 GB",
            met=memory < 3e9,
        ),
        Row(
            what=f"scores of {sizes[2]:,} stored images x {NUM_CLASSES:,} classes x {WIDTH}",
            against="",
            value=f"{median(scored):.2f} s",
            bar="< 5 s",
            met=median(scored) < 5,
            seconds={"ours": scored},
        ),
    ]
    note = (
        "Each in a process of its own; peak memory is all of it, libraries included. Features are read from the disk."
    )
    growth = [
        Row(
            what=f"{n:,} {what}",
            against="",
            value=f"{(middle := median([spent for spent, _ in found])):.2f} s, {1e6 * middle / n:.0f} us each,"
            f" peak {max(peak for _, peak in found) / 1e9:.2f} GB",
            seconds={"ours": [spent for spent, _ in found]},
        )
        for what, sizes in (("new prompts, tokenised, encoded and stored", texts), ("stored images, scored", images))
        for n, found in sizes.items()
    ]
    return [
        Table(title="Memory and scores", note=note, rows=rows),
        Table(
            title="Growth", note="Cost is linear in what is new where the time of one is about the same.", rows=growth
        ),
    ]


def _own_process(repeats: int, *arguments: object) -> list[tuple[float, float]]:
    """Seconds and peak bytes of each repeat."""
    command = [sys.executable, "-m", "benchmarking.growth", *map(str, arguments)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(repeats)]
    return [(found["seconds"], found["peak"]) for found in (json.loads(run.splitlines()[-1]) for run in runs)]


def prompts(count: int, files: Sequence[Path]) -> list[str]:
    """Different prompts in the order of ImageNet's strategies: templates, then the files, then pairs of names."""
    names, templates = open_clip.IMAGENET_CLASSNAMES, open_clip.OPENAI_IMAGENET_TEMPLATES
    found = dict.fromkeys(template(name) for name in names for template in templates)
    for file in files:
        content = json.loads(file.read_text())
        found.update(dict.fromkeys(text for texts in content.values() for text in texts))
    shift = 1
    while len(found) < count:
        pairs = (f"{name} and {other}" for name, other in zip(names, [*names[shift:], *names[:shift]], strict=True))
        found.update(dict.fromkeys(template(pair) for pair in pairs for template in templates))
        shift += 1
    mixed = list(found)
    np.random.default_rng(0).shuffle(mixed)
    return mixed[:count]


def _texts(count: int, work: Path, files: Sequence[Path]) -> float:
    source = OpenClipSource(
        architecture=str(work / "tiny.json"), pretrained=str(work / "tiny.safetensors"), transform_of=None
    )
    facts = source.identify(work, download=False)
    backbone = source.load(facts, torch.device("cpu"), "fp32")
    wanted = prompts(count, files)
    folder = work / f"texts-{time.monotonic_ns()}"
    began = time.perf_counter()
    store = RowStore(folder=folder, facts={})
    encode_texts(wanted, lambda: backbone, store, tokenizer=facts.tokenizer, batch_size=128)
    return time.perf_counter() - began


def _scores(count: int, work: Path) -> float:
    generator = np.random.default_rng(0)
    folder = work / f"images-{count}"
    keys = [bytes_key(str(index).encode()) for index in range(count)]
    if not folder.is_dir():
        store = RowStore(folder=folder, facts={})
        for start in range(0, count, 4096):
            rows = generator.standard_normal((len(keys[start : start + 4096]), WIDTH), dtype=np.float32)
            store.write(keys[start : start + 4096], rows / np.linalg.norm(rows, axis=1, keepdims=True))
    matrix = generator.standard_normal((NUM_CLASSES, WIDTH), dtype=np.float32)
    classes = ClassEmbeddings(
        aggregation=Aggregation.MEAN,
        matrix=matrix / np.linalg.norm(matrix, axis=1, keepdims=True),
        prompts=None,
        owner=None,
    )
    began = time.perf_counter()
    store = RowStore(folder=folder, facts={})
    store.present(keys)
    predict(store.find(keys), classes)
    return time.perf_counter() - began


def peak_bytes() -> int:
    """Of this process alone: what `getrusage` tells begins with the peak of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, number, place, *rest = sys.argv[1:]
    run = _texts if kind == "texts" else lambda count, work, _: _scores(count, work)
    spent = run(int(number), Path(place), [Path(file) for file in rest])
    print(json.dumps({"seconds": spent, "peak": peak_bytes()}))
