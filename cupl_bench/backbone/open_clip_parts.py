"""What a model of open_clip is made of, before it is built: its files, and its tokenizer with its key."""

import hashlib
import json
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cupl_bench.backbone.open_clip_tables import merges_file
from cupl_bench.backbone.tokenization import small_files, versions
from cupl_bench.errors import BackboneError, first, nearest
from cupl_bench.identity import content_key
from cupl_bench.libraries import load_open_clip

__all__ = ["ModelFiles", "open_clip_tokenizer", "tokenizer_key"]


CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
"""A code of NLLB: three letters of the language (ISO 639-3) and four of the script (ISO 15924)."""


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The files that a model is loaded from.

    ``config``: open_clip's, of the architecture. ``weights``: a file, of which ``state_dict_key`` is the entry to take;
    None where one alone fits. ``tower``: the folder with the config of a text tower of transformers; None for one of
    open_clip. ``tokenizer``: a file of merges, or the folder of a tokenizer of transformers.
    """

    config: Mapping[str, Any]
    weights: Path
    state_dict_key: str | None
    tower: Path | None
    tokenizer: Path


def open_clip_tokenizer(settings: Mapping[str, Any], folder: Path) -> Any:
    """Return the tokenizer that open_clip makes of the settings of a text tower, from these files.

    Source: open_clip 3.3.0, `factory.py`, `get_tokenizer`.

    Raises:
        BackboneError: the tokenizer is told a language that it has no token of.
    """
    load_open_clip(("transformers",) if folder.is_dir() else ())  # a tokenizer of a folder is read by transformers
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    given = dict(settings.get("tokenizer_kwargs", {}))
    context_length = settings.get("context_length", 77)
    if folder.is_dir():
        if settings.get("tokenizer_mode"):
            given["tokenizer_mode"] = settings["tokenizer_mode"]
        found = HFTokenizer(str(folder), context_length=context_length, **given)
        if (language := given.get("src_lang")) is not None:
            _check_language(str(language), found.tokenizer.get_vocab())
        return found
    if folder == merges_file():
        return _of_own_merges(context_length, json.dumps(given))
    return SimpleTokenizer(context_length=context_length, **{**given, "bpe_path": str(folder)})


def _check_language(language: str, vocabulary: Mapping[str, int]) -> None:
    """Refuse a language without a token: transformers would take the unknown token for it, without a word."""
    if language not in vocabulary:
        known = [one for one in vocabulary if CODE.fullmatch(one)]
        raise BackboneError(
            f"The tokenizer has no token of the language {language!r}; it knows {len(known)}, such as"
            f" {first(sorted(known), 3) or 'none'}.{nearest(language, known)}"
        )


@lru_cache(maxsize=4)
def _of_own_merges(context_length: int, given: str) -> Any:
    """Return open_clip's tokenizer of its own 49,000 merges, made once: they take up to a fifth of a second.

    A run asks for it twice, to identify the backbone and to encode; a sweep, for each question. open_clip makes one
    whenever it is imported, of which a copy with another length shares the merges and the words that it has merged.
    """
    from open_clip import tokenizer

    settings = json.loads(given)
    of_import: Any = getattr(tokenizer, "_tokenizer", None)
    if settings or type(of_import) is not tokenizer.SimpleTokenizer:
        return tokenizer.SimpleTokenizer(context_length=context_length, **settings)
    found: Any = copy(of_import)
    found.context_length = context_length
    return found


def tokenizer_key(settings: Mapping[str, Any], folder: Path) -> str:
    """Return the key of a tokenizer's settings and files, and of the versions of what reads them."""
    found = versions("open_clip_torch", "ftfy", "regex")
    if folder.is_dir():
        files: object = small_files(folder)
        found |= versions("transformers", "tokenizers", "sentencepiece")
    elif folder == merges_file():
        files = None  # the version says which
    else:
        files = hashlib.sha256(folder.read_bytes()).hexdigest()
    return content_key({"text_cfg": settings, "merges": files, "versions": found})
