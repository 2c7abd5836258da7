"""`cupl-bench report`: tables, figures and a page from the records below results_dir."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cupl_bench.commands.arguments import Arguments
from cupl_bench.commands.kept_report import (
    OF_REPORT,
    OF_SWEEP,
    Ending,
    Table,
    ending_of,
    keep,
    made_from,
    one_at_a_time,
    warnings_heard,
)
from cupl_bench.commands.report_keys import choice_of, layout_of
from cupl_bench.composition import compose
from cupl_bench.errors import ConfigError, first, nearest
from cupl_bench.paths import absolute
from cupl_bench.progress import busy, step
from cupl_bench.terminal import answer, complain, rows_of, say, show_table, speak_to_program

if TYPE_CHECKING:
    from cupl_bench.records import Record
    from cupl_bench.report.comparison import Comparison
    from cupl_bench.report.page import Page

__all__ = ["Report", "command", "report_sweep", "write_report"]

TITLE = "Accuracy in percent"
WRITERS_TITLE = "Files of descriptions, best first; n.s. after Holm for all their pairs"
CONTROLS_TITLE = "Which controls a strategy beats: differences in points, n.s. after Holm for the whole table"
EMPTY: Mapping[str, str] = MappingProxyType({})
QUICK = 100_000
"""Answers of all runs together that a report takes a few seconds for, thumbnails included."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The files of a report, and the comparison that all of them show. ``page``: None where it takes too long."""

    comparison: "Comparison"
    tables: list[Path]
    figures: list[Path]
    page: "Page | None"

    @property
    def files(self) -> list[Path]:
        """All that was written; of the thumbnails, which may be many, the folders that they lie in."""
        of_page = [] if self.page is None else [*self.page.files, *self.page.thumbnail_folders]
        return [*self.tables, *self.figures, *of_page]


def write_report(results_dir: Path, config: Any, *, quick: bool = False, own: Mapping[str, str] = EMPTY) -> Report:
    """Compare the runs once, and write tables, figures and the page from that comparison.

    Args:
        results_dir: where the records lie.
        config: says where the caches are, and which baseline is asked for.
        quick: write only the tables if figures and page would take more than a few seconds.
        own: the keys of this command alone, such as kinds of figures.

    Raises:
        ConfigError: one of these keys has a value that it does not take.
        ResultsError: there is nothing to compare, or it is not comparable.
    """
    # Its list of fonts belongs to our cache: nothing is written into a user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(absolute(config.cache_dir) / "matplotlib"))
    with busy("reading the runs"):
        from cupl_bench.commands.images import images_here
        from cupl_bench.records import read_records
        from cupl_bench.report.comparison import compare
        from cupl_bench.report.figures import write_figures
        from cupl_bench.report.page import PageWriter
        from cupl_bench.report.parts import KeptParts
        from cupl_bench.report.tables import write_tables

        choice, layout = choice_of(own), layout_of(own)
        records = read_records(results_dir)
    compared = f"{len(records):,} runs"
    if quick and sum(record.dataset.num_images for record in records) > QUICK:
        with step("comparing", compared):
            comparison = compare(records, results_dir, baseline=config.baseline)
        return Report(comparison=comparison, tables=write_tables(comparison, results_dir), figures=[], page=None)
    page = PageWriter(results_dir)
    kept = KeptParts(results_dir, page)
    with step("comparing", compared):
        comparison = compare(records, results_dir, baseline=config.baseline, look=page.look, kept=kept)
    with busy("writing tables"):
        tables = write_tables(comparison, results_dir, layout)
    with step("drawing", "figures"):
        figures = write_figures(comparison, results_dir, choice)
    images = images_here(config)
    with step("writing", "the page"):
        written = page.write(comparison, images)
    kept.forget_others()
    return Report(comparison=comparison, tables=tables, figures=figures, page=written)


