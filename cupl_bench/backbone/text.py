"""Text encoders: the prefix tree where the tower allows it, the model's own path where not."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from cupl_bench.backbone import TokenIds, Tokens
from cupl_bench.backbone.prefix_tree import CausalTextTower, encode_sequences, find_causal_tower, prove

__all__ = ["PaddedTextEncoder", "TreeTextEncoder", "choose_text_encoder"]

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest difference of a unit feature between the tree and the model's own path that is still rounding."""


@dataclass(frozen=True, kw_only=True)
class PaddedTextEncoder:
    """The model's own `encode_text` on padded rows: any tower, each distinct row once.

    ``tokenizer``: texts to padded rows of ids. ``is_cut``: whether a text did not fit.
    """

    tokenizer: Callable[[Sequence[str]], Tensor]
    is_cut: Callable[[Sequence[str]], Sequence[bool]]
    encode_text: Callable[[Tensor], Tensor]
    device: torch.device
    note: str = "padded rows"

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = self.tokenizer(texts).tolist()
        return Tokens(sequences=tuple(tuple(row) for row in rows), truncated=tuple(self.is_cut(texts)))

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> Float32[Tensor, "p d"]:
        features = [  # a GPU is waited for with each batch, which is much work, and not with each text
            self.encode_text(torch.tensor(sequences[start : start + batch_size], device=self.device)).float().cpu()
            for start in range(0, len(sequences), batch_size)
        ]
        return torch.cat(features)


@dataclass(frozen=True, kw_only=True)
class TreeTextEncoder:
    """Each distinct prefix of all prompts once; exact for causal towers that pool at the end of the text.

    ``tokenizer``: texts to ids without padding, and which were cut.
    """

    tokenizer: Callable[[Sequence[str]], tuple[Sequence[TokenIds], Sequence[bool]]]
    tower: CausalTextTower
    note: str = "prefix tree"

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        sequences, truncated = self.tokenizer(texts)
        return Tokens(sequences=tuple(sequences), truncated=tuple(truncated))

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> Float32[Tensor, "p d"]:  # noqa: ARG002
        return encode_sequences(self.tower, sequences).cpu()


def choose_text_encoder(
    model: nn.Module,
    padded: PaddedTextEncoder,
    unpadded_tokenizer: Callable[[Sequence[str]], tuple[Sequence[TokenIds], Sequence[bool]]] | None,
    context_length: int,
    pad_id: int,
) -> PaddedTextEncoder | TreeTextEncoder:
    """Return the tree if the tower's structure allows it and a few prompts prove it, else the model's own path."""
    tower = find_causal_tower(model) if unpadded_tokenizer is not None else None
    if tower is None or unpadded_tokenizer is None:
        return padded
    difference = prove(tower, padded.encode_text, context_length=context_length, pad_id=pad_id)
    allowed = TOLERANCE[tower.dtype]
    if not difference <= allowed:  # NaN falls back too
        log.warning(
            "The prefix tree differs from the model's own text encoding by %.1e (allowed %.0e): using padded rows.",
            difference,
            allowed,
        )
        return padded
    return TreeTextEncoder(tokenizer=unpadded_tokenizer, tower=tower)
