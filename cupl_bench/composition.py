"""From overrides to configurations: one, or those of every question of a sweep.

Everything that composes a configuration is here, and it uses Hydra's public interface. No state of Hydra is left
behind: the caller may use Hydra in the same process, and several threads may call it at once.

A sweep is one question for each combination of the listed values. A key of a group (``prompts.path``) goes to those
options of the sweep that have it, with one value or with several, so ``prompts=simple,file prompts.path=a.json,b.json``
is three questions.
"""

import copy
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from cupl_bench.errors import ConfigError, first, nearest
from cupl_bench.paths import absolute
from cupl_bench.schema import conf_dir, register

__all__ = [
    "NO_QUESTION",
    "Combination",
    "Composer",
    "Questions",
    "compose",
    "hydra_here",
    "is_about",
    "named",
    "questions_of",
    "quoted",
    "read_questions",
    "values_of",
]

OUTER = ("dataset", "backbone", "precision")
"""The keys that decide how images are encoded; the one whose change costs most comes first."""
INNER = ("prompts", "scorer", "seed", "budget")
"""The keys whose change needs no new features of images. All else that a sweep varies counts as costly."""
VALUES = ("seed", "budget")
"""Those of them that are values and no choice of a group: no other file is read for another of them."""
PARTS = ("dataset", "backbone", "prompts", "scorer")
"""Groups that each question of a sweep chooses one of."""
GROUPS = (*PARTS, "llm", "describe", "tracking")
"""Groups whose options have keys of their own."""
HOME = re.compile(r"(?<=[=,\[\"'])~(?=/)")
"""A tilde that stands for the home folder; a shell replaces it only at the beginning of an argument."""
NO_QUESTION = (
    "results_dir", "cache_dir", "device", "batch_size", "num_workers", "cache_limit_gb", "rerun", "machine", "tracking",
    "hydra", "output", "baseline",
)  # fmt: skip
"""Keys that say where and how: two questions that differ in them alone are the same."""

_lock = threading.RLock()
"""Hydra keeps its state in the process: one thread composes at a time."""


@dataclass(frozen=True)
class Combination:
    """One question of a sweep: what it is called, and its overrides."""

    name: str
    overrides: tuple[str, ...]


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
                one.partition("=")[2] for question in self.all for one in question.overrides if _key_is(one, group)
            ]
            default = self.settings.hydra.runtime.choices.get(group)
            found[group] = list(dict.fromkeys(swept)) or ([] if default is None else [str(default)])
        return found


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
        with _hydra(self.config_dir, self.searched) as hydra:
            config = self._from_parts(others, hydra)
            try:
                for one in hydra.parsed(values):
                    if one.is_sweep_override():
                        raise ConfigError(_several(one))
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

    def _from_parts(self, overrides: Sequence[str], hydra: "_Hydra") -> DictConfig:
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

    def _node(self, part: str, lines: tuple[str, ...], first: "_Composed", hydra: "_Hydra") -> DictConfig | None:
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
    parts = {part: tuple(one for one in overrides if _root(one) == part) for part in PARTS}
    return tuple(one for one in overrides if _root(one) not in PARTS), parts


