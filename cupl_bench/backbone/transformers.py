"""CLIP and SigLIP models of the `transformers` library, from a local folder or the hub."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TokenIds, WeightsNotHereError
from cupl_bench.backbone.pixels import ImageTransform, normalise, split_transform
from cupl_bench.backbone.text import PaddedTextEncoder, choose_text_encoder
from cupl_bench.dataset.digests import file_digest
from cupl_bench.errors import BackboneError, first
from cupl_bench.identity import content_key

__all__ = ["TransformersSource"]

MODEL_TYPES = ("clip", "siglip", "siglip2")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALL_FILES = ["*.json", "*.txt", "*.model"]
FILES = [*SMALL_FILES, "*.safetensors", "pytorch_model.bin"]


@dataclass(frozen=True, kw_only=True)
class TransformersSource:
    """A folder of a CLIP or SigLIP model with its tokenizer and image processor, or the hub id of one.

    ``revision``: branch, tag or commit on the hub. Images pass through the model's own processor, on Pillow.
    """

    path: str
    revision: str | None

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        folder = self._folder(download=download)
        config = self._json(folder / "config.json")
        kind = config.get("model_type")
        if kind not in MODEL_TYPES:
            raise BackboneError(
                f"{self.path} is a model of type {kind!r}; those that work here: {', '.join(MODEL_TYPES)}."
            )
        files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
        if not files:
            raise BackboneError(f"{self.path} holds no weights: no *.safetensors and no pytorch_model.bin.")
        digests = [file_digest(file, cache_dir) for file in files]
        text, vision = (self._tower(config, name) for name in ("text_config", "vision_config"))
        activations = sorted({str(text["hidden_act"]), str(vision["hidden_act"])})
        size = int(vision["image_size"])
        return BackboneFacts(
            architecture=f"transformers {kind}",
            pretrained=self.path if self.revision is None else f"{self.path}@{self.revision}",
            weights_sha256=digests[0] if len(digests) == 1 else content_key({"files": digests}),
            activation="+".join(activations),
            image_size=(size, size),
            embed_dim=int(config.get("projection_dim", 512) if kind == "clip" else vision["hidden_size"]),
            transform=self._json(folder / "preprocessor_config.json"),
            model=config,
            tokenizer=_tokenizer_key(folder),
        )

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        import transformers

        folder = self._folder(download=True)
        try:
            model, report = transformers.AutoModel.from_pretrained(
                folder, dtype=DTYPES[precision], output_loading_info=True, local_files_only=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            processor = _pillow_processor(folder)
        except Exception as error:
            raise BackboneError(f"{self.path} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
        if wrong := sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])}):
            raise BackboneError(
                f"{self.path}: {len(wrong)} weights are missing or of another shape, first: {first(wrong)}."
            )
        model.eval().requires_grad_(requires_grad=False).to(device)
        text_config = model.config.text_config
        context_length = int(text_config.max_position_embeddings)

        transform = _transform(processor, facts.transform)
        table = None if transform.table is None else transform.table.to(device, DTYPES[precision])

        def encode_images(batch: torch.Tensor) -> torch.Tensor:
            here = batch.to(device, non_blocking=True)
            with torch.inference_mode():
                floats = (
                    here.to(DTYPES[precision])
                    if table is None or here.dtype.is_floating_point
                    else normalise(here, table)
                )
                return _features(model.get_image_features(pixel_values=floats))

        def encode_text(rows: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return _features(model.get_text_features(input_ids=rows.to(device)))

        def padded_rows(texts: Sequence[str]) -> torch.Tensor:
            rows: torch.Tensor = tokenizer(
                list(texts),
                padding="max_length",
                max_length=context_length,
                truncation=True,
                return_tensors="pt",
            )["input_ids"]
            return rows

        def lengths(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

        def unpadded(texts: Sequence[str]) -> tuple[list[TokenIds], list[bool]]:
            cut = tokenizer(list(texts), max_length=context_length, truncation=True)["input_ids"]
            return [tuple(ids) for ids in cut], [length > context_length for length in lengths(texts)]

        padded = PaddedTextEncoder(
            tokenizer=padded_rows,
            is_cut=lambda texts: [length > context_length for length in lengths(texts)],
            encode_text=encode_text,
            device=device,
        )
        bias = getattr(model, "logit_bias", None)
        return Backbone(
            facts=facts,
            device=device,
            transform=transform,
            encode_images=encode_images,
            text=choose_text_encoder(model, padded, unpadded, context_length, pad_id=tokenizer.pad_token_id or 0),
            logit_scale=float(model.logit_scale.exp()),
            logit_bias=None if bias is None else float(bias),
        )

    def _folder(self, *, download: bool) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        folder = Path(self.path)
        if folder.is_dir():
            return folder
        try:
            return Path(
                snapshot_download(
                    self.path, revision=self.revision, allow_patterns=FILES, local_files_only=not download
                )
            )
        except LocalEntryNotFoundError as error:
            if not download:
                raise WeightsNotHereError(f"hub:{self.path}") from error
            raise BackboneError(self._unreachable(error)) from error
        except HFValidationError as error:
            raise BackboneError(f"backbone.path={self.path} is neither a folder nor a hub id (owner/name).") from error
        except (HfHubHTTPError, OSError) as error:
            raise BackboneError(self._unreachable(error)) from error

    def _unreachable(self, error: Exception) -> str:
        return (
            f"{self.path} is no folder here and cannot be had from the hub ({' '.join(str(error).split())[:200]})."
            f" Without a network, run 'hf download {self.path}' elsewhere and give the folder in backbone.path."
        )

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

    def _tower(self, config: dict[str, Any], name: str) -> dict[str, Any]:
        """A tower's settings with the library's defaults filled in: files leave out what equals a default."""
        import transformers

        whole = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
        tower: dict[str, Any] = getattr(whole, name).to_dict()
        return tower


def _tokenizer_key(folder: Path) -> str:
    """The key of all small files of a model folder, the tokenizer's among them, and of what reads them."""
    files = sorted(path for pattern in SMALL_FILES for path in folder.glob(pattern))
    return content_key(
        {
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
            "versions": {name: version(name) for name in ("transformers", "tokenizers")},
        }
    )


@dataclass(frozen=True)
class Processed:
    """What an image processor makes of an image, with some of its steps left out; for worker processes."""

    processor: Any
    without: tuple[str, ...] = ()

    def __call__(self, image: Image.Image) -> torch.Tensor:
        found: torch.Tensor = self.processor(
            images=image, return_tensors="pt", input_data_format="channels_last", **dict.fromkeys(self.without, False)
        )["pixel_values"][0]
        return found


def _transform(processor: Any, facts: Mapping[str, object]) -> ImageTransform:
    """The processor in two parts: what it does to pixels it says by leaving out the other part."""
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
    """The projected features: a tensor up to transformers 4, a field of the output since 5."""
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


def _pillow_processor(folder: Path) -> Any:
    """The image processor that resizes with Pillow, as the models were trained and published with."""
    import transformers

    choice: dict[str, object] = (
        {"backend": "pil"} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": False}
    )
    loader: Any = transformers.AutoImageProcessor
    return loader.from_pretrained(folder, local_files_only=True, **choice)
