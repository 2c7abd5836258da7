"""Runs side by side: a row per question, grouped so that only like is compared with like; read and resampled once.

`compare` is the only way from records to numbers: the terminal, the files, the figures and the page all show the
`Comparison` that it returns.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8

from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.metrics import ACCURACIES
from cupl_bench.records import Record
from cupl_bench.report.answers import (
    Answers,
    Group,
    Run,
    Strategy,
    class_facts,
    comparable,
    is_by_image,
    missing_cells,
    read_answers,
    same_features,
    same_images,
)
from cupl_bench.report.classes import moved_confusions, per_class
from cupl_bench.report.controls import against_controls, corrected_controls
from cupl_bench.report.headline import Headlines, has_headline, headline_title
from cupl_bench.report.published import match_published
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
from cupl_bench.report.standings import RightImages, Standings, right_images, stand
from cupl_bench.report.texts import interval, percent, points
from cupl_bench.report.writers import writers

__all__ = [
    "Comparison",
    "GroupAnswers",
    "baseline_names",
    "compare",
    "minus",
    "scored_names",
    "shown",
    "shown_pooled",
    "strategy_names",
]

log = logging.getLogger(__name__)

BASELINES = ("simple", "name_only")
"""The prompt strategies that others are compared with unless a user names another: the first that was run."""

QUALIFIERS = ("aggregation", "budget", "seed")
"""Columns that tell strategies of one name apart; they are read only where they do."""


@dataclass(frozen=True, kw_only=True)
class GroupAnswers:
    """The runs of a group with their answers, in memory while the group is compared.

    ``baseline``: the run that the others are compared with, None where the group has none. ``classes``: a row per class
    and run (`report.classes.per_class`).
    """

    group: Group
    members: Sequence[Answers]
    baseline: Answers | None
    classes: pd.DataFrame

    def against(self, answers: Answers) -> Answers | None:
        """Return what these answers are compared with: the baseline, if it is another run on the same images."""
        return _against(answers, self.baseline)


def _against(answers: Answers, baseline: Answers | None) -> Answers | None:
    if baseline is None or answers is baseline or not same_images(answers, baseline):
        return None
    return baseline


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that the records of a results folder say; results/README.md has the columns of the tables.

    ``runs``: a row per run, and one for several seeds of a strategy. ``pooled``: means over data sets. ``standings``:
    ranks over data sets (`report.standings`). ``controls``: which controls a strategy beats (`report.controls`).
    ``writers``: files of descriptions with their cost and length (`report.writers`).
    ``classes`` and ``moved``: classes and moved confusions of all runs (`report.classes`) with their ``run_key``.
    ``published``: `report.published`. ``missing``: what a sweep lacks. ``groups``: the runs by what may be compared, as
    in ``runs``.
    """

    runs: pd.DataFrame
    pooled: pd.DataFrame
    standings: Standings
    controls: pd.DataFrame
    writers: pd.DataFrame
    classes: pd.DataFrame
    moved: pd.DataFrame
    published: pd.DataFrame
    missing: pd.DataFrame
    groups: Mapping[Group, Sequence[Run]]

    def of(self, run_keys: Sequence[str]) -> pd.DataFrame:
        """Return the rows of ``runs`` that belong to some runs, and the means over their seeds.

        They stand in the order of ``run_keys``, a group after another, the seeds of a strategy together: jobs that ran
        side by side are shown as those that ran one after another.
        """
        # The row of a mean over seeds has no key of its own; it stands above those of its runs.
        above = self.runs["run_key"].where(self.runs["run_key"] != "").bfill()
        places = above.map({run_key: place for place, run_key in enumerate(run_keys)})
        rows = self.runs[places.notna()]
        places = places[places.notna()]
        strategies = (rows["num_seeds"].notna() | ~rows["of_seeds"].astype(bool)).cumsum()
        groups = {run.record.run_key: place for place, runs in enumerate(self.groups.values()) for run in runs}
        order = pd.DataFrame(
            {
                "group": places.groupby(above[places.index].map(groups)).transform("min"),
                "strategy": places.groupby(strategies).transform("min"),
                "mean_first": rows["num_seeds"].isna(),
                "place": places,
            }
        ).sort_values(["group", "strategy", "mean_first", "place"])
        return rows.loc[order.index].reset_index(drop=True)


