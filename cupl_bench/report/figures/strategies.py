"""Strategies side by side: accuracies on one data set, or differences to the baseline on several."""

from collections.abc import Iterator, Sequence
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
from cupl_bench.report.figures.scene import LETTER, ROW, Drawn, Scene, in_percent, where
from cupl_bench.report.shown import baseline_names

__all__ = ["minus_words", "strategies"]


def strategies(scene: Scene) -> Iterator[Drawn]:
    """Draw for each backbone accuracies with intervals or, over several data sets, differences to the baseline."""
    read = scene.read
    for (backbone, precision, scorer), members in read.groupby(["backbone", "precision", "scorer"], sort=False):
        words = ("strategies", str(backbone), *where(read, scorer, precision))
        compared = members[members["difference"].notna()]
        if members["dataset"].nunique() == 1:
            yield Drawn(words=words, figure=_accuracies(scene, members))
        elif len(compared):
            many = needs_labels(list(compared["strategy"].unique()))
            for figure in (_panels if many else _differences)(scene, compared):
                yield Drawn(words=words, figure=figure)


def minus_words(names: Sequence[str], length: int) -> str:
    """Return what is subtracted, for the label of an axis.

    >>> minus_words(["simple"], 20), minus_words(["simple", "name_only"], 20)
    ('minus simple', 'minus the baseline')
    """
    return f"minus {cut(names[0], length)}" if len(names) == 1 else "minus the baseline"


def _label(scene: Scene, members: pd.DataFrame) -> str:
    """Return the words below an axis of differences."""
    names = minus_words(baseline_names(members), scene.letters(20))
    backbone = cut(members.iloc[0]["backbone"], scene.letters(44))
    return f"top-1 accuracy {names}, percentage points\n{backbone}"


def _accuracies(scene: Scene, members: pd.DataFrame) -> Figure:
    figure = scene.figure(0.67 + ROW * 1.15 * len(members))
    axes = figure.add_subplot()
    for row, one in enumerate(members.to_dict("records")):
        middle, low, high = (in_percent([one[name]]) for name in ("top1", "top1_low", "top1_high"))
        axes.errorbar(
            middle, [row], xerr=reach(middle, low, high), linestyle="none", elinewidth=0.9, capsize=2, capthick=0.9,
            **look(one["look"], scene.places),
        )  # fmt: skip
    _rows(axes, shortened(members["strategy"].tolist(), scene.letters(30)))
    first = members.iloc[0]
    of = f"{cut(first['dataset'], scene.letters(22))}, {cut(first['backbone'], scene.letters(22))}"
    below(figure, "top-1 accuracy, percent", of)
    return figure


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Give each row its name; the first stands at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


# A few strategies: together on each data set, named by a legend ------------------------------------------------------


def _differences(scene: Scene, members: pd.DataFrame) -> Iterator[Figure]:
    """Yield the difference of each strategy on each data set; as many figures as pages are needed for the data sets."""
    data_sets = list(dict.fromkeys(members["dataset"]))
    found = list(dict.fromkeys(zip(members["look"], members["strategy"], strict=True)))
    labels = shortened([strategy for _, strategy in found], scene.letters(26))
    of_a_set = max(ROW * 1.1, 0.08 * len(found) + 0.05)
    frame = 0.82 + legend_height(scene, labels)
    for taken in _pages(data_sets, int((scene.size.tallest - frame) / of_a_set)):
        figure = scene.figure(min(scene.size.tallest, frame + of_a_set * len(taken)))
        axes = figure.add_subplot()
        axes.axvline(0, color="black", linewidth=0.8)
        step = 0.8 / len(found)
        for place, ((kind, strategy), label) in enumerate(zip(found, labels, strict=True)):
            own = members[(members["strategy"] == strategy) & members["dataset"].isin(taken)]
            rows = [taken.index(name) + step * (place - (len(found) - 1) / 2) for name in own["dataset"]]
            if len(own):
                _bars(axes, own, rows, label=label, **look(kind, scene.places))
        axes.set_yticks(range(len(taken)), shortened(taken, scene.letters(18)))
        axes.set_ylim(len(taken) - 0.5, -0.5)
        for between in range(1, len(taken)):
            axes.axhline(between - 0.5, color="#dddddd", linewidth=0.5)
        axes.grid(visible=False, axis="y")
        below(figure, _label(scene, members))
        legend(scene, figure, axes)
        yield figure


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


def _panels(scene: Scene, members: pd.DataFrame) -> Iterator[Figure]:
    """Yield a panel for each data set, in each a named row for each strategy, the best on average first."""
    by_gain = members.groupby(["look", "strategy"], sort=False)["difference"].mean().sort_values(ascending=False)
    order = list(by_gain.index)
    labels = shortened([strategy for _, strategy in order], scene.letters(26))
    data_sets = list(dict.fromkeys(members["dataset"]))
    width = LETTER * max(map(letters_of, labels))
    fitting = min(len(data_sets), max(1, int((scene.size.width - width) / 0.95)))
    columns = -(
        -len(data_sets) // -(-len(data_sets) // fitting)
    )  # rows as full as each other: seven are four and three
    room = int(0.74 * (scene.size.width - width) / columns / LETTER)
    panel, frame = ROW * len(order) + 0.25, 0.55
    lines = max(1, int((scene.size.tallest - frame) / panel))
    ends = members[["difference_low", "difference_high"]].astype(float)
    least, most = (100 * float(one) for one in (min(ends.min().min(), 0.0), max(ends.max().max(), 0.0)))
    if np.isnan(least + most):  # where no interval holds
        least, most = (100 * float(one) for one in (members["difference"].min(), members["difference"].max()))
    edge = 0.05 * (most - least) or 1.0
    for taken in _pages(data_sets, lines * columns):
        rows = -(-len(taken) // columns)
        figure = scene.figure(frame + panel * rows)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(taken):
                axes.set_visible(False)
                continue
            axes.axvline(0, color="black", linewidth=0.8)
            for row, (kind, strategy) in enumerate(order):
                own = members[(members["dataset"] == taken[place]) & (members["strategy"] == strategy)]
                if len(own):
                    _bars(axes, own, [row] * len(own), label=labels[row], **look(kind, scene.places))
            _rows(axes, labels)
            axes.grid(visible=True, axis="y", linewidth=0.3)
            axes.set_title(cut(taken[place], room), loc="left")
            axes.set_xlim(least - edge, most + edge)
            axes.tick_params(labelbottom=place + columns >= len(taken))
        below(figure, _label(scene, members))
        yield figure
