"""What a person reads on the terminal: stage lines, tables, and one clear message for each mistake."""

import logging
import sys

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["complain", "say", "show_log", "show_table"]


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A message on standard error."""
    sys.stderr.write(f"cupl-bench: {text}\n")


class Lines(logging.Handler):
    """Log messages as bare lines: what a run tells on standard output, warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        (complain if record.levelno >= logging.WARNING else say)(record.getMessage())


def show_log() -> None:
    """Show what the package logs; other libraries stay with their own."""
    logger = logging.getLogger("cupl_bench")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, Lines) for handler in logger.handlers):
        logger.addHandler(Lines())


def show_table(table: pd.DataFrame, title: str) -> None:
    """A table that fits the terminal; as wide as it needs to be where standard output is none.

    What all rows share is said once, in the title. Where the terminal is too narrow, the columns that tell least are
    left out and named below.
    """
    same = [name for name in ("dataset", "backbone", "images") if name in table and len(set(table[name])) == 1]
    if same:
        title = f"{title}: {', '.join(f'{name} {table[name].iloc[0]}' for name in same)}"
        table = table.drop(columns=same)
    console = Console(file=sys.stdout, highlight=False)
    left_out = []
    if console.is_terminal:
        spare = [name for name in table if str(name).endswith(" alone")] + ["mean per class", "top-5", "run", "images"]
        for name in spare:
            if name in table and _width(table) > console.width:
                left_out.append(str(name))
                table = table.drop(columns=name)
    else:
        console = Console(file=sys.stdout, highlight=False, width=_width(table) + len(title))
    grid = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    words = {"dataset", "backbone", "precision", "prompts", "data", "weights"}
    for column in table.columns:
        grid.add_column(str(column), justify="left" if column in words else "right", overflow="fold")
    for row in table.itertuples(index=False):
        grid.add_row(*(str(cell) for cell in row))
    console.print(grid)
    if left_out:
        say(f"left out for want of width: {', '.join(left_out)}")


def _width(table: pd.DataFrame) -> int:
    """How many characters the table takes, its gaps included."""
    return sum(2 + max(len(str(name)), *(len(str(cell)) for cell in table[name])) for name in table)
