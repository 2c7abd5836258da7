"""Measure what each prompt adds, and how accuracy grows with the number of prompts (pure).

Everything is one pass over the images in tiles of bounded memory. To leave one prompt out of a class moves the
similarity to that class alone, by an affine rule of two similarities that are there anyway, so no class embedding is
built anew and no image is scored anew:

    sum without j = sum - weight_j prompt_j
    similarity without j = (length of the sum * similarity - weight_j * similarity to j) / length of the rest
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from cupl_bench.embeddings import Aggregation, Features, build_class_embeddings, distinct_rows
from cupl_bench.scores import similarities, tile_images
from cupl_bench.truth import ClassSets

__all__ = [
    "PromptEffects",
    "TemplateEffects",
    "measure_prompts",
    "measure_subsets",
    "measure_templates",
    "right_images",
]

Rows = Sequence[Sequence[int]]
Weights = Sequence[Sequence[float]] | None


@dataclass(frozen=True, kw_only=True)
class PromptEffects:
    """The effect of each distinct prompt of each class; p counts them, classes in order. Fractions of images.

    ``row``: its place among the text features; ``weight``: how much it counts in its class.
    ``only_with``, ``only_without``: images that are right only if its class has it, or only if it has not; 0 where the
    class has no other prompt.
    ``top1_without``: of all images, when its class does without it; NaN where the class has no other prompt.
    ``top1_alone``: of all images, when its class is this prompt alone and the other classes are as they were.
    ``class_top1``, ``class_top1_without``, ``class_top1_alone``: the same of the images of its own class; NaN where it
    has none.
    """

    top1: float
    label: Int64[np.ndarray, " p"]
    row: Int64[np.ndarray, " p"]
    weight: Float64[np.ndarray, " p"]
    only_with: Int64[np.ndarray, " p"]
    only_without: Int64[np.ndarray, " p"]
    top1_without: Float64[np.ndarray, " p"]
    top1_alone: Float64[np.ndarray, " p"]
    class_top1: Float64[np.ndarray, " p"]
    class_top1_without: Float64[np.ndarray, " p"]
    class_top1_alone: Float64[np.ndarray, " p"]


@dataclass(frozen=True, kw_only=True)
class TemplateEffects:
    """The effect of each template, in all classes at once; ``top1_without`` is NaN where there is no other template.

    ``only_with``, ``only_without``: images that are right only if all classes have it, or only if none has.
    """

    only_with: Int64[np.ndarray, " t"]
    only_without: Int64[np.ndarray, " t"]
    top1_without: Float64[np.ndarray, " t"]
    top1_alone: Float64[np.ndarray, " t"]


@dataclass(frozen=True, kw_only=True)
class _Prompts:
    """The distinct prompts of all classes, classes in order; ``start[c]`` is the first of class c.

    ``scale`` and ``share`` make the similarity without a prompt: scale * similarity - share * similarity to it. They
    are NaN where a class has no other prompt, or where the rest cancels out.
    """

    label: Int64[np.ndarray, " p"]
    row: Int64[np.ndarray, " p"]
    weight: Float64[np.ndarray, " p"]
    start: Int64[np.ndarray, " c_and_end"]
    scale: Float64[np.ndarray, " p"]
    share: Float64[np.ndarray, " p"]


def _listed(texts: Float32[np.ndarray, "u d"], rows: Rows, weights: Weights, aggregation: Aggregation) -> _Prompts:
    label, row, weight, scale, share = [], [], [], [], []
    for place, own in enumerate(rows):
        members, totals = distinct_rows(own, None if weights is None else weights[place])
        own_scale, own_share = _without(texts[members].astype(np.float64), totals, aggregation)
        label.append(np.full(len(members), place, dtype=np.int64))
        row.append(members)
        weight.append(totals)
        scale.append(own_scale)
        share.append(own_share)
    return _Prompts(
        label=np.concatenate(label),
        row=np.concatenate(row),
        weight=np.concatenate(weight),
        start=np.cumsum([0, *(len(one) for one in row)]).astype(np.int64),
        scale=np.concatenate(scale),
        share=np.concatenate(share),
    )


def _without(
    units: Float64[np.ndarray, "m d"], totals: Float64[np.ndarray, " m"], aggregation: Aggregation
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the affine rule of each prompt of a class; for max similarity, which has none, only where it is NaN."""
    if len(units) == 1:
        return np.full(1, np.nan), np.full(1, np.nan)
    if aggregation == Aggregation.MAX_SIMILARITY:
        return np.ones(len(units)), np.zeros(len(units))
    if aggregation == Aggregation.MEAN_SIMILARITY:
        rest = totals.sum() - totals
        return totals.sum() / rest, totals / rest
    whole = totals @ units
    lengths = np.linalg.norm(whole - totals[:, None] * units, axis=1)
    lengths[lengths == 0] = np.nan
    return np.linalg.norm(whole) / lengths, totals / lengths


