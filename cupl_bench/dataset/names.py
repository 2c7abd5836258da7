"""Class names: the key by which two spellings are one name, and the JSON files in which a user gives names."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cupl_bench.dataset.texts import spec_content, spec_names
from cupl_bench.errors import DatasetError, first
from cupl_bench.json_files import read_json

__all__ = ["is_unicode", "normalised", "other_lists", "read_class_names", "without_words"]

WORDNET_ID = re.compile(r"[nvars][0-9]{8}")
FIRST_CYRILLIC = "\u0400"
"""Before it stand the letters of Latin and Greek."""
NO_WORDS = frozenset(("", "class", "cls", "label", "category", "id", "idx", "index", "folder", "n", "c"))
"""The rest of a name that only numbers its class, once its digits are removed."""


def normalised(name: str) -> str:
    """Return the letters and digits of ``name``, without case, spaces or punctuation, and without accents.

    An accent is a mark on a Latin or Greek letter. In other scripts a mark makes another letter or is one itself, and
    stays: the vowels of Hindi and Thai, the two dots that tell ``ga`` from ``ka`` in Japanese, the short i of Russian.

    >>> normalised("Black-footed Albatross"), normalised("Café")
    ('blackfootedalbatross', 'cafe')
    >>> normalised("कल") == normalised("काल"), normalised("かき") == normalised("かぎ")
    (False, False)
    """
    if name.isascii():
        return "".join(character for character in name.casefold() if character.isalnum())
    found: list[str] = []
    marks_stay = False
    for character in unicodedata.normalize("NFKD", name.casefold()):
        if unicodedata.category(character).startswith("M"):
            if marks_stay:
                found.append(character)
        elif character.isalnum():
            found.append(character)
            marks_stay = character >= FIRST_CYRILLIC
        else:
            marks_stay = False
    return "".join(found)


def is_unicode(text: str) -> bool:
    """Return whether ``text`` can be written: JSON can hold half of a surrogate pair, which no file or table can.

    >>> is_unicode("tree frog"), is_unicode(chr(0xD800))
    (True, False)
    """
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def read_class_names(path: Path) -> list[str] | dict[str, str]:
    """Return the list or the map of class names in ``path``.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "names.json")
    ...     _ = path.write_text('["tree frog", "newt"]')
    ...     read_class_names(path)
    ['tree frog', 'newt']

    Raises:
        DatasetError: the file is missing, not JSON, empty, or holds anything but text.
    """
    expected = "a JSON list of class names in label order, or a map from folder to class name"
    content = read_json(path, expected, DatasetError)
    if not isinstance(content, list | dict) or not content:
        raise DatasetError(f"{path} is empty or of another kind; it should hold {expected}.")
    names = list(content.values()) if isinstance(content, dict) else content
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise DatasetError(
            f"{path}: {len(wrong)} of {len(names)} class names are blank or not text, first: {first(wrong)}."
        )
    if wrong := [name for name in [*names, *(content if isinstance(content, dict) else ())] if not is_unicode(name)]:
        raise DatasetError(f"{path}: {len(wrong)} texts are not Unicode text (half a surrogate pair): {first(wrong)}.")
    return content


def other_lists(class_names: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the other lists of names of the data sets whose classes these are: data set, list, names in label order.

    >>> list(other_lists(["a name that no data set has"]))
    []
    """
    names = tuple(class_names)
    seen = {names}
    for dataset in spec_names():
        for rows in _lists_of(spec_content(dataset)):
            if names in rows.values():
                for variant, row in rows.items():
                    if row not in seen:
                        seen.add(row)
                        yield dataset, variant, row


def _lists_of(spec: Mapping[str, Any]) -> Iterator[dict[str, tuple[str, ...]]]:
    """Yield the lists of names of a spec, without the classes that each of its protocols leaves out."""
    classes, indices = spec["classes"], None
    if "of" in classes:
        whole: Mapping[str, Any] = spec_content(classes["of"])
        classes, indices = whole["classes"], classes["indices"]
    if not classes["names"]:  # the tree of the images holds them
        return
    kept = range(len(classes["ids"])) if indices is None else indices
    for without in {tuple(protocol["without"]) for protocol in spec["protocols"].values()} | {()}:
        places = [place for place in kept if classes["ids"][place] not in without]
        yield {variant: tuple(row[place] for place in places) for variant, row in classes["names"].items()}


def without_words(class_names: Sequence[str]) -> str | None:
    """Return a warning if class names are ids or numbers, of which a text tower knows nothing; None if none is.

    >>> without_words(["tree frog"]) is None
    True
    >>> without_words(["0001"]).partition(".")[0]
    "1 of 1 class names are numbers and no words, first: '0001'"
    """
    of_all = f"of {len(class_names):,} class names are"
    if ids := [name for name in class_names if WORDNET_ID.fullmatch(name)]:
        return (
            f"{len(ids):,} {of_all} ids of WordNet, first: {first(ids, 3)}. Prompts would say 'a photo of a {ids[0]}'."
            f' Give their names: dataset.class_names=FILE.json (a map, such as {{"{ids[0]}": "tree frog"}}); or, if'
            " these are images of ImageNet, take dataset=imagenet, imagenet_a, imagenet_r, imagenet_sketch or"
            " imagenet_v2 with dataset.path=FOLDER."
        )
    if numbers := [name for name in class_names if _is_number(name)]:
        return (
            f"{len(numbers):,} {of_all} numbers and no words, first: {first(numbers, 3)}. Prompts would say 'a photo of"
            f" a {numbers[0]}'. If the classes have names, give them: dataset.class_names=FILE.json (a list in label"
            f' order, or a map such as {{"{numbers[0]}": "tree frog"}}).'
        )
    return None


def _is_number(name: str) -> bool:
    letters = re.sub(r"[\W\d_]+", "", name)
    return any(character.isdigit() for character in name) and letters.casefold() in NO_WORDS
