"""One run, written as the data flow; the only module that knows everyone.

    dataset -> image features \
                               scores -> record
    prompts -> class embeddings /
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from cupl_bench.backbone import Backbone, BackboneFacts, BackboneSource, Precision, WeightsNotHereError
from cupl_bench.class_embeddings import Aggregation, ClassEmbeddings, build_class_embeddings
from cupl_bench.dataset import Dataset, DatasetSource
from cupl_bench.environment import describe_environment
from cupl_bench.errors import CuplBenchError, ResultsError
from cupl_bench.features import ImageFeatures, encode_images, encode_texts
from cupl_bench.identity import PROTOCOL_VERSION, content_key, run_key
from cupl_bench.prompts import Prompts, PromptStrategy
from cupl_bench.records import (
    ArtifactsRecord,
    BackboneRecord,
    DatasetRecord,
    MetricsRecord,
    PromptsRecord,
    Record,
    StageRecord,
    TierRecord,
    TimingRecord,
    read_record,
    record_path,
    write_record,
)
from cupl_bench.scores import Predictions, measure, measure_tiers, predict
from cupl_bench.store import DamagedFileError, RowStore, read_arrays, set_aside, write_arrays, write_atomically

__all__ = ["Machine", "Plan", "Question", "Workbench", "plan", "run"]

log = logging.getLogger(__name__)

Primary = Literal["top1", "mean_per_class"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a run asks; all of it can move the number and enters the run key."""

    dataset_name: str
    dataset: DatasetSource
    skip_broken: bool
    primary: Primary
    backbone_name: str
    backbone: BackboneSource
    precision: Precision
    prompts_name: str
    prompts: PromptStrategy


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run happens; none of it moves a number by more than rounding."""

    results_dir: Path
    cache_dir: Path
    device: torch.device
    batch_size: int
    num_workers: int
    rerun: Literal["missing", "always", "never"]


@dataclass
class Workbench:
    """What the jobs of a sweep share: the last data set, the last backbone, the open stores.

    Sources are equal when their settings are, so a job finds what the one before it has left.
    """

    _dataset: tuple[DatasetSource, Path, Dataset] | None = None
    _backbone: tuple[tuple[BackboneFacts, torch.device, Precision], Backbone] | None = None
    _stores: dict[Path, RowStore] = field(default_factory=dict)

    def dataset(self, source: DatasetSource, cache_dir: Path) -> Dataset:
        """The data set of ``source``, listed once."""
        if self._dataset is None or self._dataset[:2] != (source, cache_dir):
            self._dataset = (source, cache_dir, source(cache_dir))
        return self._dataset[2]

    def backbone(
        self, source: BackboneSource, facts: BackboneFacts, device: torch.device, precision: Precision
    ) -> Backbone:
        """The model that ``facts`` identify, loaded once."""
        wanted = (facts, device, precision)
        if self._backbone is None or self._backbone[0] != wanted:
            self._backbone = None  # lets go of the last model before the next one takes memory
            self._backbone = (wanted, source.load(facts, device, precision))
        return self._backbone[1]

    def store(self, folder: Path, facts: Mapping[str, object]) -> RowStore:
        """The store in ``folder``, whose index is read once."""
        return self._stores.setdefault(folder, RowStore(folder=folder, facts=facts))


@dataclass
class Stages:
    """Wall time of each stage. Loading the backbone happens inside others and is taken out of them."""

    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)
    _loading: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began, loading = time.perf_counter(), self._loading
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            if name == "load_backbone":
                self._loading += spent
            else:
                spent -= self._loading - loading
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def timing(self, total: float) -> TimingRecord:
        def stage(name: str) -> StageRecord:
            return StageRecord(seconds=round(self.seconds.get(name, 0.0), 4), cached=self.cached.get(name, True))

        return TimingRecord(
            load_backbone=stage("load_backbone"),
            image_features=stage("image_features"),
            text_features=stage("text_features"),
            class_embeddings=stage("class_embeddings"),
            scores=stage("scores"),
            total_seconds=round(total, 4),
        )


def _image_store(bench: Workbench, machine: Machine, facts: BackboneFacts, precision: Precision) -> RowStore:
    folder = machine.cache_dir / "image_features" / facts.image_key(precision)[:32]
    return bench.store(folder, {"precision": precision, **facts.as_record()})


def _text_store(bench: Workbench, machine: Machine, facts: BackboneFacts, precision: Precision) -> RowStore:
    folder = machine.cache_dir / "text_features" / facts.text_key(precision)[:32]
    return bench.store(folder, {"precision": precision, **facts.as_record()})


def _class_embeddings_path(machine: Machine, facts: BackboneFacts, precision: Precision, prompts: Prompts) -> Path:
    key = content_key({"texts": facts.text_key(precision), "prompts": prompts.digest})
    return machine.cache_dir / "class_embeddings" / f"{key[:32]}.safetensors"


def key_of(question: Question, dataset: Dataset, facts: BackboneFacts, prompts: Prompts) -> str:
    """The run key: names, numbers and digests, never paths."""
    return run_key(
        {
            "dataset": [question.dataset_name, dataset.split, dataset.fingerprint, question.skip_broken],
            "primary": question.primary,
            "backbone": [question.backbone_name, facts.image_key(question.precision), facts.text_key(question.precision)],
            "prompts": [question.prompts_name, prompts.digest],
        }
    )


def check_results_dir(results_dir: Path) -> None:
    """See that records can be written, before any work is done.

    Raises:
        ResultsError: they cannot.
    """
    probe = results_dir / "records" / ".probe"
    write_atomically(probe, b"")
    probe.unlink(missing_ok=True)


def run(question: Question, machine: Machine, bench: Workbench) -> Record:
    """Answer a question, or find its answer, and leave the record.

    Raises:
        CuplBenchError: something that the user can mend; a failed record tells it too, once the key is known.
    """
    began = time.perf_counter()
    stages = Stages()
    check_results_dir(machine.results_dir)
    # Everything that is cheap to check comes before the first image is decoded.
    dataset = bench.dataset(question.dataset, machine.cache_dir)
    prompts = question.prompts(dataset.class_names)
    facts = question.backbone.identify(machine.cache_dir, download=True)
    key = key_of(question, dataset, facts, prompts)
    log.info(
        "%s  %s x %s x %s, %s", key, question.dataset_name, question.backbone_name, question.prompts_name, question.precision
    )
    finished = _finished(machine, key)
    if finished is not None:
        return finished
    _say_question(question, dataset, prompts)
    try:
        return _answer(question, machine, bench, stages, dataset, prompts, facts, key, began)
    except CuplBenchError as error:
        _write_failure(question, machine, dataset, prompts, facts, key, error)
        raise


def _finished(machine: Machine, key: str) -> Record | None:
    """The record of a run that need not run again."""
    path = record_path(machine.results_dir, key)
    if path.is_file() and machine.rerun != "always":
        try:
            record = read_record(path)
        except ResultsError as error:
            set_aside(path, error)
        else:
            if record.status == "ok" and _artifacts_are_whole(machine, record):
                log.info("          finished before; rerun=always runs it again")
                return record
    if machine.rerun == "never":
        raise ResultsError(f"There is no finished record of this question ({path}), and rerun=never forbids to run it.")
    return None


def _artifacts_are_whole(machine: Machine, record: Record) -> bool:
    if record.artifacts is None:
        return False
    paths = [machine.results_dir / path for path in (record.artifacts.predictions, record.artifacts.class_embeddings)]
    if lost := [str(path) for path in paths if not path.is_file()]:
        log.warning("          the record is here, but not %s: running again", " and ".join(lost))
    return not lost


def _say_question(question: Question, dataset: Dataset, prompts: Prompts) -> None:
    log.info(
        "dataset   %s, split %s: %s images of %s classes, fingerprint %s",
        question.dataset_name, dataset.split, f"{len(dataset.labels):,}", f"{len(dataset.class_names):,}",
        dataset.fingerprint[:12],
    )  # fmt: skip
    for note in dataset.notes:
        log.info("          %s", note)
    log.info(
        "prompts   %s: %s prompts, %s distinct, %s",
        question.prompts_name, f"{prompts.num_prompts:,}", f"{len(prompts.distinct()):,}", prompts.aggregation,
    )  # fmt: skip
    if prompts.join is not None:
        joined = ", ".join(f"{count} {how}" for how, count in prompts.join.items() if count)
        log.info("          class names joined: %s", joined)


def _answer(
    question: Question, machine: Machine, bench: Workbench, stages: Stages, dataset: Dataset, prompts: Prompts,
    facts: BackboneFacts, key: str, began: float,
) -> Record:  # fmt: skip
    def load() -> Backbone:
        with stages.stage("load_backbone"):
            backbone = bench.backbone(question.backbone, facts, machine.device, question.precision)
        stages.cached["load_backbone"] = False
        return backbone

    images = _image_features(question, machine, bench, stages, dataset, facts, load)
    classes, num_truncated = _class_embeddings(question, machine, bench, stages, prompts, facts, load)
    labels = dataset.labels[images.kept]
    with stages.stage("scores"):
        predictions = predict(images.rows, classes, machine.device)
        metrics = measure(predictions, labels, len(dataset.class_names))
        tiers = (
            None
            if dataset.tiers is None
            else {
                tier: TierRecord(**asdict(values))
                for tier, values in measure_tiers(images.rows, classes, predictions, labels, dataset.tiers).items()
            }
        )
    stages.cached["scores"] = False
    artifacts = ArtifactsRecord(
        predictions=f"predictions/{key}.parquet", class_embeddings=f"class_embeddings/{key}.safetensors"
    )
    _write_predictions(machine.results_dir / artifacts.predictions, dataset, images, predictions)
    _write_class_embeddings(machine.results_dir / artifacts.class_embeddings, classes, {"run_key": key})
    record = Record(
        protocol_version=PROTOCOL_VERSION,
        run_key=key,
        status="ok",
        created_at=datetime.now(UTC),
        dataset=_dataset_record(question, dataset, num_broken=int((~images.kept).sum())),
        backbone=_backbone_record(question, facts),
        prompts=_prompts_record(question, prompts, num_truncated),
        metrics=MetricsRecord(
            **asdict(metrics),
            primary=metrics.top1 if question.primary == "top1" else metrics.mean_per_class,
            primary_name=question.primary,
            tiers=tiers,
        ),
        timing=stages.timing(time.perf_counter() - began),
        environment=describe_environment(machine.device),
        artifacts=artifacts,
    )
    write_record(machine.results_dir, record)
    low, high = metrics.top1_ci95
    log.info("top-1     %.1f%% [%.1f, %.1f] of %s images", 100 * metrics.top1, 100 * low, 100 * high, f"{len(labels):,}")
    return record


def _image_features(
    question: Question, machine: Machine, bench: Workbench, stages: Stages, dataset: Dataset, facts: BackboneFacts,
    load: Callable[[], Backbone],
) -> ImageFeatures:  # fmt: skip
    with stages.stage("image_features"):
        images = encode_images(
            dataset,
            load,
            _image_store(bench, machine, facts, question.precision),
            batch_size=machine.batch_size,
            num_workers=machine.num_workers,
            skip_broken=question.skip_broken,
        )
    stages.cached["image_features"] = images.num_encoded == 0
    log.info(
        "images    %s reused, %s encoded (%.1f s)",
        f"{len(images.rows) - images.num_encoded:,}", f"{images.num_encoded:,}", stages.seconds["image_features"],
    )  # fmt: skip
    return images


def _class_embeddings(
    question: Question, machine: Machine, bench: Workbench, stages: Stages, prompts: Prompts, facts: BackboneFacts,
    load: Callable[[], Backbone],
) -> tuple[ClassEmbeddings, int]:  # fmt: skip
    """The class embeddings, and how many prompts were cut to fit the context."""
    path = _class_embeddings_path(machine, facts, question.precision, prompts)
    with stages.stage("class_embeddings"):
        found = _read_class_embeddings(path, prompts.aggregation)
    if found is not None:
        log.info("texts     class embeddings reused")
        _warn_truncated(found[1], prompts)
        return found
    with stages.stage("text_features"):
        texts = prompts.distinct()
        features = encode_texts(
            texts, load(), _text_store(bench, machine, facts, question.precision), batch_size=machine.batch_size
        )
    stages.cached["text_features"] = features.num_encoded == 0
    log.info(
        "texts     %s distinct: %s reused, %s encoded by %s (%.1f s)",
        f"{len(features.rows):,}", f"{len(features.rows) - features.num_encoded:,}", f"{features.num_encoded:,}",
        load().text.note, stages.seconds["text_features"],
    )  # fmt: skip
    with stages.stage("class_embeddings"):
        row = dict(zip(texts, features.row_of_text, strict=True))
        cut = dict(zip(texts, features.truncated, strict=True))
        rows_of_class = [[row[text] for text in texts_of_class] for texts_of_class in prompts.texts]
        classes = build_class_embeddings(features.rows, rows_of_class, prompts.aggregation)
        num_truncated = sum(cut[text] for texts_of_class in prompts.texts for text in texts_of_class)
        _write_class_embeddings(path, classes, {"num_truncated": num_truncated})
    stages.cached["class_embeddings"] = False
    _warn_truncated(num_truncated, prompts)
    return classes, num_truncated


def _warn_truncated(num_truncated: int, prompts: Prompts) -> None:
    if num_truncated:
        log.warning(
            "texts     %s of %s prompts are longer than the context and were cut (%.1f%%)",
            f"{num_truncated:,}", f"{prompts.num_prompts:,}", 100 * num_truncated / prompts.num_prompts,
        )  # fmt: skip


def _read_class_embeddings(path: Path, aggregation: Aggregation) -> tuple[ClassEmbeddings, int] | None:
    try:
        arrays, facts = read_arrays(path)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        set_aside(path, error)
        return None
    classes = ClassEmbeddings(
        aggregation=aggregation,
        matrix=arrays["class_embeddings"],
        prompts=arrays.get("prompt_embeddings"),
        owner=arrays.get("prompt_class"),
    )
    return classes, int(str(facts["num_truncated"]))


def _write_class_embeddings(path: Path, classes: ClassEmbeddings, facts: Mapping[str, object]) -> None:
    arrays = {"class_embeddings": classes.matrix}
    if classes.prompts is not None and classes.owner is not None:
        arrays |= {"prompt_embeddings": classes.prompts, "prompt_class": classes.owner}
    write_arrays(path, arrays, {"aggregation": classes.aggregation, **facts})


def _write_predictions(path: Path, dataset: Dataset, images: ImageFeatures, predictions: Predictions) -> None:
    index = np.flatnonzero(images.kept)
    labels = dataset.labels[index]
    frame = pd.DataFrame(
        {
            "index": index,
            "image_id": [dataset.image_ids[i] for i in index],
            "label": labels,
            "prediction": predictions.prediction,
            "correct": predictions.prediction == labels,
            "top5": list(predictions.top),
            "score": predictions.score,
            "margin": predictions.margin,
        }
    )
    write_atomically(path, frame.to_parquet(index=False))


def _dataset_record(question: Question, dataset: Dataset, num_broken: int) -> DatasetRecord:
    return DatasetRecord(
        name=question.dataset_name,
        split=dataset.split,
        fingerprint=dataset.fingerprint,
        num_images=len(dataset.labels) - num_broken,
        num_classes=len(dataset.class_names),
        num_broken=num_broken,
    )


def _backbone_record(question: Question, facts: BackboneFacts) -> BackboneRecord:
    return BackboneRecord(
        name=question.backbone_name,
        precision=question.precision,
        **{name: value for name, value in facts.as_record().items() if name != "model"},
    )


def _prompts_record(question: Question, prompts: Prompts, num_truncated: int) -> PromptsRecord:
    return PromptsRecord(
        name=question.prompts_name,
        digest=prompts.digest,
        num_prompts=prompts.num_prompts,
        num_distinct=len(prompts.distinct()),
        num_truncated=num_truncated,
        aggregation=prompts.aggregation,
        join=prompts.join,
    )


def _write_failure(
    question: Question, machine: Machine, dataset: Dataset, prompts: Prompts, facts: BackboneFacts, key: str,
    error: Exception,
) -> None:  # fmt: skip
    write_record(
        machine.results_dir,
        Record(
            protocol_version=PROTOCOL_VERSION,
            run_key=key,
            status="failed",
            error=f"{type(error).__name__}: {error}",
            created_at=datetime.now(UTC),
            dataset=_dataset_record(question, dataset, num_broken=0),
            backbone=_backbone_record(question, facts),
            prompts=_prompts_record(question, prompts, 0),
            environment=describe_environment(machine.device),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do; numbers are None where they cannot be known without a download."""

    run_key: str | None
    dataset: str
    backbone: str
    prompts: str
    num_images: int
    num_classes: int
    num_prompts: int
    finished: bool
    images_to_encode: int | None
    texts_to_encode: str
    weights: str


