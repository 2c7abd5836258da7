"""What a model of `transformers` is made of, before it is built: its files, and how its tokenizer is used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cupl_bench.backbone.tokenization import small_files, versions
from cupl_bench.identity import content_key

__all__ = ["ModelFiles", "padded_rows", "tokenizer_key"]


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The files that a model is loaded from.

    ``name``: of the model, for messages. ``weights``: in order. ``state``: gives the model config, the settings of the
    image processor and the key of the tokenizer, as the folder has them now.
    """

    name: str
    folder: Path
    weights: Sequence[Path]
    state: Callable[[], tuple[object, object, str]]


def tokenizer_key(folder: Path) -> str:
    """Return the key of all small files of a model folder, the tokenizer's among them, and of what reads them."""
    return content_key({"files": small_files(folder), "versions": versions("transformers", "tokenizers")})


def padded_rows(tokenizer: Any, context_length: int) -> Callable[[Sequence[str]], Any]:
    """Return a function that turns texts into a tensor: rows of ids which fill the context."""

    def rows_of(texts: Sequence[str]) -> Any:
        return tokenizer(
            list(texts), padding="max_length", max_length=context_length, truncation=True, return_tensors="pt"
        )["input_ids"]

    return rows_of
