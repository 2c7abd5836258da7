"""What a workbench keeps: a model is loaded once, and of it no more than is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from making import make_folder

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, TextTower, loaded_by
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.composition import compose
from cupl_bench.config import machine_of, question_of
from cupl_bench.errors import BackboneError
from cupl_bench.records import Record
from cupl_bench.run.bench import Workbench
from cupl_bench.run.flow import run
from cupl_bench.store import read_arrays

CPU = torch.device("cpu")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the methods by which models of open_clip are loaded, as they are."""
    called: list[str] = []

    def spied(name: str) -> Callable[..., Any]:
        method = getattr(OpenClipSource, name)

        def spy(*given: object) -> object:
            called.append(name)
            return method(*given)

        return spy

    for name in ("load", "load_text"):
        monkeypatch.setattr(OpenClipSource, name, spied(name))
    return called


@pytest.mark.slow
def test_new_prompts_for_stored_images_load_no_image_tower(
    cli: Cli, on_photos: Callable[..., int], loads: list[str], tmp_path: Path
) -> None:
    new = ("-m", "prompts=name_only,ensemble,zpe", 'dataset.texts.templates=["a {}.", "one {}."]')
    assert on_photos("prompts=simple") == 0
    assert loads == ["load"]
    assert on_photos(*new) == 0, cli.err
    assert loads == ["load", "load_text"]
    alone = cli.records()
    del alone["simple"]
    results, cli.results, cli.cache = cli.results, tmp_path / "other results", tmp_path / "other cache"
    assert on_photos(*new) == 0, cli.err
    assert loads == ["load", "load_text", "load"]
    again = cli.records()
    assert again.keys() == alone.keys()
    for name, whole in again.items():
        assert (alone[name].run_key, alone[name].metrics) == (whole.run_key, whole.metrics)
        here, there = (
            read_arrays(folder / f"class_embeddings/{whole.run_key}.safetensors")[0]
            for folder in (results, cli.results)
        )
        assert here.keys() == there.keys()
        assert all(np.array_equal(here[part], there[part]) for part in there)


@dataclass(frozen=True)
class Mine:
    """A backbone of a user's own, as all were before a text tower could be asked for."""

    demo: Any

    def identify(self, cache_dir: Path, *, download: bool) -> BackboneFacts:
        facts: BackboneFacts = self.demo.identify(cache_dir, download=download)
        return facts

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        return loaded_by(self.demo, facts, device, precision)


@dataclass(frozen=True)
class Divided(Mine):
    """One that loads its text tower alone, and says so."""

    called: list[str]

    def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
        self.called.append("load")
        return super().load(facts, device, precision)

    def load_text(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> TextTower:
        self.called.append("load_text")
        whole = loaded_by(self.demo, facts, device, precision)
        return TextTower(facts=facts, text=whole.text, logit_scale=whole.logit_scale, logit_bias=None)


@pytest.mark.slow
def test_a_backbone_that_has_no_load_text_is_asked_for_the_whole(tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", dict.fromkeys("abc", 2))
    for prompts in ("simple", "name_only"):
        config = compose(
            ["dataset=folder", f"dataset.path={photos}", "backbone=demo", "device=cpu", f"prompts={prompts}",
             f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
        )  # fmt: skip
        question = question_of(config)
        record = run(replace(question, backbone=Mine(question.backbone)), machine_of(config), Workbench())
        assert isinstance(record, Record)
        assert record.status == "ok"


def test_the_whole_model_gives_the_text_tower_where_it_is_loaded(tmp_path: Path) -> None:
    demo = question_of(compose(["dataset=demo", "backbone=demo", "prompts=simple"])).backbone
    source, bench = Divided(demo, []), Workbench()
    facts = source.identify(tmp_path, download=False)
    tower = bench.text_tower(source, facts, CPU, "fp32")
    assert bench.text_tower(source, facts, CPU, "fp32") is tower
    whole = bench.backbone(source, facts, CPU, "fp32")
    assert bench.backbone(source, facts, CPU, "fp32") is bench.text_tower(source, facts, CPU, "fp32") is whole
    assert source.called == ["load_text", "load"]
    other = replace(facts, weights_sha256="0" * 64)
    with pytest.raises(BackboneError, match=r"Another\.load_text gives another model than `identify` has found"):
        bench.text_tower(Another(demo, []), other, CPU, "fp32")


@dataclass(frozen=True)
class Another(Divided):
    """One whose text tower is that of another model."""

    def load_text(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> TextTower:
        return super().load_text(replace(facts, weights_sha256="1" * 64), device, precision)
