"""Texts that scorers bring themselves: files joined to the classes by name, and the features of what they hold."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float32
from pydantic import AfterValidator, TypeAdapter, ValidationError

from cupl_bench.dataset.names import is_unicode
from cupl_bench.embeddings import build_class_embeddings
from cupl_bench.errors import PromptsError, ScorerError, first
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import read_templates

__all__ = ["Text", "encoded", "files_of", "joined", "joined_keys", "mean_features", "templates_of"]

TEXTS_AT_ONCE = 65_536
"""Texts whose features are held at once: 134 MB at width 512."""

NO_TEMPLATES = (
    "This data set has no hand-written templates of its own. Give some:"
    " 'scorer.templates=[\"a photo of a {}.\"]', or scorer.templates=openai_imagenet_80."
)


def _text(value: str) -> str:
    if not value.strip() or not is_unicode(value):
        raise ValueError("a text is blank or no Unicode")
    return value


Text = Annotated[str, AfterValidator(_text)]
"""A text that a text tower can read: not blank, and Unicode."""


def files_of(**paths: str | None) -> dict[str, str]:
    """Return the files among the parameters of a scorer: those that are given.

    >>> files_of(label_sets="sets.json", aliases=None)
    {'label_sets': 'sets.json'}
    """
    return {name: path for name, path in paths.items() if path is not None}


def joined(class_names: Sequence[str], files: Mapping[str, object], parameter: str, hint: Any, what: str) -> list[Any]:
    """Return what a file says of each class, in label order; classes of the file that the data set lacks are left out.

    Args:
        class_names: in label order.
        files: the content of the scorer's files; ``aliases`` maps class names to names of the file, if it is there.
        parameter: which of them it is.
        hint: the type that each entry of the file should have.
        what: in words what the file should hold.

    Raises:
        ScorerError: it holds anything else, or lacks a class.
    """
    content = files[parameter]
    if not isinstance(content, dict) or not content:
        raise ScorerError(f"scorer.{parameter} names a file of another form: it should hold {what}.")
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    held, wrong = {}, {}
    for name, entry in content.items():
        try:
            held[name] = adapter.validate_python(entry)
        except ValidationError as error:
            wrong[name] = error.errors()[0]["msg"]
    if wrong:
        name, reason = next(iter(wrong.items()))
        raise ScorerError(
            f"scorer.{parameter}: {len(wrong):,} of {len(content):,} classes of the file are of another form, first:"
            f" {first(list(wrong), 3)} ({reason[0].lower()}{reason[1:]}). It should hold {what}."
        )
    return [held[key] for key in joined_keys(class_names, list(held), files, f"the file of scorer.{parameter}")]


def joined_keys(
    class_names: Sequence[str], names: Sequence[str], files: Mapping[str, object], where: str
) -> tuple[str, ...]:
    """Return for each class its name in a file that has ``names``; `cupl_bench.prompts.joining.join_by_name` finds it.

    Raises:
        ScorerError: a class has none or more than one, or the aliases are no map from name to name.
    """
    aliases = files.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(name, str) for name in aliases.values()):
        raise ScorerError("scorer.aliases should hold a map: class name -> name in the file of the scorer.")
    try:
        return join_by_name(class_names, names, where, aliases, ignore_extra=True, group="scorer").keys
    except PromptsError as error:
        raise ScorerError(str(error)) from error


def templates_of(templates: str | Sequence[str] | None, files: Mapping[str, object]) -> list[str]:
    """Return templates from a list, the content of a file, or a list by its name.

    Raises:
        ScorerError: there is none, or one lacks the ``{}`` that stands for the class name.
    """
    content = files.get("templates", templates)
    if content is None:
        raise ScorerError(NO_TEMPLATES)
    if not isinstance(content, str | list) or str(content).endswith(".txt"):
        raise ScorerError("scorer.templates names a file of another form: it should be JSON, a list of templates.")
    try:
        return read_templates(content, "scorer")
    except PromptsError as error:
        raise ScorerError(str(error)) from error


def mean_features(encode: Callable[[Sequence[str]], Any], rows: Iterable[Sequence[str]]) -> Float32[np.ndarray, "r d"]:
    """Return the unit mean of the unit features of each row's texts; blocks of rows are encoded, so memory is bounded.

    A text that stands twice in a row counts twice.

    Args:
        encode: texts -> unit features.
        rows: the texts of each row, at least one.

    Raises:
        ValueError: the features of a row cancel each other out.
    """
    means, block, num_texts = [], [], 0
    for row in rows:
        block.append(row)
        num_texts += len(row)
        if num_texts >= TEXTS_AT_ONCE:
            means.append(_means(encode, block))
            block, num_texts = [], 0
    if block:
        means.append(_means(encode, block))
    return np.concatenate(means)


def _means(encode: Callable[[Sequence[str]], Any], rows: Sequence[Sequence[str]]) -> Float32[np.ndarray, "r d"]:
    return build_class_embeddings(*encoded(encode, rows)).matrix


def encoded(
    encode: Callable[[Sequence[str]], Any], rows: Sequence[Sequence[str]]
) -> tuple[Float32[np.ndarray, "u d"], list[list[int]]]:
    """Return the unit features of the distinct texts, and the places of each row's texts among them."""
    place = {text: number for number, text in enumerate(dict.fromkeys(text for row in rows for text in row))}
    return encode(list(place)), [[place[text] for text in row] for row in rows]
