"""Runs side by side: a row per question, grouped so that only like is compared with like; read and resampled once.

`compare` is the only way from records to numbers: the terminal, the files, the figures and the page all show the
`Comparison` that it returns.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cupl_bench.records import Record
from cupl_bench.report.answers import (
    GroupAnswers,
    RightImages,
    by_strategy,
    class_facts,
    compared_with,
    read_answers,
    right_images,
    same_images,
    sharing_images,
)
from cupl_bench.report.baselines import baselines_of
from cupl_bench.report.best import mark_level, mark_level_by_headline
from cupl_bench.report.classes import moved_confusions, per_class
from cupl_bench.report.controls import against_controls, corrected_controls
from cupl_bench.report.headline import Headlines, has_headline, is_beyond
from cupl_bench.report.missing import missing_cells
from cupl_bench.report.parts import KeptParts, Part
from cupl_bench.report.pooled import pooled_over_datasets
from cupl_bench.report.published import match_published
from cupl_bench.report.rows import ByPlain, add_rows
from cupl_bench.report.runs import Group, Run, comparable
from cupl_bench.report.significance import holm
from cupl_bench.report.standings import Standings, stand
from cupl_bench.report.writers import writers

__all__ = ["Comparison", "compare"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that the records of a results folder say; results/README.md has the columns of the tables.

    ``runs``: a row per run, and one for several seeds of a strategy. ``pooled``: means over data sets. ``standings``:
    ranks over data sets (`report.standings`). ``controls``: which controls a strategy beats (`report.controls`).
    ``writers``: files of descriptions with their cost and length (`report.writers`).
    ``classes`` and ``moved``: classes and moved confusions of all runs (`report.classes`) with their ``run_key``.
    ``published``: `report.published`. ``missing``: what a sweep lacks. ``groups``: the runs by what may be compared, as
    in ``runs``.
    """

    runs: pd.DataFrame
    pooled: pd.DataFrame
    standings: Standings
    controls: pd.DataFrame
    writers: pd.DataFrame
    classes: pd.DataFrame
    moved: pd.DataFrame
    published: pd.DataFrame
    missing: pd.DataFrame
    groups: Mapping[Group, Sequence[Run]]

    def of(self, run_keys: Sequence[str]) -> pd.DataFrame:
        """Return the rows of ``runs`` that belong to some runs, and the means over their seeds.

        They stand in the order of ``run_keys``, a group after another, the seeds of a strategy together: jobs that ran
        side by side are shown as those that ran one after another.
        """
        # The row of a mean over seeds has no key of its own; it stands above those of its runs.
        above = self.runs["run_key"].where(self.runs["run_key"] != "").bfill()
        places = above.map({run_key: place for place, run_key in enumerate(run_keys)})
        rows = self.runs[places.notna()]
        places = places[places.notna()]
        strategies = (rows["num_seeds"].notna() | ~rows["of_seeds"].astype(bool)).cumsum()
        groups = {run.record.run_key: place for place, runs in enumerate(self.groups.values()) for run in runs}
        order = pd.DataFrame(
            {
                "group": places.groupby(above[places.index].map(groups)).transform("min"),
                "strategy": places.groupby(strategies).transform("min"),
                "mean_first": rows["num_seeds"].isna(),
                "place": places,
            }
        ).sort_values(["group", "strategy", "mean_first", "place"])
        return rows.loc[order.index].reset_index(drop=True)


