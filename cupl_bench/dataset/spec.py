"""The facts about each named data set, as data: one JSON file each in `cupl_bench/dataset/specs`."""

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveInt, ValidationError, field_validator

from cupl_bench.dataset.classes import Classes
from cupl_bench.dataset.layouts import Layout
from cupl_bench.dataset.remotes import Remote
from cupl_bench.dataset.texts import Facts, Texts, spec_content
from cupl_bench.errors import DatasetError, first, nearest
from cupl_bench.metrics import ACCURACIES, METRICS

__all__ = ["CUSTOM", "Protocol", "Spec", "read_spec"]

CUSTOM = "custom"
"""The protocol that takes whatever images are there; the record's split says so."""


class Protocol(Facts):
    """The images that a number is over. ``without``: ids of classes that it leaves out. ``source``: who says so.

    ``some_classes``: whether only some of the classes have an image in it.
    """

    split: str
    num_images: int
    without: tuple[str, ...]
    source: str
    some_classes: bool = False


class Spec(Facts):
    """A data set: classes in label order, protocols (the standard one first), texts, and where it is found.

    ``version``: raised whenever the number of an unchanged question about this data set can move, and of no other.
    ``layouts``: tried in order on the user's folder. ``remotes``: the first is what is downloaded.
    ``reference``: published values of the primary metric, for sanity: [backbone, prompts, value, source].
    ``also_in``: other data sets whose folders may hold the images of this one.
    """

    name: str
    title: str
    version: PositiveInt = 1
    primary: str
    metric_note: str | None
    protocols: Mapping[str, Protocol]
    classes: Classes
    texts: Texts
    layouts: tuple[Layout, ...]
    remotes: tuple[Remote, ...]
    how_to_get: str
    licence: str
    citation: str
    traps: tuple[str, ...]
    reference: tuple[tuple[str, str, str, str], ...]
    also_in: tuple[str, ...] = ()

    @field_validator("primary")
    @classmethod
    def _is_a_metric(cls, primary: str) -> str:
        if primary not in (*ACCURACIES, *METRICS):
            raise ValueError(f"{primary} is not a metric")
        return primary

    def protocol(self, name: str) -> Protocol:
        """Return the protocol of that name; ``custom`` has the size of the standard one, which is not required of it.

        Raises:
            DatasetError: there is none.
        """
        known = [*self.protocols, CUSTOM]
        if name not in known:
            raise DatasetError(
                f"dataset.protocol={name} is not a protocol of {self.name}; it has {first(known, len(known))}."
                f"{nearest(name, known)}"
            )
        return next(iter(self.protocols.values())) if name == CUSTOM else self.protocols[name]


def read_spec(name: str) -> Spec:
    """Return the spec of a named data set, or a user's own file that ends in `.json`.

    Raises:
        DatasetError: there is none, or it is not what a spec should be.
    """
    content: dict[str, Any] = spec_content(name)
    # The ImageNet family has one list of classes, kept once.
    classes = content.get("classes")
    try:
        if isinstance(classes, dict) and "of" in classes:
            whole = Classes.model_validate(spec_content(str(classes["of"]))["classes"])
            indices = classes["indices"]
            content["classes"] = whole if indices is None else whole.subset(indices)
        return Spec.model_validate(content)
    except (ValidationError, KeyError, TypeError) as error:
        raise DatasetError(f"The spec {name!r} is not valid: {error}") from error