def _outside(config: DictConfig) -> dict[str, Any]:
    """Return the values of each key of the root, as the files have them: nothing resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))


def compose(overrides: Sequence[str], config_dir: str | Path | None = None) -> DictConfig:
    """Return the configuration that ``overrides`` compose to.

    Args:
        overrides: as they are typed on the command line, such as ``prompts=cupl``.
        config_dir: a folder with options of the user's own, beside those of conf/.

    Raises:
        ConfigError: an override cannot be read, or names no option or key.
    """
    with _hydra(None if config_dir is None else str(config_dir)) as hydra:
        return hydra.composed([_at_home(one) for one in overrides])


def questions_of(overrides: Sequence[str], config_dir: str | Path | None = None) -> list[Combination]:
    """Return every question that ``overrides`` ask; a list of values is a question for each of them.

    Raises:
        ConfigError: an override cannot be read, or names no option or key.
    """
    return read_questions(overrides, None if config_dir is None else str(config_dir), several=True).all


def read_questions(overrides: Sequence[str], config_dir: str | None = None, *, several: bool) -> Questions:
    """Return what ``overrides`` ask, and the settings of Hydra around it.

    Args:
        overrides: as they are typed on the command line.
        config_dir: a folder with options of the user's own, or None.
        several: whether a list of values is a sweep. If not, a list is an error, unless an experiment asks for a sweep.

    Raises:
        ConfigError: an override cannot be read, or names no option or key.
    """
    with _hydra(config_dir) as found:
        hydra = found
        given = {one.get_key_element(): one for one in hydra.parsed([_at_home(one) for one in overrides])}
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
            if not one.is_sweep_override() and not (is_about(key, GROUPS) and _plain_key(key) != _root(key))
        ]
        is_sweep, swept = several, {}
        if own or any(_root(key) == "experiment" for key in asked):  # nothing else says that a sweep is meant
            settings = hydra.composed([*plain, *own.values()], with_hydra=True)
            is_sweep = several or settings.hydra.mode == RunMode.MULTIRUN
            lines = [f"{key}={value}" for key, value in (settings.hydra.sweeper.params or {}).items()]
            swept = {one.get_key_element(): one for one in hydra.parsed(lines)} if is_sweep else {}
        jobs = _combinations({**swept, **asked}, hydra, is_sweep=is_sweep)
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
    with _hydra(None) as hydra:
        return {one.key_or_group: one.value() for one in hydra.parsed([_at_home(one) for one in overrides])}


def named(overrides: Sequence[str]) -> str:
    """Return what a question is called: its overrides, whatever their order, without those that say where and how."""
    asking = [one for one in overrides if not is_about(one, NO_QUESTION)]
    return " ".join(sorted(asking, key=lambda one: (_cost(one), _plain_key(one)))) or "the defaults"


def is_about(override: str, keys: Sequence[str]) -> bool:
    """Return whether an override, or its key, belongs to one of these keys of the root."""
    return _root(override) in keys


# A sweep's combinations -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Swept:
    """A key with the overrides that it takes in turn; ``options``: those of its group that it goes to, None for all."""

    key: str
    overrides: tuple[str, ...]
    options: frozenset[str] | None = None


def _combinations(
    given: Mapping[str, Override], hydra: "_Hydra", *, is_sweep: bool
) -> tuple[tuple[Combination, ...], ...]:
    swept: list[_Swept] = []
    for key, one in given.items():
        if not one.is_sweep_override():
            continue
        if not is_sweep:
            raise ConfigError(_several(one))
        if not one.is_discrete_sweep():
            raise ConfigError(f"{one.input_line} is not a list of values: write them out, or as range(START,STOP).")
        choices = tuple(f"{key}={value}" for value in one.sweep_string_iterator())
        if not choices:
            raise ConfigError(f"{one.input_line} matches nothing. Options: {', '.join(hydra.options(key))}.")
        swept.append(_Swept(key, choices))
        if known := hydra.options(key):
            for choice in choices:
                option = choice.partition("=")[2]
                if option not in known:
                    raise ConfigError(_no_option(key, option, known))
    options = {one.key: [choice.partition("=")[2] for choice in one.overrides] for one in swept}
    fixed = {key: one for key, one in given.items() if key not in options}
    for key, one in given.items():
        group = _root(key)
        if group not in GROUPS or group not in options or _plain_key(key) == group or one.is_delete() or one.is_add():
            continue
        others = [str(given[other].input_line) for other in fixed if not (_root(other) in options and "." in other)]
        owners = _owners(key, options[group], others, hydra)
        if len(owners) < len(set(options[group])):
            lines = next((each.overrides for each in swept if each.key == key), (str(one.input_line),))
            swept = [each for each in swept if each.key != key]
            swept.append(_Swept(key, lines, owners))
            fixed.pop(key, None)
    # What one option alone takes comes after the choice of the option.
    swept.sort(key=lambda one: (one.options is not None and not is_about(one.key, OUTER), is_about(one.key, INNER)))
    outer = sorted(
        (one for one in swept if not is_about(one.key, INNER)), key=lambda one: (_cost(one.key), "." in one.key)
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
                if one.options is None or any(f"{_root(one.key)}={option}" in chosen for option in one.options)
                else [()]
            )
        ]
    return found


def _owners(key: str, options: Sequence[str], others: Sequence[str], hydra: "_Hydra") -> frozenset[str]:
    """Return the options of its group that a key goes to: those that wait for its value, else those that have it."""
    group, *parts = _plain_key(key).split(".")
    values: dict[str, object] = {}
    known: list[str] = []
    for option in dict.fromkeys(options):
        content = OmegaConf.to_container(hydra.composed([*others, f"{group}={option}"])[group], resolve=False)
        known += _keys_in(content, group)
        node: object = content
        for part in parts:
            node = node.get(part, ...) if isinstance(node, dict) else ...
        if node is not ...:
            values[option] = node
    if not values:
        raise ConfigError(
            f"{_plain_key(key)} is not a key of {group}={','.join(options)}.{nearest(_plain_key(key), known)}"
            f" 'cupl-bench eval {group}={options[0]} --help' lists all."
        )
    return frozenset([option for option, value in values.items() if value == "???"] or values)


def _check_values(swept: Sequence[_Swept], hydra: "_Hydra") -> None:
    """Check that each value of a key of the root is of its type, before anything runs."""
    lines = [line for one in swept if "." not in one.key and not hydra.options(one.key) for line in one.overrides]
    if not lines:
        return
    config = hydra.composed([])
    for one in hydra.parsed(lines):
        try:
            OmegaConf.update(copy.deepcopy(config), one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:
            hydra.composed([str(one.input_line)])


# Hydra, for the time of a call ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Hydra:
    """Hydra while it is at work: what composes, parses and lists options.

    ``searched``: where it looks for options besides conf/, as hydra.searchpath has it.
    """

    loader: ConfigLoader
    searched: tuple[str, ...]

    def searching(self, more: object) -> "_Hydra":
        """Return the same that looks into more places, as the user gave them."""
        if not isinstance(more, list):
            raise ConfigError(f"hydra.searchpath={more} should be a list of places.")
        return _Hydra(self.loader, (*self.searched, *map(str, more)))

    @property
    def path(self) -> list[str]:
        """The override that makes Hydra look there."""
        return [f"hydra.searchpath=[{','.join(map(quoted, self.searched))}]"] if self.searched else []

    def options(self, group: str) -> list[str]:
        """Return the options of a group; none where it is not a group."""
        return self.get_group_options(group)

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG, **_: object
    ) -> list[str]:
        """Return the options of a group, those of the user's own folder included: what Hydra asks for glob(...)."""
        found: list[str] = self.loader.get_group_options(
            group_name, results_filter, config_name="config", overrides=self.path
        )
        return found

    def parsed(self, lines: Sequence[str]) -> list[Override]:
        """Return overrides as Hydra reads them.

        Raises:
            ConfigError: one cannot be read, or chooses no option by its name.
        """
        try:
            found: list[Override] = OverridesParser.create(config_loader=cast(Any, self)).parse_overrides(list(lines))
        except OverrideParseException as error:
            raise ConfigError(_unreadable(str(error.override))) from error
        except (HydraException, ValueError) as error:
            raise ConfigError(_one_line(error)) from error
        for one in found:
            if one.value() is None and not one.is_delete() and self.options(one.key_or_group):
                raise ConfigError(
                    f"{one.input_line}: a group is chosen by the name of one of its options, such as prompts=simple; it"
                    " cannot be null."
                )
        return found

    def composed(self, overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
        """Return the configuration that overrides compose to.

        Raises:
            ConfigError: one of them names no option or key, or its value is none.
        """
        try:
            return hydra_compose("config", [*self.path, *overrides], return_hydra_config=with_hydra)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
            raise ConfigError(self._complaint(error, overrides)) from error

    def _complaint(self, error: Exception, overrides: Sequence[str]) -> str:
        """Return in plain words what is wrong, found out by composing again, not from the words of the error."""
        for one in self.parsed(overrides):
            if one.is_sweep_override():
                return _several(one)
        if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
            group, _, option = str(error.missing_cfg_file).rpartition("/")
            return _no_option(group, option, error.options or self.options(group))
        parsed = self.parsed(overrides)
        chosen = [str(one.input_line) for one in parsed if self.options(one.key_or_group)]
        for one in parsed:
            line = str(one.input_line)
            if line in chosen:
                continue
            try:
                hydra_compose("config", [*self.path, *chosen, line], return_hydra_config=True)
            except (HydraException, OmegaConfBaseException, ValueError) as wrong:
                key = _plain_key(one.get_key_element())
                known = self._known_keys(chosen)
                if isinstance(wrong.__cause__, ConfigAttributeError | ConfigKeyError) or (
                    wrong.__cause__ is None and key not in known and not is_about(key, ["hydra"])
                ):
                    said = f"{key} is not a key of the configuration.{nearest(key, known)}"
                    return f"{said} 'cupl-bench eval --help' lists all."
                return f"{line} cannot be set: {_one_line(wrong.__cause__ or wrong)}"
        return _one_line(error)

    def _known_keys(self, chosen: Sequence[str]) -> list[str]:
        """Return the groups, and every key of what the chosen options compose to."""
        groups = sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())
        try:
            config = hydra_compose("config", [*self.path, *chosen])
        except (HydraException, OmegaConfBaseException, ValueError):
            return groups
        return [*groups, *_keys_in(OmegaConf.to_container(config, resolve=False), "")]


