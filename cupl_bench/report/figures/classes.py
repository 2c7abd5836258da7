"""What changes between two strategies: the accuracy of each class, and the confusions."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.report.answers import class_facts, read_answers, same_images
from cupl_bench.report.classes import moved_confusions, per_class
from cupl_bench.report.figures.drawing import GAIN, LEVEL, LOSS, below, cut, legend, reach, shortened
from cupl_bench.report.figures.scene import ROW, Drawn, Scene, Sheet, in_percent, only
from cupl_bench.report.runs import Run, same_features
from cupl_bench.report.significance import ALPHA, change_intervals

__all__ = ["Changed", "changed_pairs", "classes", "confusions"]

log = logging.getLogger(__name__)

ALL_NAMED = 40
ENDS_NAMED = 8
DRAWN = ("label", "class_name", "images", "gained", "lost", "change", "p_holm")
"""What is drawn of classes."""
MOVED = ("class_name", "predicted_name", "images", "baseline_images", "change")
"""What is drawn of confusions."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Two strategies on one data set with one backbone: ``name`` minus ``baseline``.

    ``classes``: a row per class with images: ``label``, ``class_name``, ``images``, ``gained``, ``lost``, ``change``,
    ``p_holm``. ``moved``: the confusions that changed, those that shrank most first, as `report.classes` has them.
    """

    dataset: str
    backbone: str
    name: str
    baseline: str
    classes: pd.DataFrame
    moved: pd.DataFrame

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a file's name, without its kind."""
        return self.dataset, self.backbone, self.name


def changed_pairs(scene: Scene) -> list[Changed]:
    """Return what is compared class by class: the chosen pair, or what differs most from the baseline.

    Raises:
        ResultsError: no data set has runs of both strategies of the pair.
    """
    found = _most_changed(scene) if scene.choice.pair is None else _of_pair(scene, *scene.choice.pair)
    if len(found) > scene.choice.at_most:
        log.info(
            "figures   of classes and confusions: %d of %d pairs of data set and backbone, those with the greatest"
            " differences", scene.choice.at_most, len(found),
        )  # fmt: skip
    return found[: scene.choice.at_most]


def _most_changed(scene: Scene) -> list[Changed]:
    """Return for each data set and backbone the run that differs most from the baseline, greatest difference first."""
    runs = scene.runs
    single = runs[(runs["run_key"] != "") & runs["difference"].notna()]
    size = single["difference"].astype(float).abs()
    ordered = single.assign(size=size).sort_values("size", ascending=False, kind="stable")
    of_run = {
        name: dict(iter(table.groupby("run_key", sort=False))) if len(table) else {}
        for name, table in (("classes", scene.comparison.classes), ("moved", scene.comparison.moved))
    }
    return [
        Changed(
            dataset=row["dataset"],
            backbone=row["backbone"],
            name=row["strategy"],
            baseline=row["baseline"],
            classes=_with_images(of_run["classes"][row["run_key"]]),
            moved=of_run["moved"].get(row["run_key"], pd.DataFrame()),
        )
        for row in ordered.drop_duplicates(["dataset", "backbone", "precision"]).to_dict("records")
    ]


def _of_pair(scene: Scene, name: str, baseline: str) -> list[Changed]:
    """Return the first strategy minus the second, wherever both were run on the same images."""
    arenas: dict[object, dict[str, Run]] = {}
    for group, members in scene.comparison.groups.items():
        for run in members:
            of_scorer = "" if group.scorer == "plain" else f", {run.scorer}"
            arenas.setdefault(same_features(group), {}).setdefault(f"{run.prompts}{of_scorer}", run)
    known = list(dict.fromkeys(one for runs in arenas.values() for one in runs))
    for one in (name, baseline):
        if one not in known:
            raise ResultsError(
                f"pair={name},{baseline}: {one!r} is not a strategy of the records, which hold {first(known)}."
                f"{nearest(one, known)}"
            )
    found = []
    for runs in arenas.values():
        if name not in runs or baseline not in runs:
            continue
        ours, theirs = (read_answers(scene.results_dir, runs[one]) for one in (name, baseline))
        if not same_images(ours, theirs):
            log.warning("pair=%s,%s: runs %s and %s left out other images: not compared", name, baseline,
                        ours.record.run_key, theirs.record.run_key)  # fmt: skip
            continue
        facts = class_facts(scene.results_dir, [ours.record, theirs.record])
        size = abs(float(ours.hits.mean() - theirs.hits.mean()))
        changed = Changed(
            dataset=ours.run.dataset,
            backbone=ours.run.backbone,
            name=name,
            baseline=baseline,
            classes=_with_images(per_class(ours, theirs, facts)),
            moved=moved_confusions(ours, theirs, facts),
        )
        found.append((size, changed))
    if not found:
        raise ResultsError(f"pair={name},{baseline}: no data set and backbone has runs of both on the same images.")
    return [changed for _, changed in sorted(found, key=lambda one: -one[0])]


def _with_images(classes: pd.DataFrame) -> pd.DataFrame:
    return classes[classes["images"] > 0]


