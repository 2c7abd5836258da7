"""Records and what lies beside them: one foreign file stops nothing, and no record leads out of its folder."""

import json
import logging
import os
from pathlib import Path

import pytest
from making import make_run

from cupl_bench.errors import ResultsError
from cupl_bench.records import RECORD_LIMIT, finished_record, read_record, read_records, record_path, write_record

KEY = "0123456789ab"


def changed(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.json", b'{"seen": ["monday"]}'),
        (".hidden.json", b"{}"),
        ("._0123456789ab.json", b"\x00\x05\x16\x07"),
        ("fedcba987654.json", b'{"schema_version": 1, "run_'),
        ("list.json", b"[]"),
        ("number.json", b"3"),
        ("deep.json", b"[" * 100_000),
        ("empty.json", b""),
        ("latin.json", b"\xff"),
        ("huge.json", b" " * (RECORD_LIMIT + 1)),
    ],
)
def test_a_foreign_file_is_passed_over_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    record = make_run(tmp_path, KEY)
    (tmp_path / "records" / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_records(tmp_path) == [record]
        assert read_records(tmp_path, tell=False) == [record]
    (message,) = caplog.messages
    assert f"1 files in {tmp_path / 'records'} are skipped" in message
    assert name in message


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    record = make_run(tmp_path, KEY)
    os.mkfifo(tmp_path / "records" / "pipe.json")
    (tmp_path / "records" / "folder.json").mkdir()
    (tmp_path / "records" / "lost.json").symlink_to(tmp_path / "nowhere")
    assert read_records(tmp_path) == [record]


def test_a_time_without_a_zone_is_no_time(tmp_path: Path) -> None:
    record = make_run(tmp_path, KEY)
    make_run(tmp_path, "fedcba987654")
    changed(record_path(tmp_path, "fedcba987654"), created_at="2026-01-01T00:00:00")
    assert read_records(tmp_path) == [record]


def test_only_foreign_files_are_no_results(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "notes.json").write_text("{}")
    with pytest.raises(ResultsError, match="None of 1 files in .* is a record"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "path",
    ["../outside.txt", "/etc/passwd", "predictions/../../x.parquet", f"predictions/{KEY}.txt", f"predictions\\{KEY}",
     "predictions/fedcba987654.parquet", f"./predictions/{KEY}.parquet", "", "/dev/stdin"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["predictions", "class_embeddings", "prompts"])
def test_a_record_names_no_other_place(tmp_path: Path, name: str, path: str) -> None:
    record = make_run(tmp_path, KEY)
    artifacts = record.model_dump(mode="json")["artifacts"]
    changed(record_path(tmp_path, KEY), artifacts={**artifacts, name: path})
    with pytest.raises(ResultsError, match=f"artifacts.{name} is"):
        read_record(record_path(tmp_path, KEY))


def test_a_failure_takes_the_place_of_what_is_no_record(tmp_path: Path) -> None:
    record = make_run(tmp_path, KEY)
    failed = record.model_copy(update={"status": "failed", "error": "no", "metrics": None, "artifacts": None})
    path = write_record(tmp_path, failed)
    assert finished_record(path) == record
    path.write_text("{")
    assert finished_record(path) is None
    write_record(tmp_path, failed)
    assert read_record(path).status == "failed"
