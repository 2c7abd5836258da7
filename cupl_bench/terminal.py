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
    """A table as wide as it needs to be, plain where standard output is no terminal."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=400)
    same = [name for name in ("dataset", "backbone", "images") if name in table and table[name].nunique() == 1]
    if same:  # what all rows share is said once
        title = f"{title}: {', '.join(f'{name} {table[name].iloc[0]}' for name in same)}"
        table = table.drop(columns=same)
    shown = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    words = {"dataset", "backbone", "precision", "prompts"}
    for column in table.columns:
        shown.add_column(str(column), justify="left" if column in words else "right", overflow="fold")
    for row in table.itertuples(index=False):
        shown.add_row(*(str(cell) for cell in row))
    console.print(shown)
