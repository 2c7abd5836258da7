"""PerceptionCLIP: the context of an image is guessed first, and the class given the context."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from pydantic import TypeAdapter, ValidationError

from cupl_bench.dataset.names import is_unicode
from cupl_bench.errors import ScorerError, first
from cupl_bench.prompts.sources import fill
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.texts import mean_features
from cupl_bench.scores import image_tiles

__all__ = ["PerceptionClipScorer", "texts_of_contexts"]

Estimate = Literal["with_y", "without_y"]
MAX_ROWS = 2_000_000
"""Classes times contexts: at width 512 their features are 4 GB."""
WHAT = 'descriptions by factor and value: {"quality": {"good": ["a good photo", "a clear photo"], "bad": [...]}, ...}'


@dataclass(frozen=True, kw_only=True)
class PerceptionClipScorer:
    """Guess how likely each context of an image is, then each class in each context; add up over the contexts.

    A context is one value of each factor, such as good quality and dark light. Its texts are the template, ", ", a
    description of each of its values in turn, joined by ", ", and a full stop; an empty description adds nothing. A
    value with several descriptions has a text for each, and so have several values all their combinations; the unit
    mean of the unit features is the class in that context. With f the logit of a class in a context,

    P(context) is by ``estimate``: ``with_y``, the sum over the classes of exp(f / temperature), over that of all
    contexts; ``without_y``, the softmax over contexts of f / temperature of the texts that have the word ``general`` in
    the place of the class name. P(class) is the sum over the contexts of P(context) times the softmax over classes of
    f. All is computed with logarithms, where the authors' code takes exponentials as they are.

    ``contexts``: a JSON file, path or URL: factor -> value -> list of descriptions, in the order in which they stand
    in a text; "" is a description that adds nothing. Values have names for the reader alone. ``template``: what comes
    first, without a full stop; {} stands for the class name. ``temperature``: the authors ran 1, 3, 5 and 10 and showed
    one of them for each data set, so 1 is ours.

    It writes all its texts itself: the prompts of the run count for nothing. There are as many means of texts
    as classes times contexts: 36,000 for ImageNet with the authors' two factors.

    Source: "PerceptionCLIP: Visual Classification by Inferring and Conditioning on Contexts" (An et al.,
    arXiv 2308.01313); umd-huang-lab/perceptionCLIP@2ff3ad3.
    """

    contexts: str
    template: str = "a photo of a {}"
    estimate: Estimate = "with_y"
    general: str = "object"
    temperature: float = 1.0

    constants_from: ClassVar[str] = "umd-huang-lab/perceptionCLIP@2ff3ad3; temperature: ours"
    scores_are: ClassVar[ScoresAre] = "probabilities"

    def __post_init__(self) -> None:
        if "{}" not in self.template or self.template.rstrip().endswith((".", ",")):
            raise ValueError(
                f"template={self.template!r} should have a {{}} for the class name, and no full stop or comma at its"
                " end: descriptions follow"
            )
        if self.estimate not in get_args(Estimate):
            raise ValueError(f"estimate={self.estimate} should be one of {', '.join(get_args(Estimate))}")
        if not self.general.strip():
            raise ValueError("general is blank; it should be a word for any class, such as object")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature={self.temperature} should be above 0")

    @property
    def needs(self) -> Needs:
        """Texts of each class in each context."""
        return Needs(
            uses=("second_texts", "groups"),
            files={"contexts": self.contexts},
            check=_contexts,
            own_prompts=True,
        )

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        contexts = _contexts(inputs.class_names, inputs.files)
        number = {name: place for place, name in enumerate(dict.fromkeys(inputs.class_names))}
        rows = self._features(inputs, list(number), contexts)
        places = torch.tensor([number[name] for name in inputs.class_names], device=inputs.device)
        general = self._features(inputs, [self.general], contexts) if self.estimate == "without_y" else None
        num_contexts, scale = len(contexts), inputs.logit_scale
        for tile in image_tiles(inputs.images, (len(places) + 1) * num_contexts, inputs.device):
            logits = scale * (tile @ rows.T).view(len(tile), len(number), num_contexts)
            logits = logits.index_select(1, places)  # n x c x z
            if general is None:
                of_contexts = torch.logsumexp(logits / self.temperature, dim=1)
            else:
                of_contexts = scale * (tile @ general.T) / self.temperature
            contexts_given_image = torch.log_softmax(of_contexts, dim=1)[:, None]
            yield torch.logsumexp(contexts_given_image + torch.log_softmax(logits, dim=1), dim=2).exp()

    def _features(self, inputs: Inputs, names: Sequence[str], contexts: Sequence[Sequence[str]]) -> torch.Tensor:
        """Return a unit row for each name in each context, the contexts of a name together."""
        texts = ([fill(self.template, name) + end for end in ends] for name in names for ends in contexts)
        return torch.from_numpy(mean_features(inputs.encode, texts)).to(inputs.device)


def texts_of_contexts(factors: Mapping[str, Mapping[str, Sequence[str]]]) -> list[list[str]]:
    """Return for each context the ends of its texts, from the descriptions of each value of each factor.

    >>> texts_of_contexts({"quality": {"good": ["good", "clear"]}, "place": {"any": [""], "sea": ["at sea"]}})
    [[', good.', ', clear.'], [', good, at sea.', ', clear, at sea.']]
    """
    return [
        ["".join(f", {one}" for one in chosen if one) + "." for chosen in itertools.product(*context)]
        for context in itertools.product(*(values.values() for values in factors.values()))
    ]


def _contexts(class_names: Sequence[str], files: Mapping[str, object]) -> list[list[str]]:
    """Return for each context the ends of its texts.

    Raises:
        ScorerError: the file holds anything but descriptions by factor and value, or more contexts than can be held.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(dict[str, dict[str, list[str]]])
    try:
        factors = adapter.validate_python(files["contexts"])
    except ValidationError as error:
        problem = error.errors()[0]
        where = " of ".join(repr(part) for part in reversed(problem["loc"]))
        raise ScorerError(
            f"scorer.contexts names a file of another form (in {where or 'all of it'}: {problem['msg'].lower()}). It"
            f" should hold {WHAT}."
        ) from error
    if not factors:
        raise ScorerError(f"scorer.contexts names a file without a factor. It should hold {WHAT}.")
    if lacking := [name for name, values in factors.items() if not values or not all(values.values())]:
        raise ScorerError(
            f"scorer.contexts: {len(lacking)} of {len(factors)} factors have no value, or a value without a"
            f" description, first: {first(lacking, 3)}. The file should hold {WHAT};"
            ' the description "" adds nothing to a text.'
        )
    texts = [text for values in factors.values() for row in values.values() for text in row]
    if odd := [text for text in texts if not is_unicode(text) or text != text.strip()]:
        raise ScorerError(
            f"scorer.contexts: {len(odd)} of {len(texts)} descriptions begin or end with white space, or are no"
            f" Unicode, first: {first(odd, 3)}."
        )
    if (rows := len(class_names) * math.prod(map(len, factors.values()))) > MAX_ROWS:
        sizes = " x ".join(f"{len(values)} {name}" for name, values in factors.items())
        raise ScorerError(
            f"scorer.contexts: {sizes} make {rows:,} means of texts for {len(class_names):,} classes, and"
            f" {MAX_ROWS:,} are what memory should hold. Take fewer factors, or fewer values: the authors take"
            " two to four factors."
        )
    return texts_of_contexts(factors)
