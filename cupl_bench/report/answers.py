"""What was answered: the predictions of runs, and which runs are like enough to stand side by side."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int64

from cupl_bench.errors import ResultsError, first
from cupl_bench.records import Record, unlike_artifacts

__all__ = [
    "Answers",
    "Group",
    "Strategy",
    "class_facts",
    "comparable",
    "group_of",
    "missing_cells",
    "read_answers",
    "same_images",
    "strategy_of",
]

log = logging.getLogger(__name__)


class Group(NamedTuple):
    """Runs that answered the same images with the same features: all that must be equal for a comparison."""

    dataset: str
    split: str
    fingerprint: str
    num_images: int
    backbone: str
    weights_sha256: str
    activation: str
    precision: str
    transform: str
    decode: str


class Strategy(NamedTuple):
    """What the runs of a group differ in, the seed left out."""

    prompts: str
    aggregation: str
    weighting: str | None
    budget: int | None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of a run, in the order of the images.

    ``margin`` and ``confidence`` are None where the predictions of earlier versions lack them.
    """

    record: Record
    index: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    predictions: Int64[np.ndarray, " n"]
    margin: Float32[np.ndarray, " n"] | None
    confidence: Float32[np.ndarray, " n"] | None

    @property
    def hits(self) -> Bool[np.ndarray, " n"]:
        """Which images were classified right."""
        hits: Bool[np.ndarray, " n"] = self.labels == self.predictions
        return hits


def group_of(record: Record) -> Group:
    """The group of a run."""
    dataset, backbone = record.dataset, record.backbone
    decode = "exact" if record.config is None else record.config.decode
    return Group(
        dataset=dataset.name,
        split=dataset.split,
        fingerprint=dataset.fingerprint,
        num_images=dataset.num_images,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        activation=backbone.activation,
        precision=backbone.precision,
        transform=json.dumps(backbone.transform, sort_keys=True),
        decode=decode,
    )


def strategy_of(record: Record) -> Strategy:
    """The strategy of a run, without its seed."""
    prompts = record.prompts
    return Strategy(prompts.name, prompts.aggregation, prompts.weighting, prompts.budget)


def read_answers(results_dir: Path, record: Record) -> Answers:
    """The predictions of a finished run.

    Raises:
        ResultsError: they are missing, damaged, or not those of the record.
    """
    if record.artifacts is None:
        raise ResultsError(f"Record {record.run_key} names no predictions.")
    path = results_dir / record.artifacts.predictions
    again = "Run its question again with rerun=always."
    if path.is_file() and unlike_artifacts(record, results_dir, ["predictions"]):
        raise ResultsError(
            f"{path}, the predictions of run {record.run_key}, are not those that it wrote: the file was altered or"
            f" damaged. {again}"
        )
    try:
        file = pq.ParquetFile(path)
        columns = ["index", "label", "prediction", *({"margin", "confidence"} & set(file.schema_arrow.names))]
        table = file.read(columns=columns)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ResultsError(
            f"{path}, the predictions of run {record.run_key}, cannot be read ({error}). {again}"
        ) from error
    if table.num_rows != record.dataset.num_images:
        raise ResultsError(
            f"{path} holds {table.num_rows:,} predictions, and the record of run {record.run_key} speaks of"
            f" {record.dataset.num_images:,} images. {again}"
        )
    right = int(np.count_nonzero(table.column("label").to_numpy() == table.column("prediction").to_numpy()))
    if record.metrics is None or abs(record.metrics.top1 - right / table.num_rows) > 1e-6:
        raise ResultsError(
            f"The record of run {record.run_key} has another top1 than its predictions, {right:,} of"
            f" {table.num_rows:,} right: one of the two was altered. {again}"
        )

    def column(name: str) -> Int64[np.ndarray, " n"]:
        values: Int64[np.ndarray, " n"] = table.column(name).to_numpy().astype(np.int64, copy=False)
        return values

    def float_column(name: str) -> Float32[np.ndarray, " n"] | None:
        return table.column(name).to_numpy().astype(np.float32) if name in columns else None

    return Answers(
        record=record,
        index=column("index"),
        labels=column("label"),
        predictions=column("prediction"),
        margin=float_column("margin"),
        confidence=float_column("confidence"),
    )


def same_images(ours: Answers, other: Answers) -> bool:
    """Whether two runs answered the same images: a paired comparison takes no others."""
    return np.array_equal(ours.index, other.index) and np.array_equal(ours.labels, other.labels)


