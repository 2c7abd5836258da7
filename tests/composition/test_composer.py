"""The questions of a sweep are composed from its options as Hydra alone composes each."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cupl_bench.composition import Composer, read_questions, session
from cupl_bench.conf_folder import conf_dir
from cupl_bench.errors import ConfigError
from cupl_bench.schema import register


@pytest.mark.slow
def test_questions_that_share_a_composition_are_configured_as_hydra_alone_does_it() -> None:
    register()
    composer = Composer()
    questions = [
        ["prompts=cupl", "seed=1", "budget=2"],
        ["prompts=cupl", "budget=null", "seed=3"],
        ["prompts=cupl"],
        ["prompts=simple", "batch_size=3", "seed=1"],
        ["dataset=cub", "prompts=cupl", "backbone=vit_b32_openai", "dataset.limit=2"],
        ["dataset=cub", "prompts=dclip", "backbone=vit_b16_openai", "dataset.limit=2", "prompts.path=a.json"],
        ["dataset=flowers", "prompts=dclip", "backbone=vit_b32_openai", "scorer=zlap", "scorer.k=3", "seed=2"],
        ["dataset=flowers", "prompts=cupl", "+dataset.new=1", "~prompts.path"],
        ["experiment=robustness", "dataset=imagenet_a", "prompts=simple"],
        ["experiment=robustness", "dataset=imagenet_v2", "prompts=ensemble", "backbone=demo"],
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for overrides in questions:
            expected, found = compose("config", overrides), composer(overrides)
            assert OmegaConf.to_container(found, resolve=False) == OmegaConf.to_container(expected, resolve=False)
            for part in (None, "dataset", "backbone", "prompts", "scorer"):
                ours, theirs = (one if part is None else one[part] for one in (found, expected))
                assert OmegaConf.is_struct(ours) == OmegaConf.is_struct(theirs)
                assert ours._get_full_key("x") == theirs._get_full_key("x")
    for wrong, message in (("seed=x", "seed=x cannot be set: Value 'x'"), ("budget=[1]", "budget=[1] cannot be set")):
        with pytest.raises(ConfigError, match=re.escape(message)):
            composer([wrong])


@pytest.mark.slow
def test_each_option_of_a_sweep_is_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["dataset=cub,flowers,dtd,pets", "backbone=demo,rn50_openai,rn101_openai", "prompts=simple,ensemble,cupl"]
    questions = read_questions(asked, several=True)
    assert len(questions.all) == 36
    composed = []
    by_hydra = session.hydra_compose
    monkeypatch.setattr(session, "hydra_compose", lambda *given, **keys: composed.append(1) or by_hydra(*given, **keys))
    found = [questions.composer(one.overrides) for one in questions.all]
    assert len(composed) == 3 + 2 + 2
    assert len({(one.dataset.name, one.backbone.name, one.prompts.name) for one in found}) == 36


def test_an_option_of_ones_own_that_changes_another_group_is_heard_everywhere(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    text = "# @package _global_\nprompts: {_target_: x, name: odd}\ndataset: {limit: 7}\n"
    (tmp_path / "prompts" / "odd.yaml").write_text(text)
    asked = ["dataset=cub,flowers", "prompts=simple,odd"]
    questions = read_questions(asked, str(tmp_path), several=True)
    limits = {one.name: questions.composer(one.overrides).dataset.limit for one in questions.all}
    assert sorted(map(str, limits.values())) == ["7", "7", "None", "None"]
