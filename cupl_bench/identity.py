"""Content keys of runs and stored artefacts (pure): facts are hashed, never paths, clocks or devices."""

import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np

__all__ = ["PROTOCOL_VERSION", "bytes_key", "content_key", "run_key", "sequence_keys", "text_keys"]

PROTOCOL_VERSION = 1
"""Raised whenever the number of an unchanged question can move; part of every key and every record."""


def content_key(facts: Mapping[str, object]) -> str:
    """Return the sha256 of ``facts`` written as canonical JSON, 64 hex digits.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: a value is not plain data.
    """
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def run_key(question: Mapping[str, object]) -> str:
    """Return twelve hex digits that change when, and only when, the question changes."""
    return content_key({"protocol_version": PROTOCOL_VERSION, **question})[:12]


def bytes_key(content: bytes) -> bytes:
    """Return the 16 bytes by which stored features of ``content`` (an image file) are found."""
    return hashlib.sha256(content).digest()[:16]


def sequence_keys(sequences: Iterable[tuple[int, ...]]) -> list[bytes]:
    """Return the 16 bytes by which stored features of each token sequence are found."""
    return [hashlib.sha256(np.asarray(ids, dtype="<u4").tobytes()).digest()[:16] for ids in sequences]


def text_keys(texts: Iterable[str]) -> list[bytes]:
    """Return the 16 bytes by which what is known of each text is found."""
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]
