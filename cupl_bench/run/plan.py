"""What a run would do, before anything is downloaded, loaded or encoded."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import numpy as np
from jaxtyping import Int64

from cupl_bench.backbone import BackboneFacts, KnownWidth, WeightsNotHereError, identified_by
from cupl_bench.backbone.given import GivenSource
from cupl_bench.dataset import Dataset, KnownClasses, KnownDownload, KnownSize, on_this_machine, part_of
from cupl_bench.dataset.urls import size_of_url, size_text
from cupl_bench.errors import CuplBenchError, DataNotHereError, PromptsNotHereError
from cupl_bench.keys import Keys
from cupl_bench.prompts import Prompts, prompts_of
from cupl_bench.prompts.files import no_downloads
from cupl_bench.records import finished_record, has_artifacts
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.finished import counts_as_finished
from cupl_bench.run.prepare import check_metric, with_width
from cupl_bench.run.prepared import Prepared, class_embeddings_path, left_out_before
from cupl_bench.run.towers import Towers
from cupl_bench.scorers.facts import ScorerFacts, check_fit, facts_of
from cupl_bench.stored_features import missing_images, missing_views

__all__ = ["Plan", "Planned", "Planner"]

T = TypeVar("T")
FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do; numbers are None where they cannot be known without a download.

    Of a data set that is not here, ``num_images`` and ``num_classes`` are those that it should hold.

    ``prompts_file``: whether the file of prompts is here, or from where it would be fetched.
    ``images_to_encode``: all images where the weights or the data set are not here.
    ``features_gigabytes``: what the features of the images that are to be encoded take on the disk.
    ``views_to_encode``: crops of the images, for a scorer that looks at them; ``views_gigabytes``: what their features
    take on the disk. ``texts_to_encode``: at most; only the tokenizer knows which texts share their tokens.
    ``width``: how many values a feature has.
    """

    dataset_here: str
    num_images: int | None = None
    num_classes: int | None = None
    num_prompts: int | None = None
    images_to_encode: int | None = None
    features_gigabytes: float | None = None
    views_to_encode: int | None = None
    views_gigabytes: float | None = None
    texts_to_encode: int | None = None
    width: int | None = None
    weights: str = "not looked for"
    prompts_file: str = "here"
    run_key: str | None = None
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A question by its names, what a run of it would do, and what it shares with other questions.

    ``images``: equal for questions that share their image features. ``views``: how its views are drawn, equal for those
    that share them; None where there are none. ``own_texts``: whether its scorer encodes texts of its own, which
    are not in the plan. ``encoder``: equal for questions that share their text features.
    ``texts``: a number for each different text of its prompts; None where these are not known.
    """

    dataset: str
    backbone: str
    precision: str
    prompts: str
    scorer: str = "plain"
    plan: Plan
    images: Hashable
    encoder: Hashable
    views: bytes | None = None
    own_texts: bool = False
    texts: Int64[np.ndarray, " t"] | None = None


@dataclass(frozen=True)
class _Here:
    """A data set that is on this machine, or in ``told`` what would be fetched, and what is known without it."""

    told: Plan
    dataset: Dataset | None
    class_names: tuple[str, ...] | None


@dataclass(frozen=True)
class _Written:
    """The prompts of a strategy; ``texts``: a number for each different one."""

    prompts: Prompts
    texts: Int64[np.ndarray, " t"]


@dataclass
class _Known:
    """What was found out about equal things, or why it could not be; at most so many, the oldest go first."""

    most: int
    _found: list[tuple[tuple[object, ...], object]] = field(default_factory=list)

    def __call__(self, about: tuple[object, ...], find: Callable[[], T]) -> T:
        """Return what ``find`` tells about these things, asked once; an error that a user can mend is raised again."""
        result = next((result for known, result in reversed(self._found) if known == about), None)
        if result is None:
            try:
                result = find()  # never None
            except (CuplBenchError, WeightsNotHereError) as error:
                result = error
            self._found.append((about, result))
            del self._found[: -self.most]
        if isinstance(result, CuplBenchError | WeightsNotHereError):
            raise result.with_traceback(None)
        return cast(T, result)

    def number(self, about: tuple[object, ...]) -> int:
        """Return a number that equal things share, and no others."""
        return self(about, lambda: len(self._found))


@dataclass
class Planner:
    """Plans questions one after the other; no model is loaded and nothing downloaded; what several share is found once.

    A sweep is planned in its own order, by data set and backbone: so no file of prompts is read and no backbone
    identified twice.
    """

    bench: Workbench = field(default_factory=Workbench)
    _datasets: _Known = field(default_factory=lambda: _Known(1))
    _prompts: _Known = field(default_factory=lambda: _Known(100))
    _backbones: _Known = field(default_factory=lambda: _Known(1000))
    _scorers: _Known = field(default_factory=lambda: _Known(1000))
    _missing: _Known = field(default_factory=lambda: _Known(20))
    _numbers: _Known = field(default_factory=lambda: _Known(1_000_000))

    def __call__(self, question: Question, machine: Machine) -> Planned:
        """Return what `run` would reuse and compute for a question.

        Raises:
            CuplBenchError: something that the user can correct.
        """
        about = (question.dataset, machine.cache_dir, machine.shard)
        here = self._datasets(about, lambda: self._here(question, machine))
        facts, told = self._with_weights(question, machine, here.told)
        scorer, told = self._with_scorer(question, told)
        written, told = self._with_prompts(question, here, told)
        if scorer is not None and written is not None and here.class_names is not None:
            check_fit(
                scorer,
                written.prompts,
                here.class_names,
                has_images=here.dataset is None or here.dataset.features is None,
                has_text_tower=not isinstance(question.backbone, GivenSource),
            )
        if here.dataset is not None and written is not None:
            if machine.shard is None:
                check_metric(question, here.dataset)
            if facts is not None:
                facts = with_width(here.dataset, written.prompts, facts, question.backbone_name)
        towers = None
        if facts is not None:
            told = replace(told, width=facts.embed_dim)
            towers = Towers(question=question, machine=machine, bench=self.bench, facts=facts)
        told = self._with_images(here, towers, scorer, told)
        if machine.shard is not None:  # a part encodes images and their views, and leaves no record
            told = replace(told, texts_to_encode=0)
        elif here.dataset is not None and towers is not None and scorer is not None and written is not None:
            prepared = Prepared(
                question=question,
                machine=machine,
                bench=self.bench,
                dataset=here.dataset,
                prompts=written.prompts,
                facts=towers.facts,
                scorer=scorer,
            )
            told = _with_what_is_done(prepared, told)
        return self._planned(question, machine, told, scorer, written)

    def _planned(
        self,
        question: Question,
        machine: Machine,
        told: Plan,
        scorer: ScorerFacts | None,
        written: _Written | None,
    ) -> Planned:
        family = None if scorer is None else scorer.needs.views
        encoder = self._numbers.number((question.backbone, question.precision))
        images = self._numbers.number((question.dataset, question.skip_broken, machine.shard))
        return Planned(
            dataset=question.dataset_name,
            backbone=question.backbone_name,
            precision=question.precision,
            prompts=question.prompts_name,
            scorer=question.scorer_name,
            plan=told,
            images=(images, encoder, question.decode),
            encoder=encoder,
            views=None if family is None else family.digest,
            own_texts=machine.shard is None and scorer is not None and "second_texts" in scorer.needs.uses,
            texts=None if written is None else written.texts,
        )

    def _here(self, question: Question, machine: Machine) -> _Here:
        source, shard = question.dataset, machine.shard
        part = "" if shard is None else f"part {shard[0]} of {shard[1]}"
        try:
            dataset = self.bench.dataset(on_this_machine(source), machine.cache_dir, shard)
        except DataNotHereError:
            if not isinstance(source, KnownDownload):
                raise
            names = _names_here(source)
            num_images = source.num_images() if isinstance(source, KnownSize) else None
            if shard is not None and num_images is not None:
                num_images = len(part_of(shard, num_images))
            told = Plan(
                dataset_here="; ".join(filter(None, (source.not_here(), part))),
                num_images=num_images,
                num_classes=None if names is None else len(names),
            )
            return _Here(told, None, names)
        origin = (dataset.origin or {}).get("source", "here")
        told = Plan(
            dataset_here=", ".join(filter(None, (origin, f"split {dataset.split}", part))),
            num_images=len(dataset.labels),
            num_classes=len(dataset.class_names),
        )
        return _Here(told, dataset, dataset.class_names)

    def _with_weights(self, question: Question, machine: Machine, told: Plan) -> tuple[BackboneFacts | None, Plan]:
        """Return the facts of the backbone where its weights are here, and the plan with what is known of it."""
        source = question.backbone
        about = source, machine.cache_dir
        try:
            facts = self._backbones(about, lambda: identified_by(source, machine.cache_dir, download=False))
        except WeightsNotHereError as error:
            width = source.width() if isinstance(source, KnownWidth) else None
            return None, replace(told, weights=f"to download from {error}", width=width)
        return facts, replace(told, weights="here", width=facts.embed_dim)

    def _with_scorer(self, question: Question, told: Plan) -> tuple[ScorerFacts | None, Plan]:
        """Return the scorer where its files are here, else the plan with what would be fetched."""

        def find() -> ScorerFacts:
            with no_downloads():
                return facts_of(question.scorer_name, question.scorer)

        try:
            return self._scorers((question.scorer_name, question.scorer), find), told
        except PromptsNotHereError as error:
            return None, _to_fetch(told, error)

    def _with_prompts(self, question: Question, here: _Here, told: Plan) -> tuple[_Written | None, Plan]:
        """Return the prompts where they are here, and the plan with how many they are, or what would be fetched."""
        names, strategy = here.class_names, question.prompts
        if names is None:
            return None, told

        def find() -> _Written:
            with no_downloads():
                prompts = prompts_of(strategy, names)
            texts = [] if prompts.given is not None else prompts.distinct()
            return _Written(prompts, np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts)))

        try:
            written = self._prompts((strategy, names), find)
        except PromptsNotHereError as error:
            return None, _to_fetch(told, error)
        return written, replace(told, num_prompts=written.prompts.num_prompts, texts_to_encode=len(written.texts))

    def _with_images(self, here: _Here, towers: Towers | None, scorer: ScorerFacts | None, told: Plan) -> Plan:
        """Return the plan with the images and views that have no features: all where no features can be looked up."""
        dataset, family = here.dataset, None if scorer is None else scorer.needs.views
        images, views = told.num_images, told.num_images
        if dataset is not None and dataset.features is not None:
            images = views = 0
        elif dataset is not None:
            keys = dataset.image_keys
            images = views = self._missing((dataset.fingerprint,), lambda: len(np.unique(Keys.of(keys).packed, axis=0)))
        if family is not None and views is not None:
            views *= family.count - 1
        if dataset is not None and dataset.features is None and towers is not None:
            stored = towers.images
            images = self._missing((dataset.fingerprint, stored.folder), lambda: len(missing_images(dataset, stored)))
            if family is not None:
                crops = towers.views
                views = self._missing(
                    (dataset.fingerprint, crops.folder, family),
                    lambda: sum(map(len, missing_views(family, dataset.image_keys, crops).values())),
                )
        return _in_gigabytes(replace(told, images_to_encode=images, views_to_encode=None if family is None else views))


def _with_what_is_done(prepared: Prepared, told: Plan) -> Plan:
    """Return the plan of a question of which all is here but maybe features, with what is finished already."""
    prepared = replace(prepared, left_out=left_out_before(prepared))
    told = replace(told, run_key=prepared.key)
    found = None if prepared.machine.rerun == "always" else finished_record(prepared.record_path)
    if found is not None and counts_as_finished(prepared, found) and has_artifacts(found, prepared.machine.results_dir):
        nothing = replace(told, finished=True, images_to_encode=0, texts_to_encode=0)
        return _in_gigabytes(replace(nothing, views_to_encode=None if told.views_to_encode is None else 0))
    # A scorer of single prompts reads their features too, which may have been removed.
    has_texts = not prepared.scorer.needs.prompts or next(prepared.texts.shard_names(), None) is not None
    return replace(told, texts_to_encode=0) if has_texts and class_embeddings_path(prepared).is_file() else told


def _to_fetch(told: Plan, error: PromptsNotHereError) -> Plan:
    """Return the plan with a file that would be fetched, and how large it is."""
    return replace(told, prompts_file=f"to download from {error} ({size_text(size_of_url(str(error)))})")


def _in_gigabytes(told: Plan) -> Plan:
    """Return the plan with what its features take on the disk."""

    def gigabytes(rows: int | None) -> float | None:
        return None if rows is None or told.width is None else round(rows * FLOAT_BYTES * told.width / 1e9, 3)

    return replace(
        told,
        features_gigabytes=gigabytes(told.images_to_encode),
        views_gigabytes=gigabytes(told.views_to_encode),
    )


def _names_here(source: KnownDownload) -> tuple[str, ...] | None:
    """Return the class names of a data set that is not here, where they are."""
    known = on_this_machine(source)
    try:
        return known.class_names() if isinstance(known, KnownClasses) else None
    except DataNotHereError:
        return None  # the names are fetched first
