"""Paths as a user writes them."""

from pathlib import Path

__all__ = ["absolute"]


def absolute(path: str | Path) -> Path:
    """Return ``path`` from the root of the disk, with a leading ``~`` replaced by the home folder.

    >>> absolute("~/photos") == Path.home() / "photos"
    True
    """
    return Path(path).expanduser().absolute()
