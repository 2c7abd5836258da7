"""Rows that a job is encoding are claimed by their keys, so that no other job encodes them at the same time.

Data sets share images (ImageNet with other labels, or with class names in another language) and prompts (ImageNet-V2,
-Sketch and -A have ImageNet's classes), and jobs of different data sets run side by side. So what is claimed is rows of
a store, whatever they are asked for. A job waits only for a job that encodes a row which it lacks itself.

A claim is two files: a lease (`lease.py`) and the keys that it covers. As with every lease, only work is saved: where
claims fail, rows are encoded twice and kept once.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from cupl_bench.errors import ResultsError, UnreadableError
from cupl_bench.keys import KEY_BYTES, KeyIndex, Keys
from cupl_bench.lease import held, outlast
from cupl_bench.store import files_in, write_atomically

__all__ = ["claimed"]

log = logging.getLogger(__name__)

T = TypeVar("T")

ENDING = ".claimed"


@contextmanager
def claimed(store: Path, find: Callable[[], T], keys_of: Callable[[T], Keys], what: str) -> Iterator[T]:
    """Claim the rows that a store lacks inside the block; wait first for every job that encodes one of them.

    Args:
        store: the folder of the store, in which the claims lie.
        find: finds what is wanted and not there; asked again after each wait.
        keys_of: the keys of its rows.
        what: they are features of, for those who wait.

    Yields:
        What ``find`` found last; no other job encodes any of it.
    """
    folder = store / "claims"
    stuck: set[Path] = set()  # that cannot be removed: of another user, in a folder that only he may write
    with ExitStack() as claim:
        while len(keys_of(found := find())):
            with held(folder / "claiming.lease", f"a look at who encodes {what}"):
                keys = keys_of(found := find())  # what another job has just written is there by now
                if not (others := [path for path in _of_others(folder, keys) if path not in stuck]):
                    if len(keys):
                        claim.enter_context(_claim(folder, keys, what))
                    break
            outlast([path.with_suffix(".lease") for path in others], what)
            for path in others:
                try:
                    path.unlink(missing_ok=True)  # of a job that died; others remove their own
                except OSError as error:
                    log.debug("a claim of %s stays (%s)", what, error)
                    stuck.add(path)
        yield found


def _of_others(folder: Path, keys: Keys) -> Iterator[Path]:
    """Yield the claims of other jobs that cover one of ``keys``."""
    wanted = KeyIndex()
    wanted.add(keys)
    try:
        paths = files_in(folder, ENDING)
    except UnreadableError as error:
        log.debug("no claim is seen (%s)", error)
        return
    for path in paths:
        try:
            content = np.fromfile(path, dtype=np.uint8)
        except OSError:
            continue  # done meanwhile, or it may not be read
        whole = len(content) - len(content) % KEY_BYTES
        if (wanted.find(Keys(content[:whole].reshape(-1, KEY_BYTES))) >= 0).any():
            yield path


@contextmanager
def _claim(folder: Path, keys: Keys, what: str) -> Iterator[None]:
    path = folder / f"{uuid.uuid4().hex}{ENDING}"
    with held(path.with_suffix(".lease"), what):
        try:
            write_atomically(path, keys.packed.tobytes())
        except ResultsError as error:
            log.debug("no claim of %s (%s)", what, error)
        try:
            yield
        finally:
            with suppress(OSError):  # one that stays is removed by the first job that wants these rows
                path.unlink()
