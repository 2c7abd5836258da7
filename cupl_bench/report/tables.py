"""The evidence as files: CSV and parquet with fractions, Markdown and LaTeX as read."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tabulate import tabulate as pipe_table

from cupl_bench.records import Record, read_records
from cupl_bench.report.answers import class_facts, missing_cells
from cupl_bench.report.classes import moved_confusions, per_class, shown_classes, shown_confusions
from cupl_bench.report.comparison import (
    BASELINE,
    GroupAnswers,
    groups_of_answers,
    shown,
    shown_pooled,
    strategy_names,
    weigh,
)
from cupl_bench.report.published import match_published, shown_published
from cupl_bench.store import write_atomically

__all__ = ["Tables", "tabulate", "write_tables"]

SPREADSHEET_FORMULA = re.compile(r"^[=+\-@\t\r]")
WORDS = {"dataset", "backbone", "precision", "prompts", "class", "taken for", "differs in", "source", "metric"}
"""Columns of text; the others are numbers and stand to the right."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All tables of a results folder; results/README.md has their columns.

    ``runs`` and ``pooled``: `report.comparison`. ``classes`` and ``moved``: classes and moved confusions of all runs
    (`report.classes`) with their ``run_key``. ``published``: `report.published`. ``missing``: what a sweep lacks.
    """

    runs: pd.DataFrame
    pooled: pd.DataFrame
    classes: pd.DataFrame
    moved: pd.DataFrame
    published: pd.DataFrame
    missing: pd.DataFrame


def tabulate(records: Sequence[Record], results_dir: Path) -> Tables:
    """All tables of these records, their predictions read once.

    Raises:
        ResultsError: nothing is finished, protocol versions are mixed, or predictions are missing.
    """
    classes: list[pd.DataFrame] = []
    moved: list[pd.DataFrame] = []

    def looked_at() -> Iterator[GroupAnswers]:
        """The groups, with what concerns single classes taken while their answers are in memory."""
        for group in groups_of_answers(records, results_dir):
            facts = class_facts(results_dir, [answers.record for answers in group.members])
            for answers in group.members:
                baseline = group.against(answers)
                classes.append(per_class(answers, baseline, facts))
                if baseline is not None:
                    moved.append(moved_confusions(answers, baseline, facts))
            yield group

    comparison = weigh(looked_at())
    return Tables(
        runs=comparison.runs,
        pooled=comparison.pooled,
        classes=pd.concat(classes, ignore_index=True),
        moved=pd.concat(moved, ignore_index=True) if moved else pd.DataFrame(),
        published=match_published(comparison.runs, records),
        missing=missing_cells(records),
    )


def write_tables(results_dir: Path) -> tuple[Tables, list[Path]]:
    """Write the tables of all finished runs below ``results_dir``; gives them and the files.

    Raises:
        ResultsError: there is nothing to compare, or it is not comparable.
    """
    tables = tabulate(read_records(results_dir), results_dir)
    read = shown(tables.runs)
    contents: dict[str, bytes] = {
        "comparison.csv": _csv(tables.runs),
        "comparison.md": _markdown(read),
        "comparison.tex": _latex(read, tables.runs["best"]),
        "per_class.parquet": tables.classes.to_parquet(index=False),
    }
    if len(tables.pooled):
        pooled = shown_pooled(tables.pooled)
        contents |= {
            "pooled.csv": _csv(tables.pooled),
            "pooled.md": _markdown(pooled),
            "pooled.tex": _latex(pooled, None),
        }
    if len(tables.moved):
        contents |= {
            "confusions.parquet": tables.moved.to_parquet(index=False),
            "classes.md": _changes(tables).encode(),
        }
    if len(tables.published):
        contents |= {
            "published.csv": _csv(tables.published),
            "published.md": _markdown(shown_published(tables.published)),
        }
    if len(tables.missing):
        contents["missing.csv"] = _csv(tables.missing)
    paths = []
    for name, content in contents.items():
        path = results_dir / "tables" / name
        write_atomically(path, content)
        paths.append(path)
    for name in ("pooled.csv", "pooled.md", "pooled.tex", "confusions.parquet", "classes.md", "published.csv",
                 "published.md", "missing.csv"):  # fmt: skip
        if name not in contents:  # what an earlier state of the folder left
            (results_dir / "tables" / name).unlink(missing_ok=True)
    return tables, paths


def _changes(tables: Tables) -> str:
    """For each run the classes and confusions that changed most against the baseline, as Markdown."""
    parts = [f"# Which classes\n\nEach run against `{BASELINE}` on the same images: the classes and the confusions that"
             " changed most. per_class.parquet and confusions.parquet hold more. n.s.: not significant, McNemar's exact"
             " test corrected for all classes of the run after Holm.\n"]  # fmt: skip
    read = [_rows_by_run(table) for table in (shown_classes(tables.classes), shown_confusions(tables.moved))]
    compared = set(tables.moved["run_key"])
    for row, name in zip(tables.runs.to_dict("records"), strategy_names(tables.runs), strict=True):
        if row["run_key"] not in compared:
            continue
        title = " x ".join(str(_inert_markdown(part)) for part in (row["dataset"], row["backbone"], name))
        of_run = [_pipes(columns, rows[row["run_key"]]) for columns, rows in read if row["run_key"] in rows]
        parts += [f"## {title}\n", *of_run]
    return "\n".join(parts)


def _rows_by_run(table: pd.DataFrame) -> tuple[list[str], dict[str, list[tuple[object, ...]]]]:
    """The columns of a table that begins with ``run_key``, and the rows of each run, for Markdown."""
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
    """A table of Markdown."""
    sides = ["left" if name in WORDS else "right" for name in columns]
    return f"{pipe_table(rows, columns, tablefmt='pipe', disable_numparse=True, colalign=sides)}\n"


MINUS = re.compile(r"(?<=[\[ ])-(?=\d)")
"""The hyphen of a negative number, which LaTeX would print as one."""


def _latex(table: pd.DataFrame, best: "pd.Series[bool] | None") -> bytes:
    """A table for booktabs; the top-1 of a row that is significantly best is bold."""
    style = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    if best is not None:
        bold = best.reindex(table.index).astype(bool)
        style = style.apply(lambda _: ["textbf: --rwrap;" if one else "" for one in bold], subset=["top-1 [95%]"])
    places = "".join("l" if name in WORDS else "r" for name in table.columns)
    return MINUS.sub("$-$", str(style.to_latex(hrules=True, column_format=places))).encode()


def _per_text(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """The table with its texts changed; numbers stay as they are."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{str(name): table[name].map(change) for name in texts})


def _inert(value: object) -> object:
    """Names are a user's: a spreadsheet must not run one as a formula."""
    return f"'{value}" if isinstance(value, str) and SPREADSHEET_FORMULA.match(value) else value


def _inert_markdown(value: object) -> object:
    return value.replace("|", "\\|").replace("<", "&lt;") if isinstance(value, str) else value
