"""MTA against a loop over the views of one image, in float64."""

from dataclasses import replace

import numpy as np
import pytest
from scorers.scenes import scene, scores

from cupl_bench.scorers.mta import MtaScorer


def softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max())
    return raised / raised.sum()


def mode_by_loop(views: np.ndarray, classes: np.ndarray) -> np.ndarray:
    views, num = views.astype(np.float64), len(views)
    k = int(0.3 * (num - 1))
    apart = np.array([[((p - q) ** 2).sum() for q in views] for p in views])
    widths = np.array([0.5 * np.sort(row)[1 : k + 1].mean() for row in apart])
    shares = [softmax(100 * (view @ classes.T.astype(np.float64))) for view in views]
    affinity = np.array([[one @ other for other in shares] for one in shares])
    weights, mode = np.full(num, 1 / num), views[0]
    for _ in range(5):
        near = np.exp(-((views - mode) ** 2).sum(axis=1) / (2 * widths))
        for _ in range(5):
            new = softmax((near + 4 * affinity @ weights) / 0.2)
            done = np.linalg.norm(new - weights) < 1e-6
            weights = new
            if done:
                break
        for _ in range(5):
            near = np.exp(-((views - mode) ** 2).sum(axis=1) / (2 * widths))
            new = (weights * near) @ views
            new /= np.linalg.norm(new)
            done = np.linalg.norm(new - mode) < 1e-6
            mode = new
            if done:
                break
    return mode


def test_it_is_the_loop() -> None:
    inputs = scene(num_images=12, num_views=16)
    found = scores(MtaScorer(views=16), inputs)
    for views, row in zip(inputs.views, found, strict=True):
        mode = mode_by_loop(views, inputs.classes.matrix)
        assert row == pytest.approx(inputs.classes.matrix @ mode, abs=1e-5)


def test_equal_views_are_the_image() -> None:
    inputs = scene(num_views=8)
    same = replace(inputs, views=np.repeat(inputs.images[:, None], 8, axis=1))
    assert scores(MtaScorer(views=8), same) == pytest.approx(inputs.images @ inputs.classes.matrix.T, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"nearest": 0.0}, {"entropy": 0.0}])
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="should be"):
        MtaScorer(**wrong)
