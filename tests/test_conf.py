"""Every option composes, names every parameter of its class, and builds."""

from inspect import signature
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

from cupl_bench import config as configs
from cupl_bench.conf_folder import conf_dir
from cupl_bench.config import machine_of, question_of
from cupl_bench.errors import ConfigError, PromptsError
from cupl_bench.question import OF_THE_RUN, TOLD
from cupl_bench.run.device import batch_size_of, device_of, num_workers_of
from cupl_bench.schema import register

OPTIONS = sorted(f"{path.parent.name}={path.stem}" for path in conf_dir().glob("*/*.yaml"))

OF_CLASSES = [option for option in OPTIONS if option.split("=")[0] in OF_THE_RUN]

NEEDED = {
    "dataset=folder": ["dataset.path=x"],
    "dataset=hf": ["dataset.path=x"],
    "dataset=webdataset": ["dataset.path=x"],
    "backbone=open_clip": ["backbone.architecture=ViT-B-32", "backbone.pretrained=x"],
    "backbone=transformers": ["backbone.path=x"],
    "prompts=templates": ["prompts.templates=['a {}']"],
    "prompts=file": ["prompts.path=x"],
    "prompts=embeddings": ["prompts.path=x.npy"],
    "dataset=features": ["dataset.path=x.npz"],
    "scorer=perceptionclip": ["scorer.contexts=x"],
    "scorer=fudd": ["scorer.pairs=x"],
    "scorer=hierarchy": ["scorer.hierarchy=x"],
    "scorer=disclip": ["scorer.descriptions=x"],
    "scorer=chils": ["scorer.label_sets=x"],
}
"""What a user must give: the options that mean their own things."""


def composed(*overrides: str):
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def test_the_groups_are_those_of_the_contract() -> None:
    assert {option.split("=")[0] for option in OPTIONS} >= {
        "dataset",
        "backbone",
        "prompts",
        "machine",
        "tracking",
        "experiment",
    }


@pytest.mark.slow
@pytest.mark.parametrize("option", OF_CLASSES)
def test_an_option_names_every_parameter_of_its_class_and_builds(option: str) -> None:
    config = composed(option, *NEEDED.get(option, []))
    group, name = option.split("=")
    node = config[group]
    parameters = signature(get_object(node._target_)).parameters
    assert set(node) - {"_target_"} - {*OF_THE_RUN[group], *TOLD.get(group, ())} == set(parameters)
    assert set(OF_THE_RUN[group]) <= set(node)
    assert node.name == name
    defaults = {name for name, one in parameters.items() if one.default is not one.empty}
    if group == "scorer":  # so that a record can say which constants are not the published ones
        assert {name: parameters[name].default for name in defaults} == {name: node[name] for name in defaults}
        defaults = set()
    came_later = {
        "missing",
        "fill",
        "state_dict_key",
        "limit",
        "seed",
        "config_name",
        "groups",
        "sets",
    }  # records of before do not name them
    assert defaults <= came_later
    question_of(config)


def test_a_data_set_of_before_may_lack_what_was_added_to_its_texts(tmp_path: Path) -> None:
    lines = (conf_dir() / "dataset/folder.yaml").read_text().splitlines(keepends=True)
    (tmp_path / "dataset").mkdir()
    old = [line for line in lines if not line.strip().startswith(("dclip_after:", "coop:"))]
    (tmp_path / "dataset/mine.yaml").write_text("".join(old))
    mine = [f"hydra.searchpath=[file://{tmp_path}]", "dataset=mine", "dataset.path=x"]
    assert question_of(composed(*mine, "prompts=dclip")).prompts.after == ""
    assert question_of(composed("dataset=imagenet", "prompts=dclip")).prompts.after == "."
    with pytest.raises(PromptsError, match="for prompts=coop: none of CoOp's"):
        question_of(composed(*mine, "prompts=coop")).prompts(["newt"])


