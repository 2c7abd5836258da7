"""The files of the installed open_clip, found without importing it.

`import open_clip` takes as long as PyTorch and torchvision together, several seconds.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cupl_bench.errors import MachineError

__all__ = ["open_clip_file", "open_clip_folder"]


@cache
def open_clip_folder() -> Path:
    """Return the folder of the package.

    Raises:
        MachineError: open_clip is not installed as a package.
    """
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("open_clip is not installed as a package. Install open_clip_torch.")
    return Path(spec.submodule_search_locations[0])


def open_clip_file(name: str) -> Path:
    """Return the path of a file of the package.

    Raises:
        MachineError: open_clip is not installed as a package, or this version has no such file.
    """
    path = open_clip_folder() / name
    if not path.is_file():
        raise MachineError(f"The installed open_clip has no {name}. Install the version that requirements.lock names.")
    return path
