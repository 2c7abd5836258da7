"""Hydra for the time of a call: it composes, parses and lists options, and its mistakes are told in plain words."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from cupl_bench.composition.words import is_about, plain_key, quoted
from cupl_bench.conf_folder import conf_dir
from cupl_bench.errors import ConfigError, first, nearest
from cupl_bench.paths import absolute
from cupl_bench.schema import register

__all__ = ["Hydra", "hydra_at_work", "hydra_here", "keys_in", "no_option", "several_values"]

NAMED = 6
"""Options that an error names."""

_lock = threading.RLock()
"""Hydra keeps its state in the process: one thread composes at a time."""


@dataclass(frozen=True)
class Hydra:
    """Hydra while it is at work: what composes, parses and lists options.

    ``searched``: where it looks for options besides conf/, as hydra.searchpath has it.
    """

    loader: ConfigLoader
    searched: tuple[str, ...]

    def searching(self, more: object) -> "Hydra":
        """Return the same that looks into more places, as the user gave them."""
        if not isinstance(more, list):
            raise ConfigError(f"hydra.searchpath={more} should be a list of places.")
        return Hydra(self.loader, (*self.searched, *map(str, more)))

    @property
    def path(self) -> list[str]:
        """The override that makes Hydra look there."""
        return [f"hydra.searchpath=[{','.join(map(quoted, self.searched))}]"] if self.searched else []

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG, **_: object
    ) -> list[str]:
        """Return the options of a group, also the user's own; none where it is no group. Hydra asks this for glob()."""
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
            if one.value() is None and not one.is_delete() and self.get_group_options(one.key_or_group):
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
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
            raise ConfigError(self._complaint(error, overrides)) from error

    def _complaint(self, error: Exception, overrides: Sequence[str]) -> str:
        """Return in plain words what is wrong, found out by composing again, not from the words of the error."""
        for one in self.parsed(overrides):
            if one.is_sweep_override():
                return several_values(one)
        if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
            group, _, option = str(error.missing_cfg_file).rpartition("/")
            return no_option(group, option, error.options or self.get_group_options(group))
        parsed = self.parsed(overrides)
        chosen = [str(one.input_line) for one in parsed if self.get_group_options(one.key_or_group)]
        for one in parsed:
            line = str(one.input_line)
            if line in chosen:
                continue
            try:
                hydra_compose("config", [*self.path, *chosen, line], return_hydra_config=True)
            except (HydraException, OmegaConfBaseException, ValueError) as wrong:
                key = plain_key(one.get_key_element())
                known = self._known_keys(chosen)
                if isinstance(wrong.__cause__, ConfigAttributeError | ConfigKeyError) or (
                    wrong.__cause__ is None and key not in known and not is_about(key, ["hydra"])
                ):
                    said = f"{key} is not a key of the configuration.{_elsewhere(key) or nearest(key, known)}"
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
        keys = keys_in(OmegaConf.to_container(config, resolve=False), "")
        return [*groups, *(one for one in keys if not one.endswith("_target_"))]


@contextmanager
def hydra_at_work(config_dir: str | None, searched: Sequence[str] = ()) -> Iterator[Hydra]:
    """Start Hydra inside the block, and restore afterwards what was there before."""
    with hydra_here():
        places = tuple(searched)
        if config_dir is not None and not places:
            places = (f"file://{_own_options(config_dir)}",)
        yield Hydra(GlobalHydra.instance().config_loader(), places)


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


def keys_in(node: object, prefix: str) -> list[str]:
    """Return every key below ``prefix`` of a configuration, with dots, and ``prefix`` itself."""
    if not isinstance(node, dict):
        return [prefix]
    below = [key for name, value in node.items() for key in keys_in(value, f"{prefix}.{name}" if prefix else str(name))]
    return [prefix, *below] if prefix else below


def _elsewhere(key: str) -> str:
    """Return a sentence that names the options whose files have the key; empty where none has it."""
    group, _, below = key.partition(".")
    files = sorted((conf_dir() / group).glob("*.yaml")) if below else []
    having = [one.stem for one in files if below in keys_in(yaml.safe_load(one.read_bytes()), "")]
    if not having:
        return ""
    more = f" and {len(having) - NAMED} more" if len(having) > NAMED else ""
    return f" It is a key of {group}={', '.join(having[:NAMED])}{more}."


def no_option(group: str, option: str, options: Sequence[str]) -> str:
    """Return the message that a group has no such option."""
    return f"{group}={option} is not an option of {group}.{nearest(option, options)} Options: {', '.join(options)}."


def several_values(one: Override) -> str:
    """Return the message that an override has several values where one is meant."""
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
