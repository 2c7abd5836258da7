"""`cupl-bench export` and `import`: what leaves arrives, and nothing else does."""

import hashlib
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from conftest import Cli
from making import TinyModel


def arguments_of(tiny: TinyModel, photos: Path) -> list[str]:
    return ["dataset=folder", f"dataset.path={photos}", "device=cpu", *tiny.overrides]


@pytest.fixture
def archive(cli: Cli, tiny: TinyModel, photos: Path, tmp_path: Path) -> Path:
    """Two finished runs, exported."""
    assert cli("eval", "-m", *arguments_of(tiny, photos), "prompts=simple,name_only") == 0
    assert cli("export", f"to={tmp_path / 'runs.zip'}") == 0
    assert "2 runs" in cli.out
    return tmp_path / "runs.zip"


def files_below(folder: Path) -> dict[str, bytes]:
    kinds = ("records", "predictions", "prompts", "class_embeddings")
    return {
        str(path.relative_to(folder)): path.read_bytes() for kind in kinds for path in sorted((folder / kind).glob("*"))
    }


def test_another_machine_has_the_same_files_and_reports_on_them(cli: Cli, archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert cli.raw("import", str(archive), f"results_dir={other}") == 0
    assert "2 runs are new" in cli.out
    assert files_below(other) == files_below(cli.results)
    assert len(files_below(other)) == 8
    assert cli.raw("report", f"results_dir={other}") == 0
    assert len(pd.read_csv(other / "tables" / "comparison.csv")) == 2


def test_the_same_runs_give_the_same_archive(cli: Cli, archive: Path, tmp_path: Path) -> None:
    assert cli("export", f"to={tmp_path / 'again.zip'}") == 0
    assert archive.read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_one_run_by_its_key(cli: Cli, archive: Path, tmp_path: Path) -> None:
    key = cli.records()["simple"].run_key
    assert cli("export", key, f"to={tmp_path / 'one.zip'}") == 0
    with zipfile.ZipFile(tmp_path / "one.zip") as one:
        assert {Path(name).stem for name in one.namelist()} == {key, "manifest"}


def test_runs_that_are_here_are_kept(cli: Cli, archive: Path) -> None:
    before = files_below(cli.results)
    assert cli("import", str(archive)) == 0
    assert "0 runs are new, 2 were here before and are kept" in cli.out
    assert files_below(cli.results) == before


def rewritten(archive: Path, changes: dict[str, bytes | None]) -> Path:
    """The archive with some members replaced, added or left out."""
    target = archive.with_name("changed.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if changes.get(name, b"") is not None:
                new.writestr(name, changes.get(name, old.read(name)))
        for name in set(changes) - set(old.namelist()):
            new.writestr(name, changes[name] or b"")
    return target


def manifest_of(archive: Path) -> dict[str, dict[str, str]]:
    with zipfile.ZipFile(archive) as one:
        return json.loads(one.read("manifest.json"))


def refused(cli: Cli, archive: Path, tmp_path: Path, message: str) -> None:
    assert cli.raw("import", str(archive), f"results_dir={tmp_path / 'other'}") == 2
    assert message in cli.err
    assert not files_below(tmp_path / "other")


def test_a_changed_member_is_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    name = f"predictions/{cli.records()['simple'].run_key}.parquet"
    refused(cli, rewritten(archive, {name: b"other"}), tmp_path, "1 of 8 members differ from their sha256, first")


def test_a_member_that_leads_elsewhere_is_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    for name in ("../evil.json", "/tmp/evil.json", "records/../../evil.json", "logs/run.log"):
        manifest = manifest_of(archive)
        manifest["files"][name] = hashlib.sha256(b"x").hexdigest()
        changed = rewritten(archive, {name: b"x", "manifest.json": json.dumps(manifest).encode()})
        refused(cli, changed, tmp_path, "holds 1 members that no run has, first")
    assert not list(tmp_path.rglob("evil.json"))


def test_members_beside_the_manifest_are_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    refused(cli, rewritten(archive, {"records/0123456789ab.json": b"{}"}), tmp_path, "its members are not those of its")
    refused(cli, rewritten(archive, {"manifest.json": None}), tmp_path, "holds no manifest.json")
    newer = manifest_of(archive) | {"archive_version": 2}
    refused(cli, rewritten(archive, {"manifest.json": json.dumps(newer).encode()}), tmp_path, "version 2; this program")


def test_a_run_without_its_predictions_is_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    name = f"predictions/{cli.records()['simple'].run_key}.parquet"
    manifest = manifest_of(archive)
    del manifest["files"][name]
    changed = rewritten(archive, {name: None, "manifest.json": json.dumps(manifest).encode()})
    refused(cli, changed, tmp_path, f"lacks '{name}' of run")


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_archive_is_refused(cli: Cli, archive: Path, tmp_path: Path, keep: int) -> None:
    half = tmp_path / "half.zip"
    half.write_bytes(archive.read_bytes()[:keep])
    refused(cli, half, tmp_path, "cannot be read as an archive")


def test_mistakes(cli: Cli, archive: Path, tmp_path: Path) -> None:
    key = cli.records()["simple"].run_key
    for arguments, message in [
        (["export"], "export needs one file to write"),
        (["export", "0123456789ab", "to=x.zip"], "There is no record"),
        (["export", key[:-1] + "x", "to=x.zip"], f"Did you mean '{key}'"),
        (["import"], "import needs an archive"),
        (["import", "none.zip"], "none.zip does not exist"),
    ]:
        assert cli(*arguments) == 2
        assert message in cli.err
    (cli.results / "predictions" / f"{key}.parquet").unlink()
    assert cli("export", f"to={tmp_path / 'lost.zip'}") == 2
    assert f"of run {key} cannot be read" in cli.err
    assert not (tmp_path / "lost.zip").exists()


def test_an_archive_that_cannot_be_written(cli: Cli, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert cli("export", f"to={tmp_path / 'file' / 'runs.zip'}") == 2
    assert "runs.zip cannot be written" in cli.err


def test_nothing_finished_is_nothing_to_export(cli: Cli, tmp_path: Path) -> None:
    assert cli("export", f"to={tmp_path / 'x.zip'}") == 2
    assert "holds no record yet" in cli.err
