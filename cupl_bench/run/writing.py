"""The files of a run beside its record: predictions, prompts and class embeddings."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from cupl_bench.dataset import Dataset
from cupl_bench.embeddings import ClassEmbeddings
from cupl_bench.scores import Predictions, Tally, count
from cupl_bench.store import write_arrays, write_atomically, writing_atomically
from cupl_bench.stored_features import ImageFeatures
from cupl_bench.truth import Truth

__all__ = ["write_class_embeddings", "write_predictions", "write_prompts"]


def write_predictions(
    path: Path, dataset: Dataset, images: ImageFeatures, parts: Iterable[Predictions]
) -> Generator[Tally, None, None]:
    """Write predictions part by part, and yield what is right of each part once it is written.

    The file exists once the last part was asked for; if that never happens, no file is left.

    Raises:
        ResultsError: the file cannot be written.
    """
    index, whole = np.flatnonzero(images.kept), dataset.truth
    start = 0
    with ExitStack() as stack:
        file = stack.enter_context(writing_atomically(path))
        writer = None
        for part in parts:
            here = index[start : start + len(part.prediction)]
            start += len(here)
            truth = whole.taken(here)
            labels = truth.labels
            frame = pd.DataFrame(
                {
                    "index": here,
                    "image_id": [dataset.image_ids[i] for i in here.tolist()],
                    "label": labels,
                    "prediction": part.prediction,
                    "correct": truth.holds(part.prediction),
                    "top5": list(part.top),
                    "score": part.score,
                    "margin": part.margin,
                    "confidence": part.confidence,
                }
            )
            table = pa.Table.from_pandas(frame, preserve_index=False)
            for name, column in _more_columns(part, truth).items():
                table = table.append_column(name, column)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(file, table.schema))
            writer.write_table(table)
            yield count(part, labels, truth.num_classes, truth.sets)


def _more_columns(part: Predictions, truth: Truth) -> dict[str, pa.Array]:
    """Return the columns that only predictions of some data sets have: what is true of an image beside its label."""
    columns: dict[str, pa.Array] = {}
    if truth.sets is not None:
        columns["labels"] = _places(truth.sets.matrix == 1)
        columns["not_counted"] = _places(truth.sets.matrix == -1)
    if truth.groups is not None:
        names = np.array([*truth.groups.names, None], dtype=object)
        columns["group"] = pa.array(names[truth.groups.of].tolist(), type=pa.string())
    if part.scores is not None:
        values = pa.array(np.ascontiguousarray(part.scores, dtype=np.float32).ravel())
        columns["scores"] = pa.FixedSizeListArray.from_arrays(values, part.scores.shape[1])
    return columns


def _places(matrix: Bool[np.ndarray, "n c"]) -> pa.Array:
    """Return for each row a list of the columns that hold."""
    offsets = np.r_[0, np.cumsum(matrix.sum(axis=1))]
    return pa.ListArray.from_arrays(
        pa.array(offsets, type=pa.int32()), pa.array(np.nonzero(matrix)[1], type=pa.int64())
    )


def write_prompts(
    path: Path,
    dataset: Dataset,
    texts: Sequence[Sequence[str]],
    weights: Sequence[Sequence[float]] | None,
) -> None:
    """Write the class names and their prompts, a row for each prompt, with its weight where prompts have any."""
    rows = [(label, name, text) for label, name in enumerate(dataset.class_names) for text in texts[label]]
    frame = pd.DataFrame(rows, columns=["label", "class_name", "text"])
    if dataset.tiers is not None:
        frame["tier"] = [dataset.tiers[label] for label in frame["label"]]
    if weights is not None:
        frame["weight"] = [weight for row in weights for weight in row]
    write_atomically(path, frame.to_parquet(index=False, compression="zstd"))


def write_class_embeddings(path: Path, classes: ClassEmbeddings, facts: Mapping[str, object]) -> None:
    """Write class embeddings and ``facts`` beside them."""
    arrays: dict[str, np.ndarray] = {"class_embeddings": classes.matrix}
    if classes.prompts is not None and classes.owner is not None:
        arrays |= {"prompt_embeddings": classes.prompts, "prompt_class": classes.owner}
    if classes.weights is not None:
        arrays |= {"template_weights": classes.weights}
    write_arrays(path, arrays, {"aggregation": classes.aggregation, **facts})