@contextmanager
def _hydra(config_dir: str | None, searched: Sequence[str] = ()) -> Iterator[_Hydra]:
    """Start Hydra inside the block, and restore afterwards what was there before."""
    with hydra_here():
        places = tuple(searched)
        if config_dir is not None and not places:
            places = (f"file://{_own_options(config_dir)}",)
        yield _Hydra(GlobalHydra.instance().config_loader(), places)


@contextmanager
def hydra_here() -> Iterator[None]:
    """Hold Hydra's process-wide state inside the block, one thread at a time, and restore it afterwards."""
    with _lock:
        before, base = GlobalHydra.instance().hydra, VersionBase.instance().version_base
        name = JobRuntime.instance().get("name")
        register()
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(conf_dir()), job_name="cupl-bench", version_base="1.3"):
                yield
        finally:
            GlobalHydra.instance().hydra = before
            VersionBase.instance().version_base = base
            JobRuntime.instance().set("name", name)


def _own_options(config_dir: str) -> Path:
    """Return the absolute path of the user's folder of options, after checking that it is one."""
    folder = absolute(config_dir)
    groups = sorted(one.name for one in conf_dir().iterdir() if one.is_dir())
    if not folder.is_dir():
        beside = [one.name for one in folder.parent.iterdir() if one.is_dir()] if folder.parent.is_dir() else []
        raise ConfigError(f"--config-dir {config_dir} is not a folder.{nearest(folder.name, beside)}")
    if not any((folder / group).is_dir() for group in groups):
        raise ConfigError(
            f"--config-dir {config_dir} holds none of the groups' folders ({first(groups, 4)}). Put an option of yours"
            " into the folder of its group, such as prompts/mine.yaml, and name the folder above that."
        )
    return folder


