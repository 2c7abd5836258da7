"""The texts that belong to a named data set: hand-written templates, and which files of CuPL are its own.

A spec (`cupl_bench/dataset/specs/*.json`) holds both; this module reads that part alone, so that prompts can be read
without anything that reads images.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.json_files import read_json

__all__ = ["CUPL_COMMIT", "CuplFile", "CuplFiles", "FetchedList", "Texts", "read_texts", "spec_content", "spec_names"]

CUPL_COMMIT = "719619c829792ff8f37298266e941b7f077c7f5c"
"""The commit of github.com/sarahpratt/CuPL that is fetched from. The files carry no licence: none is shipped."""

SPECS = Path(__file__).with_name("specs")


class Facts(BaseModel):
    """A part of a spec: nothing more than its fields, and none of them changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CuplFile(Facts):
    """A file of CuPL at the pinned commit.

    ``sha256`` is None where it is not known here; then ``git_blob`` (the id that git gives the content) is checked.
    """

    path: str
    git_blob: str
    sha256: str | None
    bytes: int | None

    @property
    def url(self) -> str:
        """Return the URL that it is fetched from."""
        return f"https://raw.githubusercontent.com/sarahpratt/CuPL/{CUPL_COMMIT}/{self.path.replace(' ', '%20')}"


class CuplFiles(Facts):
    """The two files of a data set.

    ``aliases``: class name -> key, for names of a variant that are spelled in other words than the file's keys.
    ``subset``: the data set has a part of the classes of the files (ImageNet-A and -R).
    """

    base: CuplFile
    full: CuplFile
    aliases: Mapping[str, str]
    subset: bool


class FetchedList(Facts):
    """Class names or templates of another language, in a JSON file that is fetched and never shipped.

    ``url``: the file at a fixed commit; ``key``: where the list stands in it; ``count``: how many texts the list has.
    """

    language: str
    url: str
    key: str
    count: int
    sha256: str
    bytes: int
    source: str

    def read(self, path: Path) -> tuple[str, ...]:
        """Return the texts, letter for letter, of the file that lies at ``path``.

        Raises:
            DatasetError: it does not hold so many of them.
        """
        what = f"a map whose {self.key!r} is a list of {self.count:,} texts"
        content = read_json(path, what, DatasetError)
        found = content.get(self.key) if isinstance(content, dict) else None
        if not isinstance(found, list) or len(found) != self.count:
            raise DatasetError(f"{path} should hold {what}. Remove it and start again.")
        if wrong := [text for text in found if not isinstance(text, str) or not text.strip()]:
            raise DatasetError(f"{path}: {len(wrong)} of {self.count:,} texts are blank or not text: {first(wrong)}.")
        return tuple(found)


class Texts(Facts):
    """Templates by the name of their list, the default one first; ``cupl`` is None where CuPL has no file.

    ``templates_source``: where each list comes from. ``instead_of_cupl``: what to take where there is no file.
    ``fetched``: further lists, by their names, that are fetched when they are asked for.
    """

    templates: Mapping[str, tuple[str, ...]]
    templates_source: Mapping[str, str]
    cupl: CuplFiles | None
    instead_of_cupl: str | None
    fetched: Mapping[str, FetchedList] = {}


def spec_names() -> list[str]:
    """Return the named data sets, sorted."""
    return sorted(path.stem for path in SPECS.glob("*.json"))


def spec_content(name: str) -> dict[str, object]:
    """Return the content of a spec: one of the package by its name, or a file of a user that ends in `.json`.

    Raises:
        DatasetError: there is no such spec, or it is not JSON.
    """
    path = Path(name) if name.endswith(".json") else SPECS / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"There is no data set {name!r}.{nearest(name, spec_names())}") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a spec of a data set ({error}).") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} should hold a JSON map.")
    return content


def read_texts(name: str) -> Texts:
    """Return the templates and CuPL files of a named data set.

    Raises:
        DatasetError: there is no such data set.
    """
    return Texts.model_validate(spec_content(name)["texts"])
