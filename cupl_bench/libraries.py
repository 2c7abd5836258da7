"""Import the heavy libraries one after the other, and say which is being imported.

Together they take four seconds, and ten from a cold disk: too long for a program that says nothing. Half of it is for
nothing: open_clip imports timm and transformers whether or not a model has a tower of theirs, and torchvision imports
PyTorch's compiler for a function that is never called here. A process that does nothing else leaves them out.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module, reload
from importlib.util import find_spec
from types import ModuleType

from cupl_bench.progress import step

__all__ = [
    "OPEN_CLIP",
    "PYTORCH",
    "TRANSFORMERS",
    "import_no_more_than_needed",
    "import_whole",
    "load_libraries",
    "load_open_clip",
]

PYTORCH = {"PyTorch": ("torch",)}
TRANSFORMERS = {**PYTORCH, "transformers": ("transformers",)}
OPEN_CLIP = {
    **PYTORCH,
    "torchvision": ("torchvision",),
    "transformers and timm": ("transformers", "timm"),
    "open_clip": ("open_clip",),
}
"""What open_clip imports, in its order, with a step for each second or so: the word of a step, and its modules."""

TOWERS = {"timm": ("open_clip.timm_model",), "transformers": ("open_clip.hf_model", "open_clip.coca_model")}
"""The libraries that open_clip can do without, and its modules that use them: first the one that builds towers."""

COMPILER = "torch._dynamo.utils"

_leaves_out = False


def import_no_more_than_needed() -> None:
    """Leave out, from now on, the parts of libraries that no model here needs: a second and more of every start.

    For a process of which everything is the program's own: elsewhere another may use open_clip's models of timm.
    """
    global _leaves_out  # noqa: PLW0603 - it is said once, by the program, of the process
    _leaves_out = True


def import_whole() -> None:
    """Leave nothing out from now on, and give open_clip what it lacks: for a class of a user's own.

    Which parts of the libraries it uses is not known.
    """
    global _leaves_out
    was, _leaves_out = _leaves_out, False
    if was and "open_clip" in sys.modules:
        load_open_clip()


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


def load_open_clip(needed: Collection[str] = tuple(TOWERS)) -> None:
    """Import open_clip, and of timm and transformers at least what is ``needed``; say each step that takes time.

    Where a model needs one of them that was left out before, open_clip is given it now.

    >>> load_open_clip()
    >>> import sys; "open_clip.model" in sys.modules
    True
    """
    left_out = set(TOWERS) - set(needed) if _leaves_out else set()
    for words, modules in OPEN_CLIP.items():
        kept = tuple(module for module in modules if module not in left_out)
        with _compiler_later(), _left_out(left_out if "open_clip" in modules else ()):
            load_libraries({words: kept})
    if "open_clip" not in sys.modules:  # it cannot be imported, whatever of it can
        return
    for library, modules in TOWERS.items():
        if library in sys.modules and getattr(sys.modules.get(modules[0]), library, library) is None:
            for module in modules:
                _import_again(sys.modules[module])


def _import_again(module: ModuleType) -> None:
    """Import a module of open_clip again, and let the others name its new classes, so that none meets an old one."""
    before = {name: one for name, one in vars(module).items() if isinstance(one, type)}
    reload(module)
    now = {one: vars(module)[name] for name, one in before.items()}
    for other in [one for name, one in sys.modules.items() if name.partition(".")[0] == "open_clip"]:
        for name, one in list(vars(other).items()):
            if isinstance(one, type) and one in now:
                setattr(other, name, now[one])


@contextmanager
def _left_out(libraries: Collection[str]) -> Iterator[None]:
    """Let libraries be missing inside: who imports them does without, as if they were not installed."""
    absent = {name: None for name in libraries if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type] # None is Python's own sign of a module that is not there
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def _compiler_later() -> Iterator[None]:
    """Let torchvision import one function of PyTorch's compiler without the compiler, which takes a second."""
    if not _leaves_out or "torch" not in sys.modules or "torchvision" in sys.modules or COMPILER in sys.modules:
        yield
        return
    stand_in = sys.modules[COMPILER] = _Compiler(COMPILER)
    try:
        yield
    finally:
        if sys.modules.get(COMPILER) is stand_in:
            del sys.modules[COMPILER]


class _Compiler(ModuleType):
    """Stands for the module of the compiler until anything of it is called or any other name of it is wanted."""

    def is_compile_supported(self, device_type: str) -> bool:
        return bool(import_module(COMPILER).is_compile_supported(device_type))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        return getattr(import_module(COMPILER), name)
