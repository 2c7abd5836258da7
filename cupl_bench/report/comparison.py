"""Records side by side: a row per run, grouped so that only like is compared with like."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool

from cupl_bench.records import Record
from cupl_bench.report.answers import (
    Answers,
    Group,
    Strategy,
    comparable,
    read_answers,
    same_images,
    strategy_of,
)
from cupl_bench.report.significance import (
    ALPHA,
    Paired,
    calibration_error,
    difference_p,
    holm,
    image_bootstrap,
    mean_per_class_interval,
    over_datasets,
    paired,
    paired_mean,
    percentile_interval,
)

__all__ = [
    "BASELINE",
    "Comparison",
    "GroupAnswers",
    "compare",
    "groups_of_answers",
    "shown",
    "shown_pooled",
    "strategy_names",
    "weigh",
]

log = logging.getLogger(__name__)

BASELINE = "simple"
"""The prompt strategy that the others of a group are compared with, where it is there."""

QUALIFIERS = ("aggregation", "budget", "seed")
"""Columns that tell strategies of one name apart; they are read only where they do."""


@dataclass(frozen=True, kw_only=True)
class GroupAnswers:
    """The runs of a group with their answers; ``baseline`` is the one that the others are compared with."""

    group: Group
    members: Sequence[Answers]
    baseline: Answers | None

    def against(self, answers: Answers) -> Answers | None:
        """What these answers are compared with: the baseline, if it is another run on the same images."""
        if self.baseline is None or answers is self.baseline or not same_images(answers, self.baseline):
            return None
        return self.baseline


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``runs``: a row per run, and one for several seeds of a strategy. ``pooled``: means over data sets."""

    runs: pd.DataFrame
    pooled: pd.DataFrame


def compare(records: Sequence[Record], results_dir: Path) -> pd.DataFrame:
    """One row per finished run, with fractions; runs of one group follow each other. results/README.md has the columns.

    Where a group holds the strategy `simple` on the same images, the other rows carry the paired difference to it.
    Several seeds of one strategy have a row of their own above them: ``num_seeds`` counts them, ``top1_sd`` is their
    spread, and its other values are means over the seeds.

    Raises:
        ResultsError: nothing is finished, protocol versions are mixed, or predictions are missing.
    """
    return weigh(groups_of_answers(records, results_dir)).runs


def groups_of_answers(records: Sequence[Record], results_dir: Path) -> Iterator[GroupAnswers]:
    """The finished runs by group, read one group at a time: predictions of a large sweep do not fit the memory.

    Raises:
        ResultsError: nothing is finished, protocol versions are mixed, or predictions are missing.
    """
    for group, members in comparable(records, results_dir).items():
        answers = [read_answers(results_dir, record) for record in members]
        simple = [one for one in answers if one.record.prompts.name == BASELINE]
        plain = [one for one in simple if strategy_of(one.record)[1:] == ("mean", None, None)]
        baseline = next(iter(plain or simple), None)
        if baseline is not None:
            others = [one.record.run_key for one in answers if not same_images(one, baseline)]
            for run_key in others:
                log.warning("run %s left out other images than %s: not compared", run_key, BASELINE)
        yield GroupAnswers(group=group, members=answers, baseline=baseline)


