"""What a plan comes to: how much is to be encoded, how long that may take, and what to fetch first."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from cupl_bench.commands.plan_rates import Encoder, Rates
from cupl_bench.run.plan import FLOAT_BYTES, Planned

__all__ = ["Download", "Encoded", "Gigabytes", "NotKnown", "Time", "Totals", "totals_of"]

DOWNLOAD = re.compile(r"to download(?: from|:) (?P<what>.+?) \((?P<size>[^()]*)\)")
BY_HAND = re.compile(r"by hand: (?P<what>[^;]+)")


@dataclass(frozen=True, kw_only=True)
class Gigabytes:
    """What features take on the disk; those of ``texts`` at most so much."""

    images: float = 0.0
    views: float = 0.0
    texts: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What one backbone encodes in one precision; ``texts``: at most. ``width``: of a feature, None if not known."""

    backbone: str
    precision: str
    width: int | None
    images: int = 0
    views: int = 0
    texts: int = 0

    @property
    def encoder(self) -> Encoder:
        """The backbone by its name, and the precision."""
        return self.backbone, self.precision


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

    ``own_texts_of``: scorers that encode texts of their own. ``width_of``: backbones whose features may be of any
    width, so that their gigabytes are not counted.
    """

    images_of: tuple[str, ...] = ()
    prompts_of_questions: int = 0
    own_texts_of: tuple[str, ...] = ()
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
    ``texts``: prompts to encode, at most. ``encoders``: the same by backbone and precision.
    """

    questions: int
    finished: int
    jobs: int = 1
    one_for_each: tuple[str, ...] = ()
    images: int = 0
    views: int = 0
    texts: int = 0
    gigabytes: Gigabytes = field(default_factory=Gigabytes)
    encoders: tuple[Encoded, ...] = ()
    times: tuple[Time, ...] = ()
    not_known: NotKnown = field(default_factory=NotKnown)
    downloads: tuple[Download, ...] = ()
    by_hand: tuple[Download, ...] = ()


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
    encoders = _encoders(open_ones)
    return Totals(
        questions=len(planned),
        finished=len(planned) - len(open_ones),
        jobs=jobs,
        one_for_each=tuple(one_for_each),
        images=sum(one.images for one in encoders),
        views=sum(one.views for one in encoders),
        texts=sum(one.texts for one in encoders),
        gigabytes=Gigabytes(
            images=_gigabytes((one.images, one.width) for one in encoders),
            views=_gigabytes((one.views, one.width) for one in encoders),
            texts=_gigabytes((one.texts, one.width) for one in encoders),
        ),
        encoders=tuple(encoders),
        times=tuple(_time(device, one, encoders) for device, one in rates.items()),
        not_known=NotKnown(
            images_of=_names(one.dataset for one in open_ones if one.plan.images_to_encode is None),
            prompts_of_questions=sum(one.plan.texts_to_encode is None for one in open_ones),
            own_texts_of=_names(one.scorer for one in open_ones if one.own_texts),
            width_of=_names(
                one.backbone for one in encoders if one.width is None and (one.images or one.views or one.texts)
            ),
        ),
        **_to_fetch(planned),
    )


def _encoders(planned: Sequence[Planned]) -> list[Encoded]:
    """Return what each backbone encodes in each precision, in order: what questions share counts once."""
    images: defaultdict[Hashable, dict[Hashable, int]] = defaultdict(dict)
    views: defaultdict[Hashable, dict[Hashable, int]] = defaultdict(dict)
    texts: defaultdict[Hashable, dict[int, Int64[np.ndarray, " t"]]] = defaultdict(dict)
    for one in planned:
        _keep_most(images[one.encoder], one.images, one.plan.images_to_encode)
        if one.views is not None:  # scorers may look at more or fewer of the same views
            _keep_most(views[one.encoder], (one.images, one.views), one.plan.views_to_encode)
        if one.plan.texts_to_encode and one.texts is not None:
            texts[one.encoder][id(one.texts)] = one.texts
    counted: dict[frozenset[int], int] = {frozenset(): 0}  # most backbones of a sweep have the same prompts
    for lists in texts.values():
        if (same := frozenset(lists)) not in counted:
            counted[same] = len(np.unique(np.concatenate(list(lists.values()))))
    return [
        Encoded(
            backbone=one.backbone,
            precision=one.precision,
            width=one.plan.width,
            images=sum(images[encoder].values()),
            views=sum(views[encoder].values()),
            texts=counted[frozenset(texts[encoder])],
        )
        for encoder, one in {one.encoder: one for one in planned}.items()
    ]


def _keep_most(found: dict[Hashable, int], shared: Hashable, count: int | None) -> None:
    found[shared] = max(found.get(shared, 0), count or 0)


def _gigabytes(rows: Iterable[tuple[int, int | None]]) -> float:
    """Return what so many rows of so many floats take; rows of a width that is not known take nothing."""
    return sum(count * FLOAT_BYTES * (width or 0) for count, width in rows) / 1e9


def _time(device: str, rates: Rates, encoders: Sequence[Encoded]) -> Time:
    """Return how long all takes on a device."""
    return Time(
        device=device,
        image_seconds=sum((one.images + one.views) * rates.images.get(one.encoder, 0.0) for one in encoders),
        text_seconds=sum(one.texts * rates.texts.get(one.encoder, 0.0) for one in encoders),
        no_images_of=_names(
            one.backbone for one in encoders if (one.images or one.views) and one.encoder not in rates.images
        ),
        no_texts_of=_names(one.backbone for one in encoders if one.texts and one.encoder not in rates.texts),
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
