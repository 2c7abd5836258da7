"""`cupl-bench plan`: what eval would reuse and compute, without running anything."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cupl_bench.commands.arguments import Arguments
from cupl_bench.commands.failures import told_once
from cupl_bench.commands.questions import each_question
from cupl_bench.errors import CuplBenchError
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.paths import absolute
from cupl_bench.terminal import answer, complain, say, show_table, speak_to_program

if TYPE_CHECKING:
    from cupl_bench.run.plan import Plan

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Show the plan of what the arguments ask; return the exit code."""
    from cupl_bench.commands.plan_totals import Planned, speeds, totals
    from cupl_bench.config import machine_of, question_of
    from cupl_bench.records import read_records
    from cupl_bench.run.bench import Workbench
    from cupl_bench.run.plan import plan
    from cupl_bench.schema import Output

    bench = Workbench()
    forms: set[Output] = set()
    rows: list[dict[str, object]] = []
    plans: list[dict[str, object]] = []
    mistakes: list[tuple[str, str]] = []
    planned: list[Planned] = []
    folders: set[Path] = set()
    for name, config in each_question(given):
        forms.add(config.output)
        speak_to_program(config.output == Output.json)
        try:
            question = question_of(config)
            found = plan(question, machine_of(config), bench)
        except CuplBenchError as error:
            raise_if_interrupted()
            mistakes.append((name, str(error)))
            continue
        folders.add(absolute(config.results_dir))
        planned.append(
            Planned(
                dataset=question.dataset_name,
                backbone=question.backbone_name,
                precision=question.precision,
                prompts=question.prompts_name,
                plan=found,
            )
        )
        plans.append({**question.names, **asdict(found)})
        rows.append(
            {
                **question.names,
                "data": found.dataset_here,
                "images": _count(found.num_images),
                "classes": _count(found.num_classes),
                "prompts to average": _count(found.num_prompts),
                "images to encode": _count(found.images_to_encode),
                "views to encode": _views(found),
                "prompts to encode": ("<= " if found.texts_to_encode else "") + _count(found.texts_to_encode),
                "prompts file": found.prompts_file,
                "weights": found.weights,
                "run": "finished" if found.finished else found.run_key or "",
            }
        )
    if Output.json in forms:
        answer({"plan": plans, "mistakes": [f"{name}: {error}" for name, error in mistakes]})
    if rows:
        blanks = {"scorer": "plain", "views to encode": "", "prompts file": "here"}
        unasked = [name for name, blank in blanks.items() if all(row[name] == blank for row in rows)]
        shown = [{name: cell for name, cell in row.items() if name not in unasked} for row in rows]
        show_table(shown, "What eval would do")
        records = [record for folder in folders if (folder / "records").is_dir() for record in read_records(folder)]
        for line in totals(planned, speeds(records)):
            say(line)
    for line in told_once(mistakes):
        complain(line)
    return 2 if mistakes else 0


def _views(found: "Plan") -> str:
    if not found.views_to_encode:
        return "" if found.views_to_encode is None else "0"
    return f"{found.views_to_encode:,} ({found.views_gigabytes:,.1f} GB)"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
