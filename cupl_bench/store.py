"""Features on disk: content-addressed rows in safetensors shards.

A `RowStore` maps the content of one thing (the bytes of an image, the token ids of a prompt) to one float32 row.
Whatever shares content shares its row: a moved folder, a renamed class or a second prompt strategy computes
nothing again, and one changed byte is a new key. Shards are written to a temporary name and then moved, so that a
reader sees a whole shard or none. Each carries the sha256 of its arrays; a shard that fails the check is set aside
under `damaged/` and its rows count as missing, which rebuilds them. Writers never touch each other's shards: two
runs on one cache lose nothing, at worst they compute the same rows twice.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
from jaxtyping import Bool, Int64, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cupl_bench.errors import ResultsError, UnreadableError
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.keys import KEY_BYTES, KeyIndex, Keys

__all__ = [
    "DamagedFileError",
    "RowStore",
    "StoredRows",
    "files_in",
    "is_unreadable",
    "read_arrays",
    "remove",
    "set_aside",
    "shard_path",
    "tell_unreadable",
    "unreadable",
    "user_cache_dir",
    "write_arrays",
    "write_atomically",
    "write_changed",
    "writing_atomically",
]

log = logging.getLogger(__name__)


def user_cache_dir() -> Path:
    """Return the folder for what can be computed or fetched again, unless a run names another."""
    return Path(os.environ.get("CUPL_BENCH_CACHE") or platformdirs.user_cache_path("cupl_bench"))


class DamagedFileError(Exception):
    """A stored file is not what was written: truncated, altered, or of an unknown schema. Its content was read."""


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """Return the error for a file or folder that is there and may not be read."""
    return UnreadableError(
        f"{path} cannot be read ({error.strerror or error}). If it is another user's, ask for permission (chmod, or a"
        " umask such as 022), or name another place with results_dir=... or cache_dir=..."
    )


def is_unreadable(path: Path) -> bool:
    """Return whether a file is there that may not be read: nothing is known of it, so nothing may take its place."""
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False


_told: set[str] = set()


def tell_unreadable(error: UnreadableError) -> None:
    """Warn, once for each message, that what a file of the cache holds is computed without it."""
    if str(error) not in _told:
        _told.add(str(error))
        log.warning("%s It is left as it is, and what it holds is computed again.", error)


def files_in(folder: Path, ending: str) -> list[Path]:
    """Return the files of a folder with this ending, sorted; none where there is no folder.

    Raises:
        UnreadableError: the folder may not be listed, which is not to be empty.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name.endswith(ending))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def shard_path(folder: Path, keys: Shaped[np.ndarray, "n k"], refused: Collection[str] = ()) -> Path:
    """Return the path for a shard of these keys: named by them, and never that of a file that may not be read.

    ``refused``: names of files that could not be read before, whatever an attempt would give now.
    """
    digest = hashlib.sha256(keys.tobytes())
    while (path := folder / f"{digest.hexdigest()[:24]}.safetensors").name in refused or is_unreadable(path):
        digest.update(b"another")
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, flush it to the disk, and move it there.

    Raises:
        ResultsError: the folder cannot be made or written, or the disk is full.
    """
    with writing_atomically(path) as file:
        file.write(content)


def write_changed(path: Path, content: bytes) -> None:
    """Write ``content`` as `write_atomically`, unless the file holds it already.

    A file that is flushed to the disk costs more than one that is read, and a report has hundreds.

    Raises:
        ResultsError: as `write_atomically`.
    """
    try:
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    except OSError:
        pass  # not there, or it cannot be read, which writing tells better
    write_atomically(path, content)


def remove(path: Path) -> None:
    """Remove a file if it is there: a folder that may not be written is told only where it would change.

    Raises:
        ResultsError: it cannot be removed.
    """
    if not os.path.lexists(path):
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(
            f"{path} is out of date and cannot be removed ({error.strerror or error}). Free or unlock that place, or"
            " name another with results_dir=..."
        ) from error


@contextmanager
def writing_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write into; it moves to ``path`` if the block succeeds, and is removed otherwise.

    Raises:
        ResultsError: the folder cannot be made or written, or the disk is full.
        UnreadableError: a file is there that may not be read; it stays.
    """
    if is_unreadable(path):
        raise UnreadableError(
            f"{path} exists but cannot be read, so it is not replaced. If it is another user's, ask for permission"
            " (chmod), or name another place with results_dir=... or cache_dir=..."
        )
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that others cannot read; a cache or a results folder is often shared.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):  # Ctrl-C, above all
            raise
        raise ResultsError(
            f"{path} cannot be written ({error.strerror or error}). Free or unlock that place, or name another"
            " with results_dir=... or cache_dir=..."
        ) from error


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, object]) -> None:
    """Write arrays and their provenance as one safetensors file that `read_arrays` can verify."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {"sha256": _digest(contiguous), "facts": json.dumps(facts, sort_keys=True, ensure_ascii=False)}
    write_atomically(path, save(contiguous, metadata=metadata))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Return the arrays of a file that `write_arrays` wrote, and its facts.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableError: it may not be read: permission, or a disk that refuses.
        DamagedFileError: it is truncated, altered, or not a file of ours.
    """
    try:
        path.open("rb").close()  # safetensors tells permission and damage in the same words
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        facts = json.loads(metadata["facts"])
        written = metadata["sha256"]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path} cannot be read ({error})") from error
    if _digest(arrays) != written:
        raise DamagedFileError(f"{path} does not hold the content that was written")
    return arrays, facts


