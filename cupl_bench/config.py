"""From a composed configuration to plain objects, and the checks before any work.

A configuration has two halves: the *question* (data set, backbone, prompts, precision) changes numbers, the
*machine* does not.
"""

import copy
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast, get_args

import yaml  # type: ignore[import-untyped]
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from cupl_bench.backbone import BackboneSource, Precision
from cupl_bench.dataset import DatasetSource
from cupl_bench.dataset.decode import Decode
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.dataset.given import FeaturesSource
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.describe.settings import Endpoint, Recipe
from cupl_bench.errors import ConfigError, DatasetError, ResultsError, first, nearest
from cupl_bench.paths import absolute
from cupl_bench.prompts import PromptStrategy
from cupl_bench.prompts.budget import BudgetStrategy
from cupl_bench.question import GROUPS, OF_THE_RUN, TOLD, QuestionRecord, is_own_class, leaves, literal, nodes
from cupl_bench.ranks import world_size
from cupl_bench.run.asking import Machine, Question, check_primary
from cupl_bench.run.device import device_named
from cupl_bench.schema import Config, Output, Rerun, conf_dir, register
from cupl_bench.scorers import Scorer
from cupl_bench.store import user_cache_dir
from cupl_bench.tracking import Tracker, no_tracker

__all__ = [
    "Config",
    "Output",
    "Place",
    "Rerun",
    "ask_again",
    "check_keys",
    "conf_dir",
    "dataset_again",
    "dataset_of",
    "describing_of",
    "filled",
    "machine_of",
    "question_of",
    "register",
    "tracker_of",
]

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
    plain = {group: _plain(_with_texts(config), group) for group in GROUPS}
    for group, keys in OF_THE_RUN.items():
        if lost := [key for key in keys if key not in plain[group]]:
            option = plain[group].get("name", plain[group]["_target_"])
            raise ConfigError(
                f"the file of {group}={option} lacks {lost[0]}. Besides the settings of its class, a file of {group}/"
                f" has {', '.join(keys)}; see the other files of the group."
            )
    checked = _check_dataset(plain["dataset"])
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
    return _question(words, plain, {key: Path(config[key]) for key in ("results_dir", "cache_dir")})