def plan(question: Question, machine: Machine, bench: Workbench) -> Plan:
    """What `run` would reuse and compute for a question; loads no model and downloads nothing."""
    dataset = bench.dataset(question.dataset, machine.cache_dir)
    prompts = question.prompts(dataset.class_names)
    known = {
        "dataset": question.dataset_name,
        "backbone": question.backbone_name,
        "prompts": question.prompts_name,
        "num_images": len(dataset.labels),
        "num_classes": len(dataset.class_names),
        "num_prompts": prompts.num_prompts,
    }
    try:
        facts = question.backbone.identify(machine.cache_dir, download=False)
    except WeightsNotHereError as error:
        return Plan(
            run_key=None, finished=False, images_to_encode=None, texts_to_encode=f"{len(prompts.distinct()):,}",
            weights=f"to download from {error}", **known,
        )  # fmt: skip
    key = key_of(question, dataset, facts, prompts)
    path = record_path(machine.results_dir, key)
    finished = path.is_file() and read_record(path).status == "ok"
    present = _image_store(bench, machine, facts, question.precision).present(dataset.image_keys)
    ready = _class_embeddings_path(machine, facts, question.precision, prompts).is_file()
    return Plan(
        run_key=key,
        finished=finished,
        images_to_encode=0 if finished else len({k for k, here in zip(dataset.image_keys, present, strict=True) if not here}),
        texts_to_encode="0" if finished or ready else f"at most {len(prompts.distinct()):,}",
        weights="here",
        **known,
    )