# Words ------------------------------------------------------------------------------------------------------------


def _root(override: str) -> str:
    return re.split(r"[.@=/]", override.lstrip("+~"))[0]


def _key_is(override: str, key: str) -> bool:
    return _plain_key(override) == key


def _plain_key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _at_home(argument: str) -> str:
    """Return an argument with the home folder for each `~`, which shells leave as it is after `key=`."""
    home = str(Path.home())
    return HOME.sub(lambda _: home, argument) if re.fullmatch(r"[\w/.+-]+", home) else argument


def _cost(key: str) -> int:
    order = [*OUTER, *INNER]
    return next((place for place, group in enumerate(order) if is_about(key, [group])), len(order))


def quoted(text: str) -> str:
    """Return a text as one value of an override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _keys_in(node: object, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [prefix]
    below = [
        key for name, value in node.items() for key in _keys_in(value, f"{prefix}.{name}" if prefix else str(name))
    ]
    return [prefix, *below] if prefix else below


def _no_option(group: str, option: str, options: Sequence[str]) -> str:
    return f"{group}={option} is not an option of {group}.{nearest(option, options)} Options: {', '.join(options)}."


def _several(one: Override) -> str:
    key, _, values = str(one.input_line).partition("=")
    return (
        f"{key}={values} are several values. With -m each value becomes a question of its own. Write one list as"
        f" {key}=[{values}], one text '{key}=\"{values}\"'."
    )


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override!r} is neither key=value nor a flag; 'cupl-bench eval --help' lists keys and flags."
    example = "a value, with commas" if '"' in value or "'" in value else value.removeprefix("[").removesuffix("]")
    written = f'["{example}"]' if value.startswith("[") else f'"{example}"'
    return (
        f"{override} cannot be read. Put a text with accents, commas, quotes, braces, # or = into quotes of its own,"
        f" and the whole override into quotes for the shell: '{key}={written}'"
    )


def _one_line(error: BaseException) -> str:
    """Return the words of a library's error, without OmegaConf's lines on where in its objects it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("full_key:", "object_type="))]
    return " ".join(told) or type(error).__name__
