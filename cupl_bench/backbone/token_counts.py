"""How many tokens texts have, by the tokenizer of an open_clip architecture; without its model."""

from collections.abc import Callable, Sequence
from importlib import import_module

from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.backbone.open_clip_tables import architectures, model_config
from cupl_bench.errors import BackboneError, nearest

__all__ = ["token_counter"]

UNCUT = 1_000_000
"""A context that no text fills: lengths are those before anything is cut."""


def token_counter(architecture: str) -> tuple[Callable[[Sequence[str]], list[int]], int]:
    """Return a function that counts the tokens of texts, start and end included, uncut; and how many the model reads.

    Raises:
        BackboneError: open_clip has no such architecture, or its tokenizer cannot be had here.
    """
    config = model_config(architecture)
    if config is None:
        raise BackboneError(
            f"open_clip has no architecture {architecture!r}, whose tokenizer could count."
            f"{nearest(architecture, architectures())}"
        )
    context_length = int(config["text_cfg"].get("context_length", 77))
    try:
        tokenizer = import_module("open_clip").get_tokenizer(architecture, context_length=UNCUT)
    except Exception as error:  # of whatever library reads it: that of Hugging Face raises plain Exception
        raise BackboneError(
            f"The tokenizer of {architecture} is not available here ({' '.join(str(error).split())[:200]}). ViT-B-32"
            " has one that needs no download."
        ) from error
    if (fast := FastBpe.from_tokenizer(tokenizer)) is not None:
        return lambda texts: [len(ids) for ids in fast(texts)[0]], context_length
    if hasattr(tokenizer, "encode"):
        return lambda texts: [len(tokenizer.encode(text)) + 2 for text in texts], context_length
    return lambda texts: [
        len(tokenizer.tokenizer(tokenizer.clean_fn(text))["input_ids"]) for text in texts
    ], context_length
