"""The dirty flag of a checkout: the program's own files never count, others do."""

import subprocess
from pathlib import Path

import pytest
import torch

from cupl_bench import environment
from cupl_bench.environment import WRITTEN, describe_environment

ROOT = Path(__file__).parents[1]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that holds the program, with the project's own list of files that git leaves out."""
    root = tmp_path / "clone"
    (root / "cupl_bench").mkdir(parents=True)
    (root / "cupl_bench" / "environment.py").touch()
    (root / "results").mkdir()
    (root / "results" / "README.md").touch()
    (root / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    monkeypatch.setattr(environment, "__file__", str(root / "cupl_bench" / "environment.py"))
    forget()
    yield root
    forget()


def forget() -> None:
    environment._checkout.cache_clear()
    environment._has_new_files.cache_clear()


def dirty(*places: Path) -> object:
    forget()
    return describe_environment(torch.device("cpu"), places, None)["dirty"]


def leave(folder: Path) -> None:
    """What runs and reports leave, and a folder that a later version may write."""
    for name in (*WRITTEN, "something_new"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "a.json").touch()


def test_the_results_of_a_clone_are_not_seen_by_git(clone: Path) -> None:
    leave(clone / "results")
    assert git(clone, "status", "--porcelain") == ""
    assert dirty() is False
    assert describe_environment(torch.device("cpu"), (), None)["commit"] == git(clone, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("name", ["mine", "out/of/the way", "a*[b]", ":(top)x"])
def test_own_files_elsewhere_in_the_clone_do_not_count(clone: Path, name: str) -> None:
    leave(clone / name / "results")
    (clone / name / "cache" / "image_features").mkdir(parents=True)
    (clone / name / "cache" / "image_features" / "a.safetensors").touch()
    assert dirty() is True
    assert dirty(clone / name / "results", clone / name / "cache") is False
    (clone / name / "notes.txt").touch()
    assert dirty(clone / name / "results", clone / name / "cache") is True


def test_the_clone_itself_as_results_dir(clone: Path) -> None:
    for name in WRITTEN:
        (clone / name).mkdir()
        (clone / name / "a.json").touch()
    assert dirty(clone) is False
    (clone / "cupl_bench" / "new.py").touch()
    assert dirty(clone) is True


def test_a_change_of_a_file_of_the_commit_counts_wherever_it_lies(clone: Path) -> None:
    (clone / "results" / "README.md").write_text("other")
    assert dirty(clone / "results") is True


def test_folders_outside_the_clone_are_no_matter(clone: Path, tmp_path: Path) -> None:
    leave(tmp_path / "elsewhere")
    assert dirty(tmp_path / "elsewhere", tmp_path) is False