def measure_prompts(
    images: Features,
    labels: Int64[np.ndarray, " n"],
    texts: Float32[np.ndarray, "u d"],
    rows: Rows,
    aggregation: Aggregation,
    weights: Weights = None,
    device: torch.device | None = None,
    sets: ClassSets | None = None,
) -> PromptEffects:
    """Return the effect of each prompt of each class, in one pass over the images.

    Args:
        images: unit features; those on the disk are read tile by tile.
        labels: the class of each image.
        texts: unit features of distinct prompts.
        rows: for each class the rows of its prompts in ``texts``.
        aggregation: how prompts become a class.
        weights: of the prompts, in the shape of ``rows``; they stay as they are when one is left out.
        device: where to multiply; the CPU if None.
        sets: all classes of each image, where it may be of several: it is right as one of them. Its label says which
            class it counts for.
    """
    device = device or torch.device("cpu")
    prompts = _listed(texts, rows, weights, aggregation)
    classes = build_class_embeddings(texts, rows, aggregation, weights)
    count = len(prompts.label)
    label, scale, share = (torch.from_numpy(one).to(device) for one in (prompts.label, prompts.scale, prompts.share))
    features = torch.from_numpy(texts[prompts.row]).to(device)
    scale, share = scale.float(), share.float()
    start = torch.from_numpy(prompts.start).to(device)
    lone = torch.from_numpy(np.diff(prompts.start) == 1).to(device)[label]
    tally = {name: _Tally(count, device) for name in ("without", "alone")}
    correct = torch.zeros(len(rows), dtype=torch.int64, device=device)
    step = tile_images(max(count, len(rows)))
    for first in range(0, len(images), step):
        tile = torch.from_numpy(images[first : first + step]).to(device)
        truth = torch.from_numpy(labels[first : first + step]).to(device)
        held = _held(sets, slice(first, first + step), device)
        to_prompt = tile @ features.T
        to_class = similarities(tile, classes)
        if aggregation == Aggregation.MAX_SIMILARITY:
            without = _next_best(to_prompt, label, len(rows))
        else:
            without = to_class[:, label] * scale - to_prompt * share
        # The one prompt of a class is the class, to the last bit.
        alone = torch.where(lone, to_class[:, label], to_prompt)
        best = _Best.of(to_class, truth, held)
        correct += torch.bincount(truth[best.right], minlength=len(rows))
        tally["without"].add(without, best, label, start)
        tally["alone"].add(alone, best, label, start)
    of_class = torch.bincount(torch.from_numpy(labels), minlength=len(rows)).double().numpy()
    hits = correct.cpu().double().numpy()
    with np.errstate(invalid="ignore"):  # a class without images has no accuracy
        own = {name: one.own.cpu().double().numpy() / of_class[prompts.label] for name, one in tally.items()}
        class_top1 = (hits / of_class)[prompts.label]
    total = {name: (hits.sum() + one.change.cpu().double().numpy()) / len(labels) for name, one in tally.items()}
    gone = np.isnan(prompts.scale)
    lost, won = (one.cpu().numpy() for one in (tally["without"].lost, tally["without"].won))
    return PromptEffects(
        top1=float(hits.sum() / len(labels)),
        label=prompts.label,
        row=prompts.row,
        weight=prompts.weight,
        only_with=np.where(gone, 0, lost),
        only_without=np.where(gone, 0, won),
        top1_without=np.where(gone, np.nan, total["without"]),
        top1_alone=total["alone"],
        class_top1=class_top1,
        class_top1_without=np.where(gone, np.nan, own["without"]),
        class_top1_alone=own["alone"],
    )


