"""Inspect prompts without a model: counts, repeats, and what looks wrong.

Source of the counts' definitions: each is the column of the same meaning in published counts of CuPL's files, so that
both can be compared.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np

from cupl_bench.dataset.names import normalised
from cupl_bench.errors import short

__all__ = ["FAULTS", "LABEL_KEY", "Inspection", "inspect_prompts", "marks_of"]

FRAGMENT_WORDS = 3
"""A prompt of at most so many words is taken for a fragment."""

TWINS = 0.9
"""Two classes are near-identical if they share at least this part of all their distinct prompts."""

LABEL_KEY = re.compile(r" \[\d+\]$")
"""The ending of a key in a prompts file for a class whose name repeats: its label."""

FAULTS = {
    "blank": "hold no letter or digit",
    "fragments": f"have at most {FRAGMENT_WORDS} words",
    "unnamed": "do not name their class",
    "truncated": "are longer than the context",
    "repeats_within": "repeat another of their class",
    "repeats_across": "stand in more than one class",
    "twins": "pairs of classes are nearly identical",
}
"""The faults that `--strict` refuses: the name of the count, and its message."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Counts over all prompts, repeats included; `first_cases` shows some of each fault.

    ``repeats_within``: prompts minus distinct prompts, summed over classes. ``repeats_across``: distinct prompts that
    stand in more than one class. ``tokens``: mean and percentiles with the tokens of start and end,
    uncut. ``twins``: pairs of classes.
    """

    num_classes: int
    per_class: tuple[int, int]
    num_prompts: int
    num_distinct: int
    repeats_within: int
    repeats_across: int
    blank: int
    leading_space: int
    with_newline: int
    fragments: int
    unnamed: int
    truncated: int
    twins: int
    tokens: Mapping[str, float]
    context_length: int
    first_cases: Mapping[str, Sequence[str]]

    def as_json(self) -> dict[str, object]:
        """Return everything as plain data."""
        return asdict(self)

    def faults(self) -> dict[str, int]:
        """Return the counts of `FAULTS` that are not zero."""
        return {name: count for name in FAULTS if (count := int(getattr(self, name)))}


def inspect_prompts(
    class_names: Sequence[str],
    texts: Sequence[Sequence[str]],
    lengths: Mapping[str, int],
    context_length: int,
    cases: int = 3,
) -> Inspection:
    """Return the findings about the prompts of all classes.

    Args:
        class_names: in label order.
        texts: the prompts of each class.
        lengths: tokens of each distinct prompt, those of start and end included, uncut.
        context_length: how many tokens a text tower reads.
        cases: how many of each fault are shown.
    """
    classes_of: dict[str, list[int]] = {}
    for label, row in enumerate(texts):
        for text in dict.fromkeys(row):
            classes_of.setdefault(text, []).append(label)
    every = [(label, text) for label, row in enumerate(texts) for text in row]
    wrong: dict[str, list[tuple[int, str]]] = {
        name: [(label, text) for label, text in every if name in _marks(class_names[label], text)]
        for name in ("blank", "fragments", "unnamed")
    }
    wrong["truncated"] = [(label, text) for label, text in every if lengths[text] > context_length]
    wrong["repeats_within"] = [
        (label, text) for label, row in enumerate(texts) for text, count in Counter(row).items() if count > 1
    ]
    wrong["repeats_across"] = [(labels[0], text) for text, labels in classes_of.items() if len(labels) > 1]
    twins = _twins(texts, classes_of)
    tokens = np.array([lengths[text] for _, text in every])
    percentiles = {f"p{share}": float(np.percentile(tokens, share)) for share in (50, 95, 99)}
    sizes = [len(row) for row in texts]
    return Inspection(
        num_classes=len(texts),
        per_class=(min(sizes), max(sizes)),
        num_prompts=len(every),
        num_distinct=len(classes_of),
        repeats_within=sum(len(row) - len(set(row)) for row in texts),
        repeats_across=len(wrong["repeats_across"]),
        blank=len(wrong["blank"]),
        leading_space=sum(text != text.lstrip() for _, text in every),
        with_newline=sum("\n" in text for _, text in every),
        fragments=len(wrong["fragments"]),
        unnamed=len(wrong["unnamed"]),
        truncated=len(wrong["truncated"]),
        twins=len(twins),
        tokens={"mean": float(tokens.mean()), **percentiles, "max": float(tokens.max())},
        context_length=context_length,
        first_cases={
            **{
                name: [f"{class_names[label]}: {short(text, 100)!r}" for label, text in found[:cases]]
                for name, found in wrong.items()
                if found
            },
            **(
                {"twins": [f"{class_names[one]} ({one}) and {class_names[two]} ({two})" for one, two in twins[:cases]]}
                if twins
                else {}
            ),
        },
    )


def marks_of(class_name: str, row: Sequence[str], text: str, elsewhere: int) -> list[str]:
    """Return the remarks on one prompt of a class, in words; ``elsewhere``: how many other classes have it too."""
    words = {"blank": "blank", "fragments": "fragment", "unnamed": "does not name the class"}
    marks = [words[mark] for mark in _marks(class_name, text)]
    if (count := row.count(text)) > 1:
        marks.append(f"{count} times")
    if elsewhere:
        marks.append(f"also in {elsewhere} other classes")
    return marks


def _marks(class_name: str, text: str) -> list[str]:
    marks = []
    if not any(character.isalnum() for character in text):
        marks.append("blank")
    if len(text.split()) <= FRAGMENT_WORDS:
        marks.append("fragments")
    name = normalised(LABEL_KEY.sub("", class_name))
    if name and name not in normalised(text):
        marks.append("unnamed")
    return marks


def _twins(texts: Sequence[Sequence[str]], classes_of: Mapping[str, Sequence[int]]) -> list[tuple[int, int]]:
    """Return the pairs of classes whose distinct prompts are nearly the same."""
    shared: Counter[tuple[int, int]] = Counter()
    for labels in classes_of.values():
        # A prompt of very many classes (a constant one) tells no pair from another; rows that are equal still meet.
        shared.update(combinations(labels[:50], 2))
    size = [len(set(row)) for row in texts]
    return sorted((one, two) for (one, two), both in shared.items() if both >= TWINS * (size[one] + size[two] - both))
