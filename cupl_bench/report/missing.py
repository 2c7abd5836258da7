"""Find the cells of a sweep that have no finished run."""

from collections.abc import Sequence

import pandas as pd

from cupl_bench.records import Record
from cupl_bench.report.naming import same_words
from cupl_bench.report.runs import Run, group_of, latest, named_runs

__all__ = ["missing_cells"]


def missing_cells(records: Sequence[Record]) -> pd.DataFrame:
    """Return the cells of data set x backbone x prompts that the others of their sweep have.

    ``dataset``, ``backbone``, ``prompts``, ``budget``, ``scorer`` and ``why``, which is the error of a failed run. Data
    sets and backbones belong to one sweep if runs connect them.
    """
    answered = [record for record in records if record.status == "ok"]
    open_ones = [
        record for record in records
        if record.status == "failed"
        and not any(group_of(one) == group_of(record) and _same_question(one, record) for one in answered)
    ]  # fmt: skip
    runs = named_runs(latest([*answered, *open_ones])[0])
    finished = {_cell(run) for run in runs if run.record.status == "ok"}
    failed = {_cell(run): run.record.error for run in runs if run.record.status == "failed"}
    rows = []
    for datasets, backbones in _sweeps({cell[:2] for cell in (*finished, *failed)}):
        of_sweep = [cell for cell in (*finished, *failed) if cell[0] in datasets]
        strategies = sorted({cell[2:] for cell in of_sweep}, key=str)
        for dataset in sorted(datasets):
            for backbone in sorted(backbones):
                for strategy in strategies:
                    cell = (dataset, backbone, *strategy)
                    if cell not in finished:
                        rows.append((*cell, failed.get(cell, "not run")))
    return pd.DataFrame(rows, columns=["dataset", "backbone", "prompts", "budget", "scorer", "why"])


def _same_question(one: Record, other: Record) -> bool:
    ours, theirs = one.prompts, other.prompts
    alike = (ours.name, ours.budget, ours.seed) == (theirs.name, theirs.budget, theirs.seed)
    return alike and same_words(one, other)


def _cell(run: Run) -> tuple[str, str, str, int | None, str]:
    return run.collection, run.group.backbone, run.prompts, run.record.prompts.budget, run.scorer


def _sweeps(pairs: set[tuple[str, str]]) -> list[tuple[set[str], set[str]]]:
    """Return the sets of data sets and backbones that runs connect, directly or through others."""
    sweeps: list[tuple[set[str], set[str]]] = []
    for dataset, backbone in sorted(pairs):
        touched = [sweep for sweep in sweeps if dataset in sweep[0] or backbone in sweep[1]]
        merged = ({dataset}.union(*(one[0] for one in touched)), {backbone}.union(*(one[1] for one in touched)))
        sweeps = [*(sweep for sweep in sweeps if sweep not in touched), merged]
    return sweeps
