"""Every scorer that needs features alone, on made-up ones: seconds, peak memory, growth, share of the matrix rate.

PYTHONPATH=scripts python -m benchmarking.scorers tda 50000x1000x8    # one of them: seconds and peak bytes, as JSON
PYTHONPATH=scripts python -m benchmarking.scorers tda 5000x1000x8,5000x500x8    # the seconds of each size
The sizes are images, classes, and prompts of a class.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarking.growth import peak_bytes
from benchmarking.rows import Row, Table, in_turn, median
from cupl_bench.composition import compose
from cupl_bench.config import question_of
from cupl_bench.embeddings import Features, build_class_embeddings
from cupl_bench.scorers import Inputs, Scorer

__all__ = ["measure"]

NUM_CLASSES, WIDTH, TEMPLATES = 1000, 512, 8
TICK = 1e-3
"""Seconds: less is not told from nothing."""
OF_FEATURES = {
    "plain": 10_000,
    "zlap": 20_000,
    "transclip": 5_000,
    "otter scorer.temperature=0.01": 5_000,
    "inmap scorer.steps=20": 2_000,
    "tda": 20_000,
    "dmn": 10_000,
    "ecalp": 500,
    "autoclip": 1_000,
    "zero": 200,
    "mta": 200,
}
"""Scorers and a number of images; growth is from half of them. More where a part of the work that grows with their
square is seen only then (zlap, tda, dmn), fewer where each costs much and growth stays the same. Three of each take
about nine minutes."""
IN_A_PAPER = 50_000
"""Images of ImageNet, whose seconds are reckoned from the growth."""
FEW = 10
"""Images that are scored first, so that no first call is measured."""


def measure(repeats: int, *, quick: bool) -> Table:
    """Each scorer in processes of its own, with one thread."""
    scale = 50 if quick else 1
    rate = matrix_rate(repeats)
    rows = []
    for asked, size in OF_FEATURES.items():
        images = max(2 * FEW, size // scale)
        whole = (images, NUM_CLASSES, TEMPLATES)
        halves = [tuple(one // 2 if place == half else one for place, one in enumerate(whole)) for half in range(3)]
        spent = [_own_process(asked, whole, *halves) for _ in range(repeats)]
        all_of_it, *less = (median([one["seconds"][place] for one in spent]) for place in range(4))
        growth = [math.log2(max(all_of_it, TICK) / max(one, TICK)) for one in less]
        product = 2 * images * NUM_CLASSES * WIDTH / rate
        peak = max(one["peak"] for one in spent) / 1e9
        reckoned = all_of_it * (IN_A_PAPER / images) ** growth[0]
        rows.append(
            Row(
                what=f"scorer={asked}, {images:,} images",
                against="one product of images and classes at the machine's rate",
                value=f"{all_of_it:.2f} s, {all_of_it / product:.1f} times the product; grows as"
                f" images^{growth[0]:.1f}, classes^{growth[1]:.1f}, prompts^{growth[2]:.1f};"
                f" {IN_A_PAPER:,} images reckoned by that: {reckoned:,.0f} s; peak {peak:.2f} GB",
                seconds={"ours": [one["seconds"][0] for one in spent]},
            )
        )
    note = (
        f"Made-up features of width {WIDTH}, {NUM_CLASSES:,} classes of {TEMPLATES} prompts, 64 views where a scorer"
        f" looks at them; CPU seconds of one thread. The rate of fp32 products here: {rate / 1e9:.0f} GFLOP/s. Growth"
        " is from half the images, half the classes, or half the prompts of each class, each by itself. Scorers that"
        " encode texts of their own are not among them: encoding is their cost."
    )
    return Table(title="Scorers", note=note, rows=rows)


def matrix_rate(repeats: int) -> float:
    """Floating-point operations in a second of one thread, for a product of the scorers' shape."""
    images, classes = torch.randn(4096, WIDTH), torch.randn(NUM_CLASSES, WIDTH)
    seconds = in_turn({"product": lambda: images @ classes.T}, 3 + 3 * repeats, time.process_time)["product"]
    return 2 * 4096 * NUM_CLASSES * WIDTH / median(seconds)


def _own_process(asked: str, *sizes: Sequence[int]) -> dict[str, Any]:
    """Return the seconds of each size, one after the other in one process, and its peak."""
    numbers = ",".join("x".join(map(str, size)) for size in sizes)
    command = [sys.executable, "-m", "benchmarking.scorers", *asked.split(), numbers]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    found: dict[str, Any] = json.loads(printed)
    return found


def _made_up(count: int, num_classes: int, templates: int, num_views: int) -> Inputs:
    """Images that lie near one class each, so that a scorer has something to find."""
    generator = np.random.default_rng(0)

    def units(rows: np.ndarray) -> np.ndarray:
        normed: np.ndarray = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
        return normed

    def near(rows: np.ndarray, spread: float) -> np.ndarray:
        return units(rows + spread * generator.standard_normal(rows.shape, dtype=np.float32))

    centres = units(generator.standard_normal((num_classes, WIDTH), dtype=np.float32))
    prompts = near(np.repeat(centres, templates, axis=0), 0.03)
    rows = [[*range(label * templates, (label + 1) * templates)] for label in range(num_classes)]
    images = near(centres[generator.integers(num_classes, size=count)], 0.05)
    views: Features | None = None
    if num_views:
        views = near(np.repeat(images[:, None], num_views, axis=1), 0.03)
        views[:, 0] = images
    return Inputs(
        images=images,
        class_names=[f"class {label}" for label in range(num_classes)],
        classes=build_class_embeddings(prompts, rows),
        prompts=prompts,
        rows_of_class=rows,
        views=views,
        encode=_no_texts,
        logit_scale=100.0,
        device=torch.device("cpu"),
    )


def _no_texts(texts: Sequence[str]) -> np.ndarray:
    raise ValueError(f"{len(texts)} more texts are asked for, and these scorers need none")


def _scored(scorer: Scorer, count: int, num_classes: int, templates: int) -> float:
    """CPU seconds of one scorer, without what it is handed."""
    views = scorer.needs.views
    inputs = _made_up(count, num_classes, templates, 0 if views is None else views.count)
    began = time.process_time()
    for tile in scorer(inputs):
        tile.argmax(dim=1)
    return time.process_time() - began


if __name__ == "__main__":
    torch.set_num_threads(1)
    *asked, numbers = sys.argv[1:]
    scorer = question_of(compose([f"scorer={asked[0]}", *asked[1:]], None)).scorer
    _scored(scorer, FEW, NUM_CLASSES, TEMPLATES)
    seconds = [_scored(scorer, *map(int, size.split("x"))) for size in numbers.split(",")]
    print(json.dumps({"seconds": seconds, "peak": peak_bytes()}))
