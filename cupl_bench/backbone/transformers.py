"""CLIP and SigLIP models of the `transformers` library, from a local folder or the hub."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower, TokenIds
from cupl_bench.backbone.hub import hub_folder
from cupl_bench.backbone.pixels import ImageTransform, normalise, split_transform
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
from cupl_bench.backbone.weights import digest_of_weights, refuse_adapters, unchanged
from cupl_bench.errors import BackboneError, first
from cupl_bench.identity import content_key

__all__ = ["TransformersSource"]

MODEL_TYPES = ("clip", "siglip")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FILES = [*SMALL_FILES, "*.safetensors", "pytorch_model*.bin"]


@dataclass(frozen=True, kw_only=True)
class TransformersSource:
    """A folder of a CLIP or SigLIP model with its tokenizer and image processor, or the hub id of one.

    ``revision``: branch, tag or commit on the hub. Images pass through the model's own processor, on Pillow.
    """

    path: str
    revision: str | None

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        folder = self._folder(download=download)
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
        text, vision = (self._tower(config, name) for name in ("text_config", "vision_config"))
        activations = sorted({str(text["hidden_act"]), str(vision["hidden_act"])})
        size = int(vision["image_size"])
        return BackboneFacts(
            architecture=f"transformers {kind}",
            pretrained=self.path if self.revision is None else f"{self.path}@{self.revision}",
            weights_sha256=digest,
            activation="+".join(activations),
            image_size=(size, size),
            embed_dim=int(config.get("projection_dim", 512) if kind == "clip" else vision["hidden_size"]),
            transform=self._image_processor(folder),
            model=config,
            tokenizer=_tokenizer_key(folder),
            tokenization=self._tokenization(folder, int(text["max_position_embeddings"]), str(kind), cache_dir).in_keys,
        )

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        with self._explained():
            processor = _pillow_processor(self._folder(download=True))
        model, texts = self._load(facts, device, precision, _read)
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

        return Backbone(**vars(texts), device=device, transform=transform, encode_images=encode_images)

    def load_text(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> TextTower:
        return self._load(facts, device, precision, _read_for_texts)[1]

    def _load(
        self, facts: BackboneFacts, device: torch.device, precision: Precision, read: Callable[..., Any]
    ) -> tuple[Any, TextTower]:
        """Return a model with its weights, and its text tower."""
        import transformers

        folder = self._folder(download=True)
        weights = self._weights(folder)
        options = {"dtype": DTYPES[precision], "use_safetensors": weights[0].suffix == ".safetensors"}
        with self._explained():
            with unchanged(weights, facts.weights_sha256):
                model, report = read(folder, **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        now = (self._json(folder / "config.json"), self._image_processor(folder), _tokenizer_key(folder))
        if now != (facts.model, facts.transform, facts.tokenizer):
            raise BackboneError(f"{self.path} changed while the model was loaded. Run again.")
        more = _without_place(report)
        if wrong := sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])}):
            raise BackboneError(
                f"{self.path}: {len(wrong)} weights are missing or of another shape, first: {first(wrong)}."
                + (f" In their place: {first(more, 3)}." if more else "")
            )
        if more:
            raise BackboneError(
                f"{self.path}: {len(more)} weights have no place in a {facts.architecture} model, first: {first(more)}."
                " They would not be read, and the numbers be those of another model. Save the whole model, adapters"
                " merged (peft: model.merge_and_unload())."
            )
        model.eval().requires_grad_(requires_grad=False).to(device)
        text_config = model.config.text_config
        context_length = int(text_config.max_position_embeddings)

        def encode_text(rows: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return _features(model.get_text_features(input_ids=rows.to(device)))

        padded_rows = _padded_rows(tokenizer, context_length)

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
        return model, TextTower(
            facts=facts,
            text=choose_text_encoder(model, padded, unpadded, context_length, pad_id=tokenizer.pad_token_id or 0),
            logit_scale=float(model.logit_scale.exp()),
            logit_bias=None if bias is None else float(bias),
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Report whatever goes wrong inside the block as a fault of the folder."""
        try:
            yield
        except (BackboneError, MemoryError):
            raise
        except Exception as error:
            raise BackboneError(f"{self.path} cannot be loaded: {' '.join(str(error).split())[:300]}") from error

    def _folder(self, *, download: bool) -> Path:
        folder = Path(self.path)
        if folder.is_dir():
            return folder
        return hub_folder(self.path, self.revision, FILES, download=download, key="backbone.path")

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
            import transformers

            try:
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except MemoryError:
                raise
            except Exception as error:
                short = " ".join(str(error).split())[:300]
                raise BackboneError(f"The tokenizer of {self.path} cannot be loaded: {short}") from error
            return content_of_transformers(tokenizer), _padded_rows(tokenizer, context_length)

        found = find_tokenization(_tokenizer_key(folder), cache_dir, load)
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

    def _tower(self, config: dict[str, Any], name: str) -> dict[str, Any]:
        """Return a tower's settings with the library's defaults filled in: files leave out what equals a default."""
        import transformers

        whole = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config)
        tower: dict[str, Any] = getattr(whole, name).to_dict()
        return tower


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
    for part in ("vision_model", "visual_projection"):
        if hasattr(model, part):
            delattr(model, part)
    return model, {**report, "unexpected_keys": ()}


def _without_place(report: Mapping[str, Any]) -> list[str]:
    """Return the names of weights that a model has no place for; places of tokens are counted and not learned."""
    return sorted(str(key) for key in report["unexpected_keys"] if not str(key).endswith("position_ids"))


def _tokenizer_key(folder: Path) -> str:
    """Return the key of all small files of a model folder, the tokenizer's among them, and of what reads them."""
    return content_key({"files": small_files(folder), "versions": versions("transformers", "tokenizers")})


def _padded_rows(tokenizer: Any, context_length: int) -> Callable[[Sequence[str]], torch.Tensor]:
    """Return a function that turns texts into rows of ids which fill the context."""

    def rows_of(texts: Sequence[str]) -> torch.Tensor:
        rows: torch.Tensor = tokenizer(
            list(texts), padding="max_length", max_length=context_length, truncation=True, return_tensors="pt"
        )["input_ids"]
        return rows

    return rows_of


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
