"""Many keys of 16 bytes in few bytes more: ten million of them take 160 MB, and 200 MB where they can be found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from jaxtyping import Int64, UInt8, UInt32, UInt64

__all__ = ["KEY_BYTES", "KeyIndex", "Keys"]

KEY_BYTES = 16
AT_ONCE = 1_000_000
"""Keys that are sorted and looked up together."""


@dataclass(frozen=True, eq=False)
class Keys(Sequence[bytes]):
    """Keys in one array; one of them is `bytes`, a part of them `Keys`."""

    packed: UInt8[np.ndarray, "n 16"]

    @classmethod
    def of(cls, keys: Iterable[bytes]) -> "Keys":
        """Return ``keys`` in one array; `Keys` are returned as they are."""
        if isinstance(keys, Keys):
            return keys
        return cls(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES))

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, which: int) -> bytes: ...
    @overload
    def __getitem__(self, which: slice | np.ndarray) -> "Keys": ...
    def __getitem__(self, which: int | slice | np.ndarray) -> "bytes | Keys":
        if isinstance(which, slice | np.ndarray):
            return Keys(self.packed[which])
        return bytes(self.packed[which])

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(key) for key in self.packed)


@dataclass
class KeyIndex:
    """The numbers of keys, in the order in which they were added; of equal keys the first. 20 bytes for each.

    A key is two whole numbers, and the index is sorted by both. Keys are digests: a search for the first number nearly
    always finds the key, and the second one proves it.
    """

    _heads: UInt64[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0, dtype=np.uint64), repr=False)
    _tails: UInt64[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0, dtype=np.uint64), repr=False)
    _numbers: UInt32[np.ndarray, " n"] = field(default_factory=lambda: np.empty(0, dtype=np.uint32), repr=False)
    _new: list[Keys] = field(default_factory=list, repr=False)

    def add(self, keys: Keys) -> None:
        """Number ``keys`` on from the last one."""
        self._new.append(keys)

    def find(self, keys: Keys) -> Int64[np.ndarray, " m"]:
        """Return the number of each key; -1 where it was never added."""
        if self._new:
            self._sort()
        found = np.full(len(keys), -1, dtype=np.int64)
        if len(self._heads):
            for start in range(0, len(keys), AT_ONCE):
                found[start : start + AT_ONCE] = self._find(keys[start : start + AT_ONCE])
        return found

    def _find(self, keys: Keys) -> Int64[np.ndarray, " m"]:
        heads, tails = _halves(keys)
        order = np.argsort(heads)  # in sorted order a search is ten times quicker
        heads, tails = heads[order], tails[order]
        at = np.searchsorted(self._heads, heads)
        at[at == len(self._heads)] = 0
        same_head = self._heads[at] == heads
        # Keys that share their first half with others before them: none among digests.
        for place in np.flatnonzero(same_head & (self._tails[at] != tails)):
            end = np.searchsorted(self._heads, heads[place], side="right")
            within = np.searchsorted(self._tails[at[place] : end], tails[place])
            at[place] = min(at[place] + within, end - 1)
        found = np.empty(len(keys), dtype=np.int64)
        found[order] = np.where(same_head & (self._tails[at] == tails), self._numbers[at].astype(np.int64), -1)
        return found

    def _sort(self) -> None:
        halves = [_halves(keys) for keys in self._new]
        before, count = len(self._heads), sum(len(keys) for keys in self._new)
        self._new = []
        heads = np.concatenate([self._heads, *(head for head, _ in halves)])
        tails = np.concatenate([self._tails, *(tail for _, tail in halves)])
        numbers = np.concatenate([self._numbers, np.arange(before, before + count, dtype=np.uint32)])
        del halves
        order = np.argsort(heads)
        self._heads = heads[order]
        if (self._heads[1:] == self._heads[:-1]).any():  # where nothing is equal the quicker sort is as good
            order = np.lexsort((tails, heads))  # keeps the order of equal keys
            self._heads = heads[order]
        self._tails, self._numbers = tails[order], numbers[order]


def _halves(keys: Keys) -> tuple[UInt64[np.ndarray, " n"], UInt64[np.ndarray, " n"]]:
    both = np.ascontiguousarray(keys.packed).view(np.uint64)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])
