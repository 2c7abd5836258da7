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
    "by_part",
    "cost_of",
    "is_about",
    "named",
    "plain_key",
    "quoted",
    "root_of",
    "roots_read",
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


READ = re.compile(r"\$\{([^${}]*)")
"""What stands in an interpolation, up to another one within it."""

SELF_CONTAINED = ("asset", "user_cache", "log_folder", "oc.env", "oc.decode")
"""Resolvers of interpolations that read no other value of the configuration but what stands in their braces."""


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


def by_part(overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the overrides that are about no part of a question, and those about each.

    >>> rest, parts = by_part(["dataset=cub", "precision=bf16", "prompts=file", "prompts.path=a.json"])
    >>> rest, parts["prompts"], parts["scorer"]
    (('precision=bf16',), ('prompts=file', 'prompts.path=a.json'), ())
    """
    roots = [root_of(one) for one in overrides]
    parts = {part: tuple(one for one, root in zip(overrides, roots, strict=True) if root == part) for part in PARTS}
    return tuple(one for one, root in zip(overrides, roots, strict=True) if root not in PARTS), parts


def roots_read(content: object) -> frozenset[str] | None:
    """Return the keys of the root that the interpolations of a value name; None where that cannot be told.

    >>> sorted(roots_read({"path": "${dataset.texts.cupl}", "folder": "${cache_dir}/${asset:x}", "of": ["${seed}"]}))
    ['cache_dir', 'dataset', 'seed']
    >>> roots_read("${oc.select:dataset.name}"), roots_read("${..name}"), roots_read("${${a}.b}")
    (None, None, None)
    """
    if isinstance(content, dict | list):
        found = [roots_read(one) for one in (content.values() if isinstance(content, dict) else content)]
        return None if None in found else frozenset().union(*(one for one in found if one is not None))
    if not isinstance(content, str):
        return frozenset()
    roots = set()
    for read in READ.findall(content):
        resolver, colon, _ = read.partition(":")
        root = re.split(r"[.\[]", read)[0].strip()
        if (colon and resolver.strip() not in SELF_CONTAINED) or not (colon or root):
            return None
        if not colon:
            roots.add(root)
    return frozenset(roots)


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
