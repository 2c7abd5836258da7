"""Content keys of files, computed once: a file is read again only when its size or times have changed."""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from stat import S_ISREG

import numpy as np
from jaxtyping import Bool, Int64

from cupl_bench.dataset.image_names import ImageNames
from cupl_bench.errors import DatasetError
from cupl_bench.identity import bytes_key, content_key
from cupl_bench.keys import KEY_BYTES, Keys
from cupl_bench.progress import progress
from cupl_bench.store import RowStore

__all__ = ["differing", "file_digest", "keys_inside", "keys_of_files"]

FRESH_NS = 2_000_000_000
"""A file that changed less than two seconds ago may change again within one tick of its clock: not remembered."""
KEPT_AT_ONCE = 16_384
"""Keys that are written together: what a killed job has to read again."""


def _stamp(path: str | Path) -> tuple[int, int, int]:
    """Return size and times of change in nanoseconds; a program cannot set the second time back."""
    stat = os.stat(path)  # noqa: PTH116 - called for each image
    if not S_ISREG(stat.st_mode):  # reading a pipe would wait for ever
        raise OSError(errno.EINVAL, "it is not a file but a pipe, a socket, a device or a folder", str(path))
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _is_settled(stamp: tuple[int, int, int]) -> bool:
    return max(stamp[1:]) < time.time_ns() - FRESH_NS


def _mark(*facts: object) -> bytes:
    """Return 16 bytes that change with where an image lies and when that changed."""
    return hashlib.sha256("\0".join(map(str, facts)).encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


def keys_of_files(folder: str, names: ImageNames, root: Path, cache_dir: Path) -> Keys:
    """Return the content key of each file below ``folder``; only files that are new or have changed are read.

    Args:
        folder: where the files lie.
        names: of the files, below the folder.
        root: the folder of the data set.
        cache_dir: where keys are remembered.

    Raises:
        DatasetError: files cannot be read.
    """
    marks, settled = bytearray(), bytearray()
    refused: list[str] = []
    num_refused = 0
    for index in range(len(names)):
        path = f"{folder}/{names.file_name(index)}"
        try:
            stamp = _stamp(path)
        except OSError as error:
            num_refused += 1
            refused += [f"{path} ({error.strerror})"] if num_refused <= 3 else []
        else:
            marks += _mark(path, *stamp)
            settled.append(_is_settled(stamp))
    if refused:
        raise DatasetError(
            f"{num_refused} of {len(names)} files cannot be read, first: {'; '.join(refused)}. Repair or remove them."
        )

    def read(index: int) -> bytes:
        path = Path(folder, names.file_name(index))
        try:
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}). Repair or remove it.") from error

    memo = _memo(cache_dir, "files", str(root.resolve()))
    return _remembered(memo, Keys.of([bytes(marks)]), np.frombuffer(settled, dtype=bool), read)


def keys_inside(
    files: Sequence[Path],
    what: Sequence[str],
    indices: Int64[np.ndarray, " m"],
    read: Callable[[int], bytes],
    cache_dir: Path,
) -> Keys:
    """Return the content keys of those images inside ``files``, read again when a file or ``what`` changes.

    Args:
        files: where the images lie.
        what: which of their images these are.
        indices: the places of the images whose keys are wanted.
        read: the bytes of image i of all.
        cache_dir: where keys are remembered.
    """
    stamps = [_stamp(path) for path in files]
    settled = np.full(len(indices), all(map(_is_settled, stamps)))
    names = [*what, *(str(path.resolve()) for path in files)]
    state = content_key({"names": names, "stamps": stamps})
    marks = Keys.of([b"".join(_mark(state, index) for index in indices.tolist())])
    return _remembered(_memo(cache_dir, "inside", *names), marks, settled, lambda place: read(int(indices[place])))


def _memo(cache_dir: Path, *names: str) -> RowStore:
    """Return the store of content keys by the marks of images; jobs on parts of a data set share it."""
    folder = cache_dir / "keys" / content_key({"names": names})[:24]
    return RowStore(folder=folder, facts={"content": "content keys of images"}, dtype=np.uint8)


def _remembered(memo: RowStore, marks: Keys, settled: Bool[np.ndarray, " n"], read: Callable[[int], bytes]) -> Keys:
    """Return the content key of each image; read those whose mark is not known, and keep the ``settled`` ones."""
    known = memo.present(marks)
    keys = np.empty((len(marks), KEY_BYTES), dtype=np.uint8)
    keys[known] = memo.find(marks[known])[:] if known.any() else 0
    unread = np.flatnonzero(~known)
    with progress(len(unread), "reading images for their content keys") as advance:
        for start in range(0, len(unread), KEPT_AT_ONCE):
            places = unread[start : start + KEPT_AT_ONCE]
            for place in places.tolist():
                keys[place] = np.frombuffer(bytes_key(read(place)), dtype=np.uint8)
                advance(1)
            kept = places[settled[places]]
            if len(kept):
                memo.write(marks[kept], keys[kept])
    return Keys(keys)


def file_digest(path: Path, cache_dir: Path) -> str:
    """Return the sha256 of a file, 64 hex digits; a large one is read again only when it changes.

    Raises:
        OSError: it cannot be read.
    """
    stamp = _stamp(path)
    settled = _is_settled(stamp)
    mark = [_mark(path.resolve(), *stamp)]
    folder = cache_dir / "keys" / "digests"
    memo = RowStore(folder=folder, facts={"content": "sha256 of files"}, dtype=np.uint8)
    if memo.present(mark).all():
        return memo.read(mark).tobytes().hex()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if settled:
        memo.write(mark, np.frombuffer(digest, dtype=np.uint8)[None])
    return digest.hex()


def differing(files: Sequence[Path], promised: Sequence[str], cache_dir: Path) -> list[int]:
    """Return the places of the files whose content is not the promised one; only new or changed files are read.

    Args:
        files: that are compared.
        promised: of each the sha256 (64 hex digits), or the name that Git gives its content (40 hex digits).
        cache_dir: where it is remembered which files are what was promised.

    Raises:
        OSError: a file cannot be read.
    """
    stamps = [_stamp(path) for path in files]
    facts = zip(files, promised, stamps, strict=True)
    marks = Keys.of([b"".join(_mark(path, name, *stamp) for path, name, stamp in facts)])
    memo = RowStore(
        folder=cache_dir / "keys" / "promised", facts={"content": "files that are as promised"}, dtype=np.uint8
    )
    wrong, right = [], []
    unread = np.flatnonzero(~memo.present(marks)).tolist()
    with progress(len(unread), "checking downloaded files") as advance:
        for place in unread:
            if _digest_like(promised[place], files[place]) != promised[place]:
                wrong.append(place)
            elif _is_settled(stamps[place]):
                right.append(place)
            advance(1)
    if right:
        memo.write(marks[np.array(right)], np.ones((len(right), 1), dtype=np.uint8))
    return wrong


def _digest_like(promised: str, path: Path) -> str:
    with path.open("rb") as file:
        if len(promised) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        blob = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while piece := file.read(1 << 20):
            blob.update(piece)
        return blob.hexdigest()
