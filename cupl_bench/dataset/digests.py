"""Content keys of files, computed once: a file is read again only when its size or times have changed."""

import errno
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from stat import S_ISREG

import numpy as np

from cupl_bench.errors import DatasetError
from cupl_bench.identity import bytes_key, content_key
from cupl_bench.progress import track
from cupl_bench.store import DamagedFileError, read_arrays, set_aside, write_arrays

__all__ = ["file_digest", "keys_of_files", "remembered_keys"]

FRESH_NS = 2_000_000_000
"""A file that changed less than two seconds ago may change again within one tick of its clock: not remembered."""


def _stamp(path: Path) -> tuple[int, int, int]:
    """Size, and times of change in nanoseconds; the second time cannot be set back by a program."""
    stat = path.stat()
    if not S_ISREG(stat.st_mode):  # reading a pipe would wait for ever
        raise OSError(errno.EINVAL, "it is no file but a pipe, a socket, a device or a folder", str(path))
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _memo_path(cache_dir: Path, *names: str) -> Path:
    return cache_dir / "keys" / f"{content_key({'names': names})[:24]}.safetensors"


def _read_memo(path: Path, *names: str) -> dict[str, np.ndarray]:
    """What is remembered under these names; nothing where the file is not there, damaged, or of another version."""
    try:
        found = read_arrays(path)[0]
        if lost := [name for name in names if name not in found]:
            raise DamagedFileError(f"{path} lacks {lost[0]}, as files of other versions may")
    except FileNotFoundError:
        return {}
    except DamagedFileError as error:
        set_aside(path, error)
        return {}
    return found


def _stamps(paths: Sequence[Path]) -> list[tuple[int, int, int]]:
    stamps, refused = [], []
    for path in paths:
        try:
            stamps.append(_stamp(path))
        except OSError as error:
            refused.append(f"{path} ({error.strerror})")
    if refused:
        raise DatasetError(
            f"{len(refused)} of {len(paths)} files cannot be read, first: {'; '.join(refused[:3])}. Mend or remove"
            " them."
        )
    return stamps


def keys_of_files(paths: Sequence[Path], root: Path, cache_dir: Path) -> list[bytes]:
    """The content key of each file; only files that are new or have changed are read.

    Raises:
        DatasetError: files cannot be read.
    """
    memo_path = _memo_path(cache_dir, "files", str(root.resolve()))
    memo = _read_memo(memo_path, "names", "stamps", "keys")
    known: dict[bytes, tuple[tuple[int, ...], bytes]] = {}
    if memo:
        known = {
            name.tobytes(): (tuple(int(part) for part in stamp), key.tobytes())
            for name, stamp, key in zip(memo["names"], memo["stamps"], memo["keys"], strict=True)
        }
    names = [hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).digest()[:16] for path in paths]
    stamps = _stamps(paths)
    keys: list[bytes] = [b""] * len(paths)
    unread = []
    for place, (name, stamp) in enumerate(zip(names, stamps, strict=True)):
        remembered = known.get(name)
        if remembered is not None and remembered[0] == stamp:
            keys[place] = remembered[1]
        else:
            unread.append(place)
    now = time.time_ns()
    for place in track(unread, "reading images for their content keys"):
        try:
            keys[place] = bytes_key(paths[place].read_bytes())
        except OSError as error:
            raise DatasetError(f"{paths[place]} cannot be read ({error.strerror}). Mend or remove it.") from error
    if unread:
        settled = [place for place, stamp in enumerate(stamps) if max(stamp[1:]) < now - FRESH_NS]
        write_arrays(
            memo_path,
            {
                "names": np.frombuffer(b"".join(names[i] for i in settled), dtype=np.uint8).reshape(-1, 16),
                "stamps": np.array([stamps[i] for i in settled], dtype=np.int64).reshape(-1, 3),
                "keys": np.frombuffer(b"".join(keys[i] for i in settled), dtype=np.uint8).reshape(-1, 16),
            },
            {"content": "content keys of files"},
        )
    return keys


def remembered_keys(
    files: Sequence[Path], what: Sequence[str], cache_dir: Path, compute: Callable[[], Sequence[bytes]]
) -> list[bytes]:
    """The content keys of images that lie inside ``files``, computed again when a file or ``what`` changes."""
    stamps = [list(_stamp(path)) for path in files]
    memo_path = _memo_path(cache_dir, "inside", *what, *(str(path.resolve()) for path in files))
    memo = _read_memo(memo_path, "stamps", "keys")
    if memo and memo["stamps"].tolist() == stamps:
        return [key.tobytes() for key in memo["keys"]]
    now = time.time_ns()
    keys = list(compute())
    if all(max(stamp[1:]) < now - FRESH_NS for stamp in stamps):
        write_arrays(
            memo_path,
            {
                "stamps": np.array(stamps, dtype=np.int64).reshape(-1, 3),
                "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16),
            },
            {"content": "content keys of the images inside files"},
        )
    return keys


def file_digest(path: Path, cache_dir: Path) -> str:
    """The sha256 of a file, 64 hex digits; a large one is read again only when it changes.

    Raises:
        OSError: it cannot be read.
    """
    stamp = np.array(_stamp(path), dtype=np.int64)
    memo_path = _memo_path(cache_dir, "digest", str(path.resolve()))
    memo = _read_memo(memo_path, "stamp", "sha256")
    if memo and np.array_equal(memo["stamp"], stamp):
        return memo["sha256"].tobytes().hex()
    now = time.time_ns()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if max(stamp[1:].tolist()) < now - FRESH_NS:
        write_arrays(
            memo_path,
            {"stamp": stamp, "sha256": np.frombuffer(digest, dtype=np.uint8)},
            {"content": "sha256 of a file"},
        )
    return digest.hex()
