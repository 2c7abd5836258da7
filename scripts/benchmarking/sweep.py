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
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from benchmarking.rows import Row, Table, in_turn, median

__all__ = ["measure", "measure_as_started", "sentences"]

MODEL = "ViT-B-32"
NUM_IMAGES = 200
PEER_DATASET = "imagenet1k-unverified"
"""The name under which CLIP_benchmark reads a plain folder of classes."""
THREE = ("simple", "ensemble", "cupl")


DEFAULT, SAME = "CLIP_benchmark at its default (autocast bf16)", "CLIP_benchmark in fp32 (--no_amp), once"
COLD = "simple, ensemble and cupl, cold, one sweep"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both programs are asked: photographs in folders of classes, prompts, and weights."""

    work: Path
    weights: Path
    num_classes: int
    num_images: int

    @classmethod
    def laid_out(cls, work: Path, photos: Sequence[bytes], files: Sequence[Path], num_classes: int) -> "Setting":
        """Return what is asked, with its files below ``work``, bytecode compiled and photographs in the page cache."""
        torch.manual_seed(0)
        weights = work / "weights.safetensors"
        prompts = sentences(files, num_classes)
        num_images = 20 if num_classes < 32 else NUM_IMAGES
        if not weights.is_file():
            state = open_clip.create_model(MODEL).state_dict()
            save_file({name: value.contiguous() for name, value in state.items()}, weights)
            _lay_out(work, photos, prompts, num_images)
            (work / "peer").mkdir()
            for strategy in ("simple", "cupl_ensemble"):
                _peer(work, weights, "simple", "bf16")
                _ours(work, weights, strategy, "bf16")
        return cls(work=work, weights=weights, num_classes=num_classes, num_images=num_images)

    def peer(self, strategies: Sequence[str], precision: str, *, as_started: bool = False) -> None:
        """Ask CLIP_benchmark, a run for each strategy."""
        for strategy in strategies:
            _peer(self.work, self.weights, strategy, precision, as_started=as_started)

    def cold(self, precision: str, *, as_started: bool = False, commands: Sequence[str] = (",".join(THREE),)) -> None:
        """Ask this package, with nothing stored: one sweep, or a command for each of ``commands``."""
        shutil.rmtree(self.work / f"ours_{precision}", ignore_errors=True)
        for strategies in commands:
            _ours(self.work, self.weights, strategies, precision, as_started=as_started)

    def fourth(self, precision: str) -> None:
        """Ask this package one more strategy on the same images."""
        _ours(self.work, self.weights, "cupl_ensemble", precision)

    @property
    def note(self) -> str:
        """What was asked, in words."""
        return (
            f"{MODEL} with random weights, {self.num_classes} classes, {self.num_images} images, wall time of whole"
            " processes with start-up, compiled bytecode at hand on both sides, no workers."
        )


def measure(setting: Setting, repeats: int) -> Table:
    """Wall time of a cold sweep, of its strategies one by one, and of one more strategy, on one core."""
    ways: dict[str, Callable[[], object]] = {
        "peer three bf16": lambda: setting.peer(THREE, "bf16"),
        "ours commands bf16": lambda: setting.cold("bf16", commands=THREE),
        "ours commands fp32": lambda: setting.cold("fp32", commands=THREE),
        "ours three bf16": lambda: setting.cold("bf16"),
        "ours three fp32": lambda: setting.cold("fp32"),
        "peer fourth bf16": lambda: setting.peer(["cupl_ensemble"], "bf16"),
        "ours fourth bf16": lambda: setting.fourth("bf16"),
        "ours fourth fp32": lambda: setting.fourth("fp32"),
    }
    seconds = in_turn(ways, repeats, time.perf_counter)
    seconds |= in_turn({"peer three fp32": lambda: setting.peer(THREE, "fp32")}, 1, time.perf_counter)
    commands, fourth = "the same as three commands", "a fourth strategy (cupl_ensemble) on the same images"
    three_runs, fourth_run = f"three runs of {DEFAULT}", f"a fourth run of {DEFAULT}"
    asked = (
        ("ours three bf16", COLD, "peer three bf16", three_runs, 8),
        ("ours three fp32", COLD, "peer three fp32", f"three runs of {SAME}", 8),
        ("ours three fp32", COLD, "peer three bf16", three_runs, None),
        ("ours commands bf16", commands, "peer three bf16", three_runs, 8),
        ("ours commands fp32", commands, "peer three fp32", f"three runs of {SAME}", 8),
        ("ours fourth bf16", fourth, "peer fourth bf16", fourth_run, 20),
        ("ours fourth fp32", fourth, "peer fourth bf16", fourth_run, 20),
    )
    return Table(title="A sweep", note=setting.note, rows=[_row(seconds, *one) for one in asked])


def measure_as_started(setting: Setting, repeats: int) -> Table:
    """Wall time of a cold sweep as a user starts it: all cores, and each program's own default of precision."""
    ways: dict[str, Callable[[], object]] = {
        "peer bf16": lambda: setting.peer(THREE, "bf16", as_started=True),
        "ours fp32": lambda: setting.cold("fp32", as_started=True),
    }
    row = _row(
        in_turn(ways, repeats, time.perf_counter), "ours fp32", COLD, "peer bf16", f"three runs of {DEFAULT}", 3.5
    )
    note = f"{setting.note} Neither program is held to one core or told a precision."
    return Table(title="A sweep as a user starts it", note=note, rows=[row])


def _row(
    seconds: Mapping[str, Sequence[float]], ours: str, what: str, peer: str, against: str, bar: float | None
) -> Row:
    mine, theirs = median(seconds[ours]), median(seconds[peer])
    return Row(
        what=f"{what}, ours in {ours[-4:]}, {mine:.1f} s",
        against=f"{against}, {theirs:.1f} s",
        value=f"{theirs / mine:.1f} times",
        bar="" if bar is None else f">= {bar}",
        met=None if bar is None else theirs / mine >= bar,
        seconds={"ours": seconds[ours], "peer": seconds[peer]},
    )


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
    for strategy, given in of_strategy.items():
        (work / f"peer_{strategy}.json").write_text(json.dumps({PEER_DATASET: given}))
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
