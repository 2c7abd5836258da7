"""What every layout has, and the files of data sets in which labels and splits stand: lines, pairs, MATLAB."""

import io
import zlib
from pathlib import Path
from typing import Any

from cupl_bench.dataset.texts import Facts
from cupl_bench.errors import DatasetError, first

__all__ = ["Place", "read_lines", "read_mat", "read_pairs"]


class Place(Facts):
    """Settings of every layout: the protocols that its images answer, and the folders below which the tree may lie."""

    protocols: tuple[str, ...]
    roots: tuple[str, ...]


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without blanks around them, but for empty ones.

    Raises:
        DatasetError: it cannot be read, or is no text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error


def read_pairs(path: Path) -> dict[str, str]:
    """Return the values by key of lines that hold a key, a space and a value; the value may hold spaces.

    Raises:
        DatasetError: as `read_lines`; or a line has no value, or a key that stood before.
    """
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        key, _, value = line.partition(" ")
        if not value or key in pairs:
            raise DatasetError(
                f"{path}, line {number}: {line!r} should be an id that stands once, a space and a value."
            )
        pairs[key] = value.strip()
    return pairs


def read_mat(path: Path, variable: str) -> Any:
    """Return a variable of a MATLAB file; dimensions of one are gone.

    Raises:
        DatasetError: the file is missing or damaged, or has no such variable.
    """
    import scipy.io
    from scipy.io.matlab import MatReadError

    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is not there, and the labels or the split are in it. Download it, or unpack the archive again."
        ) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        found = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)
    except (
        MatReadError, OSError, ValueError, NotImplementedError, TypeError, KeyError, EOFError, IndexError, zlib.error,
    ) as error:  # fmt: skip
        raise DatasetError(f"{path} is not a whole MATLAB file ({error}). Download it again.") from error
    if variable not in found:
        held = sorted(name for name in found if not name.startswith("__"))
        raise DatasetError(f"{path} holds no {variable!r} but {first(held)}: it is another file of that name.")
    return found[variable]
