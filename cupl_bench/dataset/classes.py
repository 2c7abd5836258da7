"""The classes of a named data set in label order, and how the words of a source find them: never by position."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from pydantic import ConfigDict, field_validator, model_validator

from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.texts import Facts, FetchedList
from cupl_bench.errors import DatasetError, first, nearest

__all__ = ["Classes"]


class Classes(Facts):
    """Three things are kept apart: the label (the place in ``ids``), the id that sources use, and the prompt's name.

    ``ids``: wnid, folder, or number of each class, in label order; no two are alike. A spec gives a number n where the
    labels themselves, 0 to n - 1, are all that is known of the classes.
    ``names``: lists of prompt names in label order, by the name of the list, the default one first; names may repeat.
    ``also``: further words of sources -> id. ``source``: where each list comes from.
    ``fetched``: further lists of names, which are fetched when they are asked for. ``carried``: lists that the images'
    own tree holds, and the file in it that they stand in. ``places``: where each class stands in these two, None for
    the same place.

    Raises:
        ValueError: ids repeat, a list has another length, or ``also`` leads nowhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    ids: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    also: Mapping[str, str]
    source: Mapping[str, str]
    fetched: Mapping[str, FetchedList] = {}
    carried: Mapping[str, str] = {}
    places: tuple[int, ...] | None = None

    @field_validator("ids", mode="before")
    @classmethod
    def _numbered(cls, ids: object) -> object:
        return tuple(map(str, range(ids))) if isinstance(ids, int) else ids

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
            DatasetError: there is no such list, or only the tree of the images holds it.
        """
        if variant in self.carried:
            raise DatasetError(
                f"The class names {variant!r} are not in this package: they stand in {self.carried[variant]} of the"
                " data set."
            )
        if variant not in self.names:
            known = sorted({*self.names, *self.fetched, *self.carried})
            raise DatasetError(
                f"dataset.names={variant} is not a list of names here; there are {first(known, len(known))}."
                f"{nearest(variant, known)}"
            )
        return self.names[variant]

    def of_whole(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of these classes out of a whole list, fetched or carried."""
        return tuple(names) if self.places is None else tuple(names[place] for place in self.places)

    def without(self, ids: Sequence[str]) -> "Classes":
        """Return the classes that are not among ``ids``; labels close up."""
        return self.subset([label for label, one in enumerate(self.ids) if one not in ids])

    def subset(self, indices: Sequence[int]) -> "Classes":
        """Return the classes at ``indices``, in that order."""
        kept = {self.ids[label] for label in indices}
        places = range(len(self.ids)) if self.places is None else self.places
        return Classes(
            ids=tuple(self.ids[label] for label in indices),
            names={name: tuple(row[label] for label in indices) for name, row in self.names.items()},
            also={word: one for word, one in self.also.items() if one in kept},
            source=self.source,
            fetched=self.fetched,
            carried=self.carried,
            places=tuple(places[label] for label in indices),
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
