"""`cupl-bench export` and `import`: what leaves arrives, and nothing else does."""

import hashlib
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from conftest import Cli
from making import TinyModel, make_folder, make_run

from cupl_bench.__main__ import main
from cupl_bench.archive import export_runs, import_runs
from cupl_bench.errors import ResultsError
from cupl_bench.records import read_record, record_path


def arguments_of(tiny: TinyModel, photos: Path) -> list[str]:
    return ["dataset=folder", f"dataset.path={photos}", "device=cpu", *tiny.overrides]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Path:
    """The results of two finished runs."""
    folder = tmp_path_factory.mktemp("swept")
    photos = make_folder(folder / "photos", dict.fromkeys(["ant", "bee", "cat", "dog", "eel"], 3))
    places = [f"results_dir={folder / 'results'}", f"cache_dir={folder / 'cache'}"]
    for prompts in ("simple", "name_only"):
        assert main(["eval", *arguments_of(tiny, photos), f"prompts={prompts}", *places]) == 0
    return folder / "results"


@pytest.fixture
def archive(cli: Cli, swept: Path, tmp_path: Path) -> Path:
    """Two finished runs, exported."""
    shutil.copytree(swept, cli.results)
    assert cli("export", f"to={tmp_path / 'runs.zip'}") == 0
    assert "2 runs" in cli.out
    return tmp_path / "runs.zip"


