"""The strategies of a sweep are scored side by side, and each as if it were alone."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from making import make_folder

from cupl_bench import scores
from cupl_bench.errors import ResultsError
from cupl_bench.lease import held
from cupl_bench.outcomes import read_outcomes, running_lease
from cupl_bench.records import Record
from cupl_bench.run import scoring, timing, waiting
from cupl_bench.store import StoredRows

NUM_IMAGES, PART = 42, 8
SWEEP = ("-m", "prompts=simple,name_only,templates", 'prompts.templates=["the {}.","one {}."]')
NAMES = {"simple", "name_only", "templates"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", dict.fromkeys("abcdef", NUM_IMAGES // 6))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """From where to where image features were read, in order; parts and tiles are small."""
    monkeypatch.setattr(scores, "PART_IMAGES", PART)
    monkeypatch.setattr(scores, "TILE_IMAGES", 3)
    seen: list[tuple[int, int]] = []
    read = StoredRows.__getitem__

    def told(rows: StoredRows, which):
        if isinstance(which, slice) and which.start is not None and len(rows) == NUM_IMAGES:
            seen.append((which.start, min(which.stop, NUM_IMAGES)))
        return read(rows, which)

    monkeypatch.setattr(StoredRows, "__getitem__", told)
    return seen


def answers(records: dict[str, Record], results: Path) -> dict[str, tuple[bytes, object]]:
    return {
        name: ((results / record.artifacts.predictions).read_bytes(), record.metrics)
        for name, record in records.items()
        if record.artifacts is not None
    }


@pytest.mark.slow
def test_each_part_of_the_features_is_read_for_all_before_the_next(cli, on_photos, reads) -> None:
    assert on_photos(*SWEEP) == 0, cli.err
    assert sorted(reads) == sorted([(start, min(start + 3, NUM_IMAGES)) for start in range(0, NUM_IMAGES, 3)] * 3)
    tiles = 3 * -(-PART // 3)  # a part is made of whole tiles, of each of three strategies
    largest = 0
    for start, _ in reads:
        assert start > largest - tiles, "a strategy went back by more than a part"
        largest = max(largest, start)
    assert "scores of 3 questions, in one pass" in cli.out
    assert cli.out.index("job 2: ") < cli.out.index("top-1 ")


def test_an_answer_is_the_same_bytes_as_alone(cli, on_photos, reads, tmp_path: Path) -> None:
    assert on_photos(*SWEEP) == 0, cli.err
    together = answers(cli.records(), cli.results)
    assert together.keys() == NAMES
    cli.results = tmp_path / "alone"
    for name in ("simple", "name_only"):
        assert on_photos(f"prompts={name}") == 0, cli.err
    assert on_photos("prompts=templates", SWEEP[-1]) == 0, cli.err
    assert answers(cli.records(), cli.results) == together


@pytest.mark.slow
def test_a_strategy_that_fails_in_the_pass_takes_no_other_with_it(
    cli, on_photos, reads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = cli.results
    cli.results = tmp_path / "whole"
    assert on_photos(*SWEEP) == 0, cli.err
    whole = answers(cli.records(), cli.results)
    write = scoring.write_predictions
    broken = cli.records()["name_only"].run_key
    cli.results = results

    def failing(path: Path, *rest) -> Iterator[scores.Tally]:
        tallies = write(path, *rest)
        yield next(tallies)
        if path.stem == broken:
            raise ResultsError("the disk is full")
        yield from tallies

    monkeypatch.setattr(scoring, "write_predictions", failing)
    assert on_photos(*SWEEP) == 2
    assert "1 of 3 jobs failed" in cli.err
    records = cli.records()
    assert {name: record.status for name, record in records.items()} == dict.fromkeys(NAMES, "ok") | {
        "name_only": "failed"
    }
    del whole["name_only"]
    assert answers(records, cli.results) == whole
    monkeypatch.undo()
    assert on_photos(*SWEEP) == 0, cli.err
    assert cli.out.count("finished before") == 2


@pytest.mark.slow
def test_a_question_under_two_names_is_scored_once(cli, on_photos, reads) -> None:
    assert on_photos("-m", "prompts=simple", "batch_size=2,3,5") == 0, cli.err
    assert len(reads) == NUM_IMAGES // 3
    assert cli.out.count("finished before") == 2
    outcomes = read_outcomes(next(Path.cwd().rglob("sweep.json")).parent)
    assert len({outcome.run_key for outcome in outcomes}) == 1
    assert len(outcomes) == 3
    assert on_photos("-m", "prompts=name_only,name_only") == 0, cli.err


@pytest.mark.slow
@pytest.mark.parametrize("why", ["memory", "hurry"])
def test_what_waits_is_bounded_and_does_not_wait_for_an_end_that_is_near(
    cli, on_photos, reads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    assert on_photos(*SWEEP) == 0, cli.err
    together = answers(cli.records(), cli.results)
    if why == "memory":
        monkeypatch.setattr(waiting, "WAITING_BYTES", 0)
    else:
        monkeypatch.setattr(waiting, "hurry", SimpleNamespace(is_set=lambda: True))
    cli.results = tmp_path / "others"
    assert on_photos(*SWEEP) == 0, cli.err
    assert "in one pass" not in cli.out
    assert cli.out.index("top-1 ") < cli.out.index("job 1: ")
    assert answers(cli.records(), cli.results) == together


@pytest.mark.slow
def test_two_sweeps_in_different_orders_do_not_wait_for_each_other(cli, on_photos, photos: Path, tiny) -> None:
    assert on_photos("-m", "prompts=name_only,templates", SWEEP[-1]) == 0, cli.err
    cli.results = cli.results.with_name("again")
    (name,) = [one.job for one in read_outcomes(next(Path.cwd().rglob("sweep.json")).parent) if "name_only" in one.job]
    records, seen = cli.results / "records", []
    taken = threading.Event()

    def other() -> None:
        """Holds the second question until the first is answered."""
        with held(running_lease(cli.results, name), name):
            taken.set()
            end = time.monotonic() + 20
            while not seen and time.monotonic() < end:
                seen.extend(records.glob("*.json"))
                time.sleep(0.05)

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(10)
    assert on_photos("-m", "prompts=simple,name_only") == 0, cli.err
    thread.join()
    assert len(seen) == 1
    assert cli.records().keys() == {"simple", "name_only"}


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_sweep_that_ends_in_the_pass_leaves_nothing_half_done(
    cli, on_photos, reads, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    predict, calls = scoring.predictions_of, 0

    def ending(*arguments, **named):
        nonlocal calls
        for part in predict(*arguments, **named):
            calls += 1
            if calls == 5:
                raise error
            yield part

    monkeypatch.setattr(scoring, "predictions_of", ending)
    try:
        assert on_photos(*SWEEP) not in (0, 2)
    except error:
        cli.capture.readouterr()
    left = [path for folder in (cli.results, cli.cache) for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix in (".lease", ".tmp") or path.parent.name == "predictions"]
    monkeypatch.setattr(scoring, "predictions_of", predict)
    assert on_photos(*SWEEP) == 0, cli.err
    assert cli.out.count("0 encoded") == 3
    assert cli.records().keys() == NAMES


@pytest.mark.slow
def test_the_seconds_of_a_record_are_its_own(cli, on_photos, reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once for each tile that is scored."""
    now = 0.0
    similarity_to = scores.similarity_to

    def ticking(*arguments):
        to_classes = similarity_to(*arguments)

        def tick(images):
            nonlocal now
            now += 1
            return to_classes(images)

        return tick

    monkeypatch.setattr(scores, "similarity_to", ticking)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now))
    assert on_photos(*SWEEP) == 0, cli.err
    timings = [record.timing for record in cli.records().values()]
    assert [timing.scores.seconds for timing in timings] == [NUM_IMAGES / 3] * 3


@pytest.mark.slow
def test_the_seconds_of_all_records_are_no_more_than_went_by(cli, on_photos, reads) -> None:
    began = time.perf_counter()
    assert on_photos(*SWEEP) == 0, cli.err
    wall = time.perf_counter() - began
    seconds = [record.timing.total_seconds for record in cli.records().values()]
    assert min(seconds) > 0
    assert sum(seconds) < wall
