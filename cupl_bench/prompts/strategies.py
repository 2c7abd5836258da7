"""Templates, plain or weighed by images; descriptions, with templates or shuffled as a control."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError, first
from cupl_bench.json_files import read_json
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.files import LIBRARY, library_part, read_unchanged
from cupl_bench.prompts.joining import Join, join_by_name
from cupl_bench.prompts.sources import fetch_official, fill, read_descriptions, read_templates, replace_name

__all__ = [
    "ConceptStrategy",
    "DescriptionsStrategy",
    "ShuffledDescriptionsStrategy",
    "TemplatesStrategy",
    "WeightedTemplatesStrategy",
    "file_name",
    "read_aliases",
    "with_concept",
]

OFFICIAL = "cupl:"
"""The beginning of a path that means the paper's file of a named data set."""

NO_TEMPLATES = (
    "This data set has no hand-written templates of its own (for prompts=coop: none of CoOp's). Give some:"
    " prompts=templates 'prompts.templates=[\"a photo of a {}.\"]', or, for prompts=ensemble or zpe,"
    " dataset.texts.templates=openai_imagenet_80."
)
NO_DESCRIPTIONS = (
    "This data set has no descriptions of its own. Give a CuPL file: prompts=file prompts.path=FILE, or"
    " dataset.texts.cupl=FILE; or let a language model write some: 'cupl-bench describe'."
)
NO_CONCEPT = (
    "This data set has no word for what all its classes are, such as bird. Give one: dataset.texts.concept=WORD."
)


def _filled(templates: str | Sequence[str], class_names: Sequence[str]) -> list[list[str]]:
    read = read_templates(templates)
    return [[fill(template, name) for template in read] for name in class_names]


@dataclass(frozen=True, kw_only=True)
class TemplatesStrategy:
    """Fills each template with each class name: one template is the simple prompt, many are an ensemble.

    ``templates``: a list, a path to a JSON list, or the name of a list that open_clip carries.
    """

    templates: str | list[str] | None
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        if self.templates is None:
            raise PromptsError(NO_TEMPLATES)
        rows = _filled(self.templates, class_names)
        return Prompts(texts=tuple(tuple(row) for row in rows), aggregation=self.aggregation, parallel=True)


@dataclass(frozen=True, kw_only=True)
class WeightedTemplatesStrategy:
    """ZPE: templates weighed by how sure the model is with each of them of the images, whose labels it does not see.

    Not zero-shot in the strict sense: the weights come from the images that are then classified. Similarities are
    averaged with the weights, as the paper does (aggregation ``mean_similarity``).

    Source: Allingham et al., arXiv 2302.06235; the arithmetic is `cupl_bench.template_weights.zero_shot_weights`.
    """

    templates: str | list[str] | None
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        plain = TemplatesStrategy(templates=self.templates, aggregation=self.aggregation)
        return replace(plain(class_names), weigh_by_images=True)


@dataclass(frozen=True, kw_only=True)
class ConceptStrategy:
    """One sentence per class that says what kind of thing it is: "A photo of a bird: a robin.".

    Source: "Waffling around for Performance" (Roth et al., arXiv 2306.07282), section 3.3;
    `label_before_text` in `replicate_key_runs.sh` of ExplainableML/WaffleCLIP@7a1b8ee.
    """

    concept: str | None
    aggregation: Aggregation

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        opening = with_concept("A photo of a ", self.concept)
        texts = tuple((f"{opening}{name}.",) for name in class_names)
        return Prompts(texts=texts, aggregation=self.aggregation, parallel=True)


def with_concept(opening: str, concept: str | None) -> str:
    """Return ``opening`` followed by the concept of the data set, such as "A photo of a bird: a ".

    >>> with_concept("A photo of a ", "bird")
    'A photo of a bird: a '

    Raises:
        PromptsError: there is no concept.
    """
    if concept is None or not concept.strip():
        raise PromptsError(NO_CONCEPT)
    return f"{opening}{concept}: a "


