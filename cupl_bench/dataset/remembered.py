"""What is known of files, remembered, because finding it out takes seconds or the network."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from cupl_bench.store import set_aside, write_atomically

__all__ = ["remembered"]

Known = TypeVar("Known")


def remembered(
    path: Path, what: str, find: Callable[[], Mapping[str, object]], read: Callable[[Mapping[str, object]], Known]
) -> Known:
    """Return what a file holds, found and written first where there is none.

    Args:
        path: of the file, whose name changes with all that the content depends on.
        what: it holds, for messages.
        find: gives the content, as plain data.
        read: makes of the content what is returned; its ValueError, TypeError or KeyError says that it is damaged.
    """
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, KeyError) as error:
        set_aside(path, f"{path} holds no {what} ({error})")
    found = find()
    write_atomically(path, json.dumps(found).encode())
    return read(found)
