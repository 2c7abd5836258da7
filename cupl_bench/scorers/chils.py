"""CHiLS: a class is found through the best of its sub-classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

import torch
from pydantic import Field

from cupl_bench.prompts.sources import fill
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.texts import Text, files_of, joined, mean_features, templates_of
from cupl_bench.scores import image_tiles, similarity_to

__all__ = ["ChilsScorer"]

Reweigh = Literal["normal", "hat", "supagg", "no_reweighting"]


@dataclass(frozen=True, kw_only=True)
class ChilsScorer:
    """Compare an image with kinds of each class, and give the class of the kind that fits best.

    With q the softmax of the image's logits over all sub-classes of all classes, and r that over the classes, the
    score of a class is, by ``reweigh``:

    ``normal``: the highest q of its sub-classes times its r. ``hat``: the highest q of its sub-classes times the sum of
    their q. ``supagg``: the sum of the q of its sub-classes times its r. ``no_reweighting``: the highest q of its
    sub-classes.

    ``label_sets``: a JSON file, path or URL: class name -> list of sub-classes, which are taken as they stand; the
    class itself is one only where the file says so, as the authors' files do. A sub-class that stands twice counts
    twice in a sum. ``aliases``: a JSON file: class name -> name in that file. ``templates``: what sub-classes are
    filled into: a list, a JSON file or a name. Classes are compared by the prompts of the run: prompts=ensemble has the
    same templates.

    The values are the logarithm of the score over the model's logit scale, less a number that is the same for all
    classes of an image. So nothing underflows, and ``confidence`` is the score over the sum of the scores of all
    classes. For ``normal`` they are the highest sum of two cosine similarities, of the image to the sub-class and to
    its class.

    Source: "CHiLS: Zero-Shot Image Classification with Hierarchical Label Sets" (Novack et al., arXiv 2302.02551);
    `src/zshot_utils.py` of acmi-lab/CHILS@c90ce90. It is compared by class, and there by sub-class, which is the same:
    of equal sub-classes the class that comes first wins.
    """

    label_sets: str
    aliases: str | None = None
    templates: str | list[str] | None
    reweigh: Reweigh = "normal"

    constants_from: ClassVar[str] = "acmi-lab/CHILS@c90ce90"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if self.reweigh not in get_args(Reweigh):
            raise ValueError(f"reweigh={self.reweigh} should be one of {', '.join(get_args(Reweigh))}")

    @property
    def needs(self) -> Needs:
        """Sub-classes of each class, and their texts."""
        is_file = isinstance(self.templates, str) and self.templates.endswith(".json")
        templates = str(self.templates) if is_file else None
        return Needs(
            uses=("second_texts", "groups"),
            files=files_of(label_sets=self.label_sets, aliases=self.aliases, templates=templates),
            check=self._read,
        )

    def _read(self, class_names: Sequence[str], files: Mapping[str, object]) -> tuple[list[str], list[list[str]]]:
        """Return the templates, and the sub-classes of each class."""
        what = 'sub-classes of each class: {"robin": ["robin", "American robin"], ...}'
        return templates_of(self.templates, files), joined(
            class_names, files, "label_sets", Annotated[list[Text], Field(min_length=1)], what
        )

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        templates, sets = self._read(inputs.class_names, inputs.files)
        number = {name: place for place, name in enumerate(dict.fromkeys(name for row in sets for name in row))}
        texts = ([fill(template, name) for template in templates] for name in number)
        subs = torch.from_numpy(mean_features(inputs.encode, texts)).to(inputs.device)
        places = torch.tensor([number[name] for row in sets for name in row], device=inputs.device)
        owner = torch.tensor([label for label, row in enumerate(sets) for _ in row], device=inputs.device)
        to_classes, scale = similarity_to(inputs.classes, inputs.device), inputs.logit_scale
        for tile in image_tiles(inputs.images, len(owner) + inputs.classes.num_columns, inputs.device):
            # Each distinct sub-class is multiplied once, so that equal ones are equal to the last bit.
            of_subs = (tile @ subs.T).index_select(1, places)
            of_classes = to_classes(tile)
            groups = owner.expand(len(tile), -1)
            best = torch.full_like(of_classes, -torch.inf).scatter_reduce(1, groups, of_subs, "amax")
            if self.reweigh == "normal":
                yield best + of_classes
            elif self.reweigh == "no_reweighting":
                yield best
            else:
                above = (scale * (of_subs - best.gather(1, groups))).exp()
                total = best + torch.zeros_like(best).scatter_add(1, groups, above).log() / scale
                yield total + (best if self.reweigh == "hat" else of_classes)
