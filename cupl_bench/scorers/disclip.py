"""The evaluation of DisCLIP: the class name stands in the prompts alone, beside descriptions that do not have it."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from cupl_bench.embeddings import Aggregation, build_class_embeddings
from cupl_bench.errors import ScorerError, first
from cupl_bench.prompts.sources import replace_name
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.texts import Text, encoded, files_of, joined
from cupl_bench.scores import image_tiles, similarity_to

__all__ = ["DisclipScorer"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DisclipScorer:
    """Add the similarity to descriptions without class names to that of the prompts, which have the name.

    The score of a class is ``name_weight`` times its similarity by the prompts of the run, plus the mean similarity to
    its descriptions, all over ``name_weight`` + 1: so it shows what descriptions add to a name that stands in one text.
    prompts=simple is the authors' way. With ``k`` the k likeliest classes by the prompts are compared, and others are
    out; classes as likely as the last of them are compared too.

    ``descriptions``: a JSON file, path or URL: class name -> list of descriptions, each of which counts once; or the
    form of the authors' files, ``index_to_descriptions`` and ``index_to_classname``. ``aliases``: a JSON file: class
    name -> name in that file. ``name_weight``: the authors draw a curve over 0, 0.25, ..., 39.75 and choose none, so 1
    is ours. ``k``: the authors compare 3 where they select descriptions for each image.

    That selection is not here: it looks at labelled images. It makes no number of DisCLIP's own, but those of the
    descriptions that it starts from, which the authors compare with.

    Source: "Does VLM Classification Benefit from LLM Description Semantics?" (Ma, Rietdorf et al., arXiv 2412.11917);
    `method.py` of CompVis/DisCLIP@cdba1ba.
    """

    descriptions: str
    aliases: str | None = None
    name_weight: float = 1.0
    k: int | None = None

    constants_from: ClassVar[str] = "CompVis/DisCLIP@cdba1ba; name_weight: ours"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.name_weight) and self.name_weight >= 0):
            raise ValueError(f"name_weight={self.name_weight} should be 0 or more")
        if self.k is not None and self.k < 1:
            raise ValueError(f"k={self.k} should be 1 or more, or null for all classes")

    @property
    def needs(self) -> Needs:
        """Descriptions of each class."""
        return Needs(
            uses=("second_texts",),
            files=files_of(descriptions=self.descriptions, aliases=self.aliases),
            check=_check,
        )

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        texts = _descriptions(inputs.class_names, inputs.files)
        described = build_class_embeddings(*encoded(inputs.encode, texts), Aggregation.MEAN_SIMILARITY)
        to_names, to_described = (similarity_to(one, inputs.device) for one in (inputs.classes, described))
        share = self.name_weight / (self.name_weight + 1)
        for tile in image_tiles(inputs.images, inputs.classes.num_columns, inputs.device):
            of_names = to_names(tile)
            scores = share * of_names + (1 - share) * to_described(tile)
            if self.k is not None:
                last = of_names.topk(min(self.k, of_names.shape[1]), dim=1).values[:, -1:]
                scores = scores.where(of_names >= last, -torch.inf)
            yield scores


def _descriptions(class_names: Sequence[str], files: Mapping[str, object]) -> list[list[str]]:
    """Return the different descriptions of each class."""
    content = files["descriptions"]
    if isinstance(content, dict) and "index_to_descriptions" in content:
        content = _by_name(content["index_to_descriptions"], content.get("index_to_classname"))
    what = 'descriptions of each class: {"robin": ["a red breast", ...], ...}'
    rows = joined(
        class_names,
        {**files, "descriptions": content},
        "descriptions",
        Annotated[list[Text], Field(min_length=1)],
        what,
    )
    return [list(dict.fromkeys(row)) for row in rows]


def _by_name(descriptions: object, names: object) -> dict[str, object]:
    """Return the content of an authors' file by class name.

    Raises:
        ScorerError: a name is lacking, or stands twice.
    """
    if isinstance(descriptions, dict) and isinstance(names, dict):
        found = {str(names[index]): row for index, row in descriptions.items() if index in names}
        if len(found) == len(descriptions):
            return found
    raise ScorerError(
        "scorer.descriptions: index_to_descriptions and index_to_classname of the file do not belong together: each"
        " index should have a name of its own."
    )


def _check(class_names: Sequence[str], files: Mapping[str, object]) -> None:
    """Check the descriptions, and warn of those that name their class."""
    rows = _descriptions(class_names, files)
    naming = [
        text
        for worded, row in zip((name.replace("_", " ") for name in class_names), rows, strict=True)
        for text in row
        if replace_name(text, worded, "") != text
    ]
    if naming:
        log.warning(
            "scorer    %s of %s descriptions have the name of their class, first: %s; the score is to show what"
            " descriptions without it add",
            f"{len(naming):,}", f"{sum(map(len, rows)):,}", first(naming, 2),
        )  # fmt: skip
