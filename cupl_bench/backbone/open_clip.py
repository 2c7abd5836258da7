"""Any model of open_clip: built-in architectures and local config files, pretrained tags and local weights."""

import hashlib
import inspect
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch.overrides import TorchFunctionMode

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, WeightsNotHereError, check_weights
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.open_clip_tables import architectures, model_config, pretrained_table
from cupl_bench.backbone.pixels import normalise, transform_of_open_clip
from cupl_bench.backbone.text import PaddedTextEncoder, choose_text_encoder
from cupl_bench.dataset.digests import file_digest
from cupl_bench.errors import BackboneError, first, nearest
from cupl_bench.identity import content_key

__all__ = ["OpenClipSource"]

DEFAULT_TRANSFORM: dict[str, Any] = {
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
"""What open_clip's `PreprocessCfg` takes where nothing is said: OpenAI's transform."""
DRAWS = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    *(getattr(torch.nn.init, name) for name in ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_")),
}
"""What fills a parameter with random numbers."""
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class OpenClipSource:
    """A model of open_clip.

    ``architecture``: a name that open_clip knows, or the path to a config JSON: either a bare model config or the
    form of hub repositories with `model_cfg` and `preprocess_cfg`. A relative `bpe_path` in its tokenizer settings is
    taken from the folder of the JSON.
    ``pretrained``: a tag that open_clip knows, or the path to weights, `.safetensors` or (through `weights_only`)
    any other ending.
    ``transform_of``: the tag whose image transform local weights take, where the tags of an architecture differ.

    Whatever open_clip only warns of is an error here: above all an activation (QuickGELU) that does not match.
    """

    architecture: str
    pretrained: str
    transform_of: str | None

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        # Without open_clip itself, whose import takes seconds: stored features need none of its models.
        config, preprocess = self._config()
        tag = self._tag()
        if tag is not None:
            trained = pretrained_table().get_pretrained_cfg(self.architecture, tag).get("quick_gelu", False)
            self._check_activation(config, f"The weights {tag}", trained=bool(trained))
        weights = self._weights(tag, download=download)
        digest = file_digest(weights, cache_dir)
        transform = self._transform(config, preprocess, tag)
        size = transform["size"]
        return BackboneFacts(
            architecture=self.architecture if not self.architecture.endswith(".json") else Path(self.architecture).name,
            pretrained=self.pretrained if tag is not None else weights.name,
            weights_sha256=digest,
            activation=_activation(config),
            image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
            embed_dim=int(config["embed_dim"]),
            transform=transform,
            model=config,
            tokenizer=self._tokenizer_key(config),
        )

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        import open_clip
        from open_clip.model import get_input_dtype

        weights = self._weights(self._tag(), download=True)
        config, _ = self._config()
        known = _quick_gelu_of_digests().get(facts.weights_sha256[:8])
        if known is not None:
            self._check_activation(config, f"{self.pretrained} (known by its sha256)", trained=known)
        with _registered(config, self.architecture) as name, _warnings_are_errors(facts.architecture):
            try:
                with _NothingDrawn():
                    model = open_clip.create_model(
                        name,
                        pretrained=str(weights),
                        precision=precision,
                        device=device,
                        force_preprocess_cfg=dict(facts.transform),
                        pretrained_text=False,
                    )
                tokenizer = open_clip.get_tokenizer(name)
            except BackboneError:
                raise
            except Exception as error:
                raise BackboneError(_explain(error, weights, facts.architecture)) from error
        # Parameters are not frozen (nothing here keeps a gradient): where they are, torch 2.15 sends the transposed
        # input of open_clip's attention, in bf16 on a CPU, to a path ten times slower, for the same bits.
        model.eval()
        check_weights([weights], facts)
        _check_built_activation(model, facts)
        transform = transform_of_open_clip(facts.transform)
        dtype = get_input_dtype(precision) or torch.float32
        table = None if transform.table is None else transform.table.to(device, dtype)

        def encode_images(batch: torch.Tensor) -> torch.Tensor:
            here = batch.to(device, non_blocking=True)
            with torch.inference_mode():
                features: torch.Tensor = model.encode_image(
                    here.to(dtype)
                    if table is None or here.dtype.is_floating_point
                    else normalise(here, table, transform.affine)
                )
            return features

        def encode_text(rows: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
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
        return Backbone(
            facts=facts,
            device=device,
            transform=transform,
            encode_images=encode_images,
            text=choose_text_encoder(model, padded, bpe, context_length, pad_id=0),
            logit_scale=float(model.logit_scale.detach().exp()),
            logit_bias=None if bias is None else float(bias.detach()),
        )

    def _config(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The model config, and the image transform that came with it (empty where none did)."""
        path = Path(self.architecture)
        if path.suffix != ".json":
            config = model_config(self.architecture)
            if config is None:
                raise BackboneError(
                    f"open_clip has no architecture {self.architecture!r}."
                    f"{nearest(self.architecture, architectures())}"
                    " Give one of open_clip.list_models(), or the path to a config that ends in .json."
                )
            return config, {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BackboneError(
                f"{path} cannot be read ({error.strerror}); it should hold an open_clip config."
            ) from error
        except ValueError as error:
            raise BackboneError(f"{path} is not JSON ({error}); it should hold an open_clip config.") from error
        config = content.get("model_cfg", content) if isinstance(content, dict) else {}
        if lost := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]:
            raise BackboneError(f"{path} is no open_clip config: it lacks {first(lost)}.")
        return config, content.get("preprocess_cfg", {})

    def _tag(self) -> str | None:
        """``pretrained`` where it is a tag of the architecture."""
        if self.architecture.endswith(".json"):
            return None
        tags = pretrained_table().list_pretrained_tags_by_model(self.architecture)
        return self.pretrained if self.pretrained in tags else None

    def _weights(self, tag: str | None, *, download: bool) -> Path:
        if tag is None and Path(self.pretrained).is_file():
            return Path(self.pretrained)
        table = pretrained_table()
        if tag is None:
            tags = table.list_pretrained_tags_by_model(self.architecture)
            offer = f" Its tags: {', '.join(tags)}." if tags else " This architecture has no tags: give a path."
            raise BackboneError(
                f"backbone.pretrained={self.pretrained} is neither a file nor a tag of {self.architecture}."
                f"{nearest(self.pretrained, tags)}{offer}"
            )
        config = table.get_pretrained_cfg(self.architecture, tag)
        if not download:
            return _cached(config)
        try:
            return Path(table.download_pretrained(config))
        except Exception as error:
            source = config.get("hf_hub") or config.get("url")
            raise BackboneError(
                f"The weights {tag} of {self.architecture} cannot be had from {source} ({error}). Without a network,"
                " download them elsewhere and give their path in backbone.pretrained."
            ) from error

    def _check_activation(self, config: Mapping[str, Any], what: str, *, trained: bool) -> None:
        built = bool(config.get("quick_gelu", False))
        if trained == built:
            return
        plain = self.architecture.removesuffix("-quickgelu")
        raise BackboneError(
            f"{what} were trained with {'QuickGELU' if trained else 'GELU'}, but {self.architecture} is built with"
            f" {'QuickGELU' if built else 'GELU'}: accuracy would silently drop. Take"
            f" backbone.architecture={f'{plain}-quickgelu' if trained else plain}."
        )

    def _transform(self, config: Mapping[str, Any], given: Mapping[str, Any], tag: str | None) -> dict[str, Any]:
        """The image transform: of the tag, of the config file, or for local weights the one that all tags share.

        open_clip itself gives local weights OpenAI's mean and deviation whatever the architecture, which is wrong for
        SigLIP and its kin.
        """
        size = config["vision_cfg"].get("image_size", 224)
        known = {key: value for key, value in given.items() if key in DEFAULT_TRANSFORM}
        if known or self.architecture.endswith(".json"):
            return {**DEFAULT_TRANSFORM, **known, "size": size}
        table = pretrained_table()
        if (source := tag or self.transform_of) is not None:
            tags = table.list_pretrained_tags_by_model(self.architecture)
            if source not in tags:
                raise BackboneError(
                    f"backbone.transform_of={source} is no tag of {self.architecture}.{nearest(source, tags)}"
                    f" Its tags: {', '.join(tags) or 'none'}."
                )
            known = table.get_pretrained_cfg(self.architecture, source)
        else:
            tags = table.list_pretrained_tags_by_model(self.architecture)
            found = [_only_transform(table.get_pretrained_cfg(self.architecture, name)) for name in tags]
            if found and all(other == found[0] for other in found):
                known = found[0]
            elif found:
                logging.getLogger(__name__).warning(
                    "The tags of %s differ in their image transform; local weights take open_clip's default. Name"
                    " another with backbone.transform_of=TAG.",
                    self.architecture,
                )
        return {**DEFAULT_TRANSFORM, **_only_transform(known), "size": size}

    def _tokenizer_key(self, config: Mapping[str, Any]) -> str | None:
        """The key of open_clip's own tokenizer with its merges; None for the tokenizers of hubs, which may change."""
        settings = config["text_cfg"]
        if settings.get("hf_tokenizer_name") or "siglip" in self.architecture.lower():
            return None
        merges = None
        if "bpe_path" in settings.get("tokenizer_kwargs", {}):
            path = Path(self.architecture).parent / settings["tokenizer_kwargs"]["bpe_path"]
            if not path.is_file():
                return None
            merges = hashlib.sha256(path.read_bytes()).hexdigest()
        versions = {name: version(name) for name in ("open_clip_torch", "ftfy", "regex")}
        return content_key({"text_cfg": settings, "merges": merges, "versions": versions})


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
        return func(*args, **given)


def _only_transform(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: config[key] for key in DEFAULT_TRANSFORM if config.get(key) is not None}
    return cast(dict[str, Any], json.loads(json.dumps(found)))


def _activation(config: Mapping[str, Any]) -> str:
    return "quick_gelu" if config.get("quick_gelu", False) else "gelu"


def _check_built_activation(model: torch.nn.Module, facts: BackboneFacts) -> None:
    from open_clip.transformer import QuickGELU

    found = any(isinstance(module, QuickGELU) for module in model.modules())
    if found != (facts.activation == "quick_gelu"):
        raise BackboneError(
            f"{facts.architecture} was built {'with' if found else 'without'} QuickGELU, but its configuration says"
            f" {facts.activation}. This open_clip version reads the configuration in another way; take another."
        )


def _quick_gelu_of_digests() -> dict[str, bool]:
    """First eight digits of the sha256 of published weights -> whether they were trained with QuickGELU.

    Source: the addresses in open_clip's table of pretrained weights carry the digests.
    """
    table = pretrained_table()
    found = {}
    for architecture, tag in table.list_pretrained():
        config = table.get_pretrained_cfg(architecture, tag)
        for digest in re.findall(r"(?<![0-9a-f])([0-9a-f]{8}(?:[0-9a-f]{56})?)(?=/|\.pt$)", config.get("url", "")):
            found[digest[:8]] = bool(config.get("quick_gelu", False))
    return found


def _cached(config: Mapping[str, Any]) -> Path:
    """Where the weights of a tag lie on this machine, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    if hub := config.get("hf_hub"):
        repository, _, name = hub.rpartition("/")
        for file in (name,) if name else WEIGHT_FILES:
            found = try_to_load_from_cache(repository, file)
            if isinstance(found, str):
                return Path(found)
        raise WeightsNotHereError(f"hub:{repository}")
    url = str(config.get("url", ""))
    path = Path("~/.cache/clip").expanduser() / Path(url).name
    if path.is_file():
        return path
    raise WeightsNotHereError(url)


@contextmanager
def _registered(config: Mapping[str, Any], architecture: str) -> Iterator[str]:
    """A name under which open_clip builds ``config``: its own for a built-in one, else one made from the content."""
    import open_clip

    path = Path(architecture)
    if path.suffix != ".json":
        yield architecture
        return
    config = json.loads(json.dumps(config))
    tokenizer = config["text_cfg"].get("tokenizer_kwargs", {})
    if "bpe_path" in tokenizer:
        tokenizer["bpe_path"] = str(path.parent.resolve() / tokenizer["bpe_path"])
    name = f"local-{content_key(config)[:16]}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(Path(folder, f"{name}.json"))
        yield name


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

    listener = Listener()
    logging.getLogger().addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logging.getLogger().removeHandler(listener)
    said += [str(warning.message) for warning in caught if warning.filename.startswith(package)]
    if said:
        raise BackboneError(f"open_clip warns about {architecture}: {' '.join(said)} Here that is an error.")


def _cut(tokenizer: Any, texts: Sequence[str], context_length: int) -> list[bool]:
    """Which texts have more tokens than the context holds."""
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
