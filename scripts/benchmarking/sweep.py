"""From nothing to answers: three strategies in one sweep against three runs of CLIP_benchmark, start-up included."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from benchmarking.rows import Row, Table, in_turn, median

__all__ = ["measure"]

MODEL = "ViT-B-32"
NUM_IMAGES = 200
PEER_DATASET = "imagenet1k-unverified"
"""The name under which CLIP_benchmark reads a plain folder of classes."""
THREE = ("simple", "ensemble", "cupl")


def measure(work: Path, photos: Sequence[bytes], files: Sequence[Path], repeats: int, *, num_classes: int) -> Table:
    """Wall time of a cold sweep, then of one more strategy on the same images."""
    torch.manual_seed(0)
    weights = work / "weights.safetensors"
    state = open_clip.create_model(MODEL).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, weights)
    prompts = _prompts(files, num_classes)
    num_images = _lay_out(work, photos, prompts, 20 if num_classes < 32 else NUM_IMAGES)
    ours, peer = work / "ours", work / "peer"
    ours.mkdir()
    peer.mkdir()

    def cold() -> None:
        shutil.rmtree(ours)
        _ours(work, weights, ",".join(THREE))

    seconds = in_turn(
        {
            "peer_three": lambda: [_peer(work, weights, strategy) for strategy in THREE],
            "ours_three": cold,
            "peer_fourth": lambda: _peer(work, weights, "cupl_ensemble"),
            "ours_fourth": lambda: _ours(work, weights, "cupl_ensemble"),
        },
        repeats,
        time.perf_counter,
    )
    medians = {name: median(values) for name, values in seconds.items()}
    rows = [
        Row(
            what=what,
            against=f"{against}: {medians[f'peer_{which}']:.1f} s",
            value=f"{medians[f'peer_{which}'] / medians[f'ours_{which}']:.1f} times ({medians[f'ours_{which}']:.1f} s)",
            bar=f">= {bar}",
            met=medians[f"peer_{which}"] / medians[f"ours_{which}"] >= bar,
            seconds={side: seconds[f"{side}_{which}"] for side in ("peer", "ours")},
        )
        for which, what, against, bar in (
            ("three", "simple, ensemble and cupl, cold", "three CLIP_benchmark runs", 6),
            ("fourth", "a fourth strategy (cupl_ensemble) on the same images", "a fourth CLIP_benchmark run", 20),
        )
    ]
    note = (
        f"{MODEL} with random weights, {num_classes} classes, {num_images} images, whole processes with start-up. Ours"
        " in fp32; CLIP_benchmark at its default (autocast bf16), without workers."
    )
    return Table(title="A sweep", note=note, rows=rows)


def _prompts(files: Sequence[Path], num_classes: int) -> dict[str, list[str]]:
    """Classes with their sentences: the first of the first file, or sentences made from templates."""
    if files:
        content = json.loads(files[0].read_text())
        return {name: content[name] for name in list(content)[:num_classes]}
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES[:30]
    return {
        name: [f"{template(name)} It can be told by its shape and its colours." for template in templates]
        for name in open_clip.IMAGENET_CLASSNAMES[:num_classes]
    }


def _lay_out(work: Path, photos: Sequence[bytes], prompts: Mapping[str, Sequence[str]], num_images: int) -> int:
    """One folder per class, and the files that both sides read; photographs come back under other bytes."""
    names = list(prompts)
    for index in range(num_images):
        content = photos[index % len(photos)] + b"\0" * (index // len(photos))
        place = work / "images" / "val" / f"class{index % len(names):03d}" / f"{index:05d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    templates = [template("{c}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    of_strategy: dict[str, object] = {
        "simple": ["a photo of a {c}."],
        "ensemble": templates,
        "cupl": prompts,
        "cupl_ensemble": {
            name: [*(text.format(c=name) for text in templates), *sentences] for name, sentences in prompts.items()
        },
    }
    for strategy, content in of_strategy.items():
        (work / f"peer_{strategy}.json").write_text(json.dumps({PEER_DATASET: content}))
    (work / "peer_names.json").write_text(json.dumps({PEER_DATASET: names}))
    (work / "names.json").write_text(json.dumps(names))
    (work / "cupl.json").write_text(json.dumps(prompts))
    return num_images


def _peer(work: Path, weights: Path, strategy: str) -> None:
    _run(
        work,
        "benchmarking.peer", "eval", "--dataset", PEER_DATASET, "--dataset_root", work / "images",
        "--task", "zeroshot_classification", "--split", "test", "--num_workers", 0, "--quiet",
        "--model", MODEL, "--pretrained", weights, "--custom_classname_file", work / "peer_names.json",
        "--custom_template_file", work / f"peer_{strategy}.json", "--output", work / "peer" / f"{strategy}.json",
    )  # fmt: skip


def _ours(work: Path, weights: Path, strategies: str) -> None:
    _run(
        work,
        "cupl_bench", "eval", "-m", "dataset=folder", f"dataset.path={work / 'images' / 'val'}",
        f"dataset.class_names={work / 'names.json'}", "dataset.texts.templates=openai_imagenet_80",
        f"dataset.texts.cupl={work / 'cupl.json'}", "backbone=open_clip", f"backbone.architecture={MODEL}",
        f"backbone.pretrained={weights}", f"prompts={strategies}", "device=cpu", "num_workers=0",
        f"results_dir={work / 'ours' / 'results'}", f"cache_dir={work / 'ours' / 'cache'}",
    )  # fmt: skip


def _run(work: Path, *command: object) -> None:
    found = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=work, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise SystemExit(f"{command[0]} ended with {found.returncode}:\n{found.stdout[-2000:]}{found.stderr[-4000:]}")
