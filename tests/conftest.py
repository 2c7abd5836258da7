"""What the tests share: a tiny model, a small data set, a command line of their own."""

import gc
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from making import TinyModel, make_folder, make_tiny

from cupl_bench.__main__ import main
from cupl_bench.records import Record, read_record

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # tests of Ctrl-C, where all tests run in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("cupl_bench", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("cupl_bench")

gc.disable()  # imports make millions of objects, none of them garbage

LONGEST = [
    "journeys/test_demo.py", "journeys/test_cli.py", "scorers/test_scorers_in_runs.py",
    "composition/test_composition.py", "report/test_page_in_browser.py", "test_checking.py",
    "journeys/test_one_pass.py", "test_conf.py", "journeys/test_hub.py", "report/test_comparison.py",
    "describe/test_faults.py", "test_device.py", "faults/test_interrupts.py", "faults/test_disks.py",
    "journeys/test_ranks.py", "test_pages.py",
]  # fmt: skip
"""The files that take longest, in this order: they start first, so that no process ends with one while others idle."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist would start the files with most tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    if gone := sorted(str(file) for file in place if not file.is_file()):
        raise pytest.UsageError(f"tests/conftest.py: LONGEST names files that are not there: {gone}")
    items.sort(key=lambda item: place.get(item.path, len(place)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep ends with its tables alone: figures and the page take longer than all else. `report` has them."""
    monkeypatch.setattr("cupl_bench.commands.report.QUICK", 0)


@pytest.fixture
def with_page(no_page: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep ends as it does for a user, with figures and the page."""
    monkeypatch.setattr("cupl_bench.commands.report.QUICK", 100_000)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five classes of three images."""
    return make_folder(tmp_path / "photos", dict.fromkeys(["ant", "bee", "cat", "dog", "eel"], 3))


@dataclass
class Cli:
    """The command line with a results folder and a cache of its own."""

    results: Path
    cache: Path
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str) -> int:
        return self.raw(*arguments, f"results_dir={self.results}", f"cache_dir={self.cache}")

    def raw(self, *arguments: str) -> int:
        """The arguments as they are, without the two folders."""
        code = main(list(arguments))
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        return code

    def record(self) -> Record:
        """The record that the last line names."""
        return read_record(Path(self.out.strip().splitlines()[-1].split(maxsplit=1)[1]))

    def records(self) -> dict[str, Record]:
        found = [read_record(path) for path in sorted((self.results / "records").glob("*.json"))]
        return {record.prompts.name: record for record in found}


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(results=tmp_path / "results", cache=tmp_path / "cache", capture=capsys)


@pytest.fixture
def on_photos(cli: Cli, photos: Path, tiny: TinyModel) -> Callable[..., int]:
    """`eval` on the five classes with the tiny model."""

    def run(*arguments: str) -> int:
        return cli("eval", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, *arguments)

    return run
