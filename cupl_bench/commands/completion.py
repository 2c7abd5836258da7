"""Tab completion: `cupl-bench completion bash` (or zsh) prints a script, which asks this module what may follow.

It reads the files of conf/ alone, so that a key press takes a fraction of a second.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from cupl_bench.commands import COMMANDS, Command
from cupl_bench.commands.options import groups, keys_of, root_groups, root_keys
from cupl_bench.errors import ConfigError
from cupl_bench.terminal import say

__all__ = ["command", "completions"]

BASH = r"""
_cupl_bench() {
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" completion words bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
    [[ ${#COMPREPLY[@]} == 0 ]] && compopt -o default
}
complete -F _cupl_bench cupl-bench
""".strip()
ZSH = r"""
_cupl_bench() {
    local -a found begun whole
    found=("${(@f)$("${words[1]}" completion words zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    begun=(${(M)found:#*[=.]})
    whole=(${found:#*[=.]})
    (( ${#found} )) || _files
    (( ${#begun} )) && compadd -S '' -a begun
    (( ${#whole} )) && compadd -a whole
    return 0
}
compdef _cupl_bench cupl-bench
""".strip()
VALUES = {
    "precision": ("fp32", "bf16", "fp16"),
    "rerun": ("missing", "always", "never", "failed"),
    "output": ("table", "json"),
    "device": ("auto", "cpu", "cuda"),
}
"""Keys of the root with few values."""


def command(arguments: Sequence[str]) -> int:
    """Print the script of a shell, or, for such a script, the words that may follow; returns the exit code."""
    if list(arguments) == ["bash"]:
        say(BASH)
    elif list(arguments) == ["zsh"]:
        say(ZSH)
    elif len(arguments) == 3 and arguments[0] == "words" and arguments[1] in ("bash", "zsh"):
        words = completions(arguments[2])
        if arguments[1] == "bash":  # it completes what is behind the last = or : of a word
            begun = re.split(r"\s", arguments[2])[-1]
            cut = max(begun.rfind("="), begun.rfind(":")) + 1
            words = [word[cut:] for word in words]
        if words:
            say("\n".join(words))
    else:
        raise ConfigError("""completion needs the shell, bash or zsh: eval "$(cupl-bench completion bash)" """.strip())
    return 0


def completions(line: str) -> list[str]:
    """Return the words that may stand in the place of the last one of a command line, which has begun."""
    from cupl_bench.conf_folder import conf_dir

    _, *words, begun = [*re.split(r"\s+", line.strip()), *([""] if line[-1:].isspace() else [])] or [""]
    if not words:
        return _begun([*COMMANDS, "completion", "help"], begun)
    if words == ["completion"]:
        return _begun(["bash", "zsh"], begun)
    if words[0] == "help":
        return _begun(COMMANDS, begun)
    if words[0] not in COMMANDS:
        return []
    asked = COMMANDS[words[0]]
    folders = [conf_dir(), *_own_folders(words)]
    key, equals, value = begun.partition("=")
    if not equals:
        return _begun(_flags(asked) if begun.startswith("-") else _keys(asked, words, folders, begun), begun)
    listed, comma, last = value.rpartition(",")
    known = groups(folders).get(key, ()) if key in asked.groups else VALUES.get(key, ())
    return [f"{key}={listed}{comma}{one}" for one in known if one.startswith(last)]


def _flags(asked: Command) -> list[str]:
    return ["--help", "--config-dir", *asked.flags, *(["--multirun"] if asked.sweeps else [])]


def _keys(asked: Command, words: Sequence[str], folders: Sequence[Path], begun: str) -> list[str]:
    """Return groups and keys with their =; of a group, the keys of the options that the line chooses."""
    group = begun.partition(".")[0]
    if "." in begun and group in asked.groups:
        given = [word.partition("=")[2] for word in words if word.startswith(f"{group}=")]
        options = given[-1].split(",") if given else [root_groups(folders[0]).get(group, ("", ""))[0]]
        found = dict.fromkeys(f"{group}.{key.path}=" for one in options for key in keys_of(group, one, folders))
        return list(found)
    roots = [one.path for one in root_keys(folders[0]) if one.path in asked.keys]
    return [*(f"{name}=" for name in (*asked.groups, *roots, *asked.own)), *(f"{name}." for name in _with_keys(asked))]


def _with_keys(asked: Command) -> list[str]:
    return [
        one
        for one in asked.groups
        if one in ("dataset", "backbone", "prompts", "scorer", "llm", "describe", "tracking")
    ]


def _own_folders(words: Sequence[str]) -> list[Path]:
    found = [two for one, two in pairwise(words) if one == "--config-dir"]
    found += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return [Path(one).expanduser() for one in found[-1:] if Path(one).expanduser().is_dir()]


def _begun(words: Iterable[str], begun: str) -> list[str]:
    return [word for word in words if word.startswith(begun)]