def compare(
    records: Sequence[Record],
    results_dir: Path,
    *,
    baseline: str | None = None,
    look: Callable[[GroupAnswers], None] | None = None,
    kept: KeptParts | None = None,
) -> Comparison:
    """Compare the finished runs: each one's predictions are read once, and each difference is resampled once.

    Within a group (the same images, the same features) each run is compared with the baseline, by a paired difference.
    Several seeds of one strategy have a row of their own above them: ``num_seeds`` counts them, ``top1_sd`` is their
    spread, and its other values are means over the seeds.

    Args:
        records: of all runs; failed ones count as missing.
        results_dir: where the records lie.
        baseline: the strategy that others are compared with, by its name in the tables. None: `simple`, where there is
            none `name_only`, and where there is neither the one that was run first.
        look: called with each group while its answers are in memory: those of a large sweep do not fit all at once.
        kept: what was compared before; a group of which nothing has changed is taken from there, and not looked at.

    Raises:
        ResultsError: nothing is finished, versions of the protocol or of a data set are mixed, predictions are
            missing, or no run is of ``baseline``.
    """
    groups = comparable(records, results_dir)
    baselines = baselines_of(groups, baseline)
    by_plain = ByPlain.of(groups)
    rows: list[dict[str, object]] = []
    draws: dict[int, np.ndarray] = {}
    read_rows: dict[int, list[Run]] = {}
    classes: list[pd.DataFrame] = []
    moved: list[pd.DataFrame] = []
    right: dict[str, RightImages] = {}
    controls: list[dict[str, object]] = []
    by_writer: list[dict[str, object]] = []
    headlines = Headlines(results_dir) if has_headline(records) else None
    for group, members in groups.items():
        base = baselines.get(group)
        # Metrics beyond accuracy are resampled over several groups; scorers are compared with the plain one's group.
        name = None if kept is None or headlines or by_plain.concerns(members) else kept.name_of(members, base)
        part = None if kept is None or name is None else kept.read(name, members)
        if part is None:
            part, told = _part(group, members, base, results_dir, by_plain, headlines, look)
            if kept is not None and name is not None and not told:
                kept.add(name, part)
        start = len(rows)
        rows += part.rows
        draws |= {start + place: one for place, one in part.draws.items()}
        runs = {run.record.run_key: run for run in members}
        read_rows |= {start + place: [runs[key] for key in keys] for place, keys in part.read.items()}
        classes.append(part.classes)
        moved += [] if part.moved is None else [part.moved]
        right |= part.right
        controls += part.controls
        by_writer += part.writers
    mark_level(rows, read_rows, right)
    if headlines is not None and any(is_beyond(record) for record in records):
        mark_level_by_headline(rows, read_rows, right, headlines.resamples)
    table, pooled, standings = _table(rows, draws, right, {} if headlines is None else headlines.draws)
    return Comparison(
        runs=table,
        pooled=pooled,
        standings=standings,
        controls=corrected_controls(controls),
        writers=pd.DataFrame(by_writer),
        classes=pd.concat(classes, ignore_index=True),
        moved=pd.concat(moved, ignore_index=True) if moved else pd.DataFrame(),
        published=match_published(table, records),
        missing=missing_cells(records),
        groups=groups,
    )


def _part(
    group: Group,
    members: Sequence[Run],
    baseline: Run | None,
    results_dir: Path,
    by_plain: ByPlain,
    headlines: Headlines | None,
    look: Callable[[GroupAnswers], None] | None,
) -> tuple[Part, bool]:
    """Read and compare a group. Return what it adds to the comparison, and whether it was warned of anything."""
    answers = sharing_images([read_answers(results_dir, run) for run in members])
    base = next((one for one in answers if one.run is baseline), None)
    facts = class_facts(results_dir, [run.record for run in members])
    of_group = [per_class(one, compared_with(one, base), facts) for one in answers]
    moved = [moved_confusions(one, other, facts) for one in answers if (other := compared_with(one, base)) is not None]
    read = GroupAnswers(group=group, members=answers, baseline=base, classes=pd.concat(of_group, ignore_index=True))
    told = _tell_others(read)
    rows: list[dict[str, object]] = []
    draws: dict[int, np.ndarray] = {}
    added = add_rows(read, rows, draws, by_plain, headlines)
    part = Part(
        rows=rows,
        read={place: [one.record.run_key for one in runs] for place, runs in added.items()},
        draws=draws,
        classes=read.classes,
        moved=pd.concat(moved, ignore_index=True) if moved else None,
        right={one.record.run_key: bits for one in answers if (bits := right_images(one)) is not None},
        controls=against_controls(by_strategy(answers)),
        writers=writers(by_strategy(answers), results_dir),
    )
    if look is not None:
        look(read)
    return part, told


def _tell_others(group: GroupAnswers) -> bool:
    """Name the runs that are not compared, because they answered other images; return whether there are any."""
    base = group.baseline
    others = [] if base is None else [one.record.run_key for one in group.members if not same_images(one, base)]
    for run_key in others:
        log.warning("run %s left out other images than %s: not compared", run_key, base and base.run.prompts)
    return bool(others)


def _table(
    rows: Sequence[dict[str, object]],
    draws: Mapping[int, np.ndarray],
    right: Mapping[str, RightImages],
    of_headlines: Mapping[str, np.ndarray],
) -> tuple[pd.DataFrame, pd.DataFrame, Standings]:
    """Return the rows as a table, their p corrected, and the means and the ranks over data sets."""
    table = pd.DataFrame(rows)
    counts = ["budget", "seed", "num_seeds", "gained", "lost"]
    table[counts] = table[counts].astype("Float64").astype("Int64")  # whole numbers, though some are missing
    of_table = table["p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(of_table))
    of_scorers = table["scorer_p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
    table.insert(table.columns.get_loc("scorer_p") + 1, "scorer_p_holm", holm(of_scorers))
    if "primary_p" in table:
        of_primary = table["primary_p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
        table.insert(table.columns.get_loc("primary_p") + 1, "primary_p_holm", holm(of_primary))
    pooled = pooled_over_datasets(table, draws)
    tail = [
        "dataset_shown", "backbone_shown", "prompts_name", "prompts_file", "prompts_digest", "baseline",
        "baseline_run_key", "fingerprint", "run_key",
    ]  # fmt: skip
    shown_columns = [*(name for name in table.columns if name not in (*tail, "collection")), *tail]
    return table[shown_columns], pooled, stand(table, right, of_headlines)
