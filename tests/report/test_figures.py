"""Figures: what they show, that they can be printed, and that bad names do no harm."""

import itertools
import re
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image

from cupl_bench.errors import ResultsError
from cupl_bench.records import read_records
from cupl_bench.report import figures
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.figures import Choice, write_figures
from cupl_bench.report.figures.drawing import STYLE, families, letters_of, look, shortened
from cupl_bench.report.figures.ranks import critical_difference, groups_of, rank_diagrams
from cupl_bench.report.figures.scene import SIZES, Drawn, scene_of
from scripts.synthetic_results import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, two backbones, five strategies, and a curve."""
    folder = tmp_path_factory.mktemp("made")
    write_results(folder, datasets=2, backbones=2, images=400, classes=60)
    key = next(record.run_key for record in read_records(folder) if record.prompts.name == "cupl")
    (folder / "curves").mkdir()
    curve = pd.DataFrame({"num_prompts": [1, 2, 4], "top1_mean": [0.5, 0.6, 0.7], "top1_low": 0.4, "top1_high": 0.8})
    curve.to_parquet(folder / "curves" / f"{key}.parquet")
    return folder


@pytest.fixture(scope="module")
def tables(results: Path) -> Comparison:
    return compare(read_records(results), results)


@pytest.fixture(scope="module")
def of_seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """One data set, one backbone: draws of the prompts of `cupl`, and WaffleCLIP's with several numbers of pairs."""
    folder = tmp_path_factory.mktemp("seeds")
    write_results(folder, datasets=1, backbones=1, images=200, classes=6, seeds=2)
    return compare(read_records(folder), folder), folder


NUMBERS = {"simple": 1.0, "ensemble": 8.0, "cupl": 50.0}
"""Of some strategies of every fixture, to draw accuracy against."""


def drawn(tables: Comparison, kind: str, folder: Path, **choice) -> list[Drawn]:
    return list(figures.KINDS[kind](scene_of(tables, folder, Choice(**choice))))


@pytest.mark.slow
def test_each_kind_is_drawn_as_pdf_and_png_and_old_ones_go(results: Path, tables: Comparison) -> None:
    (results / "figures").mkdir(exist_ok=True)
    (results / "figures" / "classes_old.pdf").write_text("of runs that are gone")
    (results / "figures" / "mine.pdf").write_text("a user's own")
    paths = write_figures(tables, results)
    names = {path.name for path in paths}
    assert {path.name for path in (results / "figures").iterdir()} == names | {"mine.pdf"}
    assert {name.split("_")[0] for name in names} == {"strategies", "classes", "confusions", "budget", "scaling"}
    assert {"strategies_backbone0.pdf", "scaling_mean.png", "budget_synthetic00_backbone0.pdf"} <= names
    assert len(names) == 2 * (2 + 4 + 4 + 1 + 3)
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == 990  # 3.3 inches at 300 dots
                assert image.height < 9.1 * 300


@pytest.mark.slow
def test_the_same_tables_give_the_same_bytes_with_embedded_fonts_and_no_date(results: Path, tables: Comparison) -> None:
    few = Choice(at_most=1, formats=("pdf", "svg", "png"), kinds=("strategies", "classes", "budget"))
    first = {path: path.read_bytes() for path in write_figures(tables, results, few)}
    assert {path: path.read_bytes() for path in write_figures(tables, results, few)} == first
    assert {path.suffix for path in first} == {".pdf", ".svg", ".png"}
    for path, content in first.items():
        if path.suffix == ".pdf":
            assert b"/FontFile2" in content
            assert b"/Type3" not in content
        for block in (content, *inflated(content)):
            assert not re.search(rb"CreationDate|matplotlib v|Matplotlib version", block)


