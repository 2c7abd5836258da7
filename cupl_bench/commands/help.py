"""The page that `--help` shows: the arguments of one command, its groups, and the keys of the options chosen."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from cupl_bench.commands import COMMANDS, Command
from cupl_bench.commands.arguments import FLAGS, OF_SWEEPS, Arguments
from cupl_bench.commands.options import Key, about, groups, keys_of, root_groups, root_keys
from cupl_bench.composition import read_questions
from cupl_bench.conf_folder import conf_dir
from cupl_bench.terminal import say

__all__ = ["page", "show", "usage"]

LAUNCHERS = "where the jobs of a sweep run: docs/cluster.md"
WIDEST = 34
"""Columns of a name; a longer one stands on a line of its own."""


def usage() -> str:
    """Return the page of the program: its commands, and where more stands."""
    return "\n\n".join(
        [
            "\n".join(_begun(f"cupl-bench {name:<9}  ", command.summary) for name, command in COMMANDS.items()),
            "\n".join(
                _wrapped(line)
                for line in (
                    "'cupl-bench COMMAND --help' explains one of them; with dataset=NAME, the keys of that option too.",
                    "Without a question, eval runs the embedded demo.",
                    'Tab completion: eval "$(cupl-bench completion bash)" in ~/.bashrc, the same with zsh in ~/.zshrc.',
                )
            ),
        ]
    )


def show(name: str, given: Arguments) -> None:
    """Show the page of a command; its arguments choose the options whose keys are listed.

    Raises:
        ConfigError: an argument is wrong.
    """
    command = COMMANDS[name]
    chosen = read_questions(given.overrides, given.config_dir, several=True).chosen(command.groups)
    flags = {**FLAGS, **(OF_SWEEPS if command.sweeps else {}), **command.flags}
    say(page(name, chosen, flags, given.config_dir))


def page(name: str, chosen: dict[str, list[str]], flags: dict[str, str], config_dir: str | None) -> str:
    """Return the page of a command.

    Args:
        name: of the command.
        chosen: the options that the arguments choose, by group.
        flags: the flags that it takes.
        config_dir: a folder with options of the user's own, or None.
    """
    command = COMMANDS[name]
    folders = [conf_dir(), *([] if config_dir is None else [Path(config_dir).expanduser()])]
    plain = "" if command.plain is None else f" [{command.plain[0]} ...]"
    parts = [
        f"cupl-bench {name}{plain} [key=value ...] [--flag ...]\n{_wrapped(command.summary)}",
        _section("Arguments", [] if command.plain is None else [command.plain]),
        _section("Keys of this command alone (key=value)", command.own.items()),
        _section("Flags", flags.items()),
        _groups(command, chosen, folders),
        *(_keys_of_group(group, chosen.get(group, []), folders) for group in command.groups),
        _section("Keys (key=value; defaults in brackets)", _rows(_of_root(command), "")),
        _without_effect(command),
        "Examples\n" + "\n".join(f"  {line}" for line in command.examples),
    ]
    return "\n\n".join(part for part in parts if part)


def _groups(command: Command, chosen: dict[str, list[str]], folders: Sequence[Path]) -> str:
    options, known = groups(folders), root_groups(folders[0])
    rows = []
    for group in command.groups:
        meaning = known[group][1] if group in known else LAUNCHERS
        taken = ", ".join(chosen.get(group, [])) or "none"
        rows.append(
            (f"{group}={taken}" if len(taken) < 24 else group, f"{meaning}. Options: {', '.join(options[group])}")
        )
    return _section("Groups (group=option)", rows)


def _keys_of_group(group: str, options: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the keys of the chosen options; options that have the same keys share a section."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for option in options:
        if keys := keys_of(group, option, folders):
            alike.setdefault(tuple(one.path for one in keys), []).append(option)
    sections = []
    for same in alike.values():
        prefix = group.replace("/", ".")
        title = f"Keys of {group}={','.join(same)} ({prefix}.KEY=VALUE)"
        if len(same) == 1 and (said := about(group, same[0], folders)):
            title += f": {said}"
        sections.append(_section(title, _rows(keys_of(group, same[0], folders), prefix, several=len(same) > 1)))
    return "\n\n".join(sections)


def _of_root(command: Command) -> list[Key]:
    return [one for one in root_keys(conf_dir()) if one.path in command.keys]


def _without_effect(command: Command) -> str:
    """Return the keys of other commands: one set of arguments may serve several commands."""
    others = [one.path for one in root_keys(conf_dir()) if one.path not in command.keys]
    if not others:
        return ""
    return _wrapped(f"Keys of other commands are accepted and have no effect here: {', '.join(others)}.")


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _columns()))


def _begun(head: str, text: str) -> str:
    """Return ``text`` beside ``head``; each line of a command begins with what is typed."""
    return textwrap.fill(text, _columns(), initial_indent=head, subsequent_indent=" " * len(head))


def _columns() -> int:
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))


def _rows(keys: Iterable[Key], group: str, *, several: bool = False) -> list[tuple[str, str]]:
    rows = []
    for one in keys:
        name = f"{group}.{one.path}" if group else one.path
        value = "required" if one.value == "???" else one.value
        rows.append((name, one.meaning if several and one.value != "???" else f"[{value}] {one.meaning}"))
    return rows


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    if not rows:
        return ""
    columns = _columns()
    width = min(WIDEST, max(len(name) for name, _ in rows))
    lines = textwrap.wrap(title, columns)
    for name, meaning in rows:
        wrapped = textwrap.wrap(meaning, columns - width - 4, break_long_words=False, break_on_hyphens=False) or [""]
        if len(name) > width:
            lines.append(f"  {name}")
        lines.append(f"  {'' if len(name) > width else name:<{width}}  {wrapped[0]}".rstrip())
        lines += [f"  {'':<{width}}  {line}" for line in wrapped[1:]]
    return "\n".join(lines)
