"""Describe what a run ran on: versions, commit, device."""

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
    commit, dirty = _commit(tuple(places))
    return {
        "cupl_bench": __version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "command": command,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _commit(places: tuple[Path, ...]) -> tuple[str | None, bool | None]:
    """Return commit and dirty flag where git tracks this file; an installed copy has neither.

    Dirty is a checkout in which a file of the commit is changed, or one that the program did not write is new.
    """
    folder = Path(__file__).parent

    def git(*arguments: str, at: Path = folder) -> str:
        # Without optional locks, for other processes may work with the checkout.
        return subprocess.run(  # noqa: S603
            ["git", "--no-optional-locks", "-C", str(at), *arguments],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = git("rev-parse", "HEAD")
        root = Path(git("rev-parse", "--show-toplevel"))
        if git("status", "--porcelain", "--untracked-files=no"):
            return commit, True
        own = [f":(exclude,literal){path}" for place in places for path in _own_below(root, place)]
        return commit, bool(git("ls-files", "--others", "--exclude-standard", "--", ".", *own, at=root))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _own_below(root: Path, place: Path) -> list[str]:
    """Return the files that the program writes in a checkout, relative to it; of the program's own, its folders."""
    place = place.resolve()
    if not place.is_relative_to(root.resolve()):
        return []
    holds_the_program = Path(__file__).resolve().is_relative_to(place)
    written = [place / name for name in WRITTEN] if holds_the_program else [place]
    return [path.relative_to(root.resolve()).as_posix() for path in written]
