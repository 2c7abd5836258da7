"""What a file of descriptions cost, from the provenance beside it, as `cupl-bench describe` writes one.

The provenance of ``NAME.json`` is ``NAME.provenance.json``. One with another sha256 is of another content, and is not
believed; nothing is guessed where there is none.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cupl_bench.errors import PromptsError
from cupl_bench.prompts.files import LIBRARY, digest_of, path_of
from cupl_bench.prompts.strategies import OFFICIAL

__all__ = ["Cost", "cost_of"]

log = logging.getLogger(__name__)

HUGE = 1e15
"""No number of tokens, and no price."""
CUPL_MODEL = "text-davinci-002"
"""The model of CuPL's own files: `generate_image_prompts.py` of sarahpratt/CuPL@719619c."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the language model was, the tokens that it read and wrote, and what they cost (in the endpoint's currency).

    None where the provenance does not say. ``language_model``: several are joined by commas.
    """

    language_model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None


def cost_of(settings: Mapping[str, Any]) -> Cost | None:
    """Return what the files that a strategy reads cost, all together; None where no file tells.

    Where one of several does not tell, neither does the sum.

    Args:
        settings: of ``prompts``, without interpolations.
    """
    facts = [_provenance(place) for place in dict.fromkeys(_paths(settings))]
    if not any(facts):
        return None
    tokens = [_map(one.get("tokens")) for one in facts]
    models = [_model(one) for one in facts]
    read, written = (_sum(tokens, key) for key in ("input", "output"))
    return Cost(
        language_model=None if None in models else ", ".join(dict.fromkeys(str(one) for one in models)),
        input_tokens=None if read is None else int(read),
        output_tokens=None if written is None else int(written),
        cost=_sum(tokens, "cost"),
    )


def _model(facts: Mapping[str, Any]) -> str | None:
    model = facts.get("language_model") or _map(facts.get("endpoint")).get("model")
    return model if isinstance(model, str) and model.strip() else None


def _sum(tokens: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [one.get(key) for one in tokens]
    known = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < HUGE]
    return sum(known) if len(known) == len(values) else None


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _paths(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files of descriptions that settings name, those of members among them."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _paths(value)
        elif isinstance(value, list):
            for one in value:
                yield from _paths(one) if isinstance(one, Mapping) else ()
        elif key == "path" and isinstance(value, str):
            yield value


def _provenance(place: str) -> Mapping[str, Any]:
    """Return what stands in the provenance of a file; nothing where there is none, or none of this content.

    No number depends on it: where it cannot be read a warning says so.
    """
    if place.startswith(OFFICIAL):
        return {"language_model": CUPL_MODEL}
    if "://" in place:  # a download has nothing beside it
        return {}
    try:
        path = path_of(place)
        if place.startswith(LIBRARY):
            return _read(path.parent / "provenance" / path.name)
        beside = path.with_name(f"{path.stem}.provenance.json")
        if not (path.is_file() and beside.is_file()):
            return {}
        facts = _read(beside)
        return facts if facts.get("sha256") == digest_of(path) else {}
    except (OSError, ValueError, PromptsError) as error:
        log.warning("the provenance of %s cannot be read (%s): the record does not say what it cost", place, error)
        return {}


def _read(path: Path) -> Mapping[str, Any]:
    return _map(json.loads(path.read_text(encoding="utf-8")))
