"""Compute every number of a record anew from its predictions, in NumPy alone, not by the code that wrote it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from cupl_bench.checking.findings import Seen
from cupl_bench.checking.reading import Predictions, Run, path_of
from cupl_bench.errors import ResultsError
from cupl_bench.intervals import wilson
from cupl_bench.metrics import METRICS, intervals_of, seed_of
from cupl_bench.records import TierRecord
from cupl_bench.scored_file import read_scored
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
    if metrics.primary_name in means:
        told["primary"], ours["primary"] = metrics.primary, means[metrics.primary_name]
    _more_of(run, over_images, seen)
    if found.top5 is not None:
        is_short = record.dataset.num_classes < 5 or bool((found.top5 == -1).any())
        told["top5"] = metrics.top5
        ours["top5"] = None if is_short or found.among_five is None else found.among_five.mean()
    elif metrics.top5 is not None:
        seen.unknown.append("top5 cannot be computed: the predictions hold no such column")
    for name, value in told.items():
        if not _same(value, ours[name]):
            seen.faults.append(f"{name} is {_number(value)} in the record and {_number(ours[name])} by its predictions")
    _tiers_of(run, metrics.tiers or {}, (images, hits), over_images, seen)


def _more_of(run: Run, over_images: bool, seen: Seen) -> None:
    """Compute the metrics beyond accuracy anew, their values by the arithmetic of a resample that is the whole."""
    record = run.record
    path = path_of(record, run.results_dir, "predictions")
    if record.metrics is None or record.metrics.more is None or path is None:
        return
    if unknown := [name for name in record.metrics.more if name not in METRICS]:
        seen.unknown.append(f"the metrics {', '.join(unknown)} are not known to this program")
        return
    told = {METRICS[name]: one for name, one in record.metrics.more.items()}
    try:
        scored = read_scored(path, record.dataset.num_classes, groups=())
    except ResultsError as error:
        seen.faults.append(str(error).replace(str(path), f"{path.parent.name}/{path.name}"))
        return
    found = {metric: metric.measured(scored) for metric in told}
    intervals = intervals_of(found, scored, seed_of(record.dataset.fingerprint)) if over_images else {}
    once = np.ones((1, len(scored.predictions)), dtype=np.float32)
    for metric, one in told.items():
        value = None if found[metric].value is None else float(metric.resampled(scored, once)[0])
        ours: dict[str, object] = {"value": value, "ci95": intervals[metric][0] if over_images else None}
        for key, mine in ours.items():
            if not _same(getattr(one, key), mine):
                seen.faults.append(
                    f"{key} of {metric.name} is {_number(getattr(one, key))} in the record and {_number(mine)} by its"
                    " predictions"
                )
        told_parts = [(part.name, part.num_images, part.value) for part in one.parts if part.num_images]
        parts = [(part.what, part.num_images, part.value) for part in found[metric].parts if part.num_images]
        of_groups = any(isinstance(part[0], str) for part in parts)  # in any order; those of classes in label order
        if (
            set(told_parts) != set(parts)
            if of_groups
            else [part[1:] for part in told_parts] != [part[1:] for part in parts]
        ):
            seen.faults.append(f"the parts of {metric.name} in the record are not those of its predictions")


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