def weigh(groups: Iterator[GroupAnswers]) -> Comparison:
    """Compare the runs of each group, and means over data sets."""
    rows: list[dict[str, object]] = []
    draws: dict[int, np.ndarray] = {}
    for group in groups:
        start = len(rows)
        read: list[tuple[int, list[Answers]]] = []  # the rows that are read: one of each strategy
        for runs in _strategies(group.members).values():
            read.append((len(rows), runs))
            if len(runs) > 1:
                rows.append(_seeds_row(group, runs, draws, len(rows)))
            for answers in runs:
                difference = _difference(group, answers)
                if difference is not None and len(runs) == 1:
                    draws[len(rows)] = difference.draws
                rows.append(_row(answers, difference) | {"of_seeds": len(runs) > 1})
        for row in rows[start:]:
            row["best"] = False
        if (best := _best(read)) is not None:
            rows[best]["best"] = True
    table = pd.DataFrame(rows)
    counts = ["budget", "seed", "num_seeds", "gained", "lost"]
    table[counts] = table[counts].astype("Float64").astype("Int64")  # whole numbers, though some are missing
    of_table = table["p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(of_table))
    pooled = _pooled(table, draws)
    tail = ["fingerprint", "run_key"]
    return Comparison(
        runs=table[[*(name for name in table.columns if name not in tail), *tail]].drop(columns="weights_sha256"),
        pooled=pooled,
    )


def _strategies(members: Sequence[Answers]) -> dict[Strategy, list[Answers]]:
    """The runs by strategy; several are seeds of one."""
    out: dict[Strategy, list[Answers]] = {}
    for answers in members:
        out.setdefault(strategy_of(answers.record), []).append(answers)
    return out


def _difference(group: GroupAnswers, answers: Answers) -> Paired | None:
    against = group.against(answers)
    if against is None or len(answers.labels) < 2:
        return None
    return paired(answers.hits, against.hits, answers.labels, seed=int(answers.record.run_key, 16))


def _row(answers: Answers, difference: Paired | None) -> dict[str, object]:
    record = answers.record
    metrics = record.metrics
    assert metrics is not None  # noqa: S101 - comparable() lets finished records through, and those have metrics
    images = np.bincount(answers.labels, minlength=record.dataset.num_classes)
    hits = np.bincount(answers.labels[answers.hits], minlength=record.dataset.num_classes)
    of_classes = mean_per_class_interval(hits, images)
    confidence = answers.confidence
    row = _identity(record) | {
        "seed": record.prompts.seed,
        "num_seeds": None,
        "num_prompts": record.prompts.num_prompts,
        "top1": metrics.top1,
        "top1_low": metrics.top1_ci95[0],
        "top1_high": metrics.top1_ci95[1],
        "top1_sd": None,
        "top5": metrics.top5,
        "mean_per_class": metrics.mean_per_class,
        "mean_per_class_low": of_classes[0],
        "mean_per_class_high": of_classes[1],
        "primary": metrics.primary_name,
        "calibration_error": None if confidence is None else calibration_error(confidence, answers.hits),
    }
    row |= _difference_columns(difference)
    for tier, values in (metrics.tiers or {}).items():
        row[f"top1_{tier}"] = values.top1
        row[f"top1_{tier}_alone"] = values.top1_within
    return row | {"fingerprint": record.dataset.fingerprint[:12], "run_key": record.run_key}


def _identity(record: Record) -> dict[str, object]:
    return {
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "backbone": record.backbone.name,
        "weights_sha256": record.backbone.weights_sha256,
        "precision": record.backbone.precision,
        "prompts": record.prompts.name,
        "aggregation": record.prompts.aggregation,
        "budget": record.prompts.budget,
        "num_images": record.dataset.num_images,
        "num_classes": record.dataset.num_classes,
    }


def _difference_columns(difference: Paired | None) -> dict[str, object]:
    names = (
        "difference", "difference_low", "difference_high", "difference_classes_low", "difference_classes_high",
        "gained", "lost", "p",
    )  # fmt: skip
    if difference is None:
        return dict.fromkeys(names)
    values = (
        difference.difference, *difference.over_images, *(difference.over_classes or (None, None)),
        difference.gained, difference.lost, difference.p,
    )  # fmt: skip
    return dict(zip(names, values, strict=True))


def _seeds_row(
    group: GroupAnswers, runs: Sequence[Answers], draws: dict[int, np.ndarray], place: int
) -> dict[str, object]:
    """The mean over the seeds of one strategy."""
    of_runs = pd.DataFrame([_row(answers, None) for answers in runs])
    numbers = [name for name in of_runs if name.startswith(("top", "mean_per_class", "num_prompts", "calibration"))]
    means = {name: of_runs[name].astype(float).mean() for name in numbers if of_runs[name].notna().all()}
    row: dict[str, object] = {str(name): None for name in of_runs} | _identity(runs[0].record) | means
    row |= {
        "seed": None,
        "num_seeds": len(runs),
        "top1_sd": float(of_runs["top1"].std(ddof=1)),
        "primary": of_runs["primary"][0],
        "fingerprint": of_runs["fingerprint"][0],
        "run_key": "",
        "of_seeds": False,
    }
    if all(same_images(answers, runs[0]) for answers in runs) and len(runs[0].labels) > 1:
        seed = int(runs[0].record.run_key, 16)
        mean_hits = np.stack([answers.hits for answers in runs]).astype(np.float64).mean(axis=0)
        low, high = percentile_interval(image_bootstrap(mean_hits, seed), len(mean_hits))
        row |= {"top1_low": low, "top1_high": high}
        against = group.against(runs[0])
        if against is not None:
            difference = paired_mean([answers.hits for answers in runs], against.hits, runs[0].labels, seed=seed)
            draws[place] = difference.draws
            row |= _difference_columns(difference)
    return row


def _best(read: Sequence[tuple[int, Sequence[Answers]]]) -> int | None:
    """The row that is significantly better than every other of its group, Holm-corrected; None if there is none."""
    first_run = read[0][1][0]
    hits: dict[int, list[Bool[np.ndarray, " n"]]] = {
        place: [answers.hits for answers in runs]
        for place, runs in read
        if all(same_images(answers, first_run) for answers in runs)
    }
    if len(hits) < 2:
        return None
    best = max(hits, key=lambda place: float(np.mean([run.mean() for run in hits[place]])))
    p = holm(np.array([difference_p(hits[best], hits[other]) for other in hits if other != best]))
    return best if (p < ALPHA).all() else None


def _pooled(table: pd.DataFrame, draws: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """Means over data sets of each strategy of a backbone, with the baseline on the same data sets beside them.

    A data set that stands here in several groups is no single number and is left out.
    """
    rows = []
    by = ["backbone", "weights_sha256", "precision", "prompts", "aggregation", "budget"]
    read = table[~table["of_seeds"].astype(bool)]
    baselines = read[(read["prompts"] == BASELINE) & read["difference"].isna()]
    for key, members in read.groupby(by, dropna=False, sort=False):
        with_difference = members[members["difference"].notna()]
        several = with_difference["dataset"].duplicated(keep=False)
        taken = with_difference[~several]
        if len(taken) < 2:
            continue
        base = baselines.merge(taken[["backbone", "weights_sha256", "precision", "dataset", "fingerprint"]])
        base = base.drop_duplicates(["dataset", "fingerprint"])
        mean_of_draws = np.mean(np.stack([draws[int(place)] for place in taken.index]), axis=0)
        over_images = percentile_interval(mean_of_draws, int(taken["num_images"].sum()))
        sets = over_datasets(taken["difference"].astype(float).tolist()) or (None, None)
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "num_datasets": len(taken),
                "datasets": " ".join(taken["dataset"]),
                "left_out": " ".join(dict.fromkeys(with_difference["dataset"][several])),
                "top1": taken["top1"].mean(),
                "baseline_top1": base["top1"].mean(),
                "difference": taken["difference"].astype(float).mean(),
                "difference_low": over_images[0],
                "difference_high": over_images[1],
                "difference_datasets_low": sets[0],
                "difference_datasets_high": sets[1],
                "better_on": int((taken["difference"].astype(float) > 0).sum()),
            }
        )
    return pd.DataFrame(rows).drop(columns="weights_sha256", errors="ignore")


