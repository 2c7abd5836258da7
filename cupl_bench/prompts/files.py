"""Files of prompts in the forms that the field has, by path or URL: JSON, a folder of text files, a torch file.

A path or URL may end in ``#sha256=HEX``: the content is then checked against it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from cupl_bench.dataset.urls import UrlError, fetch_url, kept
from cupl_bench.errors import PromptsError, PromptsNotHereError, first, nearest
from cupl_bench.json_files import read_json, read_text
from cupl_bench.store import user_cache_dir

__all__ = [
    "LIBRARY",
    "LibraryPart",
    "check_download",
    "content_of",
    "digest_of",
    "library_part",
    "no_downloads",
    "path_of",
    "read_unchanged",
]

LIBRARY = "library:"
"""The beginning of a path that means descriptions which come with the package."""

LIBRARY_FOLDER = Path(__file__).with_name("library")
T = TypeVar("T")
PIN = re.compile(r"#sha256=([0-9a-fA-F]{64})$")


_downloads: ContextVar[bool] = ContextVar("downloads", default=True)


@contextmanager
def no_downloads() -> Iterator[None]:
    """Raise inside the block if a file of prompts would be downloaded: a plan fetches nothing."""
    token = _downloads.set(False)
    try:
        yield
    finally:
        _downloads.reset(token)


def check_download(url: str) -> None:
    """Check that ``url`` may be downloaded.

    Raises:
        PromptsNotHereError: inside of `no_downloads`; its text is the URL.
    """
    if not _downloads.get():
        raise PromptsNotHereError(url)


def content_of(source: str, what: str) -> object:
    """Return the content of a file, a URL, a folder of text files or a torch file, as plain data of any shape.

    A folder gives a map from the name of each `.txt` file to its lines. A torch file (`.pt`, `.pth`) is read without
    running any code that it may hold. A URL is downloaded once and kept.

    Raises:
        PromptsError: it cannot be had or read, or its sha256 is another than the one asked for.
    """
    path = path_of(source)
    if path.is_dir():
        return _read_folder(path, what)
    if path.suffix in (".pt", ".pth"):
        return _read_torch(path, what)
    return read_json(path, what, PromptsError)


def path_of(source: str) -> Path:
    """Return the path of ``source`` on this machine, downloaded and checked.

    Raises:
        PromptsError: it cannot be downloaded, is not a name of the library, or differs from the pinned sha256.
    """
    pin = PIN.search(source)
    place, digest = (source[: pin.start()], pin.group(1).lower()) if pin else (source, None)
    if place.startswith(LIBRARY):
        path = library_part(place.removeprefix(LIBRARY)).path
    elif urlparse(place).scheme in ("http", "https"):
        path = _download(place, digest)
    else:
        path = Path(place).expanduser()
    if digest is not None and path.exists():
        if path.is_dir():
            raise PromptsError(f"{place} is a folder; #sha256=... can pin a single file.")
        if (found := digest_of(path)) != digest:
            raise PromptsError(
                f"{place} has the sha256 {found}, not {digest}: it is another file, or an incomplete one. Fetch it"
                " again, or change the digest after #sha256= if the new content is meant."
            )
    return path


@dataclass(frozen=True, kw_only=True)
class LibraryPart:
    """Descriptions that come with the package, for one data set.

    ``aliases``: class name -> key, where they differ in words. ``subset``: whether the data set has part of them.
    """

    path: Path
    aliases: Mapping[str, str]
    subset: bool


def library_part(dataset: str) -> LibraryPart:
    """Return the part of the library that describes the classes of a named data set.

    Raises:
        PromptsError: there is none.
    """
    known: dict[str, LibraryPart] = {}
    for path in sorted((LIBRARY_FOLDER / "provenance").glob("*.json")):
        provenance = json.loads(path.read_text(encoding="utf-8"))
        aliases = provenance.get("aliases", {})
        for name, more in {path.stem: {}, **provenance.get("also_for", {})}.items():
            known[name] = LibraryPart(
                path=LIBRARY_FOLDER / path.name, aliases={**aliases, **more}, subset=name != path.stem
            )
    if dataset not in known:
        raise PromptsError(
            f"The library has no descriptions of {dataset!r}.{nearest(dataset, known)} It has {first(list(known))}."
        )
    return known[dataset]


def read_unchanged(source: str, read: Callable[[], T]) -> tuple[T, str]:
    """Return the result of ``read``, which reads a source, and the sha256 of the very content that it read.

    Raises:
        PromptsError: the content was changed meanwhile; or as `path_of` and ``read``.
    """
    if not path_of(source).exists():
        return read(), ""  # read tells what is missing
    before = digest_of(path_of(source))
    found = read()
    if digest_of(path_of(source)) != before:
        raise PromptsError(f"{source} was changed while it was read. Start again when nobody writes there.")
    return found, before


def digest_of(path: Path) -> str:
    """Return the sha256 of a file in hex digits; of a folder that of its text files' names and contents, in order."""
    if path.is_dir():
        parts = [f"{one.name}\0{hashlib.sha256(one.read_bytes()).hexdigest()}\n" for one in _text_files(path)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))


def _read_folder(folder: Path, what: str) -> dict[str, list[str]]:
    """Return a class for each text file, a sentence for each line that is not blank."""
    files = _text_files(folder)
    if not files:
        raise PromptsError(
            f"{folder} is a folder without a .txt file; it should hold one for each class, a sentence on each line, or"
            f" be a file that holds {what}."
        )
    lines_of = {path.stem: read_text(path, what, PromptsError).splitlines() for path in files}
    return {name: [line.strip() for line in lines if line.strip()] for name, lines in lines_of.items()}


def _read_torch(path: Path, what: str) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - weights_only, and not weights
    except FileNotFoundError as error:
        raise PromptsError(f"{path} does not exist; it should hold {what}.") from error
    except Exception as error:  # a file that is none of torch's is read as instructions, which may raise anything
        raise PromptsError(
            f"{path} cannot be read as a torch file of plain data ({' '.join(str(error).split())[:200]}). Files that"
            " need code to be run are never opened here; save its content as JSON on a machine that trusts it."
        ) from error


def _download(url: str, digest: str | None) -> Path:
    folder = user_cache_dir() / "prompts"
    if not kept(url, folder).is_file():
        check_download(url)
    try:
        return fetch_url(url, folder, digest=None if digest is None else f"sha256:{digest}")
    except UrlError as error:
        raise PromptsError(f"{error} Fetch it by hand and give its path in prompts.path.") from error