def report_sweep(results_dir: Path, run_keys: Sequence[str], config: Any) -> Sequence[Mapping[str, Any]]:
    """Show the runs of a sweep side by side, and write the report of the folder that they lie in.

    Return the rows of the sweep in the comparison of all runs. If another run of the folder prevents that comparison,
    a message says so, and the runs of the sweep are shown without one. Nothing is written, and nothing compared, where
    the same sweep ended here before and no file has changed since.
    """
    say("")
    digest = made_from(results_dir, list(run_keys), config)
    ending = ending_of(results_dir, OF_SWEEP, digest)
    if ending is None:
        with one_at_a_time(results_dir):
            ending = _reported(results_dir, run_keys, config, digest)
    else:
        for warning in ending.warnings:
            complain(warning)
    _show(ending)
    rows: Sequence[Mapping[str, Any]] = ending.answer["rows"]
    return rows


def _reported(results_dir: Path, run_keys: Sequence[str], config: Any, digest: str) -> Ending:
    from cupl_bench.errors import ResultsError
    from cupl_bench.records import read_record, record_path
    from cupl_bench.report.comparison import compare

    def ending_with(runs: Any, warnings: Sequence[str], last: Sequence[str]) -> Ending:
        table, lines = _as_shown(runs)
        return Ending(warnings=warnings, tables=[table], lines=lines, last=last, answer={"rows": rows_of(runs)})

    with warnings_heard() as warnings:
        try:
            report = write_report(results_dir, config, quick=True)
        except ResultsError as error:
            of_sweep: list[Record] = [read_record(record_path(results_dir, key)) for key in run_keys]
            complain(f"no report was written: {error}")
            return ending_with(compare(of_sweep, results_dir).runs, [], [])
    ending = ending_with(report.comparison.of(run_keys), warnings, _left(results_dir, report))
    keep(results_dir, OF_SWEEP, digest, ending, report.files)
    return ending


def command(given: Arguments) -> int:
    """Write the tables, the figures and the page, and show the tables; return the exit code.

    Nothing is written, and nothing compared, where the same report was made before and no file has changed since.
    """
    from cupl_bench.schema import Output

    config = compose(given.overrides, given.config_dir)
    speak_to_program(config.output == Output.json)
    results_dir = absolute(config.results_dir)
    if given.plain:
        return _paper(given.plain, results_dir, config)
    digest = made_from(results_dir, sorted(given.own.items()), config)
    ending = ending_of(results_dir, OF_REPORT, digest)
    if ending is None or _images_came(ending, results_dir, config):
        with one_at_a_time(results_dir):
            with warnings_heard() as warnings:
                report = write_report(results_dir, config, own=given.own)
            ending = _ending_of_report(results_dir, report, warnings)
            keep(results_dir, OF_REPORT, digest, ending, report.files)
    else:
        for warning in ending.warnings:
            complain(warning)
    _show(ending)
    if config.output == Output.json:
        answer(ending.answer)
    return 0


def _ending_of_report(results_dir: Path, report: Report, warnings: list[str]) -> Ending:
    """Return what a report shows, and its answer to a program."""
    from cupl_bench.report.controls import shown_controls
    from cupl_bench.report.shown import shown_pooled, strategy_names
    from cupl_bench.report.standings import notes_of, shown_ranking
    from cupl_bench.report.writers import shown_writers

    found, ranking = report.comparison, report.comparison.standings.table
    first_table, lines = _as_shown(found.runs)
    others = {
        "Means over data sets, in percent": shown_pooled(found.pooled) if len(found.pooled) else (),
        CONTROLS_TITLE: shown_controls(found.controls) if len(found.controls) else (),
        WRITERS_TITLE: shown_writers(found.writers) if len(found.writers) else (),
        "Ranks over data sets": shown_ranking(ranking, strategy_names(ranking)) if len(ranking) else (),
    }
    last = list(notes_of(found.standings))
    exact = found.published[found.published["match"] == "exact"]
    if len(exact):
        agree = int(exact["agrees"].sum())
        last.append(f"{agree} of {len(exact)} published numbers of the same question agree: published.md")
    if len(found.missing):
        cells = [" x ".join(map(str, row[:3])) for row in found.missing.head(3).itertuples(index=False)]
        missing = f"{len(found.missing)} cells of the sweep are missing, first: {', '.join(cells)}: missing.csv"
        complain(missing)
        warnings = [*warnings, missing]
    return Ending(
        warnings=warnings,
        tables=[first_table, *(_table(title, frame) for title, frame in others.items() if len(frame))],
        lines=lines,
        last=[*last, *_left(results_dir, report)],
        answer={
            "comparison": rows_of(found.runs),
            "pooled": rows_of(found.pooled),
            "controls": rows_of(found.controls),
            "writers": rows_of(found.writers),
            "ranking": rows_of(ranking),
            "ranking_notes": notes_of(found.standings),
            "missing": rows_of(found.missing),
            "tables": [str(path) for path in report.tables],
            "figures": [str(path) for path in report.figures],
            "page": str(report.page and report.page.path),
        },
        without_images=[] if report.page is None else report.page.without_images,
    )


