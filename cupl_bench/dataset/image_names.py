"""A name for each of many images, in one buffer: eight bytes each beyond their text."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Int64, UInt8

__all__ = ["ImageNames"]


@dataclass(frozen=True, eq=False)
class ImageNames(Sequence[str]):
    """Names as a person reads them: bytes that are no UTF-8 stand there as escapes.

    ``content``: the bytes of all names. ``ends``: where each ends, after a zero.
    """

    content: UInt8[np.ndarray, " b"]
    ends: Int64[np.ndarray, " zero_and_n"]

    @classmethod
    def of(cls, names: Iterable[str]) -> "ImageNames":
        """``names``, each taken once."""
        content, ends = bytearray(), array("q", [0])
        for name in names:
            content += _encoded(name)
            ends.append(len(content))
        return cls(np.frombuffer(content, dtype=np.uint8), np.frombuffer(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, which: int) -> str: ...
    @overload
    def __getitem__(self, which: slice) -> "ImageNames": ...
    def __getitem__(self, which: int | slice) -> "str | ImageNames":
        if isinstance(which, slice):
            return self.take(np.arange(*which.indices(len(self))))
        return self._bytes(which).decode("utf-8", "backslashreplace")

    def file_name(self, index: int) -> str:
        """Name i as Python opens it: bytes that are no UTF-8 stand there as half surrogate pairs."""
        return self._bytes(index).decode("utf-8", "surrogateescape")

    def take(self, indices: Int64[np.ndarray, " m"]) -> "ImageNames":
        """Return those at ``indices``, in that order."""
        lengths = self.ends[indices + 1] - self.ends[indices]
        ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        content = b"".join(self._bytes(index) for index in indices.tolist())
        return ImageNames(np.frombuffer(content, dtype=np.uint8), ends)

    def _bytes(self, index: int) -> bytes:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        return self.content[self.ends[place] : self.ends[place + 1]].tobytes()


def _encoded(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON can hold halves of pairs that no file name has
        return name.encode("utf-8", "surrogatepass")