@dataclass(frozen=True, kw_only=True)
class _Best:
    """The best and the second best class of each image of a tile, and whether the best is right.

    ``held``: n x c, which classes each image is of, where it may be of several.
    """

    truth: Int64[torch.Tensor, " n"]
    first: Int64[torch.Tensor, " n"]
    second: Int64[torch.Tensor, " n"]
    first_value: Float32[torch.Tensor, " n"]
    second_value: Float32[torch.Tensor, " n"]
    right: Bool[torch.Tensor, " n"]
    held: Bool[torch.Tensor, "n c"] | None

    @classmethod
    def of(
        cls,
        to_class: Float32[torch.Tensor, "n c"],
        truth: Int64[torch.Tensor, " n"],
        held: Bool[torch.Tensor, "n c"] | None,
    ) -> "_Best":
        first = to_class.argmax(dim=1)
        rest = to_class.scatter(1, first[:, None], -torch.inf)
        second = rest.argmax(dim=1)
        return cls(
            truth=truth,
            first=first,
            second=second,
            first_value=to_class.gather(1, first[:, None])[:, 0],
            second_value=to_class.gather(1, second[:, None])[:, 0],
            right=_right(first, truth, held),
            held=held,
        )


@dataclass
class _Tally:
    """How the number of right images changes when one class takes a new similarity, for each such change.

    ``own``: images of the class itself that are right then; of all images, ``lost``: right now and wrong then, ``won``:
    wrong now and right then.
    """

    count: int
    device: torch.device

    def __post_init__(self) -> None:
        self.own = torch.zeros(self.count, dtype=torch.int64, device=self.device)
        self.lost = torch.zeros(self.count, dtype=torch.int64, device=self.device)
        self.won = torch.zeros(self.count, dtype=torch.int64, device=self.device)

    @property
    def change(self) -> Int64[torch.Tensor, " p"]:
        return self.won - self.lost

    def add(
        self,
        new: Float32[torch.Tensor, "n p"],
        best: _Best,
        label: Int64[torch.Tensor, " p"],
        start: Int64[torch.Tensor, " c_and_end"],
    ) -> None:
        """Count a tile: ``new[i, j]`` is what image i has with the class of change j, all other classes as before."""
        if best.held is not None:
            self._add_of_sets(new, best, best.held, label)
            return
        # Images that are right and whose class stays: lost where the changed class overtakes theirs.
        right = best.right.nonzero()[:, 0]
        value, truth = best.first_value[right][:, None], best.truth[right][:, None]
        overtaken = (new[right] > value) | ((new[right] == value) & (label < truth))
        self.lost += overtaken.sum(dim=0)
        rows, columns = _own_columns(best.truth[right], start)
        self.lost -= _counted(columns, overtaken[rows, columns], self.count)  # their own class does not overtake
        # Images of the changed class: right where it beats the best of the others.
        other = torch.where(best.right, best.second, best.first)
        other_value = torch.where(best.right, best.second_value, best.first_value)
        rows, columns = _own_columns(best.truth, start)
        now = new[rows, columns]
        wins = (now > other_value[rows]) | ((now == other_value[rows]) & (best.truth[rows] < other[rows]))
        self.own += _counted(columns, wins, self.count)
        self.won += _counted(columns, wins & ~best.right[rows], self.count)
        self.lost += _counted(columns, best.right[rows] & ~wins, self.count)
        # Images of another class that were taken for the changed one, with their own class second: mended.
        near = ((~best.right) & (best.second == best.truth)).nonzero()[:, 0]
        rows, columns = _own_columns(best.first[near], start)
        now, theirs = new[near[rows], columns], best.second_value[near[rows]]
        first, truth = best.first[near[rows]], best.truth[near[rows]]
        self.won += _counted(columns, (now < theirs) | ((now == theirs) & (truth < first)), self.count)

    def _add_of_sets(
        self,
        new: Float32[torch.Tensor, "n p"],
        best: _Best,
        held: Bool[torch.Tensor, "n c"],
        label: Int64[torch.Tensor, " p"],
    ) -> None:
        """Count a tile whose images may be of several classes: of each image and change, what it is taken for then."""
        changed = best.first[:, None] == label
        other = torch.where(changed, best.second[:, None], best.first[:, None])
        other_value = torch.where(changed, best.second_value[:, None], best.first_value[:, None])
        wins = (new > other_value) | ((new == other_value) & (label < other))
        then = torch.where(wins, held[:, label], held.gather(1, other))
        right = best.right[:, None]
        self.lost += (right & ~then).sum(dim=0)
        self.won += (then & ~right).sum(dim=0)
        self.own += (then & (best.truth[:, None] == label)).sum(dim=0)


