"""`cupl-bench describe`: asks a language model for image-prompts of a data set's classes."""

import os
from collections.abc import Callable, Sequence

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.dataset import class_names_of
from cupl_bench.describe.answers import MARKS
from cupl_bench.describe.asking import checked_key
from cupl_bench.describe.image_prompts import Description, Plan, Written
from cupl_bench.terminal import complain, say, show_table

__all__ = ["command"]

TOKENIZER = "ViT-B-32"
"""By whose tokens an answer is too long: CLIP's own."""


def command(given: Arguments) -> int:
    """Ask, and write a CuPL JSON; with `describe.plan=true` count what would be asked. Return the exit code."""
    from cupl_bench.config import describing_of, machine_of

    config = compose(given.overrides, given.config_dir)
    dataset_name, source, endpoint, recipe = describing_of(config)
    machine = machine_of(config)
    class_names = class_names_of(source, machine.cache_dir)
    description = Description(
        dataset=dataset_name,
        class_names=class_names,
        endpoint=endpoint,
        recipe=recipe,
        folder=machine.results_dir / "descriptions",
    )
    if repeated := sorted({name for name in class_names if class_names.count(name) > 1}):
        complain(
            f"{len(repeated)} class names repeat, first: {repeated[0]!r}. A language model cannot tell such classes"
            " apart; each gets answers of its own under 'NAME [LABEL]'. Another list of names may tell them apart:"
            " dataset.names=..."
        )
    if recipe.plan:
        _show_plan(description.plan())
        return 0

    def key() -> str | None:
        return None if endpoint.key_from is None else checked_key(endpoint.key_from, os.environ.get(endpoint.key_from))

    def counter() -> tuple[Callable[[Sequence[str]], list[int]], int]:
        from cupl_bench.backbone.token_counts import token_counter

        return token_counter(TOKENIZER)

    _show(description.write(key, counter), dataset_name)
    return 0


def _show_plan(plan: Plan) -> None:
    row = {
        "classes": f"{plan.classes:,}",
        "LLM-prompts": f"{plan.llm_prompts:,}",
        "answers": f"{plan.answers:,}",
        "in the journal": f"{plan.journaled:,}",
        "requests": f"{plan.requests:,}",
        "tokens in": f"~ {plan.input_tokens:,}",
        "tokens out": f"<= {plan.output_tokens:,}",
        "cost": "?" if plan.cost is None else f"<= {plan.cost:.2f}",
    }
    show_table([row], "What describe would ask")
    say("tokens in: 4 characters each; out: if every answer had describe.max_tokens tokens")
    if plan.cost is None:
        say("the cost needs llm.price_input and llm.price_output, each for a million tokens")


def _show(written: Written, dataset: str) -> None:
    for mark, (count, gone, cases) in written.marks.items():
        fate = "left out" if gone == count else f"{gone:,} left out" if gone else "kept"
        say(f"{mark:<10} {count:,} answers {MARKS[mark]}: {fate}; first: {'; '.join(cases)}")
    low, high = written.per_class
    each = f"{low}" if low == high else f"{low} to {high}"
    say(f"sentences  {written.sentences:,}, {each} of each class; {written.left_out:,} answers left out")
    cost = "" if written.cost is None else f", cost {written.cost:.4f}"
    unknown = f"; {written.uncounted:,} replies did not report their tokens" if written.uncounted else ""
    say(f"tokens     {written.input_tokens:,} in, {written.output_tokens:,} out{cost}{unknown}")
    say(f"provenance {written.provenance}")
    say(f"next       cupl-bench eval dataset={dataset} prompts=file prompts.path={written.output}")
    say(f"written    {written.output}")
