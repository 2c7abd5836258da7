"""What a file of descriptions cost, from its provenance; nothing is guessed where there is none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cupl_bench.prompts.provenance import facts_of

__all__ = ["Cost", "cost_of"]

HUGE = 1e15
"""No number of tokens, and no price."""


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
    facts = [facts_of(place) for place in dict.fromkeys(_paths(settings))]
    if not any(facts):
        return None
    tokens = [_map(one.get("tokens")) for one in facts]
    models = [model if isinstance(model := one.get("language_model"), str) and model.strip() else None for one in facts]
    read, written = (_sum(tokens, key) for key in ("input", "output"))
    return Cost(
        language_model=None if None in models else ", ".join(dict.fromkeys(str(one) for one in models)),
        input_tokens=None if read is None else int(read),
        output_tokens=None if written is None else int(written),
        cost=_sum(tokens, "cost"),
    )


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