def inflated(content: bytes) -> list[bytes]:
    return [zlib.decompress(found) for found in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", content, re.DOTALL)]


def test_the_points_are_those_of_the_table(tables: Comparison, results: Path) -> None:
    one = next(iter(drawn(tables, "strategies", results)))
    axes = one.figure.axes[0]
    own = tables.runs[(tables.runs["backbone"] == "backbone0") & (tables.runs["prompts"] == "cupl")]
    (bars,) = [bars for bars in axes.containers if bars.get_label() == "cupl"]
    assert list(bars[0].get_xdata()) == pytest.approx(list(100 * own["difference"].astype(float)))
    ends = np.array(bars[2][0].get_segments())[:, :, 0]
    assert ends[:, 0] == pytest.approx(100 * own["difference_low"].astype(float).to_numpy())
    assert ends[:, 1] == pytest.approx(100 * own["difference_high"].astype(float).to_numpy())


def test_the_most_changed_classes_are_named(tables: Comparison, results: Path) -> None:
    for one in drawn(tables, "classes", results):
        dataset, backbone = one.words[1:3]
        group = tables.runs[(tables.runs["dataset"] == dataset) & (tables.runs["backbone"] == backbone)]
        largest = group.loc[group["difference"].astype(float).abs().idxmax()]
        assert one.words[3] == largest["prompts"]
        classes = tables.classes[(tables.classes["run_key"] == largest["run_key"]) & (tables.classes["images"] > 0)]
        ordered = classes.sort_values(["change", "label"], ascending=[False, True])["class_name"].tolist()
        named = [label.get_text() for label in one.figure.axes[-1].get_yticklabels()]
        assert named == ordered[:8] + ordered[-8:]


@pytest.mark.slow
def test_letters_are_seven_points_or_more_and_stay_inside(
    tables: Comparison, results: Path, of_seeds: tuple[Comparison, Path]
) -> None:
    with mpl.rc_context(STYLE):
        scenes = [(tables, results), of_seeds]
        for kind, (comparison, folder) in itertools.product(figures.KINDS, scenes):
            for one in drawn(comparison, kind, folder, against=NUMBERS):
                one.figure.draw_without_rendering()
                frame = one.figure.bbox
                not_drawn = {
                    tick.label1
                    for axes in one.figure.axes
                    for axis in (axes.xaxis, axes.yaxis)
                    for tick in axis.get_major_ticks()
                    if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
                }
                for text in one.figure.findobj(Text):
                    if text.get_text() and text.get_visible() and text not in not_drawn:
                        assert text.get_fontsize() >= 7
                        box = text.get_window_extent()
                        assert frame.x0 - 2 <= box.x0, (one.words, text.get_text())
                        assert box.x1 <= frame.x1 + 2, (one.words, text.get_text())


@pytest.mark.slow
def test_names_of_any_kind_can_be_drawn(tables: Comparison, tmp_path: Path) -> None:
    """A formula's dollar, letters that no font here has, a long name, a line break, a path."""
    odd = ["$x_1$ <b>", "日本語の花", "w" * 300, "two\nlines", "../../etc/passwd", "\u202eturned"]
    classes = tables.classes.copy()
    classes["class_name"] = [odd[label % len(odd)] for label in classes["label"]]
    moved = tables.moved.assign(class_name=odd[1], predicted_name=odd[2])
    runs = tables.runs.assign(dataset_shown=tables.runs["dataset"].map({"synthetic00": odd[4], "synthetic01": odd[1]}))
    changed = Comparison(**{**vars(tables), "classes": classes, "moved": moved, "runs": runs})
    paths = write_figures(changed, tmp_path, Choice(at_most=1, formats=("png",)))
    assert all(path.parent == tmp_path / "figures" for path in paths)
    assert len({path.name for path in paths}) == len(paths) == 2 + 1 + 1 + 2
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in paths)


def test_a_sweep_of_many_pairs_draws_those_that_changed_most(tables: Comparison, results: Path) -> None:
    (one,) = drawn(tables, "classes", results, at_most=1)
    largest = tables.runs.loc[tables.runs["difference"].astype(float).abs().idxmax()]
    assert one.words == ("classes", largest["dataset"], largest["backbone"], largest["prompts"])


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """Three data sets, two backbones, and 23 strategies whose names differ at their ends and in their middles."""
    folder = tmp_path_factory.mktemp("crowded")
    names = [f"descriptions_of_{word}_by_a_large_model" for word in "abcdefghi"]
    names += [f"a_long_name_of_a_strategy_number_{number}" for number in range(12)] + ["cupl"]
    gains = {name: 0.002 * place for place, name in enumerate(["simple", *names])}
    write_results(folder, datasets=3, backbones=2, images=60, classes=5, strategies=gains)
    return compare(read_records(folder), folder), folder


