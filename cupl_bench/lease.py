"""No two jobs do the same work at once: leases, as files on a disk that all of them see.

The lock is filelock's `SoftFileLease`: a file that is created exclusively and touched every few seconds. A waiting
process watches it with its own clock, so no two clocks are ever compared. The death of a holder is noticed at once on
the same machine, and after EXPIRY_SECONDS without a touch on another. A note beside the file says who holds it and why.

A lease only saves work. Where it fails (a holder that slept through its expiry, a file system that creates files
twice), two jobs compute the same rows, and the stores keep them once.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import LeaseCompromise, SoftFileLease, Timeout

from cupl_bench.errors import ResultsError
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.store import write_atomically

__all__ = ["Holder", "held", "holder_of", "outlast"]

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 60.0
BEAT_SECONDS = 10.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The holder of a lease: who, since when (UTC), and what for. ``job``: its number in Slurm, None elsewhere."""

    what: str
    host: str
    pid: int
    job: str | None
    since: str

    def __str__(self) -> str:
        where = f"process {self.pid} on {self.host}" + ("" if self.job is None else f", Slurm job {self.job}")
        return f"{where}, since {self.since}"


@contextmanager
def held(path: Path, what: str, before_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lease ``path`` inside the block; wait for another holder first, and say for whom.

    ``before_waiting``: releases the leases that this process holds, because two processes that wait for each other's
    leases would wait for ever.

    If no lease can be written, nothing else can be written either, and there is no work to share: the block then runs
    without a lease.
    """
    attempt = _Attempt(path, what)
    lease = attempt.lease
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(attempt, before_waiting)
    except OSError as error:
        log.debug("no lease %s (%s)", path, error)
        yield
        return
    try:
        with suppress(ResultsError):
            write_atomically(_note(path), json.dumps(asdict(_myself(what))).encode())
        yield
    finally:
        if lease.compromise is None:
            _note(path).unlink(missing_ok=True)
        lease.release()


def outlast(paths: Sequence[Path], what: str) -> None:
    """Wait until nobody holds any of the leases ``paths``, be it that its holder let go or that it died; say for whom.

    All are watched at once: those whose holders died together on another machine are over after the time of one.
    """
    attempts = [_Attempt(path, what) for path in paths]
    while True:
        raise_if_interrupted()
        attempts = [attempt for attempt in attempts if not _is_over(attempt)]
        if not attempts:
            return
        time.sleep(POLL_SECONDS)


def _is_over(attempt: "_Attempt") -> bool:
    with suppress(OSError):  # the folder is gone, or nothing can be written there: nobody is waited for
        if not attempt.succeeds():
            attempt.watch()
            return False
        _note(attempt.path).unlink(missing_ok=True)  # of a holder that died
        attempt.lease.release()
    return True


def holder_of(path: Path) -> Holder | None:
    """Return the holder of a lease: None where nobody holds it, or where it was not touched for longer than it lasts.

    Only this function compares two clocks, this machine's and the file server's; people read it, no code decides by it.
    """
    try:
        age = time.time() - path.stat().st_mtime
        return Holder(**json.loads(_note(path).read_bytes())) if age < EXPIRY_SECONDS else None
    except (OSError, ValueError, TypeError):
        return None


def _lease(path: Path) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=EXPIRY_SECONDS, heartbeat_interval=BEAT_SECONDS, on_compromise=_tell_loss)


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _myself(what: str) -> Holder:
    return Holder(
        what=what,
        host=platform.node(),
        pid=os.getpid(),
        job=os.environ.get("SLURM_JOB_ID"),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class _Attempt:
    """Tries to get a lease, and what was seen of its holder meanwhile."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what, self.lease = path, what, _lease(path)
        self._told = False
        self._seen: tuple[int, int] | None = None
        self._unchanged_since = 0.0

    def succeeds(self) -> bool:
        """Return whether the lease is ours after one try."""
        try:
            self.lease.acquire(blocking=False)
        except Timeout:
            return False
        if self._told:
            log.info("waited    for %s: continuing with what is there", self.what)
        return True

    def watch(self) -> None:
        """Say once who holds the lease; remove it if nobody has touched it for too long."""
        holder = holder_of(self.path)
        if not self._told and holder is not None:
            log.info("waiting   for %s: held by %s", self.what, holder)
            self._told = True
        # filelock takes an expired lease by exchanging two names in one step, which network file systems refuse.
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return
        if self._seen != (stat.st_ino, stat.st_mtime_ns):
            self._seen, self._unchanged_since = (stat.st_ino, stat.st_mtime_ns), time.monotonic()
        elif time.monotonic() - self._unchanged_since > 1.5 * EXPIRY_SECONDS:
            _remove(self.path, self._seen)


def _acquire(attempt: _Attempt, before_waiting: Callable[[], None]) -> None:
    asked = False
    while True:
        raise_if_interrupted()
        if attempt.succeeds():
            return
        if not asked:
            asked = True
            before_waiting()
            continue
        attempt.watch()
        time.sleep(POLL_SECONDS)


def _remove(path: Path, judged: tuple[int, int]) -> None:
    """Move an expired lease away; put back a new lease that has taken its place meanwhile."""
    aside = path.with_suffix(f".{os.getpid()}.expired")
    try:
        path.rename(aside)
        stat = aside.stat()
        if (stat.st_ino, stat.st_mtime_ns) != judged and not path.exists():
            aside.rename(path)
        else:
            aside.unlink()
    except FileNotFoundError:
        return  # another waiter was quicker


def _tell_loss(loss: LeaseCompromise) -> None:
    log.warning(
        "The lease %s was lost (%s): another job may compute the same rows. That costs time and nothing else.",
        loss.lock_file,
        loss.reason,
    )
