"""Accuracy against a number: prompts of each class, seeds, backbones, or a number that a user gives each strategy."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cupl_bench.errors import ResultsError, first
from cupl_bench.report.figures.drawing import (
    below,
    cut,
    label_strategies,
    legend,
    legend_height,
    letters_of,
    look,
    needs_labels,
    reach,
    shortened,
)  # fmt: skip
from cupl_bench.report.figures.scene import ROW, Drawn, Scene, Sheet, in_percent, only, where
from cupl_bench.report.naming import prompts_settings
from cupl_bench.report.runs import Run

__all__ = ["against", "budget", "scaling", "seeds"]

log = logging.getLogger(__name__)

PLOT = 1.75
"""Inches of height of a plot, without what stands around it."""
TICKS = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve: its name, what gives its look, and a row per point: ``x``, ``mean``, ``low`` and ``high``."""

    name: str
    look: object
    points: pd.DataFrame


def _draw(sheet: Sheet, figure: Figure, curves: Sequence[Curve], labels: Sequence[str], *, bars: bool) -> Axes:
    """Draw curves with bands, or with ``bars`` where a point lies beside another's."""
    axes = figure.add_subplot()
    for label, curve in zip(labels, curves, strict=True):
        how = look(curve.look, sheet.places)
        x, (mean, low, high) = curve.points["x"], (in_percent(curve.points[name]) for name in ("mean", "low", "high"))
        if bars:
            axes.errorbar(x, mean, yerr=reach(mean, low, high), label=label, elinewidth=0.8, **how)
        else:
            axes.fill_between(x, low, high, color=how["color"], alpha=0.2, linewidth=0)
            axes.plot(x, mean, label=label, **how)
    return axes


def _name(sheet: Sheet, figure: Figure, axes: Axes, curves: Sequence[Curve], labels: Sequence[str]) -> None:
    """Name the curves: by a legend above, or each at its end where they are many."""
    if not needs_labels(labels):
        legend(sheet, figure, axes)
        return
    ends = [
        (float(curve.points["x"].iloc[-1]), 100 * float(curve.points["mean"].iloc[-1]), label,
         look(curve.look, sheet.places))
        for label, curve in zip(labels, curves, strict=True)
    ]  # fmt: skip
    axes.set_ylim(axes.get_ylim())
    label_strategies(axes, ends, _plot_height(labels))


def _plot_height(labels: Sequence[str]) -> float:
    return max(PLOT, ROW * len(labels)) if needs_labels(labels) else PLOT


def _height(sheet: Sheet, labels: Sequence[str]) -> float:
    """Return the height of a figure of curves with these names."""
    return _plot_height(labels) + 0.7 + (0 if needs_labels(labels) else legend_height(sheet, labels))


def _ticks(axes: Axes, values: Sequence[float]) -> None:
    """Write numbers on an axis, which is logarithmic where they go from one to eight times that or more."""
    spread = sorted(set(values))
    if spread[0] > 0 and spread[-1] / spread[0] >= 8:
        axes.set_xscale("log", base=2)
        kept = [spread[0]]
        for one in spread[1:]:  # no two closer than a twelfth of the axis
            if np.log(one / kept[-1]) > np.log(spread[-1] / spread[0]) / (TICKS + 4):
                kept.append(one)
        spread = kept
    elif len(spread) > TICKS:
        return
    axes.set_xticks(spread, [f"{one:,g}" for one in spread])
    axes.minorticks_off()


# Prompts of each class -----------------------------------------------------------------------------------------------


def budget(scene: Scene) -> Iterator[Drawn]:
    """Draw accuracy against the number of prompts of each class: mean and band, over draws or over seeds."""
    written = 0
    by = ["dataset", "backbone", "precision", "scorer"]
    if not _has_numbers_of_prompts(scene, by):
        return
    settings = {run.record.run_key: run for members in scene.comparison.groups.values() for run in members}
    for (dataset, backbone, precision, scorer), members in scene.runs.groupby(by, sort=False):
        curves = [*_measured(scene, members), *_of_budgets(members), *_of_a_setting(members, settings)]
        if not curves:
            continue
        written += 1
        if written > scene.choice.at_most:
            log.info(
                "figures   of numbers of prompts: the first %d pairs of data set and backbone", scene.choice.at_most
            )
            return
        base = members[members["run_key"] == members["baseline_run_key"].iloc[0]]
        level = (str(base["baseline"].iloc[0]), 100 * float(base["top1"].iloc[0])) if len(base) else None
        yield Drawn(
            words=("budget", str(dataset), str(backbone), *where(scene.runs, scorer, precision)),
            draw=_budget,
            given=(scene.sheet(curve.look for curve in curves), curves, level, dataset, backbone),
        )