def _images_came(ending: Ending, results_dir: Path, config: Any) -> bool:
    """Return whether images are here that were not when the report was written: they get thumbnails."""
    if not ending.without_images:
        return False
    from cupl_bench.commands.images import images_here
    from cupl_bench.records import read_record, record_path

    open_images = images_here(config)
    return any(open_images(read_record(record_path(results_dir, key))) is not None for key in ending.without_images)


def _show(ending: Ending) -> None:
    """Show tables and lines on the terminal; the files hold more columns."""
    for table in ending.tables[:1]:
        show_table(table.rows, table.title)
    for line in ending.lines:
        say(line)
    for table in ending.tables[1:]:
        show_table(table.rows, table.title)
    for line in ending.last:
        say(line)


def _paper(words: Sequence[str], results_dir: Path, config: Any) -> int:
    """Write the paragraph of a paper, show it with what is not known, and return the exit code."""
    from cupl_bench.paragraph import paper_of, write_paper
    from cupl_bench.records import read_records
    from cupl_bench.schema import Output

    if list(words) != ["paper"]:
        raise ConfigError(
            f"report takes one word, paper, or none, not {first(words, 3)}.{nearest(words[0], ['paper'])}"
            " 'cupl-bench report results_dir=FOLDER' reports on another folder."
        )
    paper = paper_of(read_records(results_dir), results_dir, baseline=config.baseline)
    paths = write_paper(paper, results_dir)
    say(paper.markdown)
    if paper.unknown:
        say(f"not known, {len(paper.unknown)} things to find out by hand: {'; '.join(paper.unknown)}")
    for path in paths:
        say(str(path))
    if config.output == Output.json:
        answer({"markdown": paper.markdown, "unknown": paper.unknown, "files": [str(path) for path in paths]})
    return 0


def _left(results_dir: Path, report: Report) -> list[str]:
    """Return the lines that say what a report has left, and where."""
    counts = [f"{len(report.tables)} tables", *([f"{len(report.figures)} files of figures"] if report.figures else [])]
    if report.page is not None:
        page = report.page.path.relative_to(results_dir)
        return [f"results   {results_dir}: page {page}, {', '.join(counts)}"]
    return [
        f"results   {results_dir}: {', '.join(counts)}",
        f"page      cupl-bench report results_dir={results_dir} writes it, and the figures",
    ]


def _as_shown(runs: Any) -> tuple[Table, list[str]]:
    """Return the table of these rows, and the lines below it, which say what they are compared with."""
    from cupl_bench.report.shown import baseline_names, shown

    table = shown(runs).drop(columns=["over classes"], errors="ignore")
    lines = []
    if names := baseline_names(runs):
        lines.append(f"baseline: {', '.join(names)}; baseline=NAME compares with another")
    if any("n.s." in str(cell) for column in table for cell in table[column]):
        others = "; of other metrics by the spread of a paired bootstrap" if "primary_value" in runs else ""
        lines.append(f"n.s.: not significant (McNemar's exact test{others}, corrected for the whole table after Holm)")
    return _table(TITLE, table), lines


def _table(title: str, frame: Any) -> Table:
    rows = [{str(name): str(cell) for name, cell in row.items()} for row in frame.to_dict("records")]
    return Table(title=title, rows=rows)
