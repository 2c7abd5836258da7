"""The keys of `cupl-bench report` alone: which figures, how wide, in which formats, and how tables lie."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from cupl_bench.errors import ConfigError, first, nearest

if TYPE_CHECKING:
    from cupl_bench.report.figures import Choice
    from cupl_bench.report.tables import Layout

__all__ = ["choice_of", "layout_of", "list_of"]

ROWS = ("strategies", "datasets")
FORMATS = ("pdf", "svg", "png")


def choice_of(own: Mapping[str, str]) -> "Choice":
    """Return the figures that the keys ask for.

    Raises:
        ConfigError: a value is none that the key takes.
    """
    from cupl_bench.report.figures import KINDS, Choice
    from cupl_bench.report.figures.scene import SIZES

    asked: dict[str, Any] = {}
    if "figures" in own:
        kinds = list_of("figures", own["figures"])
        asked["kinds"] = () if kinds == ["none"] else _among("figures", kinds, [*KINDS, "none"])
    if "width" in own:
        (asked["width"],) = _among("width", [own["width"]], list(SIZES))
    if "format" in own:
        asked["formats"] = _among("format", list_of("format", own["format"]), FORMATS)
    if "pair" in own:
        asked["pair"] = tuple(list_of("pair", own["pair"]))
        if len(asked["pair"]) != 2:
            raise ConfigError(
                f"pair={own['pair']} should name two strategies, as in pair=cupl,ensemble: the first minus the second."
            )
    if "against" in own:
        asked["against"] = _numbers("against", own["against"])
    if "axis" in own:
        asked["axis"] = own["axis"]
    return Choice(**asked)


def layout_of(own: Mapping[str, str]) -> "Layout":
    """Return how the matrix is asked to lie.

    Raises:
        ConfigError: a value is none that the key takes.
    """
    from cupl_bench.report.tables import Layout

    (rows,) = _among("rows", [own.get("rows", "strategies")], ROWS)
    columns = tuple(list_of("columns", own["columns"])) if "columns" in own else ()
    return Layout(transposed=rows == "datasets", columns=columns)


def list_of(key: str, value: str) -> list[str]:
    """Return a list that was typed, with brackets or without.

    >>> list_of("pair", "cupl,ensemble"), list_of("pair", '["file (a, b)", cupl]')
    (['cupl', 'ensemble'], ['file (a, b)', 'cupl'])

    Raises:
        ConfigError: it is no list.
    """
    read = _read(key, value) if value.startswith("[") else [one.strip() for one in value.split(",")]
    if not isinstance(read, list) or not all(isinstance(one, str | int | float) and str(one) for one in read):
        raise ConfigError(f"{key}={value} is no list; write {key}=[one,two].")
    return [str(one) for one in read]


def _read(key: str, value: str) -> object:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{key}={value} cannot be read ({' '.join(str(error).split())}). Put names that hold commas or brackets in"
            " double quotes, and the whole in single quotes."
        ) from error


def _among(key: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    if unknown := [one for one in values if one not in known]:
        raise ConfigError(
            f"{key}={','.join(values)}: {unknown[0]!r} is none of {', '.join(known)}.{nearest(unknown[0], known)}"
        )
    return tuple(dict.fromkeys(values))


def _numbers(key: str, value: str) -> dict[str, float]:
    """Return a map from names to numbers.

    Raises:
        ConfigError: it is no such map.
    """
    read = _read(key, value)
    example = f"{key}='{{one.json: 1, three.json: 3}}'"
    if not isinstance(read, dict) or not read:
        raise ConfigError(f"{key}={value} is no map from strategies to numbers; write {example}.")
    # YAML takes "a:1" for a name, and "a: 1" for a name and its number.
    parts = [str(name).rpartition(":")[::2] if number is None else (str(name), number) for name, number in read.items()]
    found: dict[str, float] = {}
    for name, number in parts:
        try:
            found[name.strip()] = float(number)
        except (TypeError, ValueError):
            wrong = [f"{one}: {other}" for one, other in parts]
            raise ConfigError(f"{key}: {name!r} has no number in {first(wrong)}; write {example}.") from None
    return found
