"""What a report was made by and from: the state of this program, and of files."""

import os
import stat
from functools import cache
from pathlib import Path

import cupl_bench
from cupl_bench.conf_folder import shipped
from cupl_bench.identity import content_key

__all__ = ["program_state", "state_of"]


def state_of(path: Path) -> list[object]:
    """Return what changes with a file; of a folder, with the list of its files and with those that are emptied.

    The last time can be set by nobody.

    Raises:
        OSError: nothing is there.
    """
    found = path.stat()
    state: list[object] = [path.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    if stat.S_ISDIR(found.st_mode):
        with os.scandir(path) as files:
            state.append(sum(one.stat().st_size == 0 for one in files))
    return state


@cache
def program_state() -> str:
    """Return a digest of the version and of the state of all files of this package and its published numbers."""
    code = [path for path in sorted(Path(cupl_bench.__file__).parent.rglob("*.*")) if path.suffix != ".pyc"]
    published = shipped("report/published.csv", "results/published.csv")
    return content_key({"version": cupl_bench.__version__, "code": [state_of(path) for path in [*code, published]]})
