"""The words of a question: a record keeps them, and they are enough to ask it again.

A record may come from anybody, so nothing here looks anything up for it: of the interpolations that configurations know
(``${...}``), only those of our own files are replaced, by what the record itself holds and by places of this machine.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cupl_bench.errors import ResultsError, first

__all__ = ["GROUPS", "OF_THE_RUN", "TOLD", "QuestionRecord", "Settings", "is_own_class", "leaves", "literal", "nodes"]

Settings = Mapping[str, Any]
"""The keys of an option of a group, ``_target_`` and ``name`` among them, with interpolations as they stand."""

GROUPS = ("dataset", "backbone", "prompts", "scorer")
OF_THE_RUN: Mapping[str, tuple[str, ...]] = {
    "dataset": ("name", "texts", "skip_broken", "decode", "primary"),
    "backbone": ("name",),
    "prompts": ("name",),
    "scorer": ("name",),
}
"""Keys of a group that are not parameters of its class."""
TOLD: Mapping[str, tuple[str, ...]] = {"backbone": ("licence",)}
"""Keys that an option may have beside these: they are told by the record and ask nothing."""
FIELDS = ("decode", "skip_broken", "primary")
"""Keys that an option of ``dataset`` has and that are fields of their own here."""
VALUES = ("precision", "budget", "seed")
"""Keys of the root of a configuration that belong to the question."""
PACKAGE = __name__.partition(".")[0]
PLAIN: Mapping[str, str] = {"_target_": f"{PACKAGE}.scorers.plain.PlainScorer", "name": "plain"}
"""The settings of the scorer of every question that was asked before there was another."""
LONGEST = 1_000_000
"""Characters that a text may have once its interpolations are replaced."""
REFERENCE = re.compile(
    r"(?P<escaped>\\\$\{)"
    r"|\$\{(?:(?P<key>(?:cache_dir|seed|precision|budget|(?:dataset|backbone|prompts|scorer)(?:\.\w+)+))"
    r"|asset:(?P<asset>[\w./-]+)|(?P<user_cache>user_cache:))\}"
    r"|(?P<other>\$\{)"
)


class QuestionRecord(BaseModel):
    """The question in words: the settings of the four groups and the values beside them.

    ``decode``: how images were decoded. ``primary``: the data set's headline metric. A group, ``precision`` or
    ``primary`` is empty or None where an old or foreign record does not say it.
    ``beyond_words``: what asking again needs besides these words, such as a class of the user's own or a model that
    was in memory alone (a group whose ``_target_`` is null). It is found anew whenever a record is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[2] = 2
    dataset: Settings = Field(default_factory=dict)
    backbone: Settings = Field(default_factory=dict)
    prompts: Settings = Field(default_factory=dict)
    scorer: Settings = Field(default_factory=lambda: dict(PLAIN))
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    decode: str = "exact"
    skip_broken: bool = Field(default=False, strict=True)
    primary: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    budget: int | None = None
    seed: int | None = None
    beyond_words: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, given: object) -> object:
        """Return the fields of a configuration, which is what records held before their questions had a version.

        It had ``decode``, ``skip_broken`` and ``primary`` among the settings of the data set. What it lacks is not
        made up, and its other keys are left out.
        """
        if not isinstance(given, Mapping) or "version" in given:
            return given
        fields: dict[str, object] = {
            group: dict(given[group]) for group in GROUPS if isinstance(given.get(group), Mapping)
        }
        fields |= {name: given[name] for name in (*VALUES, *FIELDS) if name in given}
        dataset = fields.get("dataset")
        if isinstance(dataset, dict):
            fields |= {name: dataset.pop(name) for name in FIELDS if name in dataset}
        return fields

    @field_validator("beyond_words")
    @classmethod
    def _not_believed(cls, _: object) -> tuple[str, ...]:
        return ()

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> "QuestionRecord":
        needs = []
        for group in GROUPS:
            if (settings := getattr(self, group)) and settings.get("_target_", ...) is None:
                needs.append(f"{group}: {settings.get('name')}, which was in memory alone")
            needs += [
                f"{where}: the class {node['_target_']}"
                for where, node in nodes(settings, group)
                if node["_target_"] is not None and not is_own_class(node["_target_"])
            ]
        object.__setattr__(self, "beyond_words", tuple(needs))
        return self

    def option(self, group: str) -> dict[str, Any]:
        """Return the settings of a group as an option of conf/ has them, those that are fields here among them."""
        own = {name: getattr(self, name) for name in FIELDS} if group == "dataset" and self.dataset else {}
        return {**getattr(self, group), **own}

    def check_whole(self) -> None:
        """Check that nothing of the question is lost.

        Raises:
            ResultsError: a group or a value is not recorded, or was in memory alone.
        """
        if memory := [need for need in self.beyond_words if need.endswith("in memory alone")]:
            raise ResultsError(f"This question cannot be asked again from its record: {first(memory, 3)}.")
        lost = [f"{group}.{key}" for group in GROUPS for key in ("_target_", "name") if key not in getattr(self, group)]
        lost += [name for name in ("precision", "primary", "seed") if getattr(self, name) is None]
        if lost:
            raise ResultsError(
                f"The record does not hold its whole question: {len(lost)} parts are missing, first: {first(lost, 3)}."
                " 'cupl-bench eval' asks a question that you write yourself."
            )

    def resolved(self, cache_dir: Path, user_cache: Path, groups: Sequence[str] = GROUPS) -> dict[str, dict[str, Any]]:
        """Return the settings of these groups, as `option`, with our own interpolations replaced.

        Args:
            cache_dir: for ``${cache_dir}``.
            user_cache: for ``${user_cache:}``.
            groups: which.

        Raises:
            ResultsError: there is another interpolation, or one that leads nowhere.
        """
        tree: dict[str, Any] = {group: self.option(group) for group in GROUPS}
        values = {"cache_dir": str(cache_dir), "seed": self.seed, "precision": self.precision, "budget": self.budget}
        replace = _Replacing(tree={**tree, **values}, user_cache=str(user_cache))
        return {
            group: {key: replace.all_of(value, f"{group}.{key}") for key, value in tree[group].items()}
            for group in groups
        }


