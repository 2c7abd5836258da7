"""A results folder that a test fills with runs, without running any."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from cupl_bench.identity import PROTOCOL_VERSION
from cupl_bench.intervals import wilson
from cupl_bench.records import (
    ArtifactsRecord,
    BackboneRecord,
    DatasetRecord,
    MetricsRecord,
    PromptsRecord,
    Record,
    read_records,
    write_record,
)
from cupl_bench.report.answers import Answers, read_answers
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.tables import write_tables

LABELS = np.repeat(np.arange(6), 40)

BORN = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """A results folder that a test fills with runs; strategies are right on a given share of the images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def add(
        self,
        prompts: str = "simple",
        share: float = 0.6,
        *,
        dataset: str = "birds",
        backbone: str = "small",
        predictions: np.ndarray | None = None,
        labels: np.ndarray = LABELS,
        split: str = "test",
        fingerprint: str = "f" * 64,
        index: np.ndarray | None = None,
        config: dict | None = None,
        origin: dict | None = None,
        pretrained: str = "none",
        architecture: str = "none",
        confidence: np.ndarray | None = None,
        status: str = "ok",
        names: list[str] | None = None,
        activation: str = "gelu",
        protocol_version: int = PROTOCOL_VERSION,
        **of_prompts: object,
    ) -> Record:
        self.count += 1
        key = f"{self.count:012x}"
        generator = np.random.default_rng(7)  # the same images are hard for all
        if predictions is None:
            predictions = np.where(generator.random(len(labels)) < share, labels, (labels + 1) % 6)
        right = predictions == labels
        frame = pd.DataFrame(
            {
                "index": np.arange(len(labels)) if index is None else index,
                "image_id": [f"{place}.jpg" for place in range(len(labels))],
                "label": labels,
                "prediction": predictions,
                "correct": right,
            }
        )
        if confidence is not None:
            frame["confidence"] = confidence
        (self.folder / "predictions").mkdir(parents=True, exist_ok=True)
        frame.to_parquet(self.folder / f"predictions/{key}.parquet", index=False)
        own = np.bincount(labels[right], minlength=6) / np.maximum(np.bincount(labels, minlength=6), 1)
        if names is not None:
            (self.folder / "prompts").mkdir(exist_ok=True)
            rows = pd.DataFrame({"label": range(6), "class_name": names, "text": "x"})
            rows.to_parquet(self.folder / f"prompts/{key}.parquet", index=False)
        record = Record(
            protocol_version=protocol_version,
            run_key=key,
            status=status,
            error="DatasetError: not here" if status == "failed" else None,
            created_at=BORN + timedelta(minutes=self.count),
            dataset=DatasetRecord(
                name=dataset,
                split=split,
                fingerprint=fingerprint,
                num_images=len(labels),
                num_classes=6,
                origin=origin,
            ),
            backbone=BackboneRecord(
                name=backbone,
                architecture=architecture,
                pretrained=pretrained,
                weights_sha256=backbone,
                activation=activation,
                precision="fp32",
                embed_dim=8,
                image_size=(32, 32),
                transform={},
            ),
            prompts=PromptsRecord(
                **{
                    "name": prompts,
                    "digest": key,
                    "num_prompts": 6,
                    "num_distinct": 6,
                    "num_truncated": 0,
                    "aggregation": "mean",
                    **of_prompts,
                }
            ),
            metrics=None
            if status == "failed"
            else MetricsRecord(
                top1=float(right.mean()),
                top1_ci95=wilson(int(right.sum()), len(labels)),
                top5=0.99,
                mean_per_class=float(np.nanmean(own)),
                primary=float(right.mean()),
                primary_name="top1",
            ),
            environment={},
            config=config,
            artifacts=None
            if status == "failed"
            else ArtifactsRecord(
                predictions=f"predictions/{key}.parquet",
                class_embeddings=f"class_embeddings/{key}.safetensors",
                prompts=None if names is None else f"prompts/{key}.parquet",
            ),
        )
        write_record(self.folder, record)
        return record

    def compared(self, baseline: str | None = None) -> Comparison:
        return compare(read_records(self.folder), self.folder, baseline=baseline)

    def table(self, baseline: str | None = None) -> pd.DataFrame:
        return self.compared(baseline).runs

    def write(self) -> Comparison:
        comparison = self.compared()
        write_tables(comparison, self.folder)
        return comparison


def answers_of(store: Store, record: Record) -> Answers:
    (run,) = [
        run for members in store.compared().groups.values() for run in members if run.record.run_key == record.run_key
    ]
    return read_answers(store.folder, run)


def asked(**prompts: object) -> dict:
    """A configuration: of the user's own data set, with these settings of prompts."""
    texts = {"templates": "own.json", "cupl": "cupl:birds"}
    return {"dataset": {"path": "/data/birds", "texts": texts}, "prompts": {"_target_": "a.B", "seed": 0, **prompts}}