def set_aside(path: Path, reason: object) -> None:
    """Move a damaged file into `damaged/` beside it, so that it is kept for a look and never read again."""
    raise_if_interrupted()
    log.warning("damaged: %s; it is set aside under %s and rebuilt", reason, path.parent / "damaged")
    try:
        (path.parent / "damaged").mkdir(exist_ok=True)
        path.replace(path.parent / "damaged" / path.name)
    except FileNotFoundError:
        return  # another run was quicker
    except OSError as error:
        raise ResultsError(
            f"{path} is damaged and cannot be set aside ({error.strerror}). Remove it by hand."
        ) from error


@dataclass(frozen=True)
class _Shard:
    """The place of a file's rows. The file is open only while rows are read: a store may have thousands of files."""

    path: Path
    begin: int
    shape: tuple[int, int]
    dtype: type[np.generic]

    @classmethod
    def of(cls, path: Path, rows: Shaped[np.ndarray, "r d"]) -> "_Shard":
        """Return the file at ``path``, which holds these rows.

        Source: safetensors, README.md, "Format": eight bytes of the header's length, the header, the arrays.
        """
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            begin = 8 + length + json.loads(file.read(length))["rows"]["data_offsets"][0]
        return cls(path, begin, rows.shape, rows.dtype.type)

    def rows(self) -> Shaped[np.ndarray, "r d"]:
        """Return the rows, mapped into memory and not read."""
        try:
            return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.begin, shape=self.shape)
        except FileNotFoundError as error:
            raise ResultsError(f"{self.path} was removed while this run read it. Run it again.") from error
        except OSError as error:
            raise unreadable(self.path, error) from error


@dataclass(frozen=True)
class StoredRows:
    """Rows that lie on the disk, in the order in which they were asked for; a part is read when it is taken.

    ``starts``: the number of the first row of each shard. ``numbers``: of each row that was asked for.
    """

    shards: Sequence[_Shard]
    starts: Int64[np.ndarray, " s"]
    numbers: Int64[np.ndarray, " n"]
    dtype: type[np.generic]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: slice | Int64[np.ndarray, " m"]) -> Shaped[np.ndarray, "m d"]:
        numbers = self.numbers[which]
        width = self.shards[0].shape[1] if self.shards else 0
        out = np.empty((len(numbers), width), dtype=self.dtype)
        order = np.argsort(numbers)  # as they lie on the disk
        of_shard = np.searchsorted(self.starts, numbers[order], side="right") - 1
        cuts = np.flatnonzero(np.diff(of_shard)) + 1
        for here, places in zip(np.split(order, cuts), np.split(of_shard, cuts), strict=True):
            if len(here):
                shard = int(places[0])
                out[here] = self.shards[shard].rows()[numbers[here] - self.starts[shard]]
        return out


