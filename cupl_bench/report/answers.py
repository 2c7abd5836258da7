"""The predictions of runs read back, held against their records, and kept while a group is compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int64

from cupl_bench.errors import ResultsError
from cupl_bench.metrics import Scored
from cupl_bench.records import Record, unlike_artifacts
from cupl_bench.report.runs import Group, Run, Strategy
from cupl_bench.scored_file import class_sets, read_scored
from cupl_bench.scorers import INDEPENDENT
from cupl_bench.truth import ClassSets, Truth

__all__ = [
    "Answers",
    "GroupAnswers",
    "RightImages",
    "by_strategy",
    "class_facts",
    "compared_with",
    "is_by_image",
    "read_answers",
    "right_images",
    "same_images",
    "sharing_images",
]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of a run, in the order of the images.

    ``margin`` and ``confidence`` are None where the predictions of earlier versions, or of some scorers, lack them.
    ``right``: which predictions are one of the classes of their image, where it may be of several.
    """

    run: Run
    index: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    predictions: Int64[np.ndarray, " n"]
    margin: Float32[np.ndarray, " n"] | None
    confidence: Float32[np.ndarray, " n"] | None
    right: Bool[np.ndarray, " n"] | None = None

    @property
    def record(self) -> Record:
        """The record of the run."""
        return self.run.record

    @cached_property
    def hits(self) -> Bool[np.ndarray, " n"]:
        """Return which images were classified right."""
        hits: Bool[np.ndarray, " n"] = self.labels == self.predictions if self.right is None else self.right
        return hits

    def scored(self, results_dir: Path) -> Scored:
        """Return all that a metric beyond accuracy needs, read anew: it may be large.

        Raises:
            ResultsError: as `read_answers`.
        """
        assert self.record.artifacts is not None  # noqa: S101 - read_answers has read them
        path = results_dir / self.record.artifacts.predictions
        return read_scored(path, self.record.dataset.num_classes, groups=())


def read_answers(results_dir: Path, run: Run) -> Answers:
    """Read the predictions of a finished run.

    Raises:
        ResultsError: they are missing, damaged, or not those of the record.
    """
    record = run.record
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
        more = {"margin", "confidence", "labels", "not_counted"}
        columns = ["index", "label", "prediction", *(more & set(file.schema_arrow.names))]
        table = file.read(columns=columns)
        num_classes = record.dataset.num_classes
        sets = ClassSets(matrix=class_sets(table, num_classes)) if "labels" in columns else None
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise ResultsError(
            f"{path}, the predictions of run {record.run_key}, cannot be read ({error}). {again}"
        ) from error
    if table.num_rows != record.dataset.num_images:
        raise ResultsError(
            f"{path} holds {table.num_rows:,} predictions, but the record of run {record.run_key} has"
            f" {record.dataset.num_images:,} images. {again}"
        )

    def column(name: str) -> Int64[np.ndarray, " n"]:
        values: Int64[np.ndarray, " n"] = table.column(name).to_numpy().astype(np.int64, copy=False)
        return values

    hits = Truth(labels=column("label"), num_classes=num_classes, sets=sets).holds(column("prediction"))
    right = int(np.count_nonzero(hits))
    if record.metrics is None or abs(record.metrics.top1 - right / table.num_rows) > 1e-6:
        raise ResultsError(
            f"The record of run {record.run_key} has another top1 than its predictions, {right:,} of"
            f" {table.num_rows:,} right: one of the two was altered. {again}"
        )

    def float_column(name: str) -> Float32[np.ndarray, " n"] | None:
        if name not in columns or table.column(name).null_count:  # a scorer has no such thing
            return None
        values: Float32[np.ndarray, " n"] = table.column(name).to_numpy().astype(np.float32)
        return values

    return Answers(
        run=run,
        index=column("index"),
        labels=column("label"),
        predictions=column("prediction"),
        margin=float_column("margin"),
        confidence=float_column("confidence"),
        right=None if sets is None else hits,
    )


def is_by_image(*answers: Answers) -> bool:
    """Return whether the score of each image depends on no other image, so that intervals over images hold."""
    return all(one.record.kind in INDEPENDENT for one in answers)


def same_images(ours: Answers, other: Answers) -> bool:
    """Return whether two runs answered the same images: a paired comparison needs that."""
    if ours.index is other.index and ours.labels is other.labels:
        return True
    return np.array_equal(ours.index, other.index) and np.array_equal(ours.labels, other.labels)


def sharing_images(members: Sequence[Answers]) -> list[Answers]:
    """Return the answers, those about the same images with the same arrays of them: to compare these costs nothing."""
    out: list[Answers] = []
    for one in members:
        alike = next((other for other in out if same_images(one, other)), None)
        out.append(one if alike is None else replace(one, index=alike.index, labels=alike.labels))
    return out


def class_facts(results_dir: Path, records: Sequence[Record]) -> pd.DataFrame:
    """Return the classes by label, ``class_name`` and ``tier``, as runs of one group tell them.

    If no run tells them, the name is the label as text and the tier is missing: old records name no file of prompts.
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
        """Return what these answers are compared with: `compared_with`."""
        return compared_with(answers, self.baseline)


def compared_with(answers: Answers, baseline: Answers | None) -> Answers | None:
    """Return the baseline, if it is another run on the same images; else None."""
    if baseline is None or answers is baseline or not same_images(answers, baseline):
        return None
    return baseline


def by_strategy(members: Sequence[Answers]) -> dict[Strategy, list[Answers]]:
    """Return the runs by strategy; several are seeds of one."""
    out: dict[Strategy, list[Answers]] = {}
    for answers in members:
        out.setdefault(answers.run.strategy, []).append(answers)
    return out


@dataclass(frozen=True, kw_only=True)
class RightImages:
    """Which images a run has right, one bit each, and a digest of which images these are."""

    bits: bytes
    count: int
    images: str

    def hits(self) -> Bool[np.ndarray, " n"]:
        """Return which images are right, in the order of the run."""
        return np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=self.count).astype(np.bool_)


def right_images(answers: Answers) -> RightImages | None:
    """Return which images a run has right; None where their scores depend on each other: nobody may resample those."""
    if not is_by_image(answers):
        return None
    images = sha256(answers.index.tobytes() + answers.labels.tobytes()).hexdigest()
    return RightImages(bits=np.packbits(answers.hits).tobytes(), count=len(answers.labels), images=images)
