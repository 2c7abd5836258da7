"""A results folder of made-up runs, to see that `cupl-bench report` stays quick: nothing in it was measured.

    python scripts/synthetic_results.py FOLDER [--datasets 20 --backbones 5 --images 50000 --classes 1000 --seeds 0]
    /usr/bin/time -v cupl-bench report results_dir=FOLDER

Strategies differ a little, classes by their difficulty, as those of real runs do; one strategy gains on some classes
alone. Everything that a report reads of real runs is there and weighs as much: records name the digest of their
predictions, scores scatter.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from cupl_bench.identity import PROTOCOL_VERSION
from cupl_bench.intervals import wilson
from cupl_bench.question import QuestionRecord
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

BUDGETS = (1, 2, 4, 8)
PAIRS = (5, 15, 30)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A strategy: what it gains, and what is recorded of its prompts."""

    name: str
    gain: float
    num_prompts: int
    budget: int | None = None
    pairs: int | None = None
    seed: int | None = None

    @property
    def digest(self) -> str:
        """A stand-in for the digest of its prompts."""
        drawn = "" if self.seed is None else f" {self.budget} {self.pairs} {self.seed}"
        return f"{self.name}{drawn}".encode().hex()

    @property
    def config(self) -> QuestionRecord | None:
        """The question in words, where they alone tell two strategies apart."""
        return None if self.pairs is None else QuestionRecord(prompts={"name": self.name, "pairs": self.pairs})


def write_results(
    folder: Path,
    *,
    datasets: int,
    backbones: int,
    images: int,
    classes: int,
    strategies: Mapping[str, float] = MappingProxyType(STRATEGIES),
    seeds: int = 0,
) -> int:
    """Write records, predictions and prompts of every cell; gives their number.

    ``strategies``: name -> its gain. ``seeds``: so many draws of some of the prompts of `cupl`, and of WaffleCLIP's
    with several numbers of pairs.
    """
    generator = np.random.default_rng(0)
    written = 0
    asked = [
        Asked(name=name, gain=gain, num_prompts=classes * (16 if name == "cupl" else 1))
        for name, gain in strategies.items()
    ]
    for seed in range(seeds):
        asked += [
            Asked(name="cupl", gain=0.03 - 0.05 / budget, num_prompts=classes * budget, budget=budget, seed=seed)
            for budget in BUDGETS
        ]
        asked += [
            Asked(name="waffle", gain=0.02 - 0.05 / pairs, num_prompts=classes * 2 * pairs, pairs=pairs, seed=seed)
            for pairs in PAIRS
        ]
    for dataset in range(datasets):
        labels = np.sort(generator.integers(0, classes, images))
        ids = [f"class{label:04}/{place:05}.jpg" for place, label in enumerate(labels.tolist())]
        difficulty = generator.beta(5, 2, classes)
        hard = generator.normal(size=images)
        for backbone in range(backbones):
            for place, one in enumerate(asked):
                own = generator.normal(0, 0.02 + 0.03 * one.gain, classes) + one.gain + 0.04 * backbone
                right = hard + generator.normal(0, 0.3, images) < 3 * (difficulty + own)[labels] - 1.4
                away = generator.integers(1, min(12, classes), images)  # confusions are with neighbours
                prediction = np.where(right, labels, (labels + away) % classes)
                key = f"{dataset:04x}{backbone:04x}{place:04x}"
                _write(folder, key, f"synthetic{dataset:02}", f"backbone{backbone}", one, classes, labels, prediction,
                       ids)  # fmt: skip
                written += 1
    return written


def _write(
    folder: Path, key: str, dataset: str, backbone: str, strategy: Asked, classes: int, labels: np.ndarray,
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
                name=strategy.name, digest=strategy.digest, num_prompts=strategy.num_prompts,
                num_distinct=strategy.num_prompts, num_truncated=0, aggregation="mean", budget=strategy.budget,
                seed=strategy.seed,
            ),
            config=strategy.config,
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
    for name, default in (("datasets", 20), ("backbones", 5), ("images", 50_000), ("classes", 1000),
                          ("seeds", 0)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    written = write_results(
        given.folder, datasets=given.datasets, backbones=given.backbones, images=given.images, classes=given.classes,
        seeds=given.seeds,
    )  # fmt: skip
    print(f"{written} made-up runs in {given.folder}")


if __name__ == "__main__":
    main()
