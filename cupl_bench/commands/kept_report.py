"""What a sweep or a report ended with, kept beside its tables: the same ends with it at once if nothing changed."""

import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cupl_bench
from cupl_bench.conf_folder import shipped
from cupl_bench.errors import ResultsError
from cupl_bench.identity import content_key
from cupl_bench.store import write_atomically

__all__ = ["OF_REPORT", "OF_SWEEP", "Ending", "Table", "ending_of", "keep", "made_from", "warnings_heard"]

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

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Ending":
        """Return the ending that was kept as plain data."""
        return cls(**{**kept, "tables": [Table(**table) for table in kept["tables"]]})


def made_from(results_dir: Path, asked: object, config: Any) -> str:
    """Return a digest of all that an ending depends on: what was ``asked``, where, the files read, and this program."""
    code = [path for path in sorted(Path(cupl_bench.__file__).parent.rglob("*.*")) if path.suffix != ".pyc"]
    seen = [_state(path) for name in READ for path in sorted((results_dir / name).glob("*"))]
    return content_key(
        {
            "asked": asked,
            "results_dir": str(results_dir),  # which lines and answers name: a folder may be moved, or copied as it is
            "baseline": config.baseline,
            "cache_dir": str(config.cache_dir),
            "version": cupl_bench.__version__,
            "code": [_state(path) for path in [*code, shipped("report/published.csv", "results/published.csv")]],
            "files": seen,
        }
    )


def _state(path: Path) -> list[object]:
    """Return what changes with a file; of a folder, with the list of its files and with those that are emptied.

    The last time can be set by nobody.
    """
    found = path.stat()
    state: list[object] = [path.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    if stat.S_ISDIR(found.st_mode):
        with os.scandir(path) as files:
            state.append(sum(one.stat().st_size == 0 for one in files))
    return state


def ending_of(results_dir: Path, place: Path, digest: str) -> Ending | None:
    """Return how it ended before; None if anything that it read or wrote is another, or was never kept."""
    try:
        kept = json.loads((results_dir / place).read_text(encoding="utf-8"))
        if kept["made_from"] != digest or any(_state(results_dir / name) != state for name, state in kept["files"]):
            return None
        return Ending.of(kept["ending"])
    except (OSError, ValueError, TypeError, KeyError):  # it saves time, and nothing depends on it
        return None


def keep(results_dir: Path, place: Path, digest: str, ending: Ending, files: Sequence[Path]) -> None:
    """Keep how it ended, and the state of the files that it wrote."""
    try:
        states = [[str(path.relative_to(results_dir)), _state(path)] for path in files]
        content = json.dumps({"made_from": digest, "files": states, "ending": asdict(ending)}, allow_nan=False)
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
