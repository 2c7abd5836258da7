"""JSON files that a user gives: read as UTF-8, and no key of an object may stand twice."""

import json
from collections import Counter
from pathlib import Path

from cupl_bench.errors import CuplBenchError, first, nearest

__all__ = ["read_json", "read_text"]


def read_json(path: Path, what: str, error: type[CuplBenchError]) -> object:
    """Return the content of a JSON file.

    Raises:
        CuplBenchError: of the class ``error``, if the file is missing, not UTF-8 or not JSON, or an object in it
            repeats a key; ``what`` says what it should hold.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if repeated := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
            raise error(f"{path}: {len(repeated)} keys appear more than once, first: {first(repeated)}.")
        return dict(pairs)

    text = read_text(path, what, error)
    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as problem:
        reason = f"line {problem.lineno}, column {problem.colno}: {problem.msg}" if text.strip() else "it is empty"
        raise error(f"{path} is not JSON ({reason}); it should hold {what}.") from problem
    except ValueError as problem:  # such as a number of very many digits
        raise error(f"{path} is not JSON ({problem}); it should hold {what}.") from problem
    except RecursionError as problem:
        raise error(f"{path} is nested too deeply; it should hold {what}.") from problem


def read_text(path: Path, what: str, error: type[CuplBenchError]) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        CuplBenchError: of the class ``error``, if it is missing, cannot be read, or is not UTF-8; ``what`` says what
            it should hold.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as problem:
        beside = [other.name for other in path.parent.glob("*.json")] if path.parent.is_dir() else []
        raise error(f"{path} does not exist; it should hold {what}.{nearest(path.name, beside)}") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text (byte {problem.start}); it should hold {what}.") from problem
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror}); it should hold {what}.") from problem