@dataclass
class _Replacing:
    """Replaces interpolations by what ``tree`` holds; each key is looked up once, however often it is named."""

    tree: Mapping[str, Any]
    user_cache: str
    _found: dict[str, Any] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def all_of(self, value: Any, where: str) -> Any:
        """Return ``value`` with the interpolations of all its texts replaced; ``where`` is its key."""
        if isinstance(value, Mapping):
            return {key: self.all_of(one, f"{where}.{key}") for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.all_of(one, f"{where}[{place}]") for place, one in enumerate(value)]
        return self._text(value, where) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, where: str) -> Any:
        whole = REFERENCE.fullmatch(text)
        if whole is not None:
            return self._one(whole, text, where)
        parts, end, length = [], 0, 0
        for match in REFERENCE.finditer(text):
            parts += [text[end : match.start()], str(self._one(match, text, where))]
            end = match.end()
            length += len(parts[-1])
            if length > LONGEST:
                raise ResultsError(f"{where} of the record becomes longer than any setting may be.")
        return "".join([*parts, text[end:]])

    def _one(self, match: re.Match[str], text: str, where: str) -> Any:
        if match["escaped"]:
            return "${"
        if match["user_cache"]:
            return self.user_cache
        if match["asset"]:
            path = PurePosixPath(match["asset"])
            if not path.is_absolute() and ".." not in path.parts:
                return str(resources.files(PACKAGE).joinpath(*path.parts))
        elif match["key"]:
            return self._of_key(match["key"], where)
        raise ResultsError(
            f"{where} of the record is {text!r}. Only the machine that recorded it knew the value, and nothing is"
            f" looked up here for a record. Give the value: {where}=..."
        )

    def _of_key(self, key: str, where: str) -> Any:
        if key in self._found:
            return self._found[key]
        if key in self._open:
            raise ResultsError(f"{where} of the record refers to itself.")
        node: Any = self.tree
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise ResultsError(f"{where} of the record refers to {key}, which the record does not hold.")
            node = node[part]
        self._open.append(key)
        if len(self._open) > 20:
            raise ResultsError(f"{where} of the record refers to too many other keys in turn.")
        self._found[key] = self.all_of(node, key)
        self._open.pop()
        return self._found[key]


def literal(value: Any) -> Any:
    """Return ``value`` written so that `QuestionRecord.resolved` gives it back as it is.

    >>> literal("costs ${price}") == "costs " + chr(92) + "${price}"
    True
    """
    if isinstance(value, Mapping):
        return {key: literal(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [literal(one) for one in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


def nodes(value: object, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each map in ``value`` that names a class, at any depth, with its dotted key."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield where, dict(value)
        for key, one in value.items():
            yield from nodes(one, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from nodes(one, f"{where}[{place}]")


def leaves(value: object, where: str) -> Iterator[tuple[str, object]]:
    """Yield each value that is neither map nor list, with its dotted key."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from leaves(one, f"{where}[{place}]")
    else:
        yield where, value


def is_own_class(target: object) -> bool:
    """Return whether a ``_target_`` names a place inside this package."""
    return isinstance(target, str) and re.fullmatch(rf"{PACKAGE}(\.[A-Za-z_]\w*)+", target) is not None
