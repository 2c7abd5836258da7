"""What an installed package carries and a checkout has beside it: the options of all groups, published numbers."""

from importlib import resources
from pathlib import Path

__all__ = ["conf_dir", "shipped"]


def conf_dir() -> Path:
    """Return the folder of configurations."""
    return shipped("conf", "conf")


def shipped(inside: str, beside: str) -> Path:
    """Return a file or folder: ``inside`` an installed package, else ``beside`` it in a checkout."""
    package = Path(str(resources.files("cupl_bench")))
    return package / inside if (package / inside).exists() else package.parent / beside
