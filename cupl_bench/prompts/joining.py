"""Join the keys of a file to class names, by name and never by position."""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cupl_bench.dataset.names import normalised, other_lists
from cupl_bench.errors import PromptsError, first, nearest

__all__ = ["Join", "join_by_name"]


@dataclass(frozen=True, kw_only=True)
class Join:
    """For each class the key that it owns in a file, how it was found, and which file that was.

    ``missing``: the labels of classes that own none, whose key is their own name.
    """

    keys: tuple[str, ...]
    counts: Mapping[str, int]
    where: str
    missing: frozenset[int] = frozenset()


def join_by_name(
    class_names: Sequence[str],
    keys: Sequence[str],
    where: str,
    aliases: Mapping[str, str] | None = None,
    ignore_extra: bool = False,
    missing: Literal["error", "templates"] | None = None,
    group: Literal["prompts", "scorer"] = "prompts",
) -> Join:
    """Find each class its key: by its label, an alias, letter for letter, or the normalised name; never by position.

    A key ``NAME [LABEL]`` belongs to the class of that name and label: so classes of one name have texts of their own.

    Args:
        class_names: in label order; names that repeat share a key, unless the file has one for each label.
        keys: what the file holds.
        where: the file, for messages.
        aliases: class name -> key, for real renames; both may be spelt in another case, or with other punctuation.
        ignore_extra: whether keys that belong to no class are left out silently.
        missing: whether a class without a key is an error, or is filled from templates by the caller; None where the
            caller has no such choice.
        group: whose file it is, so that a message names the settings of this group.

    Raises:
        PromptsError: a class has no key or more than one, a key belongs to no class, or an alias names neither.
    """
    renamed = _aliases_as_spelt(aliases or {}, class_names, keys, where)
    found, how = _found(class_names, keys, where, renamed, group)
    lost = [name for name, key in zip(class_names, found, strict=True) if key is None]
    extra = [key for key in keys if key not in set(found)]
    if lost and (missing != "templates" or len(lost) == len(class_names)):
        raise PromptsError(
            f"{len(lost)} of {len(class_names)} classes {'have no prompts' if group == 'prompts' else 'are not'} in"
            f" {where}, first: {first(lost)}.{nearest(lost[0], extra or keys)}{_unclaimed(extra, keys)} "
            + (
                _other_list(class_names, keys, where, renamed, ignore_extra)
                or _how_to_mend(lost, extra, missing, group)
            )
        )
    if extra and not ignore_extra:
        mend = _other_list(class_names, keys, where, renamed, ignore_extra) or (
            "Is it the file of another data set? If not, say prompts.extra=ignore."
        )
        raise PromptsError(
            f"{len(extra)} of {len(keys)} classes of {where} belong to no class of the data set, first: {first(extra)}."
            f"{nearest(extra[0], class_names)} {mend}"
        )
    counts = {name: how[name] for name in ("exact", "normalised", "aliased")} | {"ignored": len(extra)}
    if missing == "templates":
        counts["filled"] = len(lost)
    return Join(
        keys=tuple(name if key is None else key for name, key in zip(class_names, found, strict=True)),
        counts=counts,
        where=where,
        missing=frozenset(label for label, key in enumerate(found) if key is None),
    )


def _found(
    class_names: Sequence[str], keys: Sequence[str], where: str, aliases: Mapping[str, str], group: str = "prompts"
) -> tuple[list[str | None], Counter[str]]:
    """Return the key of each class, None where it has none, and how many were found by which rule."""
    held = set(keys)
    by_normalised = _by_normalised(keys)
    found: list[str | None] = []
    how: Counter[str] = Counter()
    for label, name in enumerate(class_names):
        close = by_normalised.get(normalised(name), []) if normalised(name) else []
        if (labelled := f"{name} [{label}]") in held:
            found.append(labelled)
            how["exact"] += 1
        elif name in aliases:
            found.append(aliases[name])
            how["aliased"] += 1
        elif name in held:
            found.append(name)
            how["exact"] += 1
        elif len(close) == 1:
            found.append(close[0])
            how["normalised"] += 1
        elif len(close) > 1:
            raise PromptsError(
                f"{where} holds {len(close)} classes that could be {name!r}: {first(close)}. Say which"
                f" with {group}.aliases."
            )
        else:
            found.append(None)
    return found, how


def _by_normalised(words: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in dict.fromkeys(words):
        found.setdefault(normalised(word), []).append(word)
    return found


def _aliases_as_spelt(
    aliases: Mapping[str, str], class_names: Sequence[str], keys: Sequence[str], where: str
) -> dict[str, str]:
    """Return the aliases in the spelling of the class names and of the file."""
    if not aliases:
        return {}

    def spelt(word: str, known: set[str], by_normalised: Mapping[str, list[str]]) -> list[str]:
        return [word] if word in known else by_normalised.get(normalised(word), []) if normalised(word) else []

    names, held = set(class_names), set(keys)
    close_names, close_keys = _by_normalised(class_names), _by_normalised(keys)
    ends = {key: spelt(key, held, close_keys) for key in aliases.values()}
    starts = {name: spelt(name, names, close_names) for name in aliases}
    if lost := [key for key, found in ends.items() if not found]:
        raise PromptsError(
            f"{len(lost)} aliases name no class of {where}, first: {first(lost)}.{nearest(lost[0], keys)}"
        )
    if lost := [name for name, found in starts.items() if not found]:
        raise PromptsError(
            f"{len(lost)} aliases are given for unknown class names, first:"
            f" {first(lost)}.{nearest(lost[0], class_names)}"
        )
    if several := [word for word, found in (*starts.items(), *ends.items()) if len(found) > 1]:
        raise PromptsError(
            f"{len(several)} words of the aliases could be more than one name, first: {first(several)}. Spell them"
            " letter for letter."
        )
    return {starts[name][0]: ends[key][0] for name, key in aliases.items()}


def _unclaimed(extra: Sequence[str], keys: Sequence[str]) -> str:
    """Return a sentence on the entries of a file that belong to no class."""
    return f" {len(extra)} of its {len(keys)} entries belong to no class, first: {first(extra)}." if extra else ""


def _other_list(
    class_names: Sequence[str], keys: Sequence[str], where: str, aliases: Mapping[str, str], ignore_extra: bool
) -> str | None:
    """Return a sentence that names the data set's list of class names that joins; None where none does."""
    for dataset, variant, names in other_lists(class_names):
        try:
            found, _ = _found(names, keys, where, {name: key for name, key in aliases.items() if name in names})
        except PromptsError:
            continue
        if None not in found and (ignore_extra or set(keys) <= set(found)):
            return (
                f"All of them match another list of class names of {dataset}: take dataset.names={variant}; the scores"
                " are then those of these names."
            )
    return None


def _how_to_mend(lost: Sequence[str], extra: Sequence[str], missing: str | None, group: str) -> str:
    by_normalised = {normalised(key): key for key in extra}
    close = {name: difflib.get_close_matches(normalised(name), list(by_normalised), n=1) for name in lost[:3]}
    pairs = {name: by_normalised[found[0]] for name, found in close.items() if found}
    example = f", such as {json.dumps(pairs, ensure_ascii=False)}" if pairs else ""
    fill = " Or fill their classes from templates: prompts.missing=templates." if missing is not None else ""
    return (
        f"Add them to the file, or map them with {group}.aliases (a JSON file: class name -> name in the"
        f" file{example}).{fill}"
    )
