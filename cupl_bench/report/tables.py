"""The evidence as files: CSV and parquet with fractions, Markdown and LaTeX as read."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.cells import cell_len

from cupl_bench.report.classes import shown_classes, shown_confusions
from cupl_bench.report.comparison import Comparison
from cupl_bench.report.controls import shown_controls
from cupl_bench.report.latex import latex_tables
from cupl_bench.report.matrix import as_rows, chosen, matrices, shown_matrix
from cupl_bench.report.published import shown_published
from cupl_bench.report.shown import scored_names, shown, shown_pooled, strategy_names
from cupl_bench.report.standings import OF_LEAGUE, Standings, notes_of, shown_ranking
from cupl_bench.report.writers import shown_writers
from cupl_bench.store import remove, write_changed

__all__ = ["Layout", "write_tables"]

SPREADSHEET_FORMULA = re.compile(r"^[=+\-@\t\r]")
WORDS = {
    "dataset", "backbone", "precision", "prompts", "scorer", "kind", "baseline", "class", "taken for", "their wording",
    "differs in", "source", "metric", "written by", "strategy", "data set",
}  # fmt: skip
"""Columns of text; the others are numbers and stand to the right."""
MATRIX = ("matrix.csv", "matrix.md", "matrix.tex")
CONTROLS = ("controls.csv", "controls.md", "controls.tex")
WRITERS = ("writers.csv", "writers.md", "writers.tex")
RANKING = ("ranking.csv", "ranking.json", "ranking.md", "ranking.tex")


NOT_SIGNIFICANT = (
    "n.s.: the difference is not significant (McNemar's exact test on the same images, Holm's correction for the whole"
    " table, 5%)."
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the matrix lies: with data sets as its rows where it is ``transposed``, and these ``columns`` in this order.

    ``columns``: names of data sets, or of strategies where it is transposed; none for all.
    """

    transposed: bool = False
    columns: tuple[str, ...] = ()


def write_tables(comparison: Comparison, results_dir: Path, layout: Layout | None = None) -> list[Path]:
    """Write the tables of a comparison below ``results_dir``; return the files.

    Args:
        comparison: of the runs.
        results_dir: where the records lie.
        layout: of the matrix; None: strategies as rows, all data sets as columns.

    Raises:
        ResultsError: they cannot be written, or the layout names what is not there.
    """
    read = shown(comparison.runs)
    contents: dict[str, bytes] = {
        "comparison.csv": _csv(comparison.runs),
        "comparison.md": _markdown(read),
        "comparison.tex": _latex(read, comparison.runs["best"], _caption(read), "comparison"),
        **_matrices(comparison, Layout() if layout is None else layout),
        "per_class.parquet": comparison.classes.to_parquet(index=False),
    }
    if len(comparison.pooled):
        pooled = shown_pooled(comparison.pooled)
        contents |= {
            "pooled.csv": _csv(comparison.pooled),
            "pooled.md": _markdown(pooled),
            "pooled.tex": _latex(pooled, None, POOLED, "pooled"),
        }
    if len(comparison.standings.table):
        contents |= _ranking(comparison.standings)
    if len(comparison.controls):
        read = shown_controls(comparison.controls)
        files = (_csv(comparison.controls), _markdown(read), _latex(read, None))
        contents |= dict(zip(CONTROLS, files, strict=True))
    if len(comparison.writers):
        read = shown_writers(comparison.writers)
        files = (_csv(comparison.writers), _markdown(read), _latex(read, None))
        contents |= dict(zip(WRITERS, files, strict=True))
    if len(comparison.moved):
        contents |= {
            "confusions.parquet": comparison.moved.to_parquet(index=False),
            "classes.md": _changes(comparison).encode(),
        }
    if len(comparison.published):
        contents |= {
            "published.csv": _csv(comparison.published),
            "published.md": _markdown(shown_published(comparison.published)),
        }
    if len(comparison.missing):
        contents["missing.csv"] = _csv(comparison.missing)
    paths = []
    for name, content in contents.items():
        path = results_dir / "tables" / name
        write_changed(path, content)
        paths.append(path)
    for name in ("pooled.csv", "pooled.md", "pooled.tex", *MATRIX, *RANKING, *CONTROLS, *WRITERS, "confusions.parquet",
                 "classes.md", "published.csv", "published.md", "missing.csv"):  # fmt: skip
        if name not in contents:  # what an earlier state of the folder left
            remove(results_dir / "tables" / name)
    return paths


def _ranking(standings: Standings) -> dict[str, bytes]:
    """Return the files of the ranks over data sets; the JSON holds each league with its tests, rows and notes."""
    table = standings.table
    read = shown_ranking(table, strategy_names(table))
    of_league = ["league", *(name for name in table if name in OF_LEAGUE)]
    leagues = [
        {
            **rows.iloc[0][of_league[1:]].to_dict(),
            "notes": list(standings.notes[int(number)]),
            "strategies": rows.drop(columns=of_league).to_dict("records"),
        }
        for number, rows in table.astype(object).where(table.notna(), None).groupby("league", sort=False)
    ]
    notes = "".join(f"\n{_inert_markdown(line)}\n" for line in notes_of(standings))
    contents = (
        _csv(table), json.dumps(leagues, indent=1, ensure_ascii=False, default=_plain).encode(),
        _markdown(read) + notes.encode(), _latex(read, None),
    )  # fmt: skip
    return dict(zip(RANKING, contents, strict=True))


def _plain(value: Any) -> object:
    return value.item()  # a number of numpy


