"""Figures: what they show, that they can be printed, and that bad names do no harm."""

import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from cupl_bench.records import read_records
from cupl_bench.report import figures
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.figures import change_intervals, named_runs, write_figures
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


def drawn(tables: Comparison, draw, folder: Path) -> list[figures.Drawn]:
    return list(draw(tables, *named_runs(tables), folder))


@pytest.mark.slow
def test_each_kind_is_drawn_as_pdf_and_png_and_old_ones_go(results: Path, tables: Comparison) -> None:
    (results / "figures").mkdir(exist_ok=True)
    (results / "figures" / "classes_old.pdf").write_text("of runs that are gone")
    (results / "figures" / "mine.pdf").write_text("a user's own")
    paths = write_figures(tables, results)
    names = {path.name for path in paths}
    assert {path.name for path in (results / "figures").iterdir()} == names | {"mine.pdf"}
    assert {name.split("_")[0] for name in names} == set(figures.KINDS)
    assert {"strategies_backbone0.pdf", "scaling_mean.png", "budget_synthetic00_backbone0.pdf"} <= names
    assert len(names) == 2 * (2 + 4 + 4 + 1 + 3)
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == 990  # 3.3 inches at 300 dots
                assert image.height < 9.1 * 300


@pytest.mark.slow
def test_the_same_tables_give_the_same_bytes_with_embedded_fonts_and_no_date(
    results: Path, tables: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "AT_MOST", 1)
    first = {path: path.read_bytes() for path in write_figures(tables, results)}
    assert {path: path.read_bytes() for path in write_figures(tables, results)} == first
    for path, content in first.items():
        if path.suffix == ".pdf":
            assert b"/FontFile2" in content
            assert b"/Type3" not in content
        for block in (content, *inflated(content)):
            assert not re.search(rb"CreationDate|matplotlib v|Matplotlib version", block)


