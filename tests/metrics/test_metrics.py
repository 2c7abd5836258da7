"""Each metric against its definition, written out pair by pair and rank by rank; resamples against repeated images."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from cupl_bench.intervals import wilson
from cupl_bench.metrics import (
    ACCURACIES,
    METRICS,
    Scored,
    along_with,
    draws_of,
    interval_of,
    intervals_of,
    resampled,
    standard_error_p,
    undefined,
)
from cupl_bench.truth import ClassSets, Groups, Truth

CLASSES = 6


def answers(
    seed: int, num_images: int = 61, *, sets: bool = False, groups: bool = False, classes: int = CLASSES
) -> Scored:
    """Answers with many equal scores, a class without an image, and a group without one."""
    generator = np.random.default_rng(seed)
    scores = (generator.integers(0, 12, (num_images, classes)) / 12).astype(np.float32)
    labels = generator.integers(0, max(2, classes - 1), num_images)
    labels[:2] = 0, 1
    matrix = generator.choice(np.array([-1, 0, 0, 1], dtype=np.int8), (num_images, classes))
    matrix[:, classes - 1] = 0
    matrix[np.arange(num_images), labels] = 1
    top = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return Scored(
        truth=Truth(
            labels=labels,
            num_classes=classes,
            sets=ClassSets(matrix=matrix) if sets else None,
            groups=Groups(names=("none", "a", "b", "outlier"), of=generator.integers(-1, 3, num_images) % 4)
            if groups
            else None,
        ),
        predictions=top[:, 0].copy(),
        top=top,
        scores=scores,
        confidence=(generator.integers(0, 8, num_images) / 8).astype(np.float32),
    )


def repeated(scored: Scored, counts: np.ndarray) -> Scored:
    """The answers with each image so often."""
    places = np.repeat(np.arange(len(counts)), counts)
    assert scored.top is not None
    assert scored.scores is not None
    assert scored.confidence is not None
    return Scored(
        truth=scored.truth.taken(places),
        predictions=scored.predictions[places],
        top=scored.top[places],
        scores=scored.scores[places],
        confidence=scored.confidence[places],
    )


# Definitions ----------------------------------------------------------------------------------------------------------


def area(positive: np.ndarray, scores: np.ndarray) -> float:
    """Of each positive image, the share of positives among all that score as high or higher."""
    return float(np.mean([positive[scores >= one].mean() for one in scores[positive]]))


def eleven(positive: np.ndarray, scores: np.ndarray) -> float:
    """At each tenth of recall, the greatest precision of a threshold that finds at least so many."""
    thresholds = [scores >= one for one in set(scores.tolist())]
    points = [
        max(positive[kept].mean() for kept in thresholds
            if Fraction(int(positive[kept].sum()), int(positive.sum())) >= Fraction(step, 10))
        for step in range(11)
    ]  # fmt: skip
    return float(np.mean(points))


def mean_over_classes(scored: Scored, of_class) -> float:
    assert scored.truth.sets is not None
    assert scored.scores is not None
    values = []
    for label in range(scored.truth.num_classes):
        kept = scored.truth.sets.matrix[:, label] != -1
        positive = scored.truth.sets.matrix[kept, label] == 1
        if positive.any():
            values.append(of_class(positive, scored.scores[kept, label]))
    return float(np.mean(values))


def real(scored: Scored) -> float:
    assert scored.truth.sets is not None
    return float(
        np.mean([row[one] != 0 for row, one in zip(scored.truth.sets.matrix, scored.predictions, strict=True)])
    )


def pairs(positive: np.ndarray, scores: np.ndarray) -> float:
    won = [(one > other) + 0.5 * (one == other) for one in scores[positive] for other in scores[~positive]]
    return float(np.mean(won))


def auc(scored: Scored) -> float:
    assert scored.scores is not None
    return pairs(scored.truth.labels == 1, scored.scores[:, 1].astype(float) - scored.scores[:, 0])


def macro_f1(scored: Scored) -> float:
    labels, found, values = scored.truth.labels.tolist(), scored.predictions.tolist(), []
    for label in sorted(set(labels)):
        both = sum(one == label == other for one, other in zip(labels, found, strict=True))
        values.append(2 * both / (labels.count(label) + found.count(label)))
    return float(np.mean(values))


def by_group(scored: Scored, among: int) -> list[float]:
    groups = scored.truth.groups
    assert groups is not None
    right = scored.right(among)
    return [float(right[groups.of == place].mean()) for place in range(len(groups.names)) if (groups.of == place).any()]


def surest(scored: Scored, coverage: int) -> float:
    assert scored.confidence is not None
    order = sorted(range(len(scored.predictions)), key=lambda place: (-float(scored.confidence[place]), place))  # type: ignore[index]
    kept = order[: int(np.ceil(Fraction(coverage * len(order), 100)))]
    return float(scored.right(1)[kept].mean())


def outliers(scored: Scored, of_class) -> float:
    assert scored.truth.groups is not None
    assert scored.confidence is not None
    return of_class(scored.truth.groups.of == 3, -scored.confidence.astype(float))


DEFINITIONS = {
    "map_11": lambda one: mean_over_classes(one, eleven),
    "map_area": lambda one: mean_over_classes(one, area),
    "real_accuracy": real,
    "roc_auc": auc,
    "f1_macro": macro_f1,
    "worst_group": lambda one: min(by_group(one, 1)),
    "worst_group_top5": lambda one: min(by_group(one, 5)),
    "group_gap": lambda one: max(0.0, one.right(1).mean() - min(by_group(one, 1))),
    "group_gap_top5": lambda one: max(0.0, one.right(5).mean() - min(by_group(one, 5))),
    "selective_50": lambda one: surest(one, 50),
    "selective_80": lambda one: surest(one, 80),
    "selective_90": lambda one: surest(one, 90),
    "outlier_aupr": lambda one: outliers(one, area),
    "outlier_auroc": lambda one: outliers(one, pairs),
}
NEEDS = {
    "roc_auc": {"classes": 2},
    "map_11": {"sets": True},
    "map_area": {"sets": True},
    "real_accuracy": {"sets": True},
}
NEEDS |= {name: {"groups": True} for name in METRICS if name.startswith(("worst", "group", "outlier"))}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_its_definition(name: str) -> None:
    for seed in range(5):
        scored = answers(seed, **NEEDS.get(name, {}))
        found = METRICS[name].measured(scored)
        assert found.undefined is None
        assert found.value == pytest.approx(DEFINITIONS[name](scored), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_a_resample_is_the_metric_of_images_that_stand_so_often(name: str) -> None:
    """Up to the float32 of counts, which are whole numbers: exact."""
    scored = answers(9, num_images=40, **NEEDS.get(name, {}))
    counts = np.random.default_rng(3).integers(0, 3, (6, 40))
    # The surest are so many of all images: resamples are as large as the whole.
    counts[:, 0] += np.maximum(0, 40 - counts.sum(axis=1))
    while (over := counts.sum(axis=1) > 40).any():
        counts[over, counts[over].argmax(axis=1)] -= 1
    if scored.truth.groups is not None and name.startswith(("worst", "group")):  # a group that has no image
        of = np.where(scored.truth.groups.of == 0, 1, scored.truth.groups.of)
        groups = replace(scored.truth.groups, of=of)
        scored = replace(scored, truth=replace(scored.truth, groups=groups))
    ones = np.ones((1, 40), dtype=np.float32)
    metric = METRICS[name]
    assert metric.resampled(scored, ones)[0] == pytest.approx(metric.measured(scored).value, abs=1e-12)
    found = metric.resampled(scored, counts.astype(np.float32))
    expected = [metric.measured(repeated(scored, row)).value for row in counts]
    assert found == pytest.approx(expected, abs=1e-7)


def test_every_definition_is_of_a_metric_and_the_other_way_round() -> None:
    assert set(DEFINITIONS) == set(METRICS)
    assert not set(ACCURACIES) & set(METRICS)
    assert all(METRICS[other] for metric in METRICS.values() for other in metric.along)
    assert [one.name for one in along_with("worst_group")] == ["worst_group", "group_gap"]
    assert along_with("top1") == ()


def test_scikit_learn_agrees_where_it_has_the_metric() -> None:
    several, two, one = answers(1, sets=True), answers(1, classes=2), answers(1)
    assert two.scores is not None
    assert several.scores is not None
    assert several.truth.sets is not None
    whole = replace(several.truth.sets, matrix=np.maximum(several.truth.sets.matrix, 0))
    scored = replace(several, truth=replace(several.truth, sets=whole))
    theirs = average_precision_score(whole.matrix[:, : CLASSES - 1], several.scores[:, : CLASSES - 1], average="macro")
    assert METRICS["map_area"].measured(scored).value == pytest.approx(theirs)
    assert METRICS["roc_auc"].measured(two).value == pytest.approx(
        roc_auc_score(two.truth.labels, two.scores[:, 1].astype(float) - two.scores[:, 0])
    )
    labels = np.unique(one.truth.labels)
    theirs = f1_score(one.truth.labels, one.predictions, labels=labels, average="macro")
    assert METRICS["f1_macro"].measured(one).value == pytest.approx(theirs)


def test_the_order_of_equal_scores_does_not_matter() -> None:
    """Four images of one score: half of them are of the class, so the precision is one half, whatever their order."""
    for labels in ([1, 1, 0, 0], [0, 0, 1, 1]):
        positive = np.array(labels, dtype=bool)
        truth = Truth(labels=np.zeros(4, dtype=np.int64), num_classes=2,
                      sets=ClassSets(matrix=np.stack([positive, ~positive], axis=1).astype(np.int8)))  # fmt: skip
        scored = Scored(truth=truth, predictions=np.zeros(4, dtype=np.int64), scores=np.full((4, 2), 0.5, np.float32))
        for name in ("map_11", "map_area"):
            assert METRICS[name].measured(scored).value == 0.5


# Where there is nothing to measure ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("map_11", {"sets": ClassSets(matrix=np.full((3, 2), -1, dtype=np.int8))}, "none of 3 images is of a class"),
        ("map_area", {}, "no set of classes is known of its images"),
        ("real_accuracy", {}, "no set of classes is known"),
        ("roc_auc", {}, "all 3 images are of class 1, and it compares the two classes"),
        ("roc_auc", {"num_classes": 3}, "it takes two classes and one label for each image, and there are 3 classes"),
        ("worst_group", {}, "no group is known of its images"),
        ("worst_group", {"groups": Groups(names=("a",), of=np.array([-1, -1, -1]))}, "none of 3 images is in a group"),
        ("worst_group_top5", {"groups": Groups(names=("a",), of=np.array([0, 0, 0]))}, "there are 2 classes, and it"),
        ("outlier_aupr", {"groups": Groups(names=("a",), of=np.array([0, 0, 0]))}, "in a group 'outlier'"),
        ("outlier_auroc", {"groups": Groups(names=("outlier",), of=np.array([0, 0, 0]))}, "3 of 3 images are outliers"),
    ],
)  # fmt: skip
def test_what_is_not_defined_has_a_reason_and_no_number(name: str, changes: dict, why: str) -> None:
    truth = replace(Truth(labels=np.array([1, 1, 1]), num_classes=2), **changes)
    scored = Scored(truth=truth, predictions=truth.labels, scores=np.zeros((3, truth.num_classes), dtype=np.float32))
    found = METRICS[name].measured(scored)
    assert found.value is None
    assert why in (found.undefined or "")
    assert undefined(name, truth) == found.undefined


def test_scores_that_leave_classes_out_are_not_ranked() -> None:
    scored = answers(2, sets=True)
    assert scored.scores is not None
    short = replace(scored, scores=np.where(scored.scores == 0, -np.inf, scored.scores).astype(np.float32))
    for one in (short, replace(scored, scores=None)):
        assert METRICS["map_11"].measured(one).undefined == (
            "the scorer leaves classes out, and it ranks by the scores of all"
        )
    unsure = replace(answers(2), confidence=None)
    assert "how sure" in (METRICS["selective_80"].measured(unsure).undefined or "")


def test_a_group_and_a_class_without_images_are_named_and_count_nowhere() -> None:
    found = METRICS["worst_group"].measured(answers(0, groups=True))
    sizes = {part.what: (part.num_images, part.value) for part in found.parts}
    assert list(sizes) == ["none", "a", "b", "outlier"]
    empty = replace(answers(0, groups=True))
    groups = empty.truth.groups
    assert groups is not None
    truth = replace(empty.truth, groups=replace(groups, of=np.where(groups.of == 0, 1, groups.of)))
    parts = METRICS["worst_group"].measured(replace(empty, truth=truth)).parts
    assert (parts[0].num_images, parts[0].value) == (0, None)
    last = METRICS["map_11"].measured(answers(0, sets=True)).parts[-1]
    assert (last.what, last.num_images, last.value) == (CLASSES - 1, 0, None)
    last = METRICS["f1_macro"].measured(answers(0)).parts[-1]
    assert (last.what, last.num_images, last.value) == (CLASSES - 1, 0, None)


# Resamples ------------------------------------------------------------------------------------------------------------


def test_a_worst_group_has_the_interval_of_that_group() -> None:
    scored = answers(3, groups=True)
    groups = scored.truth.groups
    assert groups is not None
    right = scored.right(1)
    counts = [(int(right[groups.of == place].sum()), int((groups.of == place).sum())) for place in range(4)]
    hits, images = min((one for one in counts if one[1]), key=lambda one: one[0] / one[1])
    metric = METRICS["worst_group"]
    found = intervals_of({metric: metric.measured(scored)}, scored, seed=0)[metric]
    assert found[0] == wilson(hits, images)
    assert found[1].startswith("Wilson's interval of the group ")


def test_images_are_drawn_within_their_groups() -> None:
    groups = np.array([2, 0, 0, 2, 1, 2])
    blocks = np.concatenate(list(resampled(6, groups, seed=1)))
    assert blocks.shape == (1000, 6)
    for group, size in ((0, 2), (1, 1), (2, 3)):
        assert (blocks[:, groups == group].sum(axis=1) == size).all()
    assert blocks[:, 1].std() > 0.5
    assert (np.concatenate(list(resampled(6, groups, seed=1))) == blocks).all()
    assert (np.concatenate(list(resampled(6, groups, seed=2))) != blocks).any()


def test_the_order_of_the_names_of_groups_does_not_matter() -> None:
    scored = answers(5, groups=True)
    groups = scored.truth.groups
    assert groups is not None
    turned = Groups(names=groups.names[::-1], of=np.where(groups.of == -1, -1, 3 - groups.of))
    other = replace(scored, truth=replace(scored.truth, groups=turned))
    (one,), (two,) = (draws_of([METRICS["worst_group"]], which, seed=3) for which in (scored, other))
    assert (one == two).all()


def test_the_interval_of_an_accuracy_is_that_of_its_binomial() -> None:
    scored = answers(4, num_images=400, sets=True)
    (draws,) = draws_of([METRICS["real_accuracy"]], scored, seed=0)
    share = scored.right(1).mean()
    reach = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert interval_of(draws) == pytest.approx((share - reach, share + reach), abs=0.01)


def test_resamples_without_a_positive_image_are_left_out_or_give_no_interval() -> None:
    rare = np.r_[np.array([0.5] * 95), np.full(5, np.nan)]
    assert interval_of(rare) == (0.5, 0.5)
    assert interval_of(np.r_[rare, np.full(10, np.nan)]) is None
    assert standard_error_p(0.1, np.full(10, np.nan)) is None
    assert standard_error_p(0.0, np.zeros(10)) == 1.0
    assert standard_error_p(0.1, np.full(10, 0.1)) == 0.0
    assert standard_error_p(0.0, np.random.default_rng(0).normal(0, 1, 100)) == 1.0