def compare(
    records: Sequence[Record],
    results_dir: Path,
    *,
    baseline: str | None = None,
    look: Callable[[GroupAnswers], None] | None = None,
) -> Comparison:
    """Compare the finished runs: each one's predictions are read once, and each difference is resampled once.

    Within a group (the same images, the same features) each run is compared with the baseline, by a paired difference.
    Several seeds of one strategy have a row of their own above them: ``num_seeds`` counts them, ``top1_sd`` is their
    spread, and its other values are means over the seeds.

    Args:
        records: of all runs; failed ones count as missing.
        results_dir: where the records lie.
        baseline: the strategy that others are compared with, by its name in the tables. None: `simple`, where there is
            none `name_only`, and where there is neither the one that was run first.
        look: called with each group while its answers are in memory: those of a large sweep do not fit all at once.

    Raises:
        ResultsError: nothing is finished, versions of the protocol or of a data set are mixed, predictions are
            missing, or no run is of ``baseline``.
    """
    groups = comparable(records, results_dir)
    baselines = _baselines(groups, baseline)
    by_plain = _ByPlain.of(groups)
    rows: list[dict[str, object]] = []
    draws: dict[int, np.ndarray] = {}
    level = _Level({})
    classes: list[pd.DataFrame] = []
    moved: list[pd.DataFrame] = []
    right: dict[str, RightImages] = {}
    controls: list[dict[str, object]] = []
    by_writer: list[dict[str, object]] = []
    for group, members in groups.items():
        answers = [read_answers(results_dir, run) for run in members]
        base = next((one for one in answers if one.run is baselines.get(group)), None)
        facts = class_facts(results_dir, [run.record for run in members])
        of_group = [per_class(one, _against(one, base), facts) for one in answers]
        moved += [moved_confusions(one, other, facts) for one in answers if (other := _against(one, base)) is not None]
        read = GroupAnswers(group=group, members=answers, baseline=base, classes=pd.concat(of_group, ignore_index=True))
        classes.append(read.classes)
        _tell_others(read)
        _add_rows(read, rows, draws, by_plain, Headlines(results_dir) if has_headline(records) else None, level)
        right |= {one.record.run_key: bits for one in answers if (bits := right_images(one)) is not None}
        controls += against_controls(_strategies(answers))
        by_writer += writers(_strategies(answers), results_dir)
        if look is not None:
            look(read)
    level.mark(rows)
    table, pooled, standings = _table(rows, draws, right)
    return Comparison(
        runs=table,
        pooled=pooled,
        standings=standings,
        controls=corrected_controls(controls),
        writers=pd.DataFrame(by_writer),
        classes=pd.concat(classes, ignore_index=True),
        moved=pd.concat(moved, ignore_index=True) if moved else pd.DataFrame(),
        published=match_published(table, records),
        missing=missing_cells(records),
        groups=groups,
    )


@dataclass(frozen=True, kw_only=True)
class _ByPlain:
    """The answers of the plain scorer to the questions that another scorer was asked too.

    ``asked``: these questions. ``found``: the answers; runs of the plain scorer come before the others.
    """

    asked: frozenset[tuple[object, ...]]
    found: dict[tuple[object, ...], Answers]

    @classmethod
    def of(cls, groups: Mapping[Group, Sequence[Run]]) -> "_ByPlain":
        runs = [run for members in groups.values() for run in members if run.group.scorer != "plain"]
        return cls(asked=frozenset(_without_scorer(run) for run in runs), found={})

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


# The baseline --------------------------------------------------------------------------------------------------------


