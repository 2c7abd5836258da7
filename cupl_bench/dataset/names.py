"""Class names: the key by which two spellings are one name, and the JSON files in which a user gives names."""

import json
import unicodedata
from pathlib import Path

from cupl_bench.errors import DatasetError, first

__all__ = ["normalised", "read_class_names"]


def normalised(name: str) -> str:
    """The letters and digits of ``name``, without case, accents, spaces or punctuation."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in decomposed if character.isalnum())


def read_class_names(path: Path) -> list[str] | dict[str, str]:
    """The list or the map of class names in ``path``.

    Raises:
        DatasetError: the file is missing, not JSON, empty, or holds anything but text.
    """
    expected = "a JSON list of class names in label order, or a map from folder to class name"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); it should hold {expected}.") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); it should hold {expected}.") from error
    if not isinstance(content, list | dict) or not content:
        raise DatasetError(f"{path} is empty or of another kind; it should hold {expected}.")
    names = list(content.values()) if isinstance(content, dict) else content
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise DatasetError(
            f"{path}: {len(wrong)} of {len(names)} class names are blank or not text, first: {first(wrong)}."
        )
    return content
