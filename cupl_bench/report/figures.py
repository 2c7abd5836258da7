"""Figures for papers, as PDF and PNG: a column wide (3.3 inches), 7 points, the same bytes for the same runs.

Strategies differ by colour (those of Okabe and Ito, which colour-blind readers can tell apart) or by the shape of their
markers. Names that are too long are cut so that no two become the same. Fonts are embedded as TrueType.
Nothing is drawn on a display.
"""

import io
import logging
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from scipy import stats

from cupl_bench.errors import short
from cupl_bench.report.comparison import Comparison, baseline_names, minus, scored_names
from cupl_bench.report.significance import ALPHA
from cupl_bench.store import write_atomically

__all__ = ["AT_MOST", "change_intervals", "write_figures"]

log = logging.getLogger(__name__)

WIDTH = 3.3
DOTS_PER_INCH = 300
ROW = 0.145
"""Inches of a line of text with its gap."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "P", "v", "X", "*", "p", "<", "h", ">", "d")
"""Their number shares no divisor with that of the colours: 91 strategies differ, and as many more that are hollow."""
TALLEST = 9.0
"""Inches: what a page holds. Of more data sets there are several figures."""
GAIN, LOSS, LEVEL = "#0072B2", "#D55E00", "#6e6e6e"
AT_MOST = 8
"""Figures of each kind, those with the greatest changes: a sweep may hold hundreds of pairs of runs."""
ALL_NAMED = 40
ENDS_NAMED = 8
KINDS = ("strategies", "classes", "confusions", "budget", "scaling")
STYLE: dict[Any, Any] = {
    "font.size": 7, "axes.labelsize": 7, "axes.titlesize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "lines.linewidth": 1.0, "lines.markersize": 4,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.5, "axes.axisbelow": True, "legend.frameon": False, "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0, "pdf.fonttype": 42, "ps.fonttype": 42, "text.parse_math": False,
    "text.usetex": False, "axes.unicode_minus": True, "figure.constrained_layout.use": True,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure and the words of its name, the first of which is its kind."""

    words: tuple[str, ...]
    figure: Figure


def write_figures(comparison: Comparison, results_dir: Path) -> list[Path]:
    """Draw a comparison into ``results_dir``/figures; return the files.

    Raises:
        ResultsError: they cannot be written.
    """
    folder = results_dir / "figures"
    paths: list[Path] = []
    runs, places = named_runs(comparison)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # told once, by _families
        mpl.rcParams["font.family"] = _families(_texts(comparison, runs))
        for draw in (_strategies, _classes, _confusions, _budget, _scaling):
            for drawn in draw(comparison, runs, places, results_dir):
                name = _file_name(drawn.words, {path.stem for path in paths})
                for ending, content in (("pdf", _as_pdf(drawn.figure)), ("png", _as_png(drawn.figure))):
                    path = folder / f"{name}.{ending}"
                    write_atomically(path, content)
                    paths.append(path)
    for path in folder.iterdir() if folder.is_dir() else ():  # what an earlier state of the records left
        if path.suffix in (".pdf", ".png") and path.name.split("_")[0] in KINDS and path not in paths:
            path.unlink(missing_ok=True)
    return paths


def named_runs(comparison: Comparison) -> tuple[pd.DataFrame, "Places"]:
    """Return the rows of a comparison under their shown names, with their ``strategy``, and a place for each look."""
    table = comparison.runs
    runs = table.assign(
        dataset=table["dataset_shown"],
        backbone=table["backbone_shown"],
        strategy=scored_names(table),
        look=[f"{row['prompts']} {row['aggregation']} {row['budget']}" for row in table.to_dict("records")],
    )
    return runs, {look: place for place, look in enumerate(dict.fromkeys(runs["look"]))}


