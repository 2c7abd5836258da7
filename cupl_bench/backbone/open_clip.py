"""Any model of open_clip: built-in architectures, config files, folders of the hub's form; tags, local weights."""

import copy
import gzip
import hashlib
import inspect
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.overrides import TorchFunctionMode

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower, WeightsNotHereError
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.hub import hub_folder
from cupl_bench.backbone.open_clip_tables import architectures, merges_file, model_config, pretrained_table
from cupl_bench.backbone.pixels import normalise, transform_of_open_clip
from cupl_bench.backbone.text import PaddedTextEncoder, choose_text_encoder
from cupl_bench.backbone.tokenization import (
    SMALL_FILES,
    Tokenization,
    content_of_transformers,
    find_tokenization,
    say_once,
    small_files,
    versions,
)
from cupl_bench.backbone.weights import choose_weights, digest_of_weights, read_weights, refuse_adapters, unchanged
from cupl_bench.errors import BackboneError, first, nearest
from cupl_bench.identity import content_key

__all__ = ["OpenClipSource"]

log = logging.getLogger(__name__)

DEFAULT_TRANSFORM: dict[str, Any] = {
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
"""The defaults of open_clip's `PreprocessCfg`: OpenAI's transform."""
DRAWS = {
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    *(getattr(torch.nn.init, name) for name in ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_")),
}
"""The functions that fill a parameter with random numbers."""
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
WEIGHT_FILES_IN_ORDER = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""Source: open_clip 3.3.0, `factory.py`, `_find_checkpoint_in_dir`."""
HF_CONFIG = "hf_model_config"
"""The name in a backbone's facts of the config of a text tower of transformers."""
TOKENIZER_MARKS = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt")
"""One of these lies in each folder of a tokenizer."""
CONFIG_FILE = "open_clip_config.json"
LOCAL_DIR = "local-dir:"


@dataclass(frozen=True, kw_only=True)
class OpenClipSource:
    """A model of open_clip.

    ``architecture``: a name that open_clip knows, the path to a config JSON (either a bare model config or the form of
    hub repositories with `model_cfg` and `preprocess_cfg`), or a folder with an `open_clip_config.json`, with or
    without `local-dir:` before it. A relative `bpe_path` in its tokenizer settings is taken from the folder of the
    JSON, as is a Hugging Face tokenizer that lies there.
    ``pretrained``: a tag that open_clip knows, or the path to weights, `.safetensors` or (through `weights_only`)
    any other ending, or to a folder that holds them. None: those that lie beside the config of a folder.
    ``transform_of``: the tag whose image transform local weights take, where the tags of an architecture differ.
    ``state_dict_key``: which entry of a file that holds several sets of weights; None where one alone fits.

    Whatever open_clip only warns of is an error here: above all an activation (QuickGELU) that does not match.
    """

    architecture: str
    pretrained: str | None
    transform_of: str | None
    state_dict_key: str | None = None  # a default, for records that were made before it was there

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        # Without open_clip itself, whose import takes seconds: stored features need none of its models.
        config, preprocess = self._config()
        tag = self._tag()
        if tag is not None:
            trained = pretrained_table().get_pretrained_cfg(self.architecture, tag).get("quick_gelu", False)
            self._check_activation(config, f"The weights {tag}", trained=bool(trained))
        weights = self._weights(tag, download=download)
        digest = digest_of_weights([weights], cache_dir, self.state_dict_key)
        transform = self._transform(config, preprocess, tag)
        size = transform["size"]
        tower = self._text_tower(config["text_cfg"], download=download)
        tokenizer = self._tokenizer_folder(config["text_cfg"], download=download)
        tokenization = self._tokenization(config["text_cfg"], tokenizer, cache_dir)
        path = self._config_path()
        return BackboneFacts(
            architecture=self.architecture if path is None else self._name(path),
            pretrained=str(self.pretrained) if tag is not None else weights.name,
            weights_sha256=digest,
            activation=_activation(config),
            image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
            embed_dim=int(config["embed_dim"]),
            transform=transform,
            model=config if tower is None else {**config, HF_CONFIG: self._json(tower / "config.json")},
            tokenizer=_tokenizer_key(config["text_cfg"], tokenizer),
            tokenization=tokenization.in_keys,
        )

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        from open_clip.model import get_input_dtype

        model, texts = self._load(facts, device, precision, _build)
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

        return Backbone(**vars(texts), device=device, transform=transform, encode_images=encode_images)

    def load_text(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> TextTower:
        return self._load(facts, device, precision, _build_for_texts)[1]

    def _load(
        self, facts: BackboneFacts, device: torch.device, precision: Precision, build: Callable[..., Any]
    ) -> tuple[Any, TextTower]:
        """Return a model with its weights, and its text tower."""
        weights = self._weights(self._tag(), download=True)
        config: dict[str, Any] = {name: value for name, value in facts.model.items() if name != HF_CONFIG}
        known = _quick_gelu_of_digests().get(facts.weights_sha256[:8])
        if known is not None:
            self._check_activation(config, f"{self.pretrained} (known by its sha256)", trained=known)
        settings: dict[str, Any] = config["text_cfg"]
        tower = self._text_tower(settings, download=True)
        folder = self._tokenizer_folder(settings, download=True)
        with _warnings_are_errors(facts.architecture):
            try:
                model = build(config, tower, dict(facts.transform), precision, device)
                tokenizer = _tokenizer(settings, folder)
                with unchanged([weights], facts.weights_sha256):
                    self._fill(model, weights, facts.architecture)
            except (BackboneError, MemoryError):
                raise
            except Exception as error:
                raise BackboneError(_explain(error, weights, facts.architecture)) from error
        if _tokenizer_key(settings, folder) != facts.tokenizer:
            raise BackboneError(f"The tokenizer in {folder} changed while the model was loaded. Run again.")
        # Parameters are not frozen (nothing here keeps a gradient): where they are, torch 2.15 sends the transposed
        # input of open_clip's attention, in bf16 on a CPU, to a path ten times slower, for the same bits.
        model.eval()
        _check_built_activation(model, facts)

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
        return model, TextTower(
            facts=facts,
            text=choose_text_encoder(model, padded, bpe, context_length, pad_id=0),
            logit_scale=float(model.logit_scale.detach().exp()),
            logit_bias=None if bias is None else float(bias.detach()),
        )

    def _fill(self, model: Any, weights: Path, architecture: str) -> None:
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

        found = choose_weights(read_weights(weights), self.state_dict_key, wanted, convert, weights, architecture)
        _check_positions(model, found, weights, architecture)
        own = model.state_dict()
        # What has no memory of its own is not read: files are mapped into memory, and read where they are looked at.
        found = {name: rows.to("meta") if own[name].is_meta else rows for name, rows in found.items()}
        open_clip.factory.resize_pos_embed(found, model)
        model.load_state_dict(found)

    def _config_path(self) -> Path | None:
        """Return the path of the model's config; None for an architecture that open_clip has."""
        if self.architecture.endswith(".json"):
            return Path(self.architecture)
        folder = Path(self.architecture.removeprefix(LOCAL_DIR))
        if self.architecture.startswith(LOCAL_DIR) or (model_config(self.architecture) is None and folder.is_dir()):
            return folder / CONFIG_FILE
        return None

    def _name(self, path: Path) -> str:
        """Return the name of a local config in records: its file, or its folder where that was given."""
        return path.name if self.architecture.endswith(".json") else path.resolve().parent.name

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            there = " It is a folder of transformers: take backbone=transformers with backbone.path." * (
                path.name == CONFIG_FILE and (path.parent / "config.json").is_file()
            )
            raise BackboneError(
                f"{path} cannot be read ({error.strerror}); it should hold an open_clip config.{there}"
            ) from error
        except ValueError as error:
            raise BackboneError(f"{path} is not JSON ({error}); it should hold an open_clip config.") from error
        return content if isinstance(content, dict) else {}

    def _config(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the model config, and the image transform that came with it (empty where none did)."""
        path = self._config_path()
        if path is None:
            config = model_config(self.architecture)
            if config is None:
                raise BackboneError(
                    f"open_clip has no architecture {self.architecture!r}."
                    f"{nearest(self.architecture, architectures())}"
                    " Give one of open_clip.list_models(), the path to a config that ends in .json, or a folder with an"
                    f" {CONFIG_FILE}; a model of the hub's form is had by 'hf download OWNER/NAME --local-dir FOLDER'."
                )
            return config, {}
        content = self._json(path)
        config = content.get("model_cfg", content)
        if lost := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]:
            raise BackboneError(f"{path} is no open_clip config: it lacks {first(lost)}.")
        return config, content.get("preprocess_cfg", {})

    def _tag(self) -> str | None:
        """Return ``pretrained`` where it is a tag of the architecture, else None."""
        if self._config_path() is not None:
            return None
        tags = pretrained_table().list_pretrained_tags_by_model(self.architecture)
        return self.pretrained if self.pretrained in tags else None

    def _weights(self, tag: str | None, *, download: bool) -> Path:
        path = self._config_path()
        if tag is None:
            given = Path(self.pretrained) if self.pretrained else None
            if given is not None and given.is_file():
                return given
            if given is None and path is not None and not self.architecture.endswith(".json"):
                given = path.parent
            if given is not None and given.is_dir():
                return _weights_in(given)
        table = pretrained_table()
        if tag is None:
            tags = table.list_pretrained_tags_by_model(self.architecture)
            offer = f" Its tags: {', '.join(tags)}." if tags else " This architecture has no tags: give a path."
            raise BackboneError(
                f"backbone.pretrained={self.pretrained or ''} is neither a file nor a tag of {self.architecture}."
                f"{nearest(self.pretrained or '', tags)}{offer}"
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
        """Return the image transform: of the tag, of the config file, or for local weights the one that all tags share.

        open_clip itself gives local weights OpenAI's mean and deviation whatever the architecture, which is wrong for
        SigLIP and its kin.
        """
        size = config["vision_cfg"].get("image_size", 224)
        known = {key: value for key, value in given.items() if key in DEFAULT_TRANSFORM}
        if known or self._config_path() is not None:
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
                log.warning(
                    "The tags of %s differ in their image transform; local weights take open_clip's default. Name"
                    " another with backbone.transform_of=TAG.",
                    self.architecture,
                )
        return {**DEFAULT_TRANSFORM, **_only_transform(known), "size": size}

    def _text_tower(self, settings: Mapping[str, Any], *, download: bool) -> Path | None:
        """Return the folder with the config of a text tower of transformers; None for a text tower of open_clip."""
        name = settings.get("hf_model_name")
        if not name:
            return None
        return self._beside(name) or hub_folder(
            name, None, ["config.json"], download=download, key="the hf_model_name of a config of your own"
        )

    def _tokenizer_folder(self, settings: Mapping[str, Any], *, download: bool) -> Path:
        """Return the file of merges of open_clip's own tokenizer, or the folder of a tokenizer of transformers."""
        if "trust_remote_code" in settings.get("tokenizer_kwargs", {}):
            raise BackboneError(
                f"The config of {self.architecture} asks for code of its tokenizer's repository to be run"
                " (trust_remote_code), which is never done here."
            )
        path = self._config_path()
        name = settings.get("hf_tokenizer_name")
        if not name:
            given = settings.get("tokenizer_kwargs", {}).get("bpe_path")
            merges = merges_file() if given is None else Path(given) if path is None else path.parent / given
            if not merges.is_file():
                raise BackboneError(f"The merges of the tokenizer are not at {merges}, where {path} says.")
            return merges
        if path is not None and any((path.parent / file).is_file() for file in TOKENIZER_MARKS):
            return path.parent  # as open_clip's own `local-dir:` does
        folder = self._beside(name)
        if folder is None:
            folder = hub_folder(
                name, None, SMALL_FILES, download=download, key="the hf_tokenizer_name of a config of your own"
            )
            if not any((folder / file).is_file() for file in TOKENIZER_MARKS):  # only its weights were fetched here
                if not download:
                    raise WeightsNotHereError(f"hub:{name}")
                raise BackboneError(
                    f"The tokenizer of {self.architecture} is not in {folder}. Without a network, run 'hf download"
                    f" {name}' elsewhere and copy its files there."
                )
        return folder

    def _beside(self, name: str) -> Path | None:
        """Return the folder ``name``, from the folder of the config or from here."""
        path = self._config_path()
        places = [Path(name)] if path is None else [path.parent / name, Path(name)]
        return next((place.resolve() for place in places if place.is_dir()), None)

    def _tokenization(self, settings: Mapping[str, Any], folder: Path, cache_dir: Path) -> Tokenization:
        """Return how texts become ids; said where capitals count and the model was trained without them."""

        def load() -> tuple[Mapping[str, object], Callable[[Sequence[str]], Any]]:
            try:
                tokenizer = _tokenizer(settings, folder)
            except MemoryError:
                raise
            except Exception as error:
                short = " ".join(str(error).split())[:300]
                raise BackboneError(f"The tokenizer of {self.architecture} cannot be read ({short}).") from error
            if folder.is_dir():
                return content_of_transformers(tokenizer.tokenizer), tokenizer
            merges = hashlib.sha256(gzip.decompress(folder.read_bytes())).hexdigest()
            return {"merges": merges}, lambda texts: [tokenizer.encode(text) for text in texts]

        found = find_tokenization(_tokenizer_key(settings, folder), cache_dir, load)
        # Not towers of transformers, which learned by themselves what capitals are: nllb-clip-base-siglip.
        of_siglip = "siglip" in f"{self.architecture} {settings.get('hf_tokenizer_name')}".lower()
        if found.keeps_capitals and of_siglip and "hf_model_name" not in settings:
            if self._config_path() is None:
                raise BackboneError(
                    f"The tokenizer of {self.architecture} keeps capitals here, and the model was trained on lower"
                    " case: accuracy would silently drop. Take the version of open_clip_torch of requirements.lock."
                )
            say_once(
                f"The tokenizer of {self.architecture} keeps capitals, and SigLIP models were trained on lower case:"
                ' if this one was, set "tokenizer_kwargs": {"clean": "canonicalize"} in the text_cfg of its config.'
            )
        return found


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
    for part in ("visual", "text_decoder"):
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
    """Return whether published weights were trained with QuickGELU, by the first eight digits of their sha256.

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
    """Return the path of a tag's weights on this machine, without asking the network."""
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


def _tokenizer(settings: Mapping[str, Any], folder: Path) -> Any:
    """Return the tokenizer that open_clip makes of the settings of a text tower, from these files.

    Source: open_clip 3.3.0, `factory.py`, `get_tokenizer`.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    given = dict(settings.get("tokenizer_kwargs", {}))
    context_length = settings.get("context_length", 77)
    if folder.is_dir():
        if settings.get("tokenizer_mode"):
            given["tokenizer_mode"] = settings["tokenizer_mode"]
        return HFTokenizer(str(folder), context_length=context_length, **given)
    return SimpleTokenizer(context_length=context_length, **{**given, "bpe_path": str(folder)})


def _tokenizer_key(settings: Mapping[str, Any], folder: Path) -> str:
    """Return the key of a tokenizer's settings and files, and of the versions of what reads them."""
    found = versions("open_clip_torch", "ftfy", "regex")
    if folder.is_dir():
        files: object = small_files(folder)
        found |= versions("transformers", "tokenizers", "sentencepiece")
    elif folder == merges_file():
        files = None  # the version says which
    else:
        files = hashlib.sha256(folder.read_bytes()).hexdigest()
    return content_key({"text_cfg": settings, "merges": files, "versions": found})


def _weights_in(folder: Path) -> Path:
    """Return the weights of a model in the hub's form.

    Raises:
        BackboneError: there are none, several that may differ, or an adapter.
    """
    refuse_adapters(folder)
    for name in WEIGHT_FILES_IN_ORDER:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    if len(found) == 1:
        return found[0]
    raise BackboneError(
        f"{folder} holds {len(found) or 'no'} files of weights"
        + (f", and none is named as open_clip names them: {first([path.name for path in found])}" if found else "")
        + ". Give the file in backbone.pretrained."
    )


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
