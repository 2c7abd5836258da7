"""Files of weights: their digest, and that what is loaded is what was hashed."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cupl_bench.dataset.digests import file_digest
from cupl_bench.errors import BackboneError, first
from cupl_bench.identity import content_key

__all__ = ["digest_of_weights", "refuse_adapters", "unchanged"]

Stamp = tuple[int, int, int, int]

_hashed: dict[tuple[str, tuple[Path, ...]], list[Stamp]] = {}
"""Digest and files -> how the files were when they were hashed."""


def digest_of_weights(files: Sequence[Path], cache_dir: Path, state_dict_key: str | None = None) -> str:
    """Return the digest of the files that a model is loaded from: the sha256 of one, a key of the sha256 of several.

    Args:
        files: that are read.
        cache_dir: where digests are remembered.
        state_dict_key: which entry of a file is taken, where it was said; it enters the digest.

    Raises:
        BackboneError: a file cannot be read, or changes while it is.
    """
    try:
        before = _stamps(files)
        digests = [file_digest(file, cache_dir) for file in files]
        after = _stamps(files)
    except OSError as error:
        raise BackboneError(f"{error.filename or files[0]} cannot be read ({error.strerror}).") from error
    if before != after:
        raise BackboneError(_changed(files, before, after))
    digest = digests[0] if len(digests) == 1 else content_key({"files": digests})
    if state_dict_key is not None:
        digest = content_key({"file": digest, "state_dict_key": state_dict_key})
    _hashed[digest, tuple(files)] = before
    return digest


@contextmanager
def unchanged(files: Sequence[Path], digest: str) -> Iterator[None]:
    """Let the files be loaded inside, and see that they are those that `digest_of_weights` has hashed.

    Raises:
        BackboneError: one was replaced or written to since then.
    """
    before = _hashed.get((digest, tuple(files))) or _stamps(files)
    yield
    try:
        after = _stamps(files)
    except OSError as error:
        raise BackboneError(f"{error.filename} vanished while it was loaded.") from error
    if before != after:
        raise BackboneError(_changed(files, before, after))


def _stamps(files: Sequence[Path]) -> list[Stamp]:
    found = [os.stat(file) for file in files]  # noqa: PTH116 - beside the stamps of images
    return [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for stat in found]


def _changed(files: Sequence[Path], before: Sequence[Stamp], after: Sequence[Stamp]) -> str:
    names = [str(file) for file, old, new in zip(files, before, after, strict=True) if old != new]
    return f"{first(names)} changed between hashing and loading: is something still writing there? Run again."


def refuse_adapters(folder: Path) -> None:
    """Raise an error where an adapter lies in a folder of weights: it would change the model, and is not read.

    Raises:
        BackboneError: there is one.
    """
    found = sorted(path.name for path in folder.glob("adapter_*") if path.suffix in (".json", ".safetensors", ".bin"))
    if found:
        raise BackboneError(
            f"{folder} holds an adapter ({first(found)}), which is not read here: the numbers would be those of the"
            " base model. Merge it (peft: model.merge_and_unload(), then save_pretrained to another folder) and give"
            " the merged model; for the base model alone, give a folder without the adapter."
        )
