"""The questions of a sweep as objects, made of parts that they share: each part is read, checked and built once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cupl_bench.composition import Composer, Source
from cupl_bench.config import machine_of, question_of
from cupl_bench.question import GROUPS, QuestionRecord
from cupl_bench.run.asking import Machine, Question

__all__ = ["SharedQuestions"]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset_name", "dataset", "skip_broken", "decode", "primary"),
    "backbone": ("backbone_name", "backbone", "precision"),
    "prompts": ("prompts_name", "prompts"),
    "scorer": ("scorer_name", "scorer"),
}
"""The fields of a question that each of its parts decides."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset", "decode", "skip_broken", "primary"),
    "backbone": ("backbone", "precision"),
    "prompts": ("prompts", "budget", "seed"),
    "scorer": ("scorer",),
}
"""The same of its words."""


@dataclass
class SharedQuestions:
    """Makes the questions of a sweep.

    To compose a question and to build its objects takes 8 ms, for 24,000 questions three minutes. Each data set, each
    backbone, each strategy of a data set and each scorer is taken from the first question that has it, whole and
    checked; a question that has nothing new is put together of these.
    """

    composer: Composer
    _made: dict[tuple[str, Source], tuple[Question, Machine]] = field(default_factory=dict, repr=False)

    def __call__(self, overrides: Sequence[str]) -> tuple[Question, Machine]:
        """Return the question that ``overrides`` ask, and where it runs.

        Raises:
            ConfigError: a value is missing, of the wrong type or out of range.
        """
        parts = self._parts(overrides)
        if len(parts) == len(GROUPS) + 1:
            return _together(parts)
        config: Any = self.composer(overrides)
        found = question_of(config), machine_of(config)
        for source in (self.composer.sources(overrides) or {}).items():
            self._made.setdefault(source, found)
        return found

    def _parts(self, overrides: Sequence[str]) -> dict[str, tuple[Question, Machine]]:
        """Return questions that were made before, by the part that this question shares with each."""
        sources = self.composer.sources(overrides) or {}
        return {source[0]: self._made[source] for source in sources.items() if source in self._made}


def _together(parts: Mapping[str, tuple[Question, Machine]]) -> tuple[Question, Machine]:
    """Return the question that has each part of another one, and its words."""
    fields = {name: getattr(parts[group][0], name) for group in GROUPS for name in FIELDS[group]}
    words = {name: getattr(parts[group][0].config, name) for group in GROUPS for name in WORDS[group]}
    question = Question(**fields, config=QuestionRecord.model_validate({"version": 2, **words}))
    return question, parts[""][1]
