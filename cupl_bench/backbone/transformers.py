"""CLIP and SigLIP models of the `transformers` library, from a local folder or the hub."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower
from cupl_bench.backbone.hub import hub_folder
from cupl_bench.backbone.tokenization import (
    SMALL_FILES,
    Tokenization,
    content_of_transformers,
    find_tokenization,
    say_once,
    versions,
)
from cupl_bench.backbone.transformers_parts import ModelFiles, padded_rows, tokenizer_key
from cupl_bench.backbone.weight_files import digest_of_weights, refuse_adapters
from cupl_bench.dataset.hub import origin_of
from cupl_bench.dataset.remembered import remembered
from cupl_bench.errors import BackboneError, first
from cupl_bench.identity import content_key
from cupl_bench.libraries import TRANSFORMERS, load_libraries

if TYPE_CHECKING:  # heavy: `transformers_models`, which loads, imports it; who only identifies needs it not
    import torch

__all__ = ["TransformersSource"]

MODEL_TYPES = ("clip", "siglip")
FILES = [*SMALL_FILES, "*.safetensors", "pytorch_model*.bin"]


@dataclass(frozen=True, kw_only=True)
class Towers:
    """What of the settings of both towers identifies a model; ``width``: of the image tower."""

    activation: str
    image_size: int
    width: int
    context_length: int


@dataclass(frozen=True, kw_only=True)
class TransformersSource:
    """A folder of a CLIP or SigLIP model with its tokenizer and image processor, or the hub id of one.

    ``revision``: branch, tag or commit on the hub. Images pass through the model's own processor, on Pillow.
    """

    path: str
    revision: str | None

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        folder = self._folder(self.revision, cache_dir, download=download)
        refuse_adapters(folder)
        config = self._json(folder / "config.json")
        kind = config.get("model_type")
        if kind == "siglip2":
            raise BackboneError(
                f"{self.path} is a SigLIP 2 of the NaFlex kind, which reads images in their own proportions; that is"
                " not done here. Take one of a fixed size: backbone=siglip2_b16, for example."
            )
        if kind not in MODEL_TYPES:
            raise BackboneError(
                f"{self.path} is a model of type {kind!r}; those that work here: {', '.join(MODEL_TYPES)}."
            )
        digest = digest_of_weights(self._weights(folder), cache_dir)
        towers = self._towers(config, cache_dir)
        size = towers.image_size
        return BackboneFacts(
            architecture=f"transformers {kind}",
            pretrained=self.path if self.revision is None else f"{self.path}@{self.revision}",
            weights_sha256=digest,
            activation=towers.activation,
            image_size=(size, size),
            embed_dim=int(config.get("projection_dim", 512) if kind == "clip" else towers.width),
            transform=self._image_processor(folder),
            model=config,
            tokenizer=tokenizer_key(folder),
            tokenization=self._tokenization(folder, towers.context_length, str(kind), cache_dir).in_keys,
            origin=origin_of(folder / "config.json"),
        )

    def load(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> Backbone:
        load_libraries(TRANSFORMERS)
        from cupl_bench.backbone.transformers_models import load

        return load(self._files(facts), facts, device, precision)

    def load_text(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> TextTower:
        load_libraries(TRANSFORMERS)
        from cupl_bench.backbone.transformers_models import load_text

        return load_text(self._files(facts), facts, device, precision)

    def _files(self, facts: BackboneFacts) -> ModelFiles:
        # Of the commit that was identified: the main branch may have moved since then.
        revision = self.revision if facts.origin is None else facts.origin.rpartition("@")[2]
        folder = self._folder(revision, None, download=True)
        return ModelFiles(
            name=self.path,
            folder=folder,
            weights=self._weights(folder),
            state=lambda: (self._json(folder / "config.json"), self._image_processor(folder), tokenizer_key(folder)),
        )

    def _folder(self, revision: str | None, cache_dir: Path | None, *, download: bool) -> Path:
        folder = Path(self.path)
        if folder.is_dir():
            return folder
        return hub_folder(self.path, revision, FILES, cache_dir, download=download, key="backbone.path")

    def _weights(self, folder: Path) -> list[Path]:
        """Return the files of weights that transformers reads, in order.

        Raises:
            BackboneError: there are none, or which of several would be read is not clear.
        """
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (folder / name).is_file():
                return [folder / name]
            index = folder / f"{name}.index.json"
            if index.is_file():
                names = sorted(set(self._json(index).get("weight_map", {}).values()))
                if lost := [part for part in names if not (folder / part).is_file()]:
                    raise BackboneError(
                        f"{self.path} lacks {len(lost)} of {len(names)} files of weights: {first(lost)}."
                    )
                return [folder / part for part in names]
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt"))
        raise BackboneError(
            f"{self.path} holds no weights: no model.safetensors and no pytorch_model.bin, nor an index of several."
            + (f" There are {first(others)}: give the right one that name." if others else "")
        )

    def _image_processor(self, folder: Path) -> dict[str, Any]:
        """Return the settings of the image processor: a file, or since transformers 5 a part of the processor's."""
        whole = folder / "processor_config.json"
        found = self._json(whole).get("image_processor") if whole.is_file() else None
        return found if isinstance(found, dict) else self._json(folder / "preprocessor_config.json")

    def _tokenization(self, folder: Path, context_length: int, kind: str, cache_dir: Path) -> Tokenization:
        """Return how texts become ids; said where capitals count and the model was trained without them."""

        def load() -> tuple[Mapping[str, object], Callable[[Sequence[str]], Any]]:
            load_libraries(TRANSFORMERS)
            import transformers

            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except MemoryError:
                raise
            except Exception as error:
                short = " ".join(str(error).split())[:300]
                raise BackboneError(f"The tokenizer of {self.path} cannot be loaded: {short}") from error
            return content_of_transformers(tokenizer), padded_rows(tokenizer, context_length)

        found = find_tokenization(tokenizer_key(folder), cache_dir, load)
        if kind == "siglip" and found.keeps_capitals:
            if self.path.startswith("google/siglip"):
                raise BackboneError(
                    f"The tokenizer of {self.path} keeps capitals, as transformers reads it, and the model was trained"
                    " on lower case: accuracy would silently drop. Take the same weights of open_clip:"
                    " backbone=siglip_b16, backbone=siglip2_b16 and their kin."
                )
            say_once(
                f"The tokenizer of {self.path} keeps capitals, and SigLIP models were trained on lower case. If this"
                " one was, its accuracy drops: add a Lowercase normalizer to its tokenizer.json, or write class names"
                " and prompts in lower case."
            )
        return found

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackboneError(
                f"{path} is missing or not JSON ({error}); {self.path} is not a whole model folder."
            ) from error
        if not isinstance(content, dict):
            raise BackboneError(f"{path} holds no map; {self.path} is not a whole model folder.")
        return content

    def _towers(self, config: dict[str, Any], cache_dir: Path) -> Towers:
        """Return the settings of both towers with the library's defaults filled in: files leave out a default."""

        def find() -> dict[str, object]:
            load_libraries(TRANSFORMERS)
            import transformers

            whole = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
            text, vision = (getattr(whole, name).to_dict() for name in ("text_config", "vision_config"))
            return {
                "activation": "+".join(sorted({str(text["hidden_act"]), str(vision["hidden_act"])})),
                "image_size": int(vision["image_size"]),
                "width": int(vision["hidden_size"]),
                "context_length": int(text["max_position_embeddings"]),
            }

        key = content_key({"config": config, "versions": versions("transformers")})
        path = cache_dir / "towers" / f"{key[:32]}.json"
        return remembered(path, "settings of towers", find, TypeAdapter(Towers).validate_python)
