"""`cupl-bench status`: what of a sweep is done, running, failed or missing, without a data set or a model."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from cupl_bench.commands import COMMANDS
from cupl_bench.commands.arguments import Arguments, split
from cupl_bench.composition import NO_QUESTION, Questions, is_about, read_questions
from cupl_bench.errors import ResultsError
from cupl_bench.outcomes import State, last_outcomes, state_of
from cupl_bench.terminal import say

__all__ = ["command"]

LISTED = 20
"""Questions in one state for one reason that have a line each."""
STATES: tuple[State, ...] = ("done", "running", "failed", "missing")


def command(given: Arguments) -> int:
    """Show where the questions of a sweep stand; gives the exit code.

    The arguments are those of `eval`; with none but those of the machine, the last sweep below results_dir is meant.
    """
    asks = [one for one in given.overrides if not is_about(one, NO_QUESTION)]
    results_dir, names = _asked(given) if asks or given.multirun else _last(given)
    outcomes = last_outcomes(results_dir)
    states = {name: state_of(name, outcomes, results_dir) for name in names}
    counts = Counter(states[name][0] for name in names)
    say(f"{len(names)} questions: {', '.join(f'{counts[state]} {state}' for state in STATES)}")
    for state in STATES[1:]:
        for line in _lines(state, {name: word for name, (found, word) in states.items() if found == state}):
            say(line)
    return 0


def _lines(state: State, words: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each question, or for each reason where many questions share one."""
    alike = Counter(words.values())
    for name, word in words.items():
        if alike[word] <= LISTED:
            yield f"{state:<9} {name}: {word}"
    for word, count in alike.items():
        if count > LISTED:
            names = [name for name, own in words.items() if own == word]
            yield f"{state:<9} {count:,} questions: {word}: {'; '.join(names[:3])}; and {count - 3:,} more"


def _asked(given: Arguments) -> tuple[Path, list[str]]:
    questions = _questions(given)
    return questions.results_dir, questions.names


def _last(given: Arguments) -> tuple[Path, list[str]]:
    """Return the questions of the last sweep; folders of logs are named by their time."""
    results_dir = _questions(given).results_dir
    files = sorted((results_dir / "logs").glob("*/sweep.json"))
    if not files:
        raise ResultsError(
            f"{results_dir} holds no sweep. Name another results_dir, or give the arguments of 'cupl-bench eval'."
        )
    arguments = json.loads(files[-1].read_bytes())["arguments"]
    say(f"the last sweep: cupl-bench eval {' '.join(arguments)}")
    return results_dir, _questions(split("eval", COMMANDS["eval"], arguments)).names


def _questions(given: Arguments) -> Questions:
    return read_questions(given.overrides, given.config_dir, several=True)
