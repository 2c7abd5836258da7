"""Who stands where over several data sets: the rows of tables/ranking, from the rows of a comparison.

A *league* is what may be ranked together: one backbone, one precision, one kind of scorer. Its ranks are taken on
the data sets that all of its strategies have answered; nothing that is missing is filled in, and all that is left
out, or left unsaid for want of data sets, is told in a sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from cupl_bench.errors import first
from cupl_bench.report.answers import RightImages
from cupl_bench.report.headline import beyond_accuracy, headline_title, ranked_values
from cupl_bench.report.ranking import (
    FEWEST,
    average_ranks,
    critical_difference,
    fewest_for_signed_rank,
    friedman_p,
    noise,
    resampled_datasets,
    resampled_images,
    signed_rank_p,
    skill_scores,
    swaps,
    win_rates,
)
from cupl_bench.report.significance import ALPHA, holm, percentile_interval
from cupl_bench.report.texts import percent

__all__ = ["OF_LEAGUE", "Standings", "notes_of", "shown_ranking", "stand"]

LEAGUE = ["backbone", "backbone_shown", "precision", "kind"]
OF_LEAGUE = (
    *LEAGUE, "num_datasets", "datasets", "baseline", "friedman_p", "critical_difference", "noise_images",
    "noise_datasets",
)  # fmt: skip
"""Columns that are the same in all rows of a league."""
STRATEGY = ["prompts", "scorer", "aggregation", "budget"]


@dataclass(frozen=True, kw_only=True)
class Standings:
    """The ranks over data sets.

    ``table``: a row per strategy of each league, best first; results/README.md has its columns. ``notes``: of each
    league, by its number in ``table["league"]``, what was left out or cannot be said.
    """

    table: pd.DataFrame
    notes: Mapping[int, Sequence[str]]


def stand(
    runs: pd.DataFrame,
    right: Mapping[str, RightImages],
    of_headlines: Mapping[str, Float64[np.ndarray, " b"]] = MappingProxyType({}),
) -> Standings:
    """Return the ranks of the strategies of each league over its data sets, on each by its own metric.

    Args:
        runs: the rows of a comparison, with the column ``collection``.
        right: which images each run has right, by run key; runs whose images cannot be resampled are not there.
        of_headlines: headline metrics beyond accuracy in resamples of the images, by run key; those of a data set are
            of the same resamples.
    """
    # A mean over seeds has no key of its own: it stands above its runs.
    place = (runs["num_seeds"].notna() | ~runs["of_seeds"].astype(bool)).cumsum()
    keys = runs[runs["run_key"] != ""].groupby(place)["run_key"].agg(list)
    read = runs[~runs["of_seeds"].astype(bool)]
    read = read.assign(keys=place.map(keys), value=ranked_values(read), beyond=beyond_accuracy(read))
    tables: list[pd.DataFrame] = []
    notes: dict[int, list[str]] = {}
    for league, members in read.groupby(LEAGUE, dropna=False, sort=False):
        if members["collection"].nunique() < 2:
            continue
        said: list[str] = []
        cells = _complete(members, said)
        if cells is not None:
            number = len(notes)
            table = _ranked(cells, right, of_headlines, said)
            tables.append(table.assign(league=number, **dict(zip(LEAGUE, league, strict=True))))
            notes[number] = said
        elif said:
            notes[len(notes)] = [f"{league[1]}, {_spaced(league[3])}: {text}" for text in said]
    if not tables:
        return Standings(table=pd.DataFrame(), notes=notes)
    table = pd.concat(tables, ignore_index=True)
    ahead = ["league", *LEAGUE, *STRATEGY]
    return Standings(table=table[[*ahead, *(name for name in table if name not in ahead)]], notes=notes)


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """The complete part of a league: ``rows[d][s]`` is the row of strategy s on data set d."""

    datasets: Sequence[str]
    strategies: pd.DataFrame
    rows: Sequence[Sequence[Mapping[str, object]]]

    @property
    def values(self) -> np.ndarray:
        return np.array([[row["value"] for row in of_dataset] for of_dataset in self.rows], dtype=np.float64)

    @property
    def beyond(self) -> Bool[np.ndarray, " d"]:
        """Whether each data set is ranked by a metric beyond accuracy."""
        return np.array([bool(of_dataset[0]["beyond"]) for of_dataset in self.rows])


def _complete(members: pd.DataFrame, said: list[str]) -> _Cells | None:
    """Return the part of a league in which each strategy has answered each data set; None where there is none.

    A strategy that was run on fewer than half of the data sets is left out first, then each data set that another one
    lacks, or that stands here in several versions or metrics.
    """
    members = members[members["value"].notna()]
    metric = members["primary"].where(members["beyond"], "top1")
    of_metrics = metric.groupby(members["collection"], sort=False).nunique()
    if mixed := list(of_metrics.index[of_metrics > 1]):
        said.append(f"data sets left out since they stand here in several metrics ({len(mixed)}): {first(mixed)}.")
    members = members[~members["collection"].isin(mixed)]
    strategies = members.groupby(STRATEGY, dropna=False, sort=False).ngroup()
    versions = members.groupby([strategies, "collection"]).size().groupby("collection").max()
    several = list(versions.index[versions > 1])
    if several:
        said.append(f"data sets left out since they stand here in several versions ({len(several)}): {first(several)}.")
    members, strategies = (
        members[~members["collection"].isin(several)],
        strategies[~members["collection"].isin(several)],
    )
    num_datasets = members["collection"].nunique()
    run_on = strategies.map(strategies.value_counts())
    rare = members[run_on * 2 < num_datasets].groupby(STRATEGY, dropna=False, sort=False).size()
    if len(rare):
        names = [f"{_named(key)} ({count} of {num_datasets})" for key, count in rare.items()]
        said.append(
            f"strategies not ranked since they were run on fewer than half of the data sets ({len(rare)}):"
            f" {first(names)}."
        )
    members, strategies = members[run_on * 2 >= num_datasets], strategies[run_on * 2 >= num_datasets]
    if strategies.nunique() < 2:
        return None
    have = members.groupby("collection", sort=False).size()
    lacking = list(have.index[have < strategies.nunique()])
    if lacking:
        said.append(
            f"data sets left out, not filled, since a strategy is missing there ({len(lacking)}): {first(lacking)}."
        )
    datasets = [name for name in have.index if name not in lacking]
    if len(datasets) < 2:
        said.append(
            f"ranks take two data sets that all {strategies.nunique()} strategies have answered; there are"
            f" {len(datasets)}."
        )
        return None
    ranked = members[members["beyond"] & members["collection"].isin(datasets)].drop_duplicates("collection")
    if own := [f"{row.collection} ({headline_title(str(row.primary))})" for row in ranked.itertuples()]:
        said.append(
            f"data sets ranked by a metric beyond accuracy, which the mean leaves out ({len(own)}): {first(own)}."
        )
    order = list(dict.fromkeys(strategies))
    by_cell = {
        (row["collection"], number): row for number, row in zip(strategies, members.to_dict("records"), strict=True)
    }
    return _Cells(
        datasets=datasets,
        strategies=members[~strategies.duplicated()][STRATEGY].reset_index(drop=True),
        rows=[[by_cell[name, number] for number in order] for name in datasets],
    )


def _named(key: tuple[object, ...]) -> str:
    prompts, scorer = key[:2]
    return str(prompts) if scorer == "plain" else f"{prompts}, {scorer}"


def _spaced(kind: object) -> str:
    return str(kind).replace("_", " ")


def _ranked(
    cells: _Cells,
    right: Mapping[str, RightImages],
    of_headlines: Mapping[str, Float64[np.ndarray, " b"]],
    said: list[str],
) -> pd.DataFrame:
    """Return the rows of a league, best first."""
    values = cells.values
    num_datasets, num_strategies = values.shape
    ranks = average_ranks(values)
    averaged = values[~cells.beyond]
    top1 = averaged.mean(axis=0) if len(averaged) else np.full(num_strategies, np.nan)
    order = [int(place) for place in np.lexsort((-values.mean(axis=0), ranks))]
    of_data = num_datasets >= FEWEST
    empty = np.full(num_strategies, np.nan)
    facts: dict[str, float] = dict.fromkeys(
        ("friedman_p", "critical_difference", "noise_images", "noise_datasets"), np.nan
    )
    table: dict[str, object] = {
        "num_datasets": num_datasets,
        "datasets": " ".join(cells.datasets),
        "top1": top1,
        "average_rank": ranks,
        "rank_low": empty,
        "rank_high": empty,
        "win_rate": win_rates(values),
        "baseline": None,
        "skill_score": empty,
        "p": empty,
        "p_holm": empty,
        "as_good_as_best": None,
        "swap_images": empty,
        "swap_datasets": empty,
    }
    if (baseline := _baseline(cells)) is not None:
        table["baseline"] = _named(tuple(cells.strategies.loc[baseline]))
        table["skill_score"] = skill_scores(values, baseline)
        others = [place for place in range(num_strategies) if place != baseline]
        needed = fewest_for_signed_rank(len(others))
        if num_datasets >= needed:
            p = empty.copy()
            p[others] = [signed_rank_p(values[:, place] - values[:, baseline]) for place in others]
            table["p"], table["p_holm"] = p, holm(p)
        else:
            said.append(
                f"no test against {table['baseline']}: with {num_datasets} data sets Wilcoxon's test of {len(others)}"
                f" strategies after Holm can find nothing; {needed} data sets are the fewest."
            )
    else:
        said.append("no skill score and no test: the baseline was not run on all of these data sets.")
    if not of_data:
        said.append(
            f"nothing is said about other data sets (interval of the rank, Friedman's test, critical difference,"
            f" changes of place): that takes {FEWEST} data sets, these are {num_datasets}."
        )
    else:
        draws = resampled_datasets(values)
        table["rank_low"], table["rank_high"] = np.transpose(
            [percentile_interval(one, num_datasets) for one in draws.T]
        )
        table["swap_datasets"] = _in_place(swaps(draws, order), order)
        facts["noise_datasets"] = noise(draws, ranks)
        if num_strategies < 3:
            said.append("no critical difference: of two strategies Wilcoxon's test says all.")
        else:
            _test_all(values, ranks, facts, table, said)
    together = _together(cells, right, of_headlines)
    if together is None:
        said.append(
            "no changes of place with other images: the scores of images depend on each other, strategies left out"
            " different images, or a metric is not defined in some resamples."
        )
    else:
        draws = resampled_images(*together)
        table["swap_images"] = _in_place(swaps(draws, order), order)
        facts["noise_images"] = noise(draws, ranks)
    return cells.strategies.assign(**table, **facts).iloc[order]


def _test_all(
    values: np.ndarray, ranks: np.ndarray, facts: dict[str, float], table: dict[str, object], said: list[str]
) -> None:
    """Add Friedman's test and Nemenyi's critical difference."""
    num_datasets, num_strategies = values.shape
    facts["friedman_p"] = friedman_p(values)
    facts["critical_difference"] = difference = critical_difference(num_strategies, num_datasets)
    if facts["friedman_p"] < ALPHA:
        table["as_good_as_best"] = ranks - ranks.min() < difference
    else:
        table["as_good_as_best"] = True
        said.append(
            f"Friedman's test finds no difference between these strategies (p {facts['friedman_p']:.2f}): differences"
            " of their ranks, and the critical difference, mean nothing."
        )


def _in_place(of_order: np.ndarray, order: Sequence[int]) -> np.ndarray:
    out = np.empty(len(order))
    out[list(order)] = of_order
    return out


def _baseline(cells: _Cells) -> int | None:
    """Return which strategy is the baseline on all data sets: with the plain scorer, else with the one shown first."""
    keys = {row["baseline_run_key"] for of_dataset in cells.rows for row in of_dataset}
    is_baseline = [
        all(keys & set(of_dataset[place]["keys"]) for of_dataset in cells.rows)  # type: ignore[call-overload]
        for place in range(len(cells.strategies))
    ]
    found = [place for place, one in enumerate(is_baseline) if one]
    plain = [place for place in found if cells.strategies["scorer"][place] == "plain"]
    return next(iter([*plain, *found]), None)


def _together(
    cells: _Cells, right: Mapping[str, RightImages], of_headlines: Mapping[str, Float64[np.ndarray, " b"]]
) -> tuple[list[Bool[np.ndarray, "r n"] | Float64[np.ndarray, "r b"]], list[np.ndarray]] | None:
    """Return of each data set what `resampled_images` takes, and whose run each is; None where images differ.

    That is which images each run has right, or its metric beyond accuracy in each resample.
    """
    hits: list[Bool[np.ndarray, "r n"] | Float64[np.ndarray, "r b"]] = []
    owners = []
    for of_dataset, beyond in zip(cells.rows, cells.beyond, strict=True):
        keys = [(key, owner) for owner, row in enumerate(of_dataset) for key in row["keys"]]  # type: ignore[attr-defined]
        runs = [right.get(key) for key, _ in keys]
        known = [run for run in runs if run is not None]
        if len(known) < len(runs) or len({run.images for run in known}) > 1:
            return None
        if beyond:
            draws = [of_headlines.get(key) for key, _ in keys]
            defined = [one for one in draws if one is not None and not np.isnan(one).any()]
            if len(defined) < len(draws):
                return None
            hits.append(np.stack(defined))
        else:
            hits.append(np.stack([run.hits() for run in known]))
        owners.append(np.array([owner for _, owner in keys]))
    return hits, owners


def shown_ranking(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the ranks as a person reads them; ``names``: of the strategies."""
    out = pd.DataFrame(index=table.index)
    out["backbone"] = table["backbone_shown"]
    if table["precision"].nunique() > 1:
        out["precision"] = table["precision"]
    out["prompts"] = names
    if (table["scorer"] != "plain").any():
        out["scorer"] = table["scorer"]
    if (table["kind"] != "zero_shot").any():
        out["kind"] = [_spaced(kind) for kind in table["kind"]]
    out["data sets"] = table["num_datasets"]
    out["rank [95%]"] = [
        f"{rank:.2f}" if np.isnan(low) else f"{rank:.2f} [{low:.2f}, {high:.2f}]{'' if worse else ' *'}"
        for rank, low, high, worse in zip(
            table["average_rank"], table["rank_low"], table["rank_high"],
            [pd.isna(good) or not good for good in table["as_good_as_best"]], strict=True,
        )
    ]  # fmt: skip
    out["wins"] = [percent(value) for value in table["win_rate"]]
    out["top-1"] = [percent(value) for value in table["top1"]]
    baselines = list(dict.fromkeys(name for name in table["baseline"] if pd.notna(name)))
    if len(baselines) > 1:
        out["baseline"] = table["baseline"]
    if baselines:
        out["skill" if len(baselines) > 1 else f"skill over {baselines[0]}"] = [
            "" if np.isnan(score) else f"{100 * score:+z.1f}{_sure(p)}"
            for score, p in zip(table["skill_score"], table["p_holm"], strict=True)
        ]
    for name, column in (("images", "swap_images"), ("data sets", "swap_datasets")):
        if table[column].notna().any():
            out[f"swaps, other {name}"] = ["" if np.isnan(value) else f"{value:.2f}" for value in table[column]]
    return out


