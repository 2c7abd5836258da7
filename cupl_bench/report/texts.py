"""Fractions as the tables print them: percent with one decimal, differences with their sign."""

import math

__all__ = ["interval", "percent", "points"]


def percent(value: float | None) -> str:
    """Return a fraction in percent; empty where there is none.

    >>> percent(0.6127), percent(None), percent(float("nan"))
    ('61.3', '', '')
    """
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def points(difference: float | None, decimals: int = 1) -> str:
    """Return a difference of fractions in points, with its sign and never a negative zero; empty where there is none.

    >>> points(0.0149), points(-0.0001), points(None)
    ('+1.5', '+0.0', '')
    """
    return "" if difference is None or math.isnan(difference) else f"{100 * difference:+z.{decimals}f}"


def interval(low: float | None, high: float | None, *, signed: bool = False, decimals: int = 1) -> str:
    """Return an interval of fractions, or ``signed`` of differences, these with ``decimals``; empty where none is.

    >>> interval(0.1, 0.25), interval(-0.1, 0.25, signed=True), interval(float("nan"), float("nan"))
    ('[10.0, 25.0]', '[-10.0, +25.0]', '')
    """
    if low is None or high is None or math.isnan(low):
        return ""
    low_text, high_text = (points(end, decimals) if signed else percent(end) for end in (low, high))
    return f"[{low_text}, {high_text}]"
