"""The examples of the pages run as they stand there, and what README.md counts is so."""

import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from making import make_folder

from cupl_bench.__main__ import main
from cupl_bench.commands.options import groups
from cupl_bench.conf_folder import conf_dir

DOCS = Path(__file__).parent.parent / "docs"


def test_the_readme_counts_the_data_sets_and_names_the_experiments_that_there_are() -> None:
    text = (DOCS.parent / "README.md").read_text("utf-8")
    options = groups([conf_dir()])
    named = set(options["dataset"]) - {"demo", "folder", "hf", "webdataset", "features"}
    assert f"`imagenet`, `cub`, `flowers` and {len(named) - 3} more" in text
    assert not [
        one for one in options["experiment"] if one != "demo" and f"`{one}`" not in text.replace("experiment=", "`")
    ]


@pytest.mark.slow
def test_the_blocks_of_the_python_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "photos", {"ant": 2, "bee": 2, "cat": 2})
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    plt.close("all")
    assert (tmp_path / "top1.png").stat().st_size > 1000
    assert len(list((tmp_path / "results/records").glob("*.json"))) == 7
    assert names["X"].shape == (6, 128)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_commands_and_the_block_of_the_page_of_features_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "features.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    cupl-bench (.*demo_features.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        places = ["results_dir=results", "cache_dir=cache", "dataset.limit=2"]
        assert main([*shlex.split(command), *places]) == 0, capsys.readouterr().err
    written = set(re.findall(r"^\| `(\S+\.\w+)` \|", text, re.MULTILINE))
    assert written == {path.name for path in (tmp_path / "demo_features").iterdir()}
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(compile(block, "docs/features.md", "exec"), names)
    assert names["record"].metrics.top1 > 0.9  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["strategy", "dataset", "backbone", "scorer"])
def test_your_own_part_works_from_outside_the_package(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "photos", {"ant": 2, "bee": 2, "cat": 2})
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(tmp_path.rglob("*.jpg"))]
    (tmp_path / "animals.csv").write_text("\n".join(["file,class", *rows]))
    text = (DOCS / "own" / f"{page}.md").read_text("utf-8")
    files = re.findall(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(files) == 2
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    commands = re.findall(r"^\$ PYTHONPATH=\. cupl-bench (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        code = main([*shlex.split(command), "results_dir=results", "cache_dir=cache"])
        assert code == 0, capsys.readouterr().err
    assert len(list((tmp_path / "results/records").glob("*.json"))) >= 2
