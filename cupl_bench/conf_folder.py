"""Find the folder that holds the options of all groups."""

from importlib import resources
from pathlib import Path

__all__ = ["conf_dir"]


def conf_dir() -> Path:
    """Return the folder of configurations: inside an installed package, beside it in a checkout."""
    package = Path(str(resources.files("cupl_bench")))
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
