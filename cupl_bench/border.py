"""The border to a user's own classes: their values are parsed where they come in, so that nothing after it guesses."""

from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cupl_bench.errors import CuplBenchError, short

__all__ = ["name_of", "parse"]


def parse(hint: Any, value: object, what: str, error: type[CuplBenchError]) -> Any:
    """Return ``value`` as the type ``hint``; a list becomes a tuple, a number of numpy's one of Python's.

    Raises:
        CuplBenchError: of the class ``error``, if ``value`` is anything else; ``what`` is its name. Also if it is a
            set where an order is wanted.
    """
    if isinstance(value, set | frozenset):
        raise error(f"{what} is a set, which has no order; give a list.")
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as problem:
        wrong = problem.errors()
        cases = [
            f"{what}{''.join(f'[{part}]' for part in one['loc'] if isinstance(part, int))} is {shown(one['input'])}:"
            f" {one['msg'][0].lower()}{one['msg'][1:]}"
            for one in wrong[:3]
        ]
        more = f" (and {len(wrong) - 3:,} more)" if len(wrong) > 3 else ""
        raise error(f"{'; '.join(cases)}{more}.") from problem


@lru_cache(maxsize=256)
def _adapter(hint: Any) -> Any:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))


def shown(value: object) -> str:
    """Return a value as text of at most 60 characters.

    >>> shown("frog" * 20)
    "'frogfrogfrogfrogfrogfrogfrogfrogfrogfrogfrogfrogfrogfrog..."
    """
    return short(repr(value), 60)


def name_of(thing: object) -> str:
    """Return the full name of the class of ``thing``, or of ``thing`` itself where it is a function or a class.

    >>> name_of(0.5), name_of(len)
    ('builtins.float', 'builtins.len')
    """
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