def _has_numbers_of_prompts(scene: Scene, by: Sequence[str]) -> bool:
    """Return whether anything may be drawn against the number of prompts, without a look at each group."""
    runs = scene.runs
    named = runs[[*by, "prompts_name", "prompts"]].drop_duplicates()
    settings = named.duplicated([*by, "prompts_name"]).any()  # strategies of one name, but not the same
    return bool(settings or runs["budget"].notna().any() or (scene.results_dir / "curves").is_dir())


def _budget(
    sheet: Sheet, curves: Sequence[Curve], level: tuple[str, float] | None, dataset: str, backbone: str
) -> Figure:
    """Draw curves, and the accuracy of the baseline, ``level``, as a line under its name."""
    names = shortened([*(curve.name for curve in curves), *([] if level is None else level[:1])], sheet.letters(24))
    labels = names[: len(curves)]
    figure = sheet.figure(_height(sheet, names))
    axes = _draw(sheet, figure, curves, labels, bars=False)
    _ticks(axes, [float(x) for curve in curves for x in curve.points["x"]])
    if level is not None:
        axes.axhline(level[1], color="black", linewidth=0.9, linestyle=":", label=names[-1])
    axes.set_xlabel(f"prompts of each class\n{cut(dataset, sheet.letters(22))}, {cut(backbone, sheet.letters(22))}")
    axes.set_ylabel("top-1 accuracy, percent")
    _name(sheet, figure, axes, curves, labels)
    return figure


def _measured(scene: Scene, members: pd.DataFrame) -> Iterator[Curve]:
    """Yield the curves that `cupl-bench effects` has measured; the band goes from the least to the greatest draw."""
    for run in members[members["run_key"] != ""].to_dict("records"):
        path = scene.results_dir / "curves" / f"{run['run_key']}.parquet"
        if path.is_file():
            columns = {"num_prompts": "x", "top1_mean": "mean", "top1_low": "low", "top1_high": "high"}
            points = pd.read_parquet(path).rename(columns=columns)
            if len(points) > 1:
                yield Curve(name=f"{run['strategy']}, draws", look=run["look"], points=points)


def _of_budgets(members: pd.DataFrame) -> Iterator[Curve]:
    """Yield curves of runs with budgets, and of the run of all prompts at their end where there is one."""
    read = members[~members["of_seeds"].astype(bool)]
    several = read.groupby("prompts", sort=False)["aggregation"].nunique()
    for (prompts, aggregation), own in read.groupby(["prompts", "aggregation"], sort=False):
        drawn = own[own["budget"].notna()].sort_values("budget")
        if len(drawn) < 2:
            continue
        points = _points(drawn, drawn["budget"].astype(float))
        whole = own[own["budget"].isna()]
        at_end = _points(whole, whole["num_prompts"].astype(float) / whole["num_classes"].astype(float)).head(1)
        if len(at_end) and at_end["x"].iloc[0] >= points["x"].iloc[-1]:
            points = pd.concat([points[points["x"] < at_end["x"].iloc[0]], at_end])
        name = f"{prompts} ({aggregation})" if several[prompts] > 1 else str(prompts)
        yield Curve(name=name, look=drawn["look"].iloc[0], points=points)


def _of_a_setting(members: pd.DataFrame, runs: dict[str, Run]) -> Iterator[Curve]:
    """Yield curves of strategies that were asked with several values of one number, as of WaffleCLIP's descriptors."""
    read = members[~members["of_seeds"].astype(bool) & members["budget"].isna()]
    key_of = members["run_key"].where(members["run_key"] != "").bfill()  # below a mean stand its runs
    for name, own in read.groupby("prompts_name", sort=False):
        if own["prompts"].nunique() < 2:
            continue
        settings = [prompts_settings(runs[key_of[place]].record) or {} for place in own.index]
        keys = {key for one in settings for key in one}
        differing = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
        numbers = [one.get(differing[0]) for one in settings] if len(differing) == 1 else []
        if not numbers or not all(isinstance(one, int) and not isinstance(one, bool) for one in numbers):
            continue
        points = _points(own, own["num_prompts"].astype(float) / own["num_classes"].astype(float))
        yield Curve(name=str(name), look=own["look"].iloc[0], points=points.sort_values("x"))


def _points(rows: pd.DataFrame, x: "pd.Series[float]") -> pd.DataFrame:
    """Return points with two standard deviations over the seeds on both sides, where there are several."""
    mean, spread = rows["top1"].astype(float), 2 * rows["top1_sd"].astype(float).fillna(0.0)
    table = pd.DataFrame({"x": x, "mean": mean, "low": mean - spread, "high": mean + spread})
    return table.reset_index(drop=True)