def change_intervals(
    gained: Int[np.ndarray, " k"], lost: Int[np.ndarray, " k"], images: Int[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return the 95% interval of each paired difference of two proportions; made for the few images of a class.

    Source: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data", Journal of Educational and Behavioral Statistics 37 (2012): Wald's interval with one image added to
    each of the discordant cells.
    """
    count = images + 2.0
    up, down = (gained + 1) / count, (lost + 1) / count
    reach = stats.norm.ppf(1 - ALPHA / 2) * np.sqrt((up + down - (up - down) ** 2) / count)
    return np.maximum(up - down - reach, -1.0), np.minimum(up - down + reach, 1.0)


# Letters and files ---------------------------------------------------------------------------------------------------


def _texts(comparison: Comparison, runs: pd.DataFrame) -> set[str]:
    """Return all letters of names."""
    names = [comparison.classes["class_name"], *(runs[name] for name in ("dataset", "backbone", "strategy"))]
    return set("".join(str(name) for column in names for name in column.unique()))


def _families(letters: set[str]) -> list[str]:
    """Return DejaVu Sans, which comes with matplotlib, and installed fonts for the letters that it lacks, if any."""
    families = ["DejaVu Sans"]
    missing = {ord(letter) for letter in letters if letter.isprintable()}
    missing -= set(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
    known = {entry.name: entry.fname for entry in sorted(fontManager.ttflist, key=lambda entry: entry.fname)}
    for name, path in sorted(known.items()):
        if not missing:
            break
        if name.startswith(("Last Resort", "cm", "STIX", "DejaVu")) or path.endswith(".ttc"):
            continue
        if held := missing & set(get_font(path).get_charmap()):
            families.append(name)
            missing -= held
    if missing:
        log.warning(
            "%d letters of the names are in no installed font: figures show boxes for them, first: %s",
            len(missing), " ".join(f"U+{letter:04X}" for letter in sorted(missing)[:3]),
        )  # fmt: skip
    return families


def _file_name(words: Sequence[str], taken: set[str]) -> str:
    """Return a name of plain letters; names that would be the same get numbers."""
    plain = [unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode() for word in words]
    name = "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-.")[:40] or "unnamed" for word in plain)
    number = next(number for number in range(1, len(taken) + 2) if _numbered(name, number) not in taken)
    return _numbered(name, number)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _as_pdf(figure: Figure) -> bytes:
    """Return the figure as PDF, without a date or a version in it; what comes after it has the same layout."""
    buffer = io.BytesIO()
    absent = {"CreationDate": None, "Producer": None, "Creator": None}
    # The canvas itself is asked: Figure.savefig would draw everything twice.
    FigureCanvasPdf(figure).print_pdf(buffer, metadata=absent)  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    return buffer.getvalue()


def _as_png(figure: Figure) -> bytes:
    """Return the figure as PNG, without a version in it."""
    buffer = io.BytesIO()
    figure.dpi = DOTS_PER_INCH
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _short(name: object, length: int = 26) -> str:
    return short(" ".join(str(name).split()), length, "…")


def _shortened(names: Sequence[object], length: int = 26) -> list[str]:
    """Return names cut to a length, at the end or else in the middle, so that names that differ stay different."""
    texts = [" ".join(str(name).split()) for name in names]
    out = {text: _short(text, length) for text in texts}
    for tail in (length // 2, length - 2):
        for text in _alike(out):
            if len(text) > length:
                out[text] = f"{text[: length - 1 - tail]}…{text[-tail:]}"
    for number, text in enumerate(_alike(out), start=1):
        ending = f"… {number}"
        out[text] = f"{text[: length - len(ending)]}{ending}"
    return [out[text] for text in texts]


def _alike(shown: dict[str, str]) -> list[str]:
    """Return the names that look like another."""
    counts = Counter(shown.values())
    return [text for text, cut in shown.items() if counts[cut] > 1]


def _points(values: Any) -> Float64[np.ndarray, " k"]:
    points: Float64[np.ndarray, " k"] = 100 * np.asarray(values, dtype=np.float64)
    return points


def _look(kind: object, places: "Places") -> dict[str, Any]:
    """Return the colour and marker of a strategy; no other of the first 182 has them."""
    place = places[kind]
    colour = COLOURS[place % len(COLOURS)]
    hollow = place // (len(COLOURS) * len(MARKERS)) % 2
    look = {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
    return look | {"markerfacecolor": "white"} if hollow else look


def _legend_size(labels: Sequence[str]) -> tuple[int, int]:
    """Return the columns and the rows of a legend."""
    columns = max(1, min(len(labels), int(62 / (max(map(len, labels), default=1) + 5))))
    return columns, -(-len(labels) // columns)


def _legend_height(labels: Sequence[str]) -> float:
    """Return how many inches a legend needs beyond its first two rows, for which the figures have room."""
    return ROW * max(0, _legend_size(labels)[1] - 2) if len(labels) > 1 else 0.0


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper center", ncols=_legend_size(labels)[0])


# The figures ---------------------------------------------------------------------------------------------------------

Places = dict[Any, int]


def _strategies(comparison: Comparison, runs: pd.DataFrame, places: Places, results_dir: Path) -> Iterator[Drawn]:
    """Draw for each backbone accuracies with intervals or, over several data sets, differences to the baseline."""
    del comparison, results_dir
    read = runs[~runs["of_seeds"].astype(bool)]
    for (backbone, precision, scorer), members in read.groupby(["backbone", "precision", "scorer"], sort=False):
        words = ("strategies", str(backbone), *([str(precision)] if read["precision"].nunique() > 1 else []))
        words += () if scorer == "plain" else (str(scorer),)
        if members["dataset"].nunique() == 1:
            yield Drawn(words=words, figure=_accuracies(members, places))
        elif members["difference"].notna().any():
            for figure in _differences(members[members["difference"].notna()], places):
                yield Drawn(words=words, figure=figure)


def _accuracies(members: pd.DataFrame, places: Places) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.55 + ROW * 1.15 * len(members)))
    axes = figure.add_subplot()
    for row, one in enumerate(members.to_dict("records")):
        _dot(axes, one["top1"], one["top1_low"], one["top1_high"], row, _look(one["look"], places))
    axes.set_yticks(range(len(members)), _shortened(members["strategy"].tolist()))
    axes.set_ylim(len(members) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    first = members.iloc[0]
    axes.set_xlabel(f"top-1 in percent: {_short(first['dataset'], 18)}, {_short(first['backbone'], 18)}")
    return figure


def _differences(members: pd.DataFrame, places: Places) -> Iterator[Figure]:
    """Yield the difference of each strategy on each data set; as many figures as pages are needed for the data sets."""
    data_sets = list(dict.fromkeys(members["dataset"]))
    strategies = list(dict.fromkeys(zip(members["look"], members["strategy"], strict=True)))
    labels = _shortened([strategy for _, strategy in strategies])
    of_a_set = max(ROW * 1.1, 0.08 * len(strategies) + 0.05)
    frame = 0.7 + _legend_height(labels)
    of_a_page = max(1, int((TALLEST - frame) / of_a_set))
    pages = -(-len(data_sets) // of_a_page)
    of_a_page = -(-len(data_sets) // pages)  # pages of the same height
    for start in range(0, len(data_sets), of_a_page):
        taken = data_sets[start : start + of_a_page]
        shown = members[members["dataset"].isin(taken)]
        figure = Figure(figsize=(WIDTH, min(TALLEST, frame + of_a_set * len(taken))))
        _draw_differences(figure, shown, taken, list(zip(strategies, labels, strict=True)), places)
        yield figure


def _draw_differences(
    figure: Figure,
    members: pd.DataFrame,
    data_sets: Sequence[str],
    strategies: Sequence[tuple[tuple[str, str], str]],
    places: Places,
) -> None:
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=0.8)
    step = 0.8 / len(strategies)
    for place, ((kind, strategy), label) in enumerate(strategies):
        own = members[members["strategy"] == strategy]
        rows = [data_sets.index(name) + step * (place - (len(strategies) - 1) / 2) for name in own["dataset"]]
        middle, low, high = (_points(own[name]) for name in ("difference", "difference_low", "difference_high"))
        if len(own):
            axes.errorbar(
                middle, rows, xerr=_reach(middle, low, high), linestyle="none", label=label, markersize=3.2,
                elinewidth=0.8, **_look(kind, places),
            )  # fmt: skip
    axes.set_yticks(range(len(data_sets)), _shortened(data_sets, 18))
    axes.set_ylim(len(data_sets) - 0.5, -0.5)
    if len(data_sets) > 1:
        for between in range(1, len(data_sets)):
            axes.axhline(between - 0.5, color="#dddddd", linewidth=0.5)
    axes.grid(visible=False, axis="y")
    baselines = minus(baseline_names(members))
    axes.set_xlabel(f"top-1 {_short(baselines, 24)}, in points: {_short(members.iloc[0]['backbone'], 22)}")
    _legend(figure, axes)


def _reach(
    middle: Float64[np.ndarray, " k"], low: Float64[np.ndarray, " k"], high: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, "2 k"]:
    """Return the lengths of error bars, none negative: rounding may put a mean just outside its interval."""
    reach: Float64[np.ndarray, "2 k"] = np.maximum(np.stack([middle - low, high - middle]), 0.0)
    return reach


def _dot(axes: Axes, value: float, low: float, high: float, row: int, look: dict[str, Any]) -> None:
    middle, least, most = (_points([one]) for one in (value, low, high))
    axes.errorbar(
        middle, [row], xerr=_reach(middle, least, most), linestyle="none", elinewidth=0.9, capsize=2, capthick=0.9,
        **look,
    )  # fmt: skip


def _most_changed(comparison: Comparison, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each data set and backbone the run that differs most from the baseline, greatest difference first."""
    single = runs[(runs["run_key"] != "") & runs["difference"].notna()]
    if not len(single):
        return []
    ordered = single.assign(size=single["difference"].astype(float).abs()).sort_values(
        "size", ascending=False, kind="stable"
    )
    found = ordered.drop_duplicates(["dataset", "backbone", "precision"])
    if len(found) > AT_MOST:
        log.info(
            "figures   of classes and confusions: %d of %d pairs of data set and backbone, those with the greatest"
            " differences", AT_MOST, len(found),
        )  # fmt: skip
    del comparison
    return [{str(name): value for name, value in row.items()} for row in found.head(AT_MOST).to_dict("records")]


def _classes(comparison: Comparison, runs: pd.DataFrame, places: Places, results_dir: Path) -> Iterator[Drawn]:
    """Yield the change of each class against the baseline, sorted; of many classes the ends are named."""
    del places, results_dir
    by_run = dict(iter(comparison.classes.groupby("run_key", sort=False)))
    for run in _most_changed(comparison, runs):
        table = by_run[run["run_key"]]
        table = table[table["images"] > 0].sort_values(["change", "label"], ascending=[False, True])
        low, high = change_intervals(
            *(table[name].to_numpy().astype(np.int64) for name in ("gained", "lost", "images"))
        )
        table = table.assign(change_low=low, change_high=high)
        yield Drawn(words=("classes", run["dataset"], run["backbone"], run["strategy"]), figure=_change(table, run))


def _change(table: pd.DataFrame, run: dict[str, Any]) -> Figure:
    label = f"{_short(run['strategy'], 20)} minus {_short(run['baseline'], 16)}, in points"
    if len(table) <= ALL_NAMED:
        figure = Figure(figsize=(WIDTH, 0.5 + ROW * len(table)))
        _forest(figure.add_subplot(), table, label)
        return figure
    figure = Figure(figsize=(WIDTH, 1.75 + ROW * (2 * ENDS_NAMED + 1)))
    above, below = figure.subplots(2, 1, height_ratios=[1.0, ROW * 2 * ENDS_NAMED + 0.3])
    rank = np.arange(1, len(table) + 1)
    above.axhline(0, color="black", linewidth=0.8)
    above.vlines(rank, _points(table["change_low"]), _points(table["change_high"]), color="#cccccc", linewidth=0.35)
    above.plot(rank, _points(table["change"]), color=GAIN, linewidth=1.2)
    sure = (table["p_holm"] < ALPHA).to_numpy()
    above.plot(rank[sure], _points(table["change"])[sure], "o", color=LOSS, markersize=2.2, label="significant (Holm)")
    if sure.any():
        above.legend(loc="upper right", borderpad=0.1)
    above.set_xlabel(f"{len(table):,} classes of {_short(run['dataset'], 24)}, sorted")
    above.set_ylabel("change, points")
    above.set_xlim(0, len(table) + 1)
    _forest(below, pd.concat([table.head(ENDS_NAMED), table.tail(ENDS_NAMED)]), label)
    return figure


def _forest(axes: Axes, table: pd.DataFrame, label: str) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    for row, one in enumerate(table.to_dict("records")):
        colour, marker = {1.0: (GAIN, "^"), -1.0: (LOSS, "v")}.get(float(np.sign(one["change"])), (LEVEL, "o"))
        middle = _points([one["change"]])
        reach = _reach(middle, _points([one["change_low"]]), _points([one["change_high"]]))
        axes.errorbar(
            middle, [row], xerr=reach, color=colour, fmt=marker,
            markersize=3.6, elinewidth=0.8, markerfacecolor=colour if one["p_holm"] < ALPHA else "white",
        )  # fmt: skip
    axes.set_yticks(range(len(table)), _shortened(table["class_name"].tolist(), 24))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{label}; filled: significant")


def _confusions(comparison: Comparison, runs: pd.DataFrame, places: Places, results_dir: Path) -> Iterator[Drawn]:
    """Yield how many images of a class are taken for another, with the baseline and with the run: what moved most."""
    del places, results_dir
    if not len(comparison.moved):
        return
    by_run = dict(iter(comparison.moved.groupby("run_key", sort=False)))
    for run in _most_changed(comparison, runs):
        if run["run_key"] not in by_run:
            continue
        moved = by_run[run["run_key"]]
        mended, made = moved[moved["change"] < 0].head(ENDS_NAMED), moved[moved["change"] > 0].head(ENDS_NAMED)
        table = pd.concat([mended, made.iloc[::-1]])
        figure = Figure(figsize=(WIDTH, 0.7 + ROW * len(table)))
        axes = figure.add_subplot()
        rows = np.arange(len(table))
        names = _shortened([run["baseline"], run["strategy"]])
        before, after = table["baseline_images"].to_numpy(), table["images"].to_numpy()
        colours = [GAIN if one < 0 else LOSS for one in table["change"]]
        axes.hlines(rows, before, after, color=colours, linewidth=1.4)
        axes.plot(before, rows, "o", color="black", markerfacecolor="white", label=names[0], markersize=3.6)
        axes.scatter(after, rows, color=colours, marker="D", s=13, zorder=3)
        axes.plot([], [], "D", color=LEVEL, label=names[1], markersize=3.6)
        classes = _shortened([*table["class_name"], *table["predicted_name"]], 16)
        axes.set_yticks(
            rows,
            [f"{name} → {other}" for name, other in zip(classes[: len(table)], classes[len(table) :], strict=True)],
        )
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, -0.02 * float(max(before.max(), after.max()))))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("images taken for another class")
        _legend(figure, axes)
        yield Drawn(words=("confusions", run["dataset"], run["backbone"], run["strategy"]), figure=figure)