def looks_of(figure) -> list[tuple[str, tuple]]:
    """Label and look of each strategy of a figure, in its first panel."""
    found = []
    for axes in figure.axes[:1]:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            line = handle[0] if isinstance(handle, tuple) else handle
            found.append(
                (label, (line.get_color(), line.get_marker(), line.get_markerfacecolor(), line.get_linestyle()))
            )
    return found


@pytest.mark.slow
def test_of_many_strategies_no_two_look_equal_or_have_the_same_name_and_nothing_is_warned_of(
    crowded: tuple[Comparison, Path], tmp_path: Path
) -> None:
    comparison, folder = crowded
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figures(comparison, tmp_path, Choice(at_most=1, formats=("png",)))
    for kind in ("strategies", "scaling"):
        for one in drawn(comparison, kind, folder):
            looks = looks_of(one.figure)
            assert len(looks) >= 22, one.words
            assert len({label for label, _ in looks}) == len(looks)
            assert len({look for _, look in looks}) == len(looks)
            assert one.figure.get_figheight() <= SIZES["column"].tallest


@pytest.mark.slow
def test_data_sets_beyond_a_page_are_drawn_on_the_next(crowded, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, folder = crowded
    monkeypatch.setitem(SIZES, "column", SIZES["column"]._replace(tallest=5.0))
    first = [one for one in drawn(comparison, "strategies", folder) if one.words[1] == "backbone0"]
    shown = [axes.get_title("left") for one in first for axes in one.figure.axes if axes.get_visible()]
    assert len(first) > 1
    assert shown == list(dict.fromkeys(comparison.runs["dataset"]))


def test_panels_fill_their_rows_alike(tables: Comparison, results: Path) -> None:
    """Where six panels fit beside each other, seven data sets stand in rows of four and three."""
    first = tables.runs[tables.runs["dataset"] == "synthetic00"]
    more = [first.assign(prompts=first["prompts"] + f" {number}") for number in (1, 2)]  # many strategies have panels
    one = pd.concat([first, *more], ignore_index=True)
    seven = [one.assign(dataset=f"set{number}", dataset_shown=f"set{number}") for number in range(7)]
    changed = Comparison(**{**vars(tables), "runs": pd.concat(seven, ignore_index=True)})
    figure = drawn(changed, "strategies", results, width="page")[0].figure
    places = [round(axes.get_position().y0, 3) for axes in figure.axes if axes.get_visible()]
    assert [places.count(row) for row in sorted(set(places), reverse=True)] == [4, 3]


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 40 + "1", "a" * 40 + "2"],
        ["x" * 30 + "1" + "y" * 30, "x" * 30 + "2" + "y" * 30],
        ["W" * 40 + "1", "W" * 40 + "2"],
        ["花" * 40 + "1", "花" * 40 + "2"],
        ["short", "short but" + " very" * 9 + " long", "short but" + " very" * 10 + " long"],
    ],
)
def test_names_are_never_cut_to_the_same_text(names: list[str]) -> None:
    cut = shortened(names)
    assert len(set(cut)) == len(names)
    assert all(letters_of(text) <= 26 for text in cut)
    assert shortened(["fox", "fox"]) == ["fox", "fox"]


def test_182_strategies_have_looks_of_their_own() -> None:
    places = {place: place for place in range(182)}
    assert len({tuple(sorted(look(place, places).items())) for place in places}) == 182


# What is asked for ---------------------------------------------------------------------------------------------------