def _changes(comparison: Comparison) -> str:
    """Return for each run the classes and confusions that changed most against the baseline, as Markdown."""
    parts = ["# Which classes\n\nEach run against its baseline on the same images: the classes and the confusions that"
             " changed most. per_class.parquet and confusions.parquet hold more. n.s.: not significant, McNemar's exact"
             " test corrected for all classes of the run after Holm.\n"]  # fmt: skip
    read = [_rows_by_run(table) for table in (shown_classes(comparison.classes), shown_confusions(comparison.moved))]
    compared = set(comparison.moved["run_key"])
    for row, name in zip(comparison.runs.to_dict("records"), scored_names(comparison.runs), strict=True):
        if row["run_key"] not in compared:
            continue
        title = " x ".join(str(_inert_markdown(part)) for part in (row["dataset_shown"], row["backbone_shown"], name))
        of_run = [_pipes(columns, rows[row["run_key"]]) for columns, rows in read if row["run_key"] in rows]
        parts += [f"## {title}, minus {_inert_markdown(row['baseline'])}\n", *of_run]
    return "\n".join(parts)


def _rows_by_run(table: pd.DataFrame) -> tuple[list[str], dict[str, list[tuple[object, ...]]]]:
    """Return the columns of a table that begins with ``run_key``, and the rows of each run, for Markdown."""
    rows: dict[str, list[tuple[object, ...]]] = {}
    for run_key, *cells in _per_text(table, _inert_markdown).itertuples(index=False, name=None):
        rows.setdefault(run_key, []).append(tuple(cells))
    return list(table)[1:], rows


def _csv(table: pd.DataFrame) -> bytes:
    return bytes(_per_text(table, _inert).to_csv(index=False).encode())


def _markdown(table: pd.DataFrame) -> bytes:
    read = _per_text(table, _inert_markdown)
    return _pipes(list(read), list(read.itertuples(index=False, name=None))).encode()


def _pipes(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of Markdown whose columns are as wide in a terminal as their longest text."""
    texts = [["" if cell is None else str(cell).strip() for cell in row] for row in rows]
    of_column = list(zip(columns, *texts, strict=True))
    widths = [max(cell_len(name) + 2, *map(cell_len, cells), 0) for name, *cells in of_column]

    def line(cells: Sequence[str]) -> str:
        filled = []
        for name, text, width in zip(columns, cells, widths, strict=True):
            blanks = " " * (width - cell_len(text))
            filled.append(f" {text}{blanks} " if name in WORDS else f" {blanks}{text} ")
        return f"|{'|'.join(filled)}|\n"

    rule = [
        f":{'-' * (width + 1)}" if name in WORDS else f"{'-' * (width + 1)}:"
        for name, width in zip(columns, widths, strict=True)
    ]
    return "".join([line(columns), f"|{'|'.join(rule)}|\n", *(line(row) for row in texts)])


POOLED = (
    "Means over data sets of top-1 accuracy in percent, and differences in percentage points with their 95% intervals:"
    " over images, how far the mean would move with other images of these data sets; over data sets, with other data"
    " sets like these."
)


def _caption(read: pd.DataFrame) -> str:
    """Return what the columns and marks of a comparison mean, as far as they are there."""
    parts = ["Accuracy in percent"]
    differences = [name for name in read if str(name).startswith("minus ")]
    parts[0] += ", differences in percentage points, both with 95% intervals." if differences else "."
    if any("n.s." in str(cell) for name in differences for cell in read[name]):
        parts.append(NOT_SIGNIFICANT)
    parts.append("Bold: significantly better than every other strategy of the data set, backbone and scorer.")
    return " ".join(parts)


def _latex(
    table: pd.DataFrame, best: "pd.Series[bool] | None", caption: str = "Accuracy in percent.", label: str = "table"
) -> bytes:
    """Return a table in LaTeX; the top-1 of a row that is significantly best is bold."""
    bold = None
    if best is not None:
        bold = pd.DataFrame(False, index=table.index, columns=table.columns)
        bold["value [95%]" if "value [95%]" in table else "top-1 [95%]"] = best.reindex(table.index).astype(bool)
    return latex_tables(table, caption, label, tuple(WORDS), bold).encode()


def _matrices(comparison: Comparison, layout: Layout) -> dict[str, bytes]:
    """Return the files of strategies by data sets: numbers, and one table for each backbone and kind of scorer."""
    found = matrices(comparison, () if layout.transposed else layout.columns)
    markdown, latex = [], []
    for number, one in enumerate(found, start=1):
        texts, bold = shown_matrix(one, transposed=layout.transposed)
        if layout.transposed:
            texts, bold = chosen(texts, bold, layout.columns)
        starred = texts.where(~bold, "**" + texts + "**")
        markdown.append(
            f"# {_inert_markdown(one.title)}\n\n{_inert_markdown(one.caption)}\n\n{_markdown(starred).decode()}"
        )
        label = "matrix" if len(found) == 1 else f"matrix-{number}"
        latex.append(latex_tables(texts, one.caption, label, [texts.columns[0]], bold))
    files = (_csv(as_rows(found)), "\n".join(markdown).encode(), "\n".join(latex).encode())
    return dict(zip(MATRIX, files, strict=True))


def _per_text(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """Return the table with its texts changed; numbers stay as they are."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{str(name): table[name].map(change) for name in texts})


def _inert(value: object) -> object:
    """Return text that no spreadsheet runs as a formula: names are a user's."""
    return f"'{value}" if isinstance(value, str) and SPREADSHEET_FORMULA.match(value) else value


def _inert_markdown(value: object) -> object:
    return value.replace("|", "\\|").replace("<", "&lt;") if isinstance(value, str) else value
