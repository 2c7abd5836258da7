"""Tables in LaTeX that fit a paper of two columns: captions that explain, breaks where a page ends."""

import re
from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

__all__ = ["NEEDS", "latex_tables"]

WIDTH = 496.0
"""Points of both columns together in the usual paper of two columns."""
LETTER = {"footnotesize": 4.5, "scriptsize": 4.1}
"""Points of a letter, on average, by size."""
GAP = 6.0
"""Points between two columns (twice ``tabcolsep``)."""
LINES = 45
"""Rows of a page; what has more continues in the next table."""
LEAST = ("calibration error", "over classes", "mean per class", "top-5", "images")
"""Columns of a wide table that are left out first; captions and comments name them."""
MINUS = re.compile(r"(?<=[\[ ])-(?=\d)")
"""The hyphen of a negative number, which LaTeX would print as one."""
DAGGER = "\N{DAGGER}"
NEEDS = "% \\usepackage{booktabs,graphicx} in the preamble."
OTHER_SCRIPTS = "% Names hold letters that pdflatex lacks: compile with xelatex or lualatex, and a font that has them."


def latex_tables(
    table: pd.DataFrame,
    caption: str,
    label: str,
    words: Sequence[str],
    bold: pd.DataFrame | None = None,
) -> str:
    """Return a table as ``table*`` environments with booktabs, as many as pages are needed.

    Column heads are turned where the table is too wide otherwise; if it still is, letters are smaller, then columns
    that tell least are left out, which a comment names, and then the other columns continue in further tables.

    Args:
        table: texts and numbers.
        caption: what its numbers and marks mean; not escaped yet.
        label: for references, of plain letters.
        words: the columns of text, which stand to the left; the others are numbers.
        bold: which cells are bold.
    """
    left_out = []
    kept = table.copy()
    size = "footnotesize"
    turned = _longer_than_cells(kept, words) if _width(kept, size) > WIDTH else []
    if _width(kept, size, turned) > WIDTH:
        size = "scriptsize"
    for name in LEAST:
        if name in kept and _width(kept, size, turned) > WIDTH:
            kept = kept.drop(columns=name)
            left_out.append(name)
    parts = [NEEDS]
    if any(ord(letter) > 0x24F and letter not in "\u2019\u2026\u2020\u2192" for letter in _letters(kept)):
        parts.append(OTHER_SCRIPTS)
    if left_out:
        parts.append(f"% Left out because the table is too wide: {', '.join(left_out)}.")
    step = -(-len(kept) // -(-max(1, len(kept)) // LINES)) or 1
    pieces = [
        kept.iloc[start : start + step][columns]
        for columns in _blocks(kept, words, size, turned)
        for start in range(0, max(1, len(kept)), step)
    ]
    for number, piece in enumerate(pieces):
        body = _tabular(piece, words, None if bold is None else bold.loc[piece.index], turned)
        lines = [
            "\\begin{table*}[t]",
            "\\centering",
            *(["\\addtocounter{table}{-1}"] if number else []),
            f"\\caption{{{'Continued.' if number else _escaped(caption)}}}",
            *([] if number else [f"\\label{{tab:{label}}}"]),
            f"\\{size}\\setlength{{\\tabcolsep}}{{{GAP / 2:g}pt}}",
            body.strip(),
            "\\end{table*}",
        ]
        parts.append("\n".join(lines))
    return "\n".join(parts) + "\n"


def _width(table: pd.DataFrame, size: str, turned: Sequence[str] = ()) -> float:
    """Return about how many points a table takes; a head that is turned takes three letters."""
    letters = [
        max([3 if name in turned else len(str(name)), *(len(str(cell)) for cell in table[name])]) for name in table
    ]
    return sum(letters) * LETTER[size] + GAP * len(letters)


def _blocks(table: pd.DataFrame, words: Sequence[str], size: str, turned: Sequence[str]) -> list[list[str]]:
    """Return the columns of each table: those of text in all, of the others as many as fit."""
    of_rows = [name for name in table if name in words]
    blocks = [list(of_rows)]
    for name in table:
        if name in of_rows:
            continue
        if len(blocks[-1]) > len(of_rows) and _width(table[[*blocks[-1], name]], size, turned) > WIDTH:
            blocks.append(list(of_rows))
        blocks[-1].append(name)
    if len(blocks) == 1:  # as they stand
        return [list(table)]
    return blocks


def _longer_than_cells(table: pd.DataFrame, words: Sequence[str]) -> list[str]:
    """Return the columns of numbers whose head is wider than what stands below it."""
    longest = {str(name): max((len(str(cell)) for cell in table[name]), default=0) for name in table}
    return [name for name, count in longest.items() if name not in words and len(name) > max(count, 3)]


def _letters(table: pd.DataFrame) -> set[str]:
    return set("".join([*map(str, table), *(str(cell) for name in table for cell in table[name])]))


def _tabular(rows: pd.DataFrame, words: Sequence[str], bold: pd.DataFrame | None, turned: Sequence[str]) -> str:
    style = rows.style.hide(axis="index").format(escape="latex")
    heads = {_escaped(name): f"\\rotatebox{{90}}{{{_escaped(name)}}}" for name in turned}
    style = style.format_index(lambda name: heads.get(name, name), escape="latex", axis="columns")
    if bold is not None:
        style = style.apply(
            lambda _: (
                bold.reindex(columns=rows.columns, fill_value=False)
                .map(lambda one: "textbf: --rwrap;" if one else "")
                .to_numpy()
            ),
            axis=None,
        )
    places = "".join("l" if name in words else "r" for name in rows.columns)
    return _marked(str(style.to_latex(hrules=True, column_format=places)))


@lru_cache(maxsize=4096)
def _escaped(text: str) -> str:
    """Return a text as LaTeX prints it; heads of columns are asked for again and again."""
    escaped = pd.DataFrame({"text": [text]}).style.hide(axis="index").hide(axis="columns").format(escape="latex")
    (line,) = [line for line in escaped.to_latex().splitlines() if line.endswith("\\\\")]
    return _marked(line.removesuffix("\\\\").strip())


def _marked(text: str) -> str:
    return MINUS.sub("$-$", text).replace(DAGGER, "\\dag{}")
