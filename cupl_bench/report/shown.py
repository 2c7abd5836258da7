"""The rows of a comparison as a person reads them."""

from collections.abc import Callable, Sequence

import pandas as pd

from cupl_bench.report.headline import headline_title
from cupl_bench.report.significance import ALPHA
from cupl_bench.report.texts import interval, percent, points

__all__ = ["baseline_names", "minus", "scored_names", "shown", "shown_pooled", "strategy_names"]

QUALIFIERS = ("aggregation", "budget", "seed")
"""Columns that tell strategies of one name apart; they are read only where they do."""


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
    out["top-1 [95%]"] = _each(_value_shown, read, "top1", "top1_low", "top1_high")
    if "primary_value" in read:
        out["metric"] = [headline_title(name) for name in read["primary"]]
        out["value [95%]"] = _each(_value_shown, read, "primary_value", "primary_low", "primary_high")
        if read["primary_difference"].notna().any():
            out[f"value {minus(baseline_names(read))} [95%]"] = _each(
                _difference_shown, read, *_of_difference("primary_difference", "primary_p_holm")
            )
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
        out[f"{minus(names)} [95%]"] = _each(_difference_shown, read, *_of_difference("difference", "p_holm"))
        if read["difference_classes_low"].notna().any():
            out["over classes"] = _each(_signed, read, "difference_classes_low", "difference_classes_high")
    if scored and read["scorer_difference"].notna().any():
        columns = _of_difference("scorer_difference", "scorer_p_holm")
        out["minus plain [95%]"] = _each(_difference_shown, read, *columns)
    return out


def _each(word: Callable[..., str], table: pd.DataFrame, *columns: str) -> list[str]:
    """Return the cells of a column: ``word`` of the values of each row, NaN where there is none."""
    return [word(*values) for values in zip(*(table[name].astype(float) for name in columns), strict=True)]


def _of_difference(name: str, p: str) -> tuple[str, str, str, str]:
    return name, f"{name}_low", f"{name}_high", p


def _value_shown(value: float, low: float, high: float) -> str:
    return f"{percent(value)} {interval(low, high)}".rstrip()


def _signed(low: float, high: float) -> str:
    return interval(low, high, signed=True)


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
    out["over images"] = _each(_signed, pooled, "difference_low", "difference_high")
    out["over data sets"] = _each(_signed, pooled, "difference_datasets_low", "difference_datasets_high")
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
    counts = table.groupby(pd.Series(of, index=table.index))[present].nunique(dropna=False)
    differing = {qualifier: set(counts.index[counts[qualifier] > 1]) for qualifier in present}
    names = []
    for row, key in zip(table.to_dict("records"), of, strict=True):
        parts = [
            row[qualifier] if isinstance(row[qualifier], str) else f"{qualifier} {row[qualifier]:g}"
            for qualifier in present
            if key in differing[qualifier] and pd.notna(row[qualifier])
        ]
        if pd.notna(row.get("num_seeds")):
            parts.append(f"{int(row['num_seeds'])} seeds")
        names.append(f"{row['prompts']} ({', '.join(parts)})" if parts else str(row["prompts"]))
    return names
