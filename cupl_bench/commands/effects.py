"""`cupl-bench effects`: what each prompt adds, and accuracy against the number of prompts, from stored features."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cupl_bench.commands.arguments import Arguments
from cupl_bench.commands.failures import told_once
from cupl_bench.commands.questions import each_question
from cupl_bench.commands.selecting import check_selectable, target_of, write_selection
from cupl_bench.errors import ConfigError, CuplBenchError, short
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.report.texts import interval, percent, points
from cupl_bench.terminal import answer, complain, rows_of, say, show_table, speak_to_program

if TYPE_CHECKING:  # heavy: a look at the help needs no torch
    import pandas as pd

    from cupl_bench.run.encode import Material

__all__ = ["command"]

DRAWS = 10
"""Draws of so many prompts; their seeds are those of ``budget`` with ``seed=0`` to 9."""
SHOWN = 5


def command(given: Arguments) -> int:
    """Write and show the effects of the prompts of each question that the arguments ask; return the exit code."""
    from cupl_bench.config import machine_of, question_of
    from cupl_bench.run.bench import Workbench
    from cupl_bench.run.encode import gather
    from cupl_bench.schema import Output
    from cupl_bench.scorers.facts import check_plain

    select = given.own.get("select")
    target = None if select is None else target_of(select)
    bench = Workbench()
    forms: set[Output] = set()
    measured: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []

    questions = list(each_question(given))
    if target is not None and len(questions) > 1:
        raise ConfigError(f"select= writes one file, and {len(questions)} questions are asked. Ask one at a time.")
    for name, config in questions:
        forms.add(config.output)
        speak_to_program(config.output == Output.json)
        try:
            machine = machine_of(config)
            question = question_of(config)
            check_plain(question.scorer_name, question.scorer, "effects")
            material = gather(question, machine, bench)
            if target is not None:
                check_selectable(material.prepared)
            measured.append(write_effects(material, machine.results_dir))
            if target is not None:
                measured[-1]["selection"] = write_selection(material, target)
        except CuplBenchError as error:
            raise_if_interrupted()
            if str(error) not in [one["error"] for one in failed]:
                complain(str(error))
            failed.append({"job": name, "error": str(error)})
    if Output.json in forms:
        answer({"measured": measured, "failed": failed})
    for line in told_once([(str(one["job"]), str(one["error"])) for one in failed]):
        complain(f"failed: {line}")
    return 2 if failed else 0


def write_effects(material: "Material", results_dir: Path) -> dict[str, object]:
    """Measure, show and write the files of a question, each `<run_key>.parquet`, below `effects` and `curves`.

    Where the question is answered, `similarities` holds those of single images to prompts.

    Return what a program is told: the question, the paths, and the rows of both.
    """
    from cupl_bench.store import write_atomically

    question, run_key = material.prepared.question, material.prepared.key
    effects, curve = _effects(material), _curve(material)
    _show(effects, curve)
    paths = []
    written = {"effects": effects, "curves": curve, "similarities": _similarities(material, results_dir)}
    for kind, table in written.items():
        if table is None:
            continue
        path = results_dir / kind / f"{run_key}.parquet"
        write_atomically(path, table.to_parquet(index=False, compression="zstd"))
        say(f"effects   {path}")
        paths.append(str(path))
    return {
        "run_key": run_key,
        "dataset": question.dataset_name,
        "backbone": question.backbone_name,
        "prompts": question.prompts_name,
        "files": paths,
        "effects": rows_of(effects),
        "curve": rows_of(curve),
    }


def _effects(material: "Material") -> "pd.DataFrame":
    """Return a row per template where prompts are parallel, else one per distinct prompt of each class."""
    import numpy as np
    import pandas as pd

    from cupl_bench.effects import measure_prompts, measure_templates
    from cupl_bench.report.significance import benjamini_hochberg, change_intervals, mcnemar_exact
    from cupl_bench.run.device import device_of

    prepared = material.prepared
    given = (
        material.images.stored, material.labels, material.texts.rows, material.rows_of_class,
        prepared.prompts.aggregation, material.weights, device_of(prepared.machine), material.sets,
    )  # fmt: skip
    found = measure_prompts(*given)

    def tested(effects: pd.DataFrame) -> pd.DataFrame:
        """Return the effects with the interval and the p of each."""
        known = effects["top1_without"].notna().to_numpy()
        gained, lost = (effects[name].to_numpy() for name in ("only_with", "only_without"))
        low, high = change_intervals(gained, lost, np.full(len(effects), len(material.labels)))
        p = np.where(known, mcnemar_exact(gained, lost), np.nan)
        of_prompt = {
            "adds": np.where(known, (gained - lost) / len(material.labels), np.nan),
            "adds_low": np.where(known, low, np.nan),
            "adds_high": np.where(known, high, np.nan),
            "p": p,
            "p_bh": benjamini_hochberg(p),
        }
        return effects.assign(**of_prompt)

    # Prompts that share their tokens share a row: the first of them stands for all.
    text_of: dict[tuple[int, int], str] = {}
    for label, (rows, texts) in enumerate(zip(material.rows_of_class, prepared.prompts.texts, strict=True)):
        for row, text in zip(rows, texts, strict=True):
            text_of.setdefault((label, row), text)
    names = prepared.dataset.class_names
    of_prompts = tested(
        pd.DataFrame(
            {
                "kind": "prompt",
                "label": found.label,
                "class_name": [names[label] for label in found.label.tolist()],
                "text": [text_of[key] for key in zip(found.label.tolist(), found.row.tolist(), strict=True)],
                "weight": found.weight,
                "top1": found.top1,
                "top1_without": found.top1_without,
                "top1_alone": found.top1_alone,
                "class_top1": found.class_top1,
                "class_top1_without": found.class_top1_without,
                "class_top1_alone": found.class_top1_alone,
                "only_with": found.only_with,
                "only_without": found.only_without,
            }
        )
    )
    of_prompts["label"] = of_prompts["label"].astype("Int64")
    if not prepared.prompts.parallel:
        return of_prompts
    templates = measure_templates(*given)
    of_templates = tested(
        pd.DataFrame(
            {
                "kind": "template",
                "text": [text.replace(names[0], "{}") for text in prepared.prompts.texts[0]],
                "top1": found.top1,
                "top1_without": templates.top1_without,
                "top1_alone": templates.top1_alone,
                "only_with": templates.only_with,
                "only_without": templates.only_without,
            }
        )
    )
    return pd.concat([of_templates, of_prompts], ignore_index=True)[list(of_prompts)]


def _similarities(material: "Material", results_dir: Path) -> "pd.DataFrame | None":
    """Return the similarities of images to each prompt of their class, and of the class that they are taken for.

    Of an image that is classified right, ``other`` is the second class. All images are taken if they are few, otherwise
    those first right and wrong of each class, at most `SIMILARITIES_AT_MOST`. None without a run.
    """
    import numpy as np
    import pandas as pd

    from cupl_bench.report.page import SIMILARITIES_AT_MOST, evenly, first_of_each

    path = results_dir / "predictions" / f"{material.prepared.key}.parquet"
    if not path.is_file():
        return None
    answers = pd.read_parquet(path)
    labels = answers["label"].to_numpy()
    if not np.array_equal(labels, material.labels) or "top5" not in answers:
        return None
    places = np.arange(len(labels))
    if len(places) > SIMILARITIES_AT_MOST:
        of_each = max(6, SIMILARITIES_AT_MOST // (2 * len(material.rows_of_class)))
        firsts = np.sort(first_of_each(labels * 2 + answers["correct"].to_numpy(), of_each))
        places = np.array(evenly(firsts.tolist(), SIMILARITIES_AT_MOST))
    rows: list[dict[str, object]] = []
    for place, features in zip(places.tolist(), np.asarray(material.images.stored[places], np.float32), strict=True):
        own = int(labels[place])
        other = next((int(one) for one in answers["top5"][place] if one != own), own)
        for label in dict.fromkeys((own, other)):
            texts = material.texts.rows[np.asarray(material.rows_of_class[label], np.int64)]
            rows.append({"place": place, "label": label, "other": other, "similarity": texts @ features})
    return pd.DataFrame(rows)


def _curve(material: "Material") -> "pd.DataFrame":
    """Return a row per number of prompts: mean, spread, least and greatest top-1 of the draws."""
    import numpy as np
    import pandas as pd

    from cupl_bench.effects import measure_subsets
    from cupl_bench.prompts.budget import drawn
    from cupl_bench.run.device import device_of
    from cupl_bench.smallest_set import SIZES

    prepared = material.prepared
    parallel = prepared.prompts.parallel

    def subset(size: int, seed: int) -> "tuple[list[list[int]], list[list[float]] | None]":
        places = [
            drawn(len(rows), size, seed, "all" if parallel else str(label))
            for label, rows in enumerate(material.rows_of_class)
        ]
        rows = [[own[place] for place in kept] for own, kept in zip(material.rows_of_class, places, strict=True)]
        if material.weights is None:
            return rows, None
        weights = [[own[place] for place in kept] for own, kept in zip(material.weights, places, strict=True)]
        return rows, weights

    most = max(len(rows) for rows in material.rows_of_class)
    points = [(size, seed) for size in SIZES if size < most for seed in range(DRAWS)] + [(most, 0)]

    def subsets() -> "Iterator[tuple[list[list[int]], list[list[float]] | None]]":
        return (subset(size, seed) for size, seed in points)

    top1 = measure_subsets(
        material.images.stored, material.labels, material.texts.rows, subsets(), prepared.prompts.aggregation,
        device_of(prepared.machine), material.sets,
    )  # fmt: skip
    draws = pd.DataFrame({"num_prompts": [size for size, _ in points], "top1": top1})
    curve = draws.groupby("num_prompts")["top1"].agg(["mean", "std", "min", "max", "count"]).reset_index()
    curve.columns = pd.Index(["num_prompts", "top1_mean", "top1_sd", "top1_low", "top1_high", "num_draws"])
    fewer = np.array([len(rows) for rows in material.rows_of_class])
    curve["classes_with_fewer"] = [int((fewer < size).sum()) for size in curve["num_prompts"]]
    return curve


def _told(taken: "pd.DataFrame", what: str) -> list[str]:
    """Return how many prompts, or templates, add something that is not chance, and how little the others do."""
    from cupl_bench.report.significance import ALPHA

    tested = taken[taken["p_bh"].notna()]
    if tested.empty:
        return [f"no class has more than one prompt: there is nothing to leave out of {len(taken)}"]
    sure = tested[tested["p_bh"] < ALPHA]
    helps = int((sure["adds"] > 0).sum())
    idle = int(((tested["only_with"] == 0) & (tested["only_without"] == 0)).sum())
    lines = [
        f"of {len(tested):,} {what}s {helps:,} add to top-1 and {len(sure) - helps:,} take from it; the others are"
        " n.s.: McNemar's exact test, 5% false discoveries after Benjamini and Hochberg",
    ]
    if idle:
        lines.append(f"{idle:,} change no image at all; select=FILE looks for a smaller set that is as good")
    return lines


def _show(effects: "pd.DataFrame", curve: "pd.DataFrame") -> None:
    import pandas as pd

    from cupl_bench.report.significance import ALPHA

    templates = effects[effects["kind"] == "template"]
    taken = templates if len(templates) else effects[effects["kind"] == "prompt"]
    ordered = taken.sort_values("adds", ascending=False, kind="stable")
    ends = ordered if len(ordered) <= 2 * SHOWN else pd.concat([ordered.head(SHOWN), ordered.tail(SHOWN)])
    table = pd.DataFrame({} if len(templates) else {"class": ends["class_name"]})
    table["text"] = [short(text, 70) for text in ends["text"]]
    table["adds [95%]"] = [
        f"{points(value, 2)} {interval(low, high, signed=True, decimals=2)}{'' if p < ALPHA else ' n.s.'}"
        if value == value
        else "the only one"
        for value, low, high, p in zip(ends["adds"], ends["adds_low"], ends["adds_high"], ends["p_bh"], strict=True)
    ]
    table["alone"] = [percent(value) for value in ends["top1_alone"]]
    what = "template" if len(templates) else "prompt"
    show_table(table.to_dict("records"), f"What each {what} adds to top-1, most and least, in points")
    for line in _told(taken, what):
        say(line)
    shown = pd.DataFrame(
        {
            "prompts of each class": curve["num_prompts"],
            "top-1": [percent(value) for value in curve["top1_mean"]],
            "least to greatest": [
                f"{percent(low)} to {percent(high)}"
                for low, high in zip(curve["top1_low"], curve["top1_high"], strict=True)
            ],
            "draws": curve["num_draws"],
        }
    )
    show_table(shown.to_dict("records"), "Accuracy against the number of prompts")
