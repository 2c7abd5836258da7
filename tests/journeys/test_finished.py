"""A question whose answer is stored ends without PyTorch and its kin, whose import takes seconds."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Cli
from making import TinyModel, encoded, make_folder

from cupl_bench.__main__ import main
from cupl_bench.commands.kept_report import made_from
from cupl_bench.errors import ResultsError
from cupl_bench.lease import holder_of

HEAVY = ("torch", "torchvision", "open_clip", "transformers", "scipy", "pandas")
"""Packages of which each takes a good part of a second or more to import; of no use where nothing is computed."""

PROGRAM = f"""
import json, sys
from cupl_bench.__main__ import main
codes = []
for line in json.loads(sys.argv[1]):
    codes.append(exec(line[0]) if len(line) == 1 else main(line))
    found = sorted(set({HEAVY!r}) & set(sys.modules))
    print("heavy:", json.dumps(found), codes[-1])
"""


def heavy_after(cli: Cli, *lines: list[str]) -> list[list[str]]:
    """What each of these commands, or of these lines of Python, leaves imported in a process of their own."""
    given = [
        [line] if isinstance(line, str) else [*line, f"results_dir={cli.results}", f"cache_dir={cli.cache}"]
        for line in lines
    ]
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(given)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.removeprefix("heavy: ") for line in done.stdout.splitlines() if line.startswith("heavy: ")]
    assert [line.split()[-1] for line in told] == ["None" if isinstance(one, str) else "0" for one in lines], told
    return [json.loads(line.rpartition(" ")[0]) for line in told]


def records_of(cli: Cli) -> dict[str, tuple[bytes, int]]:
    found = sorted((cli.results / "records").glob("*.json"))
    return {path.stem: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.slow
def test_a_finished_question_needs_nothing_heavy(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("eval", *asked) == cli("eval", *asked, "prompts=name_only") == 0
    before = records_of(cli)
    places = f"results_dir={str(cli.results)!r}, cache_dir={str(cli.cache)!r}"
    evaluate = f"import cupl_bench; record = cupl_bench.evaluate(*{asked!r}, prompts='simple', {places})"
    found = heavy_after(
        cli,
        ["eval", *asked],
        ["eval", *asked, "prompts=name_only", "output=json"],
        ["status", "-m", *asked, "prompts=simple,name_only"],
        evaluate,
        f"cupl_bench.sweep(*{asked!r}, prompts=['simple', 'name_only'], {places})",
        ["plan", *asked],
        ["plan", *asked, "prompts=templates", "prompts.templates=['the {}']"],
        f"assert len(cupl_bench.load_results({str(cli.results)!r})) == 2",
        f"cupl_bench.load_predictions({str(cli.results)!r}, record.run_key)",
        f"assert len(cupl_bench.compare({str(cli.results)!r})) == 2",
    )
    assert found == [[]] * 7 + [["pandas"]] * 2 + [["pandas", "scipy"]]
    assert records_of(cli) == before


@pytest.mark.slow
def test_a_sweep_that_is_asked_again_ends_at_once_and_rewrites_nothing(
    cli: Cli, photos: Path, tiny: TinyModel, with_page: None
) -> None:
    asked = ["eval", "-m", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=simple,name_only"]
    assert cli(*asked) == 0
    ended = cli.out[cli.out.index("Accuracy in percent") :]
    written = {path: path.stat().st_mtime_ns for name in ("tables", "figures", "report") for path in
               (cli.results / name).rglob("*")}  # fmt: skip
    assert any(path.suffix == ".pdf" for path in written)
    assert heavy_after(cli, asked) == [[]]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert cli(*asked) == 0
    assert cli.out[cli.out.index("Accuracy in percent") :] == ended
    assert cli(*asked, "output=json") == 0
    assert [row["prompts"] for row in json.loads(cli.out)["comparison"]] == ["simple", "name_only"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> tuple[Path, list[str]]:
    """A folder that holds a finished sweep, its figures and page among it, and the sweep."""
    root = tmp_path_factory.mktemp("finished")
    photos = make_folder(root / "photos", dict.fromkeys(["ant", "bee", "cat"], 2))
    asked = ["-m", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=simple,name_only"]
    assert main(["eval", *asked, f"results_dir={root / 'results'}", f"cache_dir={root / 'cache'}"]) == 0
    shutil.copytree(root / "results", root / "as it was")
    return root, asked


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["table gone", "table altered", "other baseline", "predictions altered", "older run"]
)
def test_a_sweep_ends_anew_where_anything_changed(cli: Cli, finished: tuple[Path, list[str]], change: str) -> None:
    """Tables alone tell it here: figures and the page, which the finished sweep has, take longer than all else."""
    root, sweep = finished
    asked = ["eval", *sweep]
    cli.results, cli.cache = root / "results", root / "cache"
    shutil.rmtree(cli.results)
    shutil.copytree(root / "as it was", cli.results)
    assert cli(*asked) == 0
    kept = cli.results / "tables" / ".shown.json"  # written whenever a sweep ends anew; other files only if they change
    before = kept.stat().st_mtime_ns
    if change == "table gone":
        (cli.results / "tables" / "comparison.csv").unlink()
    elif change == "table altered":
        (cli.results / "tables" / "comparison.md").write_bytes(b"")
    elif change == "other baseline":
        asked.append("baseline=name_only")
    elif change == "predictions altered":
        next((cli.results / "predictions").glob("*.parquet")).touch()
    else:
        assert cli("eval", *asked[2:-1], "prompts=templates", "prompts.templates=['the {}']") == 0
    assert cli(*asked) == 0, cli.err
    assert kept.stat().st_mtime_ns != before
    assert (cli.results / "tables" / "comparison.csv").is_file()


@pytest.mark.slow
def test_a_report_that_is_asked_again_is_shown_again(cli: Cli, finished: tuple[Path, list[str]]) -> None:
    root, _ = finished
    cli.results, cli.cache = root / "results", root / "cache"
    shutil.rmtree(cli.results)
    shutil.copytree(root / "as it was", cli.results)
    photos, away = root / "photos", root / "photos that are away"
    photos.rename(away)
    asked = ["report", "figures=strategies", "format=png"]
    assert cli(*asked) == 0
    ended, page = cli.out[cli.out.index("Accuracy in percent") :], (cli.results / "report" / "index.html").read_bytes()
    kept = cli.results / "tables" / ".reported.json"
    before = kept.stat().st_mtime_ns
    assert heavy_after(cli, asked) == [[]]
    assert cli(*asked) == 0
    assert cli.out == ended
    assert cli(*asked, "output=json") == 0
    assert json.loads(cli.out)["page"] == str(cli.results / "report" / "index.html")
    assert kept.stat().st_mtime_ns == before
    away.rename(photos)  # images that came get thumbnails
    assert cli(*asked) == 0
    assert list((cli.results / "report" / "thumbnails").iterdir())
    assert (cli.results / "report" / "index.html").read_bytes() != page
    thumbnail = next((cli.results / "report" / "thumbnails").rglob("*.webp"))
    as_made = thumbnail.read_bytes()
    for break_it in (Path.unlink, lambda path: path.write_bytes(b"")):
        break_it(thumbnail)
        assert cli(*asked) == 0
        assert thumbnail.read_bytes() == as_made
    for one in ((cli.results / "report" / "data").rglob("*.js"), (cli.results / "figures").iterdir()):
        next(iter(one)).write_bytes(b"")
        before = kept.stat().st_mtime_ns
        assert cli(*asked) == 0
        assert kept.stat().st_mtime_ns != before
    assert cli("report", "figures=strategies", "format=svg") == 0
    assert [path.suffix for path in (cli.results / "figures").iterdir()] == [".svg"]


@pytest.mark.slow
def test_no_two_reports_of_a_folder_are_written_at_once(
    cli: Cli, finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would keep as its own the state of files that the other wrote."""
    root, sweep = finished
    cli.results, cli.cache = root / "results", root / "cache"
    lease = cli.results / "tables" / ".report.lease"
    held: list[object] = []

    def tells(results_dir: Path, *_: object, **__: object) -> None:
        held.append(holder_of(lease))
        raise ResultsError("enough")

    monkeypatch.setattr("cupl_bench.commands.report.write_report", tells)
    assert cli("report", "baseline=name_only", "figures=none") == 2
    assert cli("eval", *sweep, "baseline=simple") == 0, cli.err
    assert len(held) == 2
    assert None not in held
    assert not lease.exists()
    assert cli.raw("report", f"results_dir={root / 'none'}", f"cache_dir={cli.cache}") == 2
    assert not (root / "none").exists()


