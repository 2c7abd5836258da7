"""What version 0.1 left (records, caches, an archive, logs) works on, or is recognised and not trusted.

`version_0_1/` was made by the program at commit bbf8646: a sweep of `simple` and `file` over 12 drawn images, one run
with a budget and decode=fast, and an archive of the three.
"""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import cupl_bench
from cupl_bench.__main__ import main
from cupl_bench.records import read_records

KEYS = {"simple": "96bc991c2cb4", "file": "abfc3806b838", "templates": "079e81f3e70e"}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(Path(__file__).parents[1] / "version_0_1", tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def test_its_records_are_read_with_their_questions(old: Path) -> None:
    records = {record.prompts.name: record for record in read_records(old / "results")}
    assert {name: record.run_key for name, record in records.items()} == KEYS
    assert records["templates"].config is not None
    assert records["templates"].config.decode == "fast"
    assert records["templates"].config.budget == 1
    assert all(record.config is not None and not record.config.beyond_words for record in records.values())
    frame = cupl_bench.load_results(old / "results")
    assert frame["top1"].tolist() == [1.0, 1.0, 1.0]
    assert len(cupl_bench.load_predictions(old / "results", KEYS["file"])) == 12


@pytest.mark.slow
def test_its_results_are_reported(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "results_dir=results", "cache_dir=cache"]) == 0
    table = cupl_bench.compare(old / "results")
    assert sorted(table["run_key"]) == sorted(KEYS.values())
    assert (old / "results/report/index.html").is_file()


@pytest.mark.slow
def test_its_features_are_used_and_its_questions_keep_their_keys(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dataset=folder", "dataset.path=images", "backbone=demo", "results_dir=new", "cache_dir=cache"]
    assert main(["eval", "-m", "prompts=simple,file", "prompts.path=descriptions.json", *arguments]) == 0
    out = capsys.readouterr().out
    assert "12 reused, 0 encoded" in out
    assert "3 distinct: 3 reused, 0 encoded" in out
    new = {record.prompts.name: record for record in read_records(old / "new")}
    before = {record.prompts.name: record for record in read_records(old / "results")}
    for name in ("simple", "file"):
        assert new[name].run_key == KEYS[name]
        assert new[name].metrics == before[name].metrics
        scores = [cupl_bench.load_predictions(folder, KEYS[name]).drop(columns="top5") for folder in ("results", "new")]
        # Another processor rounds products in another way: the same to the last bit holds on one machine alone.
        pd.testing.assert_frame_equal(*scores, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_its_records_are_asked_again_and_agree(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["results_dir=results", "cache_dir=cache"]
    for name in KEYS:
        assert main(["reproduce", KEYS[name], *places]) == 0, capsys.readouterr().err
        assert re.search("asked again: (equal|within tolerance)", capsys.readouterr().out)


def test_its_archive_is_imported(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "runs.zip", "results_dir=imported"]) == 0
    assert {record.run_key for record in read_records(old / "imported")} == set(KEYS.values())
    (old / "results/predictions" / f"{KEYS['file']}.parquet").unlink()
    assert main(["import", "runs.zip", "results_dir=results"]) == 0
    assert len(cupl_bench.load_predictions(old / "results", KEYS["file"])) == 12


def test_its_logs_tell_how_questions_ended(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "results_dir=results"]) == 0
    assert "done" in capsys.readouterr().out