def _with_its_licence(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a backbone without a licence that an option tells of other weights than these.

    Raises:
        ConfigError: the licence is no text.
    """
    licence = backbone.get("licence")
    if licence is not None and not isinstance(licence, str):
        raise ConfigError(f"backbone.licence={licence} should be a text, such as MIT, or null where it is not known.")
    told = [option for option in _options("backbone").values() if option.get("licence") == licence]
    of_option = _options("backbone").get(str(backbone.get("name")), {})
    is_inherited = licence is not None and told and of_option.get("licence", licence) == licence
    if is_inherited and not any(all(backbone.get(key) == one.get(key) for key in WEIGHTS) for one in told):
        return {**backbone, "licence": None}
    return dict(backbone)


def _check_dataset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked settings of a data set that are not parameters of its class and can move a number."""
    primary, decode, skip_broken = (settings[name] for name in ("primary", "decode", "skip_broken"))
    check_primary(primary, "dataset.primary")
    if decode not in get_args(Decode):
        past = " nvjpeg, which decoded on a GPU, was removed; fast is the nearest to it." if decode == "nvjpeg" else ""
        raise ConfigError(
            f"dataset.decode={decode} is not a way to decode; choose one of {', '.join(get_args(Decode))}.{past}"
        )
    if not isinstance(skip_broken, bool):
        raise ConfigError(f"dataset.skip_broken={skip_broken} should be true or false.")
    return {"primary": primary, "decode": decode, "skip_broken": skip_broken}


def _question(words: QuestionRecord, plain: Mapping[str, Mapping[str, Any]], places: Mapping[str, Path]) -> Question:
    """Return the question that ``words`` ask, whose settings without interpolations are ``plain``."""
    dataset = cast(DatasetSource, _build(plain["dataset"], "dataset"))
    for key, path in places.items():  # a later run would take its figures or images for a class
        place = absolute(path)
        if isinstance(dataset, FolderSource) and place.is_relative_to(Path(dataset.path).absolute()):
            raise ConfigError(f"{key}={place} lies among the class folders of {dataset.path}. Name another place.")
    prompts = cast(PromptStrategy, _build(plain["prompts"], "prompts"))
    if words.budget is not None:
        if words.budget < 1:
            raise ConfigError(f"budget={words.budget} should be 1 or more prompts of each class, or null for all.")
        prompts = BudgetStrategy(strategy=prompts, budget=words.budget, seed=cast(int, words.seed))
    return Question(
        dataset_name=str(plain["dataset"]["name"]),
        dataset=dataset,
        skip_broken=words.skip_broken,
        decode=cast(Decode, words.decode),
        primary=cast(str, words.primary),
        backbone_name=str(plain["backbone"]["name"]),
        backbone=cast(BackboneSource, _build(plain["backbone"], "backbone")),
        precision=cast(Precision, words.precision),
        prompts_name=str(plain["prompts"]["name"]),
        prompts=prompts,
        scorer_name=str(plain["scorer"]["name"]),
        scorer=cast(Scorer, _build(plain["scorer"], "scorer")),
        config=words,
    )


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folders in which this machine asks a recorded question again, and whether the record is trusted."""

    results_dir: Path
    cache_dir: Path
    trust: bool = False


def ask_again(words: QuestionRecord, place: Place) -> Question:
    """Return the question of a record, which may be a stranger's.

    Raises:
        ResultsError: the record does not hold it whole, or it would look something up here, run a class of the user's
            own or fetch what it names, and is not trusted.
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    words.check_whole()
    plain = words.resolved(place.cache_dir, user_cache_dir())
    _check_trust(plain, place.trust)
    if found := _texts_found(plain["dataset"]):
        texts = {**words.dataset["texts"], **{name: literal(value) for name, value in found.items()}}
        words_here = words.model_copy(update={"dataset": {**words.dataset, "texts": texts}})
        plain = words_here.resolved(place.cache_dir, user_cache_dir())
    _check_dataset(plain["dataset"])
    return _question(words, plain, {"results_dir": place.results_dir, "cache_dir": place.cache_dir})


def dataset_again(words: QuestionRecord, place: Place) -> DatasetSource:
    """Return the data set of a record alone.

    Raises:
        ResultsError: as `ask_again`.
        ConfigError: as `ask_again`.
    """
    dataset = words.resolved(place.cache_dir, user_cache_dir(), ["dataset"])["dataset"]
    if dataset.get("_target_") is None:
        raise ResultsError("The record does not say how its data set is read.")
    _check_trust({"dataset": dataset}, place.trust)
    return cast(DatasetSource, _build(dataset, "dataset"))


def _check_trust(plain: Mapping[str, Mapping[str, Any]], trust: bool) -> None:
    """Check that settings of a record run no class but the package's, and fetch no address but the package's."""
    if trust:
        return
    if foreign := [
        f"{where.lstrip('.')}: {node['_target_']}" for where, node in nodes(plain, "") if not _is_ours(node["_target_"])
    ]:
        raise ResultsError(
            f"{len(foreign)} parts of this question are classes from outside the package, first: {first(foreign, 3)}. A"
            " record can come from anybody, so they are not run without your consent. Add --trust if you know and trust"
            " them."
        )
    pinned = {
        value
        for group in GROUPS
        for option in _options(group).values()
        for _, value in leaves(option, "")
        if isinstance(value, str)
    }
    named = {value: where for where, value in leaves(plain, "") if isinstance(value, str) and "://" in value}
    if addresses := [f"{where.lstrip('.')}={value}" for value, where in named.items() if value not in pinned]:
        raise ResultsError(
            f"{len(addresses)} addresses are named in this record, first: {first(addresses, 3)}. A record can come from"
            " anybody, so they are not fetched without your consent. Add --trust if you know and trust them, or name a"
            " file in their place."
        )


def _is_ours(target: object) -> bool:
    """Return whether a class is of this package, or was loaded by what the user asked; import nothing else."""
    if not isinstance(target, str):
        return False
    name_of_module, _, name = target.rpartition(".")
    try:
        module = import_module(name_of_module) if is_own_class(target) else sys.modules.get(name_of_module)
    except ImportError:
        return False
    return getattr(getattr(module, name, None), "__module__", None) == name_of_module


def filled(words: QuestionRecord) -> tuple[QuestionRecord, tuple[str, ...]]:
    """Return the words completed with today's defaults of settings that our classes gained since, and their names.

    Defaults are those of the option that the record names, else of another option of the same class.
    """
    notes: list[str] = []
    settings = {group: copy.deepcopy(words.option(group)) for group in GROUPS}
    for group, asked in settings.items():
        options = _options(group)
        own = options.get(str(asked.get("name")), {})
        known = [node for option in (own, *options.values()) for _, node in nodes(option, group)]
        _fill(asked, known, (*OF_THE_RUN[group], *TOLD.get(group, ())), group, notes)
        if own.get("_target_") == asked.get("_target_") and isinstance(asked.get("texts"), dict):
            asked["texts"] = {**own.get("texts", {}), **asked["texts"]}
    return QuestionRecord.model_validate(
        {**words.model_dump(include={"precision", "budget", "seed"}), **settings}
    ), tuple(notes)


def _fill(
    node: dict[str, Any], known: list[dict[str, Any]], not_of_class: tuple[str, ...], where: str, notes: list[str]
) -> None:
    if node.get("_target_") is not None:
        default = next((one for one in known if one["_target_"] == node["_target_"]), {})
        for key, value in default.items():
            if key not in node and key not in not_of_class and value != "???":
                node[key] = copy.deepcopy(value)
                notes.append(f"{where}.{key}={value}")
    for key, value in node.items():
        for place, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, dict):
                _fill(one, known, not_of_class, f"{where}.{key}" if one is value else f"{where}.{key}[{place}]", notes)


