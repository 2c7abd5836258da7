"""Models of `transformers` with their weights, ready to encode."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower, TokenIds
from cupl_bench.backbone.pixels import ImageTransform, normalise, split_transform
from cupl_bench.backbone.products import linear_weights, quick_products
from cupl_bench.backbone.text import PaddedTextEncoder, choose_text_encoder
from cupl_bench.backbone.transformers_parts import ModelFiles, padded_rows
from cupl_bench.backbone.weight_files import unchanged
from cupl_bench.errors import BackboneError, first

__all__ = ["load", "load_text"]

NOT_OF_TEXTS, NOT_OF_IMAGES = ("vision_model", "visual_projection"), ("text_model", "text_projection")
"""The parts of a model that one tower does not need."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load(files: ModelFiles, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
    """Return the model, ready to encode.

    Raises:
        BackboneError: it cannot be loaded, or is not the one that was identified.
    """
    with _explained(files.name):
        processor = _pillow_processor(files.folder)
    model, texts = _load(files, facts, device, precision, _read)
    transform = _transform(processor, facts.transform)
    table = None if transform.table is None else transform.table.to(device, DTYPES[precision])

    def encode_images(batch: torch.Tensor) -> torch.Tensor:
        here = batch.to(device, non_blocking=True)
        with torch.inference_mode(), quick_products(linear_weights(model, NOT_OF_IMAGES)):
            floats = (
                here.to(DTYPES[precision]) if table is None or here.dtype.is_floating_point else normalise(here, table)
            )
            return _features(model.get_image_features(pixel_values=floats))

    return Backbone(**vars(texts), device=device, transform=transform, encode_images=encode_images)


def load_text(files: ModelFiles, facts: BackboneFacts, device: torch.device, precision: Precision) -> TextTower:
    """Return the text tower alone.

    Raises:
        BackboneError: as `load`.
    """
    return _load(files, facts, device, precision, _read_for_texts)[1]


def _load(
    files: ModelFiles, facts: BackboneFacts, device: torch.device, precision: Precision, read: Callable[..., Any]
) -> tuple[Any, TextTower]:
    """Return a model with its weights, and its text tower."""
    import transformers

    folder, weights = files.folder, files.weights
    options = {"dtype": DTYPES[precision], "use_safetensors": weights[0].suffix == ".safetensors"}
    with _explained(files.name):
        with unchanged(weights, facts.weights_sha256):
            model, report = read(folder, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if files.state() != (facts.model, facts.transform, facts.tokenizer):
        raise BackboneError(f"{files.name} changed while the model was loaded. Run again.")
    more = _without_place(report)
    if wrong := sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])}):
        raise BackboneError(
            f"{files.name}: {len(wrong)} weights are missing or of another shape, first: {first(wrong)}."
            + (f" In their place: {first(more, 3)}." if more else "")
        )
    if more:
        raise BackboneError(
            f"{files.name}: {len(more)} weights have no place in a {facts.architecture} model, first: {first(more)}."
            " They would not be read, and the numbers be those of another model. Save the whole model, adapters"
            " merged (peft: model.merge_and_unload())."
        )
    model.eval().requires_grad_(requires_grad=False).to(device)
    text_config = model.config.text_config
    context_length = int(text_config.max_position_embeddings)

    def encode_text(rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), quick_products(linear_weights(model, NOT_OF_TEXTS)):
            return _features(model.get_text_features(input_ids=rows.to(device)))

    def lengths(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    def unpadded(texts: Sequence[str]) -> tuple[list[TokenIds], list[bool]]:
        cut = tokenizer(list(texts), max_length=context_length, truncation=True)["input_ids"]
        return [tuple(ids) for ids in cut], [length > context_length for length in lengths(texts)]

    padded = PaddedTextEncoder(
        tokenizer=padded_rows(tokenizer, context_length),
        is_cut=lambda texts: [length > context_length for length in lengths(texts)],
        encode_text=encode_text,
        device=device,
    )
    bias = getattr(model, "logit_bias", None)
    return model, TextTower(
        facts=facts,
        text=choose_text_encoder(model, padded, unpadded, context_length, pad_id=tokenizer.pad_token_id or 0),
        logit_scale=float(model.logit_scale.exp()),
        logit_bias=None if bias is None else float(bias),
    )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Report whatever goes wrong inside the block as a fault of the folder."""
    try:
        yield
    except (BackboneError, MemoryError):
        raise
    except Exception as error:
        raise BackboneError(f"{name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error


def _read(folder: Path, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return a model with its weights, and which of them were missing or had no place."""
    import transformers

    model, report = transformers.AutoModel.from_pretrained(
        folder, output_loading_info=True, local_files_only=True, **options
    )
    return model, report


def _read_for_texts(folder: Path, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return a model without its image tower, as `_read` does; the whole where the weights are not those that it needs.

    The layers of the image tower are not built, and have to be all that has no place.
    """
    import transformers

    builder: Any = transformers.AutoModel
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        wanted = builder.from_config(config).state_dict().keys()
    config.vision_config.num_hidden_layers = 0
    log = logging.getLogger("transformers.modeling_utils")
    level = log.level
    log.setLevel(logging.ERROR)  # it would warn of the layers that are not built
    try:
        model, report = _read(folder, config=config, **options)
    finally:
        log.setLevel(level)
    if (
        report["missing_keys"]
        or report["mismatched_keys"]
        or _without_place(report) != sorted(wanted - model.state_dict().keys())
    ):
        return _read(folder, **options)
    for part in NOT_OF_TEXTS:
        if hasattr(model, part):
            delattr(model, part)
    return model, {**report, "unexpected_keys": ()}


def _without_place(report: Mapping[str, Any]) -> list[str]:
    """Return the names of weights that a model has no place for; places of tokens are counted and not learned."""
    return sorted(str(key) for key in report["unexpected_keys"] if not str(key).endswith("position_ids"))


@dataclass(frozen=True)
class Processed:
    """The pixels that an image processor makes of an image, with some of its steps left out; for worker processes."""

    processor: Any
    without: tuple[str, ...] = ()

    def __call__(self, image: Image.Image) -> torch.Tensor:
        found: torch.Tensor = self.processor(
            images=image, return_tensors="pt", input_data_format="channels_last", **dict.fromkeys(self.without, False)
        )["pixel_values"][0]
        return found


def _transform(processor: Any, facts: Mapping[str, object]) -> ImageTransform:
    """Return the processor in two parts: what it does to pixels it says by leaving out the other part."""
    pointwise = ("do_rescale", "do_normalize")
    names = ("image_mean", "image_std", "rescale_factor", *pointwise)
    return split_transform(
        Processed(processor),
        Processed(processor, pointwise),
        Processed(processor, tuple(name for name in ("do_resize", "do_center_crop") if name in processor.to_dict())),
        None,
        {"source": "transformers", **{name: facts[name] for name in facts if name not in names}},
    )


def _features(output: Any) -> torch.Tensor:
    """Return the projected features: a tensor up to transformers 4, a field of the output since 5."""
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


def _pillow_processor(folder: Path) -> Any:
    """Return the image processor that resizes with Pillow, as the models were trained and published with."""
    import transformers

    choice: dict[str, object] = (
        {"backend": "pil"} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": False}
    )
    loader: Any = transformers.AutoImageProcessor
    return loader.from_pretrained(folder, local_files_only=True, **choice)
