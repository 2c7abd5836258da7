"""`cupl-bench status` and rerun=failed: where the questions of a sweep stand."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cupl_bench.commands.status import _lines
from cupl_bench.lease import held
from cupl_bench.outcomes import Outcome, last_outcomes, read_outcomes, running_lease, state_of, write_outcome
from cupl_bench.schema import log_folder


@pytest.mark.slow
def test_a_sweep_is_done_running_failed_and_missing(cli, on_photos, tiny, photos: Path) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert on_photos("-m", "prompts=name_only,ensemble,simple") == 2
    assert cli("status") == 0
    assert "the last sweep: cupl-bench eval dataset=folder" in cli.out
    assert "3 questions: 2 done, 0 running, 1 failed, 0 missing" in cli.out
    failed = next(line for line in cli.out.splitlines() if line.startswith("failed"))
    assert "prompts=ensemble" in failed
    assert "no hand-written templates" in failed
    # The same arguments in another order, and one more question.
    assert cli("status", *tiny.overrides, "prompts=name_only,ensemble,simple,cupl", *asked[:2], "batch_size=3") == 0
    assert "4 questions: 2 done, 0 running, 1 failed, 1 missing" in cli.out
    name = next(line for line in cli.out.splitlines() if line.startswith("missing")).split(maxsplit=1)[1].split(": ")[0]
    with held(running_lease(cli.results, name), name):
        assert cli("status", *asked, "prompts=name_only,ensemble,simple,cupl") == 0
    assert "4 questions: 2 done, 1 running, 1 failed, 0 missing" in cli.out
    assert "running   dataset=folder" in cli.out
    # What failed is asked again, what is finished is reused, what never ran is left.
    again = ["-m", "prompts=name_only,ensemble,cupl", "rerun=failed"]
    assert on_photos(*again) == 2
    assert cli.out.count("finished before") == 1
    assert "1 of 3 questions: never ran, and rerun=failed does not start it" in cli.out
    assert "1 of 3 jobs failed" in cli.err
    assert on_photos("prompts=ensemble", "dataset.texts.templates=openai_imagenet_7", "rerun=failed") == 0
    assert "never ran, and rerun=failed does not start it" in cli.out
    assert len(cli.records()) == 2


def test_where_there_is_no_sweep(cli) -> None:
    assert cli("status") == 2
    assert "holds no sweep" in cli.err
    assert cli("status", "--help") == 0
    assert cli.out.startswith("cupl-bench status")
    assert cli("status", "prompts=nope") == 2
    assert "prompts=nope is not an option of prompts" in cli.err
    assert cli("status", "prompts=simple") == 0
    assert "1 questions: 0 done, 0 running, 0 failed, 1 missing" in cli.out


def test_the_last_outcome_counts_and_what_was_left_is_none(tmp_path: Path) -> None:
    first, second = tmp_path / "logs" / "1", tmp_path / "logs" / "2"
    write_outcome(first, 0, Outcome(job="a", run_key=None, error="no"))
    write_outcome(first, 1, Outcome(job="b", run_key="000000000000"))
    write_outcome(second, 0, Outcome(job="a", run_key="111111111111"))
    write_outcome(second, 1, Outcome(job="b", run_key=None, note="left", left=True))
    outcomes = last_outcomes(tmp_path)
    assert outcomes["a"].run_key == "111111111111"
    assert state_of("b", outcomes, tmp_path) == ("missing", "the record 000000000000 is gone")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "000000000000.json").write_text("{}")
    assert state_of("b", outcomes, tmp_path) == ("done", "000000000000")
    assert [outcome.job for outcome in read_outcomes(first)] == ["a", "b"]


@pytest.mark.parametrize("names", [("2026-01-02_09", "2026-01-01_17"), ("a", "b"), ("same", "same")])
def test_who_ends_last_counts_whatever_the_clocks_say(tmp_path: Path, names: tuple[str, str]) -> None:
    """Tokyo failed and Los Angeles answered afterwards; or the clock was set back between."""
    early, late = (tmp_path / "logs" / name for name in names)
    write_outcome(early, 0, Outcome(job="a", run_key=None, error="no"))
    write_outcome(late, 1, Outcome(job="a", run_key="111111111111"))
    for path in (late / "outcomes").glob("*"):
        os.utime(path, (1, 1))
    assert last_outcomes(tmp_path)["a"].run_key == "111111111111"
    write_outcome(early, 2, Outcome(job="a", run_key=None, error="again"))
    assert last_outcomes(tmp_path)["a"].error == "again"


def test_outcomes_of_earlier_versions_are_ordered_by_their_files(tmp_path: Path) -> None:
    for name, time, run_key in [("2026-01-02_09-00", 100, None), ("2026-01-01_17-00", 200, "111111111111")]:
        path = tmp_path / "logs" / name / "outcomes" / "000000.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"job": "a", "run_key": run_key, "error": None if run_key else "no"}))
        os.utime(path, (time, time))
    assert last_outcomes(tmp_path)["a"].run_key == "111111111111"
    write_outcome(tmp_path / "logs" / "2025-01-01", 0, Outcome(job="a", run_key=None, error="new"))
    assert last_outcomes(tmp_path)["a"].error == "new"


def test_a_new_folder_of_logs_comes_after_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    now = datetime.now(UTC)
    assert (
        abs(datetime.strptime(log_folder(str(tmp_path)), "%Y-%m-%d_%H-%M-%S-%f").replace(tzinfo=UTC) - now).seconds < 9
    )
    seen = "2999-12-31_23-59-59-999999"
    for other in (seen, "9999 notes", "9999-99-99"):
        (tmp_path / "logs" / other).mkdir(parents=True)
    for _ in range(3):
        name = log_folder(str(tmp_path))
        assert seen < name < "3000-01-01_00-01"
        (tmp_path / "logs" / name).mkdir()
        seen = name


def test_an_outcome_that_rots_is_named(cli, tmp_path: Path) -> None:
    place = cli.results / "logs" / "1" / "outcomes" / "000000.json"
    place.parent.mkdir(parents=True)
    for content in ("", "{}", "[]", json.dumps({"job": "a", "run_key": None, "more": 1})):
        place.write_text(content)
        assert cli("status", "prompts=simple") == 2
        assert f"{place} is not an outcome of a question" in cli.err


def test_many_questions_in_one_state_for_one_reason_have_one_line() -> None:
    many = {f"prompts={place}": "no job has finished it" for place in range(300)}
    lines = list(_lines("missing", {**many, "prompts=own": "another reason"}))
    assert lines == [
        "missing   prompts=own: another reason",
        "missing   300 questions: no job has finished it: prompts=0; prompts=1; prompts=2; and 297 more",
    ]
    assert len(list(_lines("missing", dict(list(many.items())[:20])))) == 20
