"""One run, written as the data flow; the only module that knows everyone.

dataset -> image features \
                               scores -> record
prompts -> class embeddings /
"""

import json
import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32, Float64, Int64

from cupl_bench.backbone import Backbone, BackboneFacts, BackboneSource, Precision, WeightsNotHereError
from cupl_bench.class_embeddings import Aggregation, ClassEmbeddings, build_class_embeddings, zero_shot_weights
from cupl_bench.dataset import Dataset, DatasetSource, PartSource, part_of
from cupl_bench.dataset.decode import Decode
from cupl_bench.dataset.named import NamedSource
from cupl_bench.environment import describe_environment
from cupl_bench.errors import CuplBenchError, DataNotHereError, PromptsNotHereError, ResultsError, returned
from cupl_bench.features import ImageFeatures, TextFeatures, encode_images, encode_texts, missing_images
from cupl_bench.identity import PROTOCOL_VERSION, bytes_key, content_key, run_key
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.keys import Keys
from cupl_bench.lease import held
from cupl_bench.pixel_store import PixelStore
from cupl_bench.prompts import Prompts, PromptStrategy
from cupl_bench.prompts.files import no_downloads
from cupl_bench.ranks import from_first, in_turn, rank
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
    digest_of_file,
    read_record,
    record_path,
    unlike_artifacts,
    write_record,
)
from cupl_bench.scores import Predictions, Tally, count, measure, measure_tiers, predict_parts
from cupl_bench.store import (
    DamagedFileError,
    RowStore,
    read_arrays,
    set_aside,
    write_arrays,
    write_atomically,
    writing_atomically,
)

__all__ = [
    "Machine",
    "Material",
    "Plan",
    "Question",
    "Workbench",
    "answering",
    "assist",
    "encode_part",
    "gather",
    "plan",
    "run",
]

log = logging.getLogger(__name__)

Primary = Literal["top1", "mean_per_class"]

