"""Compute every number of a record anew from its predictions, in NumPy alone, not by the code that wrote it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from cupl_bench.checking.findings import Seen
from cupl_bench.checking.reading import Predictions, Run
from cupl_bench.intervals import wilson
from cupl_bench.records import TierRecord
from cupl_bench.scorers import INDEPENDENT

__all__ = ["counts", "numbers_of"]

ROUNDING = 1e-9
"""By how much a number of a record may differ from the same quotient of counts, computed anew."""


def numbers_of(run: Run, seen: Seen) -> None:
    """Compare each number of a record with the one that its predictions give."""
    found, record = run.predictions, run.record
    if record.metrics is None:
        return
    if isinstance(found, str):
        seen.faults.append(f"nothing can be computed: {found}")
        return
    images, hits = counts(found, record.dataset.num_classes)
    if not images.sum():
        seen.faults.append("there is no prediction to compute a number from")
        return
    metrics, over_images = record.metrics, record.kind in INDEPENDENT
    means = {"top1": hits.sum() / images.sum(), "mean_per_class": (hits[images > 0] / images[images > 0]).mean()}
    told: dict[str, object] = {name: getattr(metrics, name) for name in ("top1", "top1_ci95", "mean_per_class")}
    ours: dict[str, object] = {**means, "top1_ci95": _interval(hits.sum(), images.sum(), over_images)}
    told["primary"], ours["primary"] = metrics.primary, means[metrics.primary_name]
    if found.top5 is not None:
        is_short = record.dataset.num_classes < 5 or bool((found.top5 == -1).any())
        told["top5"] = metrics.top5
        ours["top5"] = None if is_short else (found.top5 == found.label[:, None]).any(axis=1).mean()
    elif metrics.top5 is not None:
        seen.unknown.append("top5 cannot be computed: the predictions hold no such column")
    for name, value in told.items():
        if not _same(value, ours[name]):
            seen.faults.append(f"{name} is {_number(value)} in the record and {_number(ours[name])} by its predictions")
    _tiers_of(run, metrics.tiers or {}, (images, hits), over_images, seen)


def _tiers_of(
    run: Run,
    told: Mapping[str, TierRecord],
    counts: tuple[np.ndarray, np.ndarray],
    over_images: bool,
    seen: Seen,
) -> None:
    images, hits = counts
    frame = run.prompts
    if isinstance(frame, str) or "tier" not in frame:
        if told:
            seen.unknown.append("its tiers cannot be computed: no table says which class is of which tier")
        return
    tier_of = frame.drop_duplicates("label").set_index("label")["tier"].reindex(range(len(images)))
    if set(tier_of.dropna()) != set(told):
        seen.faults.append(f"tiers {sorted(told)} in the record and {sorted(set(tier_of.dropna()))} by its prompts")
        return
    for name, tier in told.items():
        own = (tier_of == name).to_numpy()
        num_images, num_right = int(images[own].sum()), int(hits[own].sum())
        ours = {
            "num_images": num_images,
            "num_classes": int(own.sum()),
            "top1": num_right / num_images if num_images else None,
            "top1_ci95": _interval(num_right, num_images, over_images) if num_images else None,
        }
        for key, value in ours.items():
            if not _same(getattr(tier, key), value):
                seen.faults.append(
                    f"{key} of tier {name} is {_number(getattr(tier, key))} in the record and {_number(value)} by its"
                    " predictions"
                )


def counts(found: Predictions, num_classes: int) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
    """Return the images of each class, and those that are right; a label that is no class counts nowhere."""
    valid = (found.label >= 0) & (found.label < num_classes)
    images = np.bincount(found.label[valid], minlength=num_classes)
    return images, np.bincount(found.label[valid & found.hits], minlength=num_classes)


def _interval(hits: int, count: int, over_images: bool) -> tuple[float, float] | None:
    return wilson(int(hits), int(count)) if over_images else None


def _same(one: object, other: object) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(np.asarray(one, dtype=float), np.asarray(other, dtype=float), rtol=0, atol=ROUNDING))


def _number(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_number(one) for one in value)}]"
    return "none" if value is None else str(value) if isinstance(value, int) else f"{value:.6f}"
