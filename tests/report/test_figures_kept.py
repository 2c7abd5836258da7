"""Figures that are kept: what did not change is not drawn again, and nothing stale, edited or damaged stays."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cupl_bench.records import read_records
from cupl_bench.report import figures
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.figures import Choice, kept, write_figures
from cupl_bench.report.figures.kept import PLACE, drawn_from
from cupl_bench.report.figures.scene import SIZES, Sheet
from scripts.synthetic_results import write_results

CHOICE = Choice(kinds=("confusions",), formats=("png",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """Two data sets, two strategies."""
    folder = tmp_path_factory.mktemp("made")
    write_results(folder, datasets=2, backbones=1, images=60, classes=5, strategies={"simple": 0.0, "cupl": 0.1})
    return folder, compare(read_records(folder), folder)


@pytest.fixture
def drawn(made: tuple[Path, Comparison], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The figures that were drawn since all were written."""
    folder, tables = made
    write_figures(tables, folder, CHOICE)
    names: list[str] = []
    true = figures._in_formats
    monkeypatch.setattr(
        figures, "_in_formats", lambda drawn, choice: (names.append(drawn.words[1]), true(drawn, choice))[1]
    )
    return names


def test_the_same_figures_are_not_drawn_again(made: tuple[Path, Comparison], drawn: list[str]) -> None:
    folder, tables = made
    before = (folder / PLACE).stat().st_mtime_ns
    paths = write_figures(tables, folder, CHOICE)
    assert len(paths) == 2
    assert drawn == []
    assert (folder / PLACE).stat().st_mtime_ns == before


@pytest.mark.parametrize("harm", ["gone", "cut short", "edited", "not what is kept", "kept in vain"])
def test_a_figure_that_was_harmed_is_drawn_again(harm: str, made: tuple[Path, Comparison], drawn: list[str]) -> None:
    folder, tables = made
    path = folder / "figures" / "confusions_synthetic00_backbone0_cupl.png"
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(content[:100])
    elif harm == "edited":
        path.write_bytes(bytes(len(content)))
    elif harm == "not what is kept":
        states = json.loads((folder / PLACE).read_text())
        (folder / PLACE).write_text(json.dumps(states | {path.name: ["another digest", states[path.name][1]]}))
    else:
        (folder / PLACE).write_text("[1")
    write_figures(tables, folder, CHOICE)
    assert drawn == (["synthetic00", "synthetic01"] if harm == "kept in vain" else ["synthetic00"])
    assert path.read_bytes() == content


def test_a_figure_whose_rows_changed_is_drawn_again(made: tuple[Path, Comparison], drawn: list[str]) -> None:
    folder, tables = made
    path = folder / "figures" / "confusions_synthetic01_backbone0_cupl.png"
    before = path.read_bytes()
    moved = tables.moved.copy()
    last = moved.index[-1]  # of the second data set
    moved.loc[last, ["images", "change"]] += 1
    write_figures(dataclasses.replace(tables, moved=moved), folder, CHOICE)
    assert drawn == ["synthetic01"]
    assert path.read_bytes() != before


@pytest.mark.parametrize("changed", ["program", "library", "width", "style", "font"])
def test_all_figures_are_drawn_again_by_another_program_or_option(
    changed: str, made: tuple[Path, Comparison], drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tables = made
    choice = CHOICE
    if changed == "program":
        monkeypatch.setattr(kept, "program_state", lambda: "another")
    elif changed == "library":
        monkeypatch.setattr(kept, "version", lambda name: "0")
    elif changed == "width":
        choice = dataclasses.replace(CHOICE, width="page")
    elif changed == "font":
        monkeypatch.setattr(figures, "font_files", lambda names: [folder])
    else:
        monkeypatch.setattr(figures, "style", lambda letters: {"font.size": 9.0})
    write_figures(tables, folder, choice)
    assert drawn == ["synthetic00", "synthetic01"]


def test_values_that_differ_have_different_digests() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    sheet = Sheet(size=SIZES["column"], places={"a": 0})
    values = [
        None, 1, 1.0, True, "1", [1], (1,), {"a": 1}, {"a": 1.0}, table, table.astype({"a": float}), table["a"],
        table.rename(columns={"a": "c"}), table[::-1], np.array([1.0, 2.0]), [1.0, 2.0], np.nan,
        sheet, dataclasses.replace(sheet, places={"a": 1}), dataclasses.replace(sheet, size=SIZES["page"]),
        drawn_from, write_figures,
    ]  # fmt: skip
    assert len({drawn_from(value) for value in values}) == len(values)
    assert drawn_from(table) == drawn_from(table.copy())
    with pytest.raises(TypeError, match="what a object holds is not known"):
        drawn_from(object())
