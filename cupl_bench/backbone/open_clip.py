"""Any model of open_clip: built-in architectures, config files, folders of the hub's form; tags, local weights."""

import gzip
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower, WeightsNotHereError
from cupl_bench.backbone.hub import hub_file, hub_folder
from cupl_bench.backbone.open_clip_parts import ModelFiles, open_clip_tokenizer, tokenizer_key
from cupl_bench.backbone.open_clip_tables import architectures, merges_file, model_config, pretrained_table
from cupl_bench.backbone.tokenization import (
    SMALL_FILES,
    Tokenization,
    content_of_transformers,
    find_tokenization,
    say_once,
)
from cupl_bench.backbone.weight_files import digest_of_weights, refuse_adapters
from cupl_bench.dataset.hub import origin_of
from cupl_bench.dataset.urls import UrlError, fetch_url, size_of_url, size_text
from cupl_bench.errors import BackboneError, first, nearest
from cupl_bench.libraries import load_open_clip

if TYPE_CHECKING:  # heavy: `open_clip_models`, which loads, imports it and open_clip; who only identifies needs neither
    import torch

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
HF_CONFIG = "hf_model_config"
"""The name in a backbone's facts of the config of a text tower of transformers."""
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
TOKENIZER_MARKS = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt")
"""One of these lies in each folder of a tokenizer."""
CONFIG_FILE = "open_clip_config.json"
LOCAL_DIR = "local-dir:"
HF_HUB = "hf-hub:"


