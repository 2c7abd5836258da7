"""Figures for papers and slides, as PDF, SVG and PNG: 7 points, the same bytes for the same runs.

`scene` says what is drawn and how large, `drawing` how; the other modules hold the figures. Nothing is drawn on a
display.
"""

import logging
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from cupl_bench.report.comparison import Comparison
from cupl_bench.report.figures.classes import classes, confusions
from cupl_bench.report.figures.curves import against, budget, scaling, seeds
from cupl_bench.report.figures.drawing import as_pdf, as_png, as_svg, font_files, style
from cupl_bench.report.figures.kept import KeptFigures
from cupl_bench.report.figures.ranks import rank_diagrams
from cupl_bench.report.figures.scene import SIZES, Choice, Drawn, Scene, scene_of
from cupl_bench.report.figures.strategies import strategies
from cupl_bench.report.program import state_of
from cupl_bench.report.shown import scored_names
from cupl_bench.store import remove

__all__ = ["KINDS", "Choice", "write_figures"]

log = logging.getLogger(__name__)


def ranks(scene: Scene) -> Iterator[Drawn]:
    """Draw the average ranks of each league over data sets, and which of them may be equal."""
    table = scene.comparison.standings.table
    if len(table):
        yield from rank_diagrams(table.assign(strategy=scored_names(table)), scene)


KINDS = {
    "strategies": strategies,
    "classes": classes,
    "confusions": confusions,
    "budget": budget,
    "seeds": seeds,
    "scaling": scaling,
    "against": against,
    "ranks": ranks,
}
"""Every kind of figure: the first word of its files, and what draws it."""
FORMATS = ("pdf", "svg", "png")
ENDINGS = tuple(f".{one}" for one in FORMATS)


def write_figures(comparison: Comparison, results_dir: Path, choice: Choice | None = None) -> list[Path]:
    """Draw a comparison into ``results_dir``/figures; return the files.

    What an earlier report drew goes, so that no figure shows runs of before; a user's own files stay.

    Args:
        comparison: of the runs.
        results_dir: where the records lie.
        choice: which figures, how wide, in which formats; None: all, a column wide, as PDF and PNG.

    Raises:
        ResultsError: they cannot be written, or the runs do not hold what is asked for.
    """
    choice = Choice() if choice is None else choice
    folder = results_dir / "figures"
    names: dict[str, list[str]] = {}
    scene = scene_of(comparison, results_dir, choice)
    with mpl.rc_context(style(_letters(comparison, scene.runs))), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # told once, by `style`
        fonts = [state_of(path) for path in font_files(mpl.rcParams["font.family"])]
        kept = KeptFigures(results_dir, [str(mpl.rcParams), fonts, SIZES[choice.width].dots_per_inch, choice.formats])
        for kind, draw in KINDS.items():
            if choice.kinds is not None and kind not in choice.kinds:
                continue
            for drawn in draw(scene):
                name = _file_name(drawn.words, set(names))
                names[name] = [f"{name}.{ending}" for ending in FORMATS if ending in choice.formats]
                kept.write(names[name], (drawn.draw, drawn.given), partial(_in_formats, drawn, choice))
    nothing = [kind for kind in choice.kinds or () if not any(name.startswith(f"{kind}_") for name in names)]
    if nothing:
        log.warning("figures=%s: these runs have nothing to draw there (docs/report.md says what each kind shows)",
                    ",".join(nothing))  # fmt: skip
    paths = [folder / name for files in names.values() for name in files]
    for path in folder.iterdir() if folder.is_dir() else ():  # what an earlier state of the records left
        if path.suffix in ENDINGS and path.name.split("_")[0] in KINDS and path not in paths:
            remove(path)
    kept.keep()
    return paths


def _in_formats(drawn: Drawn, choice: Choice) -> list[bytes]:
    """Return a figure in each format; that of points comes first, since it settles the layout of the others."""
    draw: dict[str, Callable[[Figure], bytes]] = {
        "pdf": as_pdf,
        "svg": as_svg,
        "png": lambda figure: as_png(figure, SIZES[choice.width].dots_per_inch),
    }
    return [draw[ending](drawn.figure) for ending in FORMATS if ending in choice.formats]


def _letters(comparison: Comparison, runs: pd.DataFrame) -> set[str]:
    """Return all letters of names."""
    names = [comparison.classes["class_name"], *(runs[name] for name in ("dataset", "backbone", "strategy"))]
    return set("".join(str(name) for column in names for name in column.unique()))


def _file_name(words: Sequence[str], taken: set[str]) -> str:
    """Return a name of plain letters; names that would be the same get numbers."""
    plain = [unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode() for word in words]
    name = "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.")[:40] or "unnamed" for word in plain)
    number = next(number for number in range(1, len(taken) + 2) if _numbered(name, number) not in taken)
    return _numbered(name, number)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
