"""How each question of a sweep ended, whoever answered it: what `cupl-bench status` reads.

A question is known by its overrides. While it is answered, its lease lies in running/ below the results folder. Its
last outcome lies in outcomes/: the job that ends it last writes last, so no clock and no time zone decides which
one counts.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cupl_bench.errors import ResultsError
from cupl_bench.identity import content_key
from cupl_bench.lease import holder_of
from cupl_bench.records import record_path
from cupl_bench.store import write_atomically

__all__ = ["Outcome", "State", "last_outcomes", "read_outcomes", "running_lease", "state_of", "write_outcome"]

State = Literal["done", "running", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one question ended: its run, or what went wrong and whose fault it was.

    ``note``: why there is neither a run nor an error. ``left``: whether it was not asked at all.
    """

    job: str
    run_key: str | None
    error: str | None = None
    mistake: bool = False
    note: str | None = None
    left: bool = False


def write_outcome(folder: Path, number: int, outcome: Outcome) -> None:
    """Keep the outcome of question ``number`` of the sweep whose logs lie in ``folder``, a folder of results_dir/logs.

    It becomes the last outcome of its question, unless the question was not asked.
    """
    content = json.dumps(asdict(outcome)).encode()
    write_atomically(folder / "outcomes" / f"{number:06d}.json", content)
    if not outcome.left and folder.parent.name == "logs":
        write_atomically(folder.parents[1] / "outcomes" / f"{_name_of(outcome.job)}.json", content)


def read_outcomes(folder: Path) -> list[Outcome]:
    """Return the outcomes of a sweep so far, in the order of its questions.

    Raises:
        ResultsError: a file holds something else.
    """
    return [_read(path) for path in sorted((folder / "outcomes").glob("*.json"))]


def last_outcomes(results_dir: Path) -> dict[str, Outcome]:
    """Return how each question below a results folder ended last.

    Earlier versions kept outcomes only beside their logs, in folders named by a local time; of those outcomes the one
    written last counts.
    """
    found: dict[str, Outcome] = {}
    for path in sorted((results_dir / "logs").glob("*/outcomes/*.json"), key=_written):
        outcome = _read(path)
        if not outcome.left:
            found[outcome.job] = outcome
    return found | {outcome.job: outcome for outcome in read_outcomes(results_dir)}


def _written(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, str(path)


def _name_of(job: str) -> str:
    return content_key({"job": job})[:24]


def running_lease(results_dir: Path, job: str) -> Path:
    """Return the lease of who answers a question."""
    return results_dir / "running" / f"{_name_of(job)}.lease"


def state_of(job: str, outcomes: Mapping[str, Outcome], results_dir: Path) -> tuple[State, str]:
    """Return the state of a question, and a word on it: its run key, its error, or the job that works on it."""
    holder = holder_of(running_lease(results_dir, job))
    if holder is not None:
        return "running", str(holder)
    outcome = outcomes.get(job)
    if outcome is None:
        return "missing", "no job has finished it"
    if outcome.error is not None:
        return "failed", outcome.error
    if outcome.run_key is not None and not record_path(results_dir, outcome.run_key).is_file():
        return "missing", f"the record {outcome.run_key} is gone"
    return "done", outcome.run_key or str(outcome.note)


def _read(path: Path) -> Outcome:
    try:
        return Outcome(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ResultsError(f"{path} is not an outcome of a question ({error}). Remove it.") from error
