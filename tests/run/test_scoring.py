"""Questions that wait are scored in one pass: each with its own answer, error, seconds and files."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from making import make_folder

from cupl_bench import scores
from cupl_bench.composition import compose
from cupl_bench.config import machine_of, question_of
from cupl_bench.errors import ResultsError
from cupl_bench.records import Record, read_record, record_path
from cupl_bench.run import scoring
from cupl_bench.run import waiting as waiting_questions
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.flow import all_but_scores, run, run_together
from cupl_bench.run.scoring import score_together
from cupl_bench.run.waiting import Waiting

NUM_IMAGES, PART = 12, 4
NAMES = ("simple", "name_only", "templates")

Asking = Callable[..., tuple[Question, Machine]]


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Gives the question of a strategy on twelve images, and its machine; parts and tiles are small."""
    monkeypatch.setattr(scores, "PART_IMAGES", PART)
    monkeypatch.setattr(scores, "TILE_IMAGES", 2)
    photos = make_folder(tmp_path / "photos", dict.fromkeys("abc", NUM_IMAGES // 3))

    def asked(prompts: str, results: str = "results", **machine: object) -> tuple[Question, Machine]:
        own = ['prompts.templates=["the {}.","one {}."]'] if prompts == "templates" else []
        config = compose(
            ["dataset=folder", f"dataset.path={photos}", "backbone=demo", "device=cpu", f"prompts={prompts}", *own,
             f"results_dir={tmp_path / results}", f"cache_dir={tmp_path / 'cache'}"]
        )  # fmt: skip
        return question_of(config), replace(machine_of(config), **machine)

    return asked


def waiting_for(asking: Asking, *names: str, **machine: object) -> list[Waiting]:
    bench, found = Workbench(), []
    for name in names:
        one = all_but_scores(*asking(name, **machine), bench)
        assert isinstance(one, Waiting)
        found.append(one)
    return found


def predictions(record: Record, folder: Path) -> bytes:
    assert record.artifacts is not None
    return (folder / record.artifacts.predictions).read_bytes()


@pytest.mark.slow
def test_all_are_as_if_alone_in_the_order_of_the_questions(asking: Asking, tmp_path: Path) -> None:
    together = score_together(waiting_for(asking, *NAMES))
    assert [one.prompts.name for one in together] == list(NAMES)
    for name, one in zip(NAMES, together, strict=True):
        alone = run(*asking(name, results="alone"), Workbench())
        assert (one.run_key, one.metrics) == (alone.run_key, alone.metrics)
        assert predictions(one, tmp_path / "results") == predictions(alone, tmp_path / "alone")
        assert read_record(record_path(tmp_path / "results", one.run_key)) == one


@pytest.mark.slow
def test_the_one_that_is_furthest_behind_goes_on(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    write = scoring.write_predictions

    def told(path: Path, *rest: object) -> Iterator[scores.Tally]:
        for number, tally in enumerate(write(path, *rest)):
            seen.append((path.stem, number))
            yield tally

    monkeypatch.setattr(scoring, "write_predictions", told)
    waiting = waiting_for(asking, *NAMES)
    keys = [one.prepared.key for one in waiting]
    score_together(waiting)
    assert seen == [(key, number) for number in range(NUM_IMAGES // PART) for key in keys]


@pytest.mark.slow
@pytest.mark.parametrize("error", [ResultsError("the disk is full"), ZeroDivisionError("a defect"), MemoryError()])
def test_an_error_is_that_of_its_question_alone(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    waiting = waiting_for(asking, *NAMES)
    broken = waiting[1].prepared.key
    write = scoring.write_predictions

    def failing(path: Path, *rest: object) -> Iterator[scores.Tally]:
        with closing(write(path, *rest)) as tallies:
            yield next(tallies)
            if path.stem == broken:
                raise error
            yield from tallies

    monkeypatch.setattr(scoring, "write_predictions", failing)
    first, second, third = score_together(waiting)
    assert isinstance(first, Record)
    assert isinstance(third, Record)
    assert isinstance(second, ResultsError if isinstance(error, ResultsError) else Exception)
    assert isinstance(error, MemoryError) or second is error
    # The user's or the machine's fault is on record; a defect is not made one.
    assert record_path(tmp_path / "results", broken).is_file() == (not isinstance(error, ZeroDivisionError))
    assert {path.stem for path in (tmp_path / "results" / "predictions").iterdir()} == {first.run_key, third.run_key}


@pytest.mark.slow
def test_a_question_that_is_there_twice_finds_its_answer(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = waiting_for(asking, "simple", "name_only", "simple")
    measured: list[object] = []
    measure = scoring.measure
    monkeypatch.setattr(scoring, "measure", lambda tally: measured.append(tally) or measure(tally))
    first, second, again = score_together(waiting)
    assert len(measured) == 2
    assert again == first != second


@pytest.mark.slow
def test_a_question_whose_twin_has_failed_is_scored(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = waiting_for(asking, "simple", "simple")
    measure, called = scoring.measure, []

    def once(tally: scores.Tally) -> scores.Metrics:
        called.append(tally)
        if len(called) == 1:
            raise ResultsError("the disk is full")
        return measure(tally)

    monkeypatch.setattr(scoring, "measure", once)
    first, again = score_together(waiting)
    assert isinstance(first, ResultsError)
    assert isinstance(again, Record)
    assert again.status == "ok"


@pytest.mark.slow
def test_what_ends_the_pass_leaves_no_half_file(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = waiting_for(asking, *NAMES)
    predict, calls = scoring.predictions_of, []

    def ending(*arguments: object, **named: object) -> Iterator[scores.Predictions]:
        for part in predict(*arguments, **named):
            calls.append(part)
            if len(calls) == 5:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(scoring, "predictions_of", ending)
    with pytest.raises(KeyboardInterrupt):
        score_together(waiting)
    assert not list((tmp_path / "results" / "predictions").iterdir())


def test_nothing_waits_and_nothing_is_scored() -> None:
    assert score_together([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 256_000_000])
def test_questions_together_are_answered_in_few_passes(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(waiting_questions, "WAITING_BYTES", limit)
    passes: list[int] = []
    together = scoring.score_together

    def told(waiting: list[Waiting]) -> list[Record | Exception]:
        passes.append(len(waiting))
        return together(waiting)

    monkeypatch.setattr(scoring, "score_together", told)
    named = [lambda name=name: asking(name) for name in (*NAMES, "simple")]

    def refused() -> tuple[Question, Machine]:
        raise ResultsError("no such question")

    found = run_together([named[0], refused, *named[1:]], Workbench())
    assert passes == ([1, 1, 1] if limit == 0 else [4])
    assert isinstance(found[1], ResultsError)
    assert [one.prompts.name for one in found if isinstance(one, Record)] == [*NAMES, "simple"]


@pytest.mark.slow
def test_a_waiting_question_tells_the_memory_that_it_holds(asking: Asking) -> None:
    (one,) = waiting_for(asking, "simple")
    assert one.num_bytes >= one.classes.matrix.nbytes == 3 * one.classes.matrix.shape[1] * 4


@pytest.mark.slow
def test_what_is_written_is_what_the_features_say(asking: Asking, tmp_path: Path) -> None:
    (one,) = waiting_for(asking, "simple")
    (record,) = score_together([one])
    assert isinstance(record, Record)
    frame = pd.read_parquet(tmp_path / "results" / record.artifacts.predictions)
    brute = (torch.from_numpy(one.images.stored[:]) @ torch.from_numpy(one.classes.matrix).T).argmax(dim=1).numpy()
    np.testing.assert_array_equal(frame["prediction"], brute)
    assert record.metrics.top1 == pytest.approx((brute == frame["label"]).mean())
