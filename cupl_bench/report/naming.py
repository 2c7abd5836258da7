"""Names for the rows of a table: each row is a question, and a name is for people.

Two questions may share a name: ``prompts=file`` with two files, two lists of templates, two folders of images, two
models of one option. Each then gets what distinguishes it: a setting, the name of a file, or a short digest.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cupl_bench.identity import content_key
from cupl_bench.records import Record

__all__ = [
    "REFERENCE",
    "SHORT",
    "Arena",
    "dataset_facts",
    "dataset_name",
    "known_as",
    "leaves",
    "prompts_settings",
    "recorded",
    "same_words",
    "tell_apart",
    "tell_prompts_apart",
]

SHORT = 6
"""Hex digits of a digest that stands in a name."""
LONG = 32
"""Letters of a setting that stands in a name as it is."""

NO_WORDS = {"name", "cache_dir", "seed"}
"""Keys of ``prompts`` that ask nothing: the seed has a column of its own."""
FILES = {"path", "aliases"}
"""Keys whose files belong to a data set: each data set has its own, and the strategy is the same."""
REFERENCE = re.compile(r"\$\{(dataset\.[A-Za-z0-9_.]+)\}")
"""A setting that stands for one of the data set's: the only kind that is ever looked up."""

SHA256 = re.compile(r"\s+sha256:([0-9a-f]{64})\s*")
"""The part of a record's source of prompts that tells the content of the file, after its name."""

Facts = Mapping[str, str]
"""Facts about one thing, as short texts by kind; the kind that tells most comes first."""


@dataclass(frozen=True)
class Arena:
    """Things that must not look alike (places in the list), and the kinds of facts that count; None: all kinds."""

    members: tuple[int, ...]
    kinds: frozenset[str] | None = None


def tell_apart(facts: Sequence[Facts], kinds: Iterable[str], arenas: Sequence[Arena]) -> list[list[str]]:
    """Return for each thing the texts that, beside its name, tell it apart; none where the name is enough.

    A kind of fact is used if it distinguishes more things of an arena; it is then shown for all things.

    Args:
        facts: of each thing.
        kinds: of facts, in the order in which they are tried.
        arenas: which things must be told apart.

    >>> tell_apart([{"file": "a.json"}, {"file": "b.json"}], ["file"], [Arena((0, 1))])
    [['a.json'], ['b.json']]
    """
    parts: list[list[str]] = [[] for _ in facts]
    for kind in kinds:
        for arena in arenas:
            if arena.kinds is not None and kind not in arena.kinds:
                continue
            before = {tuple(parts[place]) for place in arena.members}
            if len(before) == len(arena.members):
                continue
            after = {(*parts[place], facts[place].get(kind)) for place in arena.members}
            if len(after) > len(before):
                parts = [[*own, *([one[kind]] if kind in one else [])] for own, one in zip(parts, facts, strict=True)]
                break
    return parts


# Settings -------------------------------------------------------------------------------------------------------------


def prompts_settings(record: Record, *, looked_up: bool = False) -> dict[str, Any] | None:
    """Return the words of the question about prompts, by dotted keys; None where the record does not hold them.

    Args:
        record: the run.
        looked_up: put the values of the record's own data set where a setting refers to them (``${dataset.texts...}``).
            Nothing else is ever resolved: a record may come from a stranger.
    """
    prompts = recorded(record, "prompts")
    if not prompts:
        return None
    found = {key: value for key, value in leaves(prompts).items() if key.split(".")[-1] not in NO_WORDS}
    if looked_up:
        known = {f"dataset.{key}": value for key, value in leaves(recorded(record, "dataset")).items()}
        found = {key: _looked_up(value, known) for key, value in found.items()}
    return found


def recorded(record: Record, group: str) -> Mapping[str, Any]:
    """Return the settings of a group as the record has them; none where it does not."""
    return {} if record.config is None else record.config.option(group)


