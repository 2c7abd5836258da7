"""`cupl-bench effects select=FILE`: the smallest set of prompts that is as good as all, as a file of prompts."""

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cupl_bench.errors import ConfigError, PromptsError
from cupl_bench.paths import absolute
from cupl_bench.report.texts import interval, percent, points
from cupl_bench.terminal import say, show_table

if TYPE_CHECKING:  # heavy: a look at the help needs no torch
    from cupl_bench.run.encode import Material
    from cupl_bench.run.prepared import Prepared
    from cupl_bench.smallest_set import Tried

__all__ = ["check_selectable", "target_of", "write_selection"]

FEWEST_IMAGES = 40
"""With fewer, ten of a fold would judge: anything is as good as all."""


def target_of(select: str) -> Path:
    """Return the path of the file to write.

    Raises:
        ConfigError: it is no name of a JSON file, or a file is there.
    """
    path = absolute(select)
    if path.suffix != ".json":
        raise ConfigError(f"select={select} should be the name of a JSON file to write, such as select=kept.json.")
    if path.exists():
        raise ConfigError(f"select={select} is there already. Move it, or choose another name.")
    return path


def check_selectable(prepared: "Prepared") -> None:
    """Check that a choice of these prompts can be written as a file of prompts, before anything is measured.

    Raises:
        PromptsError: prompts are weighted, or their features were given, or there are too few images.
    """
    prompts = prepared.prompts
    if prompts.given is not None:
        raise PromptsError("select= chooses sentences, but these prompts are features that were given.")
    if prompts.weighting is not None:
        raise PromptsError(
            "select= writes a file of prompts that all count the same, but these have weights. Choose prompts without,"
            " such as prompts=ensemble."
        )
    if len(prepared.dataset.labels) < FEWEST_IMAGES:
        raise PromptsError(
            f"select= chooses on one half of the images and judges on the other: {len(prepared.dataset.labels)} images"
            f" are too few; {FEWEST_IMAGES} are the least, and a thousand say more."
        )


def write_selection(material: "Material", path: Path) -> dict[str, Any]:
    """Write the chosen set unless it is significantly worse; show how it fared, and return the facts."""
    from cupl_bench.run.device import device_of
    from cupl_bench.smallest_set import smallest_set
    from cupl_bench.store import write_atomically

    prepared = material.prepared
    prompts, seed = prepared.prompts, prepared.question.config.seed or 0
    found = smallest_set(
        material.images.stored, material.labels, material.texts.rows, material.rows_of_class, prompts.aggregation,
        parallel=prompts.parallel, seed=seed, device=device_of(prepared.machine), sets=material.sets,
    )  # fmt: skip
    judged = found.judged
    if found.tried:
        _show([*found.tried, *([] if judged is None else [judged])], judged is not None)
    else:
        say("no class has more than one prompt: there is nothing to choose from")
    facts: dict[str, Any] = {
        "seed": seed,
        "tried": [_facts(one) for one in found.tried],
        "judged": None if judged is None else _facts(judged),
        "file": None,
    }
    if found.rows is None or judged is None:
        if found.tried:
            say("no smaller set: the largest is significantly worse than all prompts already, so nothing is written")
        return facts
    kept = _texts(material, found.rows)
    count, of_all = sum(map(len, kept.values())), prompts.num_prompts
    if judged.worse:
        say(
            "on the other half the chosen set is significantly worse than all prompts, so nothing is written: all are"
            " needed, or there are too few images to choose"
        )
        return facts
    write_atomically(path, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    found_difference = f"{points(judged.top1 - judged.top1_of_all)} points {interval(*judged.interval, signed=True)}"
    say(
        f"{count:,} of {of_all:,} prompts are not significantly worse than all:"
        f" {found_difference} on {judged.images:,} images that had no say in the choice"
    )
    aggregation = "" if prompts.aggregation == "mean" else f" prompts.aggregation={prompts.aggregation}"
    say(f"selected  {path}\nuse it    prompts=file {shlex.quote(f'prompts.path={path}')}{aggregation}")
    say("A run with it on all of these images flatters it: half of them chose it. Quote the difference above.")
    return facts | {"file": str(path), "num_prompts": count, "num_prompts_of_all": of_all}


def _texts(material: "Material", rows: "tuple[tuple[int, ...], ...]") -> dict[str, list[str]]:
    """Return the texts that stay, by the key of their class: its name, with the label where names repeat."""
    prompts, names = material.prepared.prompts, material.prepared.dataset.class_names
    times = Counter(names)
    kept: dict[str, list[str]] = {}
    for label, own in enumerate(rows):
        left = list(own)
        texts = []
        for row, text in zip(material.rows_of_class[label], prompts.texts[label], strict=True):
            if left and row == left[0]:  # both stand in the order of the prompts
                left.pop(0)
                texts.append(text)
        kept[names[label] if times[names[label]] == 1 else f"{names[label]} [{label}]"] = texts
    return kept


def _facts(one: "Tried") -> dict[str, Any]:
    low, high = one.interval
    return {
        "prompts_of_each_class": one.size, "num_images": one.images, "top1": one.top1, "top1_of_all": one.top1_of_all,
        "difference": one.top1 - one.top1_of_all, "difference_low": low, "difference_high": high,
        "gained": one.gained, "lost": one.lost, "p": one.p,
    }  # fmt: skip


def _show(tried: "list[Tried]", judged: bool) -> None:
    places = ["choice"] * (len(tried) - judged) + ["judgement"] * judged
    rows = [
        {
            "half": place,
            "prompts of each class": one.size,
            "images": f"{one.images:,}",
            "top-1": percent(one.top1),
            "all prompts": percent(one.top1_of_all),
            "difference [95%]": f"{points(one.top1 - one.top1_of_all)} {interval(*one.interval, signed=True)}",
            "p": f"{one.p:.2g}",
        }
        for place, one in zip(places, tried, strict=True)
    ]
    show_table(rows, "Smaller sets against all prompts: chosen on one half of the images, judged on the other")
