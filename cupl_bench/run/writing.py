"""The files of a run beside its record: predictions, prompts and class embeddings."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cupl_bench.dataset import Dataset
from cupl_bench.embeddings import ClassEmbeddings
from cupl_bench.scores import Predictions, Tally, count
from cupl_bench.store import write_arrays, write_atomically, writing_atomically
from cupl_bench.stored_features import ImageFeatures

__all__ = ["write_class_embeddings", "write_predictions", "write_prompts"]


def write_predictions(
    path: Path, dataset: Dataset, images: ImageFeatures, parts: Iterable[Predictions]
) -> Generator[Tally, None, None]:
    """Write predictions part by part, and yield what is right of each part once it is written.

    The file exists once the last part was asked for; if that never happens, no file is left.

    Raises:
        ResultsError: the file cannot be written.
    """
    index = np.flatnonzero(images.kept)
    start = 0
    with ExitStack() as stack:
        file = stack.enter_context(writing_atomically(path))
        writer = None
        for part in parts:
            here = index[start : start + len(part.prediction)]
            start += len(here)
            labels = dataset.labels[here]
            frame = pd.DataFrame(
                {
                    "index": here,
                    "image_id": [dataset.image_ids[i] for i in here.tolist()],
                    "label": labels,
                    "prediction": part.prediction,
                    "correct": part.prediction == labels,
                    "top5": list(part.top),
                    "score": part.score,
                    "margin": part.margin,
                    "confidence": part.confidence,
                }
            )
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(file, table.schema))
            writer.write_table(table)
            yield count(part, labels, len(dataset.class_names))


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