def _baselines(groups: Mapping[Group, Sequence[Run]], asked: str | None) -> dict[Group, Run]:
    """Return the run of each group that the others are compared with; groups without one are left out, and counted."""
    runs = sorted((run for members in groups.values() for run in members), key=lambda run: run.record.created_at)
    if asked is None:
        named = [run for name in BASELINES for run in runs if run.record.prompts.name == name]
        not_drawn = [run for run in runs if run.record.prompts.seed is None]
        order = list(dict.fromkeys(run.prompts for run in (*named, *not_drawn, *runs)))
    else:
        order = [_asked_baseline(asked, runs)]
    found: dict[Group, Run] = {}
    for group, members in groups.items():
        own = next((own for name in order if (own := [run for run in members if run.prompts == name])), [])
        plain = [run for run in own if run.strategy[1:] == ("mean", None, None)]
        whole = [run for run in own if run.record.prompts.budget is None]
        if own:
            found[group] = (plain or whole or own)[0]
    if asked is not None and (lost := [f"{one.dataset} x {one.backbone}" for one in groups if one not in found]):
        log.warning(
            "baseline=%s was not run in %d of %d groups, which are not compared: %s",
            asked, len(lost), len(groups), first(lost),
        )  # fmt: skip
    return found


def _asked_baseline(asked: str, runs: Sequence[Run]) -> str:
    """Return the name of the strategy that a user means; it may be shorter than in the tables if it is unique."""
    names = list(dict.fromkeys(run.prompts for run in runs))
    if asked in names:
        return asked
    meant = list(dict.fromkeys(run.prompts for run in runs if run.record.prompts.name == asked))
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ResultsError(
            f"baseline={asked} stands for {len(meant)} strategies of the records: {first(meant)}. Give the name of one"
            f" as it is written here: baseline='\"{meant[0]}\"'."
        )
    raise ResultsError(
        f"baseline={asked} is not a strategy of the records, which hold {first(names)}.{nearest(asked, names)}"
    )


def _tell_others(group: GroupAnswers) -> None:
    """Name the runs that are not compared, because they answered other images."""
    base = group.baseline
    if base is not None and (others := [one.record.run_key for one in group.members if not same_images(one, base)]):
        for run_key in others:
            log.warning("run %s left out other images than %s: not compared", run_key, base.run.prompts)


# Rows ----------------------------------------------------------------------------------------------------------------


def _add_rows(
    group: GroupAnswers,
    rows: list[dict[str, object]],
    draws: dict[int, np.ndarray],
    by_plain: _ByPlain,
    headlines: Headlines | None,
    level: "_Level",
) -> None:
    """Add the rows of a group, and the resamples of each difference that the tables read, by the place of its row."""
    start = len(rows)
    read: list[tuple[int, list[Answers]]] = []  # the rows that are read: one of each strategy
    for runs in _strategies(group.members).values():
        read.append((len(rows), runs))
        if len(runs) > 1:
            row = _seeds_row(group, runs, draws, len(rows))
            rows.append(row | (headlines.columns(runs, group.against(runs[0]), row) if headlines else {}))
        for answers in runs:
            difference = _difference(group, answers)
            if difference is not None and len(runs) == 1:
                draws[len(rows)] = difference.draws
            minus_plain = _scorer_columns(by_plain.difference(answers), is_by_image(answers))
            row = _row(group, answers, difference)
            of_headline = headlines.columns([answers], group.against(answers), row) if headlines else {}
            rows.append(row | of_headline | minus_plain | {"of_seeds": len(runs) > 1})
    for row in rows[start:]:
        row["best"] = False
    beyond = headlines is not None and has_headline([answers.record for answers in group.members])
    best = headlines.best(dict(read)) if headlines is not None and beyond else _best(read)
    if best is not None:
        rows[best]["best"] = True
    level.add(read)


