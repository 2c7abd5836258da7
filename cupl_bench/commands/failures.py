"""Tell the failures of several questions, each cause once."""

from collections.abc import Iterator, Sequence

__all__ = ["told_once"]

NAMED = 5
"""Questions of one cause that are named."""


def told_once(failures: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for each cause, the most frequent first, with the questions that it stopped.

    >>> list(told_once([("a", "no file"), ("b", "no file"), ("c", "no key")]))
    ['2 questions (a; b): no file', 'c: no key']

    Args:
        failures: what each question is called, and why it failed.
    """
    by_cause: dict[str, list[str]] = {}
    for name, cause in failures:
        by_cause.setdefault(cause, []).append(name)
    for cause, names in sorted(by_cause.items(), key=lambda one: -len(one[1])):
        more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
        of = names[0] if len(names) == 1 else f"{len(names)} questions ({'; '.join(names[:NAMED])}{more})"
        yield f"{of}: {cause}"
