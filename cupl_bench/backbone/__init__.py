"""Backbones: an image tower, a text tower, their tokenizer and their preprocessing: one pair of weights.

A backbone knows no prompts and no data set. Its `BackboneFacts` are known before the weights are loaded, so that a
run whose features are stored never loads them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, get_type_hints, runtime_checkable

from cupl_bench.border import name_of, parse, shown
from cupl_bench.dataset.decode import Decode
from cupl_bench.errors import BackboneError
from cupl_bench.identity import PROTOCOL_VERSION, content_key

if TYPE_CHECKING:  # heavy: who only asks what a backbone is loads none
    import torch
    from jaxtyping import Float, Float32
    from torch import Tensor

    from cupl_bench.backbone.pixels import ImageTransform

__all__ = [
    "Backbone",
    "BackboneFacts",
    "BackboneSource",
    "KnownWidth",
    "Precision",
    "TextEncoder",
    "TextSource",
    "TextTower",
    "TokenIds",
    "Tokens",
    "WeightsNotHereError",
    "identified_by",
    "loaded_by",
    "text_loaded_by",
]

Given = TypeVar("Given")
Tower = TypeVar("Tower", bound="TextTower")
Precision = Literal["fp32", "bf16", "fp16"]
TokenIds = tuple[int, ...]


class WeightsNotHereError(Exception):
    """The weights would have to be downloaded first; the text says from where."""


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """The facts that identify a backbone's features.

    ``model`` is the architecture in full (the configuration that the model is built from), ``transform`` the image
    transform in words, ``activation`` the one of its transformer blocks, ``image_size`` in pixels; it and ``embed_dim``
    are None where the model is not here and only features of it were given. ``tokenizer`` is
    the key of all that turns a text into ids, the versions of libraries included: what is kept by texts is kept under
    it. ``tokenization`` is the digest of how texts become ids, whatever the versions, None for CLIP's own and the
    demo's. Features depend on neither, since they are found by the ids. ``origin``: the repository of the hub that the
    weights come from, with its commit, as OWNER/NAME@COMMIT; None where they come from elsewhere.
    """

    architecture: str
    pretrained: str
    weights_sha256: str
    activation: str
    image_size: tuple[int, int] | None
    embed_dim: int | None
    transform: Mapping[str, object]
    model: Mapping[str, Any]
    tokenizer: str
    tokenization: str | None
    origin: str | None = None  # a default: sources of a user's own were written before it was there

    def __post_init__(self) -> None:
        hints = get_type_hints(BackboneFacts)
        for one in fields(self):
            object.__setattr__(self, one.name, parse(hints[one.name], getattr(self, one.name), one.name, BackboneError))
        if not self.weights_sha256:
            raise BackboneError("weights_sha256 is blank; without it two backbones could be taken for one.")
        if min([*(self.image_size or ()), 1 if self.embed_dim is None else self.embed_dim]) < 1:
            raise BackboneError(f"image_size={self.image_size} and embed_dim={self.embed_dim} should be 1 or more.")
        for name in ("transform", "model"):
            try:
                content_key(getattr(self, name))
            except (TypeError, ValueError) as error:
                raise BackboneError(f"{name} holds what is no plain data, as keys are made of: {error}.") from error

    def image_key(self, precision: Precision, decode: Decode = "exact") -> str:
        """Return the key of everything that image features depend on but the image; 64 hex digits."""
        return content_key({"kind": "images", "transform": self.transform, "decode": decode, **self._common(precision)})

    def text_key(self, precision: Precision) -> str:
        """Return the key of everything that text features depend on but the token ids; 64 hex digits."""
        return content_key({"kind": "texts", **self._common(precision)})

    def _common(self, precision: Precision) -> dict[str, object]:
        return {
            "weights_sha256": self.weights_sha256,
            "model": self.model,
            "precision": precision,
            "protocol_version": PROTOCOL_VERSION,
        }

    def as_record(self) -> dict[str, object]:
        """Return the facts that features depend on, as plain data."""
        return {
            name: value for name, value in asdict(self).items() if name not in ("tokenizer", "tokenization", "origin")
        }


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Prompts as the text tower reads them: one id sequence per text, and which texts were cut to fit."""

    sequences: tuple[TokenIds, ...]
    truncated: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.sequences) != len(self.truncated):
            raise BackboneError(
                f"A tokenizer gives {len(self.sequences):,} sequences and says of {len(self.truncated):,} whether they"
                " were cut; both are one for each text."
            )


