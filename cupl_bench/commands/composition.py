"""Where Hydra begins and ends: configurations composed for a command, and its complaints in plain words."""

import copy
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from traceback import extract_tb
from typing import Any

from cupl_bench.errors import nearest

__all__ = [
    "NO_QUESTION",
    "Composer",
    "Sweep",
    "added",
    "complaint_of_hydra",
    "compose_once",
    "each_question",
    "in_this_process",
    "is_about",
    "named",
    "run_jobs",
    "sweep_of",
    "values_of",
]

OUTER = ("dataset", "backbone", "precision")
"""What images are encoded by, in the order in which a change costs most."""
INNER = ("prompts", "seed", "budget")
"""What needs the same features of images again. All else that a sweep varies is taken for costly."""
VALUES = ("seed", "budget")
"""Those of them that are values and no choice of a group: no other file is read for another of them."""
GROUPS = ("dataset", "backbone", "prompts")
"""Groups whose options have keys of their own."""
HOME = re.compile(r"(?<=[=,\[\"'])~(?=/)")
"""What a shell puts in the place of a home folder only at the beginning of an argument."""
NO_QUESTION = (
    "results_dir", "cache_dir", "device", "batch_size", "num_workers", "cache_limit_gb", "rerun", "machine", "tracking",
    "hydra", "output", "baseline",
)  # fmt: skip
"""Keys that say where and how: two questions that differ in them alone are the same."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The questions of a sweep in the order of their cost.

    ``flags``: of Hydra, for a folder of configurations of the user's own; ``searched``: the same as an override.
    ``fixed``: the overrides that all share. ``outer``: for each key of the data set, the backbone and the precision
    that is swept, its overrides; each combination is one job of the launcher. ``inner``: the combinations of prompts,
    seeds and budgets, which that job answers one after the other with the features that it has encoded.
    ``of_options``: option -> overrides that it alone takes, of keys that others of its group do not have.
    ``launcher``: the option of hydra/launcher. ``folder``: where the sweep's logs and outcomes lie.
    """

    flags: tuple[str, ...]
    searched: tuple[str, ...]
    fixed: tuple[str, ...]
    outer: tuple[tuple[str, ...], ...]
    inner: tuple[tuple[str, ...], ...]
    of_options: Mapping[str, tuple[str, ...]]
    launcher: str
    folder: Path
    results_dir: Path
    config: Any

    @property
    def jobs(self) -> list[tuple[str, ...]]:
        """The overrides of each job of the launcher."""
        return list(itertools.product(*self.outer))

    @property
    def names(self) -> list[str]:
        """What each question is called, in order."""
        return [named(question) for question in self.questions]

    @property
    def questions(self) -> list[tuple[str, ...]]:
        """The overrides of each question, in order."""
        return [
            (*job, *inner, *self.fixed, *added((*job, *inner), self.of_options))
            for job in self.jobs
            for inner in self.inner
        ]

    def launch(self, job: Callable[[Any], None]) -> None:
        """Hand the jobs to Hydra's launcher, once the inner choices are known to be right."""
        self._check_choices()
        swept = [f"{_key(choices[0])}={','.join(one.partition('=')[2] for one in choices)}" for choices in self.outer]
        # Hydra would sweep over the experiment's lists once more; and a job on another machine would ask its own clock.
        given = [*self.fixed, *swept, "hydra.sweeper.params=null", f"hydra.sweep.dir={_quoted(self.folder)}"]
        run_jobs(job, ["-m", *self.flags, *given])

    def _check_choices(self) -> None:
        """See that every option among the inner choices exists and every value is of its type."""
        from hydra import initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra

        from cupl_bench.config import conf_dir

        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            options = GlobalHydra.instance().config_loader().get_group_options("prompts")
            known = {f"prompts={name}" for name in options} - set(self.of_options)
            composed = Composer()
            for choice in dict.fromkeys(itertools.chain(*self.inner)):
                if "." not in _key(choice) and choice not in known:
                    own = added([choice], self.of_options)
                    composed([*self.searched, *self.fixed, *self.jobs[0], choice, *own])


