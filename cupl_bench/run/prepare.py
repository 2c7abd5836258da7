"""A question with all that is known before the first image is decoded: its run key, and whether it is answered."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cupl_bench.backbone import Backbone, BackboneFacts, TextTower, identified_by
from cupl_bench.backbone.given import GivenSource
from cupl_bench.dataset import Dataset
from cupl_bench.errors import ConfigError, ResultsError, UnreadableError
from cupl_bench.identity import bytes_key, content_key, run_key
from cupl_bench.keys import Keys
from cupl_bench.metrics import METRICS, undefined
from cupl_bench.prompts import Prompts, prompts_of
from cupl_bench.ranks import from_first, in_turn
from cupl_bench.records import Record, read_record, record_path, unlike_artifacts
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.device import device_of
from cupl_bench.run.timing import Stages
from cupl_bench.scorers import Use
from cupl_bench.scorers.facts import ScorerFacts, check_fit, facts_of
from cupl_bench.store import RowStore, set_aside, write_atomically
from cupl_bench.stored_features import ImageFeatures, broken_before_whole, missing_images

__all__ = [
    "Prepared",
    "Towers",
    "check_metric",
    "class_embeddings_path",
    "counts_as_finished",
    "finished",
    "left_out_before",
    "left_out_of",
    "prepare",
    "prepared_of",
    "say_key",
    "say_question",
    "scorer_of",
    "with_width",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Towers:
    """The backbone of a question: where its features are stored, and what loads it once one must be encoded."""

    question: Question
    machine: Machine
    bench: Workbench
    facts: BackboneFacts
    stages: Stages = field(default_factory=Stages)

    @property
    def images(self) -> RowStore:
        """The store of this backbone's image features."""
        return self._store("image_features", self.facts.image_key(self.question.precision, self.question.decode))

    @property
    def views(self) -> RowStore:
        """The store of the features of views, whose images are always decoded exactly."""
        return self._store("view_features", self.facts.image_key(self.question.precision))

    @property
    def texts(self) -> RowStore:
        """The store of this backbone's text features."""
        return self._store("text_features", self.facts.text_key(self.question.precision))

    def _store(self, kind: str, key: str) -> RowStore:
        facts = {"precision": self.question.precision, **self.facts.as_record()}
        return self.bench.store(self.machine.cache_dir / kind / key[:32], facts)

    def load(self) -> Backbone:
        """Return the backbone; only images that must be encoded ask for it."""
        with self._loading():
            return self.bench.backbone(
                self.question.backbone, self.facts, device_of(self.machine), self.question.precision
            )

    def load_text(self) -> TextTower:
        """Return the text tower; only what must be encoded asks for it."""
        with self._loading():
            return self.bench.text_tower(
                self.question.backbone, self.facts, device_of(self.machine), self.question.precision
            )

    @contextmanager
    def _loading(self) -> Iterator[None]:
        with self.stages.stage("load_backbone"):
            yield
        self.stages.cached["load_backbone"] = False


@dataclass(frozen=True, kw_only=True)
class Prepared(Towers):
    """A question with everything that is known before the first image is decoded.

    ``left_out``: the digest of the images that cannot be decoded, as far as that is known; None where all can.
    """

    dataset: Dataset
    prompts: Prompts
    scorer: ScorerFacts
    left_out: str | None = None

    @property
    def uses(self) -> tuple[Use, ...]:
        """What the scores look at beside an image and the class embeddings."""
        of_prompts: tuple[Use, ...] = ("other_images",) if self.prompts.weigh_by_images else ()
        return tuple(dict.fromkeys((*self.scorer.needs.uses, *of_prompts)))

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
                    # CLIP's own tokenizer is in no key, so that records from before this rule are found.
                    *([] if facts.tokenization is None else [facts.tokenization]),
                ],
                "prompts": [question.prompts_name, self.prompts.digest],
                # With a budget the seed enters too: seeds that drew the same prompts have their own records.
                **({} if self.prompts.budget is None else {"budget": [self.prompts.budget, self.prompts.seed]}),
                # Fewer images make another question, and the machine may decide which images these are.
                **({} if self.left_out is None else {"left_out": self.left_out}),
                # Questions from before data sets had versions keep their keys.
                **({} if self.dataset.version == 1 else {"dataset_version": self.dataset.version}),
                # Questions from before there were scorers keep their keys.
                **({} if self.scorer.key is None else {"scorer": self.scorer.key}),
            }
        )  # fmt: skip

    @property
    def record_path(self) -> Path:
        """Where the record of this question lies."""
        return record_path(self.machine.results_dir, self.key)


