"""`cupl-bench status`: what of a sweep is done, running, failed or missing, without a data set or a model."""

import json
from collections import Counter
from pathlib import Path

from cupl_bench.commands.composition import NO_QUESTION, Sweep, is_about, sweep_of
from cupl_bench.errors import ResultsError
from cupl_bench.outcomes import State, last_outcomes, state_of
from cupl_bench.terminal import say

__all__ = ["command"]

STATES: tuple[State, ...] = ("done", "running", "failed", "missing")


def command(arguments: list[str]) -> int:
    """Show where the questions of a sweep stand; gives the exit code.

    The arguments are those of `eval`; with none but those of the machine, the last sweep below results_dir is meant.
    """
    asks = [one for one in arguments if not is_about(one, NO_QUESTION)]
    results_dir, names = _asked(arguments) if asks else _last(arguments)
    outcomes = last_outcomes(results_dir)
    states = {name: state_of(name, outcomes, results_dir) for name in names}
    counts = Counter(states[name][0] for name in names)
    say(f"{len(names)} questions: {', '.join(f'{counts[state]} {state}' for state in STATES)}")
    for state in STATES[1:]:
        for name, (found, word) in states.items():
            if found == state:
                say(f"{state:<9} {name}: {word}")
    return 0


def _asked(arguments: list[str]) -> tuple[Path, list[str]]:
    sweep = _swept(arguments)
    return sweep.results_dir, sweep.names


def _last(arguments: list[str]) -> tuple[Path, list[str]]:
    """The questions of the last sweep; folders of logs are named by their time."""
    results_dir = _swept(arguments).results_dir
    files = sorted((results_dir / "logs").glob("*/sweep.json"))
    if not files:
        raise ResultsError(
            f"{results_dir} knows of no sweep. Name another results_dir, or give the arguments of 'cupl-bench eval'."
        )
    given = json.loads(files[-1].read_bytes())["arguments"]
    say(f"the last sweep: cupl-bench eval {' '.join(given)}")
    return results_dir, _swept(given).names


def _swept(arguments: list[str]) -> Sweep:
    sweep = sweep_of(["-m", *(one for one in arguments if one not in ("-m", "--multirun"))])
    if sweep is None:
        raise ResultsError("status takes the arguments of 'cupl-bench eval', and none of Hydra's own questions.")
    return sweep