# As read -------------------------------------------------------------------------------------------------------------


def shown(comparison: pd.DataFrame) -> pd.DataFrame:
    """The columns that a person reads, as text: percent with one decimal; seeds as their mean and spread.

    A difference to the baseline that is not significant across the table is marked n.s.
    """
    read = comparison[~comparison["of_seeds"].astype(bool)]
    out = pd.DataFrame(index=read.index)
    several = read.groupby("dataset")["fingerprint"].nunique()
    out["dataset"] = [
        f"{name} ({fingerprint[:6]})" if several[name] > 1 else name
        for name, fingerprint in zip(read["dataset"], read["fingerprint"], strict=True)
    ]
    out["backbone"] = read["backbone"]
    if read["precision"].nunique() > 1:
        out["precision"] = read["precision"]
    out["prompts"] = strategy_names(read)
    out["images"] = [f"{count:,}" for count in read["num_images"]]
    out["top-1 [95%]"] = [
        f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"
        for value, low, high in zip(read["top1"], read["top1_low"], read["top1_high"], strict=True)
    ]
    if read["num_seeds"].notna().any():
        out["sd of seeds"] = [_percent(value) for value in read["top1_sd"]]
    if read["top5"].notna().any():
        out["top-5"] = [_percent(value) for value in read["top5"]]
    out["mean per class"] = [_percent(value) for value in read["mean_per_class"]]
    if read["calibration_error"].notna().any():
        out["calibration error"] = [_percent(value) for value in read["calibration_error"]]
    for column in read.columns:
        if str(column).startswith("top1_") and column not in ("top1_low", "top1_high", "top1_sd"):
            out[str(column).removeprefix("top1_").replace("_", " ")] = [_percent(value) for value in read[column]]
    if read["difference"].notna().any():
        out[f"less {BASELINE} [95%]"] = [
            _difference_text(*values) + ("" if not known or significant else " n.s.")
            for *values, known, significant in zip(
                read["difference"], read["difference_low"], read["difference_high"],
                read["difference"].notna(), read["p_holm"] < ALPHA, strict=True,
            )
        ]  # fmt: skip
        if read["difference_classes_low"].notna().any():
            out["over classes"] = [
                _interval_text(*values)
                for values in zip(read["difference_classes_low"], read["difference_classes_high"], strict=True)
            ]
    return out


