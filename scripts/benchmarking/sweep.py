"""From nothing to answers: three strategies in one sweep against three runs of CLIP_benchmark, start-up included.

All processes keep compiled bytecode, as any installation does; each side compiles it before it is timed.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from benchmarking.rows import Row, Table, in_turn, median

__all__ = ["measure", "sentences"]

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
    prompts = sentences(files, num_classes)
    num_images = _lay_out(work, photos, prompts, 20 if num_classes < 32 else NUM_IMAGES)
    (work / "peer").mkdir()
    three, fourth = ",".join(THREE), "cupl_ensemble"

    def cold(precision: str, *, as_started: bool = False) -> None:
        shutil.rmtree(work / f"ours_{precision}", ignore_errors=True)
        _ours(work, weights, three, precision, as_started=as_started)

    def commands(precision: str) -> None:
        shutil.rmtree(work / f"ours_{precision}", ignore_errors=True)
        for strategy in THREE:
            _ours(work, weights, strategy, precision)

    for strategy in ("simple", fourth):  # bytecode, and the photographs in the page cache
        _peer(work, weights, "simple", "bf16")
        _ours(work, weights, strategy, "bf16")
    ways: dict[str, Callable[[], object]] = {
        "peer three bf16": lambda: [_peer(work, weights, strategy, "bf16") for strategy in THREE],
        "ours commands bf16": lambda: commands("bf16"),
        "ours commands fp32": lambda: commands("fp32"),
        "ours three bf16": lambda: cold("bf16"),
        "ours three fp32": lambda: cold("fp32"),
        "peer fourth bf16": lambda: _peer(work, weights, fourth, "bf16"),
        "ours fourth bf16": lambda: _ours(work, weights, fourth, "bf16"),
        "ours fourth fp32": lambda: _ours(work, weights, fourth, "fp32"),
        "peer started bf16": lambda: [_peer(work, weights, strategy, "bf16", as_started=True) for strategy in THREE],
        "ours started fp32": lambda: cold("fp32", as_started=True),
    }
    seconds = in_turn(ways, repeats, time.perf_counter)
    once = {"peer three fp32": lambda: [_peer(work, weights, strategy, "fp32") for strategy in THREE]}
    seconds |= in_turn(once, 1, time.perf_counter)
    medians = {name: median(values) for name, values in seconds.items()}
    default, same = "CLIP_benchmark at its default (autocast bf16)", "CLIP_benchmark in fp32 (--no_amp), once"
    cold_words, three_words, fourth_words = (
        "simple, ensemble and cupl, cold, one sweep",
        "simple, ensemble and cupl, cold, three commands",
        "a fourth strategy (cupl_ensemble) on the same images",
    )
    asked = (
        ("ours started fp32", f"{cold_words}, both as a user starts them: all cores", "peer started bf16",
         f"three runs of {default}", 3.5),
        ("ours three bf16", cold_words, "peer three bf16", f"three runs of {default}", 8),
        ("ours three fp32", cold_words, "peer three fp32", f"three runs of {same}", 8),
        ("ours three fp32", cold_words, "peer three bf16", f"three runs of {default}", None),
        ("ours commands bf16", three_words, "peer three bf16", f"three runs of {default}", 8),
        ("ours commands fp32", three_words, "peer three fp32", f"three runs of {same}", 8),
        ("ours fourth bf16", fourth_words, "peer fourth bf16", f"a fourth run of {default}", 20),
        ("ours fourth fp32", fourth_words, "peer fourth bf16", f"a fourth run of {default}", 20),
    )  # fmt: skip
    rows = [
        Row(
            what=f"{what}, ours in {ours[-4:]}, {medians[ours]:.1f} s",
            against=f"{against}, {medians[peer]:.1f} s",
            value=f"{(ratio := medians[peer] / medians[ours]):.1f} times",
            bar="" if bar is None else f">= {bar}",
            met=None if bar is None else ratio >= bar,
            seconds={"ours": seconds[ours], "peer": seconds[peer]},
        )
        for ours, what, peer, against, bar in asked
    ]
    note = (
        f"{MODEL} with random weights, {num_classes} classes, {num_images} images, wall time of whole processes with"
        " start-up, compiled bytecode at hand on both sides, no workers. The first row is what a user gets without"
        " asking: neither program is held to one core, and each has its own default of precision."
    )
    return Table(title="A sweep", note=note, rows=rows)


def sentences(files: Sequence[Path], num_classes: int) -> dict[str, list[str]]:
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


def _peer(work: Path, weights: Path, strategy: str, precision: str, *, as_started: bool = False) -> None:
    _run(
        work, as_started,
        "benchmarking.peer", "eval", "--dataset", PEER_DATASET, "--dataset_root", work / "images",
        "--task", "zeroshot_classification", "--split", "test", "--num_workers", 0, "--quiet",
        "--model", MODEL, "--pretrained", weights, "--custom_classname_file", work / "peer_names.json",
        "--custom_template_file", work / f"peer_{strategy}.json", "--output", work / "peer" / f"{strategy}.json",
        *(["--no_amp"] if precision == "fp32" else []),
    )  # fmt: skip


def _ours(work: Path, weights: Path, strategies: str, precision: str, *, as_started: bool = False) -> None:
    place = work / f"ours_{precision}"
    several = ["-m"] if "," in strategies else []
    _run(
        work, as_started,
        "cupl_bench", "eval", *several, "dataset=folder", f"dataset.path={work / 'images' / 'val'}",
        f"dataset.class_names={work / 'names.json'}", "dataset.texts.templates=openai_imagenet_80",
        f"dataset.texts.cupl={work / 'cupl.json'}", "backbone=open_clip", f"backbone.architecture={MODEL}",
        f"backbone.pretrained={weights}", f"prompts={strategies}", "device=cpu", "num_workers=0",
        f"precision={precision}", f"results_dir={place / 'results'}", f"cache_dir={place / 'cache'}",
    )  # fmt: skip


def _run(work: Path, as_started: bool, *command: object) -> None:
    """Run a program; ``as_started``: on all cores, with as many threads as it takes by itself."""
    left_out = {"PYTHONDONTWRITEBYTECODE", *(("OMP_NUM_THREADS", "MKL_NUM_THREADS") if as_started else ())}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    held = os.sched_getaffinity(0)
    if as_started:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # the program inherits it
    try:
        found = subprocess.run(
            [sys.executable, "-m", *map(str, command)],
            cwd=work,
            env={**environment, "PYTHONPYCACHEPREFIX": str(work / "bytecode")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.sched_setaffinity(0, held)
    if found.returncode:
        raise SystemExit(f"{command[0]} ended with {found.returncode}:\n{found.stdout[-2000:]}{found.stderr[-4000:]}")
