"""Leases: one holder at a time, and none that holds for good."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from cupl_bench import lease
from cupl_bench.lease import held, holder_of

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys
from pathlib import Path
from cupl_bench import lease
lease.EXPIRY_SECONDS, lease.BEAT_SECONDS = 1.5, 0.3
with lease.held(Path(sys.argv[1]), "photos"):
    print("held", flush=True)
    sys.stdin.readline()
print("let go", flush=True)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.5)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)


@contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_waiter_says_for_whom_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="cupl_bench")
    path = tmp_path / "deep" / "a.lease"
    with another(path) as process:
        holder = holder_of(path)
        assert (holder.what, holder.pid) == ("photos", process.pid)
        # Longer than a lease lasts: the heart beats.
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            with pytest.raises(filelock.Timeout):
                filelock.SoftFileLease(path, lease_duration=1.5).acquire(blocking=False)
            time.sleep(0.1)
        process.stdin.write("\n")
        process.stdin.flush()
        with held(path, "photos"):
            assert holder_of(path).pid == os.getpid()
    assert holder_of(path) is None
    assert not list(path.parent.iterdir())


@pytest.mark.slow
def test_a_waiter_tells_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="cupl_bench")
    path = tmp_path / "a.lease"
    with another(path) as process:
        process.send_signal(signal.SIGSTOP)  # as dead as on another machine: its process is there, its heart is not
        with held(path, "photos"):
            assert holder_of(path).pid == os.getpid()
    assert f"waiting   for photos: held by process {process.pid} on " in caplog.text
    assert caplog.text.count("waiting") == caplog.text.count("waited") == 1


def test_a_killed_holder_is_found_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lease"
    with another(path) as process:
        process.kill()
        process.wait()
        assert path.exists()
        monkeypatch.setattr(lease, "_remove", lambda *_: pytest.fail("it was waited for"))
        with held(path, "photos"):
            assert holder_of(path).pid == os.getpid()


@pytest.mark.slow
def test_a_dead_holder_is_found_out_where_two_names_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems refuse what filelock does then."""
    monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False, raising=False)  # not in 4.1
    path = tmp_path / "a.lease"
    with another(path) as process:
        process.send_signal(signal.SIGSTOP)
        with held(path, "photos"):
            assert holder_of(path).pid == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-1e6, 1e6])
def test_a_clock_that_was_set_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    path = tmp_path / "a.lease"
    with another(path) as process:
        process.send_signal(signal.SIGSTOP)
        os.utime(path, (time.time() + seconds,) * 2)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - seconds)
        began = time.monotonic()
        with held(path, "photos"):
            assert time.monotonic() - began > 1.4


def test_a_lease_that_came_in_the_place_of_an_expired_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.lease"
    with held(path, "photos"):
        lease._remove(path, (0, 0))
        assert path.exists()
        lease._remove(tmp_path / "nothing.lease", (0, 0))


def test_where_nothing_can_be_written_there_is_nothing_to_share(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with held(tmp_path / "file" / "a.lease", "photos"):
        pass
    with pytest.raises(OSError, match="of the work"), held(tmp_path / "a.lease", "photos"):
        raise OSError("of the work")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"what": 1}', json.dumps({"x": 1}).encode()])
def test_a_note_that_is_no_note_is_no_holder(tmp_path: Path, note: bytes) -> None:
    (tmp_path / "a.lease").write_text("")
    (tmp_path / "a.json").write_bytes(note)
    assert holder_of(tmp_path / "a.lease") is None
