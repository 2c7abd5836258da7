"""The GPU part of the benchmark, at tiny size on a CPU: that it runs, not what it finds."""

import json
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from making import TINY, encoded

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from benchmarking import gpu


@pytest.fixture
def architecture(tmp_path: Path) -> str:
    (tmp_path / "tiny-of-the-benchmark.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-of-the-benchmark.json")
    return "tiny-of-the-benchmark"


def test_every_row_is_measured_on_any_device(architecture: str) -> None:
    size = gpu.Size(matrix=32, batch=2, images=3, classes=2, repeats=1)
    sentences = {"tench": ["A tench is green.", "It swims."], "goldfish": ["Gold."]}
    table = gpu.measure([encoded(0), encoded(1)], sentences, torch.device("cpu"), [architecture], size)
    found = {row.what: row.value for row in table.rows}
    assert all(found.values())
    assert any("160 prompts of 2 classes" in what for what in found)
    assert any("165 prompts, tokenising included" in what for what in found)
    assert "a CPU" in table.note


def test_without_a_gpu_the_rows_are_empty() -> None:
    table = gpu.without()
    assert all(row.value == "" and row.met is None for row in table.rows)
    assert "No GPU" in table.note
