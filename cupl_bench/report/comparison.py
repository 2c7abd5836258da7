"""Records side by side: one row per run, grouped so that only like is compared with like."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cupl_bench.errors import ResultsError, first
from cupl_bench.records import Record
from cupl_bench.scores import PairedDifference, paired_difference

__all__ = ["BASELINE", "compare", "shown"]

log = logging.getLogger(__name__)

BASELINE = "simple"
"""The prompt strategy that the others of a group are compared with, where it is there."""

DIFFERENCE = ("difference", "difference_low", "difference_high")

Group = tuple[str, str, str, str, str, str]


def _group(record: Record) -> Group:
    """Runs on the same images with the same features."""
    return (
        record.dataset.name, record.dataset.split, record.dataset.fingerprint, record.backbone.name,
        record.backbone.weights_sha256, record.backbone.precision,
    )  # fmt: skip


def _hits(results_dir: Path, record: Record) -> pd.Series:
    """Whether each image was classified right, by the index of the image."""
    if record.artifacts is None:
        raise ResultsError(f"Record {record.run_key} names no predictions.")
    path = results_dir / record.artifacts.predictions
    try:
        frame = pq.read_table(path, columns=["index", "correct"]).to_pandas()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ResultsError(
            f"{path}, the predictions of run {record.run_key}, cannot be read ({error}). Run its question again with"
            " rerun=always."
        ) from error
    return frame.set_index("index")["correct"]


def compare(records: Sequence[Record], results_dir: Path) -> pd.DataFrame:
    """One row per finished run, with fractions; runs of one group follow each other.

    Where a group holds the strategy `simple` on the same images, the other rows carry the paired difference to it
    (``difference``, ``difference_low``, ``difference_high``: fractions, 95%).

    Raises:
        ResultsError: nothing is finished, protocol versions are mixed, or predictions are missing or differ in length.
    """
    finished = _latest([record for record in records if record.status == "ok"])
    if not finished:
        raise ResultsError(f"None of {len(records)} runs is finished. Their records below {results_dir} say why.")
    versions = sorted({record.protocol_version for record in finished})
    if len(versions) > 1:
        raise ResultsError(
            f"The records mix protocol versions {versions}, whose numbers are not comparable. Run the older questions"
            " again, or keep each version in a results_dir of its own."
        )
    groups: dict[Group, list[Record]] = {}
    for record in finished:
        groups.setdefault(_group(record), []).append(record)
    rows = []
    for members in groups.values():
        baseline = next((record for record in members if record.prompts.name == BASELINE), None)
        base_hits = None if baseline is None else _hits(results_dir, baseline)
        for record in members:
            against = base_hits if record is not baseline else None
            rows.append(_row(record, _difference(results_dir, record, against)))
    return pd.DataFrame(rows)


def _latest(records: Sequence[Record]) -> list[Record]:
    """The newest record of each cell, at the place of the first; older ones of the same cell are named."""
    cells: dict[tuple[object, ...], Record] = {}
    older: list[str] = []
    for record in records:
        cell = (*_group(record), record.prompts.name, record.prompts.seed, record.prompts.budget)
        if cell in cells:
            older.append(cells[cell].run_key)
        cells[cell] = record
    if older:
        log.warning(
            "%d older runs of the same data set, backbone, prompts name, budget and seed are left out: %s",
            len(older), first(older),
        )  # fmt: skip
    return list(cells.values())


def _difference(results_dir: Path, record: Record, baseline: pd.Series | None) -> PairedDifference | None:
    if baseline is None:
        return None
    ours = _hits(results_dir, record)
    if not ours.index.equals(baseline.index):
        log.warning("run %s left out other images than %s: not compared", record.run_key, BASELINE)
        return None
    return paired_difference(ours.to_numpy(dtype=bool), baseline.to_numpy(dtype=bool))


def _row(record: Record, difference: PairedDifference | None) -> dict[str, object]:
    metrics = record.metrics
    if metrics is None:
        raise ResultsError(f"Record {record.run_key} is finished but holds no metrics.")
    row: dict[str, object] = {
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "backbone": record.backbone.name,
        "precision": record.backbone.precision,
        "prompts": record.prompts.name,
        "num_images": record.dataset.num_images,
        "num_classes": record.dataset.num_classes,
        "num_prompts": record.prompts.num_prompts,
        "top1": metrics.top1,
        "top1_low": metrics.top1_ci95[0],
        "top1_high": metrics.top1_ci95[1],
        "top5": metrics.top5,
        "mean_per_class": metrics.mean_per_class,
        "primary": metrics.primary_name,
        "difference": None if difference is None else difference.difference,
        "difference_low": None if difference is None else difference.ci95[0],
        "difference_high": None if difference is None else difference.ci95[1],
    }
    for tier, values in (metrics.tiers or {}).items():
        row[f"top1_{tier}"] = values.top1
        row[f"top1_{tier}_alone"] = values.top1_within
    return row | {"fingerprint": record.dataset.fingerprint[:12], "run_key": record.run_key}


def shown(comparison: pd.DataFrame) -> pd.DataFrame:
    """The columns that a person reads, as text: percent with one decimal.

    A difference to the baseline whose interval holds zero is marked n.s. (not significant).
    """
    out = pd.DataFrame(index=comparison.index)
    several = comparison.groupby("dataset")["fingerprint"].nunique()
    out["dataset"] = [
        f"{name} ({fingerprint[:6]})" if several[name] > 1 else name
        for name, fingerprint in zip(comparison["dataset"], comparison["fingerprint"], strict=True)
    ]
    out["backbone"] = comparison["backbone"]
    if comparison["precision"].nunique() > 1:
        out["precision"] = comparison["precision"]
    out["prompts"] = comparison["prompts"]
    out["images"] = [f"{count:,}" for count in comparison["num_images"]]
    out["top-1 [95%]"] = [
        f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"
        for value, low, high in zip(comparison["top1"], comparison["top1_low"], comparison["top1_high"], strict=True)
    ]
    if comparison["top5"].notna().any():
        out["top-5"] = [_percent(value) for value in comparison["top5"]]
    out["mean per class"] = [_percent(value) for value in comparison["mean_per_class"]]
    for column in comparison.columns:
        if str(column).startswith("top1_") and column not in ("top1_low", "top1_high"):
            out[str(column).removeprefix("top1_").replace("_", " ")] = [_percent(value) for value in comparison[column]]
    if comparison["difference"].notna().any():
        out[f"less {BASELINE} [95%]"] = [
            _difference_text(*values) for values in zip(*(comparison[name] for name in DIFFERENCE), strict=True)
        ]
    return out


def _percent(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _difference_text(difference: float | None, low: float | None, high: float | None) -> str:
    if difference is None or low is None or high is None or np.isnan(difference):
        return ""
    text = f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{text} n.s." if low <= 0 <= high else text
