"""What each figure was drawn from, kept beside the tables, so that only what changed is drawn again."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from cupl_bench.errors import ResultsError
from cupl_bench.report.program import program_state, state_of
from cupl_bench.store import write_atomically, write_changed

__all__ = ["KeptFigures", "drawn_from"]

PLACE = Path("tables", ".drawn.json")
DRAWS_WITH = ("matplotlib", "numpy", "pandas", "scipy", "fonttools", "pillow", "contourpy")


class KeptFigures:
    """The figures of a results folder with what they were drawn from.

    A file counts as drawn if it is, to the time of its last change, as the report left it; what was edited, cut short
    or copied is drawn again. ``settings``: all that a drawing depends on beside what is given to it.
    """

    def __init__(self, results_dir: Path, settings: object) -> None:
        self.place = results_dir / PLACE
        self.folder = results_dir / "figures"
        program = [program_state(), *(version(name) for name in DRAWS_WITH)]
        self.settings = drawn_from(settings, program)
        self.before = self._read()
        self.now: dict[str, object] = {}

    def _read(self) -> Mapping[str, object]:
        try:
            before = json.loads(self.place.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it saves time, and nothing depends on it
            return {}
        return before if isinstance(before, dict) else {}

    def write(self, names: Sequence[str], given: object, draw: Callable[[], Sequence[bytes]]) -> None:
        """Write the files of a figure, unless they are there, drawn from the same.

        Args:
            names: of the files.
            given: what the figure is drawn from.
            draw: returns the content of each file.

        Raises:
            ResultsError: a file cannot be written.
        """
        digest = f"{self.settings} {drawn_from(given)}"
        found = {name: [digest, _state(self.folder / name)] for name in names}
        if any(self.before.get(name) != state for name, state in found.items()):
            for name, content in zip(names, draw(), strict=True):
                write_changed(self.folder / name, content)
                found[name] = [digest, _state(self.folder / name)]
        self.now |= found

    def keep(self) -> None:
        """Keep what the figures were drawn from, unless it is known already."""
        if self.now == self.before:
            return
        try:
            write_atomically(self.place, json.dumps(self.now).encode())
        except ResultsError as error:
            logging.getLogger(__name__).debug("what figures were drawn from is not kept: %s", error)


def _state(path: Path) -> list[object] | None:
    try:
        return state_of(path)
    except OSError:
        return None


def drawn_from(*values: object) -> str:
    """Return a digest of plain values, tables, arrays, functions by their names, and dataclasses of these.

    >>> drawn_from({"a": 1}) == drawn_from({"a": 1}), drawn_from([1]) == drawn_from([1.0])
    (True, False)

    Raises:
        TypeError: a value is of another kind, whose content is not known.
    """
    digest = sha256()
    for value in values:
        digest.update(_words(value).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _words(value: object) -> str:
    """Return all of a value as text; two that differ have different texts."""
    if value is None or value is pd.NA or isinstance(value, str | bool | int | float | np.generic):
        return repr(value)
    if isinstance(value, pd.DataFrame):
        columns = [f"{name!r} {value[name].dtype} {_words(value[name].tolist())}" for name in value]
        return f"table({_words(value.index.tolist())}, {', '.join(columns)})"
    if isinstance(value, pd.Series | np.ndarray):
        return f"column({value.dtype} {_words(value.tolist())})"
    if isinstance(value, Mapping):
        return f"mapping({', '.join(f'{_words(name)}: {_words(one)}' for name, one in value.items())})"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__qualname__}({', '.join(_words(getattr(value, one.name)) for one in fields(value))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_words, value))})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"what a {type(value).__name__} holds is not known")