def prepare(question: Question, machine: Machine, bench: Workbench) -> Record | Prepared:
    """Find out what a question needs; return its record where it is answered already.

    Every process of torchrun calls it, and gets the same.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    stages = Stages()
    with stages.working():
        prepared = replace(in_turn(lambda: prepared_of(question, machine, bench)), stages=stages)
        prepared = replace(prepared, left_out=from_first(lambda: left_out_before(prepared)))
        say_key(prepared)
        found = from_first(lambda: finished(prepared))
    return prepared if found is None else found


def prepared_of(question: Question, machine: Machine, bench: Workbench) -> Prepared:
    """Return a question with its data set, its prompts and the facts of its backbone.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    _check_results_dir(machine.results_dir)
    dataset = bench.dataset(question.dataset, machine.cache_dir)
    check_metric(question, dataset)
    prompts = prompts_of(question.prompts, dataset.class_names)
    facts = identified_by(question.backbone, machine.cache_dir, download=True)
    facts = with_width(dataset, prompts, facts, question.backbone_name)
    return Prepared(
        question=question,
        machine=machine,
        bench=bench,
        dataset=dataset,
        prompts=prompts,
        facts=facts,
        scorer=scorer_of(question, dataset, prompts),
    )


def check_metric(question: Question, dataset: Dataset) -> None:
    """Check that the headline metric is defined of the images, before any of them is encoded.

    Raises:
        ConfigError: it is not, or reads what the scorer does not say.
    """
    primary = question.primary
    why = undefined(primary, dataset.truth)
    if why is None and primary in METRICS and METRICS[primary].is_sure and question.scorer.scores_are == "scores":
        why = f"scorer={question.scorer_name} does not say how sure it is of an image"
    if why is not None:
        raise ConfigError(
            f"dataset.primary={primary} is not defined of dataset={question.dataset_name}: {why}. Take other images or"
            " another metric: docs/metrics.md says what each needs."
        )


def scorer_of(question: Question, dataset: Dataset, prompts: Prompts) -> ScorerFacts:
    """Return the scorer of a question with the files that it reads.

    Raises:
        ScorerError: a file cannot be had, or the scorer would not get what it needs.
    """
    facts = facts_of(question.scorer_name, question.scorer)
    check_fit(
        facts,
        prompts,
        dataset.class_names,
        has_images=dataset.features is None,
        has_text_tower=not isinstance(question.backbone, GivenSource),
    )
    return facts


def with_width(dataset: Dataset, prompts: Prompts, facts: BackboneFacts, name: str) -> BackboneFacts:
    """Return the facts of a backbone with the width of its features, which all that is given must have.

    Raises:
        ConfigError: features, class vectors and the backbone are of several widths.
    """
    widths = {
        "the image features (dataset)": None if dataset.features is None else dataset.features.width,
        "the class vectors (prompts)": None if prompts.given is None else int(prompts.given.rows.shape[1]),
        f"the backbone {name}": facts.embed_dim,
    }
    told = {what: width for what, width in widths.items() if width is not None}
    if len(set(told.values())) > 1:
        raise ConfigError(
            f"{', '.join(f'{what} is {width} wide' for what, width in told.items())}: these are not of one model."
        )
    if not told:
        raise ConfigError(
            f"backbone={name} encodes nothing, and neither features nor class vectors are given: name a backbone that"
            " can be loaded."
        )
    features = dataset.features
    encodes_prompts = facts.embed_dim is not None and prompts.given is None
    if features and encodes_prompts and features.weights_sha256 not in (None, facts.weights_sha256):
        log.warning(
            "the image features are of %s with the weights %s, and %s encodes the prompts with the weights %s: unless"
            " these are the same in another file, the scores mean nothing",
            features.said_to_be_of, str(features.weights_sha256)[:12], name, facts.weights_sha256[:12],
        )  # fmt: skip
    return facts if facts.embed_dim is not None else replace(facts, embed_dim=next(iter(told.values())))


def _check_results_dir(results_dir: Path) -> None:
    """Check that records can be written, before any work is done.

    Raises:
        ResultsError: they cannot.
    """
    probe = results_dir / "records" / ".probe"
    write_atomically(probe, b"")
    probe.unlink(missing_ok=True)


def left_out_before(prepared: Prepared) -> str | None:
    """Return the digest of the images left out, if known without encoding: every image without features is broken."""
    if not prepared.question.skip_broken or prepared.dataset.features is not None:
        return None
    keys = prepared.dataset.image_keys
    missing = missing_images(prepared.dataset, prepared.images)
    broken = [index for index, _ in broken_before_whole(prepared.dataset, missing)]
    return _digest_of_keys(keys[index] for index in broken) if len(broken) == len(missing) else None


