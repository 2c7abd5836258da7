"""`cupl-bench report`: tables, figures and a page from the records below results_dir."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.terminal import answer, complain, rows_of, say, show_table, speak_to_program

if TYPE_CHECKING:
    from cupl_bench.report.tables import Tables

__all__ = ["Report", "command", "is_quick", "show_comparison", "write_report"]

QUICK = 100_000
"""Answers of all runs together that a report takes a few seconds for, thumbnails included."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report has written, and the tables themselves."""

    contents: "Tables"
    tables: list[Path]
    figures: list[Path]
    page: Path


def is_quick(results_dir: Path) -> bool:
    """Whether a report of these records takes a few seconds: a sweep then writes all of it, else the tables alone."""
    from cupl_bench.records import read_records

    return sum(record.dataset.num_images for record in read_records(results_dir)) <= QUICK


def write_report(results_dir: Path, config: Any) -> Report:
    """Write the tables, the figures and the page; ``config`` says where the caches are."""
    # Its list of fonts belongs to our cache: nothing is written into a user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(Path(config.cache_dir).expanduser().absolute() / "matplotlib"))
    from cupl_bench.commands.images import images_here
    from cupl_bench.records import read_records
    from cupl_bench.report.figures import write_figures
    from cupl_bench.report.page import write_page
    from cupl_bench.report.tables import write_tables

    contents, tables = write_tables(results_dir)
    figures = write_figures(contents, results_dir)
    page = write_page(contents, read_records(results_dir), results_dir, images_here(config))
    return Report(contents=contents, tables=tables, figures=figures, page=page.path)


def command(given: Arguments) -> int:
    """Write the tables, the figures and the page, and show the tables; gives the exit code."""
    from cupl_bench.config import Output
    from cupl_bench.report.comparison import shown, shown_pooled

    config = compose(given.overrides, given.config_dir)
    speak_to_program(config.output == Output.json)
    results_dir = Path(config.results_dir).expanduser().absolute()
    report = write_report(results_dir, config)
    tables = report.contents
    show_comparison(shown(tables.runs))
    if len(tables.pooled):
        show_table(shown_pooled(tables.pooled), "Means over data sets, in percent")
    exact = tables.published[tables.published["match"] == "exact"]
    if len(exact):
        say(f"{int(exact['agrees'].sum())} of {len(exact)} published numbers of the same question agree: published.md")
    if len(tables.missing):
        cells = [" x ".join(map(str, row[:3])) for row in tables.missing.head(3).itertuples(index=False)]
        complain(f"{len(tables.missing)} cells of the sweep are missing, first: {', '.join(cells)}: missing.csv")
    for path in report.tables:
        say(str(path))
    say(f"{len(report.figures)} figures in {results_dir / 'figures'}\n{report.page}")
    if config.output == Output.json:
        answer(
            {
                "comparison": rows_of(tables.runs),
                "pooled": rows_of(tables.pooled),
                "missing": rows_of(tables.missing),
                "tables": [str(path) for path in report.tables],
                "figures": [str(path) for path in report.figures],
                "page": str(report.page),
            }
        )
    return 0


def show_comparison(table: Any) -> None:
    """Show a comparison on the terminal; the files have the intervals over classes as well."""
    show_table(table.drop(columns=["over classes"], errors="ignore"), "Accuracy in percent")
    if any("n.s." in str(cell) for column in table for cell in table[column]):
        say("n.s.: not significant (McNemar's exact test, corrected for the whole table after Holm)")
