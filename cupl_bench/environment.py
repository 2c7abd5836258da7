"""What a run ran on: versions, commit, device."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from cupl_bench import __version__

__all__ = ["describe_environment"]

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "transformers", "datasets", "numpy", "pillow", "hydra-core", "scipy",
)  # fmt: skip


def describe_environment(device: torch.device, command: str | None) -> dict[str, object]:
    """Versions of what can move a number, the commit of a checkout, the device, and the command line that asked."""
    commit, dirty = _commit()
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
def _commit() -> tuple[str | None, bool | None]:
    """Commit and dirty flag, where this file is tracked by git; an installed copy has neither."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
