"""Sweeps in many processes: each image encoded once, the same answers, whoever ran the jobs."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import make_tiny

from cupl_bench import features, interrupts
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.composition import named, read_questions
from cupl_bench.errors import BackboneError
from cupl_bench.records import read_records
from cupl_bench.store import RowStore, read_arrays

ROOT = Path(__file__).resolve().parents[2]


def test_a_sweep_is_ordered_by_what_it_costs(tmp_path: Path) -> None:
    sweep = read_questions(
        ["prompts=simple,name_only", "seed=1,2", "precision=fp32,bf16", "batch_size=7", "backbone=demo",
         "dataset=demo,cub", f"results_dir={tmp_path}"], several=True
    )  # fmt: skip
    assert [job[0].overrides[:2] for job in sweep.jobs] == [
        (f"dataset={dataset}", f"precision={precision}")
        for dataset in ("demo", "cub")
        for precision in ("fp32", "bf16")
    ]
    assert {len(job) for job in sweep.jobs} == {4}
    assert len(sweep.names) == len(set(sweep.names)) == 16
    assert sweep.names[0] == "dataset=demo backbone=demo precision=fp32 prompts=simple seed=1"
    assert sweep.names[4].startswith("dataset=demo backbone=demo precision=bf16")
    assert (sweep.launcher, sweep.results_dir, sweep.folder.parent) == ("basic", tmp_path, tmp_path / "logs")
    assert sweep.folder == sweep.folder


@pytest.mark.slow
def test_what_is_a_sweep() -> None:
    assert not read_questions(["prompts=simple"], several=False).is_sweep
    recipe = read_questions(["experiment=demo"], several=False)
    assert recipe.is_sweep
    assert len(recipe.names) == 5
    assert read_questions(["experiment=demo", "prompts=simple"], several=False).names == [
        "prompts=simple experiment=demo"
    ]
    assert read_questions([], several=True).names == ["the defaults"]
    assert read_questions(["hydra/launcher=slurm_gpu"], several=True).launcher == "slurm_gpu"
    assert named(["machine=gpu", "b=1", "hydra.launcher.n_jobs=2", "a=1", "dataset.path='x, y'"]) == (
        "dataset.path='x, y' a=1 b=1"
    )


def test_an_option_that_is_none_is_refused_before_anything_runs(cli, on_photos) -> None:
    assert on_photos("-m", "prompts=simple,nope") == 2
    assert "prompts=nope is not an option of prompts" in cli.err
    assert not (cli.results / "records").exists()


@pytest.mark.parametrize("option", ["slurm_cpu", "slurm_gpu"])
def test_launchers_compose_and_take_their_jobs_up_again(option: str) -> None:
    launcher = read_questions([f"hydra/launcher={option}"], several=True).settings.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.max_num_timeout > 0
    assert launcher.additional_parameters.requeue is True
    assert (launcher.gpus_per_node == 1) == (option == "slurm_gpu")


def test_a_launcher_that_is_not_here_is_a_mistake(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert on_photos("-m", "hydra/launcher=slurm_cpu") == 2
    assert "hydra/launcher=slurm_cpu ended without any answer" in cli.err
    assert "Traceback" not in cli.err


def rows_of(cache: Path, kind: str) -> list[bytes]:
    """The keys of all rows, as often as they were computed."""
    paths = (cache / kind).glob("*/*.safetensors")
    return [key.tobytes() for path in paths for key in read_arrays(path)[0]["keys"]]


def answers(results: Path) -> dict[str, tuple[object, pd.DataFrame]]:
    return {
        record.run_key: (record.metrics, pd.read_parquet(results / record.artifacts.predictions))
        for record in read_records(results)
    }


@pytest.mark.long
def test_jobs_in_other_processes_leave_what_jobs_here_leave(cli, on_photos, tmp_path: Path) -> None:
    """Two backbones are two jobs, at the same time; a job that fails fails alone, and the table comes from the disk."""
    weights = [make_tiny(tmp_path / f"m{seed}", seed=seed).weights for seed in (3, 4)]
    asked = ["-m", "prompts=simple,ensemble,name_only", f"backbone.pretrained={weights[0]},{weights[1]}"]
    assert on_photos(*asked) == 2
    expected = answers(cli.results)
    table = cli.out[cli.out.index("Accuracy") : cli.out.index("results  ")]
    cli.results, cli.cache = tmp_path / "r", tmp_path / "c"
    assert on_photos(*asked, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10") == 2
    assert "2 of 6 jobs failed" in cli.err
    assert table in cli.out
    found = answers(cli.results)
    assert found.keys() == expected.keys()
    for key, (metrics, predictions) in found.items():
        assert metrics == expected[key][0]
        pd.testing.assert_frame_equal(predictions, expected[key][1], check_exact=False, atol=1e-6)
    assert not list((cli.results / "running").iterdir())
    assert cli("status") == 0
    assert "6 questions: 4 done, 0 running, 2 failed, 0 missing" in cli.out


@pytest.mark.slow
def test_parts_make_a_whole(cli, on_photos) -> None:
    assert on_photos("-m", "shard=1/4,3/4,2/4", "prompts=simple") == 0, cli.err
    assert "part 3 of 4, images 7 to 10 of 15: 4 encoded, 0 reused, 0 broken" in cli.out
    assert not list((cli.results / "records").glob("*.json"))
    assert len(rows_of(cli.cache, "image_features")) == 11
    assert on_photos("prompts=simple", "shard=2/4") == 0
    assert "0 encoded, 4 reused" in cli.out
    assert cli("status") == 0
    assert "3 questions: 3 done" in cli.out
    assert on_photos("prompts=simple") == 0
    assert "11 reused, 4 encoded" in cli.out  # the part that no job has encoded
    keys = rows_of(cli.cache, "image_features")
    assert len(keys) == len(set(keys)) == 15
    assert on_photos("shard=20/20") == 0
    assert on_photos("shard=1/20") == 0
    assert "part 1 of 20 is empty" in cli.out


@pytest.mark.slow
@pytest.mark.parametrize("parts", [pytest.param(4, marks=pytest.mark.long), 7])
def test_a_run_after_its_parts_answers_as_a_plain_run(cli, on_photos, tmp_path: Path, parts: int) -> None:
    """Each row is of the image whose key it has: 15 images fall into no equal parts."""
    assert on_photos("prompts=simple") == 0
    plain = answers(cli.results)
    cli.results, cli.cache = tmp_path / "r", tmp_path / "c"
    shards = ",".join(f"{number}/{parts}" for number in range(1, parts + 1))
    assert on_photos("-m", f"shard={shards}", "prompts=simple") == 0, cli.err
    assert len(rows_of(cli.cache, "image_features")) == 15
    assert on_photos("prompts=simple") == 0
    assert "15 reused, 0 encoded" in cli.out
    ((key, (metrics, predictions)),) = answers(cli.results).items()
    assert metrics == plain[key][0]
    pd.testing.assert_frame_equal(predictions, plain[key][1], check_exact=False, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/4/2"])
def test_parts_that_are_none(cli, on_photos, shard: str) -> None:
    assert on_photos(f"shard={shard}") == 2
    assert f"shard={shard} should be i/n" in cli.err


def test_what_waits_is_written_whatever_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes([number] * 16) for number in range(3)]
    row = np.zeros((1, 2), dtype=np.float32)

    def interrupted() -> None:
        with features.Shard(RowStore(folder=tmp_path / "a", facts={}), 100) as shard:
            shard.add(keys[:1], row)
            shard.add(keys[1:2], row)
            assert not (tmp_path / "a").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert RowStore(folder=tmp_path / "a", facts={}).present(keys).tolist() == [True, True, False]
    monkeypatch.setattr(interrupts.hurry, "is_set", lambda: True)  # Slurm has warned
    shard = features.Shard(RowStore(folder=tmp_path / "b", facts={}), 100)
    shard.add(keys[:1], row)
    assert RowStore(folder=tmp_path / "b", facts={}).present(keys).tolist() == [True, False, False]


@pytest.mark.slow
def test_what_slurm_interrupts_is_no_failure_of_the_question(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of a signal raises whatever it raises, in the middle of our code, which may tell it as its own.

    Slurm may end the command that puts a job back, because it puts the job back.
    """
    handler: dict[str, object] = {"__name__": "submitit.core.job_environment"}
    exec("def requeue(): raise OSError('scontrol died with SIGTERM')", handler)
    load, interrupted = OpenClipSource.load, []

    def once(*arguments: object) -> object:
        if not interrupted:
            interrupted.append(True)
            try:
                handler["requeue"]()
            except OSError as error:
                raise BackboneError("The weights cannot be read.") from error
        return load(*arguments)

    monkeypatch.setattr(OpenClipSource, "load", once)
    monkeypatch.setattr(interrupts, "hurry", threading.Event())
    monkeypatch.setattr("cupl_bench.commands.eval.hurry", interrupts.hurry)
    assert on_photos("-m", "prompts=simple,name_only") == 0
    assert interrupted
    assert interrupts.hurry.is_set()
    assert {record.status for record in read_records(cli.results)} == {"ok"}
    assert "failed" not in cli.err


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="a Slurm of its own is started as root")
@pytest.mark.skipif(
    not all(shutil.which(name) for name in ("slurmctld", "slurmd", "munged")),
    reason="Slurm is not installed: ./scripts/slurm-test installs it",
)
def test_a_real_slurm(tmp_path: Path) -> None:
    """Its jobs are requeued and cancelled midway, and its records are those of a plain run."""
    done = subprocess.run([ROOT / "scripts" / "slurm-test", tmp_path / "slurm"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| of these with the metrics and predictions of the plain sweep | 6 |" in done.stdout