@runtime_checkable
class TextEncoder(Protocol):
    """Tokenizes, and encodes token sequences that are all different."""

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Return one sequence per text; equal sequences have equal features."""
        ...

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> "Float32[Tensor, 'p d']":
        """Return the features of the sequences, on the CPU, not scaled."""
        ...

    @property
    def note(self) -> str:
        """How texts are encoded, in a few words."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """What of a loaded model texts and scores need.

    ``facts``: those of the whole model.
    ``logit_scale`` and ``logit_bias``: of the model's own temperature; the bias is None unless it was trained with one.
    """

    facts: BackboneFacts
    text: TextEncoder
    logit_scale: float
    logit_bias: float | None

    def __post_init__(self) -> None:
        for name, hint in (("logit_scale", float), ("logit_bias", float | None)):
            object.__setattr__(self, name, parse(hint, getattr(self, name), name, BackboneError))
        if not (math.isfinite(self.logit_scale) and math.isfinite(self.logit_bias or 0)):
            raise BackboneError(f"logit_scale={self.logit_scale} and logit_bias={self.logit_bias} should be finite.")


@dataclass(frozen=True, kw_only=True)
class Backbone(TextTower):
    """A loaded model: both towers.

    ``transform``: one image to its pixels.
    ``encode_images``: a batch of these, or of the floats that they stand for, to features, on the model's device, in
    its precision, not scaled.
    """

    device: "torch.device"
    transform: "ImageTransform"
    encode_images: "Callable[[Tensor], Float[Tensor, 'n d']]"


@runtime_checkable
class BackboneSource(Protocol):
    """Finds a backbone's files and loads them."""

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        """Identify the backbone by its configuration and the content of its weights, without loading them.

        Raises:
            WeightsNotHereError: the weights are not on this machine and ``download`` is False.
        """
        ...

    def load(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> Backbone:
        """Return the model that `identify` found, ready to encode."""
        ...


@runtime_checkable
class TextSource(Protocol):
    """A `BackboneSource` that can also load its text tower without its image tower."""

    def load_text(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> TextTower:
        """Return the text tower of the model that `load` gives: the same features to the last bit."""
        ...


@runtime_checkable
class KnownWidth(Protocol):
    """A `BackboneSource` that knows how wide its features are without its weights."""

    def width(self) -> int | None:
        """Return how many values a feature has; None where that stands beside weights that are not here."""
        ...


def identified_by(source: BackboneSource, cache_dir: Path, *, download: bool) -> BackboneFacts:
    """Return the facts of a backbone, maybe of a class of a user's own.

    Raises:
        BackboneError: it gives anything else; a message of a user's class names the class.
        WeightsNotHereError: as `BackboneSource.identify`.
    """
    return _given(source, "identify", BackboneFacts, lambda: source.identify(cache_dir, download=download))


def loaded_by(source: BackboneSource, facts: BackboneFacts, device: "torch.device", precision: Precision) -> Backbone:
    """Return the loaded backbone, maybe of a class of a user's own.

    Raises:
        BackboneError: it gives anything else, or another model than the one that was identified.
    """
    backbone = _given(source, "load", Backbone, lambda: source.load(facts, device, precision))
    return _identified(source, "load", backbone, facts)


def text_loaded_by(
    source: BackboneSource, facts: BackboneFacts, device: "torch.device", precision: Precision
) -> TextTower:
    """Return the text tower alone where the source can load it, else the whole backbone.

    Raises:
        BackboneError: as `loaded_by`.
    """
    if not isinstance(source, TextSource) or not _loads_text_itself(type(source)):
        return loaded_by(source, facts, device, precision)
    tower = _given(source, "load_text", TextTower, lambda: source.load_text(facts, device, precision))
    return _identified(source, "load_text", tower, facts)


def _loads_text_itself(kind: type) -> bool:
    """Return whether the class that says how to load the whole model also says how to load its text tower.

    A subclass that has its own `load` and inherits `load_text` would give the text tower of another model.
    """
    loader = next((one for one in kind.__mro__ if {"load", "load_text"} & vars(one).keys()), None)
    return loader is not None and "load_text" in vars(loader)


def _identified(source: BackboneSource, method: str, tower: Tower, facts: BackboneFacts) -> Tower:
    if tower.facts != facts:
        raise BackboneError(f"{name_of(source)}.{method} gives another model than `identify` has found.")
    return tower


def _given(source: BackboneSource, method: str, kind: type[Given], ask: Callable[[], object]) -> Given:
    name = name_of(source)
    try:
        found = ask()
    except BackboneError as error:
        if name.startswith("cupl_bench."):
            raise
        raise BackboneError(f"{name}: {error}") from error
    if not isinstance(found, kind):
        raise BackboneError(
            f"{name}.{method} gives {shown(found)}, of the class {type(found).__name__}; it should give a"
            f" cupl_bench.backbone.{kind.__name__}."
        )
    return found
