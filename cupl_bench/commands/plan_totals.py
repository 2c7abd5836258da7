"""What a plan comes to: how much is to be encoded, how long that may take, and what to fetch first."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cupl_bench.commands.plan_rates import Encoder, Rates
from cupl_bench.run.plan import FLOAT_BYTES, Planned

__all__ = ["Download", "Gigabytes", "NotKnown", "Time", "Totals", "totals_of"]

DOWNLOAD = re.compile(r"to download(?: from|:) (?P<what>.+?) \((?P<size>[^()]*)\)")
BY_HAND = re.compile(r"by hand: (?P<what>[^;]+)")


@dataclass(frozen=True, kw_only=True)
class Gigabytes:
    """What features take on the disk; those of ``texts`` at most so much."""

    images: float = 0.0
    views: float = 0.0
    texts: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Time:
    """How long encoding takes on a device that earlier runs have measured.

    ``image_seconds``: of images and views. ``no_images_of``, ``no_texts_of``: backbones that no run there has encoded
    them with; their time is not counted.
    """

    device: str
    image_seconds: float
    text_seconds: float
    no_images_of: tuple[str, ...] = ()
    no_texts_of: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NotKnown:
    """What the sums lack: data sets whose number of images, and questions whose prompts, are known after a download.

    ``width_of``: backbones whose features may be of any width, so that their gigabytes are not counted.
    """

    images_of: tuple[str, ...] = ()
    prompts_of_questions: int = 0
    width_of: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Download:
    """Something to fetch; ``size`` in words, None where it is fetched by hand; ``questions``: how many wait for it."""

    what: str
    size: str | None
    questions: int


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What all questions come to; what several share is counted once, as the store keeps it.

    ``jobs``: of a launcher. ``one_for_each``: of what there is one job each. ``images``, ``views``: to encode.
    ``texts``: prompts to encode, at most.
    """

    questions: int
    finished: int
    jobs: int = 1
    one_for_each: tuple[str, ...] = ()
    images: int = 0
    views: int = 0
    texts: int = 0
    gigabytes: Gigabytes = field(default_factory=Gigabytes)
    times: tuple[Time, ...] = ()
    not_known: NotKnown = field(default_factory=NotKnown)
    downloads: tuple[Download, ...] = ()
    by_hand: tuple[Download, ...] = ()


@dataclass(frozen=True)
class _Rows:
    """So many rows of features of an encoder; ``width`` is None where it is not known."""

    encoder: Encoder
    count: int
    width: int | None


def totals_of(
    planned: Sequence[Planned], rates: Mapping[str, Rates], *, jobs: int = 1, one_for_each: Sequence[str] = ()
) -> Totals:
    """Return what plans come to.

    Args:
        planned: the questions that can be asked.
        rates: how long an image and a prompt take, by device, as far as earlier runs say (`rates_of`).
        jobs: how many jobs a launcher would start.
        one_for_each: of what there is one job each.
    """
    open_ones = [one for one in planned if not one.plan.finished]
    images = _most(open_ones, lambda one: one.images, lambda one: one.plan.images_to_encode)
    views = _most(
        [one for one in open_ones if one.views is not None],
        lambda one: (one.images, one.views),
        lambda one: one.plan.views_to_encode,
    )
    texts = _texts(open_ones)
    return Totals(
        questions=len(planned),
        finished=len(planned) - len(open_ones),
        jobs=jobs,
        one_for_each=tuple(one_for_each),
        images=_sum(images),
        views=_sum(views),
        texts=_sum(texts),
        gigabytes=Gigabytes(images=_gigabytes(images), views=_gigabytes(views), texts=_gigabytes(texts)),
        times=tuple(_time(device, one, [*images, *views], texts) for device, one in rates.items()),
        not_known=NotKnown(
            images_of=_names(one.dataset for one in open_ones if one.plan.images_to_encode is None),
            prompts_of_questions=sum(one.plan.texts_to_encode is None for one in open_ones),
            width_of=_names(one.encoder[0] for one in (*images, *views, *texts) if one.count and one.width is None),
        ),
        **_to_fetch(planned),
    )


def _most(planned: Sequence[Planned], shared, count) -> list[_Rows]:  # type: ignore[no-untyped-def]
    """Return the rows of each group of questions that share them: as many as the question that needs most."""
    found: dict[Hashable, _Rows] = {}
    for one in planned:
        rows = _Rows((one.backbone, one.precision), count(one) or 0, one.plan.width)
        before = found.get(shared(one))
        if before is None or before.count < rows.count:
            found[shared(one)] = rows
    return list(found.values())


def _texts(planned: Sequence[Planned]) -> list[_Rows]:
    """Return the different prompts of each encoder."""
    of_encoder: dict[Hashable, Planned] = {}
    lists: defaultdict[Hashable, dict[int, np.ndarray]] = defaultdict(dict)
    for one in planned:
        if one.plan.texts_to_encode and one.texts is not None:
            of_encoder.setdefault(one.encoder, one)
            lists[one.encoder][id(one.texts)] = one.texts
    counted: dict[frozenset[int], int] = {}  # most backbones of a sweep have the same prompts
    found = []
    for encoder, one in of_encoder.items():
        same = frozenset(lists[encoder])
        if same not in counted:
            counted[same] = len(np.unique(np.concatenate(list(lists[encoder].values()))))
        found.append(_Rows((one.backbone, one.precision), counted[same], one.plan.width))
    return found


def _sum(rows: Iterable[_Rows]) -> int:
    return sum(one.count for one in rows)


def _gigabytes(rows: Iterable[_Rows]) -> float:
    return sum(one.count * FLOAT_BYTES * (one.width or 0) for one in rows) / 1e9


def _time(device: str, rates: Rates, images: Sequence[_Rows], texts: Sequence[_Rows]) -> Time:
    """Return how long all takes on a device."""

    def seconds(rows: Sequence[_Rows], known: Mapping[Encoder, float]) -> float:
        return sum(one.count * known.get(one.encoder, 0.0) for one in rows)

    def without(rows: Sequence[_Rows], known: Mapping[Encoder, float]) -> tuple[str, ...]:
        return _names(one.encoder[0] for one in rows if one.count and one.encoder not in known)

    return Time(
        device=device,
        image_seconds=seconds(images, rates.images),
        text_seconds=seconds(texts, rates.texts),
        no_images_of=without(images, rates.images),
        no_texts_of=without(texts, rates.texts),
    )


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _to_fetch(planned: Sequence[Planned]) -> dict[str, tuple[Download, ...]]:
    """Return what is not here, with sizes, that which most questions wait for first."""
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
    return {
        "downloads": tuple(
            Download(what=what, size=sizes[what], questions=count) for what, count in waiting.most_common()
        ),
        "by_hand": tuple(Download(what=what, size=None, questions=count) for what, count in by_hand.most_common()),
    }
