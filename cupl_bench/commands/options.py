"""The options of each group and their keys, read from their files alone: for help and completion, which are quick.

What a key means stands beside it, as a comment in the YAML file. A key that has none there means what it means in
another file of the group: one of the same class (``_target_``) if there is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml  # type: ignore[import-untyped]

__all__ = ["Key", "about", "groups", "keys_of", "root_groups", "root_keys"]

OF_LAUNCHERS = ("basic", "joblib", "submitit_local", "submitit_slurm")
"""Options of hydra/launcher that come with Hydra and the extra ``slurm``."""
GLOBAL = "# @package _global_"
"""How a file begins whose keys are those of the root."""


@dataclass(frozen=True)
class Key:
    """A key of an option: its path below the group, its value as it is written, and what it means.

    ``place``: the class that has it, and its path below the node of that class.
    """

    path: str
    value: str
    meaning: str
    place: tuple[str, str]


def groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return the options of each group, those of all folders together."""
    found: dict[str, set[str]] = {"hydra/launcher": set(OF_LAUNCHERS)}
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group != ".":
                found.setdefault(group, set()).add(path.stem)
    return {group: sorted(options) for group, options in sorted(found.items())}


def about(group: str, option: str, folders: Sequence[Path]) -> str:
    """Return what an option is: the first comment of its file."""
    for path in _files(group, option, folders):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# ") and line != GLOBAL:
                return line.removeprefix("# ")
    return ""


def keys_of(group: str, option: str, folders: Sequence[Path]) -> list[Key]:
    """Return the keys of an option, with those that it takes over from the defaults of its file; empty if unknown."""
    found: dict[str, Key] = {}
    for path in _files(group, option, folders)[-1:]:
        text = path.read_text(encoding="utf-8")
        if text.startswith(GLOBAL):
            return []
        for parent in _parents(text):
            if parent != option:
                found |= {one.path: one for one in keys_of(group, parent, folders)}
        found |= {one.path: one for one in _read(path)}
    return [one if one.meaning else _explained(one, group, folders) for one in found.values()]


def root_keys(conf: Path) -> list[Key]:
    """Return the keys of the root, without Hydra's."""
    return [one for one in _read(conf / "config.yaml") if not one.path.startswith(("hydra", "defaults"))]


def root_groups(conf: Path) -> dict[str, tuple[str, str]]:
    """Return the groups of the root: the default option, and what the group decides."""
    text = (conf / "config.yaml").read_text(encoding="utf-8")
    found = {}
    for key, value in yaml.compose(text, Loader=yaml.CSafeLoader).value:
        if key.value == "defaults":
            for entry in value.value:
                for group, option in entry.value if isinstance(entry, yaml.MappingNode) else []:
                    found[str(group.value)] = (str(option.value), _comment(text, option))
    return found


def _explained(key: Key, group: str, folders: Sequence[Path]) -> Key:
    """Return a key with the meaning that it has in another file: of the same class, else of the same path."""
    others = [one for folder in folders for path in sorted((folder / group).glob("*.yaml")) for one in _read(path)]
    same = [one for one in others if one.meaning and one.place == key.place]
    same = same or [one for one in others if one.meaning and one.place[1] == key.place[1]]
    return Key(key.path, key.value, same[0].meaning if same else "", key.place)


def _files(group: str, option: str, folders: Sequence[Path]) -> list[Path]:
    paths = (folder / group / f"{option}.yaml" for folder in folders)
    return [path for path in paths if path.is_file()]


@cache
def _read(path: Path) -> tuple[Key, ...]:
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:  # composing says what is wrong with it
        return ()
    return tuple(_walk(text, node, "", ("", ""))) if isinstance(node, yaml.MappingNode) else ()


def _walk(text: str, node: yaml.MappingNode, prefix: str, place: tuple[str, str]) -> Iterator[Key]:
    target = next((str(value.value) for key, value in node.value if key.value == "_target_"), None)
    place = place if target is None else (target, "")
    for key, value in node.value:
        name = str(key.value)
        if name == "_target_" or (name == "defaults" and not prefix):
            continue
        path = f"{prefix}.{name}" if prefix else name
        here = (place[0], f"{place[1]}.{name}" if place[1] else name)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _walk(text, value, path, here)
        else:
            written = text[value.start_mark.index : value.end_mark.index].strip()
            yield Key(path, " ".join(written.split()), _comment(text, value), here)


def _comment(text: str, node: yaml.Node) -> str:
    """Return the comment behind a value, on its line."""
    rest = text[node.end_mark.index :].partition("\n")[0].strip()
    return rest.removeprefix("#").strip() if rest.startswith("#") else ""


def _parents(text: str) -> list[str]:
    try:
        content = yaml.CSafeLoader(text).get_single_data()
    except yaml.YAMLError:
        return []
    defaults = content.get("defaults", []) if isinstance(content, dict) else []
    return [one for one in defaults if isinstance(one, str) and one != "_self_"]
