"""Which controls a strategy beats: what a gain proves depends on what the control keeps."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from cupl_bench.report.answers import Answers, is_by_image, same_images
from cupl_bench.report.runs import Strategy
from cupl_bench.report.significance import ALPHA, difference_p, holm, image_bootstrap, percentile_interval
from cupl_bench.report.texts import interval, points

__all__ = ["CONTROLS", "against_controls", "corrected_controls", "is_control", "shown_controls"]

CONTROLS: Mapping[str, str] = MappingProxyType(
    {
        "NamelessDescriptionsStrategy": "the descriptions, without class names",
        "ShuffledDescriptionsStrategy": "class names, with the descriptions of another class",
        "LengthMatchedDescriptionsStrategy": "class names, with sentences of other classes, as many and as long",
        "RandomWordsStrategy": "class names among random words, as many and as long",
        "WaffleStrategy": "class names with random words and characters",
    }
)
"""What each control keeps, by the class that writes it."""

COLUMNS = [
    "dataset", "backbone", "precision", "prompts", "scorer", "aggregation", "budget", "control", "keeps", "top1",
    "control_top1", "difference", "difference_low", "difference_high", "p", "p_holm", "beats",
]  # fmt: skip


def _control_of(answers: Answers) -> str | None:
    """Return what a run keeps as a control; None where it is none, or was asked in a way that no record tells."""
    words = answers.record.config
    target = "" if words is None else str(words.prompts.get("_target_", ""))
    package, _, name = target.rpartition(".")
    return CONTROLS.get(name) if package.startswith("cupl_bench.prompts.") else None


def is_control(answers: Answers) -> bool:
    """Return whether a run is a control, as far as its record tells."""
    return _control_of(answers) is not None


def against_controls(strategies: Mapping[Strategy, Sequence[Answers]]) -> list[dict[str, object]]:
    """Return a row for each strategy of a group and each control of the same number of prompts drawn (``budget``).

    ``difference``: top-1 of the strategy minus that of the control on the same images, means where there are several
    seeds, with its bootstrap interval over images; ``p`` by McNemar's exact test, with seeds by the paired t test.
    """
    kept = {strategy: _control_of(runs[0]) for strategy, runs in strategies.items()}
    rows: list[dict[str, object]] = []
    for strategy, runs in strategies.items():
        if kept[strategy] is not None:
            continue
        for control, others in strategies.items():
            if kept[control] is None or control.budget != strategy.budget:
                continue
            every = [*runs, *others]
            if (
                not is_by_image(*every)
                or not all(same_images(one, runs[0]) for one in every)
                or len(runs[0].labels) < 2
            ):
                continue
            ours, theirs = ([one.hits for one in part] for part in (runs, others))
            steps = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
            low, high = percentile_interval(image_bootstrap(steps, int(runs[0].record.run_key, 16)), len(steps))
            run = runs[0].run
            rows.append(
                {
                    "dataset": run.dataset,
                    "backbone": run.backbone,
                    "precision": run.group.precision,
                    "prompts": run.prompts,
                    "scorer": run.scorer,
                    "aggregation": strategy.aggregation,
                    "budget": strategy.budget,
                    "control": control.prompts,
                    "keeps": kept[control],
                    "top1": float(np.mean(ours)),
                    "control_top1": float(np.mean(theirs)),
                    "difference": float(steps.mean()),
                    "difference_low": low,
                    "difference_high": high,
                    "p": difference_p(ours, theirs),
                }
            )
    return rows


def corrected_controls(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Return the rows as a table, with p corrected after Holm for all of them, and whether the strategy ``beats``."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=np.float64))
    table["beats"] = (table["p_holm"] < ALPHA) & (table["difference"] > 0)
    return table


def shown_controls(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per strategy and a column per control as a person reads them; ``beats`` counts."""
    same = ["dataset", "backbone", "precision", "prompts", "scorer", "aggregation", "budget"]
    rows = []
    for key, members in table.groupby(same, dropna=False, sort=False):
        of = dict(zip(same, key, strict=True))
        row = {"dataset": of["dataset"], "backbone": of["backbone"]}
        if table["precision"].nunique() > 1:
            row["precision"] = of["precision"]
        apart = [of["aggregation"], *([] if pd.isna(of["budget"]) else [f"budget {of['budget']}"])]
        twice = table[table["prompts"] == of["prompts"]][["aggregation", "budget"]].drop_duplicates()
        row["prompts"] = f"{of['prompts']} ({', '.join(apart)})" if len(twice) > 1 else of["prompts"]
        if (table["scorer"] != "plain").any():
            row["scorer"] = of["scorer"]
        row["beats"] = f"{int(members['beats'].sum())} of {len(members)}"
        for one in members.to_dict("records"):
            mark = "" if one["p_holm"] < ALPHA else " n.s."
            inside = interval(one["difference_low"], one["difference_high"], signed=True)
            row[f"minus {one['control']}"] = f"{points(one['difference'])} {inside}{mark}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")