def test_a_curve_of_draws_ends_with_the_run_of_all_prompts(of_seeds: tuple[Comparison, Path]) -> None:
    comparison, folder = of_seeds
    (one,) = drawn(comparison, "budget", folder)
    curves = {line.get_label(): line for line in one.figure.axes[0].get_lines()}
    assert list(curves["cupl"].get_xdata()) == [1, 2, 4, 8, 16]
    runs = comparison.runs
    whole = runs[(runs["prompts"] == "cupl") & runs["budget"].isna()]
    assert curves["cupl"].get_ydata()[-1] == pytest.approx(100 * whole["top1"].iloc[0])
    assert list(curves["waffle"].get_xdata()) == [10, 30, 60]  # two prompts for each of 5, 15 and 30 pairs


def test_each_seed_is_a_stroke_beside_the_mean(of_seeds: tuple[Comparison, Path]) -> None:
    comparison, folder = of_seeds
    (one,) = drawn(comparison, "seeds", folder)
    runs = comparison.runs
    strokes = [line for line in one.figure.axes[0].get_lines() if line.get_marker() == "|"]
    assert sorted(float(x) for line in strokes for x in line.get_xdata()) == pytest.approx(
        sorted((100 * runs.loc[runs["of_seeds"], "top1"]).tolist())
    )
    names = [label.get_text() for label in one.figure.axes[0].get_yticklabels()]
    assert "simple" in names
    assert "waffle (pairs=5) (2 seeds)" in names


def test_a_chosen_pair_is_compared_class_by_class_and_its_axis_says_which(tables: Comparison, results: Path) -> None:
    pairs = drawn(tables, "classes", results, pair=("cupl", "ensemble"))
    assert {one.words[1:3] for one in pairs} == {
        (f"synthetic0{dataset}", f"backbone{backbone}") for dataset in (0, 1) for backbone in (0, 1)
    }
    assert {one.figure.get_supxlabel().split("\n")[0] for one in pairs} == {"cupl minus ensemble, percentage points"}
    top1 = tables.classes.set_index(["run_key", "class_name"])["top1"]
    key = {name: runs.iloc[0] for name, runs in tables.runs.groupby("prompts")["run_key"]}
    of_first = next(one for one in pairs if one.words[1:3] == ("synthetic00", "backbone0"))
    axes = of_first.figure.axes[-1]
    best = axes.get_yticklabels()[0].get_text()
    shown = axes.containers[0][0].get_xdata()[0]
    assert shown == pytest.approx(100 * (top1[key["cupl"], best] - top1[key["ensemble"], best]))
    with pytest.raises(ResultsError, match="'cuppl' is not a strategy of the records.*Did you mean 'cupl'"):
        drawn(tables, "classes", results, pair=("cuppl", "ensemble"))


def test_accuracy_is_drawn_against_a_number_that_the_user_gives(tables: Comparison, results: Path) -> None:
    (one,) = drawn(tables, "against", results, against=NUMBERS, axis="LLM-prompts of each class")
    axes = one.figure.axes[0]
    assert one.figure.get_supxlabel() == "LLM-prompts of each class"
    own = tables.runs[(tables.runs["dataset"] == "synthetic01") & (tables.runs["backbone"] == "backbone1")]
    (bars,) = [bars for bars in axes.containers if bars.get_label() == "synthetic01, backbone1"]
    top1 = own.set_index("prompts")["top1"]
    assert list(bars[0].get_xdata()) == [1, 8, 50]
    assert list(bars[0].get_ydata()) == pytest.approx([100 * top1[name] for name in NUMBERS])
    with pytest.raises(ResultsError, match="against: 1 of 2 names are no strategy .*'cuppl'"):
        drawn(tables, "against", results, against={"cuppl": 1.0, "simple": 2.0})


@pytest.mark.slow
@pytest.mark.parametrize("width", ["page", "slide"])
def test_a_figure_is_as_wide_as_was_asked_for(tables: Comparison, results: Path, width: str, tmp_path: Path) -> None:
    few = Choice(width=width, formats=("png",), kinds=("strategies",))
    (path, _) = write_figures(tables, tmp_path, few)
    with Image.open(path) as image:
        assert image.width == {"page": 2070, "slide": 1920}[width]


