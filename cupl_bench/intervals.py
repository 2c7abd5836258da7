"""The interval of an accuracy, from its counts (pure)."""

import numpy as np
from jaxtyping import Float64, Int

__all__ = ["wilson", "wilson_intervals"]


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion.

    >>> low, high = wilson(hits=8, count=10)
    >>> f"{low:.3f} to {high:.3f}"
    '0.490 to 0.943'

    Raises:
        ValueError: ``count`` is zero.
    """
    if count == 0:
        raise ValueError("there is no image, and an accuracy needs at least one")
    low, high = wilson_intervals(np.array([hits]), np.array([count]))
    return float(low[0]), float(high[0])


def wilson_intervals(
    hits: Int[np.ndarray, " k"], counts: Int[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return Wilson's 95% interval of each proportion, low and high ends; NaN where the count is zero.

    >>> low, high = wilson_intervals(hits=np.array([8, 0]), counts=np.array([10, 0]))
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.49, nan], [0.943, nan])
    """
    from scipy.special import ndtri  # where an interval is computed: a finished run has its own

    # The formula itself: scipy.stats takes a second to import, a third of a run whose features are stored.
    z = float(ndtri(0.975))
    with np.errstate(divide="ignore", invalid="ignore"):
        share, shrink = hits / counts, 1 + z * z / counts
        centre = (share + z * z / (2 * counts)) / shrink
        half = z * np.sqrt(share * (1 - share) / counts + (z / (2 * counts)) ** 2) / shrink
    low, high = np.where(hits == 0, 0.0, centre - half), np.where(hits == counts, 1.0, centre + half)
    return np.where(counts == 0, np.nan, low), np.where(counts == 0, np.nan, high)
