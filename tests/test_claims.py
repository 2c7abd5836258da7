"""Rows are claimed by their keys: jobs wait for each other only where they want the same rows."""

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from cupl_bench import claims, lease
from cupl_bench.claims import claimed
from cupl_bench.errors import UnreadableError
from cupl_bench.keys import Keys

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys
from pathlib import Path
from cupl_bench import lease
from cupl_bench.claims import claimed
from cupl_bench.keys import Keys
lease.EXPIRY_SECONDS, lease.BEAT_SECONDS = 1.5, 0.3
wanted = Keys.of(bytes([int(one)] * 16) for one in sys.argv[2:])
with claimed(Path(sys.argv[1]), lambda: wanted, lambda keys: keys, "images"):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 1.5)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)


@contextmanager
def another(store: Path, rows: Sequence[int]) -> Iterator[subprocess.Popen[str]]:
    """A process that claims these rows until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store), *map(str, rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def keys(rows: Sequence[int]) -> Keys:
    return Keys.of(bytes([row] * 16) for row in rows)


class Store:
    """Rows that are there, for jobs in threads; each notes what it encoded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here, self.encoded = folder, set[int](), list[int]()

    def encode(self, wanted: Sequence[int], seconds: float = 0.0) -> None:
        def find() -> list[int]:
            return [row for row in wanted if row not in self.here]

        with claimed(self.folder, find, keys, "images") as missing:
            time.sleep(seconds)
            self.encoded += missing
            self.here |= {*missing}


def left(store: Path) -> list[str]:
    return [path.name for path in (store / "claims").iterdir()]


def test_nothing_is_written_where_nothing_is_missing(tmp_path: Path) -> None:
    with claimed(tmp_path / "store", list, keys, "images") as missing:
        assert missing == []
    assert not (tmp_path / "store").exists()


def test_other_rows_are_encoded_side_by_side(tmp_path: Path) -> None:
    with another(tmp_path, [1, 2]) as process:
        began = time.monotonic()
        Store(tmp_path).encode([3, 4])
        assert time.monotonic() - began < 1.0
        assert process.poll() is None
        assert len([name for name in left(tmp_path) if name.endswith(".claimed")]) == 1


def test_a_row_of_another_job_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="cupl_bench")
    store = Store(tmp_path)
    with another(tmp_path, [1, 2]) as process:
        waiter = threading.Thread(target=store.encode, args=([2, 3],))
        waiter.start()
        waiter.join(0.5)
        assert store.encoded == []
        store.here |= {1, 2}  # what the other job encoded
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        waiter.join(10)
    assert store.encoded == [3]
    assert f"waiting   for images: held by process {process.pid} on " in caplog.text
    assert left(tmp_path) == []


def test_the_rows_of_a_killed_job_are_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with another(tmp_path, [1, 2]) as process:
        process.kill()
        process.wait()
        store.encode([2, 3])
    assert store.encoded == [2, 3]
    assert left(tmp_path) == []


def test_jobs_that_overlap_encode_each_row_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    wanted = [[*range(start, start + 6)] for start in range(0, 12, 2)]
    jobs = [threading.Thread(target=store.encode, args=(rows, 0.05)) for rows in wanted * 2]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sorted(store.encoded) == [*range(16)]
    assert left(tmp_path) == []


def test_half_a_key_is_no_claim(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "half.claimed").write_bytes(bytes([1] * 20))
    store = Store(tmp_path)
    store.encode([2])
    assert store.encoded == [2]


def test_where_nothing_can_be_written_there_is_nothing_to_share(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file in the way")
    store = Store(tmp_path / "store")
    store.encode([1])
    assert store.encoded == [1]


def test_those_who_died_together_on_another_machine_are_waited_for_together(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    own = filelock.SoftFileLease(folder / "own", lease_duration=1.5)
    with own:
        elsewhere = (folder / "own").read_text().replace(platform.node(), "elsewhere")
    assert "elsewhere" in elsewhere
    for row in range(1, 6):
        (folder / f"{row}.lease").write_text(elsewhere)
        (folder / f"{row}.claimed").write_bytes(bytes([row] * 16))
    store = Store(tmp_path)
    began = time.monotonic()
    store.encode([*range(1, 7)])
    assert 1.4 < time.monotonic() - began < 3.0  # one after the other would be 7.5
    assert store.encoded == [*range(1, 7)]
    assert left(tmp_path) == []


def test_a_claim_that_may_not_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, in a folder that only he may write."""
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "his.claimed").write_bytes(bytes([1] * 16))
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "his.claimed":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    store = Store(tmp_path)
    store.encode([1, 2])
    assert store.encoded == [1, 2]
    assert left(tmp_path) == ["his.claimed"]


def test_claims_that_may_not_be_read_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claims" / "folder.claimed").mkdir(parents=True)
    store = Store(tmp_path)
    store.encode([1])

    def refuse(folder: Path, _: str) -> list[Path]:
        raise UnreadableError(f"{folder} cannot be read")

    monkeypatch.setattr(claims, "files_in", refuse)
    store.encode([2])
    assert store.encoded == [1, 2]
