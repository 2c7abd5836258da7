"""Several names of each class, through templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.descriptors import join_lists
from cupl_bench.prompts.sources import fill, read_templates

__all__ = ["NamesStrategy"]

NO_NAMES = (
    "This data set has no list of other names. Give a JSON file, class name -> list of names: dataset.texts.names=FILE."
)


@dataclass(frozen=True, kw_only=True)
class NamesStrategy:
    """Each template with the class's own name first, then with each of its other names; every prompt counts once.

    ``path``: a JSON of names, class name -> list, which may be empty. A name that a class has already, in any case,
    is left out.
    ``templates``, ``aliases``, ``extra``: as for templates and descriptions.
    """

    path: str | None
    templates: str | list[str] | None
    aliases: str | None
    extra: Literal["error", "ignore"]
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if self.path is None:
            raise PromptsError(NO_NAMES)
        if self.templates is None:
            raise PromptsError("prompts.templates is null; names need at least one, such as 'a photo of a {}.'.")
        templates = read_templates(self.templates)
        join, rows = join_lists(
            class_names,
            self.path,
            self.aliases,
            ignore_extra=self.extra == "ignore",
            what="names: class name -> list of other names",
        )
        texts = []
        for own, others in zip(class_names, rows, strict=True):
            names: dict[str, str] = {}
            for name in (own, *others):
                if name.strip():
                    names.setdefault(name.casefold(), name)
            texts.append(tuple(fill(template, name) for name in names.values() for template in templates))
        return Prompts(texts=tuple(texts), aggregation=self.aggregation, join=join.counts, source=join.where)
