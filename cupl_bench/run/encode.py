"""From a prepared question to one that waits for nothing but its scores."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from cupl_bench.backbone import identified_by
from cupl_bench.dataset import part_of
from cupl_bench.prompts import prompts_of
from cupl_bench.ranks import in_turn
from cupl_bench.records import Record
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.classes import class_embeddings, rows_of_class, weights_by_images, weights_of
from cupl_bench.run.device import device_of
from cupl_bench.run.features import image_features, text_features, view_features
from cupl_bench.run.finished import finished
from cupl_bench.run.prepare import prepare, prepared_of, say_key, say_question, scorer_of
from cupl_bench.run.prepared import Prepared, left_out_of
from cupl_bench.run.recording import failure_recorded
from cupl_bench.run.waiting import Waiting
from cupl_bench.stored_features import ImageFeatures, TextFeatures
from cupl_bench.truth import ClassSets

__all__ = ["Material", "assist", "encode", "encode_part", "gather"]

log = logging.getLogger(__name__)


def encode(prepared: Prepared) -> Record | Waiting:
    """Make the image features and the class embeddings of a question.

    Return its record instead if the question turns out to be answered already: the images that are left out belong
    to the question, and are sometimes known only after all images were tried.

    Raises:
        CuplBenchError: something that the user can correct; a failed record tells it too.
    """
    device_of(prepared.machine)  # one that cannot be used is told before any work
    with prepared.stages.working():
        say_question(prepared)
        with failure_recorded(prepared):
            images = image_features(prepared)
        left_out = left_out_of(prepared.dataset, images)
        is_another = left_out != prepared.left_out
        prepared = replace(prepared, left_out=left_out)
        with failure_recorded(prepared):
            if is_another:
                log.info("%s  is the key of this question without the images that are left out", prepared.key)
                if (found := finished(prepared)) is not None:
                    return found
            classes, num_truncated = class_embeddings(prepared, images)
            texts = text_features(prepared) if prepared.scorer.needs.prompts else None
            views = view_features(prepared, images)
    return Waiting(
        prepared=prepared, images=images, classes=classes, num_truncated=num_truncated, texts=texts, views=views
    )


def assist(question: Question, machine: Machine, bench: Workbench) -> None:
    """Encode a share of the images in another process of torchrun, while rank 0 answers the question.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    prepared = prepare(question, machine, bench)
    if isinstance(prepared, Prepared):
        view_features(prepared, image_features(prepared))


def encode_part(question: Question, machine: Machine, bench: Workbench, part: int, parts: int) -> str:
    """Encode a part of the images, from 1 to ``parts``, and their views, for a later run to reuse; say what was done.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    own = in_turn(lambda: bench.dataset(question.dataset, machine.cache_dir, (part, parts)))
    num_whole = own.num_whole or 0
    if not len(own.labels):
        return f"part {part} of {parts} is empty: {num_whole:,} images"
    prompts = prompts_of(question.prompts, own.class_names)
    prepared = Prepared(
        question=replace(question, skip_broken=True),  # the run that follows says which are broken
        machine=machine,
        bench=bench,
        dataset=own,
        prompts=prompts,
        scorer=scorer_of(question, own, prompts),
        facts=in_turn(lambda: identified_by(question.backbone, machine.cache_dir, download=True)),
    )
    images = image_features(prepared)
    view_features(prepared, images)
    places = part_of((part, parts), num_whole)
    return (
        f"part {part} of {parts}, images {places[0]:,} to {places[-1]:,} of {num_whole:,}: {images.num_encoded:,}"
        f" encoded, {int(images.kept.sum()) - images.num_encoded:,} reused, {int((~images.kept).sum()):,} broken"
    )


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a question is answered from: features, and which rows of the texts belong to which class.

    ``weights``: of each class's prompts, those found from images among them; None where all count the same.
    ``sets``: all classes of each image, where it may be of several.
    """

    prepared: Prepared
    images: ImageFeatures
    labels: Int64[np.ndarray, " k"]
    texts: TextFeatures
    rows_of_class: Sequence[Sequence[int]]
    weights: Sequence[Sequence[float]] | None
    sets: ClassSets | None = None


def gather(question: Question, machine: Machine, bench: Workbench) -> Material:
    """Return the features of a question, read from the stores; encode what they lack.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    prepared = prepared_of(question, machine, bench)
    say_key(prepared)
    images = image_features(prepared)
    prepared = replace(prepared, left_out=left_out_of(prepared.dataset, images))
    texts = text_features(prepared)
    rows = rows_of_class(prepared.prompts, texts)
    return Material(
        prepared=prepared,
        images=images,
        labels=images.of_kept(prepared.dataset.labels),
        texts=texts,
        rows_of_class=rows,
        weights=weights_of(prepared.prompts, weights_by_images(prepared, images, texts, rows)),
        sets=None if prepared.dataset.sets is None else prepared.dataset.sets.taken(images.kept),
    )
