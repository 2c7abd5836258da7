"""`cupl-bench prompts`: looks at prompts without a model, those of a strategy or of files as they are."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose, is_about
from cupl_bench.dataset import class_names_of
from cupl_bench.errors import ConfigError, PromptsError, first, nearest
from cupl_bench.prompts import prompts_of
from cupl_bench.prompts.inspection import FAULTS, LABEL_KEY, Inspection, inspect_prompts, marks_of
from cupl_bench.prompts.sources import read_descriptions
from cupl_bench.terminal import complain, say, show_table

__all__ = ["command"]

Rows = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""The name of what is inspected, its class names, and the prompts of each class."""


def command(given: Arguments) -> int:
    """Show what can be said of prompts; 2 with ``--strict`` where something is wrong.

    Arguments: files, or ``dataset=... prompts=...``; ``class=NAME`` lists one class, ``tokenizer=ARCHITECTURE`` counts
    by another tokenizer of open_clip, ``output=json`` is for programs.
    """
    from cupl_bench.schema import Output

    strict, files = "--strict" in given.flags, given.plain
    overrides = [one for one in given.overrides if not is_about(one, ["output"])]
    config = compose(given.overrides, given.config_dir)
    options = {"class": "", "tokenizer": "ViT-B-32", **given.own}
    as_json = config.output == Output.json
    if files and overrides:
        raise ConfigError(
            f"{first(files)} would be inspected as they are, without {first(overrides)}. Give files, or a data set and"
            " prompts."
        )
    names = [Path(file).name for file in files]
    called = [file if names.count(name) > 1 else name for file, name in zip(files, names, strict=True)]
    looked_at = (
        [_rows_of_file(file, name) for file, name in zip(files, called, strict=True)]
        if files
        else [_rows_of_strategy(config)]
    )
    from cupl_bench.backbone.token_counts import token_counter

    count_tokens, context_length = token_counter(options["tokenizer"])
    if options["class"]:
        for rows in looked_at:
            _list_class(rows, options["class"], count_tokens, context_length, as_json=as_json)
        return 0
    found = {}
    for what, class_names, texts in looked_at:
        distinct = list(dict.fromkeys(text for row in texts for text in row))
        lengths = dict(zip(distinct, count_tokens(distinct), strict=True))
        found[what] = inspect_prompts(class_names, texts, lengths, context_length)
    if as_json:
        say(json.dumps({what: one.as_json() for what, one in found.items()}, indent=2, ensure_ascii=False))
    else:
        _show(found, options["tokenizer"])
    faulty = {what: one.faults() for what, one in found.items() if one.faults()}
    if strict and faulty:
        for what, faults in faulty.items():
            complain(f"{what}: {', '.join(f'{count:,} {FAULTS[name]}' for name, count in faults.items())}")
        return 2
    return 0


def _rows_of_file(file: str, name: str) -> Rows:
    held = read_descriptions(file)
    return name, list(held), list(held.values())


def _rows_of_strategy(config: Any) -> Rows:
    from cupl_bench.config import machine_of, question_of

    question = question_of(config)
    class_names = class_names_of(question.dataset, machine_of(config).cache_dir)
    prompts = prompts_of(question.prompts, class_names)
    return f"{question.dataset_name} x {question.prompts_name}", class_names, prompts.texts


def _list_class(
    rows: Rows, wanted: str, count_tokens: Callable[[Sequence[str]], list[int]], context_length: int, *, as_json: bool
) -> None:
    what, class_names, texts = rows
    plain = [LABEL_KEY.sub("", name) for name in class_names]  # all classes of a name that repeats
    labels = [label for label, name in enumerate(class_names) if wanted in (name, plain[label], str(label))]
    labels = labels or [label for label, name in enumerate(class_names) if name.casefold() == wanted.casefold()]
    if not labels:
        raise PromptsError(f"{what} has no class {wanted!r}.{nearest(wanted, class_names)} A label works too.")
    listing = []
    for label in labels:
        row = list(texts[label])
        others = [set(other) for place, other in enumerate(texts) if place != label]
        distinct = list(dict.fromkeys(row))
        for text, tokens in zip(distinct, count_tokens(distinct), strict=True):
            marks = marks_of(class_names[label], row, text, sum(text in other for other in others))
            if tokens > context_length:
                marks.append("cut")
            listing.append(
                {"label": label, "class": class_names[label], "tokens": tokens, "marks": "; ".join(marks), "text": text}
            )
    if as_json:
        say(json.dumps({what: listing}, indent=2, ensure_ascii=False))
        return
    for label in labels:
        say(f"{what}: {class_names[label]} ({label}), {len(texts[label])} prompts")
        for one in listing:
            if one["label"] == label:
                said = f"   <- {one['marks']}" if one["marks"] else ""
                say(f"{one['tokens']:>4}  {_one_line(str(one['text']))}{said}")


def _one_line(text: str) -> str:
    """Return a text as it is where it can be shown on a line, else with its white space written out."""
    plain = text.isprintable() and text == text.strip() and "  " not in text
    return text if plain else repr(text)


def _show(found: dict[str, Inspection], tokenizer: str) -> None:
    rows: list[dict[str, Any]] = []
    for what, one in found.items():
        low, high = one.per_class
        tokens = one.tokens
        rows.append(
            {
                "prompts of": what,
                "classes": f"{one.num_classes:,}",
                "per class": str(low) if low == high else f"{low} to {high}",
                "prompts": f"{one.num_prompts:,}",
                "distinct": f"{one.num_distinct:,}",
                "repeats": f"{one.repeats_within:,}",
                "across": f"{one.repeats_across:,}",
                "blank": f"{one.blank:,}",
                "fragments": f"{one.fragments:,}",
                "unnamed": f"{one.unnamed:,}",
                "twins": f"{one.twins:,}",
                "tokens": f"{tokens['mean']:.2f}",
                "p50/p95/p99/max": "/".join(f"{tokens[name]:.0f}" for name in ("p50", "p95", "p99", "max")),
                f"> {one.context_length}": f"{one.truncated:,}",
            }
        )
    show_table(rows, f"Prompts, counted by the tokenizer of {tokenizer}")
    for what, one in found.items():
        for name, cases in one.first_cases.items():
            say(f"{what}: {getattr(one, name):,} {FAULTS[name]}, first: {'; '.join(cases)}")
