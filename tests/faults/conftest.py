"""What the fault tests share: a small sweep, answered once without any fault."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty import Left, left_by, start, sweep_of
from making import TinyModel, make_folder


@dataclass(frozen=True)
class Undisturbed:
    """A small sweep that nothing disturbed."""

    photos: Path
    tiny: TinyModel
    results: Path
    cache: Path
    left: Left

    def arguments(self, results: Path, cache: Path, *more: str) -> list[str]:
        return sweep_of(self.photos, self.tiny, results, cache, *more)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    photos = make_folder(folder / "photos", dict.fromkeys(["ant", "bee", "cat", "dog", "eel"], 8))
    results, cache = folder / "results", folder / "cache"
    running = start(sweep_of(photos, tiny, results, cache), folder / "output.txt")
    assert running.wait() == 0, running.text()
    left = left_by(results)
    assert len(left.records) == 2
    return Undisturbed(photos, tiny, results, cache, left)