def _table(
    rows: Sequence[dict[str, object]], draws: Mapping[int, np.ndarray], right: Mapping[str, RightImages]
) -> tuple[pd.DataFrame, pd.DataFrame, Standings]:
    """Return the rows as a table, their p corrected, and the means and the ranks over data sets."""
    table = pd.DataFrame(rows)
    counts = ["budget", "seed", "num_seeds", "gained", "lost"]
    table[counts] = table[counts].astype("Float64").astype("Int64")  # whole numbers, though some are missing
    of_table = table["p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(of_table))
    of_scorers = table["scorer_p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
    table.insert(table.columns.get_loc("scorer_p") + 1, "scorer_p_holm", holm(of_scorers))
    if "primary_p" in table:
        of_headlines = table["primary_p"].astype(float).where(~table["of_seeds"].astype(bool)).to_numpy()
        table.insert(table.columns.get_loc("primary_p") + 1, "primary_p_holm", holm(of_headlines))
    pooled = _pooled(table, draws)
    tail = [
        "dataset_shown", "backbone_shown", "prompts_name", "prompts_file", "prompts_digest", "baseline",
        "baseline_run_key", "fingerprint", "run_key",
    ]  # fmt: skip
    shown_columns = [*(name for name in table.columns if name not in (*tail, "collection")), *tail]
    return table[shown_columns], pooled, stand(table, right)


def _strategies(members: Sequence[Answers]) -> dict[Strategy, list[Answers]]:
    """Return the runs by strategy; several are seeds of one."""
    out: dict[Strategy, list[Answers]] = {}
    for answers in members:
        out.setdefault(answers.run.strategy, []).append(answers)
    return out


def _difference(group: GroupAnswers, answers: Answers) -> Paired | None:
    against = group.against(answers)
    if against is None or len(answers.labels) < 2:
        return None
    return paired(answers.hits, against.hits, answers.labels, seed=int(answers.record.run_key, 16))


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


def _best(read: Sequence[tuple[int, Sequence[Answers]]]) -> int | None:
    """Return the row that is significantly better than all others of its group, Holm-corrected; None for none."""
    first_run = read[0][1][0]
    hits: dict[int, list[Bool[np.ndarray, " n"]]] = {
        place: [answers.hits for answers in runs]
        for place, runs in read
        if all(same_images(answers, first_run) for answers in runs) and is_by_image(*runs)
    }
    if len(hits) < 2:
        return None
    best = max(hits, key=lambda place: float(np.mean([run.mean() for run in hits[place]])))
    p = holm(np.array([difference_p(hits[best], hits[other]) for other in hits if other != best]))
    return best if (p < ALPHA).all() else None


@dataclass(frozen=True)
class _Level:
    """The hits of all rows that tables show, by the images, the features and the kind of scorer that they share.

    ``arenas``: of each, the place of a row, how many images it has, and the hits of its runs, eight to a byte.
    """

    arenas: dict[object, list[tuple[int, int, list[UInt8[np.ndarray, " bytes"]]]]]

    def add(self, read: Sequence[tuple[int, Sequence[Answers]]]) -> None:
        """Add rows of a group, but for those whose images depend on each other: no test holds for them."""
        for place, runs in read:
            first_run = runs[0]
            if is_by_image(*runs) and all(same_images(one, first_run) for one in runs):
                images = sha256(first_run.index.tobytes() + first_run.labels.tobytes()).hexdigest()
                arena = same_features(first_run.run.group), first_run.record.kind, images
                self.arenas.setdefault(arena, []).append(
                    (place, len(first_run.labels), [np.packbits(one.hits) for one in runs])
                )

    def mark(self, rows: Sequence[dict[str, object]]) -> None:
        """Add ``level_with_best`` to each row: whether it is the best of its arena or not significantly worse."""
        for row in rows:
            row["level_with_best"] = False
        for members in self.arenas.values():
            if len(members) < 2:
                continue
            hits = {
                place: [np.unpackbits(one, count=count).astype(np.bool_) for one in runs]
                for place, count, runs in members
            }
            best = max(hits, key=lambda place: float(np.mean([run.mean() for run in hits[place]])))
            others = [place for place in hits if place != best]
            p = holm(np.array([difference_p(hits[best], hits[other]) for other in others]))
            for place in (best, *(other for other, one in zip(others, p, strict=True) if one >= ALPHA)):
                rows[place]["level_with_best"] = True


def _pooled(table: pd.DataFrame, draws: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """Return means over data sets of each strategy of a backbone, with the baseline on the same data sets beside them.

    A data set that stands here in several versions is not a single number and is left out; so is one whose headline
    metric is beyond accuracy: its top-1 is no number to average.
    """
    rows = []
    by = ["backbone", "backbone_shown", "precision", "prompts", "scorer", "kind", "aggregation", "budget", "baseline"]
    read = table[~table["of_seeds"].astype(bool)]
    top1_of = dict(zip(table["run_key"], table["top1"], strict=True))
    for key, members in read.groupby(by, dropna=False, sort=False):
        with_difference = members[members["difference"].notna()]
        several = with_difference["collection"].duplicated(keep=False)
        several |= ~with_difference["primary"].isin(ACCURACIES)
        taken = with_difference[~several]
        if len(taken) < 2:
            continue
        over_images: tuple[float | None, float | None] = (None, None)
        if taken["difference_low"].notna().all():
            mean_of_draws = np.mean(np.stack([draws[int(place)] for place in taken.index]), axis=0)
            over_images = percentile_interval(mean_of_draws, int(taken["num_images"].sum()))
        sets = over_datasets(taken["difference"].astype(float).tolist()) or (None, None)
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "num_datasets": len(taken),
                "datasets": " ".join(taken["collection"]),
                "left_out": " ".join(dict.fromkeys(with_difference["collection"][several])),
                "top1": taken["top1"].mean(),
                "baseline_top1": np.mean([top1_of[run_key] for run_key in taken["baseline_run_key"]]),
                "difference": taken["difference"].astype(float).mean(),
                "difference_low": over_images[0],
                "difference_high": over_images[1],
                "difference_datasets_low": sets[0],
                "difference_datasets_high": sets[1],
                "better_on": int((taken["difference"].astype(float) > 0).sum()),
            }
        )
    return pd.DataFrame(rows)


# As read -------------------------------------------------------------------------------------------------------------


def shown(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that a person reads, as text: percent with one decimal; seeds as their mean and spread.

    A difference to the baseline that is not significant across the table is marked n.s.
    """
    read = comparison[~comparison["of_seeds"].astype(bool)]
    out = pd.DataFrame(index=read.index)
    out["dataset"] = read["dataset_shown"]
    out["backbone"] = read["backbone_shown"]
    if read["precision"].nunique() > 1:
        out["precision"] = read["precision"]
    out["prompts"] = strategy_names(read)
    scored = bool((read["scorer"] != "plain").any())
    if scored:
        out["scorer"] = read["scorer"]
        out["kind"] = [str(kind).replace("_", " ") for kind in read["kind"]]
    out["images"] = [f"{count:,}" for count in read["num_images"]]
    out["top-1 [95%]"] = [
        f"{percent(value)} {interval(low, high)}".rstrip()
        for value, low, high in zip(read["top1"], read["top1_low"], read["top1_high"], strict=True)
    ]
    if "primary_value" in read:
        out["metric"] = [headline_title(name) for name in read["primary"]]
        out["value [95%]"] = [
            f"{percent(value)} {interval(low, high)}".rstrip()
            for value, low, high in zip(
                *(read[name].astype(float) for name in ("primary_value", "primary_low", "primary_high")), strict=True
            )
        ]
        if read["primary_difference"].notna().any():
            of_headline = ["primary_difference", "primary_difference_low", "primary_difference_high", "primary_p_holm"]
            out[f"value {minus(baseline_names(read))} [95%]"] = [
                _difference_shown(*values)
                for values in zip(*(read[name].astype(float) for name in of_headline), strict=True)
            ]
    if read["num_seeds"].notna().any():
        out["sd of seeds"] = [percent(value) for value in read["top1_sd"]]
    if read["top5"].notna().any():
        out["top-5"] = [percent(value) for value in read["top5"]]
    out["mean per class"] = [percent(value) for value in read["mean_per_class"]]
    if read["calibration_error"].notna().any():
        out["calibration error"] = [percent(value) for value in read["calibration_error"]]
    for column in read.columns:
        if str(column).startswith("top1_") and column not in ("top1_low", "top1_high", "top1_sd"):
            out[str(column).removeprefix("top1_").replace("_", " ")] = [percent(value) for value in read[column]]
    if read["difference"].notna().any():
        names = baseline_names(read)
        if len(names) > 1:
            out["baseline"] = [
                "" if pd.isna(name) else name for name in read["baseline"].where(read["difference"].notna())
            ]
        out[f"{minus(names)} [95%]"] = [
            _difference_shown(*values)
            for values in zip(
                read["difference"], read["difference_low"], read["difference_high"], read["p_holm"], strict=True
            )
        ]
        if read["difference_classes_low"].notna().any():
            out["over classes"] = [
                interval(*values, signed=True)
                for values in zip(read["difference_classes_low"], read["difference_classes_high"], strict=True)
            ]
    if scored and read["scorer_difference"].notna().any():
        out["minus plain [95%]"] = [
            _difference_shown(*values)
            for values in zip(
                read["scorer_difference"], read["scorer_difference_low"], read["scorer_difference_high"],
                read["scorer_p_holm"], strict=True,
            )
        ]  # fmt: skip
    return out


def _difference_shown(value: float | None, low: float | None, high: float | None, p: float | None) -> str:
    """Return a difference as a person reads it; without an interval where none over images holds."""
    if pd.isna(value):
        return ""
    if pd.isna(low):
        return points(value)
    return f"{points(value)} {interval(low, high, signed=True)}{'' if p < ALPHA else ' n.s.'}"  # type: ignore[operator]


def shown_pooled(pooled: pd.DataFrame) -> pd.DataFrame:
    """Return the means over data sets as a person reads them."""
    out = pd.DataFrame(index=pooled.index)
    out["backbone"] = pooled["backbone_shown"]
    if pooled["precision"].nunique() > 1:
        out["precision"] = pooled["precision"]
    out["prompts"] = strategy_names(pooled)
    if (pooled["scorer"] != "plain").any():
        out["scorer"] = pooled["scorer"]
        out["kind"] = [str(kind).replace("_", " ") for kind in pooled["kind"]]
    out["data sets"] = pooled["num_datasets"]
    out["top-1"] = [percent(value) for value in pooled["top1"]]
    names = list(dict.fromkeys(pooled["baseline"]))
    if len(names) > 1:
        out["baseline"] = pooled["baseline"]
    out["baseline top-1" if len(names) > 1 else names[0]] = [percent(value) for value in pooled["baseline_top1"]]
    out["difference"] = [points(value) for value in pooled["difference"]]
    out["over images"] = [
        interval(*values, signed=True)
        for values in zip(pooled["difference_low"], pooled["difference_high"], strict=True)
    ]
    out["over data sets"] = [
        interval(*values, signed=True)
        for values in zip(pooled["difference_datasets_low"], pooled["difference_datasets_high"], strict=True)
    ]
    out["better on"] = [
        f"{better} of {count}" for better, count in zip(pooled["better_on"], pooled["num_datasets"], strict=True)
    ]
    return out


def baseline_names(runs: pd.DataFrame) -> list[str]:
    """Return the names of the baselines that differences of these rows are taken to."""
    return list(dict.fromkeys(runs.loc[runs["difference"].notna(), "baseline"]))


def minus(names: Sequence[str]) -> str:
    """Return what a column of differences is called: by its baseline, where there is one for all.

    >>> minus(["simple"]), minus(["simple", "name_only"])
    ('minus simple', 'minus baseline')
    """
    return f"minus {names[0]}" if len(names) == 1 else "minus baseline"


def scored_names(table: pd.DataFrame) -> list[str]:
    """Return the strategy of each row, and its scorer where that is not the plain one."""
    names = zip(strategy_names(table), table["scorer"], strict=True)
    return [name if scorer == "plain" else f"{name}, {scorer}" for name, scorer in names]


def strategy_names(table: pd.DataFrame) -> list[str]:
    """Return the strategy of each row, with what tells it apart from others of its name in this table."""
    present = [qualifier for qualifier in QUALIFIERS if qualifier in table]
    # Each scorer is a part of the table by itself.
    of = list(zip(table["prompts"], table["scorer"] if "scorer" in table else [""] * len(table), strict=True))
    differing = table.groupby(pd.Series(of, index=table.index))[present].nunique(dropna=False).gt(1)
    names = []
    for row, key in zip(table.to_dict("records"), of, strict=True):
        parts = [
            row[qualifier] if isinstance(row[qualifier], str) else f"{qualifier} {row[qualifier]:g}"
            for qualifier in present
            if differing[qualifier][key] and pd.notna(row[qualifier])
        ]
        if pd.notna(row.get("num_seeds")):
            parts.append(f"{int(row['num_seeds'])} seeds")
        names.append(f"{row['prompts']} ({', '.join(parts)})" if parts else str(row["prompts"]))
    return names
