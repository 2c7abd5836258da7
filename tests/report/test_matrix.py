"""Strategies by data sets: means, ranks, marks, and tables of LaTeX that fit a paper."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from cupl_bench.commands.report_keys import choice_of, layout_of, list_of
from cupl_bench.errors import ConfigError, ResultsError
from cupl_bench.metrics import METRICS, draws_of, seed_of, standard_error_p
from cupl_bench.records import MetricRecord, read_records, write_record
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.latex import latex_tables
from cupl_bench.report.matrix import as_rows, chosen, matrices, shown_matrix
from cupl_bench.report.significance import holm, mcnemar_exact
from cupl_bench.report.tables import Layout, write_tables
from cupl_bench.scored_file import read_scored
from scripts.synthetic_results import write_results

GAINS = {"simple": 0.0, "name_only": -0.08, "ensemble": 0.02, "cupl": 0.1}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    write_results(folder, datasets=3, backbones=1, images=300, classes=6, strategies=GAINS)
    return folder


@pytest.fixture(scope="module")
def tables(results: Path) -> Comparison:
    return compare(read_records(results), results)


def changed(tables: Comparison, **columns) -> Comparison:
    return Comparison(**{**vars(tables), "runs": tables.runs.assign(**columns)})


def test_rows_are_strategies_with_their_mean_and_average_rank(tables: Comparison) -> None:
    (one,) = matrices(tables)
    top1 = tables.runs.pivot_table(index="prompts", columns="dataset", values="top1").loc[list(GAINS)]
    pd.testing.assert_frame_equal(one.values, top1, check_names=False)
    assert one.mean.tolist() == pytest.approx(top1.mean(axis=1).tolist())
    assert one.rank.tolist() == pytest.approx(rankdata(-top1.to_numpy(), axis=0).mean(axis=1).tolist())
    texts, bold = shown_matrix(one)
    assert list(texts) == ["strategy", "synthetic00", "synthetic01", "synthetic02", "mean", "rank"]
    assert texts.loc[bold["mean"], "strategy"].tolist() == ["cupl"]
    turned, _ = shown_matrix(one, transposed=True)
    assert list(turned) == ["data set", *GAINS]
    assert turned["data set"].tolist() == ["synthetic00", "synthetic01", "synthetic02", "mean", "rank"]


def test_level_with_the_best_are_the_best_and_those_not_significantly_worse(tables: Comparison, results: Path) -> None:
    levels = []
    for dataset, members in tables.runs.groupby("dataset"):
        right = {
            row["prompts"]: pd.read_parquet(results / "predictions" / f"{row['run_key']}.parquet")["correct"].to_numpy()
            for row in members.to_dict("records")
        }
        best = max(right, key=lambda name: right[name].mean())
        others = [name for name in right if name != best]
        counts = [(right[best] & ~right[name], right[name] & ~right[best]) for name in others]
        p = holm(mcnemar_exact([int(up.sum()) for up, _ in counts], [int(down.sum()) for _, down in counts]))
        expected = {best, *(name for name, one in zip(others, p, strict=True) if one >= 0.05)}
        assert set(members.loc[members["level_with_best"], "prompts"]) == expected, dataset
        levels.append(len(expected))
    assert min(levels) < len(GAINS)  # the test can fail: some are significantly worse
    assert max(levels) > 1


def test_runs_of_different_kinds_never_share_a_rank_or_a_mark(tables: Comparison) -> None:
    is_online = tables.runs["prompts"] == "cupl"
    kinds = changed(
        tables,
        kind=np.where(is_online, "online", "zero_shot"),
        scorer=np.where(is_online, "tda", "plain"),
        level_with_best=tables.runs["level_with_best"] & ~is_online,
    )
    plain, online = matrices(kinds)
    assert "cupl" not in "".join(plain.values.index)
    assert plain.rank.min() >= 1
    assert list(online.values.index) == ["cupl, tda"]
    assert online.rank.isna().all()
    assert not online.best.to_numpy().any()
    assert "\u2020" not in "".join(shown_matrix(online)[0].astype(str).to_numpy().ravel())
    assert online.title == "backbone0, online"


def test_no_mark_and_no_word_of_a_test_where_images_depend_on_each_other(tables: Comparison) -> None:
    dependent = changed(tables, kind="transductive", level_with_best=False)
    (one,) = matrices(dependent)
    assert "No test is made" in one.caption
    assert "\u2020" not in one.caption


def test_mean_and_rank_are_over_data_sets_that_all_ranked_strategies_answered(tables: Comparison) -> None:
    runs = tables.runs
    lacks = runs[~((runs["prompts"] == "cupl") & (runs["dataset"] == "synthetic02"))]
    rare = lacks[(lacks["prompts"] != "name_only") | (lacks["dataset"] == "synthetic00")]
    (one,) = matrices(Comparison(**{**vars(tables), "runs": rare}))
    assert one.ranked == ["synthetic00", "synthetic01"]
    assert np.isnan(one.rank["name_only"])
    assert one.mean["cupl"] == pytest.approx(one.values.loc["cupl", ["synthetic00", "synthetic01"]].mean())
    assert "the 2 data sets that all ranked strategies answered" in one.caption


def of_another_metric(tables: Comparison) -> Comparison:
    """The first data set is measured by mAP, which orders the strategies the other way round."""
    of_first = tables.runs["dataset"] == "synthetic00"
    best = tables.runs["prompts"] == "simple"
    return changed(
        tables,
        primary=np.where(of_first, "map_11", "top1"),
        primary_value=np.where(of_first, 1 - tables.runs["top1"], tables.runs["top1"]),
        primary_level_with_best=[bool(one) if first else None for one, first in zip(best, of_first, strict=True)],
    )


def test_a_data_set_of_another_metric_stands_in_it_and_counts_for_ranks_alone(tables: Comparison) -> None:
    (plain,) = matrices(tables)
    (one,) = matrices(of_another_metric(tables))
    assert list(one.values) == one.ranked == ["synthetic00, mAP, 11 points", "synthetic01", "synthetic02"]
    assert one.own == ["synthetic00, mAP, 11 points"]
    own, top1 = one.values.iloc[:, 0], plain.values.iloc[:, 0]
    assert own.tolist() == pytest.approx((1 - top1).tolist())
    assert one.level.iloc[:, 0].tolist() == [name == "simple" for name in GAINS]
    assert one.mean.tolist() == pytest.approx(plain.values.iloc[:, 1:].mean(axis=1).tolist())
    expected = rankdata(-one.values.to_numpy(), axis=0).mean(axis=1)
    assert one.rank.tolist() == pytest.approx(expected.tolist())
    assert expected.tolist() != plain.rank.tolist()
    assert "Where a head names another metric, it is that one in percent." in one.caption
    assert "of another metric a paired bootstrap" in one.caption
    assert "over the data sets, the mean over those of them with top-1." in one.caption


def test_a_data_set_in_two_metrics_has_two_columns_and_no_rank(tables: Comparison) -> None:
    twice = of_another_metric(tables)
    runs = pd.concat([twice.runs, tables.runs[tables.runs["dataset"] == "synthetic00"]], ignore_index=True)
    (one,) = matrices(Comparison(**{**vars(tables), "runs": runs}))
    assert list(one.values)[:2] == ["synthetic00, mAP, 11 points", "synthetic00"]
    assert one.ranked == ["synthetic01", "synthetic02"]


def measured_by_f1(folder: Path, *strategies: str, gains: Mapping[str, float] = GAINS) -> Comparison:
    """Compare runs of which some were asked for the macro F1."""
    write_results(folder, datasets=1, backbones=1, images=300, classes=6, strategies=gains)
    for record in read_records(folder):
        if record.prompts.name in strategies:
            scored = read_scored(folder / f"predictions/{record.run_key}.parquet", 6, ())
            value = METRICS["f1_macro"].measured(scored).value
            more = {"f1_macro": MetricRecord(value=value, ci95=None, interval="none")}
            changes = {"primary": value, "primary_name": "f1_macro", "more": more}
            metrics = record.metrics.model_copy(update=changes)
            write_record(folder, record.model_copy(update={"metrics": metrics}))
    return compare(read_records(folder), folder)


def test_one_run_by_another_metric_leaves_the_accuracies_of_the_others_compared(
    tmp_path: Path, tables: Comparison
) -> None:
    found = measured_by_f1(tmp_path, "ensemble")
    (one,) = matrices(found)
    assert list(one.values) == ["synthetic00", "synthetic00, macro F1"]
    assert one.values["synthetic00"].isna().to_dict() == {name: name == "ensemble" for name in GAINS}
    names = ["prompts", "difference", "p", "level_with_best", "best"]
    first = tables.runs[tables.runs["dataset"] == "synthetic00"]
    pd.testing.assert_frame_equal(found.runs[names], first[names].reset_index(drop=True))


def test_level_with_the_best_by_a_metric_beyond_accuracy_is_of_the_same_resamples(tmp_path: Path) -> None:
    found = measured_by_f1(tmp_path, *GAINS, gains=GAINS | {"ensemble": 0.09})
    record = found.groups[next(iter(found.groups))][0].record
    metric, seed = METRICS["f1_macro"], seed_of(record.dataset.fingerprint)
    values, draws = {}, {}
    for row in found.runs.to_dict("records"):
        scored = read_scored(tmp_path / f"predictions/{row['run_key']}.parquet", 6, ())
        values[row["prompts"]] = metric.measured(scored).value
        (draws[row["prompts"]],) = draws_of([metric], scored, seed)
    best = max(values, key=values.get)
    others = [name for name in values if name != best]
    p = holm(np.array([standard_error_p(values[best] - values[one], draws[best] - draws[one]) for one in others]))
    expected = {best, *(name for name, one in zip(others, p, strict=True) if one >= 0.05)}
    assert 1 < len(expected) < len(GAINS)  # the test can fail
    assert set(found.runs.loc[found.runs["primary_level_with_best"], "prompts"]) == expected
    (one,) = matrices(found)
    assert set(one.level.index[one.level["synthetic00, macro F1"]]) == expected


def test_columns_are_chosen_by_name_in_the_order_given(tables: Comparison) -> None:
    (one,) = matrices(tables, ["synthetic02", "synthetic00"])
    assert list(one.values) == ["synthetic02", "synthetic00"]
    texts, bold = chosen(*shown_matrix(one, transposed=True), ["cupl", "simple"])
    assert list(texts) == list(bold) == ["data set", "cupl", "simple"]
    with pytest.raises(ResultsError, match="1 of 1 are no data set .*'synthetic2'.*Did you mean 'synthetic0"):
        matrices(tables, ["synthetic2"])
    with pytest.raises(ResultsError, match="none of 'cuppl' is a strategy .*Did you mean 'cupl'"):
        chosen(*shown_matrix(one, transposed=True), ["cuppl"])


def test_the_files_say_the_same_and_explain_their_marks(tables: Comparison, tmp_path: Path) -> None:
    write_tables(tables, tmp_path, Layout(transposed=True))
    csv = pd.read_csv(tmp_path / "tables" / "matrix.csv")
    assert csv["mean"].tolist() == pytest.approx(as_rows(matrices(tables))["mean"].tolist())
    for name in ("matrix.md", "matrix.tex"):
        text = (tmp_path / "tables" / name).read_text()
        assert "not significantly worse than the best (McNemar's exact test" in text
    comparison = (tmp_path / "tables" / "comparison.tex").read_text()
    assert "n.s.: the difference is not significant" in comparison


# LaTeX ---------------------------------------------------------------------------------------------------------------


def wide(columns: int, rows: int) -> pd.DataFrame:
    table = {"strategy": [f"strategy_{row} 50% {{x}} & \\y #1 ~^" for row in range(rows)]}
    return pd.DataFrame(table | {f"data_set_{number}": ["-12.3\u2020"] * rows for number in range(columns)})


def test_long_tables_break_and_wide_ones_turn_their_heads() -> None:
    text = latex_tables(wide(10, 100).replace("-12.3", "12.3", regex=True), "Caption of 5%.", "one", ["strategy"])
    parts = text.split("\\begin{table*}")[1:]
    assert len(parts) == 3
    assert sum(part.count("strategy\\_") for part in parts) == 100
    assert all("\\rotatebox{90}{data\\_set\\_9}" in part for part in parts)
    assert "rotatebox{90}{strategy}" not in text
    assert text.count("\\label") == 1
    assert text.count("\\addtocounter{table}{-1}") == 2
    narrow = latex_tables(wide(3, 2), "Caption.", "one", ["strategy"])
    assert "rotatebox" not in narrow.replace("graphicx", "")


def test_columns_beyond_the_width_continue_in_further_tables() -> None:
    parts = latex_tables(wide(30, 5), "Caption.", "one", ["strategy"]).split("\\begin{table*}")[1:]
    heads = [re.findall(r"data\\_set\\_(\d+)", part) for part in parts]
    assert [int(number) for head in heads for number in head] == list(range(30))
    assert len(parts) > 1
    assert all(part.count("strategy\\_") == 5 for part in parts)


def test_columns_that_tell_least_are_left_out_and_named() -> None:
    table = wide(1, 2).assign(**{"prompts": "p" * 110, "over classes": "[+0.1, +0.2]", "images": "1,000"})
    text = latex_tables(table, "Caption.", "one", ["strategy", "prompts"])
    assert "% Left out because the table is too wide: over classes" in text
    assert "over classes &" not in text


def test_other_scripts_need_another_compiler_and_the_file_says_so() -> None:
    assert "xelatex or lualatex" in latex_tables(wide(1, 1).assign(strategy="日本語"), "Caption.", "one", ["strategy"])
    assert "xelatex" not in latex_tables(wide(1, 1), "Caption.", "one", ["strategy"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="TeX is not installed")
def test_the_tables_compile_in_a_paper_of_two_columns_and_fit_it(tables: Comparison, tmp_path: Path) -> None:
    write_tables(tables, tmp_path)
    caption = "Caption of 5\u2020%."
    (tmp_path / "tables" / "wide.tex").write_text(latex_tables(wide(15, 60), caption, "wide", ["strategy"]))
    script = Path(__file__).parents[2] / "scripts" / "latex-test"
    done = subprocess.run([script, tmp_path, tmp_path / "out.pdf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")


# The keys of the command ---------------------------------------------------------------------------------------------


def test_keys_are_read_as_people_write_them() -> None:
    given = {"figures": "classes,strategies", "width": "page", "format": "[svg, png]", "pair": '["file (a, b)", cupl]'}
    choice = choice_of({**given, "against": "{a.json:1, b.json: 3}", "axis": "LLM-prompts"})
    assert choice.kinds == ("classes", "strategies")
    assert (choice.width, choice.formats, choice.pair) == ("page", ("svg", "png"), ("file (a, b)", "cupl"))
    assert choice.against == {"a.json": 1.0, "b.json": 3.0}
    assert choice_of({"figures": "none"}).kinds == ()
    assert layout_of({"rows": "datasets", "columns": "cupl,simple"}) == Layout(
        transposed=True, columns=("cupl", "simple")
    )
    assert layout_of({}) == Layout()
    assert list_of("columns", "[1, two]") == ["1", "two"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"figures": "clases"}, r"'clases' is none of strategies, classes.*Did you mean 'classes'\?"),
        ({"width": "wide"}, "'wide' is none of column, page, slide"),
        ({"format": "jpg"}, "'jpg' is none of pdf, svg, png"),
        ({"pair": "cupl"}, "pair=cupl should name two strategies"),
        ({"against": "[a]"}, "is no map from strategies to numbers"),
        ({"against": "{a: many}"}, "'a' has no number"),
        ({"figures": "[a"}, "cannot be read"),
        ({"rows": "classes"}, "'classes' is none of strategies, datasets"),
    ],
)
def test_a_wrong_value_has_one_message(own: dict[str, str], message: str) -> None:
    read = layout_of if "rows" in own else choice_of
    with pytest.raises(ConfigError, match=re.compile(message, re.DOTALL)):
        read(own)
