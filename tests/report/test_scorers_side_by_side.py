"""Runs of scorers that draw, or whose scores say no confidence, in the comparison."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recorded import LABELS, Store

from cupl_bench.records import Record, ScorerRecord, write_record


def streamed(store: Store, seed: int, confidence: float) -> Record:
    record = store.add("file", 0.6 + seed / 100, digest="0" * 64, confidence=np.full(len(LABELS), confidence))
    scorer = ScorerRecord(name="tda", parameters={"alpha": 2.0, "seed": seed}, uses=("stream",), kind="online")
    record = record.model_copy(update={"scorer": scorer})
    write_record(store.folder, record)
    return record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_orders_of_a_stream_are_seeds_of_one_question(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(3):
        streamed(store, seed, confidence=np.nan)
    with caplog.at_level(logging.WARNING):
        runs = store.table()
    (mean,) = runs[runs["num_seeds"].notna()].to_dict("records")
    assert mean["num_seeds"] == 3
    assert "the files that they read held different prompts" not in caplog.text


def test_scores_that_say_no_confidence_have_no_calibration_error(store: Store) -> None:
    streamed(store, 0, confidence=np.nan)
    (row,) = store.table().to_dict("records")
    assert pd.isna(row["calibration_error"])


def test_scores_that_say_a_confidence_have_one(store: Store) -> None:
    streamed(store, 0, confidence=0.7)
    (row,) = store.table().to_dict("records")
    assert row["calibration_error"] == pytest.approx(0.1, abs=0.05)
