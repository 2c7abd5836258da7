"""ZERO against a loop over views, and its ties."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores, units

from cupl_bench.scorers.zero import ZeroScorer


def votes_by_loop(similar: np.ndarray, scale: float, num_kept: int) -> np.ndarray:
    entropies = []
    for view in similar.astype(np.float64):
        raised = np.exp(scale * (view - view.max()))
        shares = raised / raised.sum()
        entropies.append(-sum(share * np.log(share) for share in shares if share > 0))
    votes = np.zeros(similar.shape[1])
    order = np.argsort(entropies, kind="stable")
    for place in order[:num_kept]:
        votes[similar[place].argmax()] += 1
    tied = np.flatnonzero(votes == votes.max())
    if len(tied) > 1:
        for place in order[num_kept:]:
            if similar[place].argmax() in tied:
                votes[similar[place].argmax()] += 0.5
                break
    return votes


def test_it_is_the_loop() -> None:
    inputs = scene(num_images=60, num_views=16)
    found = scores(ZeroScorer(views=16), inputs)
    ties = 0
    for views, row in zip(inputs.views, found, strict=True):
        votes = votes_by_loop(views @ inputs.classes.matrix.T, 100.0, 4)
        assert row.argmax() == votes.argmax()
        assert np.floor(row + 0.05).tolist() == np.floor(votes).tolist()
        ties += len(set(votes[votes >= np.floor(votes.max())])) > 0 and (votes % 1).any()
    assert ties > 0


def test_equal_views_are_the_image() -> None:
    inputs = scene(num_views=8)
    same = replace(inputs, views=np.repeat(inputs.images[:, None], 8, axis=1))
    plain = inputs.images @ inputs.classes.matrix.T
    assert (scores(ZeroScorer(views=8), same).argmax(axis=1) == plain.argmax(axis=1)).all()


def test_a_later_view_decides_between_equals() -> None:
    classes = np.eye(3, dtype=np.float32)
    views = units(np.array([[[9, 1, 1], [1, 9, 1], [2, 3, 1], [3, 2, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]], float))
    inputs = replace(scene(), images=views[:, 0], views=views, classes=replace(scene().classes, matrix=classes))
    (row,) = scores(ZeroScorer(views=7, kept=0.3), inputs)
    assert row.argmax() == 1
    assert row[0] < row[1] < 2
    assert int(row[0]) == int(row[1]) == 1


def test_soft_votes_sum_to_the_views_that_vote() -> None:
    found = scores(ZeroScorer(views=16, soft=True), scene(num_views=16))
    assert found.sum(axis=1) == pytest.approx(np.full(30, 4.0))


def test_no_view_that_votes_is_refused() -> None:
    with pytest.raises(ValueError, match="no view at all"):
        ZeroScorer(views=3)
