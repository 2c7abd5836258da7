"""Models of open_clip with their weights: built, filled, and ready to encode."""

import copy
import inspect
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.open_clip_parts import ModelFiles, open_clip_tokenizer, tokenizer_key
from cupl_bench.backbone.pixels import normalise, transform_of_open_clip
from cupl_bench.backbone.products import linear_weights, quick_products
from cupl_bench.backbone.text import PaddedTextEncoder, choose_text_encoder
from cupl_bench.backbone.weight_files import unchanged
from cupl_bench.backbone.weights import choose_weights, read_weights
from cupl_bench.errors import BackboneError
from cupl_bench.identity import content_key

__all__ = ["load", "load_text"]

log = logging.getLogger(__name__)

DRAWS = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    *(getattr(torch.nn.init, name) for name in ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_")),
}
"""The functions that fill a parameter with random numbers."""

KEEP_THE_SHAPE = {torch.Tensor.mul, torch.Tensor.fill_, torch.Tensor.triu_}
"""What else is done to parameters while a model is built. To learn what it makes of a tensor without content, PyTorch
would load its compiler, which takes a second."""

NOT_OF_TEXTS = ("visual", "text_decoder")
"""The parts of a model that texts do not need."""


def load(files: ModelFiles, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
    """Return the model, ready to encode.

    Raises:
        BackboneError: it cannot be built, is not the one that was identified, or open_clip warns of it.
    """
    from open_clip.model import get_input_dtype

    model, texts = _load(files, facts, device, precision, _build)
    transform = transform_of_open_clip(facts.transform)
    dtype = get_input_dtype(precision) or torch.float32
    table = None if transform.table is None else transform.table.to(device, dtype)

    def encode_images(batch: torch.Tensor) -> torch.Tensor:
        here = batch.to(device, non_blocking=True)
        with torch.inference_mode(), quick_products(linear_weights(model.visual)):
            features: torch.Tensor = model.encode_image(
                here.to(dtype)
                if table is None or here.dtype.is_floating_point
                else normalise(here, table, transform.affine)
            )
        return features

    return Backbone(**vars(texts), device=device, transform=transform, encode_images=encode_images)


def load_text(files: ModelFiles, facts: BackboneFacts, device: torch.device, precision: Precision) -> TextTower:
    """Return the text tower alone.

    Raises:
        BackboneError: as `load`.
    """
    return _load(files, facts, device, precision, _build_for_texts)[1]


def _load(
    files: ModelFiles, facts: BackboneFacts, device: torch.device, precision: Precision, build: Callable[..., Any]
) -> tuple[Any, TextTower]:
    """Return a model with its weights, and its text tower."""
    settings: Mapping[str, Any] = files.config["text_cfg"]
    with _warnings_are_errors(facts.architecture):
        try:
            model = build(files.config, files.tower, dict(facts.transform), precision, device)
            tokenizer = open_clip_tokenizer(settings, files.tokenizer)
            with unchanged([files.weights], facts.weights_sha256):
                _fill(model, files.weights, files.state_dict_key, facts.architecture)
        except (BackboneError, MemoryError):
            raise
        except Exception as error:
            raise BackboneError(_explain(error, files.weights, facts.architecture)) from error
    if tokenizer_key(settings, files.tokenizer) != facts.tokenizer:
        raise BackboneError(f"The tokenizer in {files.tokenizer} changed while the model was loaded. Run again.")
    # Parameters are not frozen (nothing here keeps a gradient): where they are, torch 2.15 sends the transposed
    # input of open_clip's attention, in bf16 on a CPU, to a path ten times slower, for the same bits.
    model.eval()
    _check_built_activation(model, facts)

    def encode_text(rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), quick_products(linear_weights(model, NOT_OF_TEXTS)):
            features: torch.Tensor = model.encode_text(rows.to(device))
        return features

    context_length = int(getattr(tokenizer, "context_length", None) or model.context_length)
    padded = PaddedTextEncoder(
        tokenizer=lambda texts: tokenizer(list(texts)),
        is_cut=lambda texts: _cut(tokenizer, texts, context_length),
        encode_text=encode_text,
        device=device,
    )
    bpe = FastBpe.from_tokenizer(tokenizer)
    bias = getattr(model, "logit_bias", None)
    return model, TextTower(
        facts=facts,
        text=choose_text_encoder(model, padded, bpe, context_length, pad_id=0),
        logit_scale=float(model.logit_scale.detach().exp()),
        logit_bias=None if bias is None else float(bias.detach()),
    )


def _fill(model: Any, weights: Path, state_dict_key: str | None, architecture: str) -> None:
    """Give the model its weights, all of them."""
    import open_clip

    if weights.suffix in (".npz", ".npy"):  # of big_vision
        open_clip.factory.load_checkpoint(model, str(weights))
        return
    wanted = [*model.state_dict()]

    def convert(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = open_clip.factory.convert_state_dict(model, given)
        if "positional_embedding" in found and not hasattr(model, "positional_embedding"):
            found = open_clip.factory.convert_to_custom_text_state_dict(found)
        for name in ("logit_scale", "logit_bias"):  # of one number, with an axis or without
            if name in found and name in wanted and found[name].numel() == 1:
                found[name] = found[name].reshape(getattr(model, name).shape)
        if "logit_bias" in wanted and "logit_scale" in found:  # it moves no answer
            found.setdefault("logit_bias", torch.zeros_like(found["logit_scale"]))
        return {name: rows for name, rows in found.items() if name in wanted or not name.endswith("position_ids")}

    found = choose_weights(read_weights(weights), state_dict_key, wanted, convert, weights, architecture)
    _check_positions(model, found, weights, architecture)
    own = model.state_dict()
    # What has no memory of its own is not read: files are mapped into memory, and read where they are looked at.
    found = {name: rows.to("meta") if own[name].is_meta else rows for name, rows in found.items()}
    open_clip.factory.resize_pos_embed(found, model)
    model.load_state_dict(found)


def _build(
    config: Mapping[str, Any],
    tower: Path | None,
    transform: Mapping[str, Any],
    precision: Precision,
    device: torch.device,
) -> Any:
    """Return a model as open_clip builds it, without its weights."""
    import open_clip

    with _registered(config, tower) as name, _NothingDrawn():
        return open_clip.create_model(
            name, precision=precision, device=device, force_preprocess_cfg=dict(transform), pretrained_text=False
        )


def _build_for_texts(
    config: Mapping[str, Any],
    tower: Path | None,
    transform: Mapping[str, Any],
    precision: Precision,
    device: torch.device,
) -> Any:
    """Return a model of which only what texts need takes memory; the whole where it cannot be divided.

    The rest is there without its content, so that a file of weights is held against all names and shapes.
    """
    try:
        with torch.device("meta"):
            whole = _build(config, tower, transform, precision, torch.device("meta"))
    except (NotImplementedError, RuntimeError):  # an image tower that computes while it is built
        return _build(config, tower, transform, precision, device)
    smallest: dict[str, Any] = {"image_size": 8, "patch_size": 8, "layers": 1, "width": 64}
    if "timm_model_name" in config["vision_cfg"]:
        smallest["timm_model_name"] = None  # by this key open_clip decides how it casts the text tower too
    model = _build({**config, "vision_cfg": smallest}, tower, transform, precision, device)
    for part in NOT_OF_TEXTS:
        if hasattr(whole, part):
            setattr(model, part, getattr(whole, part))
    return model


class _NothingDrawn(TorchFunctionMode):
    """Leaves the memory of parameters as it is where they would be drawn at random.

    All of them are overwritten: open_clip refuses weights that lack a parameter. Drawing takes longer than reading.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in DRAWS:
            return args[0] if args else given["tensor"]
        if func is torch.randn:
            return torch.empty(*args, **given)
        if func in KEEP_THE_SHAPE and args[0].is_meta and all(isinstance(one, int | float) for one in args[1:]):
            return args[0]
        return func(*args, **given)


def _check_built_activation(model: torch.nn.Module, facts: BackboneFacts) -> None:
    from open_clip.transformer import QuickGELU

    found = any(isinstance(module, QuickGELU) for module in model.modules())
    if found != (facts.activation == "quick_gelu"):
        raise BackboneError(
            f"{facts.architecture} was built {'with' if found else 'without'} QuickGELU, but its configuration says"
            f" {facts.activation}. This open_clip version reads the configuration in another way; take another."
        )


@contextmanager
def _registered(config: Mapping[str, Any], tower: Path | None) -> Iterator[str]:
    """Give a name, made from its content, under which open_clip builds ``config`` inside the block."""
    import open_clip

    config = copy.deepcopy(dict(config))
    if tower is not None:
        config["text_cfg"]["hf_model_name"] = str(tower)
    name = f"local-{content_key(config)[:16]}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(Path(folder, f"{name}.json"))
        yield name


def _check_positions(model: Any, found: Mapping[str, torch.Tensor], weights: Path, architecture: str) -> None:
    """Refuse weights of another context length, and say where places of an image are interpolated.

    open_clip stretches the places of a text to any length, after which they mean nothing.
    """
    for name in ("positional_embedding", "text.positional_embedding"):
        own = dict(model.named_parameters()).get(name)
        if own is not None and name in found and len(found[name]) != len(own):
            raise BackboneError(
                f"{weights} reads texts of {len(found[name])} tokens, and {architecture} is built for {len(own)}: the"
                f' places of tokens would be interpolated. Set "context_length": {len(found[name])} in its text_cfg.'
            )
    name = "visual.positional_embedding"
    own = dict(model.named_parameters()).get(name)
    if own is not None and name in found and len(found[name]) != len(own):
        log.warning(
            "%s was trained for images of %d places, and %s reads %d: they are interpolated, which is another model"
            " than the one that was trained.",
            weights, len(found[name]), architecture, len(own),
        )  # fmt: skip


@contextmanager
def _warnings_are_errors(architecture: str) -> Iterator[None]:
    """Raise what open_clip warns of, by `warnings` or by `logging`, while a model is built."""
    import open_clip

    said: list[str] = []
    package = str(Path(inspect.getfile(open_clip)).parent)

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING and record.pathname.startswith(package):
                said.append(record.getMessage())

    def is_news(record: logging.LogRecord) -> bool:  # weights are read here, once the model is built
        return not (record.pathname.startswith(package) and "No pretrained weights loaded" in record.getMessage())

    listener = Listener()
    logging.getLogger().addFilter(is_news)
    logging.getLogger().addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logging.getLogger().removeHandler(listener)
        logging.getLogger().removeFilter(is_news)
    said += [str(warning.message) for warning in caught if warning.filename.startswith(package)]
    if said:
        raise BackboneError(f"open_clip warns about {architecture}: {' '.join(said)} Here that is an error.")


def _cut(tokenizer: Any, texts: Sequence[str], context_length: int) -> list[bool]:
    """Return which texts have more tokens than the context holds."""
    import open_clip

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        return [len(tokenizer.encode(text)) + 2 > context_length for text in texts]
    whole = tokenizer.tokenizer([tokenizer.clean_fn(text) for text in texts])["input_ids"]
    return [len(ids) > context_length for ids in whole]


def _explain(error: Exception, weights: Path, architecture: str) -> str:
    text = str(error).strip()
    short = " ".join(text.split())[:300]
    if "size mismatch" in text or "Missing key" in text or "Unexpected key" in text:
        return (
            f"{weights} does not hold the weights of {architecture}: {short} ... Take the architecture that the weights"
            " were trained with."
        )
    if "weights_only" in text.lower() or "Weights only" in text or "TorchScript" in text:
        return (
            f"{weights} holds no weights, or weights that can only be read by running code inside the file, which is"
            " never done here. If it is a whole download, convert it to safetensors on a machine that trusts it."
        )
    if (
        "SafetensorError" in type(error).__name__
        or "header" in text.lower()
        or "magic number" in text
        or "pickle" in text.lower()
    ):
        return f"{weights} holds no weights that can be read ({short}). Is the download complete?"
    if any(word in text for word in ("huggingface", "offline", "connection", "resolve")):
        return f"{architecture} needs files that cannot be had from the hub: {short}"
    return f"{architecture} with {weights} cannot be loaded: {type(error).__name__}: {short}"
