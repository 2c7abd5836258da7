"""The arguments of every command, told apart by one rule.

A flag begins with a dash. ``KEY=VALUE`` whose key is one of the configuration (or of the command itself) is an
override. What is left is a plain argument: a file, a record, a run key. A file whose name reads like an override is
written ``./NAME``; after ``--`` nothing is a flag.
"""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NoReturn

from cupl_bench.commands import Command
from cupl_bench.conf_folder import conf_dir
from cupl_bench.errors import ConfigError, nearest
from cupl_bench.schema import Config

__all__ = ["FLAGS", "OF_SWEEPS", "Arguments", "split"]

FLAGS = {
    "-h, --help": "show this page; with group=OPTION, the keys of that option",
    "--config-dir DIR": "also take options from a folder of yours, such as DIR/prompts/mine.yaml",
}
"""Flags of every command."""
OF_SWEEPS = {
    "-m, --multirun": "ask a question for each combination of the listed values (for eval; other commands need no"
    " flag)",
    "--cfg PART": "print the composed configuration (job, hydra or all) and do nothing else",
}
"""Flags of the commands that sweep."""
OF_HYDRA = {
    "--config-name": "There is one configuration; experiment=NAME takes several values from one file.",
    "--config-path": "--config-dir DIR adds options from a folder of yours.",
}
"""Flags of Hydra's own programs, and what does their work here."""
KEY = re.compile(r"[+~]{0,2}([A-Za-z_]\w*)([.@/][\w.@/:-]*)?")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments that a command was called with.

    ``given``: all of it, as typed. ``plain``: files, records, run keys. ``own``: keys of the command itself.
    ``flags``: those of its own flags that are set.
    """

    given: tuple[str, ...] = ()
    overrides: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    multirun: bool = False
    config_dir: str | None = None
    cfg: str | None = None
    help: bool = False


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[0].upper()}{message[1:]}. 'cupl-bench {self.prog} --help' lists the flags.")


def split(name: str, command: Command, arguments: Sequence[str]) -> Arguments:
    """Return the arguments of a command, told apart.

    Raises:
        ConfigError: a flag that it does not have, or an argument that it does not take.
    """
    parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    known = ["--help", "--config-dir", *command.flags]
    if command.sweeps:
        parser.add_argument("-m", "--multirun", action="store_true")
        parser.add_argument("--cfg", choices=("job", "hydra", "all"))
        known += ["--multirun", "--cfg"]
    for flag in command.flags:
        parser.add_argument(flag, action="store_true")
    parser.add_argument("words", nargs="*")
    found, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        meant = nearest(unknown[0].partition("=")[0], [*known, *OF_HYDRA], count=1)
        meant = next((f" {said}" for flag, said in OF_HYDRA.items() if repr(flag) in meant), meant)
        raise ConfigError(
            f"{unknown[0]} is not a flag of '{name}'.{meant} 'cupl-bench {name} --help' lists flags and keys."
        )
    overrides, plain, own = [], [], {}
    for word in found.words:
        match = KEY.fullmatch(word.partition("=")[0]) if "=" in word or word.startswith("~") else None
        if match and match[0] in command.own:
            own[match[0]] = word.partition("=")[2]
        elif (
            match
            and match[1] not in _keys()
            and not Path(word).is_file()
            and (meant := nearest(match[0], command.own, count=1))
        ):
            raise ConfigError(f"{match[0]} is not a key of '{name}'.{meant} 'cupl-bench {name} --help' lists keys.")
        elif match and (match[1] in _keys() or not (command.plain and Path(word).is_file())):
            overrides.append(word)
        elif command.plain is None:
            raise ConfigError(
                f"{word!r} is neither key=value nor a flag; 'cupl-bench {name} --help' lists keys and flags."
                if "=" not in word
                else f"{word!r} begins with no key; 'cupl-bench {name} --help' lists keys."
            )
        else:
            plain.append(word)
    return Arguments(
        given=tuple(arguments),
        overrides=overrides,
        plain=plain,
        own=own,
        flags=frozenset(flag for flag in command.flags if getattr(found, flag.lstrip("-").replace("-", "_"))),
        multirun=getattr(found, "multirun", False),
        config_dir=found.config_dir,
        cfg=getattr(found, "cfg", None),
        help=found.help,
    )


def _keys() -> set[str]:
    """Return the first words of every key: those of the root, and the groups."""
    return {one.name for one in fields(Config)} | {one.name for one in conf_dir().iterdir() if one.is_dir()}
