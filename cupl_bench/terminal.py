"""Write what a person reads on the terminal: stage lines, tables, and one clear message for each mistake.

For a program (``output=json``) standard output holds one JSON document and nothing else: what would be said goes to
standard error, and tables are left to the document.
"""

import json
import logging
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # heavy: a look at the help draws no table
    import pandas as pd

__all__ = [
    "answer",
    "complain",
    "leave_output_to_the_answer",
    "rows_of",
    "say",
    "show_log",
    "show_table",
    "speak_to_program",
]


@dataclass
class _Reader:
    """The reader of standard output; a process has one. ``wants_no_log``: what is logged goes to standard error."""

    is_program: bool = False
    wants_no_log: bool = False


_reader = _Reader()


def speak_to_program(is_program: bool) -> None:
    """Say whether a program reads standard output (``output=json``), before anything is said."""
    _reader.is_program = is_program


def leave_output_to_the_answer() -> None:
    """Write what the package logs on standard error, so that a person can hand on the answer of a command.

    A command says so before it imports anything that takes long: that is told too.
    """
    _reader.wants_no_log = True


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
        if record.levelno >= logging.WARNING:
            complain(record.getMessage())
        elif _reader.wants_no_log:
            _write("stderr", record.getMessage())
        else:
            say(record.getMessage())


def show_log() -> None:
    """Show what the package logs; other libraries stay with their own. A person reads, until a command knows better."""
    speak_to_program(False)
    _reader.wants_no_log = False
    logger = logging.getLogger("cupl_bench")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, Lines) for handler in logger.handlers):
        logger.addHandler(Lines())


WORDS = frozenset(
    ("dataset", "backbone", "precision", "prompts", "scorer", "kind", "data", "weights", "prompts file", "baseline")
)
"""Columns of text; the others are numbers and stand to the right."""
GROUPS = ("dataset", "backbone")
"""Columns that rows are grouped by on a terminal: what they say stands above the rows of each group."""
OF_GROUP = ("precision", "baseline", "data sets", "data", "weights", "images", "classes", "images to encode")
"""Columns that stand above the rows too, where they are the same for all rows of each group."""
UNKNOWN = ("", "?", "not looked for")
"""Cells that say nothing."""
LEAST = (
    "calibration error", "mean per class", "top-5", "over classes", "better on", "prompts to average", "classes", "run",
    "images", "data sets", "prompts file", "over data sets", "kind", "sd of seeds",
)  # fmt: skip
"""Columns that are left out where the terminal is too narrow, in this order."""
GAP = 2
NAME, FEWEST = 24, 8
"""Letters of a name that columns are left out for, and those that are left of it where nothing else helps."""