def shown_pooled(pooled: pd.DataFrame) -> pd.DataFrame:
    """Means over data sets as a person reads them."""
    out = pd.DataFrame(index=pooled.index)
    out["backbone"] = pooled["backbone"]
    if pooled["precision"].nunique() > 1:
        out["precision"] = pooled["precision"]
    out["prompts"] = strategy_names(pooled)
    out["data sets"] = pooled["num_datasets"]
    out["top-1"] = [_percent(value) for value in pooled["top1"]]
    out[BASELINE] = [_percent(value) for value in pooled["baseline_top1"]]
    out["difference"] = [f"{100 * value:+z.1f}" for value in pooled["difference"]]
    out["over images"] = [
        _interval_text(*values) for values in zip(pooled["difference_low"], pooled["difference_high"], strict=True)
    ]
    out["over data sets"] = [
        _interval_text(*values)
        for values in zip(pooled["difference_datasets_low"], pooled["difference_datasets_high"], strict=True)
    ]
    out["better on"] = [
        f"{better} of {count}" for better, count in zip(pooled["better_on"], pooled["num_datasets"], strict=True)
    ]
    return out


def strategy_names(table: pd.DataFrame) -> list[str]:
    """The strategy of each row, with what tells it apart from others of its name in this table."""
    present = [qualifier for qualifier in QUALIFIERS if qualifier in table]
    differing = table.groupby("prompts")[present].nunique(dropna=False).gt(1)
    names = []
    for row in table.to_dict("records"):
        parts = [
            row[qualifier] if isinstance(row[qualifier], str) else f"{qualifier} {row[qualifier]:g}"
            for qualifier in present
            if differing.loc[row["prompts"], qualifier] and pd.notna(row[qualifier])
        ]
        if pd.notna(row.get("num_seeds")):
            parts.append(f"{int(row['num_seeds'])} seeds")
        names.append(f"{row['prompts']} ({', '.join(parts)})" if parts else str(row["prompts"]))
    return names


def _percent(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _difference_text(difference: float | None, low: float | None, high: float | None) -> str:
    if difference is None or low is None or high is None or np.isnan(difference):
        return ""
    return f"{100 * difference:+z.1f} {_interval_text(low, high)}"


def _interval_text(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or np.isnan(low) else f"[{100 * low:+z.1f}, {100 * high:+z.1f}]"
