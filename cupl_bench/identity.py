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

    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: a value is not plain data.
    """
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def run_key(question: Mapping[str, object]) -> str:
    """Return twelve hex digits that change when, and only when, the question changes.

    >>> len(run_key({"dataset": "demo"})), run_key({"dataset": "demo"}) == run_key({"dataset": "cub"})
    (12, False)
    """
    return content_key({"protocol_version": PROTOCOL_VERSION, **question})[:12]


def bytes_key(content: bytes) -> bytes:
    """Return the 16 bytes by which stored features of ``content`` (an image file) are found.

    >>> bytes_key(b"an image").hex()
    'a5df3fde7b200c3fa2791144c7e05c5c'
    """
    return hashlib.sha256(content).digest()[:16]


def sequence_keys(sequences: Iterable[tuple[int, ...]]) -> list[bytes]:
    """Return the 16 bytes by which stored features of each token sequence are found.

    >>> [key.hex() for key in sequence_keys([(49406, 1125, 49407)])]
    ['641cd8875f595cc334aa693262353eff']
    """
    return [hashlib.sha256(np.asarray(ids, dtype="<u4").tobytes()).digest()[:16] for ids in sequences]


def text_keys(texts: Iterable[str]) -> list[bytes]:
    """Return the 16 bytes by which what is known of each text is found.

    >>> [key.hex() for key in text_keys(["a photo of a frog."])]
    ['13e161fdc46d7b922afa12b9949ab971']
    """
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts]
