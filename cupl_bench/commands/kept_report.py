"""What a sweep or a report ended with, kept beside its tables: the same ends with it at once if nothing changed."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cupl_bench.errors import ResultsError
from cupl_bench.identity import content_key
from cupl_bench.lease import held
from cupl_bench.report.program import program_state, state_of
from cupl_bench.store import write_atomically

__all__ = [
    "OF_REPORT",
    "OF_SWEEP",
    "Ending",
    "Table",
    "ending_of",
    "keep",
    "made_from",
    "one_at_a_time",
    "warnings_heard",
]

READ = ("records", "predictions", "prompts", "curves", "effects", "similarities")
"""The folders that a report reads."""
OF_SWEEP = Path("tables", ".shown.json")
OF_REPORT = Path("tables", ".reported.json")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that are shown on the terminal under a title."""

    title: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What the end of a sweep or of a report shows, and the answer that a program gets.

    ``warnings``: that were given on the way. ``tables``: the first stands above the ``lines``, the others below them.
    ``last``: the lines at the end. ``without_images``: runs that the page shows without thumbnails, because their
    images were not here.
    """

    warnings: Sequence[str]
    tables: Sequence[Table]
    lines: Sequence[str]
    last: Sequence[str]
    answer: Mapping[str, Any]
    without_images: Sequence[str] = ()

    def plain(self) -> dict[str, Any]:
        """Return the ending as plain data."""
        return {**vars(self), "tables": [vars(table) for table in self.tables]}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Ending":
        """Return the ending that was kept as plain data."""
        return cls(**{**kept, "tables": [Table(**table) for table in kept["tables"]]})


def made_from(results_dir: Path, asked: object, config: Any) -> str:
    """Return a digest of all that an ending depends on: what was ``asked``, where, the files read, and this program."""
    seen = [state_of(path) for name in READ for path in sorted((results_dir / name).glob("*"))]
    return content_key(
        {
            "asked": asked,
            "results_dir": str(results_dir),  # which lines and answers name: a folder may be moved, or copied as it is
            "baseline": config.baseline,
            "cache_dir": str(config.cache_dir),
            "program": program_state(),
            "files": seen,
        }
    )


@contextmanager
def one_at_a_time(results_dir: Path) -> Iterator[None]:
    """Let no other process report the same folder inside the block; wait for one that does.

    Two that write at once, with other options or other runs, would each keep the state of files that the other wrote.
    """
    if not (results_dir / "records").is_dir():  # there is nothing to report, and nothing is made
        yield
        return
    with held(results_dir / "tables" / ".report.lease", f"the report of {results_dir}"):
        yield


def ending_of(results_dir: Path, place: Path, digest: str) -> Ending | None:
    """Return how it ended before; None if anything that it read or wrote is another, or was never kept."""
    try:
        kept = json.loads((results_dir / place).read_text(encoding="utf-8"))
        if kept["made_from"] != digest or any(state_of(results_dir / name) != state for name, state in kept["files"]):
            return None
        return Ending.of(kept["ending"])
    except (OSError, ValueError, TypeError, KeyError):  # it saves time, and nothing depends on it
        return None


def keep(results_dir: Path, place: Path, digest: str, ending: Ending, files: Sequence[Path]) -> None:
    """Keep how it ended, and the state of the files that it wrote."""
    try:
        states = [[str(path.relative_to(results_dir)), state_of(path)] for path in files]
        content = json.dumps({"made_from": digest, "files": states, "ending": ending.plain()}, allow_nan=False)
        write_atomically(results_dir / place, content.encode())
    except (OSError, ResultsError, ValueError) as error:
        logging.getLogger(__name__).debug("how it ended is not kept: %s", error)


@contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """Yield a list of the warnings of the block, which are shown as well."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logger = logging.getLogger("cupl_bench")
    logger.addHandler(listener)
    try:
        yield heard
    finally:
        logger.removeHandler(listener)
