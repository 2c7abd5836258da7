"""Strategies side by side: accuracies on one data set, or differences to the baseline on several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cupl_bench.report.figures.drawing import (
    below,
    cut,
    legend,
    legend_height,
    letters_of,
    look,
    needs_labels,
    reach,
    shortened,
)
from cupl_bench.report.figures.scene import LETTER, ROW, Drawn, Scene, Sheet, in_percent, only, where
from cupl_bench.report.shown import baseline_names

__all__ = ["minus_words", "strategies"]

OF_ACCURACIES = ("look", "strategy", "dataset", "backbone", "top1", "top1_low", "top1_high")
OF_DIFFERENCES = (
    "look", "strategy", "dataset", "backbone", "baseline", "difference", "difference_low", "difference_high",
)  # fmt: skip
"""Columns that are drawn of differences."""


def strategies(scene: Scene) -> Iterator[Drawn]:
    """Draw for each backbone accuracies with intervals or, over several data sets, differences to the baseline."""
    read = scene.read
    for (backbone, precision, scorer), members in read.groupby(["backbone", "precision", "scorer"], sort=False):
        words = ("strategies", str(backbone), *where(read, scorer, precision))
        compared = members[members["difference"].notna()]
        if members["dataset"].nunique() == 1:
            rows = only(members, OF_ACCURACIES)
            yield Drawn(words=words, draw=_accuracies, given=(scene.sheet(rows["look"]), rows))
        elif len(compared):
            many = needs_labels(list(compared["strategy"].unique()))
            rows = only(compared, OF_DIFFERENCES)
            sheet = scene.sheet(rows["look"])
            of_a_page, draw = (_panels_of_a_page, _panels) if many else (_rows_of_a_page, _differences)
            for taken in _pages(list(dict.fromkeys(rows["dataset"])), of_a_page(sheet, rows)):
                yield Drawn(words=words, draw=draw, given=(sheet, rows, taken))


def minus_words(names: Sequence[str], length: int) -> str:
    """Return what is subtracted, for the label of an axis.

    >>> minus_words(["simple"], 20), minus_words(["simple", "name_only"], 20)
    ('minus simple', 'minus the baseline')
    """
    return f"minus {cut(names[0], length)}" if len(names) == 1 else "minus the baseline"


def _label(sheet: Sheet, members: pd.DataFrame) -> str:
    """Return the words below an axis of differences."""
    names = minus_words(baseline_names(members), sheet.letters(20))
    backbone = cut(members.iloc[0]["backbone"], sheet.letters(44))
    return f"top-1 accuracy {names}, percentage points\n{backbone}"


def _accuracies(sheet: Sheet, members: pd.DataFrame) -> Figure:
    figure = sheet.figure(0.67 + ROW * 1.15 * len(members))
    axes = figure.add_subplot()
    for row, one in enumerate(members.to_dict("records")):
        middle, low, high = (in_percent([one[name]]) for name in ("top1", "top1_low", "top1_high"))
        axes.errorbar(
            middle, [row], xerr=reach(middle, low, high), linestyle="none", elinewidth=0.9, capsize=2, capthick=0.9,
            **look(one["look"], sheet.places),
        )  # fmt: skip
    _rows(axes, shortened(members["strategy"].tolist(), sheet.letters(30)))
    first = members.iloc[0]
    of = f"{cut(first['dataset'], sheet.letters(22))}, {cut(first['backbone'], sheet.letters(22))}"
    below(figure, "top-1 accuracy, percent", of)
    return figure


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Give each row its name; the first stands at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


# A few strategies: together on each data set, named by a legend ------------------------------------------------------


def _height_of_rows(sheet: Sheet, members: pd.DataFrame) -> tuple[float, float]:
    """Return the inches of what stands around the rows of all data sets, and of each row."""
    found = dict.fromkeys(zip(members["look"], members["strategy"], strict=True))
    labels = shortened([strategy for _, strategy in found], sheet.letters(26))
    return 0.82 + legend_height(sheet, labels), max(ROW * 1.1, 0.08 * len(found) + 0.05)


def _rows_of_a_page(sheet: Sheet, members: pd.DataFrame) -> int:
    """Return how many data sets a figure has room for."""
    frame, of_a_set = _height_of_rows(sheet, members)
    return int((sheet.size.tallest - frame) / of_a_set)


def _differences(sheet: Sheet, members: pd.DataFrame, taken: Sequence[str]) -> Figure:
    """Return the difference of each strategy on each of the data sets ``taken``."""
    found = list(dict.fromkeys(zip(members["look"], members["strategy"], strict=True)))
    labels = shortened([strategy for _, strategy in found], sheet.letters(26))
    frame, of_a_set = _height_of_rows(sheet, members)
    figure = sheet.figure(min(sheet.size.tallest, frame + of_a_set * len(taken)))
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=0.8)
    step = 0.8 / len(found)
    for place, ((kind, strategy), label) in enumerate(zip(found, labels, strict=True)):
        own = members[(members["strategy"] == strategy) & members["dataset"].isin(taken)]
        rows = [taken.index(name) + step * (place - (len(found) - 1) / 2) for name in own["dataset"]]
        if len(own):
            _bars(axes, own, rows, label=label, **look(kind, sheet.places))
    axes.set_yticks(range(len(taken)), shortened(taken, sheet.letters(18)))
    axes.set_ylim(len(taken) - 0.5, -0.5)
    for between in range(1, len(taken)):
        axes.axhline(between - 0.5, color="#dddddd", linewidth=0.5)
    axes.grid(visible=False, axis="y")
    below(figure, _label(sheet, members))
    legend(sheet, figure, axes)
    return figure


def _bars(axes: Axes, own: pd.DataFrame, rows: Sequence[float], **how: Any) -> None:
    middle, low, high = (in_percent(own[name]) for name in ("difference", "difference_low", "difference_high"))
    axes.errorbar(
        middle, rows, xerr=reach(middle, low, high), linestyle="none", markersize=3.2, elinewidth=0.8, **how,
    )  # fmt: skip


def _pages(data_sets: Sequence[str], of_a_page: int) -> Iterator[list[str]]:
    """Yield the data sets of each page; pages hold about as many."""
    pages = -(-len(data_sets) // max(1, of_a_page))
    step = -(-len(data_sets) // pages)
    for start in range(0, len(data_sets), step):
        yield list(data_sets[start : start + step])


# Many strategies: a panel for each data set, a row for each strategy -------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """How panels lie: strategies in ``order`` with their ``labels``, inches of the ``width`` of these, ``columns``."""

    order: Sequence[tuple[Any, str]]
    labels: Sequence[str]
    width: float
    columns: int

    @property
    def panel(self) -> float:
        """Inches of the height of a panel."""
        return ROW * len(self.order) + 0.25

    @classmethod
    def of(cls, sheet: Sheet, members: pd.DataFrame) -> "_Grid":
        by_gain = members.groupby(["look", "strategy"], sort=False)["difference"].mean().sort_values(ascending=False)
        labels = shortened([strategy for _, strategy in by_gain.index], sheet.letters(26))
        sets = members["dataset"].nunique()
        width = LETTER * max(map(letters_of, labels))
        fitting = min(sets, max(1, int((sheet.size.width - width) / 0.95)))
        columns = -(-sets // -(-sets // fitting))  # rows as full as each other: seven are four and three
        return cls(order=list(by_gain.index), labels=labels, width=width, columns=columns)


AROUND = 0.55
"""Inches of what stands above and below all panels."""


def _panels_of_a_page(sheet: Sheet, members: pd.DataFrame) -> int:
    """Return how many data sets a figure has room for."""
    grid = _Grid.of(sheet, members)
    return max(1, int((sheet.size.tallest - AROUND) / grid.panel)) * grid.columns


def _panels(sheet: Sheet, members: pd.DataFrame, taken: Sequence[str]) -> Figure:
    """Return a panel for each data set, in each a named row for each strategy, the best on average first."""
    lying = _Grid.of(sheet, members)
    columns = lying.columns
    room = int(0.74 * (sheet.size.width - lying.width) / columns / LETTER)
    ends = members[["difference_low", "difference_high"]].astype(float)
    least, most = (100 * float(one) for one in (min(ends.min().min(), 0.0), max(ends.max().max(), 0.0)))
    if np.isnan(least + most):  # where no interval holds
        least, most = (100 * float(one) for one in (members["difference"].min(), members["difference"].max()))
    edge = 0.05 * (most - least) or 1.0
    rows = -(-len(taken) // columns)
    figure = sheet.figure(AROUND + lying.panel * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(taken):
            axes.set_visible(False)
            continue
        axes.axvline(0, color="black", linewidth=0.8)
        for row, (kind, strategy) in enumerate(lying.order):
            own = members[(members["dataset"] == taken[place]) & (members["strategy"] == strategy)]
            if len(own):
                _bars(axes, own, [row] * len(own), label=lying.labels[row], **look(kind, sheet.places))
        _rows(axes, lying.labels)
        axes.grid(visible=True, axis="y", linewidth=0.3)
        axes.set_title(cut(taken[place], room), loc="left")
        axes.set_xlim(least - edge, most + edge)
        axes.tick_params(labelbottom=place + columns >= len(taken))
    below(figure, _label(sheet, members))
    return figure
