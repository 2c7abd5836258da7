"""Sixty-four jobs of a sweep on one cache, all at once: what is encoded twice, and who waits for whom.

python scripts/cluster_simulation.py             # 8 data sets x 8 backbones, a process each: a minute on two cores
python scripts/cluster_simulation.py --backbones 2

A job is one data set and one backbone, as a launcher makes them, and asks its strategies one after the other. The
backbones sleep instead of encoding; data sets, prompts, stores, leases and records are real. Data sets share what
data sets of the field share: images (ImageNet with other labels, or names in another language), some of their images,
and class names (ImageNet-V2, -Sketch, -A).
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cupl_bench import Model, api, claims, lease

__all__ = ["Job", "Simulated", "simulate"]

STRATEGIES = ("simple", "ensemble", "waffle")
IMAGES = 48
CLASSES = 12
WIDTH = 32


class Sleeping(torch.nn.Module):
    """A model that sleeps instead of encoding, and notes what it would have encoded.

    ``number``: tells it from the others. ``seconds``: an image takes; a text takes a fiftieth of it. ``notes``: a
    folder that gets a file of each process.
    """

    def __init__(self, number: int, seconds: float, notes: Path) -> None:
        super().__init__()
        self.register_buffer("number", torch.tensor(number))
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.6))
        self.seconds, self.notes = seconds, notes

    def encode_image(self, batch: Tensor) -> Tensor:
        return self._features("image", batch, self.seconds)

    def encode_text(self, ids: Tensor) -> Tensor:
        return self._features("text", ids, self.seconds / 50)

    def _features(self, kind: str, rows: Tensor, seconds: float) -> Tensor:
        is_probe = kind == "image" and tuple(rows.shape[-2:]) != (16, 16)  # each question asks what model it is
        time.sleep(0 if is_probe else seconds * len(rows))
        digests = [
            hashlib.sha256(row.numpy().tobytes() + bytes([int(cast(Tensor, self.number))])).hexdigest() for row in rows
        ]
        with (self.notes / f"{os.getpid()}.encoded").open("a", encoding="utf-8") as file:
            file.writelines(f"{kind} {digest}\n" for digest in digests if not is_probe)
        drawn = [np.random.default_rng(int(digest[:8], 16)).normal(size=WIDTH) for digest in digests]
        return torch.from_numpy(np.stack(drawn)).float()


def tokenize(texts: Sequence[str]) -> Tensor:
    """Return 16 ids for each text, made from its words: 0 where it has no more."""
    ids = torch.zeros(len(texts), 16, dtype=torch.long)
    for row, text in zip(ids, texts, strict=True):
        words = [int(hashlib.sha256(word.encode()).hexdigest()[:7], 16) for word in text.split()[:16]]
        row[: len(words)] = torch.tensor(words, dtype=torch.long)
    return ids


def pixels(image: Image.Image) -> Tensor:
    """Return the pixels of an image, 3 x height x width, from 0 to 1."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255


