"""Files of arrays that somebody else wrote: `.npy`, `.npz`, `.safetensors`, `.pt`. No code in a file is ever run."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from cupl_bench.errors import CuplBenchError, first, nearest

__all__ = ["ENDINGS", "ArrayFile", "read_array_file"]

ENDINGS = (".npy", ".npz", ".safetensors", ".pt", ".pth")
ONLY = ""
"""The name of the array in a file that holds one without a name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayFile:
    """The arrays of a file by their names, "" where it holds one alone, and the texts that stand beside them.

    Arrays of `.npy` and `.pt` stay on the disk until a part of them is used.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, tuple[str, ...]]

    def one_of(self, names: tuple[str, ...]) -> np.ndarray | None:
        """Return the array of the first of these names that the file has; None where it has none of them."""
        return next((self.arrays[name] for name in names if name in self.arrays), None)

    def one_or_only(self, names: tuple[str, ...]) -> np.ndarray | None:
        """Return the array of the first of these names, or the only array of the file; None where it has neither."""
        found = self.one_of(names)
        return next(iter(self.arrays.values())) if found is None and len(self.arrays) == 1 else found

    def text_of(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the list of texts of the first of these names that the file has; None where it has none of them."""
        return next((self.texts[name] for name in names if name in self.texts), None)

    @property
    def names(self) -> list[str]:
        """The names of all arrays and lists of texts, sorted."""
        return sorted([*self.arrays, *self.texts])


def read_array_file(path: Path, error: type[CuplBenchError]) -> ArrayFile:
    """Return the arrays of a file.

    Args:
        path: a file that ends in one of `ENDINGS`.
        error: the class of the error that is raised.

    Raises:
        CuplBenchError: of the class ``error``: there is no such file, it is damaged, it is of another form, or it holds
            objects that only running its code would build.
    """
    if not path.is_file():
        siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise error(f"There is no file {path}.{nearest(path.name, siblings)}")
    if path.suffix not in ENDINGS:
        raise error(f"{path} is not a file of arrays by its name; such files end in one of {', '.join(ENDINGS)}.")
    objects = (
        f"{path} holds objects that would be built by running code inside the file, which is never done here. Save"
        " plain arrays: numpy.savez(FILE, features=..., labels=...), or torch.save of tensors."
    )
    try:
        if path.suffix in (".pt", ".pth"):
            return _of_torch(path)
        if path.suffix == ".safetensors":
            return _of_safetensors(path)
        return _of_numpy(path)
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror or problem}).") from problem
    except pickle.UnpicklingError as problem:
        raise error(objects if "weights" in str(problem).lower() else _damaged(path, problem)) from problem
    except (ValueError, EOFError, zipfile.BadZipFile, SafetensorError, RuntimeError, KeyError, TypeError) as problem:
        raise error(objects if "allow_pickle" in str(problem) else _damaged(path, problem)) from problem


def _damaged(path: Path, problem: Exception) -> str:
    size = path.stat().st_size
    short = " ".join(str(problem).split())[:160]
    return (
        f"{path} ({size:,} bytes) is not a whole file of its kind ({short or type(problem).__name__}). Was its download"
        " cut short? Fetch or write it again."
    )


def _of_numpy(path: Path) -> ArrayFile:
    if path.suffix == ".npy":
        return _parted(path, {ONLY: np.load(path, mmap_mode="r", allow_pickle=False)})
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return _parted(path, {name: file[name] for name in file.files})


def _of_safetensors(path: Path) -> ArrayFile:
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        metadata = file.metadata() or {}
    return _parted(path, {**{name: _list_of(text) for name, text in metadata.items()}, **arrays})


def _list_of(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _of_torch(path: Path) -> ArrayFile:
    import torch  # heavy, and most files need it not

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # noqa: TID251 - no code runs
    except RuntimeError as problem:
        if "mmap" not in str(problem):  # files of old versions of torch cannot stay on the disk
            raise
        content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    found = content if isinstance(content, Mapping) else {ONLY: content}
    return _parted(
        path,
        {
            str(name): (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
            if isinstance(value, torch.Tensor)
            else value
            for name, value in found.items()
        },
    )


def _parted(path: Path, found: Mapping[str, object]) -> ArrayFile:
    """Return what a file holds, told apart: arrays of numbers, and lists of texts."""
    arrays: dict[str, np.ndarray] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for name, given in found.items():
        value = given
        if isinstance(value, list | tuple) and value and not all(isinstance(one, str) for one in value):
            value = np.asarray(value) if all(isinstance(one, int | float) for one in value) else None
        if isinstance(value, np.ndarray) and value.dtype.kind in "US":
            texts[name] = tuple(str(one) for one in value.astype(str).reshape(-1).tolist())
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, list | tuple):
            texts[name] = tuple(value)
    if not arrays:
        raise ValueError(f"it holds no array of numbers, but {first(sorted(found), 3) or 'nothing'}")
    return ArrayFile(path=path, arrays=arrays, texts=texts)