def _budget(comparison: Comparison, runs: pd.DataFrame, places: Places, results_dir: Path) -> Iterator[Drawn]:
    """Draw accuracy against the number of prompts of each class: mean and band, over draws or over seeds."""
    del comparison
    written = 0
    for (dataset, backbone, _, scorer), members in runs.groupby(
        ["dataset", "backbone", "precision", "scorer"], sort=False
    ):
        curves = [*_measured_curves(members, results_dir), *_curves_of_runs(members)]
        if not curves:
            continue
        written += 1
        if written > AT_MOST:
            log.info("figures   of numbers of prompts: the first %d pairs of data set and backbone", AT_MOST)
            return
        base = members[members["run_key"] == members["baseline_run_key"].iloc[0]]
        labels = _shortened([*(name for name, _, _ in curves), *base["baseline"]])
        figure = Figure(figsize=(WIDTH, 2.3 + _legend_height(labels)))
        axes = figure.add_subplot()
        for label, (_, kind, curve) in zip(labels, curves, strict=False):
            look = _look(kind, places)
            axes.fill_between(
                curve["num_prompts"], _points(curve["low"]), _points(curve["high"]), color=look["color"], alpha=0.2,
                linewidth=0,
            )  # fmt: skip
            axes.plot(curve["num_prompts"], _points(curve["mean"]), label=label, **look)
        axes.set_xscale("log", base=2)
        sizes = sorted({int(size) for _, _, curve in curves for size in curve["num_prompts"]})
        spread = sizes if len(sizes) <= 8 else [size for size in sizes if size & (size - 1) == 0]
        axes.set_xticks(spread, [f"{size:,}" for size in spread])
        axes.minorticks_off()
        if len(base):
            level = 100 * float(base["top1"].iloc[0])
            axes.axhline(level, color="black", linewidth=0.9, linestyle=":", label=labels[-1])
        axes.set_xlabel(f"prompts of each class: {_short(dataset, 20)}, {_short(backbone, 20)}")
        axes.set_ylabel("top-1 in percent")
        _legend(figure, axes)
        words = ("budget", str(dataset), str(backbone), *([] if scorer == "plain" else [str(scorer)]))
        yield Drawn(words=words, figure=figure)


