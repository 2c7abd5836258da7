"""Published numbers beside ours: what was measured before on the same question, or on nearly the same one."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import yaml  # type: ignore[import-untyped]

from cupl_bench.conf_folder import conf_dir, shipped
from cupl_bench.errors import ResultsError, first, nearest
from cupl_bench.records import Record
from cupl_bench.report.naming import REFERENCE, leaves, prompts_settings, recorded
from cupl_bench.report.texts import interval, percent, points

__all__ = [
    "FILTERS", "TOLERANCE", "match_published", "our_wording", "read_published", "search_published", "shipped_option",
    "shown_published", "shown_rows",
]  # fmt: skip

TOLERANCE = 0.003
"""By how much a published number may lie outside the interval of ours and still agree: one decimal, half precision and
another resize move a number so far without another question being asked."""

ONE_SENTENCE = ("simple", "coop")
"""Strategies that are one where CoOp's template of a data set is the plain one: a row of the other is shown if its
wording is ours, letter for letter."""

FILTERS = {
    "dataset": "dataset",
    "protocol": "protocol",
    "backbone": "backbone",
    "prompts": "strategy",
    "scorer": "scorer",
    "metric": "metric",
    "source": "source",
    "verified": "verified",
}
"""What rows are searched by -> its column."""
METRICS = ("top1", "mean_per_class", "mean_of_top1_and_top5")
NOT_COMPARED = {
    "prompts": {"name", "cache_dir", "seed"},
    "dataset": {
        "_target_",
        "name",
        "cache_dir",
        "path",
        "root",
        "source",
        "protocol",
        "names",
        "limit",
        "seed",
        "primary",
    },
}
"""Keys of each group that move no number, or that the columns of published.csv speak of themselves."""
COLUMNS = [
    "dataset", "split", "backbone", "prompts", "scorer", "metric", "wording", "ours", "ours_low", "ours_high",
    "published", "difference", "agrees", "match", "differs", "verified", "source", "reference", "note", "run_key",
]  # fmt: skip


@lru_cache(maxsize=1)
def read_published() -> pd.DataFrame:
    """Return the rows of results/published.csv, which an installed package carries with it; values are percent."""
    table = pd.read_csv(shipped("report/published.csv", "results/published.csv"), keep_default_na=False)
    return table.assign(scorer=table["scorer"].replace("", "plain"))


def search_published(words: Sequence[str] = (), filters: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return the rows of published.csv that hold every word somewhere, and in their columns what ``filters`` ask.

    Args:
        words: looked for in all columns; capitals make no difference.
        filters: by a key of `FILTERS`: values between commas, any of which fits; ``*`` stands for any letters.

    Raises:
        ResultsError: a word, or a value alone, is in no row.
    """
    table = read_published()
    rows = table.itertuples(index=False) if words else ()
    texts = pd.Series([" ".join(map(str, row)).casefold() for row in rows], dtype=str)
    kept = pd.Series(True, index=table.index)
    for word in words:
        found = texts.str.contains(word.casefold(), regex=False)
        if not found.any():
            raise ResultsError(f"No row of {len(table):,} published numbers holds {word!r}.")
        kept &= found
    for key, asked in (filters or {}).items():
        if key not in FILTERS:
            raise ResultsError(
                f"published numbers are searched by {', '.join(FILTERS)}, not by {key}.{nearest(key, FILTERS)}"
            )
        column = table[FILTERS[key]].str.casefold()
        fits = pd.Series(False, index=table.index)
        for value in asked.split(","):
            found = column.map(lambda one, value=value: fnmatchcase(one, value.strip().casefold())).astype(bool)
            if not found.any():
                known = sorted(set(table[FILTERS[key]]) - {""})
                raise ResultsError(
                    f"{key}={value} is in no row of {len(table):,} published numbers.{nearest(value, known)} There are"
                    f" {first(known)}; '*' stands for any letters."
                )
            fits |= found
        kept &= fits
    return table[kept].reset_index(drop=True)


