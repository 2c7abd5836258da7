"""Compare two answers to one question, image by image, and say what differs in their inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from cupl_bench.errors import ResultsError, short
from cupl_bench.records import Record

__all__ = ["TOLERANCE", "Reproduction", "compare_runs"]

TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 2e-3}
"""Largest difference of a cosine similarity that is rounding: other batch sizes, thread counts or devices.

Measured by `scripts/tolerance.py`; docs/reliability.md.
"""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A recorded run beside the same question asked again.

    ``verdict``: ``equal`` (predictions and scores, bit for bit), ``within tolerance`` (scores differ by rounding, and
    predictions only where the best two classes are that close), or ``different``. ``differences``: what is not the same
    in what the runs were made from, as (what, recorded, now).
    """

    verdict: Literal["equal", "within tolerance", "different"]
    num_images: int
    num_other_predictions: int
    num_other_beyond_rounding: int
    largest_difference: float
    top1: tuple[float, float]
    differences: tuple[tuple[str, str, str], ...]


def compare_runs(recorded: tuple[Record, Path], again: tuple[Record, Path]) -> Reproduction:
    """Compare a recorded run with the same question asked again; each is a record and its results folder.

    Raises:
        ResultsError: either is not finished, predictions cannot be read, or they are of other images.
    """
    before, now = (_predictions(record, folder) for record, folder in (recorded, again))
    one, two = recorded[0], again[0]
    if one.metrics is None or two.metrics is None:
        raise ResultsError("Only finished runs can be compared.")
    differences = _differences(one, two)
    tolerance = TOLERANCE[one.backbone.precision]
    if not before["index"].equals(now["index"]) or not before["label"].equals(now["label"]):
        return Reproduction(
            verdict="different",
            num_images=len(before),
            num_other_predictions=len(before),
            num_other_beyond_rounding=len(before),
            largest_difference=float("inf"),
            top1=(one.metrics.top1, two.metrics.top1),
            differences=(*differences, ("images scored", f"{len(before):,}", f"{len(now):,}")),
        )
    other = (before["prediction"] != now["prediction"]).to_numpy()
    gap = np.abs(before["score"].to_numpy(dtype=np.float64) - now["score"].to_numpy(dtype=np.float64))
    close = before["margin"].to_numpy(dtype=np.float64) <= 2 * tolerance
    beyond = (other & ~close) | (gap > tolerance)
    equal = not other.any() and not gap.any() and one.metrics == two.metrics
    return Reproduction(
        verdict="equal" if equal else "different" if beyond.any() else "within tolerance",
        num_images=len(before),
        num_other_predictions=int(other.sum()),
        num_other_beyond_rounding=int(beyond.sum()),
        largest_difference=float(gap.max()),
        top1=(one.metrics.top1, two.metrics.top1),
        differences=differences,
    )


def _predictions(record: Record, results_dir: Path) -> pd.DataFrame:
    if record.artifacts is None:
        raise ResultsError(f"Run {record.run_key} is not finished: it has no predictions.")
    path = results_dir / record.artifacts.predictions
    try:
        return pd.read_parquet(path, columns=["index", "label", "prediction", "score", "margin"])
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, IndexError) as error:
        raise ResultsError(f"{path}, the predictions of run {record.run_key}, cannot be read ({error}).") from error


def _differences(one: Record, two: Record) -> tuple[tuple[str, str, str], ...]:
    found = {
        "protocol": (one.protocol_version, two.protocol_version),
        "data set version": (one.dataset.version, two.dataset.version),
        "data set fingerprint": (one.dataset.fingerprint, two.dataset.fingerprint),
        "weights": (one.backbone.weights_sha256, two.backbone.weights_sha256),
        "activation": (one.backbone.activation, two.backbone.activation),
        "image transform": (one.backbone.transform, two.backbone.transform),
        "prompts": (one.prompts.digest, two.prompts.digest),
        "aggregation": (one.prompts.aggregation, two.prompts.aggregation),
        **{name: (one.environment.get(name), two.environment.get(name)) for name in ("cupl_bench", "commit", "dirty")},
        **{name: (one.environment.get(name), two.environment.get(name)) for name in ("python", "platform")},
        **{
            name: (one.environment.get(name), two.environment.get(name))
            for name in ("device", "device_name", "threads")
        },
    }
    packages = [record.environment.get("packages") for record in (one, two)]
    before, now = (found_here if isinstance(found_here, Mapping) else {} for found_here in packages)
    for name in sorted({*before, *now}):
        found[name] = (before.get(name), now.get(name))
    return tuple(
        (what, short(str(then), 60), short(str(here), 60)) for what, (then, here) in found.items() if then != here
    )