def _held(sets: ClassSets | None, part: slice, device: torch.device) -> Bool[torch.Tensor, "n c"] | None:
    """Return which classes each image of a tile is of, where it may be of several."""
    return None if sets is None else torch.from_numpy(sets.matrix[part] != 0).to(device)


def _right(
    predictions: Int64[torch.Tensor, " n"], truth: Int64[torch.Tensor, " n"], held: Bool[torch.Tensor, "n c"] | None
) -> Bool[torch.Tensor, " n"]:
    return predictions == truth if held is None else held.gather(1, predictions[:, None])[:, 0]


def _own_columns(
    classes: Int64[torch.Tensor, " n"], start: Int64[torch.Tensor, " c_and_end"]
) -> tuple[Int64[torch.Tensor, " k"], Int64[torch.Tensor, " k"]]:
    """Return all columns of the class of each row, as pairs of row and column."""
    lengths = start[classes + 1] - start[classes]
    rows = torch.repeat_interleave(torch.arange(len(classes), device=classes.device), lengths)
    before = torch.cumsum(lengths, dim=0) - lengths
    columns = torch.arange(len(rows), device=classes.device) - before[rows] + start[classes][rows]
    return rows, columns


def _counted(
    columns: Int64[torch.Tensor, " k"], which: Bool[torch.Tensor, " k"], count: int
) -> Int64[torch.Tensor, " p"]:
    return torch.bincount(columns[which], minlength=count)


def _next_best(
    to_prompt: Float32[torch.Tensor, "n p"], label: Int64[torch.Tensor, " p"], num_classes: int
) -> Float32[torch.Tensor, "n p"]:
    """Return the similarity to the nearest prompt of the class but this one."""
    owner = label.expand(len(to_prompt), -1)
    empty = torch.full((len(to_prompt), num_classes), -torch.inf, device=to_prompt.device)
    nearest = empty.scatter_reduce(1, owner, to_prompt, "amax")[:, label]
    is_nearest = to_prompt == nearest
    alone_there = torch.zeros_like(empty).scatter_add(1, owner, is_nearest.float())[:, label] == 1
    left = torch.where(is_nearest, torch.tensor(-torch.inf, device=to_prompt.device), to_prompt)
    second = empty.scatter_reduce(1, owner, left, "amax")[:, label]
    return torch.where(is_nearest & alone_there, second, nearest)


