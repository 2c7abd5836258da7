"""Compose the questions of a sweep from parts that they share."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cupl_bench.composition.session import Hydra, hydra_at_work, several_values
from cupl_bench.composition.words import GROUPS, PARTS, VALUES, by_part, roots_read
from cupl_bench.errors import ConfigError

__all__ = ["Composer", "Source"]

Source = tuple[object, ...]
"""Overrides that decide a part of a question; it can be a key of a dictionary."""
KEPT = 4
"""Questions that are kept whole with the groups of others: one for each precision, say."""


@dataclass
class Composer:
    """Composes questions, those of a sweep from parts that they share.

    Hydra reads and merges some twenty files for each configuration, which takes longer than answering a small question.
    A sweep of 20 data sets, 20 backbones and 10 strategies has 4,000 questions and 50 options: each option is composed
    once, and a question takes its nodes from there. The options of conf/ change nothing outside of their own group,
    which is checked of each; those of a user's own folder may, so there each question is composed by itself.

    ``config_dir``: a folder with options of the user's own, or None. ``searched``: where else Hydra looks.
    """

    config_dir: str | None = None
    searched: tuple[str, ...] = ()
    _kept: "dict[tuple[str, ...], _Composed]" = field(default_factory=dict, repr=False)

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """Return the configuration that ``overrides`` compose to.

        Raises:
            ConfigError: an override cannot be read, or names no option or key.
        """
        values = [one for one in overrides if one.partition("=")[0] in VALUES]
        others = [one for one in overrides if one not in values]
        with hydra_at_work(self.config_dir, self.searched) as hydra:
            config = self._from_parts(others, hydra)
            try:
                for one in hydra.parsed(values):
                    if one.is_sweep_override():
                        raise ConfigError(several_values(one))
                    OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
            except OmegaConfBaseException:  # composed in Hydra's way, the same mistake has its message
                return hydra.composed(overrides)
            return config

    def remember(self, overrides: Sequence[str], settings: DictConfig) -> None:
        """Keep what ``overrides``, without seed and budget, composed to: ``settings``, with Hydra's own node."""
        config = copy.deepcopy(settings)
        with open_dict(config):
            del config["hydra"]
        self._keep(overrides, config)

    def sources(self, overrides: Sequence[str]) -> dict[str, Source] | None:
        """Return what each part of a question is made of: questions with the same one have the same part.

        That is the part's own overrides, those of parts that it names in interpolations, and those of no part. Under
        ``""``: of all that is no part. None where it is not known: an option was not composed yet, or is of a user's
        own folder and may change what is not its group's, so that no question takes it from another.
        """
        rest, parts = by_part(overrides)
        kept = self._kept.get(_without_values(rest))
        if kept is None:
            return None
        nodes = {part: kept.node(part, parts[part]) for part in PARTS}
        if any(node is None for node in nodes.values()):
            return None
        reads = {part: node.reads for part, node in nodes.items() if node is not None}
        reads |= {root: one for root, one in kept.reads.items() if root not in PARTS}
        reads[""] = frozenset(root for root in kept.reads if root not in GROUPS)
        return {
            part: (rest, *(one for other in _reached(part, reads) for one in parts[other])) for part in (*PARTS, "")
        }

    def _keep(self, overrides: Sequence[str], config: DictConfig) -> "_Composed":
        rest, parts = by_part(overrides)
        while len(self._kept) >= KEPT:  # the oldest one goes
            del self._kept[next(iter(self._kept))]
        outside = _outside(config)
        kept = _Composed(rest, parts, config, outside, {root: roots_read(one) for root, one in outside.items()})
        self._kept[rest] = kept
        return kept

    def _from_parts(self, overrides: Sequence[str], hydra: "Hydra") -> DictConfig:
        rest, parts = by_part(overrides)
        first = self._kept.get(rest) or self._keep(overrides, hydra.composed(overrides))
        others = [part for part in PARTS if parts[part] != first.parts[part]]
        if others and hydra.searched:
            return hydra.composed(overrides)
        config = copy.deepcopy(first.config)
        for part in others:
            node = first.node(part, parts[part]) or self._composed_node(part, parts[part], first, hydra)
            if node is None:
                return hydra.composed(overrides)
            config[part] = node.config
        return config

    def _composed_node(self, part: str, lines: tuple[str, ...], first: "_Composed", hydra: "Hydra") -> "_Node | None":
        """Return what these overrides make of a group; None where they change anything else, or are a mistake."""
        rest = [line for other in PARTS if other != part for line in first.parts[other]]
        try:
            config = hydra.composed([*first.rest, *rest, *lines])
        except ConfigError:
            return None
        outside = _outside(config)
        if any(one != first.outside[key] for key, one in outside.items() if key != part):
            return None
        return first.nodes.setdefault((part, lines), _Node(config[part], roots_read(outside[part])))


@dataclass(frozen=True)
class _Node:
    """A group of a configuration, and the keys of the root that it names; None where that cannot be told."""

    config: DictConfig
    reads: frozenset[str] | None


@dataclass(frozen=True)
class _Composed:
    """A question and its configuration, with groups of other questions whose other overrides are the same.

    ``outside``: its values, by their keys of the root; ``reads``: the keys of the root that each of these names.
    """

    rest: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    config: DictConfig
    outside: Mapping[str, Any]
    reads: Mapping[str, frozenset[str] | None]
    nodes: dict[tuple[str, tuple[str, ...]], _Node] = field(default_factory=dict)

    def node(self, part: str, lines: tuple[str, ...]) -> _Node | None:
        """Return what these overrides make of a group, where that is known."""
        if lines == self.parts[part]:
            return _Node(self.config[part], self.reads[part])
        return self.nodes.get((part, lines))


def _without_values(rest: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that are about no part without those that are values alone."""
    return tuple(one for one in rest if one.partition("=")[0] not in VALUES)


def _reached(part: str, reads: Mapping[str, frozenset[str] | None]) -> list[str]:
    """Return the parts that a part names, itself and those that these name included, in order."""
    reached: set[str] = set()
    new = {part}
    while new:
        reached |= new
        named = [reads.get(one, frozenset()) for one in new]
        if None in named:
            return list(PARTS)
        new = {root for one in named for root in one or ()} - reached
    return [one for one in PARTS if one in reached]


def _outside(config: DictConfig) -> dict[str, Any]:
    """Return the values of each key of the root, as the files have them: nothing resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