COOP = {
    "pets": "a photo of a {}, a type of pet.",
    "flowers": "a photo of a {}, a type of flower.",
    "aircraft": "a photo of a {}, a type of aircraft.",
    "dtd": "{} texture.",
    "eurosat": "a centered satellite photo of {}.",
    "food101": "a photo of {}, a type of food.",
    "ucf101": "a photo of a person doing {}.",
    **dict.fromkeys(
        ("cars", "sun397", "caltech101", "imagenet", "imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
        "a photo of a {}.",
    ),
}
"""`CUSTOM_TEMPLATES` of trainers/zsclip.py in KaiyangZhou/CoOp@ff61507."""


def test_coops_template_is_the_one_of_its_data_set_and_of_no_other() -> None:
    for path in sorted((conf_dir() / "dataset").glob("*.yaml")):
        own = yaml.safe_load(path.read_text())["texts"]["coop"]
        assert own == ([COOP[path.stem]] if path.stem in COOP else None), path.stem
    prompts = question_of(composed("dataset=dtd", "prompts=coop")).prompts(["banded"])
    assert prompts.texts == (("banded texture.",),)
    given = ["dataset=features", "dataset.path=x", "dataset.names_of=pets", "prompts=coop"]
    assert question_of(composed(*given)).prompts(["x"]).texts == (("a photo of a x, a type of pet.",),)


@pytest.mark.slow
@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in OF_CLASSES])
def test_every_other_option_composes(option: str) -> None:
    config = composed(option, *(["device=cpu"] if option == "machine=gpu" else []))
    machine_of(config)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(conf_dir().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_opens_with_its_source(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    if lines[0] == "# @package _global_":
        assert lines[1].startswith("# ")


@pytest.mark.parametrize("path", sorted((conf_dir() / "backbone").glob("*.yaml")), ids=lambda path: path.stem)
def test_open_clip_knows_the_architecture_the_tag_and_their_activation(path: Path) -> None:
    """Trap T1: `ViT-B-32` with OpenAI's weights is built with the wrong activation and only warns."""
    import open_clip

    content = yaml.safe_load(path.read_text())
    architecture, tag = content.get("architecture", "???"), content.get("pretrained", "???")
    if "???" in (architecture, tag) or "${" in architecture:
        return
    weights = open_clip.get_pretrained_cfg(architecture, tag)
    assert weights, f"no tag {tag} of {architecture}"
    assert bool(weights.get("quick_gelu")) == bool(open_clip.get_model_config(architecture).get("quick_gelu"))


def test_the_default_transform_is_open_clips() -> None:
    from dataclasses import asdict

    from open_clip.transform import PreprocessCfg

    from cupl_bench.backbone.open_clip import DEFAULT_TRANSFORM

    theirs = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(PreprocessCfg()).items()
    }
    del theirs["size"]
    assert theirs == DEFAULT_TRANSFORM


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+foo=1"], "foo is not a key of the configuration"),
        (["+bach_size=1"], "Did you mean 'batch_size'"),
        (["+prompts.foo=1"], r"prompts.foo is not a setting"),
        (["+prompts.temlates=1"], "Did you mean 'templates'"),
        (["prompts.aggregation=median"], "prompts.aggregation='median' is of the wrong type or value"),
        (["prompts.templates=3"], "prompts.templates.*=3 is of the wrong type"),
        (["dataset=folder"], "dataset.path is not set. Give it: dataset.path="),
        (["dataset.split=train"], "dataset.split='train' is of the wrong type or value"),
        (["dataset.skip_broken=perhaps"], "dataset.skip_broken=perhaps should be true or false"),
        (["dataset.primary=f1"], "dataset.primary=f1 is not a metric"),
        (["prompts=cupl", "prompts.extra=drop"], "prompts.extra='drop'"),
        (["prompts=cupl_shuffled", "prompts.descriptions.clean=maybe"], "prompts.descriptions.clean='maybe'"),
    ],
)
def test_mistakes_stop_before_any_work(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        question_of(composed(*overrides))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=0", "batch_size=0 should be 1"),
        ("num_workers=-1", "num_workers=-1 should be 0"),
        ("device=cudda", "Did you mean 'cuda'"),
    ],
)
def test_machines_that_do_not_exist(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        machine_of(composed(override))


def test_a_gpu_is_looked_for_where_something_is_computed_if_its_driver_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_gpu(*_: object, **__: object) -> None:
        raise RuntimeError("no GPU")

    monkeypatch.setattr("torch.empty", no_gpu)
    monkeypatch.setattr(configs, "NVIDIA_DRIVER", tmp_path / "driver")
    with pytest.raises(ConfigError, match=r"device=cuda cannot be used here \(no GPU\)"):
        machine_of(composed("device=cuda"))
    (tmp_path / "driver").touch()
    machine = machine_of(composed("device=cuda"))
    with pytest.raises(ConfigError, match=r"device=cuda cannot be used here \(no GPU\)"):
        device_of(machine)
    with pytest.raises(ConfigError, match="device=cuda:7"):
        machine_of(composed("device=cuda:7"))


def test_each_process_of_torchrun_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.empty", lambda *_, device: None)
    machine = machine_of(composed("device=auto"))
    assert (str(device_of(machine)), batch_size_of(machine)) == ("cuda", 256)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert str(device_of(machine)) == "cuda:1"
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="3 processes need a GPU each; this machine has 2"):
        machine_of(composed("device=auto"))


def test_the_cache_folder_can_be_set_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUPL_BENCH_CACHE", str(tmp_path))
    assert machine_of(composed("device=cpu")).cache_dir == tmp_path
    monkeypatch.delenv("CUPL_BENCH_CACHE")
    assert "cupl_bench" in machine_of(composed("device=cpu")).cache_dir.parts


def test_relative_paths_are_taken_from_where_the_user_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert machine_of(composed("device=cpu", "results_dir=mine")).results_dir == tmp_path / "mine"


def test_the_batch_size_is_guessed_by_device_and_kept_where_it_is_given() -> None:
    assert batch_size_of(machine_of(composed("device=cpu"))) == 32
    assert batch_size_of(machine_of(composed("device=cpu", "batch_size=128"))) == 128
    assert batch_size_of(machine_of(composed("machine=cpu"))) == 32
    assert num_workers_of(machine_of(composed("device=cpu"))) == 0
    assert num_workers_of(machine_of(composed("device=cpu", "num_workers=3"))) == 3


def test_hydra_does_not_move_and_keeps_logs_only() -> None:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings = compose("config", return_hydra_config=True).hydra
    assert settings.job.chdir is False
    assert settings.output_subdir is None
    for folder in (settings.run, settings.sweep):
        text = str(OmegaConf.to_container(folder, resolve=False)["dir"])
        assert text.startswith("${results_dir}/logs/")
        assert "${log_folder:" in text  # a time (UTC) with microseconds, later than that of any folder there
