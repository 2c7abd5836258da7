"""Which run of each group the others are compared with."""

import logging
from collections.abc import Mapping, Sequence

from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.report.runs import Group, Run

__all__ = ["baselines_of"]

log = logging.getLogger(__name__)

BASELINES = ("simple", "name_only")
"""The prompt strategies that others are compared with unless a user names another: the first that was run."""


def baselines_of(groups: Mapping[Group, Sequence[Run]], asked: str | None) -> dict[Group, Run]:
    """Return the run of each group that the others are compared with; groups without one are left out, and counted."""
    runs = sorted((run for members in groups.values() for run in members), key=lambda run: run.record.created_at)
    if asked is None:
        named = [run for name in BASELINES for run in runs if run.record.prompts.name == name]
        not_drawn = [run for run in runs if run.record.prompts.seed is None]
        order = list(dict.fromkeys(run.prompts for run in (*named, *not_drawn, *runs)))
    else:
        order = [_asked_baseline(asked, runs)]
    found: dict[Group, Run] = {}
    for group, members in groups.items():
        own = next((own for name in order if (own := [run for run in members if run.prompts == name])), [])
        plain = [run for run in own if run.strategy[1:] == ("mean", None, None)]
        whole = [run for run in own if run.record.prompts.budget is None]
        if own:
            found[group] = (plain or whole or own)[0]
    if asked is not None and (lost := [f"{one.dataset} x {one.backbone}" for one in groups if one not in found]):
        log.warning(
            "baseline=%s was not run in %d of %d groups, which are not compared: %s",
            asked, len(lost), len(groups), first(lost),
        )  # fmt: skip
    return found


def _asked_baseline(asked: str, runs: Sequence[Run]) -> str:
    """Return the name of the strategy that a user means; it may be shorter than in the tables if it is unique."""
    names = list(dict.fromkeys(run.prompts for run in runs))
    if asked in names:
        return asked
    meant = list(dict.fromkeys(run.prompts for run in runs if run.record.prompts.name == asked))
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ResultsError(
            f"baseline={asked} stands for {len(meant)} strategies of the records: {first(meant)}. Give the name of one"
            f" as it is written here: baseline='\"{meant[0]}\"'."
        )
    raise ResultsError(
        f"baseline={asked} is not a strategy of the records, which hold {first(names)}.{nearest(asked, names)}"
    )