Curve = tuple[str, str, pd.DataFrame]
"""Its name, its kind (which gives its look), and a row per number of prompts with mean, low and high."""


def _measured_curves(members: pd.DataFrame, results_dir: Path) -> Iterator[Curve]:
    """Yield the curves that `cupl-bench effects` has measured; the band goes from the least to the greatest draw."""
    for run in members[members["run_key"] != ""].to_dict("records"):
        path = results_dir / "curves" / f"{run['run_key']}.parquet"
        if path.is_file():
            curve = pd.read_parquet(path).rename(columns={"top1_mean": "mean", "top1_low": "low", "top1_high": "high"})
            if len(curve) > 1:
                yield f"{run['strategy']}, draws", run["look"], curve


def _curves_of_runs(members: pd.DataFrame) -> Iterator[Curve]:
    """Yield curves of runs with budgets; the band is two standard deviations over the seeds, if several."""
    read = members[~members["of_seeds"].astype(bool)]
    for (prompts, aggregation), own in read.groupby(["prompts", "aggregation"], sort=False):
        budgets = own[own["budget"].notna()].sort_values("budget")
        if len(budgets) < 2:
            continue
        spread = 2 * budgets["top1_sd"].astype(float).fillna(0.0)
        mean = budgets["top1"].astype(float)
        several = read.loc[read["prompts"] == prompts, "aggregation"].nunique() > 1
        yield (
            f"{prompts} ({aggregation})" if several else str(prompts),
            str(budgets["look"].iloc[0]),
            pd.DataFrame(
                {
                    "num_prompts": budgets["budget"].astype(int),
                    "mean": mean,
                    "low": mean - spread,
                    "high": mean + spread,
                }
            ),
        )