def shown_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of published numbers that a person reads, as text; in percent as published."""
    models = [one["backbone"] or f"{one['architecture']} {one['pretrained']}" for one in table.to_dict("records")]
    return pd.DataFrame(
        {
            "dataset": table["dataset"],
            "protocol": table["protocol"].replace("", "none of ours"),
            "backbone": models,
            "prompts": table["strategy"],
            "scorer": table["scorer"],
            "metric": table["metric"].str.replace("_", " "),
            "value": [f"{value:.2f}" for value in table["value"]],
            "verified": table["verified"],
            "differs in": table["differs"],
            "source": table["source"],
        }
    )


def match_published(runs: pd.DataFrame, records: Sequence[Record]) -> pd.DataFrame:
    """Return a row for each published number that a run can be held against; fractions.

    ``match`` is ``exact`` where the question is the same, and ``near`` where ``differs`` says what is not: the split,
    the class names, the prompts and their wording, an assumption about the metric. ``agrees``: the published value lies
    within the 95% interval of ours, widened by `TOLERANCE`; where there is no interval, within `TOLERANCE` of ours.
    Unverified rows keep that word.

    Args:
        runs: the comparison (`report.comparison.compare`); several seeds are compared by their mean.
        records: those of the runs.
    """
    published = read_published()
    by_question = dict(iter(published.groupby(["dataset", "architecture", "pretrained", "strategy", "scorer"])))
    record_of = {record.run_key: record for record in records}
    keys = runs["run_key"].tolist()
    found = []
    for place, row in enumerate(runs.to_dict("records")):
        if row["of_seeds"]:
            continue
        # The row of a mean over seeds stands above those of its runs.
        record = record_of[row["run_key"] or keys[place + 1]]
        backbone = record.backbone
        strategy, changed, wording = _strategy(record), _changed(record), _wording(record)
        for name in ONE_SENTENCE if strategy in ONE_SENTENCE else (strategy,):
            rows = by_question.get(
                (_dataset_of(record), backbone.architecture, backbone.pretrained, name, record.scorer.name)
            )
            named = [] if rows is None else [one for one in rows.to_dict("records") if _has_metric(row, one["metric"])]
            matched = [_matched(row, record, changed, one) for one in named]
            found += [one for one in matched if name == strategy or one["wording"].casefold() == wording]
    table = pd.DataFrame(found, columns=COLUMNS)
    order = ["dataset", "backbone", "prompts", "match", "verified", "source"]
    return table.sort_values(order, ascending=[True, True, True, True, False, True], kind="stable", ignore_index=True)


def _dataset_of(record: Record) -> str:
    """Return the data set whose published numbers are near: of given features, the one whose names they have."""
    named = recorded(record, "dataset").get("names_of") if record.dataset.features else None
    return str(named or record.dataset.name)


def _strategy(record: Record) -> str:
    """Return the option that asks for these prompts: CuPL's base file goes by either name."""
    prompts = recorded(record, "prompts")
    return "cupl_base" if record.prompts.name == "cupl" and prompts.get("variant") == "base" else record.prompts.name


@lru_cache(maxsize=256)
def shipped_option(name: str) -> Mapping[str, Any]:
    """Return the option of a group as its file has it."""
    path = conf_dir() / name
    content = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None
    return content if isinstance(content, dict) else {}


def _changed(record: Record) -> list[str]:
    """Return the settings that a run changed in the options that it names, and that can move a number.

    A key that the run lacks came with a later version. One that the option lacks is of a class of the user's own.
    """
    if not recorded(record, "prompts"):
        return ["settings not recorded"]
    changed = ["image features were given"] if record.dataset.features else []
    own = leaves(recorded(record, "dataset"), "dataset.")
    for group, name in (("prompts", _strategy(record)), ("dataset", record.dataset.name)):
        if group == "dataset" and record.dataset.features:
            continue
        given, option = leaves(recorded(record, group)), leaves(shipped_option(f"{group}/{name}.yaml"))
        if not option:
            changed.append(f"{group}={name} is not an option of this version")
            continue
        for key in (*option, *(sorted(given.keys() - option.keys()) if group == "prompts" else ())):
            if key in NOT_COMPARED[group] or key not in given:
                continue
            wanted = option.get(key)
            if isinstance(wanted, str) and (reference := REFERENCE.fullmatch(wanted)) and given[key] != wanted:
                if reference[1] not in own:
                    continue  # the option refers to what came later: the wording says whether it is the same
                wanted = own[reference[1]]
            alike = given[key] == wanted
            if key == "_target_":  # classes move between modules
                alike = str(given[key]).split(".")[-1] == str(wanted).split(".")[-1]
            if key == "variant" and given[key] == {"cupl": "full", "cupl_base": "base"}.get(name):
                alike = True
            if not alike:
                changed.append(f"{group}.{key}={given[key]}")
    if record.prompts.budget is not None:
        changed.append(f"budget={record.prompts.budget}")
    return changed


