"""The rows of a comparison: a run each, and one for several seeds of a strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cupl_bench.report.answers import Answers, GroupAnswers, by_strategy, is_by_image, same_images
from cupl_bench.report.best import best_of
from cupl_bench.report.headline import Headlines, is_beyond
from cupl_bench.report.runs import Group, Run, same_features
from cupl_bench.report.significance import (
    Paired,
    calibration_error,
    image_bootstrap,
    mean_per_class_interval,
    paired,
    paired_all,
    paired_mean,
    percentile_interval,
)

__all__ = ["ByPlain", "add_rows"]


@dataclass(frozen=True, kw_only=True)
class ByPlain:
    """The answers of the plain scorer to the questions that another scorer was asked too.

    ``asked``: these questions. ``found``: the answers; runs of the plain scorer come before the others.
    """

    asked: frozenset[tuple[object, ...]]
    found: dict[tuple[object, ...], Answers]

    @classmethod
    def of(cls, groups: Mapping[Group, Sequence[Run]]) -> "ByPlain":
        """Return it for these groups, none of whose answers are read yet."""
        runs = [run for members in groups.values() for run in members if run.group.scorer != "plain"]
        return cls(asked=frozenset(_without_scorer(run) for run in runs), found={})

    def concerns(self, members: Sequence[Run]) -> bool:
        """Return whether any of these runs is compared with one of another scorer."""
        return any(_without_scorer(run) in self.asked for run in members)

    def difference(self, answers: Answers) -> Paired | None:
        """Return the difference to the plain scorer with the same prompts; remember the answers of the plain one."""
        key = _without_scorer(answers.run)
        if answers.run.group.scorer == "plain":
            if key in self.asked:
                self.found[key] = answers
            return None
        plain = self.found.get(key)
        if plain is None or len(answers.labels) < 2 or not same_images(answers, plain):
            return None
        return paired(answers.hits, plain.hits, answers.labels, seed=int(answers.record.run_key, 16))


def _without_scorer(run: Run) -> tuple[object, ...]:
    asked = run.record.prompts
    return same_features(run.group), asked.digest, asked.budget, asked.seed


def add_rows(
    group: GroupAnswers,
    rows: list[dict[str, object]],
    draws: dict[int, np.ndarray],
    by_plain: ByPlain,
    headlines: Headlines | None,
) -> dict[int, list[Answers]]:
    """Add the rows of a group, and the resamples of each difference that the tables read, by the place of its row.

    Return the runs of each row that tables show, by its place: one row of each strategy.
    """
    start = len(rows)
    read: dict[int, list[Answers]] = {}
    differences = _differences(group)
    for runs in by_strategy(group.members).values():
        read[len(rows)] = runs
        if len(runs) > 1:
            row = _seeds_row(group, runs, draws, len(rows))
            rows.append(row | (headlines.columns(runs, group.against(runs[0]), row) if headlines else {}))
        for answers in runs:
            difference = differences.get(answers.record.run_key)
            if difference is not None and len(runs) == 1:
                draws[len(rows)] = difference.draws
            minus_plain = _scorer_columns(by_plain.difference(answers), is_by_image(answers))
            row = _row(group, answers, difference)
            of_headline = headlines.columns([answers], group.against(answers), row) if headlines else {}
            rows.append(row | of_headline | minus_plain | {"of_seeds": len(runs) > 1})
    for row in rows[start:]:
        row["best"] = False
    beyond = any(is_beyond(answers.record) for answers in group.members)
    best = headlines.best(read) if headlines is not None and beyond else best_of(read)
    if best is not None:
        rows[best]["best"] = True
    return read


def _differences(group: GroupAnswers) -> dict[str, Paired]:
    """Return the difference of each run that is compared with the baseline."""
    base = group.baseline
    if base is None or len(base.labels) < 2:
        return {}
    compared = [one for one in group.members if group.against(one) is not None]
    seeds = [int(one.record.run_key, 16) for one in compared]
    found = paired_all([(one.hits, base.hits) for one in compared], base.labels, seeds)
    return {one.record.run_key: difference for one, difference in zip(compared, found, strict=True)}


def _scorer_columns(difference: Paired | None, by_image: bool) -> dict[str, object]:
    """Return the difference of a scorer to the plain one."""
    names = ("scorer_difference", "scorer_difference_low", "scorer_difference_high", "scorer_p")
    if difference is None:
        return dict.fromkeys(names)
    of_images = (*difference.over_images, difference.p) if by_image else (None, None, None)
    return dict(zip(names, (difference.difference, *of_images), strict=True))


def _row(group: GroupAnswers, answers: Answers, difference: Paired | None) -> dict[str, object]:
    record = answers.record
    metrics = record.metrics
    assert metrics is not None  # noqa: S101 - comparable() lets finished records through, and those have metrics
    images = np.bincount(answers.labels, minlength=record.dataset.num_classes)
    hits = np.bincount(answers.labels[answers.hits], minlength=record.dataset.num_classes)
    by_image = is_by_image(answers)
    of_classes = mean_per_class_interval(hits, images) if by_image else (None, None)
    low, high = metrics.top1_ci95 if by_image and metrics.top1_ci95 else (None, None)
    confidence = answers.confidence
    if confidence is not None and np.isnan(confidence).any():  # the scores of some scorers say how sure of none
        confidence = None
    row = _identity(group, answers.run) | {
        "seed": answers.run.seed,
        "num_seeds": None,
        "num_prompts": record.prompts.num_prompts,
        "top1": metrics.top1,
        "top1_low": low,
        "top1_high": high,
        "top1_sd": None,
        "top5": metrics.top5,
        "mean_per_class": metrics.mean_per_class,
        "mean_per_class_low": of_classes[0],
        "mean_per_class_high": of_classes[1],
        "primary": metrics.primary_name,
        "calibration_error": None if confidence is None else calibration_error(confidence, answers.hits),
    }
    row |= _difference_columns(difference, by_image and (group.baseline is None or is_by_image(group.baseline)))
    for tier, values in (metrics.tiers or {}).items():
        row[f"top1_{tier}"] = values.top1
        row[f"top1_{tier}_alone"] = values.top1_within
    return row | {"fingerprint": record.dataset.fingerprint[:12], "run_key": record.run_key}


def _identity(group: GroupAnswers, run: Run) -> dict[str, object]:
    record, base = run.record, group.baseline
    return {
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "backbone": record.backbone.name,
        "precision": record.backbone.precision,
        "prompts": run.prompts,
        "scorer": run.scorer,
        "kind": record.kind,
        "aggregation": record.prompts.aggregation,
        "budget": record.prompts.budget,
        "num_images": record.dataset.num_images,
        "num_classes": record.dataset.num_classes,
        "collection": run.collection,
        "dataset_shown": run.dataset,
        "backbone_shown": run.backbone,
        "prompts_name": record.prompts.name,
        "prompts_file": record.prompts.source,
        "prompts_digest": record.prompts.digest[:12],
        "baseline": None if base is None else _baseline_name(base.run),
        "baseline_run_key": None if base is None else base.record.run_key,
    }


def _baseline_name(run: Run) -> str:
    """Return the name of a baseline, with its number of prompts and its seed where it has them."""
    asked = run.record.prompts
    parts = [f"{name} {value}" for name, value in (("budget", asked.budget), ("seed", asked.seed)) if value is not None]
    return f"{run.prompts} ({', '.join(parts)})" if parts else run.prompts


def _difference_columns(difference: Paired | None, by_image: bool) -> dict[str, object]:
    """Return the columns of a difference; without what resamples images where that does not hold."""
    names = (
        "difference", "difference_low", "difference_high", "difference_classes_low", "difference_classes_high",
        "gained", "lost", "p",
    )  # fmt: skip
    if difference is None:
        return dict.fromkeys(names)
    if not by_image:
        of_images = {"difference": difference.difference, "gained": difference.gained, "lost": difference.lost}
        return dict.fromkeys(names) | of_images
    values = (
        difference.difference, *difference.over_images, *(difference.over_classes or (None, None)),
        difference.gained, difference.lost, difference.p,
    )  # fmt: skip
    return dict(zip(names, values, strict=True))


def _seeds_row(
    group: GroupAnswers, runs: Sequence[Answers], draws: dict[int, np.ndarray], place: int
) -> dict[str, object]:
    """Return the mean over the seeds of one strategy."""
    of_runs = pd.DataFrame([_row(group, answers, None) for answers in runs])
    numbers = [name for name in of_runs if name.startswith(("top", "mean_per_class", "num_prompts", "calibration"))]
    means = {name: of_runs[name].astype(float).mean() for name in numbers if of_runs[name].notna().all()}
    by_image = is_by_image(*runs)
    row: dict[str, object] = {str(name): None for name in of_runs} | _identity(group, runs[0].run) | means
    row |= {
        "prompts_digest": None,
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
        if by_image:
            low, high = percentile_interval(image_bootstrap(mean_hits, seed), len(mean_hits))
            row |= {"top1_low": low, "top1_high": high}
        against = group.against(runs[0])
        if against is not None:
            difference = paired_mean([answers.hits for answers in runs], against.hits, runs[0].labels, seed=seed)
            draws[place] = difference.draws
            row |= _difference_columns(difference, by_image and is_by_image(against))
    return row
