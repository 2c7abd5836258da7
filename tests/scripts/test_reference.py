"""The reference runs: each archive passes every check, is the one that is signed, and the page says what is there."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from making import make_run

from cupl_bench.archive import import_runs
from cupl_bench.errors import ResultsError
from cupl_bench.records import Record, read_records
from scripts import reference
from scripts.reference import FOLDER, INDEX, SCHEMA, add, check_folder, faults_of, looked_at, read_index, schema

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
DEMO = FOLDER / "demo.zip"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The runs of the demo by the name of their prompts."""
    folder = tmp_path_factory.mktemp("reference")
    import_runs(DEMO, folder)
    return {record.prompts.name: record for record in read_records(folder)}


def test_every_archive_is_as_signed_and_passes_every_check() -> None:
    index = check_folder(FOLDER)
    assert {path.name for path in FOLDER.iterdir()} == {INDEX, SCHEMA, *(f"{name}.zip" for name in index.archives)}
    assert [one.prompts for one in index.archives["demo"].runs] == ["cupl", "ensemble", "simple"]


def test_the_schema_is_that_of_the_index() -> None:
    """If this fails: the form of the index changed; write it with schema()."""
    assert (FOLDER / SCHEMA).read_text(encoding="utf-8") == schema()


def test_the_page_says_whether_there_is_a_real_backbone() -> None:
    real = [row for one in read_index(FOLDER).archives.values() for row in one.runs if row.backbone != "demo"]
    assert ("There is no run of a real backbone here yet." in PAGE.read_text(encoding="utf-8")) == (not real)


@pytest.mark.slow
def test_the_command_says_that_all_is_well(cli: Cli) -> None:
    asked = ["dataset=demo", "backbone=demo", "prompts=simple,ensemble,cupl"]
    assert cli.raw("check", str(DEMO), *asked) == 0, cli.out
    assert "3 questions of the experiment: each has a finished record" in cli.out
    assert "12 checks: all well" in cli.out
    assert cli.raw("check", str(DEMO), *asked, "dataset.split=validation") == 1
    assert "dataset.split=test in the record, validation asked" in cli.out


def test_a_forged_archive_is_found(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "reference")
    with zipfile.ZipFile(folder / "demo.zip", "a") as archive:
        archive.comment = b"other"
    with pytest.raises(ResultsError, match=r"demo.zip has the sha256 \w{12}, and the index signs"):
        check_folder(folder)
    shutil.copy(DEMO, folder / "demo.zip")
    content = json.loads((folder / INDEX).read_text())
    content["archives"]["demo"]["runs"][0]["top1"] += 0.01
    (folder / INDEX).write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="The index says otherwise than the records of demo.zip"):
        check_folder(folder)
    shutil.copy(DEMO, folder / "more.zip")
    with pytest.raises(ResultsError, match="1 archives are in .* or in its index alone: 'more'"):
        check_folder(folder)


@pytest.mark.slow
def test_what_is_added_is_looked_at_first_and_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(DEMO, "mine", "a person, a machine", tmp_path)
    assert (tmp_path / "mine.zip").read_bytes() == DEMO.read_bytes()
    assert check_folder(tmp_path).archives["mine"].by == "a person, a machine"
    for name, by, message in [
        ("mine", "x", "mine is there already"),
        ("My runs", "x", "'My runs' is no name"),
        ("other", " ", "Say who ran it"),
    ]:
        with pytest.raises(ResultsError, match=message):
            add(DEMO, name, by, tmp_path)
    (tmp_path / "cut.zip").write_bytes(DEMO.read_bytes()[:-100])
    with pytest.raises(ResultsError):
        looked_at(tmp_path / "cut.zip", "x")
    monkeypatch.setattr(reference, "LARGEST", 1000)
    with pytest.raises(ResultsError, match="at most 0 are taken"):
        looked_at(DEMO, "x")


def test_runs_that_check_finds_wanting_are_refused(tmp_path: Path) -> None:
    from cupl_bench.archive import export_runs

    make_run(tmp_path / "results", "0" * 12)
    export_runs(tmp_path / "results", [], tmp_path / "runs.zip")
    with pytest.raises(ResultsError, match="runs.zip does not pass 'cupl-bench check'"):
        looked_at(tmp_path / "runs.zip", "x")


@pytest.mark.parametrize(
    ("part", "changes", "fault"),
    [
        ("environment", {"dirty": True}, "not run from a commit without changes"),
        ("environment", {"commit": None}, "not run from a commit without changes"),
        ("environment", {"command": "cupl-bench eval results_dir=/data/me/results"}, "places of a machine: '/data/me/"),
        ("environment", {"command": "cupl-bench eval dataset.path=~/photos"}, "places of a machine: '~/photos'"),
        ("dataset", {"licence": None}, "the licence of the data set is not told"),
        ("dataset", {"features": {"sha256": "0" * 64, "said_to_be_of": None}}, "given, not encoded"),
        ("backbone", {"licence": None}, "the licence of the weights is not told"),
        ("prompts", {"texts": None}, "does not say who wrote its texts"),
        ("prompts", {"texts": [{"source": "x.json"}]}, "carry the texts of x.json, whose licence is not told"),
        ("prompts", {"texts": [{"source": "x", "licence": "none stated"}]}, "whose licence is not told"),
        ("config", {"precision": None}, "does not hold its whole question"),
        ("config", {"scorer": {"_target_": "mine.Scorer", "name": "mine"}}, "it needs what is not of this project"),
    ],
)
def test_what_a_reference_run_should_not_be(
    imported: dict[str, Record], part: str, changes: dict[str, Any], fault: str
) -> None:
    record = imported["simple"]
    assert list(faults_of(record)) == []
    content = record.model_dump(mode="json")
    content[part] |= changes
    assert any(fault in one for one in faults_of(Record.model_validate(content)))


def test_a_record_without_its_question_is_none(imported: dict[str, Record]) -> None:
    assert "it does not hold its question" in list(faults_of(imported["cupl"].model_copy(update={"config": None})))