@dataclass(frozen=True, kw_only=True)
class Job:
    """A data set and a backbone, with the images and the class names that the data set shares with others."""

    dataset: str
    backbone: int
    images: Sequence[tuple[Image.Image, str]]


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came of it. Encodings are counted by backbone and content; seconds are sums over all jobs.

    ``waited_for_rows``: until another job had encoded rows that were wanted. ``waited_else``: for a look at who encodes
    what. ``wall``: from the first start to the last end.
    """

    jobs: int
    encoded: Mapping[str, int]
    distinct: Mapping[str, int]
    waited_for_rows: float
    waited_else: float
    wall: float
    accuracies: Mapping[str, float]


def simulate(folder: Path, num_backbones: int, seconds: float, strategies: Sequence[str] = STRATEGIES) -> Simulated:
    """Run all jobs at once on one cache below ``folder``; return what they encoded and how long they waited."""
    notes = folder / "notes"
    notes.mkdir(parents=True)
    datasets = _datasets()
    jobs = [
        Job(dataset=name, backbone=number, images=images)
        for name, images in datasets.items()
        for number in range(num_backbones)
    ]
    began = time.monotonic()
    context = multiprocessing.get_context("fork")  # the libraries are loaded once for all
    processes = [context.Process(target=_work, args=(job, folder, notes, seconds, strategies)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    wall = time.monotonic() - began
    if failed := [process.exitcode for process in processes if process.exitcode]:
        raise RuntimeError(f"{len(failed)} of {len(processes)} jobs ended with {Counter(failed)}")
    encoded = Counter(line for path in notes.glob("*.encoded") for line in path.read_text().splitlines())
    told = [json.loads(path.read_text()) for path in notes.glob("*.json")]
    kinds = ("image", "text")
    return Simulated(
        jobs=len(jobs),
        encoded={kind: sum(count for what, count in encoded.items() if what.startswith(kind)) for kind in kinds},
        distinct={kind: sum(what.startswith(kind) for what in encoded) for kind in kinds},
        waited_for_rows=sum(one["waited"].get("rows", 0.0) for one in told),
        waited_else=sum(one["waited"].get("else", 0.0) for one in told),
        wall=wall,
        accuracies={name: value for one in told for name, value in one["accuracies"].items()},
    )


def _datasets() -> dict[str, list[tuple[Image.Image, str]]]:
    """Return images and labels by name; those of one letter share their images, those of one number their names."""

    def made(
        letter: str, number: int, part: slice = slice(None), classes: int = CLASSES
    ) -> Iterator[tuple[Image.Image, str]]:
        generator = np.random.default_rng(ord(letter))
        drawn = generator.integers(0, 256, size=(IMAGES, 16, 16, 3), dtype=np.uint8)
        for place in range(IMAGES)[part]:
            yield Image.fromarray(drawn[place]), f"thing {number} {place % classes}"

    return {
        "first": [*made("a", 1)],
        "other labels": [*made("a", 1, slice(IMAGES - 8))],
        "other language": [*made("a", 2)],
        "second version": [*made("b", 1)],
        "half of the classes": [*made("c", 1, classes=CLASSES // 2)],
        "alone": [*made("d", 3)],
        "alone too": [*made("e", 4)],
        "alone as well": [*made("f", 5)],
    }


def _work(job: Job, folder: Path, notes: Path, seconds: float, strategies: Sequence[str]) -> None:
    waited = {"rows": 0.0, "else": 0.0}

    def timed(which: str, wait: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            began = time.monotonic()
            wait(*arguments)
            waited[which] += time.monotonic() - began

        return call

    lease._acquire = timed("else", lease._acquire)
    vars(claims)["outlast"] = timed("rows", lease.outlast)
    torch.set_num_threads(1)
    backbone = Model(Sleeping(job.backbone, seconds, notes), pixels, tokenize, name=f"sleeping_{job.backbone}")
    accuracies = {}
    for strategy in strategies:
        record = api.evaluate(
            "dataset.texts.templates=openai_imagenet_80",
            dataset=job.images, backbone=backbone, prompts=strategy,
            results_dir=folder / "results" / job.dataset.replace(" ", "_"), cache_dir=folder / "cache", num_workers=0,
        )  # fmt: skip
        assert record.metrics is not None  # noqa: S101 - it was answered
        accuracies[f"{job.dataset}, {job.backbone}, {strategy}"] = record.metrics.top1
    (notes / f"{os.getpid()}.json").write_text(json.dumps({"waited": waited, "accuracies": accuracies}))


def main() -> None:
    """Simulate the cluster and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.1, help="that an image takes")
    parser.add_argument("--strategies", nargs="*", default=STRATEGIES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = simulate(Path(folder), arguments.backbones, arguments.seconds, arguments.strategies)
    for kind in ("image", "text"):
        print(f"{kind}s: {found.encoded[kind]:,} encoded, of which {found.distinct[kind]:,} are different")
    print(
        f"{found.jobs} jobs, {found.wall:.0f} s; all together they waited {found.waited_for_rows:.0f} s for rows that"
    )
    print(f"another job encoded and they wanted, and {found.waited_else:.1f} s for anything else")


if __name__ == "__main__":
    main()