def _scaling(comparison: Comparison, runs: pd.DataFrame, places: Places, results_dir: Path) -> Iterator[Drawn]:
    """Draw accuracy over backbones, the weakest first, for each data set and for their mean."""
    del comparison, results_dir
    read = runs[~runs["of_seeds"].astype(bool) & (runs["scorer"] == "plain")]
    if read["precision"].nunique() > 1:
        read = read.assign(backbone=read["backbone"] + " " + read["precision"])
    found = []
    for dataset, members in read.groupby("dataset", sort=False):
        if members["backbone"].nunique() > 1:
            found.append((str(dataset), members))
    if len(found) > 1:
        table = pd.concat(members for _, members in found).drop_duplicates(["dataset", "backbone", "strategy"])
        by = ["backbone", "look", "strategy"]
        means = table.groupby(by, sort=False)["top1"].agg(["mean", "count"]).reset_index()
        whole = means[means["count"] == len(found)].rename(columns={"mean": "top1"})
        if whole["backbone"].nunique() > 1:
            yield Drawn(
                words=("scaling", "mean"), figure=_over_backbones(whole, f"mean of {len(found)} data sets", places)
            )
    if len(found) > AT_MOST:
        log.info("figures   over backbones: the first %d of %d data sets, and their mean", AT_MOST, len(found))
    for dataset, members in found[:AT_MOST]:
        yield Drawn(words=("scaling", dataset), figure=_over_backbones(members, dataset, places))


