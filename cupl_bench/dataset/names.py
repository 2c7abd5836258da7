"""Class names: the key by which two spellings are one name, and the JSON files in which a user gives names."""

import json
import unicodedata
from collections import Counter
from pathlib import Path

from cupl_bench.errors import DatasetError, first

__all__ = ["is_unicode", "normalised", "read_class_names"]


def normalised(name: str) -> str:
    """The letters and digits of ``name``, without case, accents, spaces or punctuation."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in decomposed if character.isalnum())


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written down: JSON can hold half of a surrogate pair, which no file or table can."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def read_class_names(path: Path) -> list[str] | dict[str, str]:
    """The list or the map of class names in ``path``.

    Raises:
        DatasetError: the file is missing, not JSON, empty, or holds anything but text.
    """
    expected = "a JSON list of class names in label order, or a map from folder to class name"

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if repeated := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
            raise DatasetError(f"{path}: {len(repeated)} keys stand more than once, first: {first(repeated)}.")
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); it should hold {expected}.") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}); it should hold {expected}.") from error
    except RecursionError as error:
        raise DatasetError(f"{path} is nested too deeply; it should hold {expected}.") from error
    if not isinstance(content, list | dict) or not content:
        raise DatasetError(f"{path} is empty or of another kind; it should hold {expected}.")
    names = list(content.values()) if isinstance(content, dict) else content
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise DatasetError(
            f"{path}: {len(wrong)} of {len(names)} class names are blank or not text, first: {first(wrong)}."
        )
    if wrong := [name for name in [*names, *(content if isinstance(content, dict) else ())] if not is_unicode(name)]:
        raise DatasetError(f"{path}: {len(wrong)} texts are no Unicode text (half a surrogate pair): {first(wrong)}.")
    return content
