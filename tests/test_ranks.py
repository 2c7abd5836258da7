"""One run in several processes: each image once, the same answers, and one voice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import TinyModel, make_folder

from cupl_bench.records import read_record
from cupl_bench.store import read_arrays

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 17 images in all: no number of processes divides it."""
    return make_folder(tmp_path_factory.mktemp("many") / "photos", {"ant": 7, "bee": 6, "cat": 4})


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    line = [*launcher, "-m", "cupl_bench", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)


def rows_of(cache: Path) -> dict[bytes, np.ndarray]:
    found: dict[bytes, np.ndarray] = {}
    for path in (cache / "image_features").glob("*/*.safetensors"):
        arrays, _ = read_arrays(path)
        for key, row in zip(arrays["keys"], arrays["rows"], strict=True):
            assert key.tobytes() not in found, "encoded twice"
            found[key.tobytes()] = row
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_a_sharded_run_is_the_single_run(cli, many: Path, tiny: TinyModel, tmp_path: Path, processes: int) -> None:
    question = ["eval", "-m", "dataset=folder", f"dataset.path={many}", *tiny.overrides]
    question += ["prompts=simple,name_only,simple", "device=cpu", "batch_size=4"]
    assert cli(*question) == 0, cli.err
    single, features = cli.records(), rows_of(cli.cache)
    results, cache = tmp_path / "r", tmp_path / "c"
    done = torchrun(processes, *question, f"results_dir={results}", f"cache_dir={cache}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("0 reused, 17 encoded") == 1
    assert done.stdout.count("job 0:") == 1
    assert len(list((cache / "image_features").glob("*/*.safetensors"))) == processes
    for key, row in rows_of(cache).items():
        np.testing.assert_allclose(row, features.pop(key), atol=1e-6)
    assert not features
    for path in (results / "records").glob("*.json"):
        record = read_record(path)
        expected = single[record.prompts.name]
        assert record.run_key == expected.run_key
        assert record.metrics == expected.metrics
        ours, theirs = (pd.read_parquet(folder / record.artifacts.predictions) for folder in (results, cli.results))
        assert (ours["prediction"] == theirs["prediction"]).all()
        assert (ours["label"] == theirs["label"]).all()
        np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-6)


def test_a_mistake_is_told_once_and_no_process_waits(many: Path, tiny: TinyModel, tmp_path: Path) -> None:
    broken = tmp_path / "set"
    for folder in ("ant", "bee"):
        (broken / folder).mkdir(parents=True)
        for number in range(2):
            (broken / folder / f"{number}.jpg").write_bytes((many / folder / f"{number}.jpg").read_bytes())
    (broken / "bee" / "9.jpg").write_bytes(b"no image")
    folders = [f"results_dir={tmp_path / 'r'}", f"cache_dir={tmp_path / 'c'}"]
    done = torchrun(2, "eval", "dataset=folder", f"dataset.path={broken}", *tiny.overrides, "device=cpu", *folders)
    assert done.returncode != 0
    assert done.stderr.count("1 of 5 images cannot be decoded") == 1
    (record,) = (tmp_path / "r" / "records").glob("*.json")
    assert json.loads(record.read_text())["status"] == "failed"


def test_other_commands_have_one_voice_too(tmp_path: Path) -> None:
    done = torchrun(2, "plan", f"results_dir={tmp_path / 'r'}", f"cache_dir={tmp_path / 'c'}", "dataset=demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("What eval would do") == 1
