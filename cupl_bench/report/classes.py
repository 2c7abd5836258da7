"""Which classes: accuracy by class, its change against the baseline, and the confusions that a strategy mends."""

import numpy as np
import pandas as pd
from jaxtyping import Int64

from cupl_bench.report.answers import Answers
from cupl_bench.report.significance import ALPHA, holm, mcnemar_exact, wilson_intervals

__all__ = ["confusions", "confusions_that_moved", "per_class", "shown_classes", "shown_confusions"]

MOVED_PAIRS = 50
"""Confusions of a run that are written in each direction, those that moved most."""
SHOWN = 5


def per_class(answers: Answers, baseline: Answers | None, classes: pd.DataFrame) -> pd.DataFrame:
    """A row per class: ``images``, ``top1`` with Wilson's interval, and the change to the baseline.

    ``change`` is a difference of fractions, ``gained`` and ``lost`` are images that only the one or the other has
    right, ``p`` is McNemar's exact test, ``p_holm`` corrected for all classes of the run. Without a baseline these are
    empty, as accuracies are for a class without images.

    Args:
        answers: the run.
        baseline: what it is compared with, on the same images.
        classes: by label, ``class_name`` and ``tier`` (`report.answers.class_facts`).
    """
    count = len(classes)
    labels, hits = answers.labels, answers.hits
    images = np.bincount(labels, minlength=count)
    right = np.bincount(labels[hits], minlength=count)
    low, high = wilson_intervals(right, images)
    table = pd.DataFrame(
        {
            "label": np.arange(count),
            "class_name": classes["class_name"].to_numpy(),
            "tier": classes["tier"].to_numpy(),
            "images": images,
            "top1": np.where(images > 0, right / np.maximum(images, 1), np.nan),
            "low": low,
            "high": high,
        }
    )
    names = ("baseline_top1", "change", "gained", "lost", "p", "p_holm")
    if baseline is None:
        return table.assign(**dict.fromkeys(names, np.nan))
    before = np.bincount(labels[baseline.hits], minlength=count)
    gained = np.bincount(labels[hits & ~baseline.hits], minlength=count)
    lost = np.bincount(labels[baseline.hits & ~hits], minlength=count)
    p = np.where(images > 0, mcnemar_exact(gained, lost), np.nan)
    shares = [np.where(images > 0, part / np.maximum(images, 1), np.nan) for part in (before, right - before)]
    return table.assign(**dict(zip(names, (*shares, gained, lost, p, holm(p)), strict=True)))


def confusions(answers: Answers, baseline: Answers | None, classes: pd.DataFrame) -> pd.DataFrame:
    """Pairs of a class and another that its images were taken for, in either run: the most frequent first.

    ``images``: how many are taken for it; ``baseline_images``: by the baseline; ``change``: the one less the other, so
    that a confusion that is mended is negative and one that is made positive. The last two are empty without a
    baseline.
    """
    counts = _pairs(answers, len(classes)).to_frame("images")
    if baseline is None:
        counts["baseline_images"], counts["change"] = np.nan, np.nan
    else:
        before = _pairs(baseline, len(classes)).rename("baseline_images")
        counts = counts.join(before, how="outer").fillna(0).astype(np.int64)
        counts["change"] = counts["images"] - counts["baseline_images"]
    label, prediction = np.divmod(counts.index.to_numpy(dtype=np.int64), len(classes))
    name = classes["class_name"].to_numpy()
    counts.insert(0, "label", label)
    counts.insert(1, "class_name", name[label])
    counts.insert(2, "prediction", prediction)
    counts.insert(3, "predicted_name", name[prediction])
    return counts.sort_values(["images", "label", "prediction"], ascending=[False, True, True], ignore_index=True)


def _pairs(answers: Answers, count: int) -> "pd.Series[int]":
    wrong = ~answers.hits
    codes: Int64[np.ndarray, " w"] = answers.labels[wrong] * count + answers.predictions[wrong]
    pairs, images = np.unique(codes, return_counts=True)
    return pd.Series(images, index=pairs)


def confusions_that_moved(pairs: pd.DataFrame) -> pd.DataFrame:
    """The confusions that a strategy mends (first) and makes (after them), those that moved most in each direction."""
    by_change = pairs.sort_values(["change", "label", "prediction"], kind="stable")
    mended = by_change[by_change["change"] < 0].head(MOVED_PAIRS)
    made = by_change[by_change["change"] > 0].tail(MOVED_PAIRS).iloc[::-1]
    return pd.concat([mended, made], ignore_index=True)


def shown_classes(table: pd.DataFrame) -> pd.DataFrame:
    """The classes of one run that a change was seen in, those that gained most and those that lost most, as text."""
    changed = table[table["change"].fillna(0) != 0].sort_values("change", ascending=False, kind="stable")
    ends = pd.concat([changed[changed["change"] > 0].head(SHOWN), changed[changed["change"] < 0].tail(SHOWN)])
    return pd.DataFrame(
        {
            "class": ends["class_name"],
            "images": ends["images"],
            "top-1 [95%]": [
                f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
                for value, low, high in zip(ends["top1"], ends["low"], ends["high"], strict=True)
            ],
            "change": [
                f"{100 * change:+.1f}{'' if p < ALPHA else ' n.s.'}"
                for change, p in zip(ends["change"], ends["p_holm"], strict=True)
            ],
        }
    )


def shown_confusions(moved: pd.DataFrame) -> pd.DataFrame:
    """The confusions of one run that were mended and made most, as text."""
    ends = pd.concat([moved[moved["change"] < 0].head(SHOWN), moved[moved["change"] > 0].head(SHOWN)])
    return pd.DataFrame(
        {
            "class": ends["class_name"],
            "taken for": ends["predicted_name"],
            "images": [
                f"{before:.0f} to {after:.0f}"
                for before, after in zip(ends["baseline_images"], ends["images"], strict=True)
            ],
        }
    )
