"""Similarities -> predictions -> metrics (pure). Float32 similarities; the lowest class index wins a tie, always."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from cupl_bench.embeddings import Aggregation, ClassEmbeddings, Features
from cupl_bench.intervals import wilson
from cupl_bench.truth import ClassSets, Truth

__all__ = [
    "Metrics",
    "Predictions",
    "ScoresAre",
    "Tally",
    "TierMetrics",
    "best_columns",
    "count",
    "image_tiles",
    "measure",
    "measure_tiers",
    "predict",
    "predict_parts",
    "predictions_of",
    "product_with",
    "similarities",
    "similarity_tiles",
    "similarity_to",
    "tile_images",
]

ScoresAre = Literal["similarities", "probabilities", "scores"]
"""What the values of scores are, and so what the confidence of a prediction is: the softmax of similarities at the
model's temperature; the probability itself; or nothing, for votes, ranks and plans."""
TILE_VALUES = 4_000_000
"""Similarities held at once (16 MB of float32, near the caches), whatever the number of images."""
TILE_IMAGES = 32_768
"""Images whose features are held at once at most: with few classes they are more than the similarities."""
PART_IMAGES = 65_536
"""Images whose predictions are given together at least, but for the last."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answer to each image. ``top`` holds the (at most five) best labels, best first; -1 for none.

    A scorer may leave classes out: then an image can have fewer than five, and a ``margin`` that is not a number.
    ``confidence``: of similarities the softmax probability of the prediction at the model's own temperature, of
    probabilities the prediction's own, of other scores not a number; in float32.
    ``scores``: of each image for each class, where they are kept.
    """

    prediction: Int64[np.ndarray, " n"]
    top: Int64[np.ndarray, "n k"]
    score: Float32[np.ndarray, " n"]
    margin: Float32[np.ndarray, " n"]
    confidence: Float32[np.ndarray, " n"]
    scores: Float32[np.ndarray, "n c"] | None = None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The counts that accuracies are made from: the images of each class, and how many are right. Tallies add up.

    ``num_among_five``: the images of all classes whose label is among their best five. ``num_short``: the images of
    which fewer than five classes were considered.
    """

    images: Int64[np.ndarray, " c"]
    hits: Int64[np.ndarray, " c"]
    num_among_five: int
    num_short: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            images=self.images + other.images,
            hits=self.hits + other.hits,
            num_among_five=self.num_among_five + other.num_among_five,
            num_short=self.num_short + other.num_short,
        )


@dataclass(frozen=True, kw_only=True)
class TierMetrics:
    """Accuracy on the images of one tier of classes: among all classes, and among the tier's classes alone.

    Some are None of scorers: the interval where the scores of images depend on each other, and ``top1_within`` of all
    but the plain scorer, which alone scores a class whatever the others are.
    """

    num_images: int
    num_classes: int
    top1: float
    top1_ci95: tuple[float, float] | None
    top1_within: float | None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Accuracies as fractions in [0, 1].

    ``top1_ci95``: None where the scores of images depend on each other, so that no interval over images holds.
    ``top5``: None where there are fewer than five classes, or a scorer considered fewer for some image.
    """

    top1: float
    top1_ci95: tuple[float, float] | None
    top5: float | None
    mean_per_class: float