def leaves(settings: object, prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted keys; none for what is not a map.

    >>> leaves({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    if not isinstance(settings, Mapping):
        return {}
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def _looked_up(value: object, known: Mapping[str, Any]) -> object:
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else known.get(match[1], value)


def same_words(one: Record, other: Record) -> bool:
    """Return whether two runs of a group ask about prompts in the same words, so that only a file's content can differ.

    A key that one of the records lacks came with a later version and does not count. Where the words are not recorded,
    only the prompts themselves can tell.
    """
    if one.prompts.digest == other.prompts.digest:
        return True
    ours, theirs = (prompts_settings(record, looked_up=True) for record in (one, other))
    if ours is None or theirs is None:
        return False
    return all(ours[key] == theirs[key] for key in ours.keys() & theirs.keys())


# Prompts --------------------------------------------------------------------------------------------------------------


def tell_prompts_apart(records: Sequence[Record], groups: Sequence[object]) -> list[str]:
    """Return a name for the prompts of each run: the recorded one, with what tells it apart from others of that name.

    The number of prompts, the aggregation and the seed are no part of it: they have columns of their own.

    Args:
        records: the runs, of each question one.
        groups: the group of each run; within one no two names may stand for two questions.
    """
    names = [record.prompts.name for record in records]
    for name in dict.fromkeys(names):
        own = [place for place, one in enumerate(names) if one == name]
        if len(own) > 1:
            parts = _parts_of_prompts([records[place] for place in own], [groups[place] for place in own])
            for place, texts in zip(own, parts, strict=True):
                names[place] = f"{name} ({', '.join(texts)})" if texts else name
    return names


def _parts_of_prompts(records: Sequence[Record], groups: Sequence[object]) -> list[list[str]]:
    """Return the words that tell runs of one name apart, wherever they ask something else."""
    words = [prompts_settings(record) or {} for record in records]
    answers = [prompts_settings(record, looked_up=True) or {} for record in records]
    keys = [key for key in dict.fromkeys(key for one in words for key in one) if key != "aggregation"]
    keys = [key for key in keys if len({_told(key, one[key]) for one in answers if key in one}) > 1]
    shared = [key for key in keys if key.split(".")[-1] not in FILES]
    facts: list[dict[str, str]] = []
    for record, own, answered in zip(records, words, answers, strict=True):
        fact = {f"words {key}": _told(key, own[key]) for key in shared if key in own and key != "_target_"}
        if record.prompts.source:
            sources = [SHA256.split(one) for one in record.prompts.source.split("; ")]
            fact["file"] = "; ".join(_base(parts[0]) for parts in sources)
            if contents := [parts[1][:SHORT] for parts in sources if len(parts) > 1]:
                fact["content"] = " ".join(contents)
        fact |= {f"here {key}": _told(key, answered[key]) for key in keys if key in answered}
        facts.append(fact | {"digest": record.prompts.digest[:SHORT]})
    kinds = [*(f"words {key}" for key in shared), "file", "content", *(f"here {key}" for key in keys)]
    # Everywhere: other words are another strategy. In a group: another digest is another question.
    strategies: dict[str, int] = {}
    for place, own in enumerate(words):
        strategies.setdefault(repr([(key, own.get(key)) for key in shared if key != "_target_"]), place)
    cells: dict[object, dict[str, int]] = {}
    for place, (record, group) in enumerate(zip(records, groups, strict=True)):
        asked = record.prompts
        cells.setdefault((group, asked.aggregation, asked.budget, asked.seed), {}).setdefault(asked.digest, place)
    # Seeds of one strategy have other digests; of another file they are another strategy.
    files: dict[object, dict[str, int]] = {}
    for place, (record, group) in enumerate(zip(records, groups, strict=True)):
        asked = record.prompts
        if asked.source:
            files.setdefault((group, asked.aggregation, asked.budget), {}).setdefault(asked.source, place)
    everywhere = Arena(tuple(strategies.values()), frozenset(f"words {key}" for key in shared))
    arenas = [Arena(tuple(members.values())) for members in (*files.values(), *cells.values())]
    parts = tell_apart(facts, kinds, [everywhere, *arenas])
    for members in cells.values():  # what nothing else tells apart
        seen: dict[tuple[str, ...], list[int]] = {}
        for place in members.values():
            seen.setdefault(tuple(parts[place]), []).append(place)
        for alike in seen.values():
            if len(alike) > 1:
                for place in alike:
                    parts[place] = [*parts[place], facts[place]["digest"]]
    return parts


def _told(key: str, value: object) -> str:
    """Return a setting as short text: files by their names, long lists by their length and a digest."""
    last = key.split(".")[-1]
    if last == "_target_":
        return str(value).split(".")[-1]
    if isinstance(value, str) and (last in FILES or "/" in value or "\\" in value):
        return _base(value)
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1 and isinstance(value[0], str):
        value, key = value[0], ""
    if isinstance(value, str | int | float | bool) and len(str(value)) <= LONG:
        return f'"{value}"' if key == "" else f"{key}={str(value).lower() if isinstance(value, bool) else value}"
    if value is None:
        return f"no {key}"
    digest = content_key({"value": _plain(value)})[:SHORT]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{len(value)} {key}, {digest}"
    return f"{key} {digest}" if key else digest


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _base(path: str) -> str:
    """Return the last part of a path or an address, without what stands in it behind ``?`` or ``@``."""
    return PurePosixPath(path.replace("\\", "/").split("?")[0].rstrip("/")).name or path


# Data sets ------------------------------------------------------------------------------------------------------------


def dataset_name(record: Record) -> str:
    """Return the name of a data set, marked where its image features were given, and not encoded by this program."""
    return f"{record.dataset.name} [given features]" if record.dataset.features else record.dataset.name


def known_as(record: Record) -> str:
    """Return by what a data set is known, whatever a user calls it: the name of its spec, else its own name."""
    spec = str(recorded(record, "dataset").get("spec") or "")
    return spec if spec and not spec.endswith(".json") else record.dataset.name


def dataset_facts(record: Record) -> dict[str, str]:
    """Return the ``path`` of a data set of the user's own, by its last part; nothing of a named data set."""
    settings = recorded(record, "dataset")
    path = settings.get("path")
    if isinstance(path, str) and path and "spec" not in settings:  # a named data set is the same wherever it lies
        return {"path": _base(path)}
    return {}
