"""What a run would do, before anything is downloaded, loaded or encoded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cupl_bench.backbone import WeightsNotHereError, identified_by
from cupl_bench.dataset import KnownClasses, KnownDownload, on_this_machine
from cupl_bench.dataset.urls import size_of_url, size_text
from cupl_bench.errors import DataNotHereError, PromptsNotHereError
from cupl_bench.prompts import PromptStrategy, prompts_of
from cupl_bench.prompts.files import no_downloads
from cupl_bench.records import finished_record
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.finished import counts_as_finished
from cupl_bench.run.prepare import check_metric, scorer_of, with_width
from cupl_bench.run.prepared import Prepared, class_embeddings_path, left_out_before
from cupl_bench.stored_features import missing_images, missing_views

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do; numbers are None where they cannot be known without a download.

    ``prompts_file``: whether the file of prompts is here, or from where it would be fetched.
    ``features_gigabytes``: what the features of the images that are to be encoded take on the disk.
    ``views_to_encode``: crops of the images, for a scorer that looks at them; ``views_gigabytes``: what their features
    take on the disk.
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
    weights: str = "not looked for"
    prompts_file: str = "here"
    run_key: str | None = None
    finished: bool = False


def plan(question: Question, machine: Machine, bench: Workbench) -> Plan:
    """Return what `run` would reuse and compute for a question; load no model and download nothing.

    ``texts_to_encode`` is an upper bound: only the tokenizer knows which texts share their tokens.
    """
    source = question.dataset
    try:
        dataset = bench.dataset(on_this_machine(source), machine.cache_dir)
    except DataNotHereError:
        if not isinstance(source, KnownDownload):
            raise
        # Prompts that cannot be had at all are reported before the images.
        return Plan(dataset_here=source.not_here(), prompts_file=_file_for(question) or "here")
    origin = (dataset.origin or {}).get("source", "here")
    told = Plan(
        dataset_here=f"{origin}, split {dataset.split}",
        num_images=len(dataset.labels),
        num_classes=len(dataset.class_names),
    )
    if (file := _file_not_here(question.prompts, dataset.class_names)) is not None:
        return replace(told, prompts_file=file)
    check_metric(question, dataset)
    prompts = prompts_of(question.prompts, dataset.class_names)
    scorer = scorer_of(question, dataset, prompts)
    unknown = replace(
        told,
        num_prompts=prompts.num_prompts,
        texts_to_encode=0 if prompts.given is not None else len(prompts.distinct()),
        weights="here",
    )
    try:
        facts = identified_by(question.backbone, machine.cache_dir, download=False)
    except WeightsNotHereError as error:
        return replace(unknown, weights=f"to download from {error}")
    facts = with_width(dataset, prompts, facts, question.backbone_name)
    prepared = Prepared(
        question=question, machine=machine, bench=bench, dataset=dataset, prompts=prompts, facts=facts, scorer=scorer
    )
    prepared = replace(prepared, left_out=left_out_before(prepared))
    found = finished_record(prepared.record_path)
    if found is not None and counts_as_finished(prepared, found):
        return replace(unknown, run_key=prepared.key, finished=True, images_to_encode=0, texts_to_encode=0)
    to_encode = 0 if dataset.features is not None else len(missing_images(dataset, prepared.images))
    ready = class_embeddings_path(prepared).is_file()
    texts = 0 if ready else unknown.texts_to_encode
    family, views = prepared.scorer.needs.views, None
    if family is not None:
        missing = missing_views(family, dataset.image_keys, prepared.views)
        views = sum(len(numbers) for numbers in missing.values())
    return replace(
        unknown,
        run_key=prepared.key,
        images_to_encode=to_encode,
        features_gigabytes=round(to_encode * 4 * (facts.embed_dim or 0) / 1e9, 3),
        views_to_encode=views,
        views_gigabytes=None if views is None else round(views * 4 * (facts.embed_dim or 0) / 1e9, 3),
        texts_to_encode=texts,
    )


def _file_for(question: Question) -> str | None:
    """Return from where the prompts would be fetched, for a data set that is not here; None where all is known."""
    source = on_this_machine(question.dataset)
    if not isinstance(source, KnownClasses):
        return None
    try:
        names = source.class_names()
    except DataNotHereError:
        return None  # the names are fetched first
    return _file_not_here(question.prompts, names)


def _file_not_here(strategy: PromptStrategy, class_names: Sequence[str]) -> str | None:
    """Return from where the prompts would be fetched, and how large they are; None where all is here."""
    try:
        with no_downloads():
            prompts_of(strategy, class_names)
    except PromptsNotHereError as error:
        return f"to download from {error} ({size_text(size_of_url(str(error)))})"
    return None