def tile_images(num_columns: int) -> int:
    """Return how many images are compared at once with so many rows.

    >>> tile_images(4), tile_images(10_000_000)
    (32768, 1)
    """
    return min(TILE_IMAGES, max(1, TILE_VALUES // num_columns))


def similarities(images: Float32[torch.Tensor, "n d"], classes: ClassEmbeddings) -> Float32[torch.Tensor, "n c"]:
    """Return the cosine similarity of each image to each class, in float32.

    Equal class embeddings get equal similarities to the last bit: each distinct row is multiplied once.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> similarities(torch.tensor([[0.0, 1.0]]), classes).tolist()
    [[0.0, 1.0]]
    """
    return similarity_to(classes, images.device)(images)


def similarity_to(classes: ClassEmbeddings, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that computes the similarities of images to ``classes``, for many images in turn.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> similarity_to(classes, torch.device("cpu"))(torch.tensor([[0.0, 1.0]])).tolist()
    [[0.0, 1.0]]
    """
    if classes.aggregation != Aggregation.MAX_SIMILARITY:
        return product_with(classes.matrix, device)
    assert classes.prompts is not None  # noqa: S101 - build_class_embeddings made both
    assert classes.owner is not None  # noqa: S101
    to_prompts = product_with(classes.prompts, device)
    owner, num_classes = torch.from_numpy(classes.owner).to(device), len(classes.matrix)

    def to_classes(images: torch.Tensor) -> torch.Tensor:
        best = torch.full((len(images), num_classes), -torch.inf, device=device)
        return best.scatter_reduce(1, owner.expand(len(images), -1), to_prompts(images), "amax")

    return to_classes


def product_with(rows: Float32[np.ndarray, "r d"], device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that multiplies features (... x d) with each of ``rows``; equal rows give the same bits.

    A product by matrices may round its last columns in another way than the others: each distinct row is one column.

    >>> product_with(np.eye(2, dtype=np.float32), torch.device("cpu"))(torch.tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    distinct, place = np.unique(rows, axis=0, return_inverse=True)
    transposed = torch.from_numpy(distinct).to(device).T
    places = torch.from_numpy(place.reshape(-1)).to(device)
    return lambda images: (images @ transposed).index_select(-1, places)


def predict(
    features: Features,
    classes: ClassEmbeddings,
    device: torch.device | None = None,
    columns: Int64[np.ndarray, " s"] | None = None,
    logit_scale: float = 1.0,
) -> Predictions:
    """Classify every image; the arguments and errors are those of `predict_parts`.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> predict(np.array([[0, 1], [1, 0]], dtype=np.float32), classes).prediction.tolist()
    [1, 0]
    """
    return _joined(list(predict_parts(features, classes, device, columns, logit_scale)))


def _joined(parts: Sequence[Predictions]) -> Predictions:
    names = [field.name for field in fields(Predictions) if getattr(parts[0], field.name) is not None]
    return Predictions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def predict_parts(
    features: Features,
    classes: ClassEmbeddings,
    device: torch.device | None = None,
    columns: Int64[np.ndarray, " s"] | None = None,
    logit_scale: float = 1.0,
) -> Iterator[Predictions]:
    """Classify every image, in tiles of bounded memory, and give the answers in parts, in order.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> [len(part.prediction) for part in predict_parts(np.eye(2, dtype=np.float32), classes)]
    [2]

    Args:
        features: unit image features in float32 (n x d); those on the disk are read tile by tile.
        classes: what they are compared with.
        device: where to multiply; the CPU if None.
        columns: the labels that are allowed; all if None.
        logit_scale: the factor of the model from similarities to logits; enters ``confidence`` alone.

    Raises:
        ValueError: there is no image, or a feature or similarity is not a number.
    """
    num_classes = len(classes.matrix) if columns is None else len(columns)
    if num_classes < 2:
        raise ValueError(f"there is nothing to choose from: {num_classes} class")
    tiles = similarity_tiles(features, classes, device)
    if columns is not None:
        labels = torch.from_numpy(columns).to(device)
        tiles = (tile[:, labels] for tile in tiles)
    for part in predictions_of(tiles, logit_scale):
        yield part if columns is None else replace(part, prediction=columns[part.prediction], top=columns[part.top])


def image_tiles(features: Features, num_columns: int, device: torch.device | None = None) -> Iterator[torch.Tensor]:
    """Yield the features of images in tiles, in order, so that their similarities to so many rows fit into memory.

    >>> [len(tile) for tile in image_tiles(np.eye(3, dtype=np.float32), num_columns=2_000_000)]
    [2, 1]

    Raises:
        ValueError: there is no image.
    """
    if len(features) == 0:
        raise ValueError("there is no image to classify")
    step = tile_images(num_columns)
    for start in range(0, len(features), step):
        yield torch.from_numpy(features[start : start + step]).to(device)


def similarity_tiles(
    features: Features, classes: ClassEmbeddings, device: torch.device | None = None
) -> Iterator[Float32[torch.Tensor, "m c"]]:
    """Yield the similarities of images to classes in tiles, in order.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> [tile.tolist() for tile in similarity_tiles(np.eye(2, dtype=np.float32), classes)]
    [[[1.0, 0.0], [0.0, 1.0]]]

    Raises:
        ValueError: there is no image.
    """
    to_classes = similarity_to(classes, device or torch.device("cpu"))
    for images in image_tiles(features, classes.num_columns, device):
        yield to_classes(images)


def predictions_of(
    tiles: Iterable[Float32[torch.Tensor, "m c"]],
    logit_scale: float = 1.0,
    scores_are: ScoresAre = "similarities",
    *,
    keep_scores: bool = False,
) -> Iterator[Predictions]:
    """Return the predictions of scores that come in tiles; they are given in parts, in order.

    >>> [part.prediction.tolist() for part in predictions_of([torch.tensor([[0.1, 0.2]]), torch.tensor([[0.2, 0.1]])])]
    [[1, 0]]

    Args:
        tiles: the scores of each image for each class, higher is likelier; minus infinity where it is not considered.
        logit_scale: the factor of the model from similarities to logits; enters ``confidence`` alone.
        scores_are: what the scores are, and so what ``confidence`` is.
        keep_scores: whether the predictions hold all scores too.

    Raises:
        ValueError: a score is not a number, or no class is considered for an image.
    """
    waiting: list[Predictions] = []
    start = 0
    for tile in tiles:  # a GPU is waited for a few times in each tile, never for each image
        if not torch.isfinite(tile).all():
            left_out = torch.isneginf(tile)
            wrong = ~(torch.isfinite(tile) | left_out).all(dim=1) | left_out.all(dim=1)
            if rows := wrong.nonzero().flatten().tolist():
                raise ValueError(f"{len(rows)} images have {scores_are} that are not finite, first: {rows[0] + start}")
        start += len(tile)
        top, values = best_columns(tile, min(5, tile.shape[1]))
        prediction = top[:, 0].cpu().numpy()
        top[torch.isneginf(values)] = -1
        second = values[:, 1] if values.shape[1] > 1 else torch.full_like(values[:, 0], -torch.inf)
        margin = torch.where(torch.isfinite(second), values[:, 0] - second, torch.nan)
        if scores_are == "similarities":
            confidence = (logit_scale * values[:, 0] - torch.logsumexp(logit_scale * tile, dim=1)).exp()
        else:
            confidence = values[:, 0] if scores_are == "probabilities" else torch.full_like(values[:, 0], torch.nan)
        waiting.append(
            Predictions(
                prediction=prediction,
                top=top.cpu().numpy(),
                score=values[:, 0].cpu().numpy(),
                margin=margin.cpu().numpy(),
                confidence=confidence.cpu().numpy(),
                scores=tile.cpu().numpy() if keep_scores else None,
            )
        )
        if sum(len(one.prediction) for one in waiting) >= PART_IMAGES:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def best_columns(
    tile: Float[torch.Tensor, "n c"], count: int
) -> tuple[Int64[torch.Tensor, "n k"], Float[torch.Tensor, "n k"]]:
    """Return the best columns of each row and their values, best first, the lowest first among equals.

    >>> best_columns(torch.tensor([[0.5, 1.0, 1.0]]), count=2)[0].tolist()
    [[1, 2]]

    `topk` promises no order among equals, so rows that have any among their best are asked again, step by step.
    """
    values, columns = tile.topk(min(count + 1, tile.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero().flatten()
    values, columns = values[:, :count], columns[:, :count]
    left = tile[tied]
    for place in range(count if len(tied) else 0):
        best = left.argmax(dim=1, keepdim=True)  # the first of equals
        columns[tied, place] = best[:, 0]
        values[tied, place] = left.gather(1, best)[:, 0]
        left.scatter_(1, best, -torch.inf)
    return columns, values


def count(
    predictions: Predictions, labels: Int64[np.ndarray, " n"], num_classes: int, sets: ClassSets | None = None
) -> Tally:
    """Count the right predictions of each class; those of images with ``sets`` are right if the image is of the class.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> tally = count(predict(np.eye(2, dtype=np.float32), classes), labels=np.array([0, 0]), num_classes=2)
    >>> tally.images.tolist(), tally.hits.tolist()
    ([2, 0], [1, 0])

    Raises:
        ValueError: a label is not a class.
    """
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, classes from 0 to {num_classes - 1}")
    truth = Truth(labels=labels, num_classes=num_classes, sets=sets)
    return Tally(
        images=np.bincount(labels, minlength=num_classes),
        hits=np.bincount(labels[truth.holds(predictions.prediction)], minlength=num_classes),
        num_among_five=int(truth.holds_any(predictions.top).sum()),
        num_short=int((predictions.top == -1).any(axis=1).sum()),
    )


def measure(tally: Tally) -> Metrics:
    """Return top-1 with its interval, top-5, and the mean top-1 over the classes that have images.

    >>> metrics = measure(Tally(images=np.array([3, 1]), hits=np.array([1, 1]), num_among_five=4))
    >>> metrics.top1, round(metrics.mean_per_class, 3)
    (0.5, 0.667)

    Raises:
        ValueError: there is no image.
    """
    num_images, num_right = int(tally.images.sum()), int(tally.hits.sum())
    if num_images == 0:
        raise ValueError("there is no image to measure")
    seen = tally.images > 0
    return Metrics(
        top1=num_right / num_images,
        top1_ci95=wilson(num_right, num_images),
        top5=tally.num_among_five / num_images if len(seen) >= 5 and tally.num_short == 0 else None,
        mean_per_class=float((tally.hits[seen] / tally.images[seen]).mean()),
    )


@dataclass(frozen=True)
class _Taken:
    """The features at some places."""

    features: Features
    places: Int64[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: slice | Int64[np.ndarray, " k"]) -> np.ndarray:
        return self.features[self.places[which]]


def measure_tiers(
    features: Features | None,
    classes: ClassEmbeddings,
    tally: Tally,
    labels: Int64[np.ndarray, " n"],
    tiers: Sequence[str],
) -> Mapping[str, TierMetrics]:
    """Return accuracy by tier, in the order in which tiers first appear; ``tiers[i]`` is the tier of label i.

    Without ``features`` the accuracy among the tier's classes alone is left out: a scorer that looks at all classes or
    images would have to score the tier anew.

    >>> classes = ClassEmbeddings(aggregation=Aggregation.MEAN, matrix=np.eye(2, dtype=np.float32))
    >>> images, labels = np.eye(2, dtype=np.float32), np.array([0, 0])
    >>> tally = count(predict(images, classes), labels, num_classes=2)
    >>> measure_tiers(images, classes, tally, labels, tiers=["known", "known"])["known"].top1
    0.5
    """
    out = {}
    for tier in dict.fromkeys(tiers):
        members = np.array([label for label, name in enumerate(tiers) if name == tier], dtype=np.int64)
        num_images, num_right = int(tally.images[members].sum()), int(tally.hits[members].sum())
        num_within = num_images
        if features is not None and len(members) > 1:
            here = np.flatnonzero(np.isin(labels, members))
            num_within, start = 0, 0
            for part in predict_parts(_Taken(features, here), classes, columns=members):
                stop = start + len(part.prediction)
                num_within += int((part.prediction == labels[here[start:stop]]).sum())
                start = stop
        out[tier] = TierMetrics(
            num_images=num_images,
            num_classes=len(members),
            top1=num_right / num_images,
            top1_ci95=wilson(num_right, num_images),
            top1_within=None if features is None else num_within / num_images,
        )
    return out