def test_what_an_ending_depends_on(tmp_path: Path) -> None:
    """The folder, which its lines name, and each file that it reads, though size and time of writing are the same."""
    config = SimpleNamespace(baseline=None, cache_dir=tmp_path / "cache")
    record = tmp_path / "results" / "records" / "a.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"top1": 0.5}')
    before = made_from(tmp_path / "results", [], config)
    assert made_from(tmp_path / "results", [], config) == before
    shutil.copytree(tmp_path / "results", tmp_path / "copy")
    assert made_from(tmp_path / "copy", [], config) != made_from(tmp_path / "results", [], config) == before
    written = record.stat().st_mtime_ns
    record.write_text('{"top1": 0.6}')
    os.utime(record, ns=(written, written))
    assert made_from(tmp_path / "results", [], config) != before


@pytest.mark.slow
def test_what_cannot_be_decoded_is_known_without_a_decoder_of_jpegs(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    (photos / "ant" / "broken.png").write_bytes(encoded(7, "PNG")[:100])
    asked = ["dataset=folder", f"dataset.path={photos}", "dataset.skip_broken=true", *tiny.overrides]
    assert cli("eval", *asked) == 0
    assert heavy_after(cli, ["eval", *asked]) == [[]]


@pytest.mark.slow
def test_given_features_need_no_torch(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    assert cli("features", "to=given", "dataset=folder", f"dataset.path={photos}", *tiny.overrides) == 0, cli.err
    asked = ["dataset=features", "dataset.path=given", "prompts=simple", *tiny.overrides]
    assert cli("eval", *asked) == 0, cli.err
    assert heavy_after(cli, ["eval", *asked]) == [["pandas"]]  # pyarrow reads the class names through it


@pytest.mark.slow
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_device_is_looked_for_where_something_is_computed(
    cli: Cli, photos: Path, tiny: TinyModel, device: str
) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, f"device={device}"]
    assert cli("eval", *asked) == 0
    assert cli.record().environment["device"] in ("cpu", "cuda")
    assert heavy_after(cli, ["eval", *asked]) == [[]]


def test_a_device_that_is_none_is_told_before_any_work_whatever_is_stored(
    cli: Cli, photos: Path, tiny: TinyModel
) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("eval", *asked) == 0
    before = records_of(cli)
    for line in (["eval", *asked], ["plan", *asked], ["eval", *asked, "prompts=name_only"]):
        assert cli(*line, "device=cud") == 2
        assert "device=cud cannot be used here (Expected one of cpu, cuda," in cli.err
        assert cli.err.endswith("Did you mean 'cuda' or 'cpu'?\n")
    assert records_of(cli) == before
