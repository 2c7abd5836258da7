"""CPU seconds and memory of the bookkeeping of large data sets, each stage in a process of its own.

    PYTHONPATH=scripts python -m benchmarking.large FOLDER 100000 1000000 [--stages find write] [--width 64]

Memory is the peak of a stage beyond what the libraries took before it, mapped pages included. FOLDER keeps stored rows
for the next time.

- ``files``: lists hard links in 1,000 class folders and reads them for their content keys.
- ``files again``: the same when the keys are known.
- ``part``: the third of eight parts of those, keys known.
- ``list``: names of 25 bytes, keys and labels, from nothing but numbers, and the fingerprint.
- ``find``: verifies the shards, then `present` and `find` of all keys in another order.
- ``score``: 1,000 classes against the stored rows.
- ``write``: the predictions' file, of answers that cost nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.embeddings import Aggregation, ClassEmbeddings, unit_rows
from cupl_bench.keys import Keys
from cupl_bench.run.writing import write_predictions
from cupl_bench.scores import PART_IMAGES, Predictions, predict_parts
from cupl_bench.store import RowStore
from cupl_bench.stored_features import ImageFeatures

NUM_CLASSES = 1000
SHARD_ROWS = 4096
STAGES = ("files", "files again", "part", "list", "find", "score", "write")


def _keys(count: int) -> Keys:
    return Keys(np.random.default_rng(0).integers(0, 256, (count, 16), dtype=np.uint8))


def _store(folder: Path, count: int, width: int) -> RowStore:
    """The store of so many rows, made where it is not there."""
    place = folder / f"rows-{count}-{width}"
    if not (place / "done").is_file():
        keys, generator = _keys(count), np.random.default_rng(1)
        for start in range(0, count, SHARD_ROWS):
            some = keys[start : start + SHARD_ROWS]
            rows = generator.standard_normal((len(some), width), dtype=np.float32)
            RowStore(folder=place, facts={}).write(some, unit_rows(rows, "rows"))
        (place / "done").touch()
    return RowStore(folder=place, facts={})


def _tree(folder: Path, count: int) -> FolderSource:
    """Hard links, 60,000 to a file, as more are not allowed everywhere."""
    root = folder / f"files-{count}"
    if not root.is_dir():
        (folder / f"contents-{count}").mkdir()
        for label in range(NUM_CLASSES):
            (root / f"n{label:08}").mkdir(parents=True)
        for number in range(count):
            content = folder / f"contents-{count}" / str(number // 60_000)
            if number % 60_000 == 0:
                content.write_bytes(os.urandom(100))
            os.link(content, f"{root}/n{number % NUM_CLASSES:08}/image_{number:08}.jpg")
        time.sleep(2.5)  # files younger than two seconds are not remembered
    return FolderSource(path=str(root), split="all", class_names=None, limit=None, seed=0)


def _listed(count: int) -> Dataset:
    return Dataset(
        split="all",
        class_names=tuple(f"class {label}" for label in range(NUM_CLASSES)),
        labels=np.arange(count, dtype=np.int64) % NUM_CLASSES,
        image_ids=ImageNames.of(f"n{number % NUM_CLASSES:08}/{number:011}.jpg" for number in range(count)),
        image_keys=_keys(count),
        read=lambda _: b"",
    )


def _prepared(stage: str, folder: Path, count: int, width: int) -> Callable[[], object]:
    """What a stage does, once all that it does not measure is there."""
    if stage.startswith("files") or stage == "part":
        source, cache = _tree(folder, count), folder / f"cache-{count}"
        if stage == "files":
            shutil.rmtree(cache, ignore_errors=True)
        return lambda: source.part(cache, (3, 8) if stage == "part" else None).fingerprint
    if stage == "list":
        return lambda: _listed(count).fingerprint
    if stage == "find":
        store, keys = _store(folder, count, width), _keys(count)
        keys = keys[np.random.default_rng(2).permutation(count)]
        return lambda: bool(store.present(keys).all()) and store.find(keys)[:10]
    if stage == "score":
        store, keys = _store(folder, count, width), _keys(count)
        store.present(keys)
        found = store.find(keys)
        matrix = np.random.default_rng(3).standard_normal((NUM_CLASSES, width), dtype=np.float32)
        classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=unit_rows(matrix, "classes"))
        return lambda: sum(len(part.prediction) for part in predict_parts(found, classes))
    dataset = _listed(count)
    images = ImageFeatures(
        stored=RowStore(folder=folder / "none", facts={}).find([]), kept=np.ones(count, dtype=bool), num_encoded=0
    )
    path = folder / "predictions.parquet"
    return lambda: sum(int(one.images.sum()) for one in write_predictions(path, dataset, images, _answers(count)))


def _answers(count: int) -> Iterator[Predictions]:
    generator = np.random.default_rng(4)
    for start in range(0, count, PART_IMAGES):
        size = min(PART_IMAGES, count - start)
        top = generator.integers(0, NUM_CLASSES, (size, 5))
        score, margin, confidence = generator.random((3, size), dtype=np.float32)
        yield Predictions(prediction=top[:, 0].copy(), top=top, score=score, margin=margin, confidence=confidence)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def _measure(stage: str, folder: Path, count: int, width: int) -> None:
    torch.set_num_threads(1)
    run = _prepared(stage, folder, count, width)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    began = time.process_time()
    done = run()
    if done is False:
        raise SystemExit(f"{stage} of {count} found no rows")
    print(json.dumps({"seconds": time.process_time() - began, "bytes": _status("VmHWM") - before}))


def main() -> None:
    """Measure each stage at each size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--here", action="store_true", help="measure in this process: one stage and size")
    given = parser.parse_args()
    if given.here:
        _measure(given.stages[0], given.folder, given.sizes[0], given.width)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    print(f"| images | {' | '.join(given.stages)} |\n{'|---' * (1 + len(given.stages))}|", flush=True)
    for size in given.sizes:
        cells = []
        for stage in given.stages:
            command = [sys.executable, "-m", "benchmarking.large", str(given.folder), str(size), "--here"]
            command += ["--width", str(given.width), "--stages", stage]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            cells.append(f"{found['seconds']:.1f} s, {found['bytes'] / 1e6:.0f} MB")
        print(f"| {size:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