@dataclass(frozen=True, kw_only=True)
class OpenClipSource:
    """A model of open_clip.

    ``architecture``: a name that open_clip knows, the path to a config JSON (either a bare model config or the form of
    hub repositories with `model_cfg` and `preprocess_cfg`), a folder with an `open_clip_config.json`, with or without
    `local-dir:` before it, or such a repository of the hub, `hf-hub:OWNER/NAME` or `hf-hub:OWNER/NAME@REVISION`. A
    relative `bpe_path` in its tokenizer settings is taken from the folder of the
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
        facts = self._here(None, cache_dir, download=download)._identify(cache_dir, download=download)
        return replace(facts, architecture=self.architecture) if self.architecture.startswith(HF_HUB) else facts

    def _here(self, commit: str | None, cache_dir: Path | None, *, download: bool) -> "OpenClipSource":
        """Return this source with the folder of its files in place of a repository of the hub.

        ``commit``: that was identified; None: that of the revision which was asked for.
        """
        if not self.architecture.startswith(HF_HUB):
            return self
        name, _, revision = self.architecture.removeprefix(HF_HUB).partition("@")
        options: Any = {"cache_dir": cache_dir, "download": download, "key": "backbone.architecture"}
        folder = hub_folder(name, commit or revision or None, SMALL_FILES, **options)
        weights = self.pretrained
        if weights is None:
            refuse_adapters(folder)
            weights = str(hub_file(name, folder.name, WEIGHT_FILES_IN_ORDER, **options))
        return replace(self, architecture=f"{LOCAL_DIR}{folder}", pretrained=weights)

    def _identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        # Without open_clip itself, whose import takes seconds: stored features need none of its models.
        config, preprocess = self._config()
        tag = self._tag()
        if tag is not None:
            trained = pretrained_table().get_pretrained_cfg(self.architecture, tag).get("quick_gelu", False)
            self._check_activation(config, f"The weights {tag}", trained=bool(trained))
        weights = self._weights(tag, None, cache_dir, download=download)
        digest = digest_of_weights([weights], cache_dir, self.state_dict_key)
        transform = self._transform(config, preprocess, tag)
        size = transform["size"]
        tower = self._text_tower(config["text_cfg"], cache_dir, download=download)
        tokenizer = self._tokenizer_folder(config["text_cfg"], cache_dir, download=download)
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
            tokenizer=tokenizer_key(config["text_cfg"], tokenizer),
            tokenization=tokenization.in_keys,
            origin=origin_of(weights),
        )

    def width(self) -> int | None:
        return None if self.architecture.startswith(HF_HUB) else int(self._config()[0]["embed_dim"])

    def load(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> Backbone:
        load_open_clip(_libraries_of(facts.model))
        from cupl_bench.backbone.open_clip_models import load

        return load(self._files(facts), facts, device, precision)

    def load_text(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> TextTower:
        load_open_clip(_libraries_of(facts.model))
        from cupl_bench.backbone.open_clip_models import load_text

        return load_text(self._files(facts), facts, device, precision)

    def _files(self, facts: BackboneFacts) -> ModelFiles:
        # Of the commit that was identified: the main branch may have moved since then.
        commit = None if facts.origin is None else facts.origin.rpartition("@")[2]
        if self.architecture.startswith(HF_HUB):
            return self._here(commit, None, download=True)._files(facts)
        weights = self._weights(self._tag(), commit, None, download=True)
        config: dict[str, Any] = {name: value for name, value in facts.model.items() if name != HF_CONFIG}
        known = _quick_gelu_of_digests().get(facts.weights_sha256[:8])
        if known is not None:
            self._check_activation(config, f"{self.pretrained} (known by its sha256)", trained=known)
        return ModelFiles(
            config=config,
            weights=weights,
            state_dict_key=self.state_dict_key,
            tower=self._text_tower(config["text_cfg"], None, download=True),
            tokenizer=self._tokenizer_folder(config["text_cfg"], None, download=True),
        )

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
                    f" {CONFIG_FILE}; a repository of the hub in that form is hf-hub:OWNER/NAME."
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

    def _weights(self, tag: str | None, commit: str | None, cache_dir: Path | None, *, download: bool) -> Path:
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
        if hub := config.get("hf_hub"):
            repository, _, name = hub.rpartition("/")
            return hub_file(
                repository, commit, _names_of(name), cache_dir, download=download, key="backbone.pretrained"
            )
        return _by_url(str(config.get("url", "")), download=download)

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

    def _text_tower(self, settings: Mapping[str, Any], cache_dir: Path | None, *, download: bool) -> Path | None:
        """Return the folder with the config of a text tower of transformers; None for a text tower of open_clip."""
        name = settings.get("hf_model_name")
        if not name:
            return None
        return self._beside(name) or hub_folder(
            name, None, ["config.json"], cache_dir, download=download, key="the hf_model_name of a config of your own"
        )

    def _tokenizer_folder(self, settings: Mapping[str, Any], cache_dir: Path | None, *, download: bool) -> Path:
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
                name,
                None,
                SMALL_FILES,
                cache_dir,
                download=download,
                key="the hf_tokenizer_name of a config of your own",
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
                tokenizer = open_clip_tokenizer(settings, folder)
            except (BackboneError, MemoryError):
                raise
            except Exception as error:
                short = " ".join(str(error).split())[:300]
                raise BackboneError(f"The tokenizer of {self.architecture} cannot be read ({short}).") from error
            if folder.is_dir():
                return content_of_transformers(tokenizer.tokenizer), tokenizer
            merges = hashlib.sha256(gzip.decompress(folder.read_bytes())).hexdigest()
            return {"merges": merges}, lambda texts: [tokenizer.encode(text) for text in texts]

        found = find_tokenization(tokenizer_key(settings, folder), cache_dir, load)
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


def _only_transform(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: config[key] for key in DEFAULT_TRANSFORM if config.get(key) is not None}
    return cast(dict[str, Any], json.loads(json.dumps(found)))


def _libraries_of(config: Mapping[str, Any]) -> list[str]:
    """Return the libraries, of those that open_clip can do without, that build a tower of the model."""
    towers = {"timm": ("vision_cfg", "timm_model_name"), "transformers": ("text_cfg", "hf_model_name")}
    return [library for library, (tower, name) in towers.items() if config.get(tower, {}).get(name)]


def _activation(config: Mapping[str, Any]) -> str:
    return "quick_gelu" if config.get("quick_gelu", False) else "gelu"


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


def _names_of(name: str) -> tuple[str, ...]:
    """Return the files that hold the weights of a tag, the wanted one first.

    Source: open_clip 3.3.0, `pretrained.py`, `_get_safe_alternatives`.
    """
    if not name:
        return WEIGHT_FILES
    return (f"{name[:-4]}.safetensors", name) if name.endswith((".bin", ".pth")) else (name,)


def _by_url(url: str, *, download: bool) -> Path:
    """Return the weights at a URL, kept where open_clip keeps them; whole, by the digest in the address if it has one.

    Source: open_clip 3.3.0, `pretrained.py`, `download_pretrained_from_url`.
    """
    path = Path("~/.cache/clip").expanduser() / Path(url).name
    promised = url.split("/")[-2] if "openaipublic" in url else ""
    if "mlfoundations" in url:
        promised = path.stem.rpartition("-")[2]
    if path.is_file() and _begins_with(path, promised):
        return path
    if not download:
        raise WeightsNotHereError(f"{url} ({size_text(size_of_url(url))})")
    path.unlink(missing_ok=True)
    try:
        fetch_url(url, path.parent, name=path.name)
    except UrlError as error:
        raise BackboneError(
            f"{error} Without a network, download it elsewhere and give its path in backbone.pretrained."
        ) from error
    if not _begins_with(path, promised):
        path.unlink()
        raise BackboneError(f"{url} is not the content whose sha256 begins with {promised}. Start again.")
    return path


def _begins_with(path: Path, promised: str) -> bool:
    if not promised:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(promised)


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