BYTES_PER_PROMPT = 150
"""What a prompt takes in memory, about: a sentence and its place in a list."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a run asks; all of it can move the number and enters the run key.

    ``config`` is the configuration that it was built from, kept for the record: it is not hashed.
    """

    dataset_name: str
    dataset: DatasetSource
    skip_broken: bool
    decode: Decode
    primary: Primary
    backbone_name: str
    backbone: BackboneSource
    precision: Precision
    prompts_name: str
    prompts: PromptStrategy
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run happens; none of it moves a number by more than rounding."""

    results_dir: Path
    cache_dir: Path
    device: torch.device
    batch_size: int
    num_workers: int
    cache_limit_gb: float
    rerun: Literal["missing", "always", "never", "failed"]
    shard: tuple[int, int] | None
    """Part i of n of the images, which is encoded and nothing else; None: all of a run."""
    command: str | None = None
    """The command line that asks this question alone, for the record; None: it was not asked on one."""


@dataclass
class Workbench:
    """What the jobs of a sweep share: the last data set, the last backbone, the open stores.

    Sources are equal when their settings are, so a job finds what the one before it has left.
    ``several_backbones``: whether pixels are worth keeping for the next one. ``waiting``: run key -> about how many
    bytes a question holds that waits for its scores.
    """

    several_backbones: bool = False
    waiting: dict[str, int] = field(default_factory=dict)

    _dataset: tuple[tuple[DatasetSource, Path, tuple[int, int] | None], Dataset] | None = None
    _backbone: tuple[tuple[BackboneFacts, torch.device, Precision], Backbone] | None = None
    _stores: dict[Path, RowStore] = field(default_factory=dict)
    _images: tuple[Dataset, RowStore, bool, ImageFeatures] | None = None

    def dataset(self, source: DatasetSource, cache_dir: Path, shard: tuple[int, int] | None = None) -> Dataset:
        """The data set of ``source``, or part i of n of it, listed once."""
        wanted = (source, cache_dir, shard)
        if self._dataset is None or self._dataset[0] != wanted:
            self._dataset = self._images = None  # lets go of the last list before the next one takes memory
            self._dataset = (wanted, _listed(*wanted))
        return self._dataset[1]

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

    def images(
        self, dataset: Dataset, store: RowStore, skip_broken: bool, encode: Callable[[], ImageFeatures]
    ) -> ImageFeatures:
        """The features of all images, looked up once: many prompt strategies are compared with the same."""
        if (last := self._images) is not None and last[0] is dataset and last[1] is store and last[2] == skip_broken:
            return replace(last[3], num_encoded=0)
        self._images = None  # lets go of the last list before the next one takes memory
        images = encode()
        self._images = (dataset, store, skip_broken, images)
        return images


def _listed(source: DatasetSource, cache_dir: Path, shard: tuple[int, int] | None) -> Dataset:
    if shard is None:
        return returned(source(cache_dir), Dataset, source, "__call__")
    if isinstance(source, PartSource):
        return returned(source.part(cache_dir, shard), Dataset, source, "part")
    return returned(source(cache_dir), Dataset, source, "__call__").part(shard)


@dataclass
class Stages:
    """Wall time of each stage, and of all since the first.

    Loading the backbone happens inside others and is taken out of them, as are the times at which other questions of
    the sweep have their turn.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)
    _loading: float = 0.0
    _turns_of_others: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began, outside = time.perf_counter(), self._loading + self._turns_of_others
        try:
            yield
            raise_if_interrupted()
        finally:
            spent = time.perf_counter() - began
            if name == "load_backbone":
                self._loading += spent
            else:
                spent -= self._loading + self._turns_of_others - outside
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    @contextmanager
    def turn_of_others(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._turns_of_others += time.perf_counter() - began

    def timing(self) -> TimingRecord:
        def stage(name: str) -> StageRecord:
            return StageRecord(seconds=round(self.seconds.get(name, 0.0), 4), cached=self.cached.get(name, True))

        return TimingRecord(
            load_backbone=stage("load_backbone"),
            image_features=stage("image_features"),
            text_features=stage("text_features"),
            class_embeddings=stage("class_embeddings"),
            scores=stage("scores"),
            total_seconds=round(time.perf_counter() - self._began - self._turns_of_others, 4),
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """A question with everything that was found out before the first image is decoded."""

    question: Question
    machine: Machine
    bench: Workbench
    dataset: Dataset
    prompts: Prompts
    facts: BackboneFacts
    stages: Stages = field(default_factory=Stages)

    @property
    def key(self) -> str:
        """The run key: names, numbers and digests, never paths."""
        question, facts = self.question, self.facts
        return run_key(
            {
                "dataset": [
                    question.dataset_name, self.dataset.split, self.dataset.fingerprint, question.skip_broken
                ],
                "primary": question.primary,
                "backbone": [
                    question.backbone_name, facts.image_key(question.precision, question.decode),
                    facts.text_key(question.precision),
                ],
                "prompts": [question.prompts_name, self.prompts.digest],
                # Only where it is asked for; so that seeds that drew the same prompts have a record each.
                **({} if self.prompts.budget is None else {"budget": [self.prompts.budget, self.prompts.seed]}),
            }
        )  # fmt: skip

    @property
    def images(self) -> RowStore:
        """The store of this backbone's image features."""
        return self._store("image_features", self.facts.image_key(self.question.precision, self.question.decode))

    @property
    def texts(self) -> RowStore:
        """The store of this backbone's text features."""
        return self._store("text_features", self.facts.text_key(self.question.precision))

    def _store(self, kind: str, key: str) -> RowStore:
        facts = {"precision": self.question.precision, **self.facts.as_record()}
        return self.bench.store(self.machine.cache_dir / kind / key[:32], facts)

    @contextmanager
    def alone(self, store: RowStore) -> Iterator[None]:
        """No other process computes rows of this store for the same data set inside; it waits and finds them done."""
        if rank():  # rank 0 holds the lease for all
            yield
            return
        key = content_key({"store": [store.folder.parent.name, store.folder.name], "dataset": self.dataset.fingerprint})
        what = f"{store.folder.parent.name} of {self.question.dataset_name} by {self.question.backbone_name}"
        with held(self.machine.cache_dir / "leases" / f"{key[:32]}.lease", what):
            yield

    def pixels(self, backbone: Backbone) -> PixelStore | None:
        """The store of the pixels that this backbone reads, if another may want them."""
        if not self.bench.several_backbones or backbone.transform.table is None:
            return None
        facts = {**backbone.transform.geometry, "decode": self.question.decode, "protocol_version": PROTOCOL_VERSION}
        return PixelStore(
            folder=self.machine.cache_dir / "pixels" / content_key(facts)[:32],
            facts=facts,
            limit_bytes=self.machine.cache_limit_gb * 1e9,
        )

    @property
    def class_embeddings_path(self) -> Path:
        """Where the class embeddings of these prompts are kept."""
        facts: dict[str, object] = {
            "texts": self.facts.text_key(self.question.precision),
            "prompts": self.prompts.digest,
        }
        if self.prompts.weigh_by_images:  # which can be read at all is decided by the images themselves
            facts["image_features"] = self.facts.image_key(self.question.precision, self.question.decode)
            facts["images"] = bytes_key(Keys.of(self.dataset.image_keys).packed.tobytes()).hex()
            facts["skip_broken"] = self.question.skip_broken
        key = content_key(facts)
        return self.machine.cache_dir / "class_embeddings" / f"{key[:32]}.safetensors"

    @property
    def record_path(self) -> Path:
        """Where the record of this question lies."""
        return record_path(self.machine.results_dir, self.key)

    def logit_scale(self) -> float:
        """The model's own factor from similarities to logits, remembered so that no model is loaded for it."""
        path = self.machine.cache_dir / "logit_scales" / f"{self.facts.text_key(self.question.precision)[:32]}.json"
        try:
            scale = float(json.loads(path.read_text(encoding="utf-8")))
            if math.isfinite(scale):
                return scale
            set_aside(path, f"{path} holds {scale}")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            set_aside(path, error)
        scale = self.load().logit_scale
        write_atomically(path, json.dumps(scale).encode())
        return scale

    def load(self) -> Backbone:
        """The backbone; only what must be encoded asks for it."""
        with self.stages.stage("load_backbone"):
            backbone = self.bench.backbone(
                self.question.backbone, self.facts, self.machine.device, self.question.precision
            )
        self.stages.cached["load_backbone"] = False
        return backbone


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
        CuplBenchError: something that the user can mend; once the run key is known, a failed record tells it too.
    """
    steps = answering(question, machine, bench)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            record: Record = end.value
            return record


def answering(question: Question, machine: Machine, bench: Workbench) -> Generator[float, None, Record]:
    """The same in steps, for many questions at once; gives the record in the end.

    The first step ends where the class embeddings are there, and each one after it where some more images have been
    scored; each says how many these are by then. Who always lets the question go on that is furthest behind reads the
    image features once for all. A question that waits already, asked again, says infinity: it finds the answer.

    Raises:
        CuplBenchError: as `run`.
    """
    stages = Stages()
    job = replace(in_turn(lambda: _job(question, machine, bench)), stages=stages)
    names = (question.dataset_name, question.backbone_name, question.prompts_name)
    log.info("%s  %s, %s", job.key, " x ".join(names), question.precision)
    finished = from_first(lambda: _finished(job))
    if finished is not None:
        return finished
    _say_question(job)
    try:
        return (yield from _answer(job))
    except CuplBenchError as error:
        raise_if_interrupted()
        _write_failure(job, error)
        raise


def encode_part(question: Question, machine: Machine, bench: Workbench, part: int, parts: int) -> str:
    """Encode a part of the images, from 1 to ``parts``, for a run that finds them done; gives what was done in words.

    Raises:
        CuplBenchError: something that the user can mend.
    """
    own = in_turn(lambda: bench.dataset(question.dataset, machine.cache_dir, (part, parts)))
    num_whole = own.num_whole or 0
    if not len(own.labels):
        return f"part {part} of {parts} is empty: {num_whole:,} images"
    images = _image_features(
        Job(
            question=replace(question, skip_broken=True),  # the run that follows says which are broken
            machine=machine,
            bench=bench,
            dataset=own,
            prompts=prompts_of(question, own.class_names),
            facts=in_turn(lambda: facts_of(question, machine.cache_dir, download=True)),
        )
    )
    places = part_of((part, parts), num_whole)
    return (
        f"part {part} of {parts}, images {places[0]:,} to {places[-1]:,} of {num_whole:,}: {images.num_encoded:,}"
        f" encoded, {int(images.kept.sum()) - images.num_encoded:,} reused, {int((~images.kept).sum()):,} broken"
    )


def assist(question: Question, machine: Machine, bench: Workbench) -> None:
    """What the other processes of torchrun do while rank 0 runs: encode their share of the images."""
    job = in_turn(lambda: _job(question, machine, bench))
    if from_first(lambda: _finished(job)) is None:
        _image_features(job)


def prompts_of(question: Question, class_names: Sequence[str]) -> Prompts:
    """Return the prompts that a question's strategy writes for class names.

    Raises:
        ConfigError: the strategy returns something else.
    """
    return returned(question.prompts(class_names), Prompts, question.prompts, "__call__")


def facts_of(question: Question, cache_dir: Path, *, download: bool) -> BackboneFacts:
    """Return what identifies a question's backbone.

    Raises:
        ConfigError: the backbone's class returns something else.
    """
    facts = question.backbone.identify(cache_dir, download=download)
    return returned(facts, BackboneFacts, question.backbone, "identify")


def _job(question: Question, machine: Machine, bench: Workbench) -> Job:
    check_results_dir(machine.results_dir)
    dataset = bench.dataset(question.dataset, machine.cache_dir)
    return Job(
        question=question,
        machine=machine,
        bench=bench,
        dataset=dataset,
        prompts=prompts_of(question, dataset.class_names),
        facts=facts_of(question, machine.cache_dir, download=True),
    )


def _finished(job: Job) -> Record | None:
    """The record of a run that need not run again."""
    if job.record_path.is_file() and job.machine.rerun != "always":
        try:
            record = read_record(job.record_path)
        except ResultsError as error:
            set_aside(job.record_path, error)
        else:
            if record.status == "ok" and _artifacts_are_whole(job, record):
                log.info("          finished before; rerun=always runs it again")
                return record
    if job.machine.rerun == "never":
        raise ResultsError(
            f"There is no finished record of this question ({job.record_path}), and rerun=never forbids to run it."
        )
    return None


def _artifacts_are_whole(job: Job, record: Record) -> bool:
    if record.artifacts is None:
        return False
    if lost := unlike_artifacts(record, job.machine.results_dir):
        log.warning("          the record is here, but not %s as they were written: running again", " and ".join(lost))
    return not lost


def _say_question(job: Job) -> None:
    dataset, prompts = job.dataset, job.prompts
    log.info(
        "dataset   %s, split %s: %s images of %s classes, fingerprint %s",
        job.question.dataset_name, dataset.split, f"{len(dataset.labels):,}", f"{len(dataset.class_names):,}",
        dataset.fingerprint[:12],
    )  # fmt: skip
    for note in dataset.notes:
        log.info("          %s", note)
    log.info(
        "prompts   %s: %s prompts, %s distinct, %s",
        job.question.prompts_name, f"{prompts.num_prompts:,}", f"{len(prompts.distinct()):,}", prompts.aggregation,
    )  # fmt: skip
    if prompts.budget is not None:
        fewer = sum(len(row) < prompts.budget for row in prompts.texts)
        log.info(
            "          at most %s of each class, %s%s",
            f"{prompts.budget:,}", "all kept" if prompts.seed is None else f"drawn with seed {prompts.seed}",
            f"; {fewer:,} of {len(prompts.texts):,} classes have fewer and keep all" if fewer else "",
        )  # fmt: skip
    if prompts.join is not None:
        joined = ", ".join(f"{count} {how}" for how, count in prompts.join.items() if count)
        log.info("          class names joined: %s", joined)


def _answer(job: Job) -> Generator[float, None, Record]:
    images = _image_features(job)
    classes, num_truncated = _class_embeddings(job, images)
    if job.key in job.bench.waiting:
        with job.stages.turn_of_others():
            yield math.inf
        if (finished := _finished(job)) is not None:
            return finished
    job.bench.waiting[job.key] = classes.num_bytes + BYTES_PER_PROMPT * job.prompts.num_prompts
    try:
        with job.stages.turn_of_others():
            yield 0
        return (yield from _score(job, images, classes, num_truncated))
    finally:
        del job.bench.waiting[job.key]


def _score(
    job: Job, images: ImageFeatures, classes: ClassEmbeddings, num_truncated: int
) -> Generator[float, None, Record]:
    labels = images.of_kept(job.dataset.labels)
    artifacts = ArtifactsRecord(
        predictions=f"predictions/{job.key}.parquet",
        class_embeddings=f"class_embeddings/{job.key}.safetensors",
        prompts=f"prompts/{job.key}.parquet",
    )
    results_dir = job.machine.results_dir
    with job.stages.stage("scores"):
        parts = predict_parts(images.stored, classes, job.machine.device, logit_scale=job.logit_scale())
        tally = yield from _write_predictions(
            results_dir / artifacts.predictions, job.dataset, images, parts, job.stages.turn_of_others
        )
        metrics = measure(tally)
        tiers = None
        if job.dataset.tiers is not None:
            measured = measure_tiers(images.stored, classes, tally, labels, job.dataset.tiers)
            tiers = {tier: TierRecord(**asdict(values)) for tier, values in measured.items()}
    job.stages.cached["scores"] = False
    _write_class_embeddings(results_dir / artifacts.class_embeddings, classes, {"run_key": job.key})
    weights = job.prompts.weights
    if classes.weights is not None:
        weights = (tuple(classes.weights.tolist()),) * len(job.prompts.texts)
    _write_prompts(results_dir / f"prompts/{job.key}.parquet", job.dataset, job.prompts.texts, weights)
    primary = job.question.primary
    record = _record(
        job,
        status="ok",
        num_broken=int((~images.kept).sum()),
        num_truncated=num_truncated,
        metrics=MetricsRecord(
            **asdict(metrics),
            primary=metrics.top1 if primary == "top1" else metrics.mean_per_class,
            primary_name=primary,
            tiers=tiers,
        ),
        timing=job.stages.timing(),
        artifacts=artifacts,
        artifact_digests={
            name: digest_of_file(results_dir / path) for name, path in artifacts.model_dump(exclude_none=True).items()
        },
    )
    write_record(results_dir, record)
    low, high = metrics.top1_ci95
    log.info(
        "top-1     %s %s: %.1f%% [%.1f, %.1f] of %s images",
        job.key, job.question.prompts_name, 100 * metrics.top1, 100 * low, 100 * high, f"{len(labels):,}",
    )  # fmt: skip
    return record


def _image_features(job: Job) -> ImageFeatures:
    def encode() -> ImageFeatures:
        with job.alone(job.images):
            return encode_images(
                job.dataset,
                job.load,
                job.images,
                pixels=job.pixels,
                decode_by=job.question.decode,
                batch_size=job.machine.batch_size,
                num_workers=job.machine.num_workers,
                skip_broken=job.question.skip_broken,
            )

    with job.stages.stage("image_features"):
        images = job.bench.images(job.dataset, job.images, job.question.skip_broken, encode)
    job.stages.cached["image_features"] = images.num_encoded == 0
    reused = len(images.stored) - images.num_encoded
    seconds = job.stages.seconds["image_features"]
    log.info("images    %s reused, %s encoded (%.1f s)", f"{reused:,}", f"{images.num_encoded:,}", seconds)
    return images


def _class_embeddings(job: Job, images: ImageFeatures) -> tuple[ClassEmbeddings, int]:
    """The class embeddings, and how many prompts were cut to fit the context."""
    with job.stages.stage("class_embeddings"):
        found = _read_class_embeddings(job.class_embeddings_path, job.prompts.aggregation)
    if found is not None:
        log.info("texts     class embeddings reused")
        _warn_truncated(found[1], job.prompts)
        return found
    features = _text_features(job)
    with job.stages.stage("class_embeddings"):
        cut = dict(zip(job.prompts.distinct(), features.truncated, strict=True))
        rows_of_class = _rows_of_class(job, features)
        weights, by_images = job.prompts.weights, None
        if job.prompts.weigh_by_images:
            by_images = _weights_by_images(job, images, features.rows, rows_of_class)
            weights = (tuple(by_images.tolist()),) * len(rows_of_class)
        classes = build_class_embeddings(features.rows, rows_of_class, job.prompts.aggregation, weights)
        classes = replace(classes, weights=by_images)
        num_truncated = sum(cut[text] for texts_of_class in job.prompts.texts for text in texts_of_class)
        _write_class_embeddings(job.class_embeddings_path, classes, {"num_truncated": num_truncated})
    job.stages.cached["class_embeddings"] = False
    _warn_truncated(num_truncated, job.prompts)
    return classes, num_truncated


def _text_features(job: Job) -> TextFeatures:
    with job.alone(job.texts), job.stages.stage("text_features"):
        features = encode_texts(
            job.prompts.distinct(),
            job.load,
            job.texts,
            tokenizer=job.facts.tokenizer,
            batch_size=job.machine.batch_size,
        )
    job.stages.cached["text_features"] = features.num_encoded == 0
    log.info(
        "texts     %s distinct: %s reused, %s encoded%s (%.1f s)",
        f"{len(features.rows):,}", f"{len(features.rows) - features.num_encoded:,}", f"{features.num_encoded:,}",
        f" by {features.note}" if features.num_encoded else "", job.stages.seconds["text_features"],
    )  # fmt: skip
    return features


def _rows_of_class(job: Job, features: TextFeatures) -> list[list[int]]:
    """For each class the rows of its prompts."""
    row = dict(zip(job.prompts.distinct(), features.row_of_text, strict=True))
    return [[row[text] for text in texts_of_class] for texts_of_class in job.prompts.texts]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a question is answered from: features, and which rows of the texts belong to which class.

    ``weights``: of each class's prompts, those found from images among them; None where all count the same.
    """

    job: Job
    images: ImageFeatures
    labels: Int64[np.ndarray, " k"]
    texts: TextFeatures
    rows_of_class: Sequence[Sequence[int]]
    weights: Sequence[Sequence[float]] | None


def gather(question: Question, machine: Machine, bench: Workbench) -> Material:
    """The features of a question, from the stores; what is not there is encoded."""
    job = _job(question, machine, bench)
    log.info(
        "%s  %s x %s x %s, %s",
        job.key, question.dataset_name, question.backbone_name, question.prompts_name, question.precision,
    )  # fmt: skip
    images = _image_features(job)
    texts = _text_features(job)
    rows_of_class = _rows_of_class(job, texts)
    weights: Sequence[Sequence[float]] | None = job.prompts.weights
    if job.prompts.weigh_by_images:
        found = _weights_by_images(job, images, texts.rows, rows_of_class)
        weights = (tuple(found.tolist()),) * len(rows_of_class)
    return Material(
        job=job,
        images=images,
        labels=images.of_kept(job.dataset.labels),
        texts=texts,
        rows_of_class=rows_of_class,
        weights=weights,
    )


def _weights_by_images(
    job: Job, images: ImageFeatures, features: Float32[np.ndarray, "u d"], rows_of_class: Sequence[Sequence[int]]
) -> Float64[np.ndarray, " t"]:
    """A weight for each place of the prompts, which are parallel."""
    templates = [features[list(rows)] for rows in zip(*rows_of_class, strict=True)]
    weights = zero_shot_weights(images.stored, templates, job.load().logit_scale, job.machine.device)
    log.info(
        "prompts   weighed by %s images without their labels: %.2g to %.2g, equal weights were %.2g; most: %r",
        f"{len(images.stored):,}", weights.min(), weights.max(), 1 / len(weights),
        job.prompts.texts[0][int(weights.argmax())],
    )  # fmt: skip
    return weights


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
    try:
        classes = ClassEmbeddings(
            aggregation=aggregation,
            matrix=arrays["class_embeddings"],
            prompts=arrays.get("prompt_embeddings"),
            owner=arrays.get("prompt_class"),
            weights=arrays.get("template_weights"),
        )
        return classes, int(str(facts["num_truncated"]))
    except KeyError as error:
        set_aside(path, f"{path} lacks {error}, as files of other versions may")
        return None


def _write_class_embeddings(path: Path, classes: ClassEmbeddings, facts: Mapping[str, object]) -> None:
    arrays: dict[str, np.ndarray] = {"class_embeddings": classes.matrix}
    if classes.prompts is not None and classes.owner is not None:
        arrays |= {"prompt_embeddings": classes.prompts, "prompt_class": classes.owner}
    if classes.weights is not None:
        arrays |= {"template_weights": classes.weights}
    write_arrays(path, arrays, {"aggregation": classes.aggregation, **facts})


def _write_predictions(
    path: Path,
    dataset: Dataset,
    images: ImageFeatures,
    parts: Iterable[Predictions],
    turn_of_others: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Generator[float, None, Tally]:
    """Write what was answered, part by part, and count what is right; a step ends with each part."""
    index = np.flatnonzero(images.kept)
    tallies: list[Tally] = []
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
            tallies.append(count(part, labels, len(dataset.class_names)))
            with turn_of_others():
                yield start
    return sum(tallies[1:], start=tallies[0])


def _write_prompts(
    path: Path,
    dataset: Dataset,
    texts: Sequence[Sequence[str]],
    weights: Sequence[Sequence[float]] | None,
) -> None:
    rows = [(label, name, text) for label, name in enumerate(dataset.class_names) for text in texts[label]]
    frame = pd.DataFrame(rows, columns=["label", "class_name", "text"])
    if dataset.tiers is not None:
        frame["tier"] = [dataset.tiers[label] for label in frame["label"]]
    if weights is not None:
        frame["weight"] = [weight for row in weights for weight in row]
    write_atomically(path, frame.to_parquet(index=False, compression="zstd"))


def _record(
    job: Job, *, status: Literal["ok", "failed"], num_broken: int = 0, num_truncated: int = 0, **rest: Any
) -> Record:
    """The record of a job: who asked what, with the answer in ``rest``."""
    question, dataset, prompts = job.question, job.dataset, job.prompts
    return Record(
        protocol_version=PROTOCOL_VERSION,
        run_key=job.key,
        status=status,
        created_at=datetime.now(UTC),
        dataset=DatasetRecord(
            name=question.dataset_name,
            split=dataset.split,
            fingerprint=dataset.fingerprint,
            num_images=len(dataset.labels) - num_broken,
            num_classes=len(dataset.class_names),
            num_broken=num_broken,
            origin=dataset.origin,
        ),
        backbone=BackboneRecord(
            name=question.backbone_name,
            precision=question.precision,
            **{name: value for name, value in job.facts.as_record().items() if name != "model"},
        ),
        prompts=PromptsRecord(
            name=question.prompts_name,
            digest=prompts.digest,
            num_prompts=prompts.num_prompts,
            num_distinct=len(prompts.distinct()),
            num_truncated=num_truncated,
            aggregation=prompts.aggregation,
            join=prompts.join,
            source=prompts.source,
            seed=prompts.seed,
            budget=prompts.budget,
            weighting=prompts.weighting,
            uses_images=prompts.weigh_by_images,
        ),
        environment=describe_environment(job.machine.device, job.machine.command),
        config=question.config,
        **rest,
    )


def _write_failure(job: Job, error: Exception) -> None:
    failed = _record(job, status="failed", error=f"{type(error).__name__}: {error}")
    write_record(job.machine.results_dir, failed)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do; numbers are None where they cannot be known without a download."""

    dataset_here: str
    num_images: int | None = None
    num_classes: int | None = None
    num_prompts: int | None = None
    images_to_encode: int | None = None
    texts_to_encode: int | None = None
    weights: str = "not looked for"
    run_key: str | None = None
    finished: bool = False


def plan(question: Question, machine: Machine, bench: Workbench) -> Plan:
    """What `run` would reuse and compute for a question; loads no model and downloads nothing.

    ``texts_to_encode`` is an upper bound: which texts share their tokens is known to the tokenizer alone.
    """
    source = question.dataset
    try:
        here = source.on_this_machine() if isinstance(source, NamedSource) else source
        dataset = bench.dataset(here, machine.cache_dir)
    except DataNotHereError:
        if not isinstance(source, NamedSource):
            raise
        with no_downloads(), suppress(PromptsNotHereError):  # prompts that can never be had are told before the images
            prompts_of(question, source.class_names())
        return Plan(dataset_here=source.not_here())
    prompts = prompts_of(question, dataset.class_names)
    origin = (dataset.origin or {}).get("source", "here")
    unknown = Plan(
        dataset_here=f"{origin}, split {dataset.split}",
        num_images=len(dataset.labels),
        num_classes=len(dataset.class_names),
        num_prompts=prompts.num_prompts,
        texts_to_encode=len(prompts.distinct()),
        weights="here",
    )
    try:
        facts = facts_of(question, machine.cache_dir, download=False)
    except WeightsNotHereError as error:
        return replace(unknown, weights=f"to download from {error}")
    job = Job(question=question, machine=machine, bench=bench, dataset=dataset, prompts=prompts, facts=facts)
    if job.record_path.is_file() and read_record(job.record_path).status == "ok":
        return replace(unknown, run_key=job.key, finished=True, images_to_encode=0, texts_to_encode=0)
    missing = missing_images(dataset, job.images)
    ready = job.class_embeddings_path.is_file()
    texts = 0 if ready else unknown.texts_to_encode
    return replace(unknown, run_key=job.key, images_to_encode=len(missing), texts_to_encode=texts)
