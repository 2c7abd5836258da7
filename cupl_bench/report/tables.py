"""The comparison as files: CSV with fractions, Markdown and LaTeX as read."""

import re
from pathlib import Path

import pandas as pd

from cupl_bench.records import read_records
from cupl_bench.report.comparison import compare, shown
from cupl_bench.store import write_atomically

__all__ = ["write_tables"]

SPREADSHEET_FORMULA = re.compile(r"^[=+\-@\t\r]")


def write_tables(results_dir: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Write the tables of all finished runs below ``results_dir``; gives the comparison and the files.

    Raises:
        ResultsError: there is nothing to compare, or it is not comparable.
    """
    comparison = compare(read_records(results_dir), results_dir)
    read = shown(comparison)
    contents = {
        "comparison.csv": comparison.map(_inert).to_csv(index=False),
        "comparison.md": read.map(_inert_markdown).to_markdown(index=False, disable_numparse=True) + "\n",
        "comparison.tex": _latex(read),
    }
    paths = []
    for name, text in contents.items():
        path = results_dir / "tables" / name
        write_atomically(path, text.encode())
        paths.append(path)
    return comparison, paths


def _latex(table: pd.DataFrame) -> str:
    style = table.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    numbers = set(table.columns) - {"dataset", "backbone", "precision", "prompts"}
    return str(
        style.to_latex(hrules=True, column_format="".join("r" if name in numbers else "l" for name in table.columns))
    )


def _inert(value: object) -> object:
    """Names are a user's: a spreadsheet must not run one as a formula."""
    return f"'{value}" if isinstance(value, str) and SPREADSHEET_FORMULA.match(value) else value


def _inert_markdown(value: object) -> object:
    return value.replace("|", "\\|").replace("<", "&lt;") if isinstance(value, str) else value