def _over_backbones(members: pd.DataFrame, of: str, places: Places) -> Figure:
    strength = members.groupby("backbone")["top1"].mean().sort_values(kind="stable")
    backbones = list(strength.index)
    strategies = list(dict.fromkeys(zip(members["look"], members["strategy"], strict=True)))
    labels = _shortened([strategy for _, strategy in strategies])
    figure = Figure(figsize=(WIDTH, 2.5 + _legend_height(labels)))
    axes = figure.add_subplot()
    step = min(0.06, 0.7 / len(strategies))  # the strategies of one backbone stay clear of the next
    for place, ((kind, strategy), label) in enumerate(zip(strategies, labels, strict=True)):
        own = members[members["strategy"] == strategy].drop_duplicates("backbone")
        x = np.array([backbones.index(backbone) for backbone in own["backbone"]], dtype=np.float64)
        order = np.argsort(x)
        x = x[order] + step * (place - (len(strategies) - 1) / 2)
        y = _points(own["top1"])[order]
        reach = None
        if "top1_low" in own:
            reach = _reach(y, _points(own["top1_low"])[order], _points(own["top1_high"])[order])
        axes.errorbar(x, y, yerr=reach, label=label, elinewidth=0.8, **_look(kind, places))
    turned = sum(len(name) for name in backbones) > 40
    axes.set_xticks(
        range(len(backbones)), _shortened(backbones, 20), rotation=30 if turned else 0,
        ha="right" if turned else "center", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_ylabel("top-1 in percent")
    axes.set_xlabel(f"backbone, by its mean: {_short(of, 30)}")
    axes.grid(visible=False, axis="x")
    _legend(figure, axes)
    return figure
