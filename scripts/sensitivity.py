"""How the scorers that look at other images depend on which images these are: `python scripts/sensitivity.py`.

Asks the demo's features, with the class embeddings of its 80 templates: all images, fewer of each class, fewer of some
classes, few of the classes, and in several orders. Each number is the top-1 of a scorer minus that of the plain scorer
on the same images, in points; after a +- comes the standard deviation over draws of the images, or over orders.
"""

import argparse
import contextlib
import json
import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import cupl_bench
from cupl_bench.__main__ import main as command

SCORERS = {
    "zlap": [],
    "transclip": [],
    "inmap": [],
    "otter": [],
    "otter, estimated": ["scorer.prior=estimated"],
    "tda": [],
    "dmn": [],
    "ecalp": [],
}
STREAMS = ("tda", "dmn", "ecalp")


def drawn(labels: np.ndarray, counts: Sequence[int], draw: int) -> np.ndarray:
    """Places of so many images of each class, in the order of the data set."""
    generator = np.random.default_rng(draw)
    places = [
        generator.choice(np.flatnonzero(labels == label), size=count, replace=False)
        for label, count in enumerate(counts)
    ]
    return np.sort(np.concatenate(places))


def situations(labels: np.ndarray) -> Mapping[str, list[np.ndarray]]:
    """What is asked: a name, and the places of the images of each draw."""
    num_classes, most = int(labels.max()) + 1, int(np.bincount(labels).min())
    # Which classes are rare has nothing to do with how hard they are: the demo's labels go from easy to hard.
    halves = [most if label % 2 else most // 8 for label in range(num_classes)]
    tail = [max(1, round(most * 0.9**rank)) for rank in range(num_classes)]
    tails = [np.random.default_rng(draw).permutation(tail).tolist() for draw in range(3)]
    few = [0 if label % 8 else most for label in range(num_classes)]
    counts = {
        f"all ({most} of each class)": [[most] * num_classes],
        **{f"{count} of each class": [[count] * num_classes] * 3 for count in (16, 4, 1)},
        "every second class an eighth": [halves] * 3,
        "long tail": tails,
        f"{num_classes // 8} classes of {num_classes}": [few],
    }
    return {
        name: [drawn(labels, of_class, draw) for draw, of_class in enumerate(draws)] for name, draws in counts.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scorers", nargs="*", default=list(SCORERS), help="some of them; all if none is named")
    parser.add_argument("--orders", type=int, default=5, help="of a stream over all images")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places: dict[str, Any] = {"results_dir": str(folder / "results"), "cache_dir": str(folder / "cache")}
        asked = [f"{key}={value}" for key, value in places.items()]
        with contextlib.redirect_stdout(sys.stderr):
            if command(["features", "dataset=demo", "backbone=demo", "prompts=ensemble", f"to={folder}/demo", *asked]):
                raise SystemExit("the demo's features could not be written")
        given = load_file(folder / "demo/image_features.safetensors")
        images, labels = given["features"], given["labels"]
        texts = load_file(folder / "demo/class_embeddings.safetensors")["class_embeddings"]
        told = json.loads((folder / "demo/features.json").read_text())
        scale, names = told["backbone"]["logit_scale"], told["class_names"]

        def top1(which: np.ndarray, scorer: str, seed: int = 0) -> float:
            data = cupl_bench.Features(features=images[which], labels=labels[which], class_names=names)
            option, *_ = scorer.split(",")
            settings = [f"scorer={option}", f"backbone.logit_scale={scale}", *SCORERS.get(scorer, [])]
            record = cupl_bench.evaluate(*settings, dataset=data, backbone="given", prompts=texts, seed=seed, **places)
            assert record.metrics is not None  # noqa: S101 - it was answered
            return 100 * record.metrics.top1

        asked_of = situations(labels)
        whole = next(iter(asked_of.values()))[0]
        print("| images |", " | ".join(["plain", *arguments.scorers]), "|", flush=True)
        print("|---" * (2 + len(arguments.scorers)) + "|", flush=True)
        for situation, draws in asked_of.items():
            plain = [top1(which, "plain") for which in draws]
            gains = [
                [top1(which, scorer) - base for which, base in zip(draws, plain, strict=True)]
                for scorer in arguments.scorers
            ]
            cells = [_cell(plain, "{:.1f}"), *(_cell(gain, "{:+.1f}") for gain in gains)]
            print(f"| {situation} |", " | ".join(cells), "|", flush=True)
        base = top1(whole, "plain")
        orders = [
            _cell([top1(whole, scorer, seed) - base for seed in range(arguments.orders)], "{:+.1f}")
            if scorer in STREAMS
            else "no order"
            for scorer in arguments.scorers
        ]
        print(f"| all, {arguments.orders} orders |", " | ".join([f"{base:.1f}", *orders]), "|")


def _cell(values: Sequence[float], form: str) -> str:
    spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + spread


if __name__ == "__main__":
    main()
