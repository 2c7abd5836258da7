"""Every option of conf/scorer on a pretended GPU: the scores of the CPU, nothing left behind, no wait in a loop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class
from pretend_device import GPU, pretend_gpu
from scorers.scenes import scores
from scorers.test_every_scorer import OPTIONS, asked

import cupl_bench
from cupl_bench.conf_folder import conf_dir
from cupl_bench.scorers.chils import ChilsScorer
from cupl_bench.scorers.inmap import InMapScorer
from cupl_bench.scorers.otter import OtterScorer

FILES_OF_OPTIONS = sorted((conf_dir() / "scorer").glob("*.yaml"))
SEVERAL = 5
"""How often a line may wait: `hierarchy` compares with five sets of classes. There are six classes, and more images,
views, rounds and steps, so that a wait for each of them is seen."""
WAITS_IN_A_LOOP = {"awt": "scorers/awt.AwtScorer._scores"}  # each image stops scaling by itself: the scorer says why


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_scores_are_those_of_the_cpu_without_a_wait_in_a_loop(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, inputs = asked(option)
    if isinstance(scorer, InMapScorer):
        scorer = replace(scorer, steps=50)  # of 2000, all alike
    on_cpu = scores(scorer, inputs)
    with pretend_gpu(monkeypatch) as waits:
        tiles = list(scorer(replace(inputs, device=GPU)))
        often = waits.often(SEVERAL)
        assert {tile.device for tile in tiles} == {GPU}
        assert {tile.dtype for tile in tiles} == {torch.float32}
        found = np.concatenate([tile.cpu().numpy() for tile in tiles])
    assert found == pytest.approx(on_cpu, rel=1e-4, abs=1e-4)
    in_loops = {place.partition(":")[0] for place in often}
    assert in_loops == ({WAITS_IN_A_LOOP[option]} if option in WAITS_IN_A_LOOP else set()), often


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"prior": "estimated"}, {"temperature": None}], ids=str)
def test_plans_of_otter(changed: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, inputs = asked("otter")
    assert isinstance(scorer, OtterScorer)
    scorer = replace(scorer, **changed)
    on_cpu = scores(scorer, inputs)
    with pretend_gpu(monkeypatch) as waits:
        found = np.concatenate([tile.cpu().numpy() for tile in scorer(replace(inputs, device=GPU))])
        assert not waits.often(SEVERAL)
    assert found == pytest.approx(on_cpu, rel=1e-4, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("reweigh", ["hat", "supagg", "no_reweighting"])
def test_ways_of_chils(reweigh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, inputs = asked("chils")
    assert isinstance(scorer, ChilsScorer)
    scorer = replace(scorer, reweigh=reweigh)
    on_cpu = scores(scorer, inputs)
    with pretend_gpu(monkeypatch) as waits:
        found = np.concatenate([tile.cpu().numpy() for tile in scorer(replace(inputs, device=GPU))])
        assert not waits.often(SEVERAL)
    assert found == pytest.approx(on_cpu, rel=1e-4, abs=1e-4)


def test_every_scorer_that_computes_on_a_device_is_an_option() -> None:
    modules = {get_class(yaml.safe_load(path.read_text())["_target_"]).__module__ for path in FILES_OF_OPTIONS}
    folder = Path(cupl_bench.__file__).parent / "scorers"
    of_scorers = {
        path.stem for path in folder.glob("[!_]*.py") if "def __call__(self, inputs: Inputs)" in path.read_text()
    }
    assert of_scorers == {module.rpartition(".")[2] for module in modules}
