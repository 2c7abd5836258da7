"""Which rows are the best: in a group significantly, and among all runs on the same images as far as can be told."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from cupl_bench.metrics import ACCURACIES, standard_error_p
from cupl_bench.report.answers import Answers, RightImages, is_by_image, same_images
from cupl_bench.report.runs import Run, same_features
from cupl_bench.report.significance import ALPHA, difference_p, holm

__all__ = ["best_of", "mark_level", "mark_level_by_headline"]


def best_of(read: Mapping[int, Sequence[Answers]]) -> int | None:
    """Return the row that is significantly better than all others of its group, Holm-corrected; None for none."""
    first_run = next(iter(read.values()))[0]
    hits = {
        place: [answers.hits for answers in runs]
        for place, runs in read.items()
        if all(same_images(answers, first_run) for answers in runs) and is_by_image(*runs)
    }
    if len(hits) < 2:
        return None
    best, *level = _best_and_level(hits)
    return None if level else best


def mark_level(
    rows: Sequence[dict[str, object]], read: Mapping[int, Sequence[Run]], right: Mapping[str, RightImages]
) -> None:
    """Add ``level_with_best`` to each row: whether it is the best of its arena or not significantly worse.

    An arena is what may be tested together: the same images, the same features, one kind of scorer.

    Args:
        rows: of all groups.
        read: the runs of each row that tables show, by its place.
        right: which images each run has right, by run key; without it no test holds for a run.
    """
    for row in rows:
        row["level_with_best"] = False
    arenas: dict[object, dict[int, Sequence[RightImages]]] = {}
    for place, runs in read.items():
        bits = [right[run.record.run_key] for run in runs if run.record.run_key in right]
        if len(bits) == len(runs) and len({one.images for one in bits}) == 1:
            arena = same_features(runs[0].group), runs[0].record.kind, bits[0].images
            arenas.setdefault(arena, {})[place] = bits
    for arena_rows in arenas.values():
        if len(arena_rows) > 1:
            for place in _best_and_level({place: [one.hits() for one in bits] for place, bits in arena_rows.items()}):
                rows[place]["level_with_best"] = True


def mark_level_by_headline(
    rows: Sequence[dict[str, object]], read: Mapping[int, Sequence[Run]], right: Mapping[str, RightImages],
    resamples: Callable[[Sequence[Run]], Float64[np.ndarray, " b"] | None],
) -> None:  # fmt: skip
    """Add ``primary_level_with_best`` to each row: the same of a headline metric beyond accuracy, None for another.

    Args:
        rows: of all groups.
        read: the runs of each row that tables show, by its place.
        right: says of which images each run is.
        resamples: gives the headline metric of a row in resamples, the same ones for all rows on the same images.
    """
    arenas: dict[object, dict[int, Float64[np.ndarray, " b"]]] = {}
    for row in rows:
        row["primary_level_with_best"] = None if row["primary"] in ACCURACIES else False
    for place, runs in read.items():
        images = {right[run.record.run_key].images for run in runs if run.record.run_key in right}
        if rows[place]["primary"] in ACCURACIES or len(images) != 1 or (draws := resamples(runs)) is None:
            continue
        arena = same_features(runs[0].group), runs[0].record.kind, images.pop(), rows[place]["primary"]
        arenas.setdefault(arena, {})[place] = draws
    for arena_rows in arenas.values():
        if len(arena_rows) < 2:
            continue
        values = {place: float(rows[place]["primary_value"]) for place in arena_rows}  # type: ignore[arg-type]
        best = max(values, key=lambda place: values[place])
        others = [place for place in values if place != best]
        p = [standard_error_p(values[best] - values[one], arena_rows[best] - arena_rows[one]) for one in others]
        corrected = holm(np.array([np.nan if one is None else one for one in p], dtype=np.float64))
        for place in [best, *(one for one, of in zip(others, corrected, strict=True) if not of < ALPHA)]:
            rows[place]["primary_level_with_best"] = True


def _best_and_level(hits: Mapping[int, Sequence[Bool[np.ndarray, " n"]]]) -> list[int]:
    """Return the place of the best row, and those that are not significantly worse, Holm-corrected."""
    best = max(hits, key=lambda place: float(np.mean([run.mean() for run in hits[place]])))
    others = [place for place in hits if place != best]
    p = holm(np.array([difference_p(hits[best], hits[other]) for other in others]))
    return [best, *(other for other, one in zip(others, p, strict=True) if one >= ALPHA)]