def test_a_kind_that_the_runs_do_not_allow_is_told(
    tables: Comparison, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert write_figures(tables, tmp_path, Choice(kinds=("seeds", "against"))) == []
    assert "figures=seeds,against: these runs have nothing to draw there" in caplog.text


def test_words_from_right_to_left_are_drawn_so() -> None:
    """The first letter of a Hebrew name stands to the right of its last."""
    figure = Figure(figsize=(2, 1))
    with mpl.rc_context(STYLE | {"font.family": ["DejaVu Sans"]}):
        figure.text(0.1, 0.5, "\u05d0\u05d5\u05d5\u05d5")  # alef, three vavs, which are thin strokes
        alone = figure.text(0.1, 0.5, "\u05d5")
        canvas = FigureCanvasAgg(figure)
        alone.set_visible(False)
        canvas.draw()
        ink = np.flatnonzero((np.asarray(canvas.buffer_rgba())[:, :, 0] < 128).any(axis=0))
    gaps = np.diff(ink)
    widths = np.diff(np.flatnonzero(np.concatenate([[True], gaps > 1, [True]])))
    assert widths[-1] == widths.max() > 1.5 * widths[0]


# The critical-difference diagram -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 12])
def test_the_diagram_of_ranks_joins_what_may_be_equal_and_names_all(count: int) -> None:
    ranks = {f"strategy {place}": 1.0 + 0.7 * place for place in range(count)}
    with mpl.rc_context(STYLE):
        figure = critical_difference(ranks, 1.5, datasets=11)
        figure.draw_without_rendering()
        texts = {text.get_text(): text.get_window_extent() for text in figure.findobj(Text) if text.get_text()}
    assert set(ranks) < set(texts)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in texts.values())
    bars = [line for line in figure.axes[0].get_lines() if line.get_linewidth() > 2]
    assert len(bars) == max(1, count - 2)


def test_where_no_difference_is_found_one_bar_joins_all() -> None:
    ranks = {"a": 1.0, "b": 2.0, "c": 3.0}
    with mpl.rc_context(STYLE):
        figure = critical_difference(ranks, 0.5, datasets=7, friedman_p=0.3)
    assert len([line for line in figure.axes[0].get_lines() if line.get_linewidth() > 2]) == 1
    assert any("no difference (Friedman, p 0.30)" in text.get_text() for text in figure.findobj(Text))


def test_leagues_have_a_diagram_each_where_there_are_enough_data_sets(tables: Comparison, results: Path) -> None:
    table = pd.DataFrame(
        {
            "league": [0, 0, 1, 1], "backbone_shown": ["small", "small", "large", "large"], "precision": "fp32",
            "kind": "zero_shot", "strategy": ["simple", "cupl"] * 2, "average_rank": [1.0, 2.0] * 2, "num_datasets": 7,
            "critical_difference": [0.7, 0.7, np.nan, np.nan], "friedman_p": 0.01,
        }
    )  # fmt: skip
    with mpl.rc_context(STYLE):
        (one,) = rank_diagrams(table, scene_of(tables, results, Choice()))
    assert one.words == ("ranks", "small", "zero_shot")


@pytest.mark.parametrize(
    ("ranks", "difference", "groups"),
    [
        ([1.0, 2.0, 3.0], 0.5, []),
        ([1.0, 2.0, 3.0], 5.0, [(0, 2)]),
        ([1.0, 1.5, 2.2, 4.0], 1.0, [(0, 1), (1, 2)]),
        ([2.0, 2.0], 0.1, [(0, 1)]),
    ],
)
def test_a_bar_is_drawn_for_each_largest_group_alone(ranks, difference, groups) -> None:
    assert groups_of(ranks, difference) == groups


def test_the_name_of_a_font_may_look_like_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib takes a family that is a text for a pattern, in which a hyphen and a colon mean something."""
    own = next(entry for entry in fontManager.ttflist if entry.name == "DejaVu Serif")
    named = [replace(own, name=name) for name in ("Droid-like: Sans", "Sans-Two")]
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist, *named])
    assert families({"a", "\N{ARMENIAN SMALL LETTER AYB}", "\N{CUNEIFORM SIGN A}"})[0] == "DejaVu Sans"
