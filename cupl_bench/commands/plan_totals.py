"""What a plan comes to: how much is to be encoded, how long that may take, and what to fetch first."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from cupl_bench.dataset.urls import size_text
from cupl_bench.records import Record
from cupl_bench.run.plan import Plan

__all__ = ["Planned", "speeds", "totals"]

DOWNLOAD = re.compile(r"to download(?: from|:) (?P<what>.+?) \((?P<size>[^()]*)\)")
BY_HAND = re.compile(r"by hand: (?P<what>[^;]+)")
IMAGES = re.compile(r"([\d,]+) images")
SIZE = re.compile(r"([\d.]+) (GB|MB|kB|bytes)")
UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "bytes": 1.0}
NAMED = 3
"""Downloads that are named, those that most questions wait for."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A question by its names, and what a run of it would do."""

    dataset: str
    backbone: str
    precision: str
    prompts: str
    plan: Plan


def speeds(records: Sequence[Record]) -> dict[tuple[str, str], float]:
    """Return the seconds that an image took, by backbone and precision: the median of runs that encoded all of theirs.

    Runs that reused features say nothing.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        stage = None if record.timing is None else record.timing.image_features
        if stage is not None and not stage.cached and record.dataset.num_images:
            key = record.backbone.name, record.backbone.precision
            found.setdefault(key, []).append(stage.seconds / record.dataset.num_images)
    return {key: median(seconds) for key, seconds in found.items()}


def totals(planned: Sequence[Planned], seconds: Mapping[tuple[str, str], float]) -> list[str]:
    """Return the lines below a plan.

    Args:
        planned: the questions that can be asked.
        seconds: that an image takes, by backbone and precision, as far as earlier runs say (`speeds`).
    """
    finished = sum(one.plan.finished for one in planned)
    lines = [f"in all    {_count(len(planned), 'question')}, {finished} finished"]
    images = _images(planned)
    texts = _texts(planned)
    todo = [_count(sum(images.values()), "image")] if images else []
    todo += [f"at most {_count(texts, 'prompt')}"] if texts else []
    if todo:
        lines.append(f"to encode {' and '.join(todo)}")
    gigabytes = sum(one.plan.features_gigabytes or 0.0 for one in _each_features(planned)) + sum(
        one.plan.views_gigabytes or 0.0 for one in planned
    )
    if gigabytes:
        lines.append(f"on disk   {gigabytes:.2f} GB of features, as far as the data sets are here")
    if images:
        lines += [f"time      {one}" for one in _times(images, seconds)]
    return [*lines, *_to_fetch(planned)]


def _each_features(planned: Sequence[Planned]) -> list[Planned]:
    """Return one question of all that share their image features."""
    return list({(one.dataset, one.backbone, one.precision, one.plan.dataset_here): one for one in planned}.values())


def _images(planned: Sequence[Planned]) -> dict[tuple[str, str], int]:
    """Return the images to encode by backbone and precision; of data sets that are not here, those they should hold."""
    found: Counter[tuple[str, str]] = Counter()
    for one in _each_features([one for one in planned if not one.plan.finished]):
        count = one.plan.images_to_encode
        if count is None and one.plan.num_images is not None:
            count = one.plan.num_images
        if count is None and (match := IMAGES.search(one.plan.dataset_here)):
            count = int(match[1].replace(",", ""))
        found[one.backbone, one.precision] += count or 0
    return {key: count for key, count in found.items() if count}


def _texts(planned: Sequence[Planned]) -> int:
    """Return the most prompts that are to be encoded; those of one data set, backbone and strategy count once."""
    each = {(one.dataset, one.backbone, one.precision, one.prompts): one.plan.texts_to_encode for one in planned}
    return sum(count or 0 for count in each.values())


def _times(images: Mapping[tuple[str, str], int], seconds: Mapping[tuple[str, str], float]) -> list[str]:
    """Return how long the images take, where earlier runs say so."""
    known = sum(count * seconds[key] for key, count in images.items() if key in seconds)
    unknown = sorted({name for name, precision in images if (name, precision) not in seconds})
    parts = [f"about {_duration(known)} for images, by earlier runs of this folder"] if known else []
    if unknown:
        more = f" and {len(unknown) - 2} more" if len(unknown) > 2 else ""
        parts.append(f"not known: no run here encoded images with {', '.join(unknown[:2])}{more}")
    return parts


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _to_fetch(planned: Sequence[Planned]) -> Iterator[str]:
    """Yield what is not here: downloads with their sizes, those that most questions wait for first."""
    sizes: dict[str, str] = {}
    waiting: Counter[str] = Counter()
    by_hand: Counter[str] = Counter()
    for one in planned:
        parts = {
            f"{one.dataset} from": one.plan.dataset_here,
            f"weights of {one.backbone}:": one.plan.weights,
            "prompts:": one.plan.prompts_file,
        }
        for part, text in parts.items():
            if match := DOWNLOAD.search(text):
                sizes[f"{part} {match['what']}"] = match["size"]
                waiting[f"{part} {match['what']}"] += 1
            elif match := BY_HAND.search(text):
                by_hand[f"{one.dataset}: {match['what']}"] += 1
    if sizes:
        known = [_bytes(size) for size in sizes.values()]
        size = size_text(int(sum(one for one in known if one is not None)))
        lost = sum(one is None for one in known)
        yield f"to fetch  {_count(len(sizes), 'download')}: " + (
            "sizes not known" if lost == len(known) else f"{size}{f', and {lost} of unknown size' if lost else ''}"
        )
        for what, count in waiting.most_common(NAMED):
            yield f"          {what} ({sizes[what]}), for {_count(count, 'question')}"
        if len(sizes) > NAMED:
            yield f"          and {len(sizes) - NAMED} more, for fewer questions"
    for what, count in by_hand.most_common():
        yield f"by hand   {what}, for {_count(count, 'question')}"


def _bytes(text: str) -> float | None:
    match = SIZE.search(text)
    return None if match is None else float(match[1]) * UNITS[match[2]]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
