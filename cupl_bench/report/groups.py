"""The runs of a group with their answers, while the group is compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cupl_bench.report.answers import Answers, same_images
from cupl_bench.report.runs import Group, Strategy

__all__ = ["GroupAnswers", "by_strategy", "compared_with"]


@dataclass(frozen=True, kw_only=True)
class GroupAnswers:
    """The runs of a group with their answers, in memory while the group is compared.

    ``baseline``: the run that the others are compared with, None where the group has none. ``classes``: a row per class
    and run (`report.classes.per_class`).
    """

    group: Group
    members: Sequence[Answers]
    baseline: Answers | None
    classes: pd.DataFrame

    def against(self, answers: Answers) -> Answers | None:
        """Return what these answers are compared with: `compared_with`."""
        return compared_with(answers, self.baseline)


def compared_with(answers: Answers, baseline: Answers | None) -> Answers | None:
    """Return the baseline, if it is another run on the same images; else None."""
    if baseline is None or answers is baseline or not same_images(answers, baseline):
        return None
    return baseline


def by_strategy(members: Sequence[Answers]) -> dict[Strategy, list[Answers]]:
    """Return the runs by strategy; several are seeds of one."""
    out: dict[Strategy, list[Answers]] = {}
    for answers in members:
        out.setdefault(answers.run.strategy, []).append(answers)
    return out
