"""Predictions read back from their file, with what is true of the images: all that a metric needs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int8

from cupl_bench.errors import ResultsError
from cupl_bench.metrics import Scored
from cupl_bench.truth import ClassSets, Groups, Truth

__all__ = ["class_sets", "read_scored"]


def read_scored(path: Path, num_classes: int, groups: tuple[str, ...]) -> Scored:
    """Return the answers in a file of predictions.

    Args:
        path: the file.
        num_classes: how many there are.
        groups: the names of all groups, those without an image too; empty where there are none.

    Raises:
        ResultsError: the file cannot be read, or holds other columns than the predictions of such a data set.
    """
    try:
        table = pq.read_table(path)
        return _scored(table, num_classes, groups)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, IndexError) as error:
        raise ResultsError(f"{path}: these predictions cannot be read ({error}).") from error


def _scored(table: pa.Table, num_classes: int, groups: tuple[str, ...]) -> Scored:
    present = set(table.column_names)
    truth = Truth(
        labels=table.column("label").to_numpy().astype(np.int64),
        num_classes=num_classes,
        sets=ClassSets(matrix=class_sets(table, num_classes)) if "labels" in present else None,
        groups=_groups(table, groups) if "group" in present else None,
    )
    top, scores, confidence = table.column("top5").combine_chunks(), None, None
    if "scores" in present:
        values = table.column("scores").combine_chunks()
        scores = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(truth.labels), -1)
    if "confidence" in present and not table.column("confidence").null_count:
        confidence = table.column("confidence").to_numpy().astype(np.float32)
    return Scored(
        truth=truth,
        predictions=table.column("prediction").to_numpy().astype(np.int64),
        top=top.flatten().to_numpy(zero_copy_only=False).astype(np.int64).reshape(len(truth.labels), -1),
        scores=scores,
        confidence=confidence,
    )


def class_sets(table: pa.Table, num_classes: int) -> Int8[np.ndarray, "n c"]:
    """Return the classes of each image, as `cupl_bench.truth.ClassSets` has them, from the lists in a table.

    Raises:
        ValueError: a label is no class.
    """
    matrix = np.zeros((table.num_rows, num_classes), dtype=np.int8)
    for name, value in (("labels", 1), ("not_counted", -1)):
        lists = table.column(name).combine_chunks()
        labels = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
            raise ValueError(f"{name} holds labels outside 0 to {num_classes - 1}")
        lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
        matrix[np.repeat(np.arange(table.num_rows), lengths), labels] = value
    return matrix


def _groups(table: pa.Table, names: tuple[str, ...]) -> Groups:
    column = table.column("group").to_pylist()
    known = [*names, *sorted({one for one in column if one is not None} - set(names))]
    place = {None: -1, **{name: number for number, name in enumerate(known)}}
    return Groups(names=tuple(known), of=np.array([place[one] for one in column], dtype=np.int64))
