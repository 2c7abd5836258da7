"""What a check says: its verdict, the reason, how many cases there are, and the first of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["SHOWN", "Finding", "Seen", "Verdict", "count_runs", "exit_code"]

Verdict = Literal["ok", "differs", "cannot be judged"]

SHOWN = 3
"""Cases of a finding that are named."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    ``check``: its name. ``subject``: what was checked, in words. ``reason``: why the verdict is so. ``count``: how many
    cases there are. ``cases``: the first three. ``decides``: whether the whole cannot be judged where this cannot; not
    of comparisons with what others have published, which exists of few questions.
    """

    check: str
    subject: str
    verdict: Verdict
    reason: str
    count: int = 0
    cases: tuple[str, ...] = ()
    decides: bool = True


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 where all is well, 1 where something differs, 2 where nothing differs and something cannot be judged.

    >>> exit_code([Finding(check="files", subject="2 runs", verdict="differs", reason="1 is lost")])
    1
    """
    found = list(findings)
    if any(one.verdict == "differs" for one in found):
        return 1
    return 2 if any(one.verdict == "cannot be judged" and one.decides for one in found) else 0


@dataclass
class Seen:
    """What a check says of its cases: ``faults`` differ, ``unknown`` cannot be judged, ``notes`` are only told."""

    faults: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def finding(self, check: str, subject: str, well: str, *, decides: bool = True) -> Finding:
        told = "".join(f"; {note}" for note in self.notes)
        verdict: Verdict = "differs" if self.faults else "cannot be judged" if self.unknown else "ok"
        cases = self.faults or self.unknown
        many = "1 case" if len(cases) == 1 else f"{len(cases):,} cases"
        return Finding(
            check=check,
            subject=subject,
            verdict=verdict,
            reason=f"{many if cases else well}{told}",
            count=len(cases),
            cases=tuple(cases[:SHOWN]),
            decides=decides,
        )


def count_runs(number: int) -> str:
    """Return a number of runs in words."""
    return "1 run" if number == 1 else f"{number:,} runs"
