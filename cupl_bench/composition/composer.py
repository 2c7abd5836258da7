"""Compose the questions of a sweep from parts that they share."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cupl_bench.composition.session import Hydra, hydra_at_work, several_values
from cupl_bench.composition.words import PARTS, VALUES, root_of
from cupl_bench.errors import ConfigError

__all__ = ["Composer"]


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
    _first: "_Composed | None" = field(default=None, repr=False)
    _nodes: "dict[tuple[str, tuple[str, ...]], DictConfig]" = field(default_factory=dict, repr=False)

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

    def _keep(self, overrides: Sequence[str], config: DictConfig) -> None:
        self._first = _Composed(*_by_part(overrides), config, _outside(config))
        self._nodes.clear()

    def _from_parts(self, overrides: Sequence[str], hydra: "Hydra") -> DictConfig:
        rest, parts = _by_part(overrides)
        if self._first is None or self._first.rest != rest:
            self._keep(overrides, hydra.composed(overrides))
        first = self._first
        assert first is not None  # noqa: S101 - kept above
        others = [part for part in PARTS if parts[part] != first.parts[part]]
        if others and hydra.searched:
            return hydra.composed(overrides)
        config = copy.deepcopy(first.config)
        for part in others:
            node = self._node(part, parts[part], first, hydra)
            if node is None:
                return hydra.composed(overrides)
            config[part] = node
        return config

    def _node(self, part: str, lines: tuple[str, ...], first: "_Composed", hydra: "Hydra") -> DictConfig | None:
        """Return what these overrides make of a group; None where they change anything else, or are a mistake."""
        if (part, lines) not in self._nodes:
            rest = [line for other in PARTS if other != part for line in first.parts[other]]
            try:
                config = hydra.composed([*first.rest, *rest, *lines])
            except ConfigError:
                return None
            if any(one != first.outside[key] for key, one in _outside(config).items() if key != part):
                return None
            self._nodes[part, lines] = config[part]
        return self._nodes[part, lines]


@dataclass(frozen=True)
class _Composed:
    """A question and its configuration. ``outside``: its values, by their keys of the root."""

    rest: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    config: DictConfig
    outside: Mapping[str, Any]


def _by_part(overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the overrides that are about no part of a question, and those about each."""
    parts = {part: tuple(one for one in overrides if root_of(one) == part) for part in PARTS}
    return tuple(one for one in overrides if root_of(one) not in PARTS), parts


def _outside(config: DictConfig) -> dict[str, Any]:
    """Return the values of each key of the root, as the files have them: nothing resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