def sweep_of(arguments: Sequence[str]) -> Sweep | None:
    """The sweep that the arguments ask for; None if they ask one question, or something of Hydra itself."""
    from hydra import initialize_config_dir
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    from cupl_bench.config import conf_dir, register

    register()
    try:
        with redirect_stderr(StringIO()):
            args = get_args_parser().parse_intermixed_args([_at_home(one) for one in arguments])
    except SystemExit:  # Hydra meets the same below and says what is wrong
        return None
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion or args.run:
        return None
    searched: tuple[str, ...] = ()
    if args.config_dir is not None:
        searched = (f"hydra.searchpath=[{_quoted('file://' + str(Path(args.config_dir).absolute()))}]",)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def load(overrides: Sequence[str]) -> Any:
            return loader.load_configuration("config", [*overrides, *searched], run_mode=RunMode.MULTIRUN)

        # Whose keys they are is known when the swept options are.
        first = [one for one in args.overrides if not (is_about(one, GROUPS) and "." in _key(one))]
        config = load(first)
        if not (args.multirun or config.hydra.mode == RunMode.MULTIRUN):
            return None
        parser = OverridesParser.create(config_loader=loader)
        lines = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        given = {one.get_key_element(): one for one in parser.parse_overrides([*lines, *args.overrides])}
        choices: dict[str, tuple[str, ...]] = {}
        for key, one in given.items():
            if one.is_sweep_override() and one.is_discrete_sweep():
                choices[key] = tuple(f"{key}={value}" for value in one.sweep_string_iterator())
        of_options: dict[str, tuple[str, ...]] = {}
        shared = list(args.overrides)
        for key in [key for key in given if key not in choices and "." in key and key.split(".")[0] in choices]:
            options = choices[key.split(".")[0]]
            owners = _owners({option: load([option]) for option in options}, key)
            if owners and len(owners) < len(options):
                override = str(given.pop(key).input_line)
                shared.remove(override)
                of_options |= {option: (*of_options.get(option, ()), override) for option in owners}
        config = config if shared == first else load(shared)
        results_dir = Path(config.results_dir).expanduser().absolute()
        outer = [key for key in choices if not is_about(key, INNER)]
        inner = [choices[key] for key in choices if is_about(key, INNER)]
        return Sweep(
            flags=() if args.config_dir is None else ("--config-dir", args.config_dir),
            searched=searched,
            fixed=tuple(str(one.input_line) for key, one in given.items() if key not in choices),
            outer=tuple(choices[key] for key in sorted(outer, key=_cost)),
            inner=tuple(itertools.product(*inner)),
            of_options=of_options,
            launcher=str(config.hydra.runtime.choices["hydra/launcher"]),
            folder=Path(config.hydra.sweep.dir).expanduser().absolute(),
            results_dir=results_dir,
            config=config,
        )


def named(overrides: Sequence[str]) -> str:
    """What a question is called: its overrides, whatever their order, without those that say where and how."""
    asking = [one for one in overrides if not is_about(one, NO_QUESTION)]
    return " ".join(sorted(asking, key=lambda one: (_cost(one), _key(one)))) or "the defaults"


def added(options: Sequence[str], of_options: Mapping[str, Sequence[str]]) -> list[str]:
    """The overrides that ``options`` alone take."""
    return [override for option in options for override in of_options.get(option, ())]


def each_question(arguments: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """What each question that the arguments ask is called, and its configuration, composed here, without a launcher.

    One question is a sweep of one, and 'dataset=glob(*)' needs no flag. Nothing comes of what asks Hydra itself
    (``--help``), which has then answered.
    """
    sweep = sweep_of(["-m", *(one for one in in_this_process(arguments) if one not in ("-m", "--multirun"))])
    if sweep is None:
        run_jobs(lambda _: None, arguments)
        return
    for overrides in sweep.questions:
        yield named(overrides), compose_once([*sweep.searched, *overrides])


def values_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of overrides by their keys, read as Hydra reads them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides([_at_home(one) for one in overrides])
    return {one.key_or_group: one.value() for one in parsed}


def in_this_process(arguments: Sequence[str]) -> list[str]:
    """The arguments with a launcher that runs jobs one after the other, here."""
    return [*(one for one in arguments if _key(one) != "hydra/launcher"), "hydra/launcher=basic"]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def is_about(override: str, keys: Sequence[str]) -> bool:
    """Whether an override, or its key, belongs to one of these keys of the root."""
    return re.split(r"[.@=/]", override.lstrip("+~"))[0] in keys


def _at_home(argument: str) -> str:
    """An argument with the home folder for each `~`, which shells leave as it is after `key=`."""
    home = str(Path.home())
    return HOME.sub(lambda _: home, argument) if re.fullmatch(r"[\w/.+-]+", home) else argument


def _owners(configs: Mapping[str, Any], key: str) -> list[str]:
    """The options that a key belongs to: those that wait for its value, else those that have it."""
    from omegaconf import OmegaConf

    group, *parts = key.split(".")
    values: dict[str, object] = {}
    for option, config in configs.items():
        node: object = OmegaConf.to_container(config[group], resolve=False)
        for part in parts:
            node = node.get(part, ...) if isinstance(node, dict) else ...
        if node is not ...:
            values[option] = node
    return [option for option, value in values.items() if value == "???"] or list(values)


def _cost(key: str) -> int:
    order = [*OUTER, *INNER]
    return next((place for place, group in enumerate(order) if is_about(key, [group])), len(order))


def _quoted(path: Path | str) -> str:
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def run_jobs(job: Callable[[Any], None], overrides: Sequence[str]) -> None:
    """Compose the configuration, once or for each job of a sweep, and hand it to ``job``."""
    import hydra

    from cupl_bench.config import conf_dir, register

    register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own reporting
    # Hydra's parser wants its flag before the overrides; users write it anywhere.
    flags = [one for one in overrides if one in ("-m", "--multirun")]
    given, handlers = sys.argv, list(logging.getLogger().handlers)
    sys.argv = ["cupl-bench", *flags[:1], *(_at_home(one) for one in overrides if one not in flags)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    finally:
        sys.argv = given
        for handler in set(logging.getLogger().handlers) - set(handlers):  # the log file of this run
            logging.getLogger().removeHandler(handler)
            handler.close()


def compose_once(overrides: Sequence[str]) -> Any:
    """The configuration that ``overrides`` compose to, without a job."""
    from hydra import compose, initialize_config_dir

    from cupl_bench.config import conf_dir, register

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", [_at_home(one) for one in overrides])


@dataclass
class Composer:
    """Composes the questions of a job; those that differ in their seed and budget alone share all that files say.

    Hydra reads and merges some twenty files for each configuration, which takes longer than a small question's answer.
    """

    _shared: tuple[Sequence[str], Any] | None = None

    def __call__(self, overrides: Sequence[str]) -> Any:
        """The configuration that ``overrides`` compose to, inside a job of Hydra."""
        from hydra import compose
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra.core.override_parser.overrides_parser import OverridesParser

        values = [one for one in overrides if one.partition("=")[0] in VALUES]
        others = [one for one in overrides if one not in values]
        if self._shared is None or self._shared[0] != others:
            self._shared = (others, compose("config", others))
        config = copy.deepcopy(self._shared[1])
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), config)
        return config


