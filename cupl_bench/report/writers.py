"""Who writes best: runs whose sentences come from files, with what these cost and how long they are."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cupl_bench.records import Record, unlike_artifacts
from cupl_bench.report.answers import Answers, is_by_image, same_images
from cupl_bench.report.controls import is_control
from cupl_bench.report.runs import Strategy
from cupl_bench.report.significance import ALPHA, difference_p, holm
from cupl_bench.report.texts import interval, percent, points

__all__ = ["shown_writers", "writers"]


def writers(strategies: Mapping[Strategy, Sequence[Answers]], results_dir: Path) -> list[dict[str, object]]:
    """Return a row for each strategy of a group whose prompts come from a file, best first; none for a single file.

    ``difference``: its top-1 minus that of the best. ``p_holm``: McNemar's exact test of the two (means over seeds: the
    paired t test), corrected after Holm for all pairs of these strategies, since the best was chosen among them.
    """
    of_files = [runs for runs in strategies.values() if runs[0].record.prompts.source and not is_control(runs[0])]
    if len({runs[0].record.prompts.source for runs in of_files}) < 2:
        return []
    top1 = [float(np.mean([run.hits.mean() for run in runs])) for runs in of_files]
    order = sorted(range(len(of_files)), key=lambda place: -top1[place])
    p = _all_pairs(of_files)
    rows: list[dict[str, object]] = []
    for place in order:
        run, record = of_files[place][0].run, of_files[place][0].record
        prompts, cost = record.prompts, record.prompts.cost
        low, high = (record.metrics and record.metrics.top1_ci95) or (None, None)
        alone = len(of_files[place]) == 1 and is_by_image(*of_files[place])
        rows.append(
            {
                "dataset": run.dataset,
                "backbone": run.backbone,
                "precision": run.group.precision,
                "prompts": run.prompts,
                "scorer": run.scorer,
                "prompts_file": prompts.source,
                "language_model": None if cost is None else cost.language_model,
                "num_prompts": prompts.num_prompts,
                "prompts_per_class": prompts.num_prompts / record.dataset.num_classes,
                "words_per_prompt": _words_per_prompt(record, results_dir),
                "input_tokens": None if cost is None else cost.input_tokens,
                "output_tokens": None if cost is None else cost.output_tokens,
                "cost": None if cost is None else cost.cost,
                "top1": top1[place],
                "top1_low": low if alone else None,
                "top1_high": high if alone else None,
                "difference": top1[place] - top1[order[0]],
                "p_holm": None if place == order[0] else p.get(frozenset((place, order[0]))),
            }
        )
    return rows


def _all_pairs(of_files: Sequence[Sequence[Answers]]) -> dict[frozenset[int], float]:
    """Return the corrected p of each pair; none where images differ or their scores depend on each other."""
    every = [run for runs in of_files for run in runs]
    if not is_by_image(*every) or not all(same_images(run, every[0]) for run in every) or len(every[0].labels) < 2:
        return {}
    pairs = list(combinations(range(len(of_files)), 2))
    hits = [[run.hits for run in runs] for runs in of_files]
    p = holm(np.array([difference_p(hits[one], hits[other]) for one, other in pairs]))
    return {frozenset(pair): float(value) for pair, value in zip(pairs, p, strict=True)}


def _words_per_prompt(record: Record, results_dir: Path) -> float | None:
    """Return the mean number of words, from the prompts that the run wrote; None where they are not here unchanged."""
    path = None if record.artifacts is None else record.artifacts.prompts
    if path is None or not (results_dir / path).is_file() or unlike_artifacts(record, results_dir, ["prompts"]):
        return None
    texts = pq.read_table(results_dir / path, columns=["text"]).column("text").to_pylist()
    return float(np.mean([len(text.split()) for text in texts]))


def shown_writers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as a person reads them; what no file tells is left out."""
    out = pd.DataFrame(index=table.index)
    out["dataset"], out["backbone"] = table["dataset"], table["backbone"]
    if table["precision"].nunique() > 1:
        out["precision"] = table["precision"]
    out["prompts"] = table["prompts"]
    if (table["scorer"] != "plain").any():
        out["scorer"] = table["scorer"]
    if table["language_model"].notna().any():
        out["written by"] = table["language_model"].fillna("")
    out["prompts of each class"] = [f"{value:.1f}" for value in table["prompts_per_class"]]
    out["words"] = ["" if pd.isna(value) else f"{value:.1f}" for value in table["words_per_prompt"]]
    tokens = table["input_tokens"].astype(float) + table["output_tokens"].astype(float)
    if tokens.notna().any():
        out["tokens"] = ["" if pd.isna(value) else f"{value:,.0f}" for value in tokens]
    if table["cost"].notna().any():
        out["cost"] = ["" if pd.isna(value) else f"{value:.2f}" for value in table["cost"].astype(float)]
    out["top-1 [95%]"] = [
        f"{percent(value)} {interval(low, high)}".rstrip()
        for value, low, high in zip(table["top1"], table["top1_low"], table["top1_high"], strict=True)
    ]
    out["minus best"] = [
        "" if difference == 0 and pd.isna(p) else f"{points(difference)}{' n.s.' if p >= ALPHA else ''}"
        for difference, p in zip(table["difference"], table["p_holm"].astype(float), strict=True)
    ]
    return out