def inflated(content: bytes) -> list[bytes]:
    return [zlib.decompress(found) for found in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", content, re.DOTALL)]


def test_the_points_are_those_of_the_table(tables: Comparison, results: Path) -> None:
    one = next(iter(drawn(tables, figures._strategies, results)))
    axes = one.figure.axes[0]
    own = tables.runs[(tables.runs["backbone"] == "backbone0") & (tables.runs["prompts"] == "cupl")]
    (bars,) = [bars for bars in axes.containers if bars.get_label() == "cupl"]
    assert list(bars[0].get_xdata()) == pytest.approx(list(100 * own["difference"].astype(float)))
    ends = np.array(bars[2][0].get_segments())[:, :, 0]
    assert ends[:, 0] == pytest.approx(100 * own["difference_low"].astype(float).to_numpy())
    assert ends[:, 1] == pytest.approx(100 * own["difference_high"].astype(float).to_numpy())


def test_the_most_changed_classes_are_named(tables: Comparison, results: Path) -> None:
    for one in drawn(tables, figures._classes, results):
        dataset, backbone = one.words[1:3]
        group = tables.runs[(tables.runs["dataset"] == dataset) & (tables.runs["backbone"] == backbone)]
        largest = group.loc[group["difference"].astype(float).abs().idxmax()]
        assert one.words[3] == largest["prompts"]
        classes = tables.classes[(tables.classes["run_key"] == largest["run_key"]) & (tables.classes["images"] > 0)]
        ordered = classes.sort_values(["change", "label"], ascending=[False, True])["class_name"].tolist()
        named = [label.get_text() for label in one.figure.axes[-1].get_yticklabels()]
        assert named == ordered[:8] + ordered[-8:]


@pytest.mark.slow
def test_letters_are_seven_points_or_more_and_stay_inside(tables: Comparison, results: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context(figures.STYLE):
        for draw in (figures._strategies, figures._classes, figures._confusions, figures._budget, figures._scaling):
            for one in drawn(tables, draw, results):
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
def test_names_of_any_kind_can_be_drawn(tables: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A formula's dollar, letters that no font here has, a long name, a line break, a path."""
    monkeypatch.setattr(figures, "AT_MOST", 2)
    odd = ["$x_1$ <b>", "日本語の花", "w" * 300, "two\nlines", "../../etc/passwd", "\u202eturned"]
    classes = tables.classes.copy()
    classes["class_name"] = [odd[label % len(odd)] for label in classes["label"]]
    moved = tables.moved.assign(class_name=odd[1], predicted_name=odd[2])
    runs = tables.runs.assign(dataset_shown=tables.runs["dataset"].map({"synthetic00": odd[4], "synthetic01": odd[1]}))
    changed = Comparison(**{**vars(tables), "classes": classes, "moved": moved, "runs": runs})
    paths = write_figures(changed, tmp_path)
    assert all(path.parent == tmp_path / "figures" for path in paths)
    assert len({path.name for path in paths}) == len(paths) == 2 * (2 + 2 + 2 + 3)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in paths)


def test_a_sweep_of_many_pairs_draws_those_that_changed_most(
    tables: Comparison, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "AT_MOST", 1)
    (one,) = drawn(tables, figures._classes, results)
    largest = tables.runs.loc[tables.runs["difference"].astype(float).abs().idxmax()]
    assert one.words == ("classes", largest["dataset"], largest["backbone"], largest["prompts"])


@pytest.mark.parametrize(("images", "up", "down"), [(10, 0.2, 0.1), (30, 0.05, 0.05), (50, 0.4, 0.02), (50, 0.01, 0.0)])
def test_the_intervals_of_classes_hold_what_they_should(images: int, up: float, down: float) -> None:
    drawn_counts = np.random.default_rng(0).multinomial(images, [up, down, 1 - up - down], size=4000)
    low, high = change_intervals(drawn_counts[:, 0], drawn_counts[:, 1], np.full(4000, images))
    share = ((low <= up - down) & (up - down <= high)).mean()
    assert share >= 0.935
    assert (low >= -1).all()
    assert (high <= 1).all()


def test_the_intervals_are_those_of_the_paper() -> None:
    """By hand for 5 gained, 1 lost of 20: (6 - 2) / 22 and 1.96 sqrt((8/22 - (4/22)^2) / 22)."""
    low, high = change_intervals(np.array([5]), np.array([1]), np.array([20]))
    reach = 1.959964 * ((8 / 22 - (4 / 22) ** 2) / 22) ** 0.5
    assert (low[0], high[0]) == pytest.approx((4 / 22 - reach, 4 / 22 + reach))


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
    """Label and look of each strategy of a figure's legend."""
    found = []
    for axes in figure.axes:
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
        write_figures(comparison, tmp_path)
    for draw in (figures._strategies, figures._scaling):
        for one in drawn(comparison, draw, folder):
            looks = looks_of(one.figure)
            assert len(looks) >= 22, one.words
            assert len({label for label, _ in looks}) == len(looks)
            assert len({look for _, look in looks}) == len(looks)
            assert one.figure.get_figheight() <= figures.TALLEST


@pytest.mark.slow
def test_data_sets_beyond_a_page_are_drawn_on_the_next(crowded, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, folder = crowded
    monkeypatch.setattr(figures, "TALLEST", 5.0)
    first = [one for one in drawn(comparison, figures._strategies, folder) if one.words[1] == "backbone0"]
    shown = [label.get_text() for one in first for label in one.figure.axes[0].get_yticklabels()]
    assert len(first) > 1
    assert shown == list(dict.fromkeys(comparison.runs["dataset"]))


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 40 + "1", "a" * 40 + "2"],
        ["x" * 30 + "1" + "y" * 30, "x" * 30 + "2" + "y" * 30],
        ["short", "short but" + " very" * 9 + " long", "short but" + " very" * 10 + " long"],
    ],
)
def test_names_are_never_cut_to_the_same_text(names: list[str]) -> None:
    cut = figures._shortened(names)
    assert len(set(cut)) == len(names)
    assert all(len(text) <= 26 for text in cut)
    assert figures._shortened(["fox", "fox"]) == ["fox", "fox"]


def test_182_strategies_have_looks_of_their_own() -> None:
    places = {place: place for place in range(182)}
    assert len({tuple(sorted(figures._look(place, places).items())) for place in places}) == 182