def classes(scene: Scene) -> Iterator[Drawn]:
    """Yield the change of each class, sorted; of many classes the ends are named."""
    for changed in changed_pairs(scene):
        names = (changed.dataset, changed.name, changed.baseline)
        yield Drawn(
            words=("classes", *changed.words), draw=_change, given=(scene.sheet(), only(changed.classes, DRAWN), *names)
        )


def _change(sheet: Sheet, table: pd.DataFrame, dataset: str, strategy: str, baseline: str) -> Figure:
    table = table.sort_values(["change", "label"], ascending=[False, True])
    counts = (table[name].to_numpy().astype(np.int64) for name in ("gained", "lost", "images"))
    low, high = change_intervals(*counts)
    table = table.assign(change_low=low, change_high=high)
    label = f"{cut(strategy, sheet.letters(19))} minus {cut(baseline, sheet.letters(15))}"
    if len(table) <= ALL_NAMED:
        figure = sheet.figure(0.62 + ROW * len(table))
        _forest(sheet, figure.add_subplot(), table, label)
        return figure
    figure = sheet.figure(1.85 + ROW * (2 * ENDS_NAMED + 1))
    above, ends_of = figure.subplots(2, 1, height_ratios=[1.0, ROW * 2 * ENDS_NAMED + 0.3])
    rank = np.arange(1, len(table) + 1)
    change = in_percent(table["change"])
    above.axhline(0, color="black", linewidth=0.8)
    ends = in_percent(table["change_low"]), in_percent(table["change_high"])
    above.vlines(rank, *ends, color="#cccccc", linewidth=0.35)
    above.plot(rank, change, color=GAIN, linewidth=1.2)
    sure = (table["p_holm"] < ALPHA).to_numpy()
    above.plot(rank[sure], change[sure], "o", color=LOSS, markersize=2.2, label="significant")
    if sure.any():
        above.legend(loc="upper right", borderpad=0.1)
    above.set_xlabel(f"{len(table):,} classes of {cut(dataset, sheet.letters(16))}, sorted")
    above.set_ylabel("change, points")
    above.set_xlim(0, len(table) + 1)
    _forest(sheet, ends_of, pd.concat([table.head(ENDS_NAMED), table.tail(ENDS_NAMED)]), label)
    return figure


def _forest(sheet: Sheet, axes: Axes, table: pd.DataFrame, label: str) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    for row, one in enumerate(table.to_dict("records")):
        colour, marker = {1.0: (GAIN, "^"), -1.0: (LOSS, "v")}.get(float(np.sign(one["change"])), (LEVEL, "o"))
        middle, low, high = (in_percent([one[name]]) for name in ("change", "change_low", "change_high"))
        axes.errorbar(
            middle, [row], xerr=reach(middle, low, high), color=colour, fmt=marker,
            markersize=3.6, elinewidth=0.8, markerfacecolor=colour if one["p_holm"] < ALPHA else "white",
        )  # fmt: skip
    axes.set_yticks(range(len(table)), shortened(table["class_name"].tolist(), sheet.letters(24)))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    tested = bool(table["p_holm"].notna().any())
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - it was made by a figure
    below(figure, f"{label}, percentage points", "filled: significant" if tested else "")


def confusions(scene: Scene) -> Iterator[Drawn]:
    """Yield how many images of a class are taken for another, before and after: what moved most."""
    for changed in changed_pairs(scene):
        moved = changed.moved
        if not len(moved):
            continue
        mended, made = moved[moved["change"] < 0].head(ENDS_NAMED), moved[moved["change"] > 0].head(ENDS_NAMED)
        table = only(pd.concat([mended, made.iloc[::-1]]), MOVED)
        names = (changed.dataset, changed.name, changed.baseline)
        yield Drawn(words=("confusions", *changed.words), draw=_confusions, given=(scene.sheet(), table, *names))


def _confusions(sheet: Sheet, table: pd.DataFrame, dataset: str, strategy: str, baseline: str) -> Figure:
    figure = sheet.figure(0.82 + ROW * len(table))
    axes = figure.add_subplot()
    rows = np.arange(len(table))
    names = shortened([baseline, strategy], sheet.letters(26))
    before, after = table["baseline_images"].to_numpy(), table["images"].to_numpy()
    colours = [GAIN if one < 0 else LOSS for one in table["change"]]
    axes.hlines(rows, before, after, color=colours, linewidth=1.4)
    axes.plot(before, rows, "o", color="black", markerfacecolor="white", label=names[0], markersize=3.6)
    axes.scatter(after, rows, color=colours, marker="D", s=13, zorder=3)
    axes.plot([], [], "D", color=LEVEL, label=names[1], markersize=3.6)
    length = sheet.letters(16)
    own, other = (shortened(table[name].tolist(), length) for name in ("class_name", "predicted_name"))
    axes.set_yticks(rows, [f"{one} → {another}" for one, another in zip(own, other, strict=True)])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(left=min(0.0, -0.02 * float(max(before.max(), after.max()))))
    axes.grid(visible=False, axis="y")
    below(figure, "images taken for another class", cut(dataset, sheet.letters(44)))
    legend(sheet, figure, axes)
    return figure
