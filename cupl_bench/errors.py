"""The errors that a user can mend, and how the nearest name is offered.

::

    CuplBenchError            one clear message, exit code 2, never a traceback
    |-- ConfigError           a key, an option or a value of the configuration
    |-- DatasetError          the images or labels
    |   |-- BrokenImageError  one image that cannot be decoded
    |   `-- DataNotHereError  a data set that is not on this machine
    |-- PromptsError          prompt files, templates, and how they join the class names
    |   `-- PromptsNotHereError  a file of prompts that would be downloaded
    |-- ScorerError           what a scorer needs and does not get, and the files that it reads
    |-- BackboneError         architectures, weights, tokenizers
    |-- MachineError          memory, processes and libraries of this machine
    `-- ResultsError          records and other files below the results folder
        `-- UnreadableError   a stored file that may not be read, which says nothing about its content

Anything else that is raised is a defect of the program or of the machine: exit code 1.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeVar

__all__ = [
    "BackboneError",
    "BrokenImageError",
    "ConfigError",
    "CuplBenchError",
    "DataNotHereError",
    "DatasetError",
    "MachineError",
    "PromptsError",
    "PromptsNotHereError",
    "ResultsError",
    "ScorerError",
    "UnreadableError",
    "first",
    "nearest",
    "short",
]


T = TypeVar("T")


class CuplBenchError(Exception):
    """A mistake that the user can mend; its text says what is wrong, how much of it, and what to do."""


class ConfigError(CuplBenchError):
    """A key, an option or a value of the configuration is wrong."""


class DatasetError(CuplBenchError):
    """The images or the labels are not what the data set promises."""


class BrokenImageError(DatasetError):
    """One image that cannot be decoded."""


class DataNotHereError(DatasetError):
    """A data set is not on this machine; the text says how to get it."""


class PromptsError(CuplBenchError):
    """Prompts are missing, malformed, or do not join the class names."""


class ScorerError(CuplBenchError):
    """A scorer does not get what it needs, or its file is malformed."""


class PromptsNotHereError(PromptsError):
    """A file of prompts is not on this machine, and was not to be downloaded; the text is its URL."""


class BackboneError(CuplBenchError):
    """An architecture, its weights or its tokenizer cannot be used."""


class MachineError(CuplBenchError):
    """This machine cannot do it now: its memory, a process that was killed, a library that is not whole."""


class ResultsError(CuplBenchError):
    """A record or another file below the results folder cannot be read or written."""


class UnreadableError(ResultsError):
    """A stored file or folder is there and may not be read: permission, or a disk that refuses. It is no damage."""


def first(items: Sequence[object], count: int = 5) -> str:
    """Return the first few of ``items`` as text, with the number of those left out."""
    shown = ", ".join(repr(item) for item in items[:count])
    return shown if len(items) <= count else f"{shown} and {len(items) - count} more"


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a sentence that offers the names closest to ``name``; empty where none is close."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=count, cutoff=0.55)
    return f" Did you mean {' or '.join(repr(by_folded[match]) for match in close)}?" if close else ""


def short(text: str, length: int, mark: str = "...") -> str:
    """Return ``text`` with at most ``length`` characters; ``mark`` stands for what is cut off its end.

    >>> short("a photo of a frog", 10)
    'a photo...'
    """
    return text if len(text) <= length else f"{text[: length - len(mark)]}{mark}"