def show_table(rows: Sequence[Mapping[str, object]], title: str) -> None:
    """Show rows of one form that fit the terminal; as wide as they need to be where standard output is no terminal.

    Nothing is repeated: what all rows share is said in the title, and on a terminal what the rows of a data set share
    above them. Where the terminal is too narrow, the columns that tell least are left out and named below; then names
    are cut in their middle, and no word or number is broken.
    """
    if _reader.is_program or not rows:
        return
    from rich.console import Console
    from rich.text import Text

    table = {name: [str(row[name]) for row in rows] for name in rows[0]}
    same = [name for name in (*GROUPS, "weights", "images") if name in table and len(set(table[name])) == 1]
    shared = {name: table.pop(name)[0] for name in same}
    if said := [f"{name} {cell}" for name, cell in shared.items() if cell not in (*UNKNOWN, "here")]:
        title = f"{title}: {', '.join(said)}"
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
    left_out: list[str] = []
    above = [""] * len(rows)
    if console.is_terminal:
        above = _taken_above(table)
        left_out = _narrowed(table, console.width)
    widths = {name: max(_cells(name), *map(_cells, column)) for name, column in table.items()}
    head = _line({name: name for name in table}, widths)
    titles = _folded(title, console.width) if console.is_terminal else [title]
    lines = [*(Text(part, "bold") for part in titles), Text(head), Text("─" * _width(table), "dim")]
    for place, label in enumerate(above):
        if label and label != (above[place - 1] if place else ""):
            lines += [Text(part, "bold") for part in _folded(label, console.width)]
        lines.append(Text(_line({name: column[place] for name, column in table.items()}, widths)))
    with console.capture() as drawn:
        for line in lines:
            console.print(line)
    say(drawn.get().removesuffix("\n"))
    if left_out:
        for part in _folded(f"left out because the terminal is too narrow: {', '.join(left_out)}", console.width):
            say(part)


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines of so many columns; no word is broken, so that an address can be copied."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _taken_above(table: dict[str, list[str]]) -> list[str]:
    """Take what the rows of each group share out of the table; return it for each row, as a label."""
    count = len(next(iter(table.values())))
    groups = [name for name in GROUPS if name in table]
    keys = list(zip(*(table[name] for name in groups), strict=True)) if groups else [()] * count
    if len(set(keys)) * 2 > count:  # few rows share anything
        return [""] * count
    taken = [
        name for name in OF_GROUP
        if name in table and len(set(zip(keys, table[name], strict=True))) == len(set(keys)) and name not in groups
    ]  # fmt: skip
    columns = [[*table.pop(name)] for name in groups]
    facts = [
        [("" if cell in UNKNOWN else cell if name == "data" else f"{name} {cell}") for cell in table.pop(name)]
        for name in taken
    ]
    labels = []
    for place in range(count):
        more = ", ".join(fact[place] for fact in facts if fact[place])
        names = ", ".join(column[place] for column in columns)
        labels.append(f"{names}: {more}" if names and more else names or more)
    return labels


def _narrowed(table: dict[str, list[str]], width: int) -> list[str]:
    """Make the table fit: take columns out, which are returned, then cut names."""
    left_out = []
    others = [name for name in table if name not in WORDS and not name.endswith("[95%]")]
    for name in [*(name for name in table if name.endswith(" alone")), *LEAST, *reversed(others)]:
        if name in table and _width(table, NAME) > width:
            left_out.append(name)
            del table[name]
    while (over := _width(table) - width) > 0:
        widths = {name: max(map(_cells, table[name])) for name in table if name in WORDS}
        name = max(widths, key=lambda one: widths[one], default="")
        length = max(widths.get(name, 0) - over, FEWEST, _cells(name))
        if not name or widths[name] <= length:  # a terminal for which nothing is narrow enough
            break
        table[name] = [_cut(cell, length) for cell in table[name]]
    return left_out


def _cut(text: str, length: int) -> str:
    """Return a text without its middle, at most so many columns wide: names often differ at their ends.

    >>> _cut("descriptions_gpt4.json", 13)
    'descri…4.json'
    """
    if _cells(text) <= length:
        return text
    from rich.cells import set_cell_size

    tail = (length - 1) // 2
    return f"{set_cell_size(text, length - 1 - tail).rstrip()}…{set_cell_size(text[::-1], tail)[::-1].lstrip()}"


def _line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    parts = []
    for name, cell in cells.items():
        blanks = " " * (widths[name] - _cells(cell))
        parts.append(f"{cell}{blanks}" if name in WORDS else f"{blanks}{cell}")
    return (" " * GAP).join(parts).rstrip()


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def _width(table: Mapping[str, Sequence[str]], longest: int | None = None) -> int:
    """Return how many columns of a terminal the table takes, its gaps included; names have ``longest`` letters."""
    widths = {name: max(_cells(name), *map(_cells, cells)) for name, cells in table.items()}
    if longest is not None:
        widths |= {name: min(width, max(longest, _cells(name))) for name, width in widths.items() if name in WORDS}
    return sum(widths.values()) + GAP * (len(table) - 1)
