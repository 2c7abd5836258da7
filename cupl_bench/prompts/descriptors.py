"""Descriptors of classes ("long tail"), and the prompts that Menon and Vondrick make of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError, first
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.files import content_of, read_unchanged
from cupl_bench.prompts.joining import Join, join_by_name
from cupl_bench.prompts.sources import strategy_of
from cupl_bench.prompts.strategies import file_name, read_aliases

__all__ = ["DescriptorsStrategy", "join_lists", "read_lists", "which", "worded"]

NO_DESCRIPTORS = (
    "This data set has no descriptors of its own. Give a file, class name -> list of descriptors:"
    " dataset.texts.descriptors=FILE."
)
VERBS = ("has", "often", "typically", "may", "can")
"""First words of descriptors that say what they do with the class themselves."""


@dataclass(frozen=True, kw_only=True)
class DescriptorsStrategy:
    """DCLIP: "{name}, which has {descriptor}" for each descriptor of a class; similarities are averaged.

    ``path``: a JSON of descriptors (class name -> list), a file or a URL, or any other form that prompts come in.
    ``before`` and ``after``: what stands before the class name and at the end. As published nothing, but for ImageNet,
    whose prompts end with a full stop.
    ``article``: how "which is" and "which has" are chosen: ``original`` or ``fixed``, see `which`.
    ``aliases``, ``extra``: as for descriptions.

    A class without descriptors gets one that is empty, as published: "{name}, which has "; ``fixed`` leaves the name
    alone. Underscores in class names become spaces.

    Source: "Visual Classification via Description from Large Language Models" (Menon and Vondrick, arXiv 2210.07183),
    section 2; `load_gpt_descriptions` in `loading_helpers.py` of
    sachit-menon/classify_by_description_release@d1a3d89, with the values of its `load.py`.
    """

    path: str | None
    before: str
    after: str
    article: Literal["original", "fixed"]
    aliases: str | None
    extra: Literal["error", "ignore"]
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if self.path is None:
            raise PromptsError(NO_DESCRIPTORS)
        join, rows = join_lists(class_names, self.path, self.aliases, ignore_extra=self.extra == "ignore")
        texts = tuple(
            tuple(self._prompt(name, descriptor) for descriptor in row or [""])
            for name, row in zip(class_names, rows, strict=True)
        )
        return Prompts(texts=texts, aggregation=self.aggregation, join=join.counts, source=join.where)

    def _prompt(self, class_name: str, descriptor: str) -> str:
        clause = which(descriptor, self.article)
        return f"{self.before}{worded(class_name)}{', ' if clause else ''}{clause}{self.after}"


def which(descriptor: str, article: Literal["original", "fixed"]) -> str:
    """Return the clause that a descriptor becomes: "which is ...", "which has ..." or "which ...".

    ``original``: "is" before all that begins with the letter a, so "which is antennae" too, or with "used"; the words
    has, often, typically, may and can are a predicate of their own, and so are candles and hash marks.
    ``fixed``: the same words, but only as whole words, and "is" and "are" among the predicates; nothing for nothing.

    Source: `make_descriptor_sentence` of sachit-menon/classify_by_description_release@d1a3d89.
    """
    if article == "original":
        if descriptor.startswith(("a", "used")):
            return f"which is {descriptor}"
        return f"which {descriptor}" if descriptor.startswith(VERBS) else f"which has {descriptor}"
    if not descriptor.strip():
        return ""
    word = descriptor.split()[0]
    if word in ("a", "an", "used"):
        return f"which is {descriptor}"
    return f"which {descriptor}" if word in (*VERBS, "is", "are") else f"which has {descriptor}"


def worded(class_name: str) -> str:
    """Return a class name with spaces for its underscores."""
    return class_name.replace("_", " ")


def read_lists(source: str, what: str) -> Mapping[str, Sequence[str]]:
    """Return the list of texts of each class name, maybe empty, from any form that prompts come in.

    Raises:
        PromptsError: the file cannot be had, or holds anything else; ``what`` says what it should hold.
    """
    content = content_of(source, what)
    if not isinstance(content, dict) or not content:
        raise PromptsError(f"{source} should hold {what}.{strategy_of(content, source)}")
    if wrong := [
        name
        for name, row in content.items()
        if not isinstance(row, list) or not all(isinstance(text, str) for text in row)
    ]:
        raise PromptsError(
            f"{source}: {len(wrong)} of {len(content)} classes hold no list of texts, first: {first(wrong)}. It should"
            f" hold {what}.{strategy_of(content, source)}"
        )
    return content


def join_lists(
    class_names: Sequence[str],
    path: str,
    aliases: str | None,
    *,
    ignore_extra: bool,
    what: str = "descriptors: class name -> list of texts",
) -> tuple[Join, list[list[str]]]:
    """Return the texts that each class has in a file, in label order, and how the names were joined; rows may be empty.

    Raises:
        PromptsError: the file cannot be read, or its names and the classes do not join.
    """
    held, digest = read_unchanged(path, lambda: read_lists(path, what))
    join = join_by_name(class_names, list(held), path, read_aliases(aliases), ignore_extra=ignore_extra)
    return replace(join, where=file_name(path, digest)), [list(held[key]) for key in join.keys]