def our_wording(settings: Mapping[str, Any]) -> str | None:
    """Return the form of a strategy's prompts in the words of published.csv; None where they have no single form.

    ``{}`` stands for the class name.

    Args:
        settings: of the prompts, by dotted keys, with the values that they refer to.

    >>> our_wording({"_target_": "cupl_bench.prompts.strategies.TemplatesStrategy", "templates": ["a photo of a {}."]})
    'a photo of a {}.'
    """
    kind = str(settings.get("_target_")).split(".")[-1]
    opening = f"A photo of a {concept}: a {{}}" if (concept := settings.get("concept")) else "A photo of a {}"
    if kind == "TemplatesStrategy":
        templates = settings.get("templates")
        return str(templates[0]) if isinstance(templates, list) and len(templates) == 1 else None
    if kind == "ConceptStrategy":
        return f"{opening}."
    if kind == "DescriptorsStrategy":
        return f"{settings.get('before') or ''}{{}}, which has {{descriptor}}{settings.get('after') or ''}"
    if kind in ("WaffleStrategy", "DclipWaffleStrategy"):
        return f"{opening}, which has {{{'descriptor or ' if kind.startswith('Dclip') else ''}random words}}."
    return None


def _wording(record: Record) -> str | None:
    """Return our wording in small letters: every published number that names a form is one of CLIP's.

    CLIP's tokenizer makes no difference of capitals.
    """
    ours = our_wording(prompts_settings(record, looked_up=True) or {})
    return None if ours is None else ours.casefold()


def _has_metric(row: Mapping[str, Any], metric: str) -> bool:
    """Return whether a run has the metric of a published number: an accuracy, or its own headline metric."""
    return metric in METRICS or row.get("primary") == metric


def _matched(row: Mapping[str, Any], record: Record, changed: Sequence[str], one: Mapping[str, Any]) -> dict[str, Any]:
    origin = record.dataset.origin or {}
    differs = [one["differs"]] if one["differs"] else []
    # Two protocols may name the same images, such as ImageNet's standard one and CoOp's; a custom one names none.
    same_images = origin.get("protocol") not in (None, "custom") and record.dataset.split == one["split"]
    other_split = origin.get("protocol") != one["protocol"] and not same_images
    if not one["protocol"] or other_split or "per class (seed" in record.dataset.split:
        differs.append(f"split: {one['split']}")
    if origin.get("names") != one["names"]:
        differs.append(f"class names: {one['names'] or 'not told'}")
    ours = our_wording(prompts_settings(record, looked_up=True) or {})
    if "{}" in one["wording"] and _wording(record) != one["wording"].casefold():
        differs.append(f'wording: "{one["wording"]}", not "{ours}"' if ours else f'wording: "{one["wording"]}"')
    differs += changed
    if one["metric"] == "mean_of_top1_and_top5":
        value = (row["top1"] + row["top5"]) / 2
        low, high = value + row["top1_low"] - row["top1"], value + row["top1_high"] - row["top1"]
    elif one["metric"] not in METRICS:
        value, low, high = (row[f"primary_{end}"] for end in ("value", "low", "high"))
    else:
        value, low, high = (row[f"{one['metric']}{end}"] for end in ("", "_low", "_high"))
    published = float(one["value"]) / 100
    if pd.isna(low):  # scores of images that depend on each other have no interval
        low = high = value
    return {
        "dataset": row["dataset"],
        "split": row["split"],
        "backbone": row["backbone"],
        "prompts": row["prompts"],
        "scorer": row["scorer"],
        "metric": one["metric"],
        "wording": one["wording"],
        "ours": value,
        "ours_low": low,
        "ours_high": high,
        "published": published,
        "difference": value - published,
        "agrees": bool(low - TOLERANCE <= published <= high + TOLERANCE),
        "match": "near" if differs else "exact",
        "differs": "; ".join(differs),
        "verified": "verified" if one["verified"] == "yes" else "unverified",
        "source": one["source"],
        "reference": one["reference"],
        "note": one["note"],
        "run_key": record.run_key,
    }


def shown_published(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that a person reads, as text: percent with one decimal."""
    scored = {"scorer": table["scorer"]} if (table["scorer"] != "plain").any() else {}
    return pd.DataFrame(
        {
            "dataset": table["dataset"],
            "backbone": table["backbone"],
            "prompts": table["prompts"],
            **scored,
            "metric": table["metric"].str.replace("_", " "),
            "ours [95%]": [
                f"{percent(value)} {interval(low, high) if low < high else ''}".rstrip()
                for value, low, high in zip(table["ours"], table["ours_low"], table["ours_high"], strict=True)
            ],
            "published": [
                f"{percent(value)}{'' if verified == 'verified' else ' (unverified)'}"
                for value, verified in zip(table["published"], table["verified"], strict=True)
            ],
            "difference": [points(value) for value in table["difference"]],
            "agrees": np.where(table["agrees"].astype(bool), "yes", "no"),
            "their wording": table["wording"],
            "differs in": table["differs"],
            "source": table["source"],
        }
    )
