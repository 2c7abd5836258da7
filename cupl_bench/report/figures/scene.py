"""Say what is drawn, and how large: the runs under their names, a look for each strategy, the size of a figure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.figure import Figure

from cupl_bench.report.comparison import Comparison
from cupl_bench.report.shown import scored_names

__all__ = ["LETTER", "ROW", "SIZES", "Choice", "Drawn", "Scene", "Sheet", "in_percent", "only", "scene_of", "where"]

ROW = 0.145
"""Inches of a line of text with its gap."""

LETTER = 0.052
"""Inches of a letter of average width."""

Width = Literal["column", "page", "slide"]
Format = Literal["pdf", "svg", "png"]


class Size(NamedTuple):
    """Inches, and dots per inch of a PNG. ``tallest``: what has more rows continues in the next figure."""

    width: float
    tallest: float
    dots_per_inch: int


SIZES: Mapping[str, Size] = {
    "column": Size(3.3, 9.0, 300),
    "page": Size(6.9, 9.0, 300),
    "slide": Size(5.6, 3.15, 343),  # 7 points are 17 where it fills a slide of 13.3 inches, with 1,920 dots
}
"""A column of a two-column paper, both of its columns, and a slide."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The figures that are asked for.

    ``kinds``: None for all that the runs allow. ``pair``: the strategies whose classes and confusions are compared, the
    first minus the second; None: of each data set and backbone the strategy that differs most, minus the baseline.
    ``against``: a number of each strategy, to draw accuracy against it, and ``axis``: what the number is.
    ``at_most``: figures of each kind, those with the greatest changes: a sweep may hold hundreds of pairs of runs.
    """

    kinds: tuple[str, ...] | None = None
    width: Width = "column"
    formats: tuple[Format, ...] = ("pdf", "png")
    pair: tuple[str, str] | None = None
    against: Mapping[str, float] = field(default_factory=dict)
    axis: str = ""
    at_most: int = 8


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure, drawn when it is asked for, and the words of its name, the first of which is its kind.

    ``draw`` makes it from what is ``given``, and from nothing else: a figure whose files are there and were made from
    the same is not drawn again (`report.figures.kept`).
    """

    words: tuple[str, ...]
    draw: Callable[..., Figure]
    given: tuple[Any, ...]

    @cached_property
    def figure(self) -> Figure:
        """The figure itself."""
        return self.draw(*self.given)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What a figure is drawn on: its size, and the numbers (``places``) that give strategies their looks."""

    size: Size
    places: Mapping[Any, int]

    def figure(self, height: float) -> Figure:
        """Return an empty figure of some inches of height."""
        return Figure(figsize=(self.size.width, height))

    def letters(self, count: int) -> int:
        """Return how many letters a name may have for which a column has room for ``count``."""
        return int(count * min(2.0, self.size.width / SIZES["column"].width))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that figures are made from; each is drawn from its own rows on a `Sheet`.

    ``runs``: the rows of the comparison with ``dataset`` and ``backbone`` as tables show them, ``strategy`` (the name)
    and ``look`` (what gives colour and marker). ``places``: a number for each look.
    """

    comparison: Comparison
    runs: pd.DataFrame
    places: Mapping[Any, int]
    results_dir: Path
    choice: Choice

    @property
    def size(self) -> Size:
        """The size of a figure."""
        return SIZES[self.choice.width]

    @property
    def read(self) -> pd.DataFrame:
        """The rows that tables show: several seeds of a strategy are one."""
        return self.runs[~self.runs["of_seeds"].astype(bool)]

    def sheet(self, looks: Iterable[object] = ()) -> Sheet:
        """Return what a figure is drawn on that shows these looks: a look that it lacks does not change it."""
        return Sheet(size=self.size, places={one: self.places[one] for one in dict.fromkeys(looks)})


def only(rows: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return the columns that are drawn, without the places of the rows in the table that they are from."""
    return rows[list(columns)].reset_index(drop=True)


def scene_of(comparison: Comparison, results_dir: Path, choice: Choice) -> Scene:
    """Return the scene of a comparison."""
    table = comparison.runs
    runs = table.assign(
        dataset=table["dataset_shown"],
        backbone=table["backbone_shown"],
        strategy=scored_names(table),
        look=[f"{row['prompts']} {row['aggregation']} {row['budget']}" for row in table.to_dict("records")],
    )
    places = {look: place for place, look in enumerate(dict.fromkeys(runs["look"]))}
    return Scene(comparison=comparison, runs=runs, places=places, results_dir=results_dir, choice=choice)


def where(runs: pd.DataFrame, scorer: object, precision: object) -> tuple[str, ...]:
    """Return the words that a name of a figure needs beside its backbone: precision and scorer where they matter."""
    words = (str(precision),) if runs["precision"].nunique() > 1 else ()
    return words if scorer == "plain" else (*words, str(scorer))


def in_percent(values: Any) -> Float64[np.ndarray, " k"]:
    """Return fractions in percent, or differences in percentage points.

    >>> in_percent([0.25]).tolist()
    [25.0]
    """
    points: Float64[np.ndarray, " k"] = 100 * np.asarray(values, dtype=np.float64)
    return points
