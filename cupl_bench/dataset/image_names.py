"""A name for each of many images, in one column of pyarrow: eight bytes each beyond their text."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

__all__ = ["ImageNames"]


@dataclass(frozen=True, eq=False)
class ImageNames(Sequence[str]):
    """Names as a person reads them: bytes that are not UTF-8 stand there as escapes.

    ``column``: the bytes of each name.
    """

    column: pa.LargeBinaryArray

    @classmethod
    def of(cls, names: Iterable[str]) -> "ImageNames":
        """Return ``names``, each taken once."""
        content, ends = bytearray(), array("q", [0])  # a list of them all would take five times as much for a while
        for name in names:
            content += _encoded(name)
            ends.append(len(content))
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(content)]
        return cls(pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends) - 1, buffers))

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, which: int) -> str: ...
    @overload
    def __getitem__(self, which: slice) -> "ImageNames": ...
    def __getitem__(self, which: int | slice) -> "str | ImageNames":
        if isinstance(which, slice):
            return self.take(np.arange(*which.indices(len(self))))
        return self._bytes(which).decode("utf-8", "backslashreplace")

    def file_name(self, index: int) -> str:
        """Return name i as Python opens it: bytes that are not UTF-8 stand there as half surrogate pairs."""
        return self._bytes(index).decode("utf-8", "surrogateescape")

    def take(self, indices: Int64[np.ndarray, " m"]) -> "ImageNames":
        """Return those at ``indices``, in that order: a copy, so that a worker is sent no more than its part."""
        return ImageNames(self.column.take(pa.array(indices)))

    def _bytes(self, index: int) -> bytes:
        name: bytes = self.column[int(index)].as_py()
        return name


def _encoded(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON can hold halves of pairs that no file name has
        return name.encode("utf-8", "surrogatepass")
