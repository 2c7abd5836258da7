"""The classes of a named data set in label order, and how the words of a source find them: never by position."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from pydantic import ConfigDict, model_validator

from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.texts import Facts
from cupl_bench.errors import DatasetError, nearest

__all__ = ["Classes"]


class Classes(Facts):
    """Three things are kept apart: the label (the place in ``ids``), the id that sources use, and the prompt's name.

    ``ids``: wnid, folder, or number of each class, in label order; no two are alike.
    ``names``: lists of prompt names in label order, by the name of the list, the default one first; names may repeat.
    ``also``: further words of sources -> id. ``source``: where each list comes from.

    Raises:
        ValueError: ids repeat, a list has another length, or ``also`` leads nowhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    ids: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    also: Mapping[str, str]
    source: Mapping[str, str]

    @model_validator(mode="after")
    def _check(self) -> "Classes":
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("class ids repeat")
        if wrong := [name for name, row in self.names.items() if len(row) != len(self.ids)]:
            raise ValueError(f"lists of names of another length than the ids: {wrong}")
        if lost := sorted(set(self.also.values()) - set(self.ids)):
            raise ValueError(f"'also' leads to no id: {lost}")
        return self

    def named(self, variant: str) -> tuple[str, ...]:
        """Return the prompt names of a list.

        Raises:
            DatasetError: there is no such list.
        """
        if variant not in self.names:
            raise DatasetError(
                f"dataset.names={variant} is not a list of names here; there are {sorted(self.names)}."
                f"{nearest(variant, self.names)}"
            )
        return self.names[variant]

    def without(self, ids: Sequence[str]) -> "Classes":
        """Return the classes that are not among ``ids``; labels close up."""
        keep = [label for label, one in enumerate(self.ids) if one not in ids]
        return Classes(
            ids=tuple(self.ids[label] for label in keep),
            names={name: tuple(row[label] for label in keep) for name, row in self.names.items()},
            also={word: one for word, one in self.also.items() if one not in ids},
            source=self.source,
        )

    def subset(self, indices: Sequence[int]) -> "Classes":
        """Return the classes at ``indices``, in that order."""
        return Classes(
            ids=tuple(self.ids[label] for label in indices),
            names={name: tuple(row[label] for label in indices) for name, row in self.names.items()},
            also={word: one for word, one in self.also.items() if one in {self.ids[label] for label in indices}},
            source=self.source,
        )

    def find(self, word: str) -> int | None:
        """Return the label that a source's word means; None where it means none, or more than one.

        An id is taken letter for letter first; then ids, names of every list and ``also`` by their letters and digits.
        """
        exact = self._by_id.get(word)
        return exact if exact is not None else self._by_key.get(normalised(word))

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {one: label for label, one in enumerate(self.ids)}

    @cached_property
    def _by_key(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        words = [(word, label) for row in (self.ids, *self.names.values()) for label, word in enumerate(row)]
        words += [(word, self._by_id[one]) for word, one in self.also.items()]
        for word, label in words:
            key = normalised(word)
            found[key] = label if found.get(key, label) == label else None
        return found