def files_below(folder: Path) -> dict[str, bytes]:
    kinds = ("records", "predictions", "prompts", "class_embeddings")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in kinds
        for path in sorted((folder / kind).glob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_another_machine_has_the_same_files_and_reports_on_them(cli: Cli, archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert cli.raw("import", str(archive), f"results_dir={other}") == 0
    assert "2 runs are new" in cli.out
    assert files_below(other) == files_below(cli.results)
    assert len(files_below(other)) == 8
    assert cli.raw("report", f"results_dir={other}") == 0
    assert len(pd.read_csv(other / "tables" / "comparison.csv")) == 2


@pytest.mark.slow
def test_the_same_runs_give_the_same_archive(cli: Cli, archive: Path, tmp_path: Path) -> None:
    assert cli("export", f"to={tmp_path / 'again.zip'}") == 0
    assert archive.read_bytes() == (tmp_path / "again.zip").read_bytes()


@pytest.mark.slow
def test_one_run_by_its_key(cli: Cli, archive: Path, tmp_path: Path) -> None:
    key = cli.records()["simple"].run_key
    assert cli("export", key, f"to={tmp_path / 'one.zip'}") == 0
    with zipfile.ZipFile(tmp_path / "one.zip") as one:
        assert {Path(name).stem for name in one.namelist()} == {key, "manifest"}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_changed_member_is_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    name = f"predictions/{cli.records()['simple'].run_key}.parquet"
    refused(cli, rewritten(archive, {name: b"other"}), tmp_path, "1 of 8 members differ from their sha256, first")


@pytest.mark.slow
def test_a_member_that_leads_elsewhere_is_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    for name in ("../evil.json", "/tmp/evil.json", "records/../../evil.json", "logs/run.log"):
        manifest = manifest_of(archive)
        manifest["files"][name] = hashlib.sha256(b"x").hexdigest()
        changed = rewritten(archive, {name: b"x", "manifest.json": json.dumps(manifest).encode()})
        refused(cli, changed, tmp_path, "holds 1 members that belong to no run, first")
    assert not list(tmp_path.rglob("evil.json"))


@pytest.mark.slow
def test_members_beside_the_manifest_are_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    refused(
        cli, rewritten(archive, {"records/0123456789ab.json": b"{}"}), tmp_path, "its members are not those that its"
    )
    refused(cli, rewritten(archive, {"manifest.json": None}), tmp_path, "holds no manifest.json")
    newer = manifest_of(archive) | {"archive_version": 2}
    refused(cli, rewritten(archive, {"manifest.json": json.dumps(newer).encode()}), tmp_path, "version 2; this program")


@pytest.mark.slow
def test_a_run_without_its_predictions_is_refused(cli: Cli, archive: Path, tmp_path: Path) -> None:
    name = f"predictions/{cli.records()['simple'].run_key}.parquet"
    manifest = manifest_of(archive)
    del manifest["files"][name]
    changed = rewritten(archive, {name: None, "manifest.json": json.dumps(manifest).encode()})
    refused(cli, changed, tmp_path, f"lacks '{name}' of run")


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_archive_is_refused(cli: Cli, archive: Path, tmp_path: Path, keep: int) -> None:
    half = tmp_path / "half.zip"
    half.write_bytes(archive.read_bytes()[:keep])
    refused(cli, half, tmp_path, "cannot be read as an archive")


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_archive_that_cannot_be_written(cli: Cli, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert cli("export", f"to={tmp_path / 'file' / 'runs.zip'}") == 2
    assert "runs.zip cannot be written" in cli.err


def test_nothing_finished_is_nothing_to_export(cli: Cli, tmp_path: Path) -> None:
    assert cli("export", f"to={tmp_path / 'x.zip'}") == 2
    assert "holds no record yet" in cli.err


KEY, OTHER = "0123456789ab", "fedcba987654"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A results folder with two runs."""
    make_run(tmp_path / "mine", KEY)
    make_run(tmp_path / "mine", OTHER)
    return tmp_path / "mine"


@pytest.fixture
def theirs(mine: Path, tmp_path: Path) -> Path:
    """The archive of both."""
    export_runs(mine, [], tmp_path / "runs.zip")
    return tmp_path / "runs.zip"


@pytest.mark.parametrize("kind", ["predictions", "class_embeddings", "prompts", "records"])
@pytest.mark.parametrize("damage", [None, b"", b"{}", b"half"])
def test_what_is_lost_or_damaged_is_mended(mine: Path, theirs: Path, kind: str, damage: bytes | None) -> None:
    before = files_below(mine)
    (path,) = (mine / kind).glob(f"{KEY}.*")
    path.unlink() if damage is None else path.write_bytes(damage)
    found = import_runs(theirs, mine)
    assert found.kept == (OTHER,)
    assert (found.new if kind == "records" else found.mended) == (KEY,)
    assert files_below(mine) == before


def test_the_same_numbers_of_another_machine_mend_as_a_whole(mine: Path, theirs: Path, tmp_path: Path) -> None:
    make_run(mine, KEY, environment={"device": "cuda"}, artifact_digests=None)
    assert import_runs(theirs, mine).kept == (KEY, OTHER)
    assert read_record(record_path(mine, KEY)).environment == {"device": "cuda"}
    (mine / "predictions" / f"{KEY}.parquet").unlink()
    assert import_runs(theirs, mine).mended == (KEY,)
    assert read_record(record_path(mine, KEY)).environment == {"device": "cpu"}


def test_other_numbers_under_the_same_key_are_refused(mine: Path, theirs: Path) -> None:
    make_run(mine, KEY, right=1)
    (mine / "predictions" / f"{OTHER}.parquet").unlink()
    before = files_below(mine)
    with pytest.raises(ResultsError, match=rf"1 runs have other numbers here.*{KEY} \(top-1 75.0000% .* 25.0000% here"):
        import_runs(theirs, mine)
    assert files_below(mine) == before


def test_a_failed_run_is_replaced_by_a_finished_one(mine: Path, theirs: Path) -> None:
    failed = {"status": "failed", "error": "no", "metrics": None, "artifacts": None, "artifact_digests": None}
    make_run(mine, KEY, **failed)
    record_path(mine, KEY).write_text(json.dumps(json.loads(record_path(mine, KEY).read_text()) | failed))
    assert import_runs(theirs, mine).new == (KEY,)
    assert read_record(record_path(mine, KEY)).status == "ok"


def packed(archive: Path, members: dict[str, bytes]) -> Path:
    """An archive of these members, with their true manifest."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as one:
        one.writestr("manifest.json", json.dumps({"archive_version": 1, "files": files}))
        for name, content in members.items():
            one.writestr(name, content)
    return archive


def members_of(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as one:
        return {name: one.read(name) for name in one.namelist() if name != "manifest.json"}


def test_files_that_are_not_what_their_record_knows_are_refused(theirs: Path, tmp_path: Path) -> None:
    members = members_of(theirs) | {f"predictions/{KEY}.parquet": b"other"}
    with pytest.raises(ResultsError, match="is not what run 0123456789ab wrote by its own record"):
        import_runs(packed(tmp_path / "other.zip", members), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"predictions/{KEY}.parquet", f"records/{KEY}.json", "manifest.json"])
def test_a_bomb_is_not_unpacked(theirs: Path, tmp_path: Path, name: str) -> None:
    """200 MB of zeros, which zip to 0.2 MB: neither memory nor disk takes them."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(theirs) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        with new.open(name, "w") as member:
            for _ in range(50):
                member.write(bytes(4_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ResultsError, match=r"would unpack to 200 MB: archives of runs never shrink that much"):
            import_runs(bomb, tmp_path / "new")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("how", ["file", "folder", "pipe", "record"])
def test_links_and_pipes_are_not_exported(mine: Path, tmp_path: Path, how: str) -> None:
    path = mine / "prompts" / f"{KEY}.parquet"
    if how == "folder":
        (mine / "prompts").rename(tmp_path / "elsewhere")
        (mine / "prompts").symlink_to(tmp_path / "elsewhere")
    elif how == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path = record_path(mine, KEY) if how == "record" else path
        path.rename(tmp_path / "private")
        path.symlink_to(tmp_path / "private")
    with pytest.raises(
        ResultsError, match="is not a file" if how == "pipe" else "is a link, or lies in a folder that is one"
    ):
        export_runs(mine, [], tmp_path / "runs.zip")
    assert not (tmp_path / "runs.zip").exists()


def test_a_results_folder_that_is_itself_a_link_is_exported(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(mine)
    assert len(export_runs(tmp_path / "link", [], tmp_path / "runs.zip")) == 2


def test_altered_files_are_not_exported(mine: Path, tmp_path: Path) -> None:
    (mine / "predictions" / f"{KEY}.parquet").write_bytes(b"other")
    with pytest.raises(ResultsError, match="is not what the run wrote"):
        export_runs(mine, [], tmp_path / "runs.zip")


def test_a_record_that_leads_elsewhere_is_not_exported(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("private")
    content = json.loads(record_path(mine, KEY).read_text())
    content["artifacts"]["prompts"], content["artifact_digests"] = "../outside.txt", None
    record_path(mine, KEY).write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"artifacts\.prompts is"):
        export_runs(mine, [KEY], tmp_path / "runs.zip")
    assert [record.run_key for record in export_runs(mine, [], tmp_path / "runs.zip")] == [OTHER]
    assert all(KEY not in name for name in members_of(tmp_path / "runs.zip"))


def test_what_is_no_file_is_not_replaced(mine: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for target in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/null")):
        with pytest.raises(ResultsError, match="exists and is not a file, so it is not replaced"):
            export_runs(mine, [], target)
    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()
