"""open_clip's tables of architectures and pretrained weights, without importing its models.

`import open_clip` takes as long as PyTorch and torchvision together, several seconds that a run whose features are
all stored need not spend: it asks only what a name stands for.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from cupl_bench.open_clip_files import open_clip_file, open_clip_folder

__all__ = ["architectures", "merges_file", "model_config", "pretrained_table"]

ALONE = "open_clip_without_models"
"""The name under which the package's folder is imported without running its `__init__`."""


def pretrained_table() -> Any:
    """Return the module `open_clip.pretrained`: open_clip's own if it is imported, else that file alone."""
    if "open_clip.pretrained" in sys.modules:
        return sys.modules["open_clip.pretrained"]
    if ALONE not in sys.modules:
        spec = ModuleSpec(ALONE, loader=None, is_package=True)
        spec.submodule_search_locations = [str(open_clip_folder())]
        sys.modules[ALONE] = module_from_spec(spec)
        with _not_imported("safetensors.torch"):
            import_module(f"{ALONE}.pretrained")
    return sys.modules[f"{ALONE}.pretrained"]


@contextmanager
def _not_imported(name: str) -> Iterator[None]:
    """Let no one import a module inside the block, unless it is imported already.

    The tables' file asks whether safetensors is there for PyTorch, which it needs for downloads alone, and would import
    PyTorch with it: a second, and 600 MB.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


@cache
def _config_files() -> dict[str, Path]:
    return {path.stem: path for path in sorted((open_clip_folder() / "model_configs").glob("*.json"))}


def architectures() -> list[str]:
    """Return the names of all architectures."""
    return list(_config_files())


def model_config(architecture: str) -> dict[str, Any] | None:
    """Return the configuration of an architecture, None if open_clip has none of that name."""
    path = _config_files().get(architecture)
    return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))


def merges_file() -> Path:
    """Return the file of merges of CLIP's own tokenizer."""
    return open_clip_file("bpe_simple_vocab_16e6.txt.gz")
