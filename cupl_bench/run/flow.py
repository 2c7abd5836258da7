"""A question from its words to its record: `prepare`, `encode` and `score_together`, one after the other.

`encode` and `score_together` are imported when the first question needs them, and PyTorch with them, which takes
seconds: a question that `prepare` finds answered needs neither.
"""

from collections.abc import Callable, Iterable, Sequence

from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.libraries import PYTORCH, load_libraries
from cupl_bench.records import Record
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.prepare import prepare
from cupl_bench.run.prepared import Prepared
from cupl_bench.run.waiting import Waiting, is_time_to_score

__all__ = ["all_but_scores", "run", "run_together", "scored"]


def run(question: Question, machine: Machine, bench: Workbench) -> Record:
    """Answer a question, or find its answer, and return the record, which is also written.

    Raises:
        CuplBenchError: something that the user can correct; once the run key is known, a failed record tells it too.
    """
    found: Record | Waiting | Exception = all_but_scores(question, machine, bench)
    if isinstance(found, Waiting):
        (found,) = scored([found])
    if isinstance(found, Exception):
        raise found
    return found


def all_but_scores(question: Question, machine: Machine, bench: Workbench) -> Record | Waiting:
    """Do all but the scores of a question, which then waits for them; return its record where it is answered already.

    Raises:
        CuplBenchError: as `run`.
    """
    prepared = prepare(question, machine, bench)
    if not isinstance(prepared, Prepared):
        return prepared
    load_libraries(PYTORCH)
    from cupl_bench.run.encode import encode

    return encode(prepared)


def scored(waiting: Sequence[Waiting]) -> list[Record | Exception]:
    """Score questions together: `cupl_bench.run.scoring.score_together`, but for none at all."""
    if not waiting:
        return []
    from cupl_bench.run.scoring import score_together

    return score_together(waiting)


def run_together(asked: Iterable[Callable[[], tuple[Question, Machine]]], bench: Workbench) -> list[Record | Exception]:
    """Answer questions of the same images; return for each, in order, its record or its own error.

    Their scores are computed in one pass, or in a few passes where the waiting questions would take much memory.
    """
    found: dict[int, Record | Exception] = {}
    waiting: dict[int, Waiting] = {}

    def score() -> None:
        found.update(zip(waiting, scored(list(waiting.values())), strict=True))
        waiting.clear()

    for place, ask in enumerate(asked):
        if is_time_to_score(waiting.values()):
            score()
        try:
            one = all_but_scores(*ask(), bench)
        except Exception as error:  # noqa: BLE001 - given to the caller, so that no other question fails with it
            raise_if_interrupted()
            found[place] = error
            continue
        if isinstance(one, Waiting):
            waiting[place] = one
        else:
            found[place] = one
    score()
    return [found[place] for place in sorted(found)]
