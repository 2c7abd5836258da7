"""The questions of a sweep: one for each combination of the listed values, each key at the options that have it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cupl_bench.composition.session import Hydra, keys_in, no_option, several_values
from cupl_bench.composition.words import GROUPS, INNER, OUTER, cost_of, is_about, named, plain_key, root_of
from cupl_bench.errors import ConfigError, nearest

__all__ = ["Combination", "combinations_of"]


@dataclass(frozen=True)
class Combination:
    """One question of a sweep: what it is called, and its overrides."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class _Swept:
    """A key with the overrides that it takes in turn; ``options``: those of its group that it goes to, None for all."""

    key: str
    overrides: tuple[str, ...]
    options: frozenset[str] | None = None


def combinations_of(
    given: Mapping[str, Override], hydra: "Hydra", *, is_sweep: bool
) -> tuple[tuple[Combination, ...], ...]:
    """Return every question that overrides ask, grouped by their costly keys: each group is one job.

    Raises:
        ConfigError: a list where none is meant, or a value or an option that there is not.
    """
    swept: list[_Swept] = []
    for key, one in given.items():
        if not one.is_sweep_override():
            continue
        if not is_sweep:
            raise ConfigError(several_values(one))
        if not one.is_discrete_sweep():
            raise ConfigError(f"{one.input_line} is not a list of values: write them out, or as range(START,STOP).")
        choices = tuple(f"{key}={value}" for value in one.sweep_string_iterator())
        if not choices:
            raise ConfigError(f"{one.input_line} matches nothing. Options: {', '.join(hydra.get_group_options(key))}.")
        swept.append(_Swept(key, choices))
        if known := hydra.get_group_options(key):
            for choice in choices:
                option = choice.partition("=")[2]
                if option not in known:
                    raise ConfigError(no_option(key, option, known))
    options = {one.key: [choice.partition("=")[2] for choice in one.overrides] for one in swept}
    fixed = {key: one for key, one in given.items() if key not in options}
    for key, one in given.items():
        group = root_of(key)
        if group not in GROUPS or group not in options or plain_key(key) == group or one.is_delete() or one.is_add():
            continue
        others = [str(given[other].input_line) for other in fixed if not (root_of(other) in options and "." in other)]
        owners = _owners(key, options[group], others, hydra)
        if len(owners) < len(set(options[group])):
            lines = next((each.overrides for each in swept if each.key == key), (str(one.input_line),))
            swept = [each for each in swept if each.key != key]
            swept.append(_Swept(key, lines, owners))
            fixed.pop(key, None)
    # What one option alone takes comes after the choice of the option.
    swept.sort(key=lambda one: (one.options is not None and not is_about(one.key, OUTER), is_about(one.key, INNER)))
    outer = sorted(
        (one for one in swept if not is_about(one.key, INNER)), key=lambda one: (cost_of(one.key), "." in one.key)
    )
    inner = [one for one in swept if is_about(one.key, INNER)]
    shared = [str(one.input_line) for one in fixed.values()]
    _check_values(swept, hydra)
    return tuple(
        tuple(
            Combination(named(overrides), overrides)
            for choice in _product(inner)
            for overrides in [(*job, *choice, *shared)]
        )
        for job in _product(outer)
    )


def _product(swept: Sequence[_Swept]) -> list[tuple[str, ...]]:
    """Return the combinations of all keys, the last one varying fastest; a key is left out where it is not its turn."""
    found: list[tuple[str, ...]] = [()]
    for one in swept:
        found = [
            (*chosen, *more)
            for chosen in found
            for more in (
                [(override,) for override in one.overrides]
                if one.options is None or any(f"{root_of(one.key)}={option}" in chosen for option in one.options)
                else [()]
            )
        ]
    return found


def _owners(key: str, options: Sequence[str], others: Sequence[str], hydra: "Hydra") -> frozenset[str]:
    """Return the options of its group that a key goes to: those that wait for its value, else those that have it."""
    group, *parts = plain_key(key).split(".")
    values: dict[str, object] = {}
    known: list[str] = []
    for option in dict.fromkeys(options):
        content = OmegaConf.to_container(hydra.composed([*others, f"{group}={option}"])[group], resolve=False)
        known += keys_in(content, group)
        node: object = content
        for part in parts:
            node = node.get(part, ...) if isinstance(node, dict) else ...
        if node is not ...:
            values[option] = node
    if not values:
        raise ConfigError(
            f"{plain_key(key)} is not a key of {group}={','.join(options)}.{nearest(plain_key(key), known)}"
            f" 'cupl-bench eval {group}={options[0]} --help' lists all."
        )
    return frozenset([option for option, value in values.items() if value == "???"] or values)


def _check_values(swept: Sequence[_Swept], hydra: "Hydra") -> None:
    """Check that each value of a key of the root is of its type, before anything runs."""
    lines = [
        line for one in swept if "." not in one.key and not hydra.get_group_options(one.key) for line in one.overrides
    ]
    if not lines:
        return
    config = hydra.composed([])
    for one in hydra.parsed(lines):
        try:
            OmegaConf.update(copy.deepcopy(config), one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:
            hydra.composed([str(one.input_line)])
