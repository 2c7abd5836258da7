"""Describe what a run ran on: versions, commit, device."""

import os
import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from cupl_bench import __version__

__all__ = ["describe_environment"]

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "transformers", "datasets", "numpy", "pillow", "hydra-core", "scipy",
)  # fmt: skip

WRITTEN = (
    "class_embeddings", "curves", "effects", "figures", "logs", "outcomes", "predictions", "prompts", "records",
    "report", "running", "similarities", "tables",
)  # fmt: skip
"""The folders that commands write below a results folder."""


def describe_environment(device: torch.device, places: Sequence[Path], command: str | None) -> dict[str, object]:
    """Return the versions of what can move a number, the commit of a checkout, the device and the command line.

    ``places``: the folders that the program writes into: new files there do not make a checkout dirty.
    """
    commit, dirty = _commit(places)
    return {
        "cupl_bench": __version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "processor": _processor(),
        "memory_gb": _memory(),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "command": command,
    }


def _processor() -> str | None:
    """Return the model of the processor and its number of cores; None where the machine does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    told = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(told, platform.processor() or None)
    return None if name is None else f"{name}, {os.cpu_count()} cores"


def _memory() -> int | None:
    """Return the memory of the machine in GB; None where it does not tell it."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9)
    except (ValueError, OSError, AttributeError):
        return None


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(places: Sequence[Path]) -> tuple[str | None, bool | None]:
    """Return commit and dirty flag where git tracks this file; an installed copy has neither.

    Dirty is a checkout in which a file of the commit is changed, or one that the program did not write is new.
    """
    checkout = _checkout()
    if checkout is None:
        return None, None
    root, commit, changed = checkout
    own = tuple(path for place in places for path in _own_below(root, place))
    return commit, changed or _has_new_files(root, own)


@cache
def _checkout() -> tuple[Path, str, bool] | None:
    """Return the folder of the checkout, its commit, and whether a file of the commit is changed; None outside one.

    Found once: a process that answers many questions has read its code once, too.
    """
    folder = Path(__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit, root = _git(folder, "rev-parse", "HEAD", "--show-toplevel").splitlines()
        return Path(root), commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _has_new_files(root: Path, own: tuple[str, ...]) -> bool | None:
    """Return whether the checkout holds files that neither git nor the program knows; None where git cannot say."""
    excluded = [f":(exclude,literal){path}" for path in own]
    try:
        return bool(_git(root, "ls-files", "--others", "--exclude-standard", "--", ".", *excluded))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    # Without optional locks, for other processes may work with the checkout.
    return subprocess.run(  # noqa: S603
        ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout.strip()


def _own_below(root: Path, place: Path) -> list[str]:
    """Return the files that the program writes in a checkout, relative to it; of the program's own, its folders."""
    place = place.resolve()
    if not place.is_relative_to(root.resolve()):
        return []
    holds_the_program = Path(__file__).resolve().is_relative_to(place)
    written = [place / name for name in WRITTEN] if holds_the_program else [place]
    return [path.relative_to(root.resolve()).as_posix() for path in written]
