"""From a composed configuration to plain objects, and the checks before any work.

A configuration has two halves: the *question* (data set, backbone, prompts, precision) changes numbers, the
*machine* does not.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cupl_bench.config.building import build, checked_dataset, options_of, question_from, texts_found
from cupl_bench.dataset import DatasetSource
from cupl_bench.describe.settings import Endpoint, Recipe
from cupl_bench.errors import ConfigError, nearest
from cupl_bench.paths import absolute
from cupl_bench.question import GROUPS, OF_THE_RUN, QuestionRecord
from cupl_bench.ranks import world_size
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.device import device_named
from cupl_bench.schema import Config
from cupl_bench.tracking import Tracker, no_tracker

__all__ = ["check_keys", "describing_of", "machine_of", "question_of", "tracker_of"]

WEIGHTS = ("_target_", "architecture", "pretrained", "path")
"""Settings of a backbone that say which weights it has."""

NVIDIA_DRIVER = Path("/dev/nvidiactl")
"""It is there where NVIDIA's driver is."""


def question_of(config: DictConfig) -> Question:
    """Return the question that a configuration asks, with every value checked.

    Raises:
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    check_keys(config)
    with_texts = _with_texts(config)
    plain = {group: _plain(with_texts, group) for group in GROUPS}
    for group, keys in OF_THE_RUN.items():
        if lost := [key for key in keys if key not in plain[group]]:
            option = plain[group].get("name", plain[group]["_target_"])
            raise ConfigError(
                f"the file of {group}={option} lacks {lost[0]}. Besides the settings of its class, a file of {group}/"
                f" has {', '.join(keys)}; see the other files of the group."
            )
    checked = checked_dataset(plain["dataset"])
    asked = {group: OmegaConf.to_container(config[group], resolve=False) for group in GROUPS}
    words = QuestionRecord.model_validate(
        {
            **asked,
            "dataset": {**cast(dict[str, Any], asked["dataset"]), **checked},
            "backbone": _with_its_licence(cast(dict[str, Any], asked["backbone"])),
            "precision": config.precision.value,
            "budget": config.budget,
            "seed": config.seed,
        }
    )
    return question_from(words, plain, {key: Path(config[key]) for key in ("results_dir", "cache_dir")})


def _with_its_licence(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a backbone without a licence that an option tells of other weights than these.

    Raises:
        ConfigError: the licence is no text.
    """
    licence = backbone.get("licence")
    if licence is not None and not isinstance(licence, str):
        raise ConfigError(f"backbone.licence={licence} should be a text, such as MIT, or null where it is not known.")
    told = [option for option in options_of("backbone").values() if option.get("licence") == licence]
    of_option = options_of("backbone").get(str(backbone.get("name")), {})
    is_inherited = licence is not None and told and of_option.get("licence", licence) == licence
    if is_inherited and not any(all(backbone.get(key) == one.get(key) for key in WEIGHTS) for one in told):
        return {**backbone, "licence": None}
    return dict(backbone)


def _with_texts(config: DictConfig) -> DictConfig:
    """Return the configuration with the texts of its data set that are known without being named."""
    found = texts_found(_plain(config, "dataset"))
    if not found:
        return config
    config = config.copy()
    for name, value in found.items():
        OmegaConf.update(config, f"dataset.texts.{name}", value)
    return config


def machine_of(config: DictConfig) -> Machine:
    """Return where and how a configuration runs; make its paths absolute here, once.

    Raises:
        ConfigError: a value is out of range, or the device is not there.
    """
    if config.batch_size is not None and config.batch_size < 1:
        raise ConfigError(f"batch_size={config.batch_size} should be 1 or more, or null for a guess.")
    if config.num_workers is not None and config.num_workers < 0:
        raise ConfigError(f"num_workers={config.num_workers} should be 0 or more, or null for a guess.")
    if not config.cache_limit_gb >= 0:
        raise ConfigError(f"cache_limit_gb={config.cache_limit_gb} should be 0 or more.")
    return Machine(
        results_dir=absolute(config.results_dir),
        cache_dir=absolute(config.cache_dir),
        device=_checked_device(config.device),
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        cache_limit_gb=config.cache_limit_gb,
        rerun=config.rerun.value,
        shard=_shard(config.shard),
    )


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"shard={text} should be i/n with i from 1 to n, such as 1/8, or null for all images.")
    return int(match[1]), int(match[2])


def tracker_of(config: DictConfig) -> Tracker:
    """Return the tracker that takes finished runs, besides the disk.

    Raises:
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    try:
        content = OmegaConf.to_container(config.tracking, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_unresolved(error, "tracking")) from error
    if not isinstance(content, dict) or "_target_" not in content:
        return no_tracker
    return cast(Tracker, build(cast(dict[str, Any], content), "tracking"))


def describing_of(config: DictConfig) -> tuple[str, DatasetSource, Endpoint, Recipe]:
    """Return a data set's name and source, the language model to ask about its classes, and the recipe of questions.

    Raises:
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    check_keys(config)
    dataset = _plain(config, "dataset")
    return (
        str(dataset["name"]),
        cast(DatasetSource, build(dataset, "dataset")),
        cast(Endpoint, build(_plain(config, "llm"), "llm")),
        cast(Recipe, build(_plain(config, "describe"), "describe")),
    )


def check_keys(config: DictConfig) -> None:
    """Check that nothing was appended to the root (`+key=value`) that no one would read.

    Raises:
        ConfigError: a key is none of the schema's.
    """
    known = [one.name for one in fields(Config)]
    if unknown := [str(key) for key in config if key not in known]:
        raise ConfigError(f"{unknown[0]} is not a key of the configuration.{nearest(unknown[0], known)}")


def _checked_device(name: str) -> str:
    """Return the name of a device, checked before any work.

    What every machine has is known without PyTorch, whose import takes seconds that an answered question need not
    spend; so is a GPU where its driver is there.

    Raises:
        ConfigError: the device is not there.
    """
    known = ["auto", "cpu", *(["cuda"] if NVIDIA_DRIVER.exists() else [])]
    if name not in known or world_size() > 1:  # torchrun has imported PyTorch, and each process needs a GPU of its own
        device_named(name)
    return name


def _plain(config: DictConfig, group: str) -> dict[str, Any]:
    """Return a group with its interpolations resolved, as plain data."""
    try:
        content = OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        missing = str(getattr(error, "full_key", None) or group)
        raise ConfigError(f"{missing} is not set. Give it: {missing}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(_unresolved(error, group)) from error
    if not isinstance(content, dict) or "_target_" not in content:
        raise ConfigError(f"{group} is not an option of conf/{group}; choose one with {group}=NAME.")
    return cast(dict[str, Any], content)


def _unresolved(error: OmegaConfBaseException, group: str) -> str:
    """Return what is wrong with a value that refers to another one."""
    key = str(getattr(error, "full_key", None) or group)
    return f"{key} refers to something that does not exist: {str(error).splitlines()[0]}."
