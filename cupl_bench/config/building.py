"""From settings as plain data to the objects that they name."""

import inspect
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import yaml  # type: ignore[import-untyped]
from hydra.utils import get_class
from pydantic import TypeAdapter, ValidationError

from cupl_bench.backbone import BackboneSource, Precision
from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset import DatasetSource
from cupl_bench.dataset.decode import Decode
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.dataset.given import FeaturesSource
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.errors import ConfigError, DatasetError, nearest
from cupl_bench.libraries import import_whole
from cupl_bench.paths import absolute
from cupl_bench.prompts import PromptStrategy
from cupl_bench.prompts.budget import BudgetStrategy
from cupl_bench.question import OF_THE_RUN, TOLD, QuestionRecord, is_own_class
from cupl_bench.run.asking import Question, check_primary
from cupl_bench.scorers import Scorer

__all__ = ["build", "checked_dataset", "options_of", "question_from", "texts_found"]


def checked_dataset(settings: Mapping[str, Any]) -> dict[str, Any]:
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


def question_from(
    words: QuestionRecord, plain: Mapping[str, Mapping[str, Any]], places: Mapping[str, Path]
) -> Question:
    """Return the question that ``words`` ask, whose settings without interpolations are ``plain``."""
    dataset = cast(DatasetSource, build(plain["dataset"], "dataset"))
    for key, path in places.items():  # a later run would take its figures or images for a class
        place = absolute(path)
        if isinstance(dataset, FolderSource) and place.is_relative_to(Path(dataset.path).absolute()):
            raise ConfigError(f"{key}={place} lies among the class folders of {dataset.path}. Name another place.")
    prompts = cast(PromptStrategy, build(plain["prompts"], "prompts"))
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
        backbone=cast(BackboneSource, build(plain["backbone"], "backbone")),
        precision=cast(Precision, words.precision),
        prompts_name=str(plain["prompts"]["name"]),
        prompts=prompts,
        scorer_name=str(plain["scorer"]["name"]),
        scorer=cast(Scorer, build(plain["scorer"], "scorer")),
        config=words,
    )


@lru_cache(maxsize=8)
def options_of(group: str) -> Mapping[str, dict[str, Any]]:
    """Return the options of a group that come with the package, as their files have them."""
    contents = {
        path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted((conf_dir() / group).glob("*.yaml"))
    }
    return {name: content for name, content in contents.items() if isinstance(content, dict)}


def texts_found(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts that a data set does not name itself: those beside its shards, or those of ``names_of``."""
    texts = dataset.get("texts")
    if not isinstance(texts, dict):
        return {}
    if dataset["_target_"] == f"{FeaturesSource.__module__}.{FeaturesSource.__name__}" and dataset.get("names_of"):
        known = options_of("dataset").get(str(dataset["names_of"]), {}).get("texts", {})
        return {name: value for name, value in known.items() if not texts.get(name) and value}
    if dataset["_target_"] != f"{WebdatasetSource.__module__}.{WebdatasetSource.__name__}":
        return {}
    if texts.get("templates") is not None:
        return {}
    try:
        found = cast(WebdatasetSource, build(dataset, "dataset")).templates()
    except DatasetError:  # there are no shards, which the data set itself tells better
        return {}
    return {} if found is None else {"templates": str(found)}


def build(node: Mapping[str, Any], where: str) -> object:
    """Return the object that a node describes: its class called with all of its keys and no others.

    Only this function turns configurations into objects.
    """
    name_of_target = str(node["_target_"])
    if not is_own_class(name_of_target):
        import_whole()
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


def _built(value: object, where: str) -> object:
    """Return ``value`` with each node in it, at any depth of maps, replaced by its object."""
    if not isinstance(value, dict):
        return value
    if "_target_" in value:
        return build(value, where)
    return {name: _built(one, f"{where}.{name}") for name, one in value.items()}
