"""`cupl-bench reproduce`: the recorded question again, and what is said of the two answers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Cli
from making import TinyModel, make_run

from cupl_bench.errors import ResultsError
from cupl_bench.reproduction import TOLERANCE, compare_runs


def arguments_of(tiny: TinyModel, photos: Path) -> list[str]:
    return ["dataset=folder", f"dataset.path={photos}", "device=cpu", *tiny.overrides]


@pytest.fixture
def key(cli: Cli, tiny: TinyModel, photos: Path) -> str:
    assert (
        cli("eval", *arguments_of(tiny, photos), "prompts=templates", 'prompts.templates=["a {}.","the {}, outside"]')
        == 0
    )
    return cli.record().run_key


def changed(cli: Cli, key: str, change: object) -> None:
    path = cli.results / "predictions" / f"{key}.parquet"
    frame = pd.read_parquet(path)
    change(frame)
    frame.to_parquet(path, index=False)


def test_the_same_machine_computes_everything_anew_and_gives_the_same_bits(cli: Cli, key: str) -> None:
    assert cli("reproduce", key) == 0
    assert "images    0 reused, 15 encoded" in cli.out
    assert f"run       {key} of" in cli.out
    assert "asked again: equal" in cli.out
    assert "0 have another prediction" in cli.out
    assert "differs" not in cli.out
    assert cli.raw("reproduce", str(cli.results / "records" / f"{key}.json"), f"cache_dir={cli.cache}") == 0


@pytest.mark.slow
def test_another_batch_size_is_rounding(cli: Cli, key: str) -> None:
    assert cli("reproduce", key, "batch_size=1") == 0
    assert "asked again: different" not in cli.out


@pytest.mark.slow
def test_other_answers_are_said_to_be_different(cli: Cli, key: str) -> None:
    def change(frame: pd.DataFrame) -> None:
        frame.loc[0, "score"] += 0.01

    changed(cli, key, change)
    assert cli("reproduce", key) == 1
    assert "asked again: different" in cli.out
    assert "1 beyond rounding; scores differ by at most 1.0e-02" in cli.out


@pytest.mark.slow
def test_other_images_are_said_to_be_different(cli: Cli, key: str, photos: Path) -> None:
    next(photos.glob("ant/*")).unlink()
    assert cli("reproduce", key) == 1
    assert "differs   data set fingerprint" in cli.out
    assert "differs   images scored: 15 then, 14 now" in cli.out
    assert "differs   the run key" in cli.out


@pytest.mark.slow
def test_data_that_moved_is_found_where_the_user_says(cli: Cli, key: str, photos: Path) -> None:
    moved = photos.rename(photos.with_name("elsewhere"))
    assert cli("reproduce", key) == 2
    assert cli("reproduce", key, f"dataset.path={moved}") == 0
    assert "asked again: equal" in cli.out


@pytest.mark.slow
def test_overrides_are_read_as_those_of_eval(cli: Cli, key: str, photos: Path) -> None:
    photos.rename(photos.with_name("my photos"))
    assert cli("reproduce", key, f"dataset.path='{photos.with_name('my photos')}'", "dataset.skip_broken=false") == 0
    assert cli("reproduce", key, "dataset.path=[a") == 2
    assert "dataset.path=[a cannot be read" in cli.err


@pytest.mark.slow
@pytest.mark.parametrize("override", ["prompts=simple", "seed=1", "precision=bf16"])
def test_another_question_is_refused(cli: Cli, key: str, override: str) -> None:
    assert cli("reproduce", key, override) == 2
    assert f"'{override}' would change the recorded question" in cli.err


@pytest.mark.slow
def test_mistakes(cli: Cli, key: str) -> None:
    path = cli.results / "records" / f"{key}.json"
    for arguments, message in [
        (["reproduce"], "reproduce needs a record"),
        (["reproduce", "0123456789ab"], "cannot be read"),
        (["reproduce", key, "dataset.pat=x"], "dataset.pat is not a part of the recorded question"),
    ]:
        assert cli(*arguments) == 2
        assert message in cli.err
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"config": None}))
    assert cli("reproduce", key) == 2
    assert "holds no configuration of its question" in cli.err
    (cli.results / "predictions" / f"{key}.parquet").unlink()
    path.write_text(json.dumps(content))
    assert cli("reproduce", key) == 2
    assert "the predictions of run" in cli.err


@pytest.mark.slow
def test_a_tie_within_rounding_is_no_difference(cli: Cli, key: str, tmp_path: Path) -> None:
    record = cli.record()
    before = pd.read_parquet(cli.results / "predictions" / f"{key}.parquet")
    again = before.copy()
    again["score"] += np.float32(TOLERANCE["fp32"] / 2)
    again.loc[0, "prediction"] = (again.loc[0, "prediction"] + 1) % 5
    (tmp_path / "again" / "predictions").mkdir(parents=True)
    again.to_parquet(tmp_path / "again" / "predictions" / f"{key}.parquet", index=False)

    def verdict_with_margin(margin: float) -> str:
        before.loc[0, "margin"] = margin
        before.to_parquet(cli.results / "predictions" / f"{key}.parquet", index=False)
        return compare_runs((record, cli.results), (record, tmp_path / "again")).verdict

    assert verdict_with_margin(TOLERANCE["fp32"]) == "within tolerance"
    assert verdict_with_margin(10 * TOLERANCE["fp32"]) == "different"


@pytest.mark.slow
def test_a_way_to_decode_that_is_no_longer_there_is_read_and_not_asked_again(
    cli: Cli, key: str, tiny: TinyModel, photos: Path
) -> None:
    path = cli.results / "records" / f"{key}.json"
    record = json.loads(path.read_text())
    record["config"]["decode"] = "nvjpeg"
    path.write_text(json.dumps(record))
    assert cli("report") == 0
    assert "images 15" in cli.out
    message = (
        "dataset.decode=nvjpeg is not a way to decode; choose one of exact, fast. nvjpeg, which decoded on a GPU, was"
    )
    assert cli("reproduce", key) == 2
    assert message in cli.err
    assert cli("eval", *arguments_of(tiny, photos), "dataset.decode=nvjpeg") == 2
    assert message in cli.err


def test_predictions_that_cannot_be_read_are_told_and_a_defect_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_run(tmp_path, "0" * 12)
    path = tmp_path / "predictions" / f"{'0' * 12}.parquet"
    pd.read_parquet(path).assign(score=0.5).to_parquet(path, index=False)
    run, content = (record, tmp_path), path.read_bytes()
    assert compare_runs(run, run).verdict == "equal"
    for damaged in (b"", content[:-9], content[:-60] + bytes(60)):
        path.write_bytes(damaged)
        with pytest.raises(ResultsError, match="the predictions of run 0{12}, cannot be read"):
            compare_runs(run, run)
    path.write_bytes(content)
    monkeypatch.setattr(pd, "read_parquet", lambda *_, **__: {}.missing)
    with pytest.raises(AttributeError, match="missing"):
        compare_runs(run, run)
