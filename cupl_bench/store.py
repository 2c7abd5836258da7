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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cupl_bench.errors import ResultsError
from cupl_bench.interrupts import raise_if_interrupted

__all__ = ["DamagedFileError", "RowStore", "StoredRows", "read_arrays", "set_aside", "write_arrays", "write_atomically"]

log = logging.getLogger(__name__)

KEY_BYTES = 16


class DamagedFileError(Exception):
    """A stored file is not what was written: truncated, altered, or of an unknown schema."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, flush it to the disk, and move it there.

    Raises:
        ResultsError: the folder cannot be made or written, or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
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
    """The arrays of a file that `write_arrays` wrote, and its facts.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is truncated, altered, or not a file of ours.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        facts = json.loads(metadata["facts"])
        written = metadata["sha256"]
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, OSError, RecursionError) as error:
        raise DamagedFileError(f"{path} cannot be read ({error})") from error
    if _digest(arrays) != written:
        raise DamagedFileError(f"{path} does not have the content that was written")
    return arrays, facts


def _mapped(path: Path, name: str) -> np.ndarray | None:
    """An array of a safetensors file, mapped into memory and not read; None if it is empty.

    Source: safetensors, README.md, "Format": eight bytes of the header's length, the header, the arrays.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    if 0 in entry["shape"]:
        return None
    dtype = {"F32": np.float32, "U8": np.uint8}[entry["dtype"]]
    begin = 8 + length + entry["data_offsets"][0]
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=begin, shape=tuple(entry["shape"])))


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
class StoredRows:
    """Rows that lie on the disk, in the order in which they were asked for; a part is read when it is taken.

    ``places``: shard and row in it.
    """

    shards: Sequence[Shaped[np.ndarray, "_ d"]]
    places: Int64[np.ndarray, "n 2"]
    dtype: type[np.generic]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: slice) -> Shaped[np.ndarray, "m d"]:
        places = self.places[which]
        width = self.shards[0].shape[1] if self.shards else 0
        out = np.empty((len(places), width), dtype=self.dtype)
        for shard in np.unique(places[:, 0]):
            here = places[:, 0] == shard
            out[here] = self.shards[shard][places[here, 1]]
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
    _index: dict[bytes, tuple[int, int]] = field(default_factory=dict, init=False, repr=False)
    _shards: list[Shaped[np.ndarray, "r d"]] = field(default_factory=list, init=False, repr=False)
    _known: set[str] = field(default_factory=set, init=False, repr=False)

    def _refresh(self) -> None:
        """Read the shards that were not read yet."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.safetensors")):
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
            except (DamagedFileError, KeyError) as error:
                set_aside(path, error)
                continue
            self._add(path, keys, rows)

    def _add(self, path: Path, keys: np.ndarray, rows: Shaped[np.ndarray, "r d"]) -> None:
        self._known.add(path.name)
        shard = len(self._shards)
        try:  # memory lets go of what was verified or written, and reads it again from the file where it is wanted
            mapped = _mapped(path, "rows")
        except FileNotFoundError:
            mapped = None  # removed by another process
        self._shards.append(rows if mapped is None else mapped)
        for row, key in enumerate(keys):
            self._index.setdefault(key.tobytes(), (shard, row))

    def present(self, keys: Sequence[bytes]) -> Bool[np.ndarray, " n"]:
        """Which of ``keys`` have a row here."""
        self._refresh()
        return np.fromiter((key in self._index for key in keys), dtype=bool, count=len(keys))

    def write(self, keys: Sequence[bytes], rows: Shaped[np.ndarray, "r d"]) -> None:
        """Keep the rows of ``keys`` as one shard, on the disk before this returns.

        Raises:
            ValueError: a row is not finite; nothing is written.
        """
        if not np.isfinite(rows).all():
            broken = int((~np.isfinite(rows).all(axis=1)).sum())
            raise ValueError(f"{broken} of {len(rows)} feature rows hold NaN or infinity")
        packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)
        name = f"{hashlib.sha256(packed.tobytes()).hexdigest()[:24]}.safetensors"
        write_arrays(self.folder / name, {"keys": packed, "rows": rows}, self.facts)
        self._add(self.folder / name, packed, rows)

    def read(self, keys: Sequence[bytes]) -> Shaped[np.ndarray, "n d"]:
        """Row i belongs to ``keys[i]``.

        Raises:
            KeyError: a key has no row; ask `present` first.
        """
        return self.find(keys)[:]

    def find(self, keys: Sequence[bytes]) -> StoredRows:
        """Where the rows of ``keys`` lie: for more rows than memory should hold.

        Raises:
            KeyError: a key has no row; ask `present` first.
        """
        places = np.array([self._index[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        return StoredRows(self._shards, places, self.dtype)

    def shard_names(self) -> Iterator[str]:
        """The names of the shards on the disk, in order."""
        return (path.name for path in sorted(self.folder.glob("*.safetensors")))
