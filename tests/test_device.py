"""All that runs on a GPU, on a pretended one: the numbers of the CPU, nothing left behind, and few waits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from making import TinyModel, make_clip, make_folder
from pretend_device import GPU, Waits, pretend_gpu

import cupl_bench
from cupl_bench.records import Record

NAMES = ["ant", "bee", "cat", "dog", "eel"]
SCORERS = ["plain", "autoclip", "zlap", "inmap", "otter", "tda", "dmn", "ecalp", "zero", "mta", "wca", "awt"]
"""All but those that need a file of texts, which are the same steps, and transclip: a matrix of few numbers cannot be
pretended."""
WAITS_FOR_EACH_IMAGE = {"awt"}  # each image stops scaling by itself

OF_VIEWS = ("zero", "mta", "wca", "awt")
OWN = {"autoclip": ["prompts=ensemble"], "inmap": ["scorer.steps=50"]}
Ask = Callable[..., tuple[Record, pd.DataFrame]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    make_folder(root / "few", dict.fromkeys(NAMES, 3))
    make_folder(root / "many", dict.fromkeys(NAMES, 6))
    return root


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and caches of both devices, which the tests of this file share."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture
def ask(photos: Path, places: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Ask:
    def asked(
        device: str, *overrides: str, few: bool = True, again: str = "always", **parts: Any
    ) -> tuple[Record, pd.DataFrame]:
        given = [*tiny.overrides, *overrides] if "backbone" not in parts else list(overrides)
        record = cupl_bench.evaluate(
            "dataset=folder", f"dataset.path={photos / ('few' if few else 'many')}", *given, f"device={device}",
            "dataset.texts.templates=openai_imagenet_80", f"rerun={again}",
            results_dir=places / device[:3] / "results", cache_dir=places / device[:3] / "cache", **parts,
        )  # fmt: skip
        return record, cupl_bench.load_predictions(places / device[:3] / "results", record.run_key)

    return asked


def agree(cpu: tuple[Record, pd.DataFrame], gpu: tuple[Record, pd.DataFrame]) -> None:
    assert gpu[0].run_key == cpu[0].run_key
    assert gpu[0].environment["device"] == str(GPU)
    assert gpu[0].metrics == cpu[0].metrics
    assert (gpu[1]["prediction"] == cpu[1]["prediction"]).all()
    # Each step that inmap descends carries the last bit of a product further.
    within = 0.05 if cpu[0].scorer.name == "inmap" else 1e-4
    pd.testing.assert_series_equal(gpu[1]["score"], cpu[1]["score"], rtol=within, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers(ask: Ask, monkeypatch: pytest.MonkeyPatch, scorer: str) -> None:
    asked = [*OWN.get(scorer, []), f"scorer={scorer}"]
    on_cpu = ask("cpu", *asked)
    with pretend_gpu(monkeypatch) as waits:
        agree(on_cpu, ask(str(GPU), *asked))
        for_few = _again(waits, lambda: ask(str(GPU), *asked))
        encoded = ["scorer=plain"] if scorer not in OF_VIEWS else asked
        ask(str(GPU), *encoded, few=False, again="missing")
        for_many = _again(waits, lambda: ask(str(GPU), *asked, few=False))
    assert for_few > 0
    assert (for_many > for_few) == (scorer in WAITS_FOR_EACH_IMAGE), (for_few, for_many)


def _again(waits: Waits, ask: Callable[[], object]) -> int:
    """How often the CPU waits while a question is answered whose features are stored."""
    waits.clear()
    ask()
    return waits.total()


@pytest.mark.slow
def test_templates_are_weighed_without_a_wait_for_each(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = ask("cpu", "prompts=zpe")
    with pretend_gpu(monkeypatch) as waits:
        agree(on_cpu, ask(str(GPU), "prompts=zpe"))
        assert _again(waits, lambda: ask(str(GPU), "prompts=zpe")) < 20


@pytest.mark.slow
def test_a_model_of_transformers(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {"backbone": "transformers"}
    model = f"backbone.path={make_clip(tmp_path / 'clip')}"
    on_cpu = ask("cpu", model, **asked)
    with pretend_gpu(monkeypatch):
        agree(on_cpu, ask(str(GPU), model, **asked))


def test_what_was_left_on_the_cpu_is_refused_as_a_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_gpu(monkeypatch) as waits:
        there = torch.ones(2, 2, device=GPU)
        with pytest.raises(RuntimeError, match="on the CPU"):
            there @ torch.ones(2, 2)
        assert not waits
        assert there.sum().item() == 4
        assert waits.total() == 1
