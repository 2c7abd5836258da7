"""Letters, looks and files: what every figure is drawn with.

Strategies differ by colour (those of Okabe and Ito, which colour-blind readers can tell apart) and by the shape of
their markers. Names that are too long are cut so that no two become the same. Fonts are embedded as TrueType; a script
that runs from right to left is laid out by matplotlib (from 3.11 on, by libraqm).
"""

import io
import logging
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from scipy.optimize import isotonic_regression

from cupl_bench.report.figures.scene import ROW, Sheet

__all__ = [
    "GAIN", "LEVEL", "LOSS", "STYLE", "as_pdf", "as_png", "as_svg", "below", "cut", "families", "font_files",
    "label_strategies", "legend", "legend_height", "letters_of", "look", "needs_labels", "reach", "shortened", "style",
]  # fmt: skip

log = logging.getLogger(__name__)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "P", "v", "X", "*", "p", "<", "h", ">", "d")
"""Their number shares no divisor with that of the colours: 91 strategies differ, and as many more that are hollow."""
GAIN, LOSS, LEVEL = "#0072B2", "#D55E00", "#6e6e6e"
AVERAGE = 3.7
"""Points of a letter of 7 points, on average."""
LEGEND_AT_MOST = 6
"""Strategies that a legend names; of more, each has its name beside what is drawn of it."""
STYLE: dict[Any, Any] = {
    "font.size": 7, "axes.labelsize": 7, "axes.titlesize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "figure.labelsize": 7, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "lines.linewidth": 1.0, "lines.markersize": 4,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.5, "axes.axisbelow": True, "legend.frameon": False, "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0, "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path",
    "svg.hashsalt": "cupl-bench", "text.parse_math": False, "text.usetex": False, "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
}  # fmt: skip


# Letters -------------------------------------------------------------------------------------------------------------


def families(letters: set[str]) -> list[str]:
    """Return DejaVu Sans, which comes with matplotlib, and installed fonts for the letters that it lacks, if any."""
    found = ["DejaVu Sans"]
    missing = {ord(letter) for letter in letters if letter.isprintable()}
    missing -= _charmap()
    for name in sorted({entry.name for entry in fontManager.ttflist}):
        if not missing:
            break
        if name.startswith(("Last Resort", "cm", "STIX", "DejaVu")):
            continue
        if held := missing & set(get_font(findfont(FontProperties(family=[name]))).get_charmap()):
            found.append(name)
            missing -= held
    if missing:
        log.warning(
            "%d letters of the names are in no installed font: figures show boxes for them, first: %s. Install a font"
            " that has them, such as Noto Sans of that script, and report again.",
            len(missing), " ".join(f"U+{letter:04X}" for letter in sorted(missing)[:3]),
        )  # fmt: skip
    return found


def font_files(names: Sequence[str]) -> list[Path]:
    """Return the file of each font."""
    return [Path(findfont(FontProperties(family=[name]))) for name in names]  # alone, a name would be a pattern


def cut(name: object, length: int = 26) -> str:
    """Return a name on one line, cut at its end to the room of so many letters of average width.

    >>> cut("a  long name", 8)
    'a long…'
    """
    text = " ".join(str(name).split())
    return text if letters_of(text) <= length else f"{_head(text, length - letters_of('…'))}…"


