"""`cupl-bench report`: tables from the records below results_dir."""

from pathlib import Path
from typing import Any

from cupl_bench.commands.composition import compose_once
from cupl_bench.terminal import say, show_table

__all__ = ["command", "show_comparison"]


def command(arguments: list[str]) -> int:
    """Write and show the tables; gives the exit code."""
    from cupl_bench.report.comparison import shown
    from cupl_bench.report.tables import write_tables

    config = compose_once(arguments)
    comparison, files = write_tables(Path(config.results_dir).expanduser().absolute())
    show_comparison(shown(comparison))
    for path in files:
        say(str(path))
    return 0


def show_comparison(table: Any) -> None:
    """Show a comparison on the terminal."""
    show_table(table, "Accuracy in percent")
    if any("n.s." in str(cell) for column in table for cell in table[column]):
        say("n.s.: not significant, the 95% interval of the paired difference holds zero")
