"""Backbones: an image tower, a text tower, their tokenizer and their preprocessing: one pair of weights.

A backbone knows no prompts and no data set. Its `BackboneFacts` are known before the weights are loaded, so that a
run whose features are stored never loads them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from cupl_bench.backbone.pixels import ImageTransform
from cupl_bench.dataset.decode import Decode
from cupl_bench.dataset.digests import weights_digest
from cupl_bench.errors import BackboneError
from cupl_bench.identity import PROTOCOL_VERSION, content_key

__all__ = [
    "Backbone",
    "BackboneFacts",
    "BackboneSource",
    "Precision",
    "TextEncoder",
    "TokenIds",
    "Tokens",
    "WeightsNotHereError",
    "check_weights",
]

Precision = Literal["fp32", "bf16", "fp16"]
TokenIds = tuple[int, ...]


class WeightsNotHereError(Exception):
    """The weights would have to be downloaded first; the text says from where."""


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """What identifies a backbone's features.

    ``model`` is the architecture in full (the configuration that the model is built from), ``transform`` the image
    transform in words, ``activation`` the one of its transformer blocks, ``image_size`` in pixels. ``tokenizer`` is
    the key of all that turns a text into ids, None where that is not known; features do not depend on it, since
    they are found by the ids.
    """

    architecture: str
    pretrained: str
    weights_sha256: str
    activation: str
    image_size: tuple[int, int]
    embed_dim: int
    transform: Mapping[str, object]
    model: Mapping[str, object]
    tokenizer: str | None

    def image_key(self, precision: Precision, decode: Decode = "exact") -> str:
        """The key of everything that image features depend on but the image; 64 hex digits."""
        return content_key({"kind": "images", "transform": self.transform, "decode": decode, **self._common(precision)})

    def text_key(self, precision: Precision) -> str:
        """The key of everything that text features depend on but the token ids; 64 hex digits."""
        return content_key({"kind": "texts", **self._common(precision)})

    def _common(self, precision: Precision) -> dict[str, object]:
        return {
            "weights_sha256": self.weights_sha256,
            "model": self.model,
            "precision": precision,
            "protocol_version": PROTOCOL_VERSION,
        }

    def as_record(self) -> dict[str, object]:
        """The facts that features depend on, as plain data."""
        return {name: value for name, value in asdict(self).items() if name != "tokenizer"}


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Prompts as the text tower reads them: one id sequence per text, and which texts were cut to fit."""

    sequences: tuple[TokenIds, ...]
    truncated: tuple[bool, ...]


@runtime_checkable
class TextEncoder(Protocol):
    """Tokenizes, and encodes token sequences that are all different."""

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """One sequence per text; equal sequences have equal features."""
        ...

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> Float32[Tensor, "p d"]:
        """Features of the sequences, on the CPU, not scaled."""
        ...

    @property
    def note(self) -> str:
        """How texts are encoded, in a few words."""
        ...


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A loaded model.

    ``transform``: one image to its pixels.
    ``encode_images``: a batch of these, or of the floats that they stand for, to features, on the model's device, in
    its precision, not scaled.
    ``logit_scale`` and ``logit_bias``: of the model's own temperature; ``sigmoid`` if it was trained with one.
    """

    facts: BackboneFacts
    device: torch.device
    transform: ImageTransform
    encode_images: Callable[[Tensor], Float[Tensor, "n d"]]
    text: TextEncoder
    logit_scale: float
    logit_bias: float | None


@runtime_checkable
class BackboneSource(Protocol):
    """Finds a backbone's files and loads them."""

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        """What the backbone is, from its configuration and the content of its weights, without loading them.

        Raises:
            WeightsNotHereError: the weights are not on this machine and ``download`` is False.
        """
        ...

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        """The model that `identify` found, ready to encode."""
        ...


def check_weights(files: Sequence[Path], facts: BackboneFacts) -> None:
    """See, after loading, that the files of the weights are still those that ``facts`` speak of.

    Raises:
        BackboneError: they were changed since they were hashed, so what was loaded may be either.
    """
    if weights_digest(files) != facts.weights_sha256:
        raise BackboneError(
            f"{' and '.join(str(file) for file in files[:3])} changed between the hash of the weights and their"
            " loading: is a training writing there? Copy the file to another place and give that, or start again."
        )
