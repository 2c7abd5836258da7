"""`cupl-bench plan`: what eval would reuse and compute, without running anything."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cupl_bench.commands.arguments import Arguments
from cupl_bench.commands.failures import told_once
from cupl_bench.commands.questions import asked, show_configuration
from cupl_bench.composition import Questions, plain_key, read_questions
from cupl_bench.errors import CuplBenchError
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.terminal import answer, complain, leave_output_to_the_answer, say, show_table, speak_to_program

if TYPE_CHECKING:
    from cupl_bench.commands.plan_rates import Rates
    from cupl_bench.run.plan import Plan, Planned

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Show the plan of what the arguments ask; return the exit code."""
    leave_output_to_the_answer()
    from cupl_bench.commands.plan_totals import totals_of
    from cupl_bench.commands.plan_words import lines_of
    from cupl_bench.commands.shared_questions import SharedQuestions
    from cupl_bench.run.plan import Planner
    from cupl_bench.schema import Output

    given = asked(given)
    questions = read_questions(given.overrides, given.config_dir, several=True)
    if given.cfg is not None:
        show_configuration(questions, given.cfg)
        return 0
    read, planner = SharedQuestions(questions.composer), Planner()
    is_json = questions.settings.output == Output.json
    speak_to_program(is_json)
    planned: list[Planned] = []
    mistakes: list[tuple[str, str]] = []
    folders: set[Path] = set()
    for one in questions.all:
        try:
            question, machine = read(one.overrides)
            planned.append(planner(question, machine))
            folders.add(machine.results_dir)
        except CuplBenchError as error:
            raise_if_interrupted()
            mistakes.append((one.name, str(error)))
    refused = {name for name, _ in mistakes}
    jobs = sum(any(one.name not in refused for one in job) for job in questions.jobs)
    totals = totals_of(planned, _rates(folders), jobs=jobs, one_for_each=_varied(questions))
    if is_json:
        answer(
            {
                "plan": [{**_names(one), **asdict(one.plan)} for one in planned],
                "totals": asdict(totals),
                "mistakes": [f"{name}: {error}" for name, error in mistakes],
            }
        )
    if planned:
        _show(planned)
        for line in lines_of(totals):
            say(line)
    for line in told_once(mistakes):
        complain(line)
    return 2 if mistakes else 0


def _rates(folders: Iterable[Path]) -> "dict[str, Rates]":
    """Return how long encoding took in the runs of these results folders."""
    from cupl_bench.commands.plan_rates import rates_of
    from cupl_bench.records import read_records

    return rates_of([record for folder in folders if (folder / "records").is_dir() for record in read_records(folder)])


def _varied(questions: Questions) -> list[str]:
    """Return what the jobs of a sweep differ in."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    for job in questions.jobs:
        for one in job[0].overrides:
            values[plain_key(one)].add(one)
    return [key.replace("dataset", "data set") for key, found in values.items() if len(found) > 1]


def _names(one: "Planned") -> dict[str, str]:
    return {"dataset": one.dataset, "backbone": one.backbone, "prompts": one.prompts, "scorer": one.scorer}


def _show(planned: Sequence["Planned"]) -> None:
    """Show a row for each question, without columns in which nothing is asked."""
    rows: list[dict[str, str]] = [
        {
            **_names(one),
            "data": one.plan.dataset_here,
            "images": _count(one.plan.num_images),
            "classes": _count(one.plan.num_classes),
            "prompts to average": _count(one.plan.num_prompts),
            "images to encode": _count(one.plan.images_to_encode),
            "views to encode": _views(one.plan),
            "prompts to encode": ("<= " if one.plan.texts_to_encode else "") + _count(one.plan.texts_to_encode),
            "prompts file": one.plan.prompts_file,
            "weights": one.plan.weights,
            "run": "finished" if one.plan.finished else one.plan.run_key or "",
        }
        for one in planned
    ]
    blanks = {"scorer": "plain", "views to encode": "", "prompts file": "here"}
    unasked = [name for name, blank in blanks.items() if all(row[name] == blank for row in rows)]
    show_table(
        [{name: cell for name, cell in row.items() if name not in unasked} for row in rows], "What eval would do"
    )


def _views(found: "Plan") -> str:
    if not found.views_to_encode:
        return "" if found.views_to_encode is None else "0"
    size = "" if found.views_gigabytes is None else f" ({found.views_gigabytes:,.1f} GB)"
    return f"{found.views_to_encode:,}{size}"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
