"""What stands for a group where Python asks: the name of an option, or a thing in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cupl_bench.backbone import BackboneSource
from cupl_bench.composition import compose, quoted
from cupl_bench.config import machine_of, question_of
from cupl_bench.dataset.in_memory import Features, ImageList
from cupl_bench.errors import ConfigError
from cupl_bench.prompts import PromptStrategy
from cupl_bench.prompts.budget import BudgetStrategy
from cupl_bench.prompts.in_memory import GivenDescriptions, GivenFunction, GivenMatrix
from cupl_bench.prompts.strategies import TemplatesStrategy
from cupl_bench.question import QuestionRecord
from cupl_bench.run.asking import Machine, Question
from cupl_bench.scorers import Scorer

if TYPE_CHECKING:
    pass

__all__ = ["Choice", "asked_by", "name_of"]

Choice = str | Path | Mapping[str, Any] | Sequence[Any] | Callable[..., Any] | BackboneSource | Features | np.ndarray
"""What may stand for a group: the name of an option, or a thing in memory (see `evaluate`)."""

GIVEN = {"dataset": "dataset=folder", "backbone": "backbone=demo", "prompts": "prompts=templates"}
"""The option whose keys hold beside a thing in memory."""


def asked_by(
    overrides: Sequence[str], choices: Mapping[str, Choice | Scorer | None], keys: Mapping[str, object]
) -> tuple[Question, Machine]:
    """Compose the question and the machine; things in memory take the place of what their option would build."""
    given = {group: choice for group, choice in choices.items() if choice is not None and not isinstance(choice, str)}
    named = [f"{group}={choice}" for group, choice in choices.items() if isinstance(choice, str)]
    held = [GIVEN[group] for group in given if group in GIVEN]
    if isinstance(features := given.get("dataset"), Features):
        held[list(given).index("dataset")] = "dataset=features"
        held += [
            "dataset.path=given",
            f"dataset.name={quoted(features.name)}",
            f"dataset.names_of={_grammar(features.names_of)}",
        ]
    elif "dataset" in given:
        held += ["dataset.path=given", "dataset.name=given"]
    if "prompts" in given:
        held += ["prompts.templates=['{}']", "prompts.name=given"]
    keys = dict(keys)
    model: Any = given.get("backbone")
    if model is not None and _is_model(model):
        keys = {"precision": model.precision, "device": str(model.device), **keys}
    config_dir = keys.pop("config_dir", None)
    arguments = [*named, *held, *(f"{key}={_grammar(value)}" for key, value in keys.items()), *overrides]
    config = compose(arguments, None if config_dir is None else str(config_dir))
    question, machine = question_of(config), machine_of(config)
    for group, choice in given.items():
        question = _with(question, group, choice)
    return _without_words(question, list(given)), machine


def _without_words(question: Question, groups: Sequence[str]) -> Question:
    """Return the question whose record says that these groups were in memory alone, and cannot be asked again."""
    memory = {group: {"_target_": None, "name": question.names[group]} for group in groups}
    words = question.config.model_dump(exclude={"beyond_words"})
    return replace(question, config=QuestionRecord.model_validate({**words, **memory}))


def _with(question: Question, group: str, given: Choice | Scorer) -> Question:
    """Return the question with a thing in memory in one of its places."""
    if group == "scorer":
        if not isinstance(given, Scorer):
            raise ConfigError(
                f"scorer is {type(given).__name__}; give the name of an option, or a cupl_bench.scorers.Scorer."
            )
        return replace(question, scorer=given, scorer_name=type(given).__name__)
    if group == "backbone":
        model: Any = given
        if not _is_model(model):
            raise ConfigError(f"backbone is {type(given).__name__}; give the name of an option, or a cupl_bench.Model.")
        return replace(question, backbone=model, backbone_name=model.name)
    if group == "dataset":
        source: Any = given
        if isinstance(given, Features):
            return replace(question, dataset=given, dataset_name=given.name)
        if isinstance(given, Sequence) and not isinstance(given, str):
            source = ImageList(pairs=list(given))  # type: ignore[arg-type]
        return replace(question, dataset=source)
    if isinstance(given, Scorer):
        raise ConfigError("prompts is a scorer; give it as scorer=...")
    held = question.prompts
    if isinstance(held, BudgetStrategy):
        inner = _with(replace(question, prompts=held.strategy), group, given).prompts
        return replace(question, prompts=replace(held, strategy=inner))
    if not isinstance(held, TemplatesStrategy):
        raise ConfigError("prompts is given twice: as a thing in memory, and by an override.")
    aggregation = held.aggregation
    strategy: PromptStrategy
    if isinstance(given, np.ndarray):
        strategy = GivenMatrix(vectors=given, aggregation=aggregation)
    elif isinstance(given, Mapping):
        strategy = GivenDescriptions(descriptions=given, aggregation=aggregation)
    elif callable(given) and not isinstance(given, Features):
        strategy = GivenFunction(function=given, aggregation=aggregation)
    else:
        strategy = TemplatesStrategy(templates=list(given), aggregation=aggregation)  # type: ignore[arg-type]
    return replace(question, prompts=strategy)


def _is_model(given: object) -> bool:
    from cupl_bench.backbone.in_memory import Model  # with it PyTorch: who gives a model has it

    return isinstance(given, Model)


def name_of(choice: Choice | Scorer) -> str:
    """Return the name of a choice, where several are listed."""
    return choice if isinstance(choice, str) else getattr(choice, "name", type(choice).__name__)


def _grammar(value: object) -> str:
    """Return a value as Hydra's grammar reads it: text in quotes, so that none of its characters means anything."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return quoted(str(value))
