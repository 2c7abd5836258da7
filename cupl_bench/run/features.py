"""The features of one question, read from the stores, and encoded where they lack any."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from cupl_bench.backbone import Backbone
from cupl_bench.features import encode_images, encode_texts
from cupl_bench.identity import PROTOCOL_VERSION, content_key
from cupl_bench.pixel_store import PixelStore
from cupl_bench.prompts import Prompts
from cupl_bench.run.device import batch_size_of, num_workers_of
from cupl_bench.run.prepared import Prepared
from cupl_bench.run.towers import Towers
from cupl_bench.stored_features import ImageFeatures, TextFeatures, Views
from cupl_bench.view_features import encode_views

__all__ = ["features_of_prompts", "features_of_texts", "image_features", "text_features", "view_features"]

log = logging.getLogger(__name__)


def image_features(prepared: Prepared) -> ImageFeatures:
    """Return the features of all images; every process of torchrun calls it and encodes its share.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    if (given := prepared.dataset.features) is not None:
        log.info("images    %s given as features, nothing to encode", f"{len(given):,}")
        return ImageFeatures(stored=given, kept=np.ones(len(given), dtype=bool), num_encoded=0)

    def pixels(backbone: Backbone) -> PixelStore | None:
        return _pixels(prepared, backbone)

    def encode() -> ImageFeatures:
        return encode_images(
            prepared.dataset,
            prepared.load,
            prepared.images,
            pixels=pixels,
            decode_by=prepared.question.decode,
            batch_size=batch_size_of(prepared.machine),
            num_workers=num_workers_of(prepared.machine),
            skip_broken=prepared.question.skip_broken,
        )

    stages = prepared.stages
    with stages.stage("image_features"):
        images = prepared.bench.images(prepared.dataset, prepared.images, prepared.question.skip_broken, encode)
    stages.cached["image_features"] = images.num_encoded == 0
    reused = len(images.stored) - images.num_encoded
    seconds = stages.seconds["image_features"]
    log.info("images    %s reused, %s encoded (%.1f s)", f"{reused:,}", f"{images.num_encoded:,}", seconds)
    return images


def view_features(prepared: Prepared, images: ImageFeatures) -> Views | None:
    """Return the features of the views that the scorer asks for; None where it asks for none.

    Every process of torchrun calls it and encodes its share.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    family = prepared.scorer.needs.views
    if family is None:
        return None
    stages = prepared.stages
    with stages.stage("image_features"):
        views, num_encoded = encode_views(
            family,
            prepared.dataset,
            images,
            prepared.load,
            prepared.views,
            batch_size=batch_size_of(prepared.machine),
            num_workers=num_workers_of(prepared.machine),
        )
    stages.cached["image_features"] = stages.cached["image_features"] and num_encoded == 0
    number = len(views) * (family.count - 1)
    log.info("views     %s of each image: %s reused, %s encoded", family.count, f"{number - num_encoded:,}",
             f"{num_encoded:,}")  # fmt: skip
    return views


def text_features(prepared: Prepared) -> TextFeatures:
    """Return the features of the distinct prompts.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    stages = prepared.stages
    if prepared.prompts.given is not None:
        log.info("texts     %s given as features, nothing to encode", f"{len(prepared.prompts.distinct()):,}")
        return features_of_prompts(prepared, prepared.prompts)
    with stages.stage("text_features"):
        features = features_of_prompts(prepared, prepared.prompts)
    stages.cached["text_features"] = features.num_encoded == 0
    log.info(
        "texts     %s distinct: %s reused, %s encoded%s (%.1f s)",
        f"{len(features.rows):,}", f"{len(features.rows) - features.num_encoded:,}", f"{features.num_encoded:,}",
        f" by {features.note}" if features.num_encoded else "", stages.seconds["text_features"],
    )  # fmt: skip
    return features


def features_of_prompts(towers: Towers, prompts: Prompts) -> TextFeatures:
    """Return the features of the distinct prompts: given ones as they are, others from the store or the text tower.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    texts = prompts.distinct()
    if (given := prompts.given) is not None:
        return TextFeatures(
            rows=given.rows,
            row_of_text=[given.row_of[text] for text in texts],
            truncated=[False] * len(texts),
            num_encoded=0,
            note=None,
        )
    return encode_texts(
        texts,
        towers.load_text,
        towers.texts,
        tokenizer=towers.facts.tokenizer,
        batch_size=batch_size_of(towers.machine),
    )


def features_of_texts(prepared: Prepared, texts: Sequence[str]) -> Float32[np.ndarray, "t d"]:
    """Return the unit features of texts that belong to no prompts, in order, from the store or the text tower.

    Raises:
        CuplBenchError: something that the user can correct.
    """
    distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    found = encode_texts(
        list(distinct),
        prepared.load_text,
        prepared.texts,
        tokenizer=prepared.facts.tokenizer,
        batch_size=batch_size_of(prepared.machine),
    )
    if num_cut := sum(found.truncated):
        log.warning(
            "texts     %s of %s texts of scorer=%s are longer than the context and were cut",
            f"{num_cut:,}", f"{len(distinct):,}", prepared.scorer.name,
        )  # fmt: skip
    return found.rows[[found.row_of_text[distinct[text]] for text in texts]]


def _pixels(prepared: Prepared, backbone: Backbone) -> PixelStore | None:
    """Return the store of the pixels that this backbone reads, if another may want them."""
    if not prepared.bench.several_backbones or backbone.transform.table is None:
        return None
    facts = {**backbone.transform.geometry, "decode": prepared.question.decode, "protocol_version": PROTOCOL_VERSION}
    return PixelStore(
        folder=prepared.machine.cache_dir / "pixels" / content_key(facts)[:32],
        facts=facts,
        limit_bytes=prepared.machine.cache_limit_gb * 1e9,
    )