def left_out_of(dataset: Dataset, images: ImageFeatures) -> str | None:
    """Return the digest of the images that could not be decoded; None where all could."""
    return _digest_of_keys(dataset.image_keys[index] for index in np.flatnonzero(~images.kept).tolist())


def _digest_of_keys(keys: Iterable[bytes]) -> str | None:
    """Return a digest of the keys that depends neither on their order nor on repeats; None for no keys."""
    distinct = sorted(set(keys))
    return bytes_key(b"".join(distinct)).hex() if distinct else None


def class_embeddings_path(prepared: Prepared) -> Path:
    """Return where the class embeddings of these prompts are kept."""
    question, machine, facts = prepared.question, prepared.machine, prepared.facts
    named: dict[str, object] = {
        "texts": facts.text_key(question.precision),
        "tokenizer": facts.tokenizer,
        "prompts": prepared.prompts.digest,
    }
    if prepared.prompts.weigh_by_images:  # the weights depend on which images can be decoded
        named["image_features"] = facts.image_key(question.precision, question.decode)
        named["images"] = bytes_key(Keys.of(prepared.dataset.image_keys).packed.tobytes()).hex()
        # If no image is left out, it does not matter whether any could be.
        named |= {"skip_broken": False} if prepared.left_out is None else {"left_out": prepared.left_out}
    return machine.cache_dir / "class_embeddings" / f"{content_key(named)[:32]}.safetensors"


def finished(prepared: Prepared) -> Record | None:
    """Return the record of a question that need not be answered again.

    Raises:
        ResultsError: there is none, and rerun=never forbids to make it; or a file may not be read.
    """
    if prepared.record_path.is_file() and prepared.machine.rerun != "always":
        try:
            record = read_record(prepared.record_path)
        except UnreadableError:
            raise
        except ResultsError as error:
            set_aside(prepared.record_path, error)
        else:
            if record.status == "ok" and not counts_as_finished(prepared, record):
                log.warning(
                    "          the record is from an earlier version, which did not record %s: running again",
                    "the tokenizer" if record.dataset.num_broken == 0 else "the images that were left out",
                )
            elif record.status == "ok" and _artifacts_are_whole(prepared, record):
                log.info("          finished before; rerun=always runs it again")
                return record
    if prepared.machine.rerun == "never":
        raise ResultsError(
            f"There is no finished record of this question ({prepared.record_path}), and rerun=never forbids running"
            " it."
        )
    return None


def counts_as_finished(prepared: Prepared, record: Record) -> bool:
    """Return whether a record answers its question.

    In earlier versions no key said which images were left out, nor which tokenizer read the prompts.
    """
    left_out_is_told = record.dataset.num_broken == 0 or prepared.left_out is not None
    return record.status == "ok" and left_out_is_told and _is_of_this_tokenizer(prepared.facts, record)


def _is_of_this_tokenizer(facts: BackboneFacts, record: Record) -> bool:
    """Return whether a record of this key was made with this tokenizer.

    A record from before tokenizers entered the key may come from a model with other merges beside its config.
    """
    own_merges = "bpe_path" in facts.model.get("text_cfg", {}).get("tokenizer_kwargs", {})
    return not own_merges or "tokenization" in record.backbone.model_fields_set


def _artifacts_are_whole(prepared: Prepared, record: Record) -> bool:
    if record.artifacts is None:
        return False
    if lost := unlike_artifacts(record, prepared.machine.results_dir):
        log.warning("          the record is here, but not %s as they were written: running again", " and ".join(lost))
    return not lost


def say_key(prepared: Prepared) -> None:
    """Tell the run key and the names of a question."""
    question = prepared.question
    scorer = () if prepared.scorer.is_plain else (question.scorer_name,)
    names = (question.dataset_name, question.backbone_name, question.prompts_name, *scorer)
    log.info("%s  %s, %s", prepared.key, " x ".join(names), question.precision)


def say_question(prepared: Prepared) -> None:
    """Tell the images and the prompts of a question that is now answered."""
    dataset, prompts = prepared.dataset, prepared.prompts
    log.info(
        "dataset   %s, split %s: %s images of %s classes, fingerprint %s",
        prepared.question.dataset_name, dataset.split, f"{len(dataset.labels):,}", f"{len(dataset.class_names):,}",
        dataset.fingerprint[:12],
    )  # fmt: skip
    for note in dataset.notes:
        log.info("          %s", note)
    if (twins := dataset.under_two_labels()) is not None:
        log.warning("          %s", twins)
    log.info(
        "prompts   %s: %s prompts, %s distinct, %s",
        prepared.question.prompts_name, f"{prompts.num_prompts:,}", f"{len(prompts.distinct()):,}", prompts.aggregation,
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
