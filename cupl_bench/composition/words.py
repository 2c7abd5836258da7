"""Overrides as words: which key one is about, what a question is called, and how a value is quoted."""

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "GROUPS",
    "INNER",
    "NO_QUESTION",
    "OUTER",
    "PARTS",
    "VALUES",
    "at_home",
    "cost_of",
    "is_about",
    "named",
    "plain_key",
    "quoted",
    "root_of",
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


def named(overrides: Sequence[str]) -> str:
    """Return what a question is called: its overrides, whatever their order, without those that say where and how."""
    asking = [one for one in overrides if not is_about(one, NO_QUESTION)]
    return " ".join(sorted(asking, key=lambda one: (cost_of(one), plain_key(one)))) or "the defaults"


def is_about(override: str, keys: Sequence[str]) -> bool:
    """Return whether an override, or its key, belongs to one of these keys of the root."""
    return root_of(override) in keys


def root_of(override: str) -> str:
    """Return the key of the root that an override, or its key, belongs to.

    >>> root_of("+prompts.path=a.json")
    'prompts'
    """
    return re.split(r"[.@=/]", override.lstrip("+~"))[0]


def plain_key(override: str) -> str:
    """Return the key of an override, without the sign before it.

    >>> plain_key("+prompts.path=a.json")
    'prompts.path'
    """
    return override.partition("=")[0].lstrip("+~")


def at_home(argument: str) -> str:
    """Return an argument with the home folder for each `~`, which shells leave as it is after `key=`."""
    home = str(Path.home())
    return HOME.sub(lambda _: home, argument) if re.fullmatch(r"[\w/.+-]+", home) else argument


def cost_of(key: str) -> int:
    """Return the place of a key in the order of what its change costs: 0 is the costliest."""
    order = [*OUTER, *INNER]
    return next((place for place, group in enumerate(order) if is_about(key, [group])), len(order))


def quoted(text: str) -> str:
    """Return a text as one value of an override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