# Seeds ---------------------------------------------------------------------------------------------------------------


def seeds(scene: Scene) -> Iterator[Drawn]:
    """Draw the spread of strategies over their seeds beside strategies that draw nothing: a dot for each run."""
    by = ["dataset", "backbone", "precision", "scorer"]
    if not scene.runs["num_seeds"].notna().any():
        return
    for (dataset, backbone, precision, scorer), members in scene.runs.groupby(by, sort=False):
        read = members[~members["of_seeds"].astype(bool)]
        if not read["num_seeds"].notna().any():
            continue
        of_mean = members["num_seeds"].notna().cumsum()  # the runs of a mean stand below it
        single = members["of_seeds"].astype(bool)
        own = [
            members.loc[(of_mean == of_mean[place]) & single, "top1"].tolist() if pd.notna(one["num_seeds"]) else None
            for place, one in read.iterrows()
        ]
        yield Drawn(
            words=("seeds", str(dataset), str(backbone), *where(scene.runs, scorer, precision)),
            draw=_seeds,
            given=(
                scene.sheet(read["look"]),
                only(read, ["look", "strategy", "top1", "top1_sd"]),
                own,
                dataset,
                backbone,
            ),
        )


def _seeds(
    sheet: Sheet, read: pd.DataFrame, seeds_of: Sequence[Sequence[float] | None], dataset: str, backbone: str
) -> Figure:
    """Draw strategies; ``seeds_of``: the accuracies of the seeds of each that has several."""
    figure = sheet.figure(0.82 + ROW * 1.2 * len(read))
    axes = figure.add_subplot()
    for row, (one, own) in enumerate(zip(read.to_dict("records"), seeds_of, strict=True)):
        how = look(one["look"], sheet.places)
        if own is not None:
            axes.plot(in_percent(own), [row] * len(own), linestyle="none", alpha=0.45, markersize=3,
                      marker="|", color=how["color"])  # fmt: skip
        wide = 0.0 if pd.isna(one["top1_sd"]) else 200 * float(one["top1_sd"])
        axes.errorbar(100 * float(one["top1"]), row, xerr=wide or None, linestyle="none", elinewidth=0.9, **how)
    axes.set_yticks(range(len(read)), shortened(read["strategy"].tolist(), sheet.letters(30)))
    axes.set_ylim(len(read) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    of = f"{cut(dataset, sheet.letters(22))}, {cut(backbone, sheet.letters(22))}"
    below(figure, "top-1 accuracy, percent: a stroke for each seed, and their", "mean with two standard deviations",
          of)  # fmt: skip
    return figure


# Backbones -----------------------------------------------------------------------------------------------------------


def scaling(scene: Scene) -> Iterator[Drawn]:
    """Draw accuracy over backbones, the weakest first, for each data set and for their mean."""
    read = scene.read[scene.read["scorer"] == "plain"]
    if read["precision"].nunique() > 1:
        read = read.assign(backbone=read["backbone"] + " " + read["precision"])
    found = [(str(name), own) for name, own in read.groupby("dataset", sort=False) if own["backbone"].nunique() > 1]
    if len(found) > 1:
        table = pd.concat(members for _, members in found).drop_duplicates(["dataset", "backbone", "strategy"])
        by = ["backbone", "look", "strategy"]
        means = table.groupby(by, sort=False)["top1"].agg(["mean", "count"]).reset_index()
        whole = means[means["count"] == len(found)].rename(columns={"mean": "top1"})
        if whole["backbone"].nunique() > 1:
            of = f"mean of {len(found)} data sets"
            yield _scaling(scene, whole, "mean", of)
    if len(found) > scene.choice.at_most:
        log.info(
            "figures   over backbones: the first %d of %d data sets, and their mean", scene.choice.at_most, len(found)
        )
    for dataset, members in found[: scene.choice.at_most]:
        yield _scaling(scene, members, dataset, dataset)


def _scaling(scene: Scene, members: pd.DataFrame, word: str, of: str) -> Drawn:
    columns = ["backbone", "look", "strategy", "top1", *({"top1_low", "top1_high"} & set(members))]
    given = (scene.sheet(members["look"]), only(members, sorted(columns)), of)
    return Drawn(words=("scaling", word), draw=_over_backbones, given=given)


def _over_backbones(sheet: Sheet, members: pd.DataFrame, of: str) -> Figure:
    backbones = list(members.groupby("backbone")["top1"].mean().sort_values(kind="stable").index)
    strategies = list(dict.fromkeys(zip(members["look"], members["strategy"], strict=True)))
    labels = shortened([strategy for _, strategy in strategies], sheet.letters(24))
    few = not needs_labels(labels)
    step = 0.06 if few else 0.0  # intervals of a few strategies stand side by side; those of many would hide each other
    curves = []
    for place, (kind, strategy) in enumerate(strategies):
        own = members[members["strategy"] == strategy].drop_duplicates("backbone")
        at = own["backbone"].map(backbones.index)
        own = own.loc[at.sort_values().index]
        low, high = ("top1_low", "top1_high") if "top1_low" in own and few else ("top1", "top1")
        x = own["backbone"].map(backbones.index) + step * (place - (len(strategies) - 1) / 2)
        points = pd.DataFrame({"x": x, "mean": own["top1"], "low": own[low], "high": own[high]}).astype(float)
        curves.append(Curve(name=strategy, look=kind, points=points))
    ticks = shortened(backbones, sheet.letters(20))
    turned = sum(map(letters_of, ticks)) > sheet.letters(40)
    figure = sheet.figure(_height(sheet, labels) + (0.35 if turned else 0.0))
    axes = _draw(sheet, figure, curves, labels, bars=True)
    axes.set_xticks(
        range(len(backbones)), ticks, rotation=30 if turned else 0,
        ha="right" if turned else "center", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_ylabel("top-1 accuracy, percent")
    below(figure, "backbones, the weakest first", cut(of, sheet.letters(40)))
    axes.grid(visible=False, axis="x")
    _name(sheet, figure, axes, curves, labels)
    return figure


# A number of the user's ----------------------------------------------------------------------------------------------


def against(scene: Scene) -> Iterator[Drawn]:
    """Draw accuracy against a number that the user gives for each strategy: LLM-prompts, size of a language model.

    Raises:
        ResultsError: a name is no strategy of the records, or none has two of them.
    """
    asked = scene.choice.against
    if not asked:
        return
    rows = _named(scene.read, asked)
    by = ["dataset", "backbone", "precision", "scorer"]
    lines = [(key, own.sort_values("x")) for key, own in rows.groupby(by, sort=False) if own["x"].nunique() > 1]
    if not lines:
        raise ResultsError("against: no data set and backbone has two of the strategies that it names.")
    several = [place for place in range(len(by)) if len({key[place] for key, _ in lines}) > 1]
    names = [", ".join(str(key[place]) for place in several) or str(key[0]) for key, _ in lines]
    curves = [
        Curve(name=name, look=name, points=pd.DataFrame(
            {"x": own["x"], "mean": own["top1"], "low": own["top1_low"], "high": own["top1_high"]}).astype(float)
        )
        for name, (_, own) in zip(names, lines, strict=True)
    ]  # fmt: skip
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    same = [str(lines[0][0][place]) for place in (0, 1) if place not in several]
    yield Drawn(
        words=("against", scene.choice.axis or "number"),
        draw=_against,
        given=(
            Sheet(size=scene.size, places=places), curves, rows["x"].tolist(), scene.choice.axis or "number given",
            ", ".join(same),
        ),
    )  # fmt: skip


def _against(sheet: Sheet, curves: Sequence[Curve], numbers: Sequence[float], axis: str, of: str) -> Figure:
    labels = shortened([curve.name for curve in curves], sheet.letters(24))
    figure = sheet.figure(_height(sheet, labels))
    axes = _draw(sheet, figure, curves, labels, bars=True)
    _ticks(axes, numbers)
    below(figure, cut(axis, sheet.letters(50)), cut(of, sheet.letters(50)))
    axes.set_ylabel("top-1 accuracy, percent")
    _name(sheet, figure, axes, curves, labels)
    return figure


def _named(read: pd.DataFrame, asked: Mapping[str, float]) -> pd.DataFrame:
    """Return the rows of named strategies with the number of each as ``x``.

    A name is that of the tables; or a shorter one, or that of a file of prompts, of a run that has all its prompts.
    """
    whole = read[read["budget"].isna()]
    files = whole["prompts_file"].map(lambda one: str(one).partition(" sha256:")[0])
    columns = (read["strategy"], whole["prompts"], whole["prompts_name"], files)
    numbers: dict[Any, float] = {}
    unknown = []
    for name, number in asked.items():
        places = next((found for column in columns if len(found := column.index[column == name])), ())
        numbers |= dict.fromkeys(places, float(number))
        unknown += [] if len(places) else [name]
    if unknown:
        raise ResultsError(
            f"against: {len(unknown)} of {len(asked)} names are no strategy and no file of prompts of the records,"
            f" first: {first(unknown)}. The strategies are {first(list(dict.fromkeys(read['strategy'])))}."
        )
    return read.loc[list(numbers)].assign(x=list(numbers.values()))
