"""From overrides to configurations: one, or those of every question of a sweep.

Everything that composes a configuration is in this package, and it uses the public interface of Hydra, of which no
state is left behind: the caller may use Hydra in the same process, and several threads may call it at once.

A sweep is one question for each combination of the listed values. A key of a group (``prompts.path``) goes to those
options of the sweep that have it, with one value or with several, so ``prompts=simple,file prompts.path=a.json,b.json``
is three questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig

from cupl_bench.composition.combinations import Combination, combinations_of
from cupl_bench.composition.composer import Composer, Source
from cupl_bench.composition.session import hydra_at_work, hydra_here
from cupl_bench.composition.words import (
    GROUPS,
    NO_QUESTION,
    VALUES,
    at_home,
    is_about,
    named,
    plain_key,
    quoted,
    root_of,
)
from cupl_bench.errors import ConfigError
from cupl_bench.paths import absolute

__all__ = [
    "NO_QUESTION",
    "Combination",
    "Composer",
    "Questions",
    "Source",
    "compose",
    "hydra_here",
    "is_about",
    "named",
    "plain_key",
    "quoted",
    "read_questions",
    "values_of",
]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The questions of a command line, those with the same costly keys side by side.

    ``jobs``: the questions, grouped by data set, backbone and precision: each group is one job of a launcher.
    ``is_sweep``: whether a sweep was asked for, be it of one question. ``composer``: composes each of them.
    ``settings``: the configuration of the first question, with Hydra's own node.
    """

    jobs: tuple[tuple[Combination, ...], ...]
    is_sweep: bool
    composer: "Composer"
    settings: Any

    @property
    def all(self) -> list[Combination]:
        """Every question, in order."""
        return [one for job in self.jobs for one in job]

    @property
    def names(self) -> list[str]:
        """The name of each question, in order."""
        return [one.name for one in self.all]

    @property
    def launcher(self) -> str:
        """The option of hydra/launcher."""
        return str(self.settings.hydra.runtime.choices["hydra/launcher"])

    @property
    def results_dir(self) -> Path:
        """The results folder of the first question, absolute."""
        return absolute(self.settings.results_dir)

    @property
    def folder(self) -> Path:
        """The folder of logs and outcomes; named by the time at which it is first asked for."""
        place = self.settings.hydra.sweep.dir if self.is_sweep else self.settings.hydra.run.dir
        return absolute(place)

    def chosen(self, groups: Sequence[str]) -> dict[str, list[str]]:
        """Return the options that are chosen, by group: one, or those that are swept."""
        found: dict[str, list[str]] = {}
        for group in groups:
            swept = [
                one.partition("=")[2] for question in self.all for one in question.overrides if plain_key(one) == group
            ]
            default = self.settings.hydra.runtime.choices.get(group)
            found[group] = list(dict.fromkeys(swept)) or ([] if default is None else [str(default)])
        return found


def compose(overrides: Sequence[str], config_dir: str | Path | None = None) -> DictConfig:
    """Return the configuration that ``overrides`` compose to.

    Args:
        overrides: as they are typed on the command line, such as ``prompts=cupl``.
        config_dir: a folder with options of the user's own, beside those of conf/.

    Raises:
        ConfigError: an override cannot be read, or names no option or key.
    """
    with hydra_at_work(None if config_dir is None else str(config_dir)) as hydra:
        return hydra.composed([at_home(one) for one in overrides])


def read_questions(overrides: Sequence[str], config_dir: str | None = None, *, several: bool) -> Questions:
    """Return what ``overrides`` ask, and the settings of Hydra around it.

    Args:
        overrides: as they are typed on the command line.
        config_dir: a folder with options of the user's own, or None.
        several: whether a list of values is a sweep. If not, a list is an error, unless an experiment asks for a sweep.

    Raises:
        ConfigError: an override cannot be read, or names no option or key.
    """
    with hydra_at_work(config_dir) as found:
        hydra = found
        given = {one.get_key_element(): one for one in hydra.parsed([at_home(one) for one in overrides])}
        own = {key: str(one.input_line) for key, one in given.items() if is_about(key, ["hydra"])}
        for key in own:
            if given[key].is_sweep_override():
                raise ConfigError(f"{own[key]} lists several values; a sweep cannot vary Hydra's own settings.")
        if "hydra.searchpath" in own:
            hydra = hydra.searching(given["hydra.searchpath"].value())
            del own["hydra.searchpath"]
        asked = {key: one for key, one in given.items() if not is_about(key, ["hydra"])}
        # The experiment may sweep more groups; only then is it known which options have the keys of the others.
        plain = [
            str(one.input_line)
            for key, one in asked.items()
            if not one.is_sweep_override() and not (is_about(key, GROUPS) and plain_key(key) != root_of(key))
        ]
        is_sweep, swept = several, {}
        if own or any(root_of(key) == "experiment" for key in asked):  # nothing else says that a sweep is meant
            settings = hydra.composed([*plain, *own.values()], with_hydra=True)
            is_sweep = several or settings.hydra.mode == RunMode.MULTIRUN
            lines = [f"{key}={value}" for key, value in (settings.hydra.sweeper.params or {}).items()]
            swept = {one.get_key_element(): one for one in hydra.parsed(lines)} if is_sweep else {}
        jobs = combinations_of({**swept, **asked}, hydra, is_sweep=is_sweep)
        first_asked = list(jobs[0][0].overrides)
        settings = hydra.composed([*first_asked, *own.values()], with_hydra=True)
        composer = Composer(config_dir, hydra.searched)
        if not own and not any(is_about(one, VALUES) for one in first_asked):
            composer.remember(first_asked, settings)
        return Questions(jobs=jobs, is_sweep=is_sweep, composer=composer, settings=settings)


def values_of(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of overrides by their keys, read as Hydra reads them.

    Raises:
        ConfigError: an override cannot be read.
    """
    with hydra_at_work(None) as hydra:
        return {one.key_or_group: one.value() for one in hydra.parsed([at_home(one) for one in overrides])}
