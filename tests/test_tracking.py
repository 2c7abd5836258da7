"""Offline runs of wandb, read back from the files that it leaves."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb
from conftest import Cli
from making import TinyModel
from wandb.proto import wandb_internal_pb2

from cupl_bench.tracking import WandbTracker, per_class_counts

Contents = dict[str, Any]


BLOCK = 32768


def pieces(content: bytes) -> Iterator[bytes]:
    """The messages of a file in LevelDB's log format, after wandb's header of seven bytes."""
    assert content[:4] == b":W&B"
    place, message = 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield message
            message = b""


def read_back(file: Path) -> Contents:
    """Configuration, summary, tables and artifacts of one offline run."""
    found: Contents = {"config": {}, "summary": {}, "history": [], "artifacts": {}}
    for data in pieces(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "group": record.run.run_group, "name": record.run.display_name}
            found["config"] |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
        elif kind == "summary":
            for one in record.summary.update:
                found["summary"][one.key or ".".join(one.nested_key)] = json.loads(one.value_json)
        elif kind == "history":
            found["history"] += [one.key or ".".join(one.nested_key) for one in record.history.item]
        elif kind == "exit":
            found["ended"] = True
        elif kind == "artifact":
            found["artifacts"][record.artifact.name] = [entry.path for entry in record.artifact.manifest.contents]
    return found


def runs_below(folder: Path, limit: float = 30.0) -> dict[str, Contents]:
    """The runs by their ids; wandb's service may write a little longer than the run that it serves."""
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    began = time.monotonic()
    while not all(read_back(file).get("ended") for file in files) and time.monotonic() - began < limit:
        time.sleep(0.1)
    return {contents["id"]: contents for contents in map(read_back, files)}


@pytest.fixture
def offline(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("WANDB_SILENT", "true")
    return cli


def arguments_of(tiny: TinyModel, photos: Path) -> list[str]:
    return [
        "dataset=folder", f"dataset.path={photos}", "backbone=open_clip", f"backbone.architecture={tiny.config}",
        f"backbone.pretrained={tiny.weights}", "device=cpu",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_is_told_with_its_intervals_tables_and_files(offline: Cli, tiny: TinyModel, photos: Path) -> None:
    told = ["tracking=wandb", "tracking.mode=offline"]
    assert offline("eval", *arguments_of(tiny, photos), *told) == 0
    record = offline.record()
    found = runs_below(offline.results)[record.run_key]
    assert found["config"]["prompts"]["digest"] == record.prompts.digest
    assert record.metrics is not None
    assert found["summary"]["top1"] == record.metrics.top1
    assert [found["summary"][name] for name in ("top1_low", "top1_high")] == list(record.metrics.top1_ci95)
    assert found["summary"]["timing"]["total_seconds"] >= 0
    assert "per_class.nrows" in found["history"]
    assert sorted(found["artifacts"][f"run-{record.run_key}"]) == [
        "predictions.parquet", "prompts.parquet", "record.json"
    ]  # fmt: skip
    assert found["name"] == "folder open_clip simple"


@pytest.mark.slow
def test_a_sweep_is_a_group_with_its_comparison(offline: Cli, tiny: TinyModel, photos: Path) -> None:
    told = ["tracking=wandb", "tracking.mode=offline", "prompts=simple,name_only"]
    assert offline("eval", "-m", *arguments_of(tiny, photos), *told) == 0
    found = runs_below(offline.results)
    keys = {record.run_key for record in offline.records().values()}
    groups = {contents["group"] for contents in found.values()}
    assert len(groups) == 1
    assert set(found) == keys | {f"comparison-{groups.pop()}"}
    comparison = next(contents for key, contents in found.items() if key not in keys)
    assert {"comparison.csv", "comparison.md", "comparison.tex"} <= {
        name for names in comparison["artifacts"].values() for name in names
    }


@pytest.mark.slow
def test_the_same_question_is_the_same_run(offline: Cli, tiny: TinyModel, photos: Path) -> None:
    told = ["tracking=wandb", "tracking.mode=offline"]
    assert offline("eval", *arguments_of(tiny, photos), *told) == 0
    assert offline("eval", *arguments_of(tiny, photos), *told) == 0
    assert "finished before" in offline.out
    files = list((offline.results / "wandb").glob("offline-run-*/*.wandb"))
    assert {read_back(file)["id"] for file in files} == {offline.record().run_key}


@pytest.mark.slow
def test_a_failure_of_wandb_costs_no_result(
    offline: Cli, tiny: TinyModel, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise OSError("no route to host, key=0123456789")

    monkeypatch.setattr(wandb, "init", init)
    assert offline("eval", *arguments_of(tiny, photos), "tracking=wandb") == 0
    assert offline.record().status == "ok"
    assert "wandb did not take run" in offline.err
    assert "OSError: no route to host" in offline.err


@pytest.mark.slow
def test_without_a_login_a_run_goes_on(offline: Cli, tiny: TinyModel, photos: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "none")}
    done = subprocess.run(
        [
            sys.executable, "-m", "cupl_bench", "eval", *arguments_of(tiny, photos), "tracking=wandb",
            f"results_dir={offline.results}", f"cache_dir={offline.cache}",
        ],
        capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wandb did not take run" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((offline.results / "records").glob("*.json"))) == 1


@pytest.mark.slow
def test_the_default_needs_nothing_of_it(
    offline: Cli, tiny: TinyModel, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # any import of it fails
    assert offline("eval", *arguments_of(tiny, photos)) == 0, offline.err


def test_disabled_writes_nothing(tmp_path: Path) -> None:
    tracker = WandbTracker(project="p", entity=None, mode="disabled", folder=str(tmp_path / "never"))
    tracker([], tmp_path, "sweep")
    assert not (tmp_path / "never").exists()


def test_a_mode_that_is_none(offline: Cli, tiny: TinyModel, photos: Path) -> None:
    assert offline("eval", *arguments_of(tiny, photos), "tracking=wandb", "tracking.mode=of") == 2
    assert "tracking.mode='of' is of the wrong type or value" in offline.err


def test_counts_of_classes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": [2, 0, 2, 2], "correct": [True, False, False, True]})
    frame.to_parquet(tmp_path / "p.parquet")
    counts = per_class_counts(tmp_path / "p.parquet", ["a", "b", "c"])
    assert counts.to_dict("list") == {
        "label": [0, 2], "class_name": ["a", "c"], "num_images": [1, 3], "num_correct": [0, 2],
        "top1": [0.0, pytest.approx(2 / 3)],
    }  # fmt: skip
