"""Whether the files of a run are those that it wrote, and its predictions can be predictions."""

import numpy as np

from cupl_bench.checking.findings import SHOWN, Seen
from cupl_bench.checking.reading import Run
from cupl_bench.errors import UnreadableError
from cupl_bench.records import unlike_artifacts

__all__ = ["answers_in", "files_of"]


def files_of(run: Run, seen: Seen) -> None:
    """Look whether the files of a run are there, and are what it wrote."""
    record = run.record
    try:
        lost = unlike_artifacts(record, run.results_dir)
    except UnreadableError as error:
        seen.unknown.append(str(error))
        return
    for path in lost:
        is_there = (run.results_dir / path).is_file()
        seen.faults.append(f"{path} {'is not what the run wrote' if is_there else 'is not there'}")
    if record.artifacts is not None and (
        unsigned := record.artifacts.model_dump(exclude_none=True).keys() - (record.artifact_digests or {}).keys()
    ):
        seen.unknown.append(f"the record holds no sha256 of its {', '.join(sorted(unsigned))}")


def answers_in(run: Run, seen: Seen) -> None:
    """Look whether predictions can be predictions: of these images and classes, each once."""
    found, record = run.predictions, run.record
    if isinstance(found, str):
        seen.faults.append(found)
        return
    num_images, num_classes = record.dataset.num_images, record.dataset.num_classes
    if len(found.index) != num_images:
        seen.faults.append(f"{len(found.index):,} predictions, and the record has {num_images:,} images")
    if len(found.index) == 0:
        return
    top5 = found.top5
    checks = {
        "stand out of the order of the images, or twice": np.r_[found.index[0] < 0, np.diff(found.index) <= 0],
        f"have a label that is none of {num_classes:,} classes": (found.label < 0) | (found.label >= num_classes),
        f"have a prediction that is none of {num_classes:,} classes": (found.prediction < 0)
        | (found.prediction >= num_classes),
    }
    if found.correct is not None:
        checks["have a 'correct' that is not label = prediction"] = found.correct != found.hits
    if top5 is not None and top5.shape[1] == min(5, num_classes):
        checks["have a prediction that is not the first of their top5"] = top5[:, 0] != found.prediction
        ordered = np.sort(top5, axis=1)
        twice = ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] != -1)).any(axis=1)
        checks["have a class twice, or none that there is, in their top5"] = twice | (
            (top5 < -1) | (top5 >= num_classes)
        ).any(axis=1)
    elif top5 is not None:
        seen.faults.append(f"top5 holds {top5.shape[1]} labels of each image, not {min(5, num_classes)}")
    for what, wrong in checks.items():
        if wrong.any():
            images = ", ".join(str(one) for one in found.index[wrong][:SHOWN].tolist())
            seen.faults.append(f"{int(wrong.sum()):,} images {what}, first: {images}")