@dataclass
class RowStore:
    """Rows of one width, found by the 16-byte key of what they were computed from.

    ``folder`` belongs to one way of computing (weights, preprocessing, precision): its name holds that key.
    ``facts`` says the same in words and is written into every shard. ``dtype``: of the rows; features are float32.
    """

    folder: Path
    facts: Mapping[str, object]
    dtype: type[np.generic] = np.float32
    _index: KeyIndex = field(default_factory=KeyIndex, init=False, repr=False)
    _shards: list[_Shard] = field(default_factory=list, init=False, repr=False)
    _known: set[str] = field(default_factory=set, init=False, repr=False)
    _refused: set[str] = field(default_factory=set, init=False, repr=False)

    def _refresh(self) -> None:
        """Read the shards that were not read yet."""
        for path in files_in(self.folder, ".safetensors"):
            if path.name in self._known:
                continue
            try:
                arrays, _ = read_arrays(path)
                keys, rows = arrays["keys"], arrays["rows"]
                if keys.shape != (len(rows), KEY_BYTES) or rows.dtype != self.dtype or rows.ndim != 2:
                    raise DamagedFileError(f"{path} holds arrays of the wrong shape or type")
                if rows.shape[1] != self.facts.get("embed_dim", rows.shape[1]):
                    raise DamagedFileError(f"{path} holds rows of the wrong width")
            except FileNotFoundError:
                continue
            except UnreadableError as error:
                tell_unreadable(error)
                self._known.add(path.name)
                self._refused.add(path.name)
                continue
            except (DamagedFileError, KeyError) as error:
                set_aside(path, error)
                continue
            self._add(path, Keys(keys), rows)

    def _add(self, path: Path, keys: Keys, rows: Shaped[np.ndarray, "r d"]) -> None:
        """Remember these rows; memory lets go of them, and reads them again from the file where they are wanted."""
        self._known.add(path.name)
        try:
            shard = _Shard.of(path, rows)
        except FileNotFoundError:
            return  # removed by another process
        self._shards.append(shard)
        self._index.add(keys)

    def present(self, keys: Sequence[bytes]) -> Bool[np.ndarray, " n"]:
        """Return which of ``keys`` have a row here."""
        self._refresh()
        return self._index.find(Keys.of(keys)) >= 0

    def write(self, keys: Sequence[bytes], rows: Shaped[np.ndarray, "r d"]) -> None:
        """Keep the rows of ``keys`` as one shard, on the disk before this returns.

        Raises:
            ValueError: a row is not finite; nothing is written.
        """
        if not np.isfinite(rows).all():
            broken = int((~np.isfinite(rows).all(axis=1)).sum())
            raise ValueError(f"{broken} of {len(rows)} feature rows hold NaN or infinity")
        packed = Keys.of(keys)
        path = shard_path(self.folder, packed.packed, self._refused)
        write_arrays(path, {"keys": packed.packed, "rows": rows}, self.facts)
        self._add(path, packed, rows)

    def read(self, keys: Sequence[bytes]) -> Shaped[np.ndarray, "n d"]:
        """Return a row for each key; row i belongs to ``keys[i]``.

        Raises:
            KeyError: a key has no row; ask `present` first.
        """
        return self.find(keys)[:]

    def find(self, keys: Sequence[bytes]) -> StoredRows:
        """Find the rows of ``keys`` without reading them: for more rows than memory should hold.

        Raises:
            KeyError: a key has no row; ask `present` first.
        """
        numbers = self._index.find(Keys.of(keys))
        if lost := int((numbers < 0).sum()):
            raise KeyError(f"{lost} of {len(keys)} keys have no row in {self.folder}")
        starts = np.cumsum([0, *(shard.shape[0] for shard in self._shards)])[:-1]
        return StoredRows(list(self._shards), starts, numbers, self.dtype)

    def shard_names(self) -> Iterator[str]:
        """Yield the names of the shards on the disk, in order."""
        return (path.name for path in sorted(self.folder.glob("*.safetensors")))
