"""Write what a person reads on the terminal: stage lines, tables, and one clear message for each mistake.

For a program (``output=json``) standard output holds one JSON document and nothing else: what would be said goes to
standard error, and tables are left to the document.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # heavy: a look at the help draws no table
    import pandas as pd

__all__ = ["answer", "complain", "rows_of", "say", "show_log", "show_table", "speak_to_program"]


@dataclass
class _Reader:
    """The reader of standard output; a process has one."""

    is_program: bool = False


_reader = _Reader()


def speak_to_program(is_program: bool) -> None:
    """Say whether a program reads standard output (``output=json``), before anything is said."""
    _reader.is_program = is_program


def say(text: str) -> None:
    """Write a line on standard output; on standard error where a program reads the former."""
    _write("stderr" if _reader.is_program else "stdout", text)


def answer(document: object) -> None:
    """Write the answer to a program: one JSON document on standard output."""
    _write("stdout", json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def rows_of(table: "pd.DataFrame") -> list[dict[str, object]]:
    """Return the rows of a table as JSON knows them: what is not known is null."""
    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def complain(text: str) -> None:
    """Write a message on standard error."""
    _write("stderr", f"cupl-bench: {text}")


def _write(name: Literal["stdout", "stderr"], line: str) -> None:
    stream = sys.stdout if name == "stdout" else sys.stderr
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except BrokenPipeError:  # who read has gone (`| head`): the work goes on, and its records are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Lines(logging.Handler):
    """Log messages as bare lines: what a run tells on standard output, warnings on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        (complain if record.levelno >= logging.WARNING else say)(record.getMessage())


def show_log() -> None:
    """Show what the package logs; other libraries stay with their own. A person reads, until a command knows better."""
    speak_to_program(False)
    logger = logging.getLogger("cupl_bench")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, Lines) for handler in logger.handlers):
        logger.addHandler(Lines())


def show_table(rows: Sequence[Mapping[str, object]], title: str) -> None:
    """Show rows of one form that fit the terminal; as wide as they need to be where standard output is no terminal.

    What all rows share is said once, in the title. Where the terminal is too narrow, the columns that tell least are
    left out and named below.
    """
    if _reader.is_program or not rows:
        return
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    table = {name: [str(row[name]) for row in rows] for name in rows[0]}
    same = [name for name in ("dataset", "backbone", "images") if name in table and len(set(table[name])) == 1]
    if same:
        title = f"{title}: {', '.join(f'{name} {table.pop(name)[0]}' for name in same)}"
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    left_out = []
    if console.is_terminal:
        least = ["calibration error", "mean per class", "top-5", "run", "images"]
        for name in [*(name for name in table if name.endswith(" alone")), *least]:
            if name in table and _width(table) > console.width:
                left_out.append(name)
                del table[name]
    else:
        console = Console(
            file=sys.stdout, highlight=False, markup=False, emoji=False, width=_width(table) + cell_len(title)
        )
    grid = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    words = {"dataset", "backbone", "precision", "prompts", "scorer", "kind", "data", "weights"}
    for name in table:
        grid.add_column(name, justify="left" if name in words else "right", overflow="fold")
    for row in zip(*table.values(), strict=True):
        grid.add_row(*row)
    with console.capture() as drawn:
        console.print(grid)
    say(drawn.get().removesuffix("\n"))
    if left_out:
        say(f"left out because the terminal is too narrow: {', '.join(left_out)}")


def _width(table: Mapping[str, Sequence[str]]) -> int:
    """Return how many columns of the terminal the table takes, its gaps included; a Chinese letter takes two."""
    from rich.cells import cell_len

    return sum(2 + max(cell_len(name), *map(cell_len, cells)) for name, cells in table.items())
