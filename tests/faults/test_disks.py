"""Disks that are full or read-only, clocks that are set back, and several processes on one cache."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Fault, left_by, start, stored_rows

from cupl_bench.store import read_arrays

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("step", [1, 51, *(pytest.param(step, marks=pytest.mark.long) for step in (2, 22, 63, 75))])
def test_a_disk_that_fills_is_a_clear_refusal_and_loses_nothing(undisturbed, tmp_path: Path, step: int) -> None:
    results, cache = tmp_path / "results", tmp_path / "cache"
    arguments = undisturbed.arguments(results, cache)
    faults: tuple[Fault, ...] = (("slow_batches", (0.0,)), ("full_at", (step,)))
    running = start(arguments, tmp_path / "full.txt", *faults)
    assert running.wait() == 2, running.text()
    assert "cannot be written (No space left on device)" in running.text()
    assert "Traceback" not in running.text()
    assert not list(tmp_path.rglob("*.tmp"))
    finished = {path: path.read_bytes() for path in (results / "records").glob("*.json")}
    stored = stored_rows(cache, "image_features")
    running = start(arguments, tmp_path / "resumed.txt")
    assert running.wait() == 0, running.text()
    assert f"{stored} reused, {40 - stored} encoded" in running.text()
    assert left_by(results).difference(undisturbed.left) is None
    assert all(path.read_bytes() == content for path, content in finished.items())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB of its own; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(cli, undisturbed, small_disk: Path, tmp_path: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 260_000)
    arguments = undisturbed.arguments(small_disk / "results", small_disk / "cache")
    assert cli.raw(*arguments) == 2
    assert "No space left on device" in cli.err
    assert "Traceback" not in cli.err
    filler.unlink()
    assert cli.raw(*arguments) == 0, cli.err
    assert left_by(small_disk / "results").difference(undisturbed.left) is None


def test_a_read_only_cache_serves_what_it_holds_and_refuses_the_rest(
    cli, undisturbed, small_disk: Path, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    results, cache = tmp_path / "results", small_disk / "cache"
    shutil.copytree(undisturbed.cache, cache)
    assert cli.raw(*undisturbed.arguments(tmp_path / "other", cache)) == 0, cli.err  # remembers files that have settled
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert cli.raw(*undisturbed.arguments(results, cache)) == 0, cli.err
    assert cli.out.count("40 reused, 0 encoded") == 2
    assert left_by(results).difference(undisturbed.left) is None
    assert cli.raw(*undisturbed.arguments(results, cache, "prompts=templates", "prompts.templates=['a new {}.']")) == 2
    assert "cannot be written (Read-only file system)" in cli.err
    assert "cache_dir=" in cli.err
    assert "Traceback" not in cli.err


def test_read_only_results_are_refused_before_any_work(cli, undisturbed, small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert cli.raw(*undisturbed.arguments(small_disk / "results", tmp_path / "cache")) == 2
    assert "Read-only file system" in cli.err
    assert "Traceback" not in cli.err
    assert not (tmp_path / "cache").exists()


def test_a_cache_on_a_disk_that_refuses_reading(
    cli, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input/output error of one shard: it stays where it is, and what it held is made again beside it."""
    from cupl_bench import store

    shutil.copytree(undisturbed.cache, tmp_path / "cache")
    (victim,) = (tmp_path / "cache" / "image_features").glob("*/*.safetensors")
    opened = store.safe_open

    def failing(path: Path, *arguments: object, **options: object) -> object:
        if path == victim:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(store, "safe_open", failing)
    assert cli.raw(*undisturbed.arguments(tmp_path / "results", tmp_path / "cache")) == 0, cli.err
    assert "Input/output error" in cli.err
    assert victim.is_file()
    assert len(list(victim.parent.glob("*.safetensors"))) > 1
    monkeypatch.undo()
    assert left_by(tmp_path / "results").difference(undisturbed.left) is None


def test_a_clock_that_is_set_back_changes_no_answer(undisturbed, tmp_path: Path) -> None:
    """Five years back in the middle of a sweep; the files in the cache are of the future."""
    results, cache = tmp_path / "results", tmp_path / "cache"
    shutil.copytree(undisturbed.cache, cache)
    shutil.copytree(undisturbed.results, results)
    arguments = undisturbed.arguments(results, cache)
    back: Fault = ("clock_set_back", (5 * 365 * 86400.0,))
    running = start(arguments, tmp_path / "output.txt", back)
    assert running.wait() == 0, running.text()
    assert running.text().count("finished before") == 2
    running = start([*arguments, "rerun=always"], tmp_path / "output.txt", back)
    assert running.wait() == 0, running.text()
    assert running.text().count("40 reused, 0 encoded") == 2
    assert left_by(results).difference(undisturbed.left) is None


def test_three_processes_on_one_cache_and_one_results_folder(undisturbed, tmp_path: Path) -> None:
    results, cache = tmp_path / "results", tmp_path / "cache"
    runs = [
        start(undisturbed.arguments(results, cache), tmp_path / f"{i}.txt", ("slow_batches", (0.01,))) for i in range(3)
    ]
    codes = [run.wait() for run in runs]
    assert codes == [0, 0, 0], [run.text() for run in runs]
    assert left_by(results).difference(undisturbed.left) is None
    assert stored_rows(cache, "image_features") >= 40
    assert not [*cache.rglob("damaged"), *tmp_path.rglob("*.tmp")]


def test_processes_that_ask_other_questions_of_the_same_images_encode_each_thing_once(
    undisturbed, tmp_path: Path
) -> None:
    """Different prompts, so that no record is shared; whoever comes second waits."""
    shared = ["eval", "dataset=folder", f"dataset.path={undisturbed.photos}", *undisturbed.tiny.overrides]
    places = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}", "batch_size=4"]
    runs = [start([*shared, f"prompts={name}", *places], tmp_path / f"{name}.txt") for name in ("simple", "name_only")]
    assert [run.wait() for run in runs] == [0, 0], [run.text() for run in runs]
    for kind, count in (("image_features", 40), ("text_features", 10)):
        shards = [read_arrays(path)[0] for path in (tmp_path / "cache" / kind).glob("*/*.safetensors")]
        keys = [key.tobytes() for arrays in shards for key in arrays["keys"]]
        assert len(keys) == len(set(keys)) == count
    assert sum("0 reused, 40 encoded" in run.text() for run in runs) == 1
    assert sum("40 reused, 0 encoded" in run.text() for run in runs) == 1