def class_facts(results_dir: Path, records: Sequence[Record]) -> pd.DataFrame:
    """The classes by label, ``class_name`` and ``tier``, as runs of one group tell them.

    The label as text, and no tier, where none of the runs tells: records of earlier versions name no file of prompts.
    """
    labels = range(records[0].dataset.num_classes)
    facts = pd.DataFrame({"class_name": [str(label) for label in labels], "tier": None}, index=list(labels))
    for record in records:
        path = None if record.artifacts is None or record.artifacts.prompts is None else record.artifacts.prompts
        if path is None or not (results_dir / path).is_file():
            continue
        try:
            if unlike_artifacts(record, results_dir, ["prompts"]):
                raise OSError("it is not what the run wrote")
            file = pq.ParquetFile(results_dir / path)
            columns = ["label", "class_name", *({"tier"} & set(file.schema_arrow.names))]
            told = file.read(columns=columns).to_pandas().drop_duplicates("label").set_index("label")
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise ResultsError(
                f"{results_dir / path}, the prompts of run {record.run_key}, cannot be read ({error}). Run its question"
                " again with rerun=always."
            ) from error
        return facts.assign(**{str(name): told[name].reindex(facts.index) for name in told})
    return facts


def comparable(records: Sequence[Record], results_dir: Path) -> dict[Group, list[Record]]:
    """The finished runs, by what may be compared; the newest of each cell. What was left out is told.

    Raises:
        ResultsError: nothing is finished, or protocol versions are mixed.
    """
    finished = [record for record in records if record.status == "ok"]
    if not finished:
        raise ResultsError(f"None of {len(records)} runs is finished. Their records below {results_dir} say why.")
    versions = sorted({record.protocol_version for record in finished})
    if len(versions) > 1:
        raise ResultsError(
            f"The records mix protocol versions {versions}, whose numbers are not comparable. Run the older questions"
            " again, or keep each version in a results_dir of its own."
        )
    groups: dict[Group, list[Record]] = {}
    for record in _latest(finished):
        groups.setdefault(group_of(record), []).append(record)
    _tell_kept_apart(list(groups))
    return groups


def _latest(records: Sequence[Record]) -> list[Record]:
    """The newest record of each cell, at the place of the first; older ones of the same cell are named."""
    cells: dict[tuple[object, ...], Record] = {}
    older: list[str] = []
    for record in records:
        cell = (group_of(record), strategy_of(record), record.prompts.seed)
        if cell in cells:
            older.append(cells[cell].run_key)
        cells[cell] = record
    if older:
        log.warning(
            "%d older runs of the same data set, backbone, prompts name, budget and seed are left out: %s",
            len(older), first(older),
        )  # fmt: skip
    return list(cells.values())


def _tell_kept_apart(groups: Sequence[Group]) -> None:
    """Name what keeps groups of one data set and one backbone apart."""
    named: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        named.setdefault((group.dataset, group.backbone), []).append(group)
    for (dataset, backbone), several in named.items():
        differ = [name for name in Group._fields if len({getattr(group, name) for group in several}) > 1]
        if differ:
            log.warning(
                "%s x %s stands in %d groups that are not compared: they differ in %s",
                dataset, backbone, len(several), ", ".join(differ),
            )  # fmt: skip


def missing_cells(records: Sequence[Record]) -> pd.DataFrame:
    """The cells of data set x backbone x prompts that the others of their sweep have.

    ``dataset``, ``backbone``, ``prompts``, ``budget`` and ``why``, which is the error of a failed run. Data sets and
    backbones belong to one sweep if runs connect them.
    """
    finished = {_cell(record) for record in records if record.status == "ok"}
    failed = {_cell(record): record.error for record in records if record.status == "failed"}
    rows = []
    for datasets, backbones in _sweeps({cell[:2] for cell in (*finished, *failed)}):
        of_sweep = [cell for cell in (*finished, *failed) if cell[0] in datasets]
        strategies = sorted({cell[2:] for cell in of_sweep}, key=str)
        for dataset in sorted(datasets):
            for backbone in sorted(backbones):
                for prompts, budget in strategies:
                    cell = (dataset, backbone, prompts, budget)
                    if cell not in finished:
                        rows.append((*cell, failed.get(cell, "not run")))
    return pd.DataFrame(rows, columns=["dataset", "backbone", "prompts", "budget", "why"])


def _cell(record: Record) -> tuple[str, str, str, int | None]:
    return record.dataset.name, record.backbone.name, record.prompts.name, record.prompts.budget


def _sweeps(pairs: set[tuple[str, str]]) -> list[tuple[set[str], set[str]]]:
    """Data sets and backbones that runs connect, directly or through others."""
    sweeps: list[tuple[set[str], set[str]]] = []
    for dataset, backbone in sorted(pairs):
        touched = [sweep for sweep in sweeps if dataset in sweep[0] or backbone in sweep[1]]
        merged = ({dataset}.union(*(one[0] for one in touched)), {backbone}.union(*(one[1] for one in touched)))
        sweeps = [*(sweep for sweep in sweeps if sweep not in touched), merged]
    return sweeps
