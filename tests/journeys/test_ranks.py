"""One run in several processes: each image once, the same answers, and one voice."""

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

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 17 images in all: no number of processes divides it. Beside them the same with a broken one."""
    root = tmp_path_factory.mktemp("many")
    for name in ("photos", "broken"):
        make_folder(root / name, {"ant": 7, "bee": 6, "cat": 4})
    (root / "broken" / "cat" / "9.jpg").write_bytes(b"no image")
    return root


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


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.long)])
def test_a_sharded_run_is_the_single_run(cli, many: Path, tiny: TinyModel, tmp_path: Path, processes: int) -> None:
    """And where one job fails, every process goes on with the next."""
    question = ["eval", "-m", "dataset=folder", f"dataset.path={many / 'broken'},{many / 'photos'}", *tiny.overrides]
    question += ["prompts=simple,name_only,simple", "device=cpu", "batch_size=4"]
    assert cli(*question) == 2
    results, cache = tmp_path / "r", tmp_path / "c"
    done = torchrun(processes, *question, f"results_dir={results}", f"cache_dir={cache}")
    assert done.returncode != 0
    for line in ("1 of 18 images cannot be decoded", "3 of 6 jobs failed", "0 reused, 17 encoded", "job 5:"):
        assert f"{done.stdout}{done.stderr}".count(line) == f"{cli.out}{cli.err}".count(line)
    features, expected = rows_of(cache), rows_of(cli.cache)
    assert len(list((cache / "image_features").glob("*/*.safetensors"))) == processes
    assert features.keys() == expected.keys()
    for key, row in features.items():
        np.testing.assert_allclose(row, expected[key], atol=1e-6)
    for path in (cli.results / "records").glob("*.json"):
        single, shared = read_record(path), read_record(results / "records" / path.name)
        assert shared.status == single.status
        assert shared.metrics == single.metrics
        if single.status == "ok":
            ours, theirs = (pd.read_parquet(folder / single.artifacts.predictions) for folder in (results, cli.results))
            assert (ours["prediction"] == theirs["prediction"]).all()
            assert (ours["label"] == theirs["label"]).all()
            np.testing.assert_allclose(ours["score"], theirs["score"], atol=1e-6)
    assert len(list((results / "records").glob("*.json"))) == 4
