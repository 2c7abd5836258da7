"""A results folder of made-up runs, to see that `cupl-bench report` stays quick: nothing in it was measured.

    python scripts/synthetic_results.py FOLDER [--datasets 20 --backbones 5 --images 50000 --classes 1000]
    /usr/bin/time -v cupl-bench report results_dir=FOLDER

Strategies differ a little, classes by their difficulty, as those of real runs do; one strategy gains on some classes
alone. Everything that a report reads of real runs is there and weighs as much: records name the digest of their
predictions, scores scatter.
"""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

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
    digest_of_file,
    write_record,
)
from cupl_bench.store import write_atomically

STRATEGIES = {"simple": 0.0, "name_only": -0.03, "ensemble": 0.015, "cupl": 0.03, "cupl_ensemble": 0.031}


def write_results(
    folder: Path,
    *,
    datasets: int,
    backbones: int,
    images: int,
    classes: int,
    strategies: Mapping[str, float] = MappingProxyType(STRATEGIES),
) -> int:
    """Write records, predictions and prompts of every cell; gives their number. ``strategies``: name -> its gain."""
    generator = np.random.default_rng(0)
    written = 0
    for dataset in range(datasets):
        labels = np.sort(generator.integers(0, classes, images))
        ids = [f"class{label:04}/{place:05}.jpg" for place, label in enumerate(labels.tolist())]
        difficulty = generator.beta(5, 2, classes)
        hard = generator.normal(size=images)
        for backbone in range(backbones):
            for strategy, gain in strategies.items():
                own = generator.normal(0, 0.02 + 0.03 * gain, classes) + gain + 0.04 * backbone
                right = hard + generator.normal(0, 0.3, images) < 3 * (difficulty + own)[labels] - 1.4
                away = generator.integers(1, min(12, classes), images)  # confusions are with neighbours
                prediction = np.where(right, labels, (labels + away) % classes)
                key = f"{dataset:04x}{backbone:04x}{list(strategies).index(strategy):04x}"
                _write(folder, key, f"synthetic{dataset:02}", f"backbone{backbone}", strategy, classes, labels,
                       prediction, ids)  # fmt: skip
                written += 1
    return written


def _write(
    folder: Path, key: str, dataset: str, backbone: str, strategy: str, classes: int, labels: np.ndarray,
    prediction: np.ndarray, ids: list[str],
) -> None:  # fmt: skip
    right = labels == prediction
    top = (prediction[:, None] + np.arange(5)) % classes
    generator = np.random.default_rng(int(key, 16))
    margin = generator.gamma(2.0, 0.01, len(labels)).astype(np.float32)
    frame = pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "image_id": ids,
            "label": labels,
            "prediction": prediction,
            "correct": right,
            "top5": list(top),
            "score": generator.normal(0.25, 0.02, len(labels)).astype(np.float32),
            "margin": margin,
            "confidence": 1 / (1 + 2 * np.exp(-100 * margin)),
        }
    )
    artifacts = ArtifactsRecord(
        predictions=f"predictions/{key}.parquet",
        class_embeddings=f"class_embeddings/{key}.safetensors",
        prompts=f"prompts/{key}.parquet",
    )
    write_atomically(folder / artifacts.predictions, frame.to_parquet(index=False))
    names = pd.DataFrame({"label": np.arange(classes), "class_name": [f"class {label}" for label in range(classes)]})
    prompts = names.assign(text="a photo of a " + names["class_name"] + ".")
    write_atomically(folder / f"prompts/{key}.parquet", prompts.to_parquet(index=False))
    count = np.bincount(labels, minlength=classes)
    own = np.bincount(labels[right], minlength=classes)
    top1 = float(right.mean())
    write_record(
        folder,
        Record(
            protocol_version=PROTOCOL_VERSION,
            run_key=key,
            status="ok",
            created_at=datetime.now(UTC),
            dataset=DatasetRecord(
                name=dataset, split="made up", fingerprint=dataset.encode().hex().ljust(64, "0"),
                num_images=len(labels), num_classes=classes,
            ),
            backbone=BackboneRecord(
                name=backbone, architecture="none", pretrained="none", weights_sha256=backbone.encode().hex(),
                activation="none", precision="fp32", embed_dim=512, image_size=(224, 224), transform={},
            ),
            prompts=PromptsRecord(
                name=strategy, digest=strategy.encode().hex(), num_prompts=classes, num_distinct=classes,
                num_truncated=0, aggregation="mean",
            ),
            metrics=MetricsRecord(
                top1=top1,
                top1_ci95=wilson(int(right.sum()), len(labels)),
                top5=float((top == labels[:, None]).any(axis=1).mean()),
                mean_per_class=float((own[count > 0] / count[count > 0]).mean()),
                primary=top1,
                primary_name="top1",
            ),
            environment={"synthetic": True},
            artifacts=artifacts,
            artifact_digests={"predictions": digest_of_file(folder / artifacts.predictions)},
        ),
    )  # fmt: skip


def main() -> None:
    """Read the arguments, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("datasets", 20), ("backbones", 5), ("images", 50_000), ("classes", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    written = write_results(
        given.folder, datasets=given.datasets, backbones=given.backbones, images=given.images, classes=given.classes
    )
    print(f"{written} made-up runs in {given.folder}")


if __name__ == "__main__":
    main()