@lru_cache(maxsize=8)
def _options(group: str) -> Mapping[str, dict[str, Any]]:
    """Return the options of a group that come with the package, as their files have them."""
    contents = {
        path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted((conf_dir() / group).glob("*.yaml"))
    }
    return {name: content for name, content in contents.items() if isinstance(content, dict)}


def dataset_of(config: DictConfig) -> DatasetSource:
    """Return the data set of a configuration alone, whatever its other groups hold.

    Raises:
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    return cast(DatasetSource, _build(_plain(config, "dataset"), "dataset"))


def _with_texts(config: DictConfig) -> DictConfig:
    """Return the configuration with the texts of its data set that are known without being named."""
    found = _texts_found(_plain(config, "dataset"))
    if not found:
        return config
    config = config.copy()
    for name, value in found.items():
        OmegaConf.update(config, f"dataset.texts.{name}", value)
    return config


def _texts_found(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts that a data set does not name itself: those beside its shards, or those of ``names_of``."""
    texts = dataset.get("texts")
    if not isinstance(texts, dict):
        return {}
    if dataset["_target_"] == f"{FeaturesSource.__module__}.{FeaturesSource.__name__}" and dataset.get("names_of"):
        known = _options("dataset").get(str(dataset["names_of"]), {}).get("texts", {})
        return {name: value for name, value in known.items() if not texts.get(name) and value}
    if dataset["_target_"] != f"{WebdatasetSource.__module__}.{WebdatasetSource.__name__}":
        return {}
    if texts.get("templates") is not None:
        return {}
    try:
        found = cast(WebdatasetSource, _build(dataset, "dataset")).templates()
    except DatasetError:  # there are no shards, which the data set itself tells better
        return {}
    return {} if found is None else {"templates": str(found)}


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
    return cast(Tracker, _build(cast(dict[str, Any], content), "tracking"))


def describing_of(config: DictConfig) -> tuple[str, DatasetSource, Endpoint, Recipe]:
    """Return a data set's name and source, the language model to ask about its classes, and the recipe of questions.

    Raises:
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    check_keys(config)
    dataset = _plain(config, "dataset")
    return (
        str(dataset["name"]),
        cast(DatasetSource, _build(dataset, "dataset")),
        cast(Endpoint, _build(_plain(config, "llm"), "llm")),
        cast(Recipe, _build(_plain(config, "describe"), "describe")),
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


def _build(node: Mapping[str, Any], where: str) -> object:
    """Return the object that a node describes: its class called with all of its keys and no others.

    Only this function turns configurations into objects.
    """
    name_of_target = str(node["_target_"])
    try:
        target = get_class(name_of_target)
        adapter: TypeAdapter[Any] = TypeAdapter(target)
        parameters = inspect.signature(target).parameters
    except Exception as error:  # whatever importing it may raise
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"{where}._target_={name_of_target} is not a dataclass that can be built ({reason})."
        ) from error
    ours = (*OF_THE_RUN.get(where, ()), *TOLD.get(where, ()))
    given = {name: value for name, value in node.items() if name not in ("_target_", *ours)}
    if unknown := [name for name in given if name not in parameters]:
        raise ConfigError(
            f"{where}.{unknown[0]} is not a setting.{nearest(unknown[0], parameters)} It has {sorted(parameters)}."
        )
    # What has a default came later: records that were made before do not name it.
    without_default = [name for name, one in parameters.items() if one.default is inspect.Parameter.empty]
    if lost := [name for name in without_default if name not in given]:
        raise ConfigError(f"{where} lacks {lost[0]}; it needs {sorted(parameters)}.")
    values = {name: _built(value, f"{where}.{name}") for name, value in given.items()}
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        first_error = error.errors()[0]
        key = ".".join(str(part) for part in (where, *first_error["loc"]))
        message = str(first_error["msg"])
        if first_error["type"] == "value_error" and not first_error["loc"]:  # the class's own words name the setting
            raise ConfigError(f"{where}: {message.removeprefix('Value error, ').rstrip('.')}.") from error
        raise ConfigError(
            f"{key}={first_error['input']!r} is of the wrong type or value: {message[0].lower()}{message[1:]}."
        ) from error


def _unresolved(error: OmegaConfBaseException, group: str) -> str:
    """Return what is wrong with a value that refers to another one."""
    key = str(getattr(error, "full_key", None) or group)
    return f"{key} refers to something that does not exist: {str(error).splitlines()[0]}."


def _built(value: object, where: str) -> object:
    """Return ``value`` with each node in it, at any depth of maps, replaced by its object."""
    if not isinstance(value, dict):
        return value
    if "_target_" in value:
        return _build(value, where)
    return {name: _built(one, f"{where}.{name}") for name, one in value.items()}
