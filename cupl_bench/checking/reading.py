"""Read finished runs with their tables; what cannot be read is the text of the reason, and no error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int64

from cupl_bench.checking.findings import Finding, Seen, count_runs
from cupl_bench.dataset.limit import limited
from cupl_bench.errors import ResultsError, UnreadableError
from cupl_bench.identity import PROTOCOL_VERSION
from cupl_bench.question import GROUPS, is_own_class
from cupl_bench.records import Record, read_record
from cupl_bench.scored_file import class_sets
from cupl_bench.store import files_in
from cupl_bench.truth import ClassSets, Truth

__all__ = ["Predictions", "Run", "name_of", "of_each", "path_of", "read_all"]

READING = (OSError, pa.ArrowException, KeyError, ValueError, TypeError)
"""What reading a damaged or foreign table raises."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run with its tables; one that cannot be read is the text of the reason."""

    record: Record
    results_dir: Path
    predictions: "Predictions | str"
    prompts: pd.DataFrame | str

    @classmethod
    def of(cls, record: Record, results_dir: Path) -> "Run":
        return cls(
            record=record,
            results_dir=results_dir,
            predictions=_read_predictions(record, results_dir),
            prompts=_read_prompts(record, results_dir),
        )

    @property
    def name(self) -> str:
        return name_of(self.record)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The columns of predictions, and which of them are right; None of those that are not there."""

    index: Int64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    prediction: Int64[np.ndarray, " n"]
    top5: Int64[np.ndarray, "n k"] | None
    correct: Bool[np.ndarray, " n"] | None
    hits: Bool[np.ndarray, " n"]
    among_five: Bool[np.ndarray, " n"] | None


def name_of(record: Record) -> str:
    """Return what a run is called in a message: its key and the names of its question."""
    scorer = [] if record.scorer.name == "plain" else [record.scorer.name]
    names = (record.dataset.name, record.backbone.name, record.prompts.name, *scorer)
    return f"{record.run_key} ({' x '.join(names)})"


def read_all(results_dir: Path) -> tuple[list[Record], Finding]:
    """Return the records below a results folder, the newest first, and what is to be said of their files."""
    paths = files_in(results_dir / "records", ".json")
    if not paths:
        raise ResultsError(f"{results_dir} holds no record, so there is nothing to check. Name another results_dir.")
    records, seen = [], Seen()
    for path in paths:
        try:
            record = read_record(path)
        except UnreadableError as error:
            seen.unknown.append(str(error))
        except ResultsError as error:
            seen.faults.append(str(error))
        else:
            records.append(record)
            if record.status == "ok" and (record.metrics is None or record.artifacts is None):
                seen.faults.append(f"{name_of(record)} is called finished and has no numbers or no files")
            seen.faults += [f"{name_of(record)}: {one}" for one in _unlike_its_words(record)]
            if record.protocol_version != PROTOCOL_VERSION:
                seen.unknown.append(
                    f"{name_of(record)} is of protocol version {record.protocol_version}, and this program knows"
                    f" {PROTOCOL_VERSION} alone"
                )
    well = f"{len(paths):,} files, each a record under its own run key"
    return sorted(records, key=lambda one: one.created_at, reverse=True), seen.finding("records", "records/", well)


def _unlike_its_words(record: Record) -> list[str]:
    """Return what a record says of itself otherwise than the question that it holds; tables show what it says."""
    words = record.config
    if words is None:
        return []
    names = (record.dataset.name, record.backbone.name, record.prompts.name, record.scorer.name)
    told: dict[str, object] = dict(zip(GROUPS, names, strict=True))
    asked: dict[str, object] = {group: getattr(words, group).get("name") for group in GROUPS}
    told |= {"precision": record.backbone.precision, "budget": record.prompts.budget}
    asked |= {"precision": words.precision, "budget": words.budget}
    if record.metrics is not None:
        told["primary"], asked["primary"] = record.metrics.primary_name, words.primary
    told["aggregation"], asked["aggregation"] = record.prompts.aggregation, _as_it_stands(words.prompts, "aggregation")
    if record.dataset.features is None and is_own_class(words.dataset.get("_target_")):
        split, limit = _as_it_stands(words.dataset, "split"), words.dataset.get("limit")
        told["split"] = record.dataset.split
        asked["split"] = None if split is None else limited(split, limit, words.dataset.get("seed", 0))
        for key in ("protocol", "names") if "spec" in words.dataset else ():
            told[key], asked[key] = (record.dataset.origin or {}).get(key), _as_it_stands(words.dataset, key)
    return [
        f"{key} is {value}, and {asked[key]} in its question"
        for key, value in told.items()
        if asked[key] != value and (asked[key] is not None or key == "budget")
    ]


def _as_it_stands(settings: Mapping[str, Any], key: str) -> str | None:
    """Return a setting that is a text; None where there is none, or where it refers to something else."""
    value = settings.get(key)
    return value if isinstance(value, str) and "${" not in value else None


def path_of(record: Record, results_dir: Path, name: str) -> Path | None:
    """Return where a file of a run lies; None where the record does not name it."""
    place = None if record.artifacts is None else getattr(record.artifacts, name)
    return None if place is None else results_dir / place


def _read_predictions(record: Record, results_dir: Path) -> Predictions | str:
    path = path_of(record, results_dir, "predictions")
    if path is None:
        return "the record names no predictions"
    try:
        table = pq.read_table(path)
        numbers = {}
        for name in ("index", "label", "prediction"):
            column = table.column(name)
            if column.null_count or not pa.types.is_integer(column.type):
                raise ValueError(f"{name} is not a whole number in every row")
            numbers[name] = column.to_numpy().astype(np.int64)
        top5 = None
        if "top5" in table.column_names:
            lists = table.column("top5").combine_chunks()
            if not (pa.types.is_list(lists.type) and pa.types.is_integer(lists.type.value_type)):
                raise ValueError("top5 does not hold lists of labels")
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            if lists.null_count or lists.flatten().null_count or len(set(lengths.tolist())) > 1:
                raise ValueError("top5 does not have as many labels in every row")
            rows = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
            top5 = rows.reshape(len(lists), -1) if len(lists) else None
        correct = None
        if "correct" in table.column_names:
            correct = table.column("correct").to_numpy().astype(bool)
        num_classes, sets = record.dataset.num_classes, None
        if "labels" in table.column_names:
            sets = ClassSets(matrix=class_sets(table, num_classes))
        truth = Truth(labels=numbers["label"], num_classes=num_classes, sets=sets)
        hits, among_five = truth.holds(numbers["prediction"]), None if top5 is None else truth.holds_any(top5)
    except FileNotFoundError:
        return f"{path.parent.name}/{path.name} is not there"
    except READING as error:
        return f"{path.parent.name}/{path.name} cannot be read ({_line(error)})"
    return Predictions(top5=top5, correct=correct, hits=hits, among_five=among_five, **numbers)


def _read_prompts(record: Record, results_dir: Path) -> pd.DataFrame | str:
    path = path_of(record, results_dir, "prompts")
    if path is None:
        return ""
    try:
        frame = pq.read_table(path).to_pandas()
        if lost := [name for name in ("label", "class_name", "text") if name not in frame]:
            raise KeyError(f"no column {lost[0]}")
        if not pd.api.types.is_integer_dtype(frame["label"]):
            raise ValueError("label is not a whole number in every row")
        if not all(isinstance(one, str) for name in ("class_name", "text") for one in frame[name]):
            raise ValueError("class_name or text is no text in every row")
        if "weight" in frame and not np.isfinite(frame["weight"].to_numpy(dtype=np.float64)).all():
            raise ValueError("weight is no number in every row")
        if "tier" in frame:
            frame["tier"] = frame["tier"].astype(str)
    except FileNotFoundError:
        return f"{path.parent.name}/{path.name} is not there"
    except READING as error:
        return f"{path.parent.name}/{path.name} cannot be read ({_line(error)})"
    return frame


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def of_each(check: str, subject: str, runs: Sequence[Run], look: Callable[[Run, Seen], None]) -> Finding:
    """Return the finding of a check that looks at one run after another."""
    seen = Seen()
    for run in runs:
        own = Seen()
        look(run, own)
        seen.faults += [f"{run.name}: {one}" for one in own.faults]
        seen.unknown += [f"{run.name}: {one}" for one in own.unknown]
        seen.notes += [one for one in own.notes if one not in seen.notes]
    return seen.finding(check, subject, f"{count_runs(len(runs))} looked at")
