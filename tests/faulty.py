"""The program in processes of its own, which can be killed, and whose disks can fail; and what they leave, compared.

Processes are forked from a server that has imported everything, so that each starts in no time.
"""

import errno
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from making import TinyModel

from cupl_bench.records import Record, read_record
from cupl_bench.store import DamagedFileError, read_arrays

__all__ = [
    "Left",
    "Running",
    "Writes",
    "die_at",
    "full_at",
    "interrupted_within",
    "left_by",
    "seconds_until",
    "slow_batches",
    "start",
    "stored_rows",
    "stuck_in_writing",
    "swallowed",
    "sweep_of",
]

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["cupl_bench.run.encode", "cupl_bench.run.scoring", "cupl_bench.config", "cupl_bench.commands.eval",
     "cupl_bench.report.tables", "cupl_bench.backbone.open_clip_models",
     "open_clip", "hydra", "faulty"]
)  # fmt: skip

Fault = tuple[str, tuple[Any, ...]]
"""The name of one of the functions below that break something, and its arguments."""


TOLD_ELSEWHERE = {"created_at", "timing", "environment", "config", "artifact_digests"}
"""What may differ between two records of one answer: digests are of files in which scores may differ by rounding."""


# What is left ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """What a results folder answers: for each question its metrics, labels, predictions and scores."""

    records: dict[str, dict[str, object]]
    answers: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]

    def difference(self, other: "Left") -> str | None:
        """How these answers differ from others by more than rounding; None if they do not."""
        if self.records.keys() != other.records.keys():
            return f"other questions: {sorted(self.records)} and {sorted(other.records)}"
        for key, record in self.records.items():
            if record != other.records[key]:
                return f"{key}: {record} and {other.records[key]}"
            if not np.array_equal(self.answers[key], other.answers[key]):
                return f"{key}: other predictions"
            if not np.allclose(self.scores[key], other.scores[key], atol=1e-5, rtol=0):
                return f"{key}: scores differ by {np.abs(self.scores[key] - other.scores[key]).max():.1e}"
        return None


def left_by(results: Path) -> Left:
    """What lies below a results folder; a file that cannot be read is an error."""
    records: dict[str, dict[str, object]] = {}
    answers, scores = {}, {}
    for path in sorted((results / "records").glob("*.json")):
        record: Record = read_record(path)
        told = record.model_dump(mode="json", exclude=TOLD_ELSEWHERE)
        records[record.run_key] = told
        if record.artifacts is not None:
            frame = pd.read_parquet(results / record.artifacts.predictions)
            answers[record.run_key] = frame[["index", "label", "prediction"]].to_numpy()
            scores[record.run_key] = frame["score"].to_numpy()
            read_arrays(results / record.artifacts.class_embeddings)
            assert record.artifacts.prompts is not None
            pd.read_parquet(results / record.artifacts.prompts)
    return Left(records=records, answers=answers, scores=scores)


def stored_rows(cache: Path, kind: str) -> int:
    """How many rows of a kind lie whole in a cache."""
    total = 0
    for path in (cache / kind).glob("*/*.safetensors"):
        try:
            total += len(read_arrays(path)[0]["rows"])
        except (FileNotFoundError, DamagedFileError):
            continue
    return total


# Faults, installed in the process that has them -------------------------------------------------------------------


def slow_batches(seconds: float) -> None:
    """Each batch takes a while and is written at once."""
    from cupl_bench import features

    features.SHARD_SECONDS = -1.0
    finite_units = features.finite_units

    def slow(*arguments: Any) -> Any:
        time.sleep(seconds)
        return finite_units(*arguments)

    features.finite_units = slow  # type: ignore[assignment]


def slow_and_counted(seconds: float, place: str) -> None:
    """Each batch takes a while, and adds a byte to the file ``place``."""
    from cupl_bench import features

    finite_units = features.finite_units

    def slow(*arguments: Any) -> Any:
        time.sleep(seconds)
        found = finite_units(*arguments)
        with Path(place).open("ab") as file:
            file.write(b"1")
        return found

    features.finite_units = slow  # type: ignore[assignment]