@dataclass(frozen=True, kw_only=True)
class DescriptionsStrategy:
    """CuPL: the sentences that a language model wrote for each class, read from a file.

    ``path``: a CuPL JSON (class name -> list of sentences), a file or a URL; or ``cupl:NAME``, the paper's own file for
    that data set, of which ``variant`` takes ``base`` or ``full`` (None: full), kept in ``cache_dir``; or
    ``library:NAME``, the descriptions of that data set's classes that come with the package.
    ``templates``: if given, their prompts join the sentences in one mean, as CuPL's "both" does.
    ``aliases``: a JSON file, class name -> name in the file.
    ``extra``: whether entries that belong to no class are an error or ignored.
    ``missing``: whether a class that the file lacks, or holds with an empty list, is an error, or gets the templates
    of ``fill``; the join of the prompts counts those that were filled.
    ``clean``: strip each sentence, drop those without a letter or digit, drop repeats within a class. The published
    strategy has no such step.

    Source: CuPL, `classify_imagenet.py` at commit 719619c.
    """

    path: str | None
    variant: Literal["base", "full"] | None
    cache_dir: str
    templates: str | list[str] | None
    aliases: str | None
    extra: Literal["error", "ignore"]
    clean: bool
    aggregation: Aggregation
    # Older records have neither, and are asked again as they were.
    missing: Literal["error", "templates"] = "error"
    fill: str | list[str] | None = None

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        join, rows = self.sentences(class_names)
        if self.templates is not None:
            filled = _filled(self.templates, class_names)
            rows = [
                [*templated, *(() if label in join.missing else rows[label])] for label, templated in enumerate(filled)
            ]
        return Prompts(
            texts=tuple(tuple(row) for row in rows), aggregation=self.aggregation, join=join.counts, source=join.where
        )

    def sentences(self, class_names: Sequence[str]) -> tuple[Join, list[list[str]]]:
        """Return the sentences of each class by label, templates for missing ones; and how the names were joined."""
        if self.path is None:
            raise PromptsError(NO_DESCRIPTIONS)
        path, aliases, ignore_extra = self.path, read_aliases(self.aliases), self.extra == "ignore"
        official = None
        if self.path.startswith(OFFICIAL):
            official = fetch_official(
                self.path.removeprefix(OFFICIAL), self.variant or "full", Path(self.cache_dir).expanduser()
            )
            path, ignore_extra = str(official.path), ignore_extra or official.subset
            aliases = {name: key for name, key in official.aliases.items() if name in set(class_names)} | aliases
        elif self.variant is not None:
            raise PromptsError(
                f"prompts.variant={self.variant} chooses between the two files of the CuPL paper, but the"
                f" descriptions come from {self.path}. Leave out one of the two."
            )
        elif self.path.startswith(LIBRARY):
            part = library_part(self.path.removeprefix(LIBRARY))
            ignore_extra = ignore_extra or part.subset
            aliases = {name: key for name, key in part.aliases.items() if name in set(class_names)} | aliases
        # Of an official file what is read is what was checked against the published digest.
        checked = path if official is None else f"{path}#sha256={official.sha256}"
        may_be_empty = self.missing == "templates"
        held, digest = read_unchanged(checked, lambda: read_descriptions(path, may_be_empty=may_be_empty))
        if may_be_empty:
            held = {key: row for key, row in held.items() if (_cleaned(row) if self.clean else row)}
        where = official.source if official is not None else file_name(path, digest)
        join = join_by_name(class_names, list(held), path, aliases, ignore_extra=ignore_extra, missing=self.missing)
        join = replace(join, where=where)
        rows = [[] if label in join.missing else list(held[key]) for label, key in enumerate(join.keys)]
        if join.missing:
            if self.fill is None:
                raise PromptsError(
                    f"prompts.missing=templates should fill {len(join.missing)} of {len(rows)} classes, but this data"
                    " set has no templates of its own. Give some: 'prompts.fill=[\"a photo of a {}.\"]'."
                )
            filled = _filled(self.fill, class_names)
            rows = [filled[label] if label in join.missing else row for label, row in enumerate(rows)]
        if self.clean:
            rows = [row if label in join.missing else _cleaned(row) for label, row in enumerate(rows)]
            if empty := [name for name, row in zip(class_names, rows, strict=True) if not row]:
                raise PromptsError(
                    f"{len(empty)} of {len(rows)} classes have no sentence left after prompts.clean=true, first:"
                    f" {first(empty)}."
                )
        return join, rows


@dataclass(frozen=True, kw_only=True)
class ShuffledDescriptionsStrategy:
    """A control: each class gets the sentences of another one, with its own name put in their place.

    What remains above chance is the class name's; what is lost is what the descriptions say. ``seed`` draws the
    permutation, in which no class keeps its sentences.
    """

    descriptions: DescriptionsStrategy
    seed: int

    def __call__(self, class_names: Sequence[str]) -> Prompts:
        join, rows = self.descriptions.sentences(class_names)
        if len(set(join.keys)) < 2:
            raise PromptsError("Descriptions of a single class cannot be shuffled; take two classes or more.")
        donors = _derangement(join.keys, random.Random(self.seed))  # noqa: S311 - not for secrets
        texts = tuple(
            tuple(replace_name(text, class_names[donor], name) for text in rows[donor])
            for name, donor in zip(class_names, donors, strict=True)
        )
        return Prompts(
            texts=texts,
            aggregation=self.descriptions.aggregation,
            join=join.counts,
            source=join.where,
            seed=self.seed,
        )


def _cleaned(sentences: Sequence[str]) -> list[str]:
    stripped = (" ".join(sentence.split()) for sentence in sentences)
    return list(dict.fromkeys(text for text in stripped if any(character.isalnum() for character in text)))


def _derangement(keys: Sequence[str], generator: random.Random) -> list[int]:
    """Return for each class another class, drawn as one cycle, whose sentences are not its own."""
    order = list(range(len(keys)))
    generator.shuffle(order)
    donors = [0] * len(keys)
    for place, label in enumerate(order):
        step = next(candidate for candidate in [*order[place + 1 :], *order[:place]] if keys[candidate] != keys[label])
        donors[label] = step
    return donors


def file_name(path: str, digest: str) -> str:
    """Return how a record names a file of prompts (a URL in full, of a file its name alone), and its sha256."""
    place = path.partition("#sha256=")[0]
    name = place if "://" in place or place.startswith(LIBRARY) else Path(place).name
    return f"{name} sha256:{digest}"


def read_aliases(path: str | None) -> dict[str, str]:
    """Return the name in a file of prompts for each class name in a JSON file of aliases; empty without a file.

    Raises:
        PromptsError: it holds anything else.
    """
    if path is None:
        return {}
    content = read_json(Path(path), "aliases: class name -> name in the prompts file", PromptsError)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content.values()):
        raise PromptsError(f"{path} should map class names to names in the prompts file, all of them text.")
    return content
