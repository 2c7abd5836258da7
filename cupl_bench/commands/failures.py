"""Tell the failures of several questions, each cause once."""

from collections.abc import Iterator, Sequence

__all__ = ["told_once"]


def told_once(failures: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for each failure, those of one cause together: the cause stands in the first of them alone.

    Args:
        failures: what each question is called, and why it failed.
    """
    by_cause: dict[str, list[str]] = {}
    for name, cause in failures:
        by_cause.setdefault(cause, []).append(name)
    for cause, names in by_cause.items():
        yield f"{names[0]}: {cause}"
        for name in names[1:]:
            yield f"{name}: the same"
