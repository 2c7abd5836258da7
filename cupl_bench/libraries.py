"""Import the heavy libraries one after the other, and say which is being imported.

Together they take four seconds, and ten from a cold disk: too long for a program that says nothing.
"""

import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec

from cupl_bench.progress import step

__all__ = ["OPEN_CLIP", "PYTORCH", "TRANSFORMERS", "load_libraries"]

PYTORCH = {"PyTorch": ("torch",)}
TRANSFORMERS = {**PYTORCH, "transformers": ("transformers",)}
OPEN_CLIP = {
    **PYTORCH,
    "torchvision": ("torchvision",),
    "transformers and timm": ("transformers", "timm"),
    "open_clip": ("open_clip",),
}
"""What open_clip imports, in its order, with a step for each second or so: the word of a step, and its modules."""


def load_libraries(steps: Mapping[str, tuple[str, ...]]) -> None:
    """Import libraries; say each step that takes time, and nothing where its modules are there.

    One that cannot be imported is left to the module that needs it, which says what is wrong.

    >>> load_libraries(PYTORCH)
    >>> import sys; "torch" in sys.modules
    True
    """
    for words, modules in steps.items():
        if missing := [module for module in modules if module not in sys.modules and find_spec(module)]:
            with step("loading", words), suppress(ImportError):
                for module in missing:
                    import_module(module)
