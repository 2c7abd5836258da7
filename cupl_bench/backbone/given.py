"""A model that is not on this machine: features and class vectors of it were given, and nothing can be encoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import PositiveInt

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TokenIds, Tokens
from cupl_bench.errors import BackboneError
from cupl_bench.identity import content_key

if TYPE_CHECKING:
    import torch

__all__ = ["GivenSource"]


@dataclass(frozen=True, kw_only=True)
class GivenSource:
    """The temperature of a model whose weights are not here; its name is that of the question.

    ``logit_scale``: its factor from similarities to logits.
    ``width``: of its features; None: that of the features that are given.
    """

    logit_scale: float
    width: PositiveInt | None

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:  # noqa: ARG002 - nothing is looked for
        """Return what is said of the model.

        Raises:
            BackboneError: the temperature is not above zero.
        """
        if not self.logit_scale > 0:
            raise BackboneError(
                f"backbone.logit_scale={self.logit_scale} should be above 0, as 100 of most CLIP models."
            )
        said = content_key({"given": True, "logit_scale": self.logit_scale})
        return BackboneFacts(
            architecture="given",
            pretrained="given",
            weights_sha256=said,
            activation="not known",
            image_size=None,
            embed_dim=self.width,
            transform={"source": "given"},
            model={"given": True},
            tokenizer=said,
            tokenization=None,
        )

    def load(self, facts: BackboneFacts, device: "torch.device", precision: Precision) -> Backbone:  # noqa: ARG002
        """Return a backbone that knows its temperature, and refuses to encode."""
        from cupl_bench.backbone.pixels import ImageTransform

        nothing = _Nothing()
        return Backbone(
            facts=facts,
            device=device,
            transform=ImageTransform(exact=nothing.refuse, fast=None, table=None, affine=None, geometry={}),
            encode_images=nothing.refuse,
            text=nothing,
            logit_scale=self.logit_scale,
            logit_bias=None,
        )


@dataclass(frozen=True)
class _Nothing:
    """A tower that is not here."""

    @property
    def note(self) -> str:
        return "nothing"

    def refuse(self, _: object) -> NoReturn:
        raise BackboneError(
            "backbone=given only says of which model features are; its weights are not here, so nothing can be"
            " encoded. Give both as features (dataset=features prompts=embeddings), or name a model that can be"
            " loaded, such as backbone=vit_b32_openai, whose text tower then encodes the prompts."
        )

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        self.refuse(texts)

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> NoReturn:  # noqa: ARG002
        self.refuse(sequences)
