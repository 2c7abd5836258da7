"""Collect what the page shows below the matrix: ranks over data sets, controls, and who writes best."""

from typing import Any

import pandas as pd

from cupl_bench.report.comparison import Comparison
from cupl_bench.report.controls import shown_controls
from cupl_bench.report.shown import strategy_names
from cupl_bench.report.standings import notes_of

__all__ = ["evidence"]

OF_RANKS = (
    "precision", "kind", "scorer", "baseline", "num_datasets", "datasets", "average_rank", "rank_low", "rank_high",
    "as_good_as_best", "win_rate", "top1", "skill_score", "p_holm", "swap_images", "swap_datasets",
)  # fmt: skip
STRATEGY = ["dataset", "backbone", "precision", "prompts", "scorer", "aggregation", "budget"]
OF_CONTROL = ("control", "control_top1", "difference", "difference_low", "difference_high", "p_holm", "beats")
OF_WRITERS = (
    "dataset", "backbone", "precision", "prompts", "scorer", "prompts_file", "language_model", "prompts_per_class",
    "words_per_prompt", "input_tokens", "output_tokens", "cost", "top1", "top1_low", "top1_high", "difference",
    "p_holm",
)  # fmt: skip


def evidence(comparison: Comparison) -> dict[str, Any]:
    """Return ``ranks``, ``controls`` and ``writers`` as plain data, each None where the records have none of it."""
    return {
        "ranks": _ranks(comparison),
        "controls": _controls(comparison.controls) if len(comparison.controls) else None,
        "writers": comparison.writers[list(OF_WRITERS)].to_dict("records") if len(comparison.writers) else None,
    }


def _ranks(comparison: Comparison) -> dict[str, Any] | None:
    """Return the rows of all leagues, and what is to be read below them: also where there are no ranks, and why."""
    table, notes = comparison.standings.table, notes_of(comparison.standings)
    if not len(table):
        return {"rows": [], "notes": notes} if notes else None
    rows = [
        {name: row[name] for name in OF_RANKS} | {"backbone": row["backbone_shown"], "strategy": strategy}
        for row, strategy in zip(table.to_dict("records"), strategy_names(table), strict=True)
    ]
    return {"rows": rows, "notes": notes}


def _controls(table: pd.DataFrame) -> dict[str, Any]:
    """Return a row for each strategy with its difference to each control, and what each control keeps."""
    names = shown_controls(table)["prompts"]
    rows = [
        dict(zip(STRATEGY, key, strict=True))
        | {"strategy": name, "against": members[list(OF_CONTROL)].to_dict("records")}
        for (key, members), name in zip(table.groupby(STRATEGY, dropna=False, sort=False), names, strict=True)
    ]
    return {"rows": rows, "keeps": dict(zip(table["control"], table["keeps"], strict=True))}