def shortened(names: Sequence[object], length: int = 26) -> list[str]:
    """Return names cut to a length, at the end or else in the middle, so that names that differ stay different."""
    texts = [" ".join(str(name).split()) for name in names]
    out = {text: cut(text, length) for text in texts}
    for tail in (length // 2, length - 2):
        for text in _alike(out):
            if letters_of(text) > length:
                end = _head(text[::-1], tail - 1)[::-1]
                out[text] = f"{_head(text, length - letters_of(f'…{end}'))}…{end}"
    for number, text in enumerate(_alike(out), start=1):
        ending = f"… {number}"
        out[text] = f"{_head(text, length - letters_of(ending))}{ending}"
    return [out[text] for text in texts]


def letters_of(text: str) -> float:
    """Return how many letters of average width a text is as wide as."""
    return sum(map(_letter, text))


@cache
def _letter(letter: str) -> float:
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    if unicodedata.east_asian_width(letter) in "WF":
        return 7 / AVERAGE
    if ord(letter) not in _charmap():
        return float(not unicodedata.combining(letter))
    font.set_size(7, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance / 65536 / AVERAGE)


@cache
def _charmap() -> frozenset[int]:
    """Return the letters that DejaVu Sans has."""
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def _head(text: str, room: float) -> str:
    """Return as much of the beginning of a text as has room."""
    end, left = 0, room
    while end < len(text) and (left := left - _letter(text[end])) >= 0:
        end += 1
    return text[:end]


def _alike(shown: dict[str, str]) -> list[str]:
    """Return the names that look like another."""
    counts = Counter(shown.values())
    return [text for text, one in shown.items() if counts[one] > 1]


# Looks ---------------------------------------------------------------------------------------------------------------


def look(kind: object, places: Mapping[Any, int]) -> dict[str, Any]:
    """Return the colour and marker of a strategy; no other of the first 182 has them."""
    place = places[kind]
    colour = COLOURS[place % len(COLOURS)]
    hollow = place // (len(COLOURS) * len(MARKERS)) % 2
    found = {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
    return found | {"markerfacecolor": "white"} if hollow else found


def reach(
    middle: Float64[np.ndarray, " k"], low: Float64[np.ndarray, " k"], high: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, "2 k"]:
    """Return the lengths of error bars, none negative: rounding may put a mean just outside its interval."""
    lengths: Float64[np.ndarray, "2 k"] = np.maximum(np.stack([middle - low, high - middle]), 0.0)
    return lengths


def needs_labels(labels: Sequence[str]) -> bool:
    """Return whether these are too many for a legend."""
    return len(labels) > LEGEND_AT_MOST


def legend_height(sheet: Sheet, labels: Sequence[str]) -> float:
    """Return how many inches a legend needs beyond its first two rows, for which the figures have room."""
    return ROW * max(0, _legend_size(sheet, labels)[1] - 2) if len(labels) > 1 else 0.0


def _legend_size(sheet: Sheet, labels: Sequence[str]) -> tuple[int, int]:
    """Return the columns and the rows of a legend."""
    columns = max(1, min(len(labels), int(sheet.letters(60) / (max(map(letters_of, labels), default=1) + 5))))
    return columns, -(-len(labels) // columns)


def legend(sheet: Sheet, figure: Figure, axes: Axes) -> None:
    """Put the legend of a figure above it."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper center", ncols=_legend_size(sheet, labels)[0])


def below(figure: Figure, *lines: str) -> None:
    """Write what the horizontal axis says below the figure: names of rows may leave little room below the axes."""
    figure.supxlabel("\n".join(line for line in lines if line))


def label_strategies(axes: Axes, ends: Sequence[tuple[float, float, str, dict[str, Any]]], height: float) -> None:
    """Write the name of each curve to the right of it, with its marker; names that would touch move apart.

    Args:
        axes: where the curves are drawn; their limits are settled.
        ends: of each curve its last point (x, y), its name, its look.
        height: inches of the axes.
    """
    low, high = axes.get_ylim()
    order = sorted(range(len(ends)), key=lambda place: ends[place][1])
    gap = min(ROW * 0.92 / height, 1 / max(1, len(ends) - 1))
    wanted = np.array([(ends[place][1] - low) / (high - low) for place in order]) - gap * np.arange(len(ends))
    apart = np.clip(isotonic_regression(wanted).x, 0.0, 1 - gap * (len(ends) - 1)) + gap * np.arange(len(ends))
    for place, level in zip(order, apart, strict=True):
        x, y, name, how = ends[place]
        axes.annotate(
            "", xy=(x, y), xytext=(1.04, level), textcoords="axes fraction", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": how["color"], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        axes.plot([1.04], [level], transform=axes.transAxes, clip_on=False, linestyle="none", **how)
        axes.annotate(
            name, xy=(1.04, level), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points", va="center",
            annotation_clip=False,
        )  # fmt: skip


# Files ---------------------------------------------------------------------------------------------------------------


def as_pdf(figure: Figure) -> bytes:
    """Return the figure as PDF, without a date or a version in it; what comes after it has the same layout."""
    buffer = io.BytesIO()
    absent = {"CreationDate": None, "Producer": None, "Creator": None}
    # The canvas itself is asked: Figure.savefig would draw everything twice.
    FigureCanvasPdf(figure).print_pdf(buffer, metadata=absent)  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    return buffer.getvalue()


def as_svg(figure: Figure) -> bytes:
    """Return the figure as SVG, its letters as outlines, without a date or a version in it."""
    buffer = io.BytesIO()
    figure.dpi = 72
    absent = {"Date": None, "Creator": None}
    FigureCanvasSVG(figure).print_svg(buffer, metadata=absent)  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    return buffer.getvalue()


def as_png(figure: Figure, dots_per_inch: int) -> bytes:
    """Return the figure as PNG, without a version in it."""
    buffer = io.BytesIO()
    figure.dpi = dots_per_inch
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def style(letters: set[str]) -> dict[Any, Any]:
    """Return the settings of matplotlib that all figures share, with fonts for the letters of all names."""
    return STYLE | {"font.family": families(letters)}
