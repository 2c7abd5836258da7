"""Runs that are killed, interrupted or asked to end: the same command goes on, and the answers are the same."""

import shutil
import signal
from pathlib import Path

import pytest
from faulty import Fault, left_by, seconds_until, start, stored_rows, written_outcomes
from safetensors.torch import load_file

from cupl_bench.interrupts import Terminated, interruptible

pytestmark = pytest.mark.slow


def finish(undisturbed, tmp_path: Path, finished: dict[Path, bytes]) -> str:
    """Run the sweep again; what was finished stays to the byte, and the answers are the undisturbed ones."""
    results, cache = tmp_path / "results", tmp_path / "cache"
    running = start(undisturbed.arguments(results, cache), tmp_path / "resumed.txt")
    assert running.wait() == 0, running.text()
    assert left_by(results).difference(undisturbed.left) is None
    for path, content in finished.items():
        assert path.read_bytes() == content
    return running.text()


def finished_records(tmp_path: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (tmp_path / "results" / "records").glob("*.json")}


# Four steps to a file; the sweep writes about 25 files.
@pytest.mark.parametrize("step", [51, *(pytest.param(step, marks=pytest.mark.long) for step in (22, 75))])
def test_killed_at_a_step_of_writing(undisturbed, tmp_path: Path, step: int) -> None:
    faults: tuple[Fault, ...] = (("slow_batches", (0.0,)), ("die_at", (step,)))
    arguments = undisturbed.arguments(tmp_path / "results", tmp_path / "cache")
    running = start(arguments, tmp_path / "killed.txt", *faults)
    assert running.wait() == -signal.SIGKILL, running.text()
    stored = stored_rows(tmp_path / "cache", "image_features")
    text = finish(undisturbed, tmp_path, finished_records(tmp_path))
    assert f"{stored} reused, {40 - stored} encoded" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_keep_what_was_encoded(undisturbed, tmp_path: Path, number: int, code: int) -> None:
    """Rows that wait in memory are written: shards are large, and none is full."""
    arguments = undisturbed.arguments(tmp_path / "results", tmp_path / "cache", "batch_size=1")
    running = start(arguments, tmp_path / "ended.txt", ("slow_and_counted", (0.02, str(tmp_path / "count"))))
    seconds_until(lambda: (tmp_path / "count").exists() and (tmp_path / "count").stat().st_size >= 10)
    assert stored_rows(tmp_path / "cache", "image_features") == 0
    running.kill(number)
    assert running.wait() == code, running.text()
    assert "the same command continues from there" in running.text()
    assert "Traceback" not in running.text()
    encoded = (tmp_path / "count").stat().st_size
    stored = stored_rows(tmp_path / "cache", "image_features")
    assert encoded - 1 <= stored <= encoded
    assert f"{stored} reused, {40 - stored} encoded" in finish(undisturbed, tmp_path, finished_records(tmp_path))


@pytest.mark.parametrize("step", [22, pytest.param(59, marks=pytest.mark.long)])
def test_ctrl_c_while_a_file_is_written_leaves_nothing_half(undisturbed, tmp_path: Path, step: int) -> None:
    faults: tuple[Fault, ...] = (("slow_batches", (0.0,)), ("interrupted_at", (step,)))
    arguments = undisturbed.arguments(tmp_path / "results", tmp_path / "cache")
    running = start(arguments, tmp_path / "ended.txt", *faults)
    assert running.wait() == 130, running.text()
    assert not list(tmp_path.rglob("*.tmp"))
    assert "damaged" not in finish(undisturbed, tmp_path, finished_records(tmp_path))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    ("module", "name"), [("open_clip", "create_model"), ("PIL.Image", "open"), ("cupl_bench.store", "safe_open")]
)
def test_an_interrupt_that_a_library_turns_into_an_error_is_no_failure(
    undisturbed, tmp_path: Path, module: str, name: str, number: int, code: int
) -> None:
    """Neither a failed record nor a failed outcome, nor a stored file that is thought to be damaged."""
    results, cache = tmp_path / "results", tmp_path / "cache"
    if module == "cupl_bench.store":  # only what is stored is read
        shutil.copytree(undisturbed.cache, cache)
    faults: tuple[Fault, ...] = (("slow_batches", (0.0,)), ("interrupted_within", (number, module, name)))
    running = start(undisturbed.arguments(results, cache, "dataset.skip_broken=true"), tmp_path / "ended.txt", *faults)
    assert running.wait() == code, running.text()
    assert running.text().endswith(
        "cupl-bench: interrupted; what was encoded is kept, and the same command continues from there\n"
    )
    assert not list((results / "records").glob("*.json"))
    assert not written_outcomes(results)
    assert not list(cache.rglob("damaged"))
    finish(undisturbed, tmp_path, {})


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_an_interrupt_that_is_swallowed_ends_the_run_at_the_next_batch(
    undisturbed, tmp_path: Path, number: int, code: int
) -> None:
    arguments = undisturbed.arguments(tmp_path / "results", tmp_path / "cache")
    running = start(arguments, tmp_path / "ended.txt", ("swallowed", (number, str(tmp_path / "count"))))
    assert running.wait() == code, running.text()
    assert (tmp_path / "count").stat().st_size == 3
    assert stored_rows(tmp_path / "cache", "image_features") == 12
    assert "12 reused, 28 encoded" in finish(undisturbed, tmp_path, finished_records(tmp_path))


@pytest.mark.parametrize("first", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_second_ctrl_c_ends_the_run_at_once(undisturbed, tmp_path: Path, first: int) -> None:
    arguments = undisturbed.arguments(tmp_path / "results", tmp_path / "cache")
    faults: tuple[Fault, ...] = (
        ("slow_and_counted", (0.02, str(tmp_path / "count"))),
        ("stuck_in_writing", (str(tmp_path / "stuck"),)),
    )
    running = start(arguments, tmp_path / "ended.txt", *faults)
    seconds_until((tmp_path / "count").exists)
    running.kill(first)
    seconds_until((tmp_path / "stuck").exists)
    running.kill(signal.SIGINT)
    assert running.wait(20) == -signal.SIGINT


def load_until_terminated(weights: Path, seconds: float) -> None:
    with interruptible():
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            load_file(weights)


def test_what_torch_makes_of_an_interrupt_is_an_interrupt_again(tiny) -> None:
    """While safetensors reads weights, torch makes a ValueError of about every third one."""
    alarmed = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        for number in range(200):
            with pytest.raises(Terminated):
                load_until_terminated(tiny.weights, 1e-3 + 1e-5 * number)
    finally:
        signal.signal(signal.SIGALRM, alarmed)
