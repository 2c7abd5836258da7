"""Progress of anything that takes over two seconds: a line on a terminal or in a notebook, where it is asked for."""

import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["Advance", "busy", "progress", "showing_progress", "step", "track"]

PATIENCE_SECONDS = 2.0
TURN_SECONDS = 0.1
"""How often what is shown as busy turns."""

log = logging.getLogger(__name__)

T = TypeVar("T")

_shown: ContextVar[bool] = ContextVar("shown", default=False)
"""True where the caller wants to see progress: the command line does, a function of the library is silent."""


@runtime_checkable
class Advance(Protocol):
    """Tells that so many more are done, and maybe a word on how it goes."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def showing_progress(shown: bool = True) -> Iterator[None]:
    """Show progress inside, in this thread or task alone."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


@contextmanager
def progress(total: int, label: str) -> Iterator[Advance]:
    """Show a bar on standard error that appears after two seconds and leaves nothing behind."""
    from rich.console import Console  # heavy, and most commands have nothing that takes long
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=not (_shown.get() and (console.is_terminal or console.is_jupyter)),
    )
    task = bar.add_task(label, total=total, note="")
    began = time.monotonic()
    shown = False

    def advance(count: int, note: str = "") -> None:
        nonlocal shown
        bar.update(task, advance=count, note=note)
        if not shown and time.monotonic() - began > PATIENCE_SECONDS:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        if shown:
            bar.stop()


@contextmanager
def busy(label: str) -> Iterator[None]:
    """Show on standard error, where progress is shown, what is being done and for how long; leave nothing behind.

    A thread turns the sign, and has ended when the block has: what forks later forks no thread.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (_shown.get() and (console.is_terminal or console.is_jupyter)):
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    ended = threading.Event()
    # What is said meanwhile on standard output stays there, even if that is a pipe. rich's own thread is not joined.
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty(), auto_refresh=False)

    def turn() -> None:
        while not ended.wait(TURN_SECONDS):
            bar.refresh()

    with bar:
        bar.add_task(label, total=None)
        bar.refresh()
        turning = threading.Thread(target=turn, name="cupl_bench busy", daemon=True)
        turning.start()
        try:
            yield
        finally:
            ended.set()
            turning.join()


@contextmanager
def step(verb: str, what: str) -> Iterator[None]:
    """Say what is being done: shown as busy where progress is shown, else a line, which a log keeps."""
    from rich.console import Console

    console = Console(stderr=True)
    if _shown.get() and (console.is_terminal or console.is_jupyter):
        with busy(f"{verb} {what}"):
            yield
    else:
        log.info("%-9s %s", verb, what)
        yield


def track(items: Sequence[T], label: str) -> Iterator[T]:
    """Yield each item in turn, with progress."""
    with progress(len(items), label) as advance:
        for item in items:
            yield item
            advance(1)
