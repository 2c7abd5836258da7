"""Files by their URL: whole and checked, or not at all; and how large they are, without fetching them."""

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from pooch.utils import unique_file_name

__all__ = ["UrlError", "fetch_url", "kept", "size_of_url", "size_text"]

SECONDS = 10.0
"""How long a server may be silent when it is asked for a size."""
DOWNLOAD_SECONDS = 30.0
"""How long it may be silent in a download."""
REMEMBERED_SECONDS = 60.0
"""How long an answer counts: a plan of many questions asks for each file once."""
MISMATCH = re.compile(r"expected (?:\w+:)?(\w+) but got (\w+)")
PIECE = 1 << 20
"""Bytes that are read at once."""


class UrlError(Exception):
    """A file cannot be had by its URL; the text names it and the reason."""


def fetch_url(url: str, folder: Path, *, name: str | None = None, digest: str | None = None) -> Path:
    """Return the file at ``url``, kept in ``folder``; it has its name there only once it is whole and checked.

    Args:
        url: by http or https.
        folder: where it is kept.
        name: of the file there; None: one made of the URL.
        digest: kind and hex digits, such as ``md5:...`` or ``sha256:...``; None where it is not known.

    Raises:
        UrlError: it cannot be had, or is not the expected content.
    """
    try:
        return Path(pooch.retrieve(url, known_hash=digest, fname=name, path=folder, downloader=_download))
    except (OSError, ValueError) as error:
        raise UrlError(f"{url} cannot be downloaded ({_reason(error, digest)}).") from error


def kept(url: str, folder: Path) -> Path:
    """Return where `fetch_url` keeps a file that it was given no name for."""
    return folder / str(unique_file_name(url))


def size_of_url(url: str) -> int | None:
    """Return the bytes of the file at ``url`` as its server tells them; None where it does not, or does not answer."""
    host = urlsplit(url).netloc
    for asked in (url, host):
        when, size = _sizes.get(asked, (-REMEMBERED_SECONDS, None))
        if time.monotonic() - when <= REMEMBERED_SECONDS:
            return size
    size, silent = None, False
    try:
        with requests.head(
            url, allow_redirects=True, timeout=SECONDS, headers={"Accept-Encoding": "identity"}
        ) as answer:
            said = answer.headers.get("Content-Length", "")
            size = int(said) if answer.ok and said.isdigit() else None
    except (OSError, ValueError) as error:  # all of requests' own errors are one of these
        silent = isinstance(error, requests.ConnectionError | requests.Timeout)
    _sizes[host if silent else url] = (time.monotonic(), size)
    return size


_sizes: dict[str, tuple[float, int | None]] = {}
"""When which address was asked, and the answer; under the name of a host, that it does not answer."""


def size_text(size: int | None) -> str:
    """Return a number of bytes as a user reads it.

    >>> size_text(1_234_567_890), size_text(20_500), size_text(None)
    ('1.23 GB', '20.5 kB', 'size not known')
    """
    if size is None:
        return "size not known"
    for unit, many in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= many:
            return f"{size / many:.2f} {unit}" if unit == "GB" else f"{size / many:.1f} {unit}"
    return f"{size} bytes"


def _download(url: str, output_file: str, _: object) -> None:
    """Write the file at ``url``; pooch's own downloader leaves the connection open where the server refuses."""
    with requests.get(url, stream=True, timeout=DOWNLOAD_SECONDS) as answer:
        answer.raise_for_status()
        with Path(output_file).open("wb") as file:
            for piece in answer.iter_content(PIECE):
                file.write(piece)


def _reason(error: Exception, digest: str | None) -> str:
    """Return why a file could not be had, one text for each kind of failure."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (404, 410):
            return f"the server has no such file, {status}"
        if status in (401, 403):
            return f"the server refuses it, {status}"
        if status == 429:
            return "too many requests, 429: wait a few minutes"
        return f"the server fails, {status}: start again later"
    text = " ".join(str(error).split())
    if "IncompleteRead" in text or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "it was cut short: start again"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "the server cannot be reached"
    if digest is not None and (found := MISMATCH.search(text)):
        kind = digest.partition(":")[0]
        return f"its {kind} is {found[2]}, not {found[1]}: it is another file, or was damaged on the way"
    return text[:200] or type(error).__name__