@dataclass
class Writes:
    """Counts the steps of writing files, and does something at one of them.

    A file is written in four steps: its temporary file is asked for, half of it is written, all of it lies on the disk,
    it has its name.
    """

    step: int
    act: Callable[[], None]
    seen: int = field(default=0, init=False)

    def count(self) -> None:
        self.seen += 1
        if self.seen == self.step:
            self.act()

    def install(self) -> None:
        from cupl_bench import store

        mkstemp, fdopen, fsync, replace = tempfile.mkstemp, os.fdopen, os.fsync, Path.replace
        writes = self

        def made(*arguments: Any, **options: Any) -> Any:
            if str(options.get("suffix", "")) == ".tmp":
                writes.count()
            return mkstemp(*arguments, **options)

        class Halved:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> "Halved":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def write(self, content: bytes) -> None:
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                writes.count()
                self.file.write(content[len(content) // 2 :])

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        def opened(descriptor: int, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = fdopen(descriptor, mode, *arguments, **options)
            return Halved(file) if mode == "wb" else file

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            writes.count()

        def named(path: Path, target: Any) -> Path:
            found = replace(path, target)
            if path.suffix == ".tmp":
                writes.count()
            return found

        store.tempfile.mkstemp = made  # type: ignore[assignment]
        store.os.fdopen = opened  # type: ignore[assignment]
        store.os.fsync = synced
        store.Path.replace = named  # type: ignore[method-assign]


def die_at(step: int) -> None:
    """The process is killed at a step of writing its files."""
    Writes(step, lambda: os.kill(os.getpid(), signal.SIGKILL)).install()


def interrupted_at(step: int) -> None:
    """Ctrl-C comes at a step of writing files."""
    Writes(step, lambda: os.kill(os.getpid(), signal.SIGINT)).install()


def interrupted_within(number: int, module: str, name: str) -> None:
    """A signal comes inside a function of a library, once, and the library makes an ordinary error of it."""
    library, seen = import_module(module), False
    function = getattr(library, name)

    def within(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        if not seen:
            seen = True
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                raise ValueError("a callback of a library failed") from None
        return function(*arguments, **options)

    setattr(library, name, within)


def swallowed(number: int, place: str) -> None:
    """A signal comes while the third batch is encoded, and nobody hears of it; what is encoded is counted as above."""
    from cupl_bench import features

    slow_and_counted(0.0, place)
    counted = features.finite_units

    def swallowing(*arguments: Any) -> Any:
        found = counted(*arguments)
        if Path(place).stat().st_size == 3:
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        return found

    features.finite_units = swallowing  # type: ignore[assignment]


def stuck_in_writing(place: str) -> None:
    """Image features are never written; the file ``place`` tells when that begins."""
    from cupl_bench.store import RowStore

    plainly = RowStore.write

    def write(store: RowStore, *arguments: Any) -> None:
        if store.folder.parent.name != "image_features":
            plainly(store, *arguments)
            return
        Path(place).touch()
        time.sleep(100)

    RowStore.write = write  # type: ignore[method-assign]


def full_at(step: int) -> None:
    """The disk is full from a step of writing files on."""

    def full() -> None:
        writes.step = writes.seen + 1  # and at every further step
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writes = Writes(step, full)
    writes.install()


def clock_set_back(seconds: float) -> None:
    """Every clock that tells the time of day runs behind."""
    import datetime as module

    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() - seconds
    time.time_ns = lambda: now_ns() - int(seconds * 1e9)

    class Behind(module.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Behind":
            return super().now(tz) - module.timedelta(seconds=seconds)

    from cupl_bench.run import recording

    recording.datetime = Behind  # type: ignore[misc]


# Processes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A process that runs the command line."""

    process: BaseProcess
    output: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process.pid is not None
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self, seconds: float = 300.0) -> int:
        """The exit code, negative for the number of a signal."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"the process hangs: {self.text()[-2000:]}")
        return self.process.exitcode

    def text(self) -> str:
        """All that it printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def start(arguments: Sequence[str], output: Path, *faults: Fault) -> Running:
    """Run the command line in a process of its own, with these faults."""
    process = CONTEXT.Process(target=_run, args=(list(arguments), str(output), faults))
    process.start()
    return Running(process, output)


def _run(arguments: list[str], output: str, faults: tuple[Fault, ...]) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    import torch

    from cupl_bench.commands import report

    torch.set_num_threads(1)
    report.QUICK = 0  # figures and the page take longer than all else
    for name, values in faults:
        globals()[name](*values)
    from cupl_bench.__main__ import main

    os._exit(_flushed(main(arguments)))


def _flushed(code: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def seconds_until(condition: Callable[[], bool], limit: float = 120.0) -> float:
    """Wait for a condition; how long that took.

    Raises:
        TimeoutError: it did not come about.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            raise TimeoutError(f"waited {limit} s in vain")
        time.sleep(0.005)
    return time.monotonic() - began


def sweep_of(photos: Path, tiny: TinyModel, results: Path, cache: Path, *more: str) -> list[str]:
    """The arguments of a small sweep."""
    return [
        "eval", "-m", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=simple,name_only",
        "batch_size=4", f"results_dir={results}", f"cache_dir={cache}", *more,
    ]  # fmt: skip


def written_outcomes(results: Path) -> list[dict[str, object]]:
    """How the jobs of the sweeps of a results folder ended."""
    return [json.loads(path.read_text()) for path in sorted(results.glob("logs/*/outcomes/*.json"))]
