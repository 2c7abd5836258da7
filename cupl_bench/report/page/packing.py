"""What the page's scripts hold: compressed JSON, in which nothing can end an element or a line."""

import base64
import gzip
import json
import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int64
from pydantic_core import to_json

__all__ = ["as_json", "data_script"]

WORDS = 100_000
"""Whole numbers below this are written from a list of words."""
COMPRESSION = 4
"""Of gzip: 6 takes five times as long for files that are a tenth smaller."""


def _plain(value: object) -> object:
    """Return ``value`` as JSON knows it: numbers of NumPy and pandas as Python's, NaN and NA as None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, np.generic):
        value = value.item()
        return _plain(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if pd.isna(value):
        return None
    return str(value)


def as_json(content: object) -> str:
    """Return JSON that may stand inside a script element: no character of it can end the element or a line."""
    if isinstance(content, dict) and any(isinstance(one, np.ndarray) for one in content.values()):
        parts = (f"{_text(str(name))}:{_text(one)}" for name, one in content.items())
        text = f"{{{','.join(parts)}}}"
    else:
        text = _text(content)
    if not text.isascii():
        text = json.dumps(json.loads(text), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(content: object) -> str:
    if isinstance(content, np.ndarray):
        return f"[{_listed(content)}]"
    try:
        return to_json(content, inf_nan_mode="null").decode()  # a third of the time that json takes
    except ValueError:  # something that it does not know, or half of a character, which are seldom
        return json.dumps(_plain(content), allow_nan=False, separators=(",", ":"))


def _listed(values: Int64[np.ndarray, " n"]) -> str:
    """Return whole numbers with commas between them; of small ones the words are made once and copied."""
    if not len(values):
        return ""
    if values.min() < 0 or values.max() >= WORDS:
        return ",".join(map(str, values.tolist()))
    words = _words(1 << int(values.max()).bit_length()).take(pa.array(values))
    listed: bytes = words.buffers()[2].to_pybytes()
    return listed[:-1].decode("ascii")


@lru_cache(maxsize=8)
def _words(number: int) -> pa.BinaryArray:
    """Return "0," and so on for this many numbers."""
    return pa.array([f"{one}," for one in range(number)], type=pa.binary())


def data_script(name: str, content: object) -> bytes:
    """Return a script that hands ``content`` to the page: gzip of JSON, as base64."""
    packed = gzip.compress(as_json(content).encode("ascii"), compresslevel=COMPRESSION, mtime=0)
    return f'cuplBench.receive("{name}","{base64.b64encode(packed).decode("ascii")}");\n'.encode("ascii")