def measure_templates(
    images: Features,
    labels: Int64[np.ndarray, " n"],
    texts: Float32[np.ndarray, "u d"],
    rows: Rows,
    aggregation: Aggregation,
    weights: Weights = None,
    device: torch.device | None = None,
    sets: ClassSets | None = None,
) -> TemplateEffects:
    """Return the effect of each template: the prompts at one place of every class, left out or taken alone together.

    The arguments are those of `measure_prompts`; every class has as many prompts.
    """
    device = device or torch.device("cpu")
    places = np.asarray(rows, dtype=np.int64)
    weight = np.ones(places.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    scale, share = _rules_of_templates(texts, places, weight, aggregation)
    classes = build_class_embeddings(texts, rows, aggregation, weights)
    num_classes, num_templates = places.shape
    # Equal prompts get equal similarities to the last bit: each is multiplied once.
    distinct = [np.unique(places[:, place], return_inverse=True) for place in range(num_templates)]
    # Copied to the device at once, and counts are read at the end: a GPU would be waited for at each template.
    features = torch.from_numpy(texts).to(device)
    members = torch.from_numpy(np.concatenate([one for one, _ in distinct])).to(device)
    columns = torch.from_numpy(np.stack([one.reshape(-1) for _, one in distinct])).to(device)
    ends = np.cumsum([len(one) for one, _ in distinct]).tolist()
    members_of = [members[start:end] for start, end in pairwise([0, *ends])]
    scales, shares = (torch.from_numpy(one.T.astype(np.float32)).to(device) for one in (scale, share))
    lost, won, alone = torch.zeros((3, num_templates), dtype=torch.int64, device=device)
    hits = torch.zeros((), dtype=torch.int64, device=device)
    step = tile_images(num_classes)
    for first in range(0, len(images), step):
        tile = torch.from_numpy(images[first : first + step]).to(device)
        truth = torch.from_numpy(labels[first : first + step]).to(device)
        held = _held(sets, slice(first, first + step), device)

        def to_template(place: int, tile: torch.Tensor = tile) -> torch.Tensor:
            return (tile @ features[members_of[place]].T)[:, columns[place]]

        to_class = similarities(tile, classes)
        right = _right(to_class.argmax(dim=1), truth, held)
        hits += right.sum()
        nearest, second, which = (
            _two_best(to_template, num_templates)
            if (aggregation == Aggregation.MAX_SIMILARITY and num_templates > 1)
            else (to_class, to_class, None)
        )
        for place in range(num_templates):
            to_prompt = to_template(place)
            alone[place] += _right(to_prompt.argmax(dim=1), truth, held).sum()
            if num_templates == 1:
                continue
            if which is not None:
                rest = torch.where(which == place, second, nearest)
            else:
                rest = to_class * scales[place] - to_prompt * shares[place]
            then = _right(rest.argmax(dim=1), truth, held)
            lost[place] += (right & ~then).sum()
            won[place] += (then & ~right).sum()
    gone = (num_templates == 1) | np.isnan(scale).any(axis=0)
    only_with, only_without, right_alone = (one.cpu().numpy() for one in (lost, won, alone))
    return TemplateEffects(
        only_with=np.where(gone, 0, only_with),
        only_without=np.where(gone, 0, only_without),
        top1_without=np.where(gone, np.nan, (int(hits) - only_with + only_without) / len(labels)),
        top1_alone=right_alone / len(labels),
    )


def _rules_of_templates(
    texts: Float32[np.ndarray, "u d"],
    places: Int64[np.ndarray, "c t"],
    weight: Float64[np.ndarray, "c t"],
    aggregation: Aggregation,
) -> tuple[Float64[np.ndarray, "c t"], Float64[np.ndarray, "c t"]]:
    """Return the affine rule of each template in each class."""
    rules = [
        _without(texts[own].astype(np.float64), totals, aggregation) for own, totals in zip(places, weight, strict=True)
    ]
    return np.stack([scale for scale, _ in rules]), np.stack([share for _, share in rules])


def _two_best(
    to_template: Callable[[int], torch.Tensor], num_templates: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return for each image and class the two highest template similarities, and which template is the nearest."""
    nearest = to_template(0)
    second = torch.full_like(nearest, -torch.inf)
    which = torch.zeros(nearest.shape, dtype=torch.int64, device=nearest.device)
    for place in range(1, num_templates):
        here = to_template(place)
        closer = here > nearest
        second = torch.where(closer, nearest, torch.maximum(second, here))
        which[closer] = place
        nearest = torch.maximum(nearest, here)
    return nearest, second, which


def measure_subsets(
    images: Features,
    labels: Int64[np.ndarray, " n"],
    texts: Float32[np.ndarray, "u d"],
    subsets: Iterable[tuple[Rows, Weights]],
    aggregation: Aggregation,
    device: torch.device | None = None,
    sets: ClassSets | None = None,
) -> list[float]:
    """Return the top-1 accuracy with each of several choices of prompts.

    ``subsets``: for each choice the rows of every class, and their weights or None. The other arguments are those of
    `measure_prompts`.
    """
    given = (images, labels, texts)
    return [float(right_images(*given, rows, aggregation, weights, device, sets).mean()) for rows, weights in subsets]


def right_images(
    images: Features,
    labels: Int64[np.ndarray, " n"],
    texts: Float32[np.ndarray, "u d"],
    rows: Rows,
    aggregation: Aggregation,
    weights: Weights = None,
    device: torch.device | None = None,
    sets: ClassSets | None = None,
) -> Bool[np.ndarray, " n"]:
    """Return which images are right. The arguments are those of `measure_prompts`."""
    device = device or torch.device("cpu")
    classes = build_class_embeddings(texts, rows, aggregation, weights)
    right = np.empty(len(labels), dtype=np.bool_)
    step = tile_images(classes.num_columns)
    for first in range(0, len(images), step):
        part = slice(first, first + step)
        best = similarities(torch.from_numpy(images[part]).to(device), classes).argmax(dim=1).cpu().numpy()
        right[part] = best == labels[part] if sets is None else sets.taken(part).hold(best[:, None])[:, 0]
    return right
