"""How long an image and a prompt took, as the records of earlier runs say."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from cupl_bench.records import Record, StageRecord

__all__ = ["Rates", "rates_of"]

Encoder = tuple[str, str]
"""The name of a backbone, and the precision."""


@dataclass(frozen=True)
class Rates:
    """Seconds that an image and a distinct prompt took on one device, by backbone and precision."""

    images: Mapping[Encoder, float] = field(default_factory=dict)
    texts: Mapping[Encoder, float] = field(default_factory=dict)


def rates_of(records: Sequence[Record]) -> dict[str, Rates]:
    """Return the rates of each device that runs have encoded on: the median by seconds.

    Half of all seconds were spent in runs that were no slower: so neither a run of few prompts counts, which is mostly
    start, nor one that reused a part of its features, which looks quicker than it was (records do not say how large the
    part is). Runs that reused all say nothing, nor do runs of scorers that look at views, which are in the same stage.
    """
    images: defaultdict[tuple[str, Encoder], list[tuple[float, int]]] = defaultdict(list)
    texts: defaultdict[tuple[str, Encoder], list[tuple[float, int]]] = defaultdict(list)
    for record in records:
        if record.timing is None:
            continue
        key = _device(record), (record.backbone.name, record.backbone.precision)
        if "views" not in record.scorer.uses:
            _add(images[key], record.timing.image_features, record.dataset.num_images)
        _add(texts[key], record.timing.text_features, record.prompts.num_distinct)
    return {
        device: Rates(
            {encoder: _rate(runs) for (other, encoder), runs in images.items() if other == device and runs},
            {encoder: _rate(runs) for (other, encoder), runs in texts.items() if other == device and runs},
        )
        for device in sorted({device for found in (images, texts) for (device, _), runs in found.items() if runs})
    }


def _add(runs: list[tuple[float, int]], stage: StageRecord, count: int) -> None:
    if not stage.cached and count:
        runs.append((stage.seconds, count))


def _rate(runs: Sequence[tuple[float, int]]) -> float:
    """Return the seconds of one in the run in which half of all seconds are reached, the quickest first.

    >>> _rate([(2.0, 20), (8.0, 1000), (1.0, 1000)])
    0.008
    """
    by_rate = sorted((seconds / count, seconds) for seconds, count in runs)
    spent = accumulate(seconds for _, seconds in by_rate)
    half = sum(seconds for seconds, _ in runs) / 2
    return next(rate for (rate, _), so_far in zip(by_rate, spent, strict=True) if so_far >= half)


def _device(record: Record) -> str:
    """Return what a run computed on: the name of its GPU, or its processor with the threads that it used."""
    told = record.environment
    if str(told.get("device", "")).startswith("cuda"):
        return str(told.get("device_name") or told["device"])
    name = str(told.get("processor") or told.get("device") or "a machine that is not named")
    threads = told.get("threads")
    return name if threads is None else f"{name}, {threads} thread{'' if threads == 1 else 's'}"