def complaint_of_hydra(error: Exception, overrides: Sequence[str]) -> str | None:
    """Hydra's or OmegaConf's complaint about a configuration as one clear message; None if it is none."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, OSError) and "/logs/" in str(error.filename):
        folder = str(error.filename).split("/logs/")[0]
        return f"results_dir={folder} cannot be written ({error.strerror}). Name another with results_dir=..."
    places = [frame.filename for frame in extract_tb(error.__traceback__) if "pathlib" not in frame.filename]
    if isinstance(error, OSError) and places and places[-1].endswith("hydra/core/utils.py"):  # it makes its folder
        return f"{error.filename} cannot be made ({error.strerror}). Name another place with results_dir=..."
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return "A group is chosen by the name of one of its options, such as prompts=simple; it cannot be null."
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not equals:
            return f"{error.override!r} is neither key=value nor a flag; 'cupl-bench eval --help' lists keys and flags."
        example = "a value, with commas" if '"' in value or "'" in value else value.removeprefix("[").removesuffix("]")
        quoted = f'["{example}"]' if value.startswith("[") else f'"{example}"'
        return (
            f"{error.override} cannot be read. A text with accents, commas, quotes, braces, # or = stands in quotes of"
            f" its own, and all of it in quotes for the shell: '{key}={quoted}'"
        )
    if match := re.match(r"Ambiguous value for argument '([^=']+)=(.*?)'\n", text):
        key, values = match.group(1), match.group(2)
        return (
            f"{key}={values} are several values. With -m each is a question of its own. One list is {key}=[{values}],"
            f" one text '{key}=\"{values}\"'."
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = error.options or []
        return f"{group}={option} is no option of {group}.{nearest(option, options)} Options: {', '.join(options)}."
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        if "To append to your config" in text or "not in" in text:
            known = _known_keys(overrides)
            return f"{key} is no key of the configuration.{nearest(key, known)} 'cupl-bench eval --help' lists all."
        return f"{key} cannot be set: {' '.join(text.split())}"
    if match := re.match(r"Error merging override (\S+)", text):
        reason = str(error.__cause__ or "").split("\n")[0]
        return f"{match.group(1)} cannot be set: {reason or 'its type or value is wrong'}."
    if match := re.search(r"You must specify '([^']+)'", text):
        return f"{match.group(1)} is not set; choose an option with {match.group(1)}=NAME."
    lines = [line.strip() for line in text.splitlines() if line.strip() and "object_type" not in line]
    return " ".join(lines)


def _known_keys(overrides: Sequence[str]) -> list[str]:
    """Every key of the configurations that the group choices among ``overrides`` compose to, and the groups."""
    from omegaconf import OmegaConf

    from cupl_bench.config import conf_dir

    groups = [folder.name for folder in conf_dir().iterdir() if folder.is_dir()]
    given = {group: options.split(",") for group, _, options in (one.partition("=") for one in overrides)}
    chosen = {group: options for group, options in given.items() if group in groups}
    first = {group: options[0] for group, options in chosen.items()}
    several = [{**first, group: option} for group, options in chosen.items() for option in options] or [{}]
    try:
        contents = [
            OmegaConf.to_container(compose_once([f"{group}={option}" for group, option in one.items()]), resolve=False)
            for one in several
        ]
    except Exception:  # noqa: BLE001 - only to offer a better name in a message that is already an error
        return groups

    def keys(node: object, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [
            prefix,
            *(key for name, value in node.items() for key in keys(value, f"{prefix}.{name}" if prefix else str(name))),
        ]

    return list(dict.fromkeys([*groups, *(key for content in contents for key in keys(content, ""))]))
