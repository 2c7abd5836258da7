"""What a sweep ended with, kept beside its tables, so that the same sweep ends with it at once if nothing changed."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cupl_bench
from cupl_bench.errors import ResultsError
from cupl_bench.identity import content_key
from cupl_bench.store import write_atomically

__all__ = ["Ending", "ending_of", "keep", "made_from", "warnings_heard"]

READ = ("records", "predictions", "prompts", "curves", "effects", "similarities")
"""The folders that a report reads."""
PLACE = Path("tables", ".shown.json")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What the end of a sweep shows: warnings, a table, lines, and the rows for a program."""

    warnings: Sequence[str]
    table: Sequence[Mapping[str, Any]]
    lines: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def made_from(results_dir: Path, run_keys: Sequence[str], config: Any) -> str:
    """Return a digest of all that the end of a sweep depends on: what was asked, the files read, and this program."""
    code = Path(cupl_bench.__file__).parent / "report"
    seen = [_state(path) for name in READ for path in sorted((results_dir / name).glob("*"))]
    return content_key(
        {
            "run_keys": list(run_keys),
            "baseline": config.baseline,
            "cache_dir": str(config.cache_dir),
            "version": cupl_bench.__version__,
            "code": [_state(path) for path in sorted(code.rglob("*.*")) if path.suffix != ".pyc"],
            "files": seen,
        }
    )


def _state(path: Path) -> list[object]:
    found = path.stat()
    return [path.name, found.st_size, found.st_mtime_ns]


def ending_of(results_dir: Path, digest: str) -> Ending | None:
    """Return how the sweep ended before; None if anything that it read or wrote is another, or was never kept."""
    try:
        kept = json.loads((results_dir / PLACE).read_text(encoding="utf-8"))
        if kept["made_from"] != digest or any(_state(results_dir / name) != state for name, state in kept["files"]):
            return None
        return Ending(**kept["ending"])
    except (OSError, ValueError, TypeError, KeyError):  # it saves time, and nothing depends on it
        return None


def keep(results_dir: Path, digest: str, ending: Ending, files: Sequence[Path]) -> None:
    """Keep how a sweep ended, and the state of the files that it wrote."""
    states = [[str(path.relative_to(results_dir)), _state(path)] for path in files]
    try:
        content = json.dumps({"made_from": digest, "files": states, "ending": asdict(ending)}, allow_nan=False)
        write_atomically(results_dir / PLACE, content.encode())
    except (ResultsError, ValueError) as error:
        logging.getLogger(__name__).debug("the end of the sweep is not kept: %s", error)


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
