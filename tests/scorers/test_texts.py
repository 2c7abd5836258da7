"""Texts that scorers bring themselves, and what is asked of a question before any of them is encoded."""

import numpy as np
import pytest
from scorers.scenes import encoded

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import ScorerError
from cupl_bench.prompts import Prompts
from cupl_bench.scorers import Needs
from cupl_bench.scorers.autoclip import AutoClipScorer
from cupl_bench.scorers.facts import ScorerFacts, check_fit
from cupl_bench.scorers.texts import mean_features


def test_a_text_that_stands_twice_is_encoded_once_and_counts_twice() -> None:
    asked: list[str] = []
    rows = mean_features(lambda texts: asked.extend(texts) or encoded(texts), iter([["a", "b", "a"], ["b"]]))
    assert asked == ["a", "b"]
    a, b = encoded(["a", "b"])
    assert rows[0] == pytest.approx((2 * a + b) / np.linalg.norm(2 * a + b), abs=1e-6)
    assert rows[1] == pytest.approx(b, abs=1e-6)


def fit(needs: Needs, prompts: Prompts) -> None:
    facts = ScorerFacts(name="mine", scorer=AutoClipScorer(), needs=needs, files={"sets": {"a": []}})
    check_fit(facts, prompts, ["a", "b"], has_images=True, has_text_tower=True)


def test_files_are_checked_against_the_class_names() -> None:
    seen: list[object] = []
    prompts = Prompts(texts=(("a",), ("b",)), aggregation=Aggregation.MEAN)
    fit(Needs(check=lambda *told: seen.append(told)), prompts)
    assert seen == [(["a", "b"], {"sets": {"a": []}})]


@pytest.mark.parametrize(
    ("rows", "parallel"), [((("a",), ("b",)), False), ((("a", "an a"), ("b", "a b")), True)], ids=str
)
def test_prompts_that_would_count_for_nothing_are_refused(rows: tuple[tuple[str, ...], ...], parallel: bool) -> None:
    prompts = Prompts(texts=rows, aggregation=Aggregation.MEAN, parallel=parallel)
    with pytest.raises(ScorerError, match="scorer=mine writes all its texts itself.*Take prompts=simple"):
        fit(Needs(own_prompts=True), prompts)
    fit(Needs(own_prompts=True), Prompts(texts=(("a",), ("b",)), aggregation=Aggregation.MEAN, parallel=True))
