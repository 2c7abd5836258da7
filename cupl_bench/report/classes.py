"""Compare class by class: accuracy, its change against the baseline, and the confusions that a strategy mends."""

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from cupl_bench.intervals import wilson_intervals
from cupl_bench.report.answers import Answers, is_by_image
from cupl_bench.report.significance import ALPHA, holm, mcnemar_exact
from cupl_bench.report.texts import interval, percent, points

__all__ = ["moved_confusions", "per_class", "shown_classes", "shown_confusions"]

MOVED_PAIRS = 50
"""Confusions of a run that are written in each direction, those that moved most."""
SHOWN = 5


def per_class(answers: Answers, baseline: Answers | None, classes: pd.DataFrame) -> pd.DataFrame:
    """Return a row per class of a run: ``images``, ``top1`` with Wilson's interval, and the change to the baseline.

    ``baseline_run_key`` is the run it is compared with. ``change`` is a difference of fractions, ``gained`` and
    ``lost`` are images that only the one or the other has right, ``p`` is McNemar's exact test, ``p_holm``
    corrected for all classes of the run. Without a baseline these are empty, as accuracies are for a class without
    images, and intervals and p where the scores of images depend on each other.

    Args:
        answers: the run.
        baseline: what it is compared with, on the same images.
        classes: by label, ``class_name`` and ``tier`` (`report.answers.class_facts`).
    """
    count = len(classes)
    labels, hits = answers.labels, answers.hits
    images = np.bincount(labels, minlength=count)
    right = np.bincount(labels[hits], minlength=count)
    by_image = is_by_image(answers)
    low, high = wilson_intervals(right, images) if by_image else (np.full(count, np.nan),) * 2
    table: dict[str, object] = {
        "label": np.arange(count),
        "class_name": classes["class_name"].to_numpy(),
        "tier": classes["tier"].to_numpy(),
        "images": images,
        "top1": _shares(right, images),
        "low": low,
        "high": high,
    }
    if baseline is None:
        table |= dict.fromkeys(("baseline_top1", "change", "gained", "lost", "p", "p_holm"), np.nan)
    else:
        before = np.bincount(labels[baseline.hits], minlength=count)
        gained = np.bincount(labels[hits & ~baseline.hits], minlength=count)
        lost = np.bincount(labels[baseline.hits & ~hits], minlength=count)
        tested = (images > 0) & by_image & is_by_image(baseline)
        p = np.where(tested, mcnemar_exact(gained, lost), np.nan)
        table |= {"baseline_top1": _shares(before, images), "change": _shares(right - before, images)}
        table |= {"gained": gained, "lost": lost, "p": p, "p_holm": holm(p)}
    compared = None if baseline is None else baseline.record.run_key
    return pd.DataFrame(table | {"baseline_run_key": compared, "run_key": answers.record.run_key})


def _shares(part: Int64[np.ndarray, " c"], images: Int64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
    return np.where(images > 0, part / np.maximum(images, 1), np.nan)


def moved_confusions(answers: Answers, baseline: Answers, classes: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of classes that a run confuses less than the baseline, and after them those it confuses more.

    ``images``: how many images of the class the run takes for the other; ``baseline_images``: how many the baseline
    does; ``change``: the first minus the second, negative for a mended confusion and positive for a new one. There
    are at most `MOVED_PAIRS` of each kind.
    """
    count = len(classes)
    ours, before = (_confused(one, count) for one in (answers, baseline))
    pairs, place = np.unique(np.concatenate([ours, before]), return_inverse=True)
    images, baseline_images = (np.bincount(part, minlength=len(pairs)) for part in np.split(place, [len(ours)]))
    change = images - baseline_images
    rising = np.argsort(change, kind="stable")  # pairs stand in the order of label and prediction
    mended, made = rising[change[rising] < 0], rising[change[rising] > 0][::-1]
    kept = np.concatenate([mended[:MOVED_PAIRS], made[:MOVED_PAIRS]])
    label, prediction = np.divmod(pairs[kept], count)
    name = classes["class_name"].to_numpy()
    return pd.DataFrame(
        {
            "label": label,
            "class_name": name[label],
            "prediction": prediction,
            "predicted_name": name[prediction],
            "images": images[kept],
            "baseline_images": baseline_images[kept],
            "change": change[kept],
            "baseline_run_key": baseline.record.run_key,
            "run_key": answers.record.run_key,
        }
    )


def _confused(answers: Answers, count: int) -> Int64[np.ndarray, " w"]:
    """Return a number for the class and the prediction of each image that was classified wrong."""
    wrong = ~answers.hits
    confused: Int64[np.ndarray, " w"] = answers.labels[wrong] * count + answers.predictions[wrong]
    return confused


def shown_classes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the classes that changed, of each run those that gained most and those that lost most, as text."""
    changed = table[table["change"].fillna(0) != 0].sort_values("change", ascending=False, kind="stable")
    gained, lost = (
        changed[one].groupby("run_key", sort=False) for one in (changed["change"] > 0, changed["change"] < 0)
    )
    ends = pd.concat([gained.head(SHOWN), lost.tail(SHOWN)])
    return pd.DataFrame(
        {
            "run_key": ends["run_key"],
            "class": ends["class_name"],
            "images": ends["images"],
            "top-1 [95%]": [
                f"{percent(value)} {interval(low, high)}".rstrip()
                for value, low, high in zip(ends["top1"], ends["low"], ends["high"], strict=True)
            ],
            "change": [
                f"{points(change)}{' n.s.' if p >= ALPHA else ''}"
                for change, p in zip(ends["change"], ends["p_holm"], strict=True)
            ],
        }
    )


def shown_confusions(moved: pd.DataFrame) -> pd.DataFrame:
    """Return the confusions that were mended and made most of each run, as text."""
    mended, made = (moved[one].groupby("run_key", sort=False) for one in (moved["change"] < 0, moved["change"] > 0))
    ends = pd.concat([mended.head(SHOWN), made.head(SHOWN)])
    return pd.DataFrame(
        {
            "run_key": ends["run_key"],
            "class": ends["class_name"],
            "taken for": ends["predicted_name"],
            "images": [
                f"{before:.0f} to {after:.0f}"
                for before, after in zip(ends["baseline_images"], ends["images"], strict=True)
            ],
        }
    )
