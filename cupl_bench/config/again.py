"""Ask recorded questions again: check that what they name is trusted, complete it, and build it."""

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from cupl_bench.config.building import build, checked_dataset, options_of, question_from, texts_found
from cupl_bench.dataset import DatasetSource
from cupl_bench.errors import ResultsError, first
from cupl_bench.question import GROUPS, OF_THE_RUN, TOLD, QuestionRecord, is_own_class, leaves, literal, nodes
from cupl_bench.run.asking import Question
from cupl_bench.store import user_cache_dir

__all__ = ["Place", "ask_again", "dataset_again", "filled"]


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
    if found := texts_found(plain["dataset"]):
        texts = {**words.dataset["texts"], **{name: literal(value) for name, value in found.items()}}
        words_here = words.model_copy(update={"dataset": {**words.dataset, "texts": texts}})
        plain = words_here.resolved(place.cache_dir, user_cache_dir())
    checked_dataset(plain["dataset"])
    return question_from(words, plain, {"results_dir": place.results_dir, "cache_dir": place.cache_dir})


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
    return cast(DatasetSource, build(dataset, "dataset"))


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
        for option in options_of(group).values()
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
        options = options_of(group)
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
