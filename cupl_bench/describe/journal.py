"""Keep the answers of a language model on the disk before they are used: a line of JSON for each answer.

Answers are found by what was asked of whom (`Entry.request`), so one journal serves many runs, and answers of other
models, settings or wordings are never mixed. The answers of one reply are one write at the end of the file.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from cupl_bench.describe import DescribeError
from cupl_bench.errors import ResultsError

__all__ = ["Entry", "Journal", "opened", "read_journal"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One answer as it came.

    ``request``: the content key of what was asked of whom. ``index``: which of its answers.
    ``llm_prompt``: with its gaps; ``asked``: as it was sent. ``model``: asked for; ``answered_by``: as the server says.
    ``limits``: temperature, max_tokens and stop. ``time``: when it came, UTC.
    ``response``: a name for the reply it came in; ``prompt_tokens`` and ``completion_tokens`` are those of the whole
    reply, None where the server told none. ``text``: as the model gave it; the key, if a server repeats it, stands as
    `[key]`.
    """

    request: str
    index: int
    label: int
    class_name: str
    llm_prompt: str
    asked: str
    base_url: str
    api: str
    model: str
    answered_by: str | None
    limits: dict[str, float | int | list[str] | None]
    time: str
    response: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    refusal: str | None
    text: str


ENTRY = TypeAdapter(Entry)


@dataclass
class Journal:
    """The answers of a file by request and index; open one with `opened`."""

    path: Path
    _answers: dict[str, dict[int, Entry]] = field(default_factory=dict)

    def of(self, request: str) -> dict[int, Entry]:
        """Return the answers to a request, by index."""
        return self._answers.get(request, {})

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries at the end of the file; they are on the disk when this returns.

        Raises:
            ResultsError: they cannot be written.
        """
        lines = "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries).encode()
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                written = os.write(file, lines)
                os.fsync(file)
            finally:
                os.close(file)
            if written < len(lines):
                raise OSError("the disk is full")  # a shorter write; the next would give this reason
        except OSError as error:
            raise ResultsError(
                f"{self.path} cannot be written ({error.strerror or error}). Free that place."
            ) from error
        self.take(entries)

    def take(self, entries: Sequence[Entry]) -> None:
        """Remember entries that are on the disk; of two answers with one index the first counts."""
        for entry in entries:
            self._answers.setdefault(entry.request, {}).setdefault(entry.index, entry)


def read_journal(path: Path) -> Journal:
    """Return a journal as it is, for reading alone; empty where there is none."""
    journal = Journal(path=path)
    whole, _ = _parts(path)
    journal.take(_entries(whole, path))
    return journal


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    """Open a journal to append to, by one process at a time; move a half-written last line to `*.torn` beside it.

    Raises:
        DescribeError: another process has it open.
        ResultsError: it cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise DescribeError(
            f"Another process writes into {path}. Wait until it has ended, or take another folder: results_dir=..."
        ) from error
    except OSError as error:
        raise ResultsError(f"{path} cannot be written ({error.strerror or error}). Free that place.") from error
    try:
        try:
            _mend(path)
        except OSError as error:
            raise ResultsError(f"{path} cannot be written ({error.strerror or error}). Free that place.") from error
        yield read_journal(path)
    finally:
        lock.release()


def _parts(path: Path) -> tuple[bytes, bytes]:
    """Return the whole lines of a file, and what stands after the last line end."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", b""
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror or error}).") from error
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _mend(path: Path) -> None:
    """Give a whole last line its end; move a half-written one out of the way."""
    whole, tail = _parts(path)
    if not tail:
        return
    if _entry(tail) is not None:
        with path.open("ab") as file:
            file.write(b"\n")
        return
    torn = path.with_name(f"{path.name}.torn")
    with torn.open("ab") as file:
        file.write(tail + b"\n")
    os.truncate(path, len(whole))
    log.warning("the last line of %s was half-written; it is moved to %s and asked again", path, torn.name)


def _entry(line: bytes) -> Entry | None:
    try:
        return ENTRY.validate_json(line)
    except ValidationError:
        return None


def _entries(content: bytes, path: Path) -> list[Entry]:
    lines = [line for line in content.split(b"\n") if line.strip()]
    found = [entry for line in lines if (entry := _entry(line)) is not None]
    if len(found) < len(lines):
        log.warning("%d of %d lines of %s are damaged and are ignored", len(lines) - len(found), len(lines), path)
    return found