def _sure(p: float) -> str:
    return "" if np.isnan(p) or p < ALPHA else " n.s."


def notes_of(standings: Standings) -> list[str]:
    """Return what is to be read below the table: its tests, and all that is left out or cannot be said."""
    table, lines = standings.table, []
    titles = _titles(table) if len(table) else {}
    for number, title in titles.items():
        rows = table[table["league"] == number]
        row = rows.iloc[0]
        facts = []
        if not np.isnan(row["friedman_p"]):
            facts.append(f"Friedman p {row['friedman_p']:.2g}")
        if not np.isnan(row["critical_difference"]):
            facts.append(f"critical difference {row['critical_difference']:.2f} (Nemenyi; * within it of the best)")
        if pd.notna(row["baseline"]):
            unsure = "; n.s. by Wilcoxon's signed-rank test after Holm" if (rows["p_holm"] >= ALPHA).any() else ""
            facts.append(f"skill: the percentage of the errors of {row['baseline']} that are saved{unsure}")
        noises = [
            f"{100 * row[f'noise_{what}']:.0f}% with other {shown}"
            for what, shown in (("images", "images"), ("datasets", "data sets"))
            if not np.isnan(row[f"noise_{what}"])
        ]
        if noises:
            facts.append(f"pairs that change places: {', '.join(noises)}; of equal strategies about 25%")
        lines += [f"{title}{line}" for line in (*facts, *standings.notes[number])]
    if titles:
        lines.append(
            "swaps: how likely a row changes places with the next one, had other images or data sets been taken"
        )
    lines += [note for number, notes in standings.notes.items() if number not in titles for note in notes]
    return lines


def _titles(table: pd.DataFrame) -> dict[int, str]:
    """Return what the lines of each league begin with: nothing where there is one, else what tells it apart."""
    leagues = table.drop_duplicates("league")
    parts = [name for name in ("backbone_shown", "precision", "kind") if leagues[name].nunique() > 1]
    return {
        int(row["league"]): f"{', '.join(_spaced(row[name]) for name in parts)}: " if parts else ""
        for row in leagues.to_dict("records")
    }
