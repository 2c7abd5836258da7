"""The class embeddings of one question, which are kept, and the weights of its prompts."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float64
from numpy import ndarray

from cupl_bench.embeddings import Aggregation, ClassEmbeddings, build_class_embeddings
from cupl_bench.errors import UnreadableError
from cupl_bench.prompts import Prompts
from cupl_bench.run.device import device_of
from cupl_bench.run.features import text_features
from cupl_bench.run.prepared import Prepared, class_embeddings_path
from cupl_bench.run.writing import write_class_embeddings
from cupl_bench.store import DamagedFileError, is_unreadable, read_arrays, set_aside, tell_unreadable
from cupl_bench.stored_features import ImageFeatures, TextFeatures
from cupl_bench.template_weights import zero_shot_weights

__all__ = ["class_embeddings", "rows_of_class", "weights_by_images", "weights_of"]

log = logging.getLogger(__name__)


def class_embeddings(prepared: Prepared, images: ImageFeatures) -> tuple[ClassEmbeddings, int]:
    """Return the class embeddings, and how many prompts were cut to fit the context.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    prompts, path = prepared.prompts, class_embeddings_path(prepared)
    if prompts.given is not None and prompts.given.is_of_classes and prompts.aggregation == Aggregation.MEAN:
        places = [prompts.given.row_of[text] for (text,) in prompts.texts]  # to the last bit as they were given
        return ClassEmbeddings(aggregation=prompts.aggregation, matrix=prompts.given.rows[places]), 0
    with prepared.stages.stage("class_embeddings"):
        found = _read(path, prompts.aggregation)
    if found is not None:
        log.info("texts     class embeddings reused")
        _warn_truncated(found[1], prompts)
        return found
    texts = text_features(prepared)
    with prepared.stages.stage("class_embeddings"):
        cut = dict(zip(prompts.distinct(), texts.truncated, strict=True))
        rows = rows_of_class(prompts, texts)
        by_images = weights_by_images(prepared, images, texts, rows)
        classes = build_class_embeddings(texts.rows, rows, prompts.aggregation, weights_of(prompts, by_images))
        classes = replace(classes, weights=by_images)
        num_truncated = sum(cut[text] for texts_of_class in prompts.texts for text in texts_of_class)
        if not is_unreadable(path):
            write_class_embeddings(path, classes, {"num_truncated": num_truncated})
    prepared.stages.cached["class_embeddings"] = False
    _warn_truncated(num_truncated, prompts)
    return classes, num_truncated


def rows_of_class(prompts: Prompts, texts: TextFeatures) -> list[list[int]]:
    """Return for each class the rows that its prompts have among the features of texts."""
    row = dict(zip(prompts.distinct(), texts.row_of_text, strict=True))
    return [[row[text] for text in texts_of_class] for texts_of_class in prompts.texts]


def weights_by_images(
    prepared: Prepared, images: ImageFeatures, texts: TextFeatures, rows: Sequence[Sequence[int]]
) -> Float64[ndarray, " t"] | None:
    """Return a weight for each place of the prompts, which are parallel; None where images decide none."""
    if not prepared.prompts.weigh_by_images:
        return None
    templates = [texts.rows[list(places)] for places in zip(*rows, strict=True)]
    weights = zero_shot_weights(images.stored, templates, prepared.load_text().logit_scale, device_of(prepared.machine))
    log.info(
        "prompts   weighed by %s images without their labels: %.2g to %.2g, equal weights were %.2g; most: %r",
        f"{len(images.stored):,}", weights.min(), weights.max(), 1 / len(weights),
        prepared.prompts.texts[0][int(weights.argmax())],
    )  # fmt: skip
    return weights


def weights_of(prompts: Prompts, by_images: Float64[ndarray, " t"] | None) -> Sequence[Sequence[float]] | None:
    """Return the weights of each class's prompts; those that images decide are the same for every class."""
    return prompts.weights if by_images is None else (tuple(by_images.tolist()),) * len(prompts.texts)


def _warn_truncated(num_truncated: int, prompts: Prompts) -> None:
    if num_truncated:
        log.warning(
            "texts     %s of %s prompts are longer than the context and were cut (%.1f%%)",
            f"{num_truncated:,}", f"{prompts.num_prompts:,}", 100 * num_truncated / prompts.num_prompts,
        )  # fmt: skip


def _read(path: Path, aggregation: Aggregation) -> tuple[ClassEmbeddings, int] | None:
    """Return the class embeddings that a file holds; None if there is no usable file."""
    try:
        arrays, facts = read_arrays(path)
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        tell_unreadable(error)
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
    except (KeyError, ValueError) as error:  # ValueError: of an aggregation that was once handed over as text
        set_aside(
            path, f"{path} is not in the form of this version ({error}); files of other versions may have another form"
        )
        return None
