"""The critical-difference diagram: average ranks over data sets, and which of them may be equal.

Source: Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006), figure 1.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cupl_bench.report.figures.drawing import letters_of, look, shortened
from cupl_bench.report.figures.scene import LETTER, ROW, SIZES, Drawn, Scene, Sheet, Size, where
from cupl_bench.report.significance import ALPHA

__all__ = ["critical_difference", "groups_of", "rank_diagrams"]

IN_A_COLUMN = 10
"""Strategies whose names a column has room for on both sides; the diagram of more is as wide as a page."""
BAR = 0.06
"""Inches between two bars."""


def critical_difference(
    ranks: Mapping[str, float],
    difference: float,
    *,
    datasets: int,
    friedman_p: float = 0.0,
    places: Mapping[Any, int] | None = None,
    size: Size = SIZES["column"],
) -> Figure:
    """Return the diagram of average ranks; a bar joins strategies whose ranks differ by less than ``difference``.

    The best rank stands on the left, with the better half of the names; the other half is named on the right.

    Args:
        ranks: of each strategy, 1 for the best on every data set.
        difference: the critical difference.
        datasets: how many data sets the ranks are averaged over.
        friedman_p: of Friedman's test; from 0.05 on no two strategies can be told apart, and one bar joins all.
        places: a number for each strategy, which decides its look; None: their order here.
        size: of the figure.
    """
    places = {name: place for place, name in enumerate(ranks)} if places is None else places
    size = SIZES["page"] if len(ranks) > IN_A_COLUMN and size.width < SIZES["page"].width else size
    ordered = sorted(ranks, key=lambda name: ranks[name])
    labels = dict(zip(ordered, shortened(ordered, int((0.35 * size.width - 0.24) / LETTER) + 4), strict=True))
    differs = friedman_p < ALPHA
    bars = groups_of([ranks[name] for name in ordered], difference if differs else math.inf)
    half = -(-len(ordered) // 2)
    top = 0.62  # what stands above the axis: the critical difference and the numbers of the ranks
    under = 0.1 + BAR * len(bars) + 0.06
    height = top + under + ROW * half + 0.05
    figure = Figure(figsize=(size.width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, size.width)
    axes.set_ylim(height, 0)  # inches from the top
    margin = LETTER * max(map(letters_of, labels.values())) + 0.24
    best, worst = math.floor(ranks[ordered[0]]), max(math.ceil(ranks[ordered[-1]]), 2)

    def at(rank: float) -> float:
        return float(margin + (size.width - 2 * margin) * (rank - best) / (worst - best))

    line: dict[str, Any] = {"color": "black", "linewidth": 0.8, "solid_capstyle": "butt"}
    axes.plot([at(best), at(worst)], [top, top], **line)
    step = math.ceil(0.25 / (at(1) - at(0)))  # numbers that do not touch
    for rank in range(best, worst + 1, step):
        axes.plot([at(rank)] * 2, [top - 0.05, top], **line)
        axes.text(at(rank), top - 0.07, str(rank), ha="center", va="bottom")
    words = f"average rank over {datasets} data sets, 1: best; "
    words += f"critical difference {difference:.2f}" if differs else f"no difference (Friedman, p {friedman_p:.2f})"
    axes.text(size.width / 2, 0.16, words, ha="center", va="bottom")
    if differs:
        wide = at(difference) - at(0)
        left = (size.width - wide) / 2
        for x in (left, left + wide):
            axes.plot([x, x], [0.2, 0.28], **line)
        axes.plot([left, left + wide], [0.24, 0.24], **line)
    for row, (first, last) in enumerate(bars):
        y = top + 0.1 + BAR * row
        axes.plot([at(ranks[ordered[first]]) - 0.03, at(ranks[ordered[last]]) + 0.03], [y, y],
                  color="black", linewidth=2.2, solid_capstyle="butt")  # fmt: skip
    for place, name in enumerate(ordered):
        how = look(name, places)
        on_left = place < half
        row = place if on_left else len(ordered) - 1 - place
        y = top + under + ROW * (row + 0.5)
        edge = margin - 0.1 if on_left else size.width - margin + 0.1
        axes.plot([at(ranks[name])] * 2 + [edge], [top, y, y], color=how["color"], linewidth=0.7)
        axes.plot([edge], [y], linestyle="none", **how)
        away, side = (-0.06, "right") if on_left else (0.06, "left")
        axes.text(edge + away, y, labels[name], ha=side, va="center")
    return figure


def groups_of(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Return the first and last place of each largest group of sorted ranks within a critical difference.

    >>> groups_of([1.0, 1.5, 3.0], difference=1.6)
    [(0, 1), (1, 2)]
    """
    values = np.asarray(ranks)
    found: list[tuple[int, int]] = []
    for place in range(len(values)):
        last = int(np.flatnonzero(values - values[place] < difference)[-1])
        if last > place and (not found or last > found[-1][1]):
            found.append((place, last))
    return found


def rank_diagrams(table: pd.DataFrame, scene: Scene) -> Iterator[Drawn]:
    """Yield the diagram of each league that has a critical difference.

    Args:
        table: a row for each strategy, with ``league``, ``backbone_shown``, ``precision``, ``kind``, ``strategy``,
            ``average_rank``, ``num_datasets``, ``critical_difference``, ``friedman_p``.
        scene: says the size, and the looks of strategies.
    """
    looks = dict(zip(scene.runs["strategy"], scene.runs["look"], strict=True))
    for _, rows in table.groupby("league", sort=False):
        one = rows.iloc[0]
        if pd.isna(one["critical_difference"]):
            continue
        names = list(rows["strategy"])
        how = [looks.get(name) for name in names]
        known = None not in how
        yield Drawn(
            words=("ranks", str(one["backbone_shown"]), *where(table, "plain", one["precision"]), str(one["kind"])),
            draw=_ranks,
            given=(
                scene.sheet(how if known else ()),
                dict(zip(names, rows["average_rank"].astype(float), strict=True)),
                float(one["critical_difference"]),
                int(one["num_datasets"]),
                float(one["friedman_p"]),
                dict(zip(names, how, strict=True)) if known else None,
            ),
        )


def _ranks(
    sheet: Sheet, ranks: Mapping[str, float], difference: float, datasets: int, friedman_p: float,
    looks: Mapping[str, str] | None,
) -> Figure:  # fmt: skip
    places = None if looks is None else {name: sheet.places[look_of] for name, look_of in looks.items()}
    return critical_difference(
        ranks, difference, datasets=datasets, friedman_p=friedman_p, places=places, size=sheet.size
    )
