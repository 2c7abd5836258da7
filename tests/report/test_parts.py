"""Parts of a comparison that are kept: the same files, and nothing of before where anything changed."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from cupl_bench.records import read_records
from cupl_bench.report import comparison, parts
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.page import Page, PageWriter
from cupl_bench.report.parts import FOLDER, KeptParts
from cupl_bench.report.tables import write_tables
from scripts.synthetic_results import write_results

TABLES = ("runs", "pooled", "controls", "writers", "classes", "moved")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, two strategies, and draws of some prompts."""
    folder = tmp_path_factory.mktemp("made") / "results"
    write_results(
        folder, datasets=2, backbones=1, images=60, classes=5, seeds=2, strategies={"simple": 0.0, "cupl": 0.1}
    )
    return folder


@pytest.fixture
def results(made: Path) -> Path:
    """The results as a report has left them."""
    report(made)
    return made


def report(folder: Path) -> tuple[Comparison, Page, list[Path]]:
    page = PageWriter(folder)
    kept = KeptParts(folder, page)
    found = compare(read_records(folder), folder, look=page.look, kept=kept)
    written = page.write(found, lambda record: None)
    kept.forget_others()
    return found, written, write_tables(found, folder)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are compared anew from now on, by data set."""
    names: list[str] = []
    true = comparison.read_answers
    monkeypatch.setattr(
        comparison, "read_answers", lambda folder, run: (names.append(run.dataset), true(folder, run))[1]
    )
    return names


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and FOLDER.name not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_what_is_kept_is_what_is_compared_to_the_byte(results: Path, read: list[str], tmp_path: Path) -> None:
    before, written = contents(results), report(results)[1]
    assert read == []
    assert contents(results) == before
    fresh = shutil.copytree(results, tmp_path / "fresh", ignore=shutil.ignore_patterns("tables", "report"))
    found, of_fresh, _ = report(fresh)
    assert read
    assert contents(fresh) == before
    again = report(results)[0]
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(found, name), check_exact=True)
    assert again.standings.notes == found.standings.notes
    assert [written.num_bytes, len(written.files)] == [of_fresh.num_bytes, len(of_fresh.files)]


def test_a_run_that_goes_or_comes_costs_its_group(results: Path, read: list[str], tmp_path: Path) -> None:
    key = next(one.run_key for one in read_records(results) if one.dataset.name == "synthetic01")
    kept = {path.name for path in (results / FOLDER).iterdir()}
    moved = shutil.move(results / "records" / f"{key}.json", tmp_path / "record")
    report(results)
    assert set(read) == {"synthetic01"}
    assert not (results / "report" / "data" / "runs" / f"{key}.js").exists()
    now = {path.name for path in (results / FOLDER).iterdir()}
    assert len(now) == len(kept), "the part of before is gone"
    assert len(now & kept) == len(kept) // 2
    shutil.move(moved, results / "records" / f"{key}.json")
    read.clear()
    report(results)
    assert set(read) == {"synthetic01"}
    assert (results / "report" / "data" / "runs" / f"{key}.js").is_file()


@pytest.mark.parametrize("harmed", ["page", "part", "classes", "predictions", "prompts"])
def test_what_was_harmed_or_touched_is_made_anew(harmed: str, results: Path, read: list[str]) -> None:
    before = contents(results)
    key = next(one.run_key for one in read_records(results) if one.dataset.name == "synthetic00")
    part = next(path for path in (results / FOLDER).glob("*.json") if f'"{key}"' in path.read_text())
    paths = {
        "page": results / "report" / "data" / "runs" / f"{key}.js",
        "part": part,
        "classes": part.with_suffix(".classes"),
        "predictions": results / "predictions" / f"{key}.parquet",
        "prompts": results / "prompts" / f"{key}.parquet",
    }
    path = paths[harmed]
    if harmed in ("predictions", "prompts"):
        path.touch()
    elif harmed == "part":
        path.write_text(path.read_text().replace('"top1": 0', '"top1": 1'))
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    report(results)
    assert set(read) == {"synthetic00"}
    assert contents(results) == before


def test_what_cannot_be_removed_stays_and_ends_no_report(results: Path, read: list[str]) -> None:
    mine = results / FOLDER / "mine"
    mine.mkdir()
    report(results)
    assert mine.is_dir()
    assert read == []
    mine.rmdir()


def test_another_program_keeps_nothing(results: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "program_state", lambda: "another")
    report(results)
    assert set(read) == {"synthetic00", "synthetic01"}


def test_another_baseline_is_another_comparison(results: Path, read: list[str]) -> None:
    page = PageWriter(results)
    found = compare(read_records(results), results, baseline="cupl", look=page.look, kept=KeptParts(results, page))
    assert set(read) == {"synthetic00", "synthetic01"}
    assert set(found.runs["baseline"].str.partition(" ")[0]) == {"cupl"}
