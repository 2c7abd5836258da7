"""Hierarchy-CLIP: images on which prompts disagree are asked again, with the kinds of each class and what it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict

from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.texts import Text, encoded, files_of, joined
from cupl_bench.scores import image_tiles, similarity_to

__all__ = ["HierarchyScorer"]


class _Place(BaseModel):
    """Where a class stands in a tree of words."""

    model_config = ConfigDict(extra="forbid")

    children: list[Text] = []
    parents: list[Text] = []


@dataclass(frozen=True, kw_only=True)
class HierarchyScorer:
    """Keep the answer of the class names alone where prompts agree with it; elsewhere compare the kinds of its rivals.

    An image is stable if four classifiers give it the same class: the class name alone, the prompts of the run, the
    first half of them, and the second (of an odd number it has one more; a single prompt is both halves). The scores of
    a stable image are the similarities to the class names. An unstable image chooses among the ``k`` classes whose
    names are likeliest: the score of a class is the highest similarity to a text of its words, which are its own name
    and its first ``max_children`` children. The text of a word is the word, ``between``, and the parents of the class,
    joined by ", ". All other classes are out, and ``confidence`` is among the compared ones alone. Classes as likely as
    the last of the ``k`` are compared too. prompts=ensemble is the authors' way, with the 80 templates.

    ``hierarchy``: a JSON file, path or URL: class name -> {"children": [...], "parents": [...]}, both maybe empty: the
    words for its kinds, and for what it is a kind of. The authors take the first synonym of each child in WordNet and
    all synonyms of the parent. ``aliases``: a JSON file: class name -> name in that file. ``between``: the released
    code has no blank before the parents; " which is a kind of " is what it means.

    The gate is the one of the authors that looks at a single image; their other one takes a number of images from the
    whole set. That means of templates are scaled to length one, as ours are, is assumed.

    Source: "Improving Zero-shot Generalization and Robustness of Multi-modal Models" (Ge et al., arXiv 2212.01758);
    the notebook of gyhandy/Hierarchy-CLIP@40bc9ea.
    """

    hierarchy: str
    aliases: str | None = None
    k: int = 5
    max_children: int = 10
    between: str = " which is a kind of"

    constants_from: ClassVar[str] = "gyhandy/Hierarchy-CLIP@40bc9ea"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} should be 1 or more")
        if self.max_children < 0:
            raise ValueError(f"max_children={self.max_children} should be 0 or more")

    @property
    def needs(self) -> Needs:
        """The features of each template's prompts, and texts of the words around each class."""
        return Needs(
            uses=("second_texts", "groups"),
            prompts=True,
            parallel=True,
            files=files_of(hierarchy=self.hierarchy, aliases=self.aliases),
            check=_places,
        )

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        assert inputs.prompts is not None  # noqa: S101 - asked for
        half = max(len(inputs.rows_of_class[0]) // 2, 1)
        halves = ([row[:half] for row in inputs.rows_of_class], [row[half:] or row for row in inputs.rows_of_class])
        of_halves = [build_class_embeddings(inputs.prompts, rows, inputs.classes.aggregation) for rows in halves]
        names = build_class_embeddings(*encoded(inputs.encode, [[name] for name in inputs.class_names]))
        words = build_class_embeddings(*encoded(inputs.encode, self._texts(inputs)), Aggregation.MAX_SIMILARITY)
        to_names, to_words = (similarity_to(classes, inputs.device) for classes in (names, words))
        others = [similarity_to(classes, inputs.device) for classes in (inputs.classes, *of_halves)]
        widest = max(one.num_columns for one in (names, words, inputs.classes, *of_halves))
        for tile in image_tiles(inputs.images, widest, inputs.device):
            scores = to_names(tile)
            answers = scores.argmax(dim=1)
            stable = torch.stack([one(tile).argmax(dim=1) == answers for one in others]).all(dim=0)
            likely = scores[~stable]
            last = likely.topk(min(self.k, likely.shape[1]), dim=1).values[:, -1:]
            scores[~stable] = to_words(tile[~stable]).where(likely >= last, -torch.inf)
            yield scores

    def _texts(self, inputs: Inputs) -> list[list[str]]:
        """Return the texts of each class: of its own name and of its children."""
        return [
            [f"{word}{self.between}{', '.join(place.parents)}" for word in (name, *place.children[: self.max_children])]
            for name, place in zip(inputs.class_names, _places(inputs.class_names, inputs.files), strict=True)
        ]


def _places(class_names: Sequence[str], files: Mapping[str, object]) -> list[_Place]:
    what = 'children and parents of each class: {"robin": {"children": ["redbreast"], "parents": ["thrush"]}, ...}'
    return joined(class_names, files, "hierarchy", _Place, what)
