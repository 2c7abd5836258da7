"""What is known of a scorer before it scores: its parameters, its files, and whether it gets what it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError, PromptsNotHereError, ScorerError
from cupl_bench.identity import content_key
from cupl_bench.prompts import Prompts
from cupl_bench.prompts.files import content_of, read_unchanged
from cupl_bench.scorers import Needs, Scorer
from cupl_bench.scorers.plain import PlainScorer

__all__ = ["ScorerFacts", "check_fit", "check_plain", "facts_of"]


@dataclass(frozen=True, kw_only=True)
class ScorerFacts:
    """A scorer with its files.

    ``parameters``: plain data, without the files. ``files``: their content by parameter. ``digests``: the sha256 of
    each.
    """

    name: str
    scorer: Scorer
    needs: Needs = field(default_factory=Needs)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, object] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether this is the scorer of every question that was asked before there was another."""
        return isinstance(self.scorer, PlainScorer)

    @property
    def key(self) -> str | None:
        """What enters the run key; None for the plain scorer, whose questions keep the keys that they had."""
        if self.is_plain:
            return None
        kind = type(self.scorer)
        # Our own classes may move between modules; those of users are told apart by theirs.
        is_ours = kind.__module__.startswith("cupl_bench.")
        return content_key(
            {
                "name": self.name,
                "class": kind.__qualname__ if is_ours else f"{kind.__module__}.{kind.__qualname__}",
                "version": getattr(self.scorer, "version", 1),
                "parameters": self.parameters,
                "files": self.digests,
            }
        )

    @property
    def constants_from(self) -> str:
        """Where the values of the parameters come from, and which of them were chosen otherwise."""
        own = {one.name: one.default for one in fields(self.scorer) if one.default is not MISSING}  # type: ignore[arg-type]
        changed = [name for name, default in own.items() if name != "seed" and getattr(self.scorer, name) != default]
        return self.scorer.constants_from + (f"; chosen here: {', '.join(changed)}" if changed else "")

    @property
    def told(self) -> dict[str, Any]:
        """The parameters as a record has them: a file by its sha256."""
        return {**self.parameters, **{name: {"sha256": digest} for name, digest in self.digests.items()}}


def facts_of(name: str, scorer: Scorer) -> ScorerFacts:
    """Return a scorer with the files that it reads.

    Raises:
        ScorerError: it is none, or a file cannot be had.
        PromptsNotHereError: a file would be downloaded, inside of `no_downloads`.
    """
    if not isinstance(scorer, Scorer):
        raise ScorerError(
            f"{type(scorer).__name__} is not a scorer: it needs `constants_from`, `scores_are`, `needs` and a call that"
            " yields scores (cupl_bench.scorers.Scorer)."
        )
    if not is_dataclass(scorer):
        raise ScorerError(f"{type(scorer).__name__} is no dataclass: its fields are its parameters in the run key.")
    if isinstance(scorer, PlainScorer):
        return ScorerFacts(name=name, scorer=scorer)
    needs = scorer.needs
    files, digests = {}, {}
    for parameter, source in needs.files.items():
        what = f"what scorer={name} reads there (docs/scorers.md)"

        def read(source: str = source, what: str = what) -> object:
            return content_of(source, what)

        try:
            files[parameter], digests[parameter] = read_unchanged(source, read)
        except PromptsNotHereError:
            raise
        except PromptsError as error:
            raise ScorerError(f"scorer.{parameter}: {error}") from error
    asked = TypeAdapter(type(scorer)).dump_python(scorer, mode="json")
    return ScorerFacts(
        name=name,
        scorer=scorer,
        needs=needs,
        parameters={key: value for key, value in asked.items() if key not in files},
        files=files,
        digests=digests,
    )


def check_fit(
    facts: ScorerFacts, prompts: Prompts, class_names: Sequence[str], *, has_images: bool, has_text_tower: bool
) -> None:
    """Check that a scorer gets what it needs, before anything is encoded.

    Raises:
        ScorerError: it does not.
    """
    needs, name = facts.needs, facts.name
    if needs.own_prompts and not (prompts.parallel and prompts.num_prompts == len(class_names)):
        raise ScorerError(
            f"scorer={name} writes all its texts itself, so these {prompts.num_prompts:,} prompts would count for"
            " nothing, and its number would be read as theirs. Take prompts=simple."
        )
    if needs.parallel and not prompts.parallel:
        raise ScorerError(
            f"scorer={name} takes templates, which are the same in every class but for the class name, and these"
            " prompts are not: sentences of a language model differ from class to class. Take prompts made of templates"
            " (simple, ensemble, waffle, ...), or another scorer."
        )
    if needs.parallel and (prompts.weights is not None or prompts.weigh_by_images):
        raise ScorerError(f"scorer={name} takes prompts that all weigh the same, and these prompts have weights.")
    if needs.one_vector and prompts.aggregation == Aggregation.MAX_SIMILARITY:
        raise ScorerError(
            f"scorer={name} compares images with one vector of each class, and aggregation=max_similarity has none:"
            " take prompts.aggregation=mean."
        )
    if needs.views is not None and not has_images:
        raise ScorerError(
            f"scorer={name} looks at crops of the images, and here their features are given: it needs the images"
            " themselves."
        )
    if "second_texts" in needs.uses and not has_text_tower:
        raise ScorerError(
            f"scorer={name} encodes texts of its own, and this backbone is only a name: take the backbone itself."
        )
    if needs.check is not None:
        needs.check(class_names, facts.files)


def check_plain(name: str, scorer: Scorer, command: str) -> None:
    """Check that a command which knows the plain scorer alone is asked for no other.

    Raises:
        ScorerError: it is.
    """
    if not isinstance(scorer, PlainScorer):
        raise ScorerError(
            f"scorer={name}: 'cupl-bench {command}' measures plain similarities alone, and its numbers would be read as"
            " this scorer's. Leave scorer out."
        )
