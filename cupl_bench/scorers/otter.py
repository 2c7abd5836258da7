"""OTTER: each class gets its share of the images, and each image the class that costs the least over all of them."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float32, Float64

from cupl_bench.dataset.names import normalised
from cupl_bench.errors import PromptsError, ScorerError, first
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.balance import balanced, blocks, shares_of
from cupl_bench.scorers.neighbours import Distinct, distinct, spread

__all__ = ["OtterScorer", "given_shares"]

WORDS = ("uniform", "estimated")
ROUNDING = 1e-3
"""How far the shares of a file may be from one in all; they are then divided by their sum."""
NOTHING = 1e-9
"""A share of an image below this is what the solver's rounding leaves."""
MOST_STEPS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class OtterScorer:
    """Assign all images together, so that each class gets its share of them and the similarities are the largest.

    ``prior``: ``uniform``, all classes the same; ``estimated``, the mean over all images of the softmax of their
    similarities at the model's own temperature; or a JSON file, class -> share, which sum to one. The authors' main
    results take the shares of the true labels; such a file uses labels, which nothing here can see.
    ``temperature``: null for the plan that is exact, by network simplex. A number for the entropic plan (Sinkhorn),
    which is another method with other numbers, and takes little where the exact plan takes hours. ``rounds``: of the
    entropic plan alone.

    A score is the share of an image that the plan gives to a class. In the exact plan all but a few images go wholly
    to one class, and the other classes are not considered: there is no top-5. Equal images go the same way, and so do
    equal classes: they share what they get. A plan does not change if every similarity of an image is raised by the
    same, so no softmax is taken first, as the authors' code does; that adds 1e-9 to the probabilities, which is left
    out.

    Memory of the exact plan: some 50 bytes for each image and class. Time: seconds for 2,000 images and 1,000 classes,
    and more than in proportion beyond.

    Source: "OTTER: Effortless Label Distribution Adaptation of Zero-shot Models" (Shin et al., arXiv 2404.08461), with
    the formula of SprocketLab/OTTER@6688ae5. Library: POT (Flamary et al., JMLR 22(78), 2021).

    Raises:
        ScorerError: the file of shares is malformed, or does not join the classes.
    """

    prior: str = "uniform"
    temperature: float | None = None
    rounds: int = 100

    constants_from: ClassVar[str] = "SprocketLab/OTTER@6688ae5; uniform and estimated shares and the entropic plan ours"

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature} should be above 0, or null for the exact plan")
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds} should be at least 1")

    @property
    def scores_are(self) -> ScoresAre:
        """Shares of an exact plan, or probabilities of an entropic one."""
        return "scores" if self.temperature is None else "probabilities"

    @property
    def needs(self) -> Needs:
        """All images, one vector of each class, and their shares unless they are estimated."""
        return Needs(
            uses=("other_images",) if self.prior == "estimated" else ("other_images", "label_prior"),
            one_vector=True,
            files={} if self.prior in WORDS else {"prior": self.prior},
        )

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        images, texts = distinct(inputs.images), distinct(inputs.classes.matrix)
        rows, to = (torch.from_numpy(one.rows).to(inputs.device) for one in (images, texts))
        similarity = torch.empty((len(rows), len(to)), device=inputs.device)
        for block in blocks(*similarity.shape):
            similarity[block] = rows[block] @ to.T
        shares = self._shares(inputs, similarity, images, texts)
        if self.temperature is None:
            found = _exact(similarity.cpu().numpy(), shares, images, texts)
        else:
            found = self._entropic(similarity, shares, images, texts)
        yield from spread(found, images, texts, inputs.device)

    def _shares(self, inputs: Inputs, similarity: torch.Tensor, images: Distinct, texts: Distinct) -> np.ndarray:
        """Return the share of all images that all copies of each distinct class get; they sum to one."""
        if self.prior == "uniform":
            found = texts.copies
        elif self.prior == "estimated":
            found = np.zeros(len(texts))
            of_class = torch.from_numpy(texts.copies).to(similarity.device)
            copies = torch.from_numpy(images.copies).to(similarity.device)
            for block in blocks(*similarity.shape):
                each = shares_of(inputs.logit_scale * similarity[block].double(), of_class)
                found += (copies[block, None] * each).sum(dim=0).cpu().numpy()
            found = found * texts.copies
        else:
            given = given_shares(inputs.files["prior"], inputs.class_names, self.prior)
            found = np.bincount(texts.place, weights=given, minlength=len(texts))
        shares: np.ndarray = found / found.sum()
        return shares

    def _entropic(self, similarity: torch.Tensor, shares: np.ndarray, images: Distinct, texts: Distinct) -> np.ndarray:
        """Return the share of one copy of each image that one copy of each class gets, m x c."""
        assert self.temperature is not None  # noqa: S101 - or the plan is exact
        logits = similarity.div_(self.temperature)
        images_, classes, wanted = (
            torch.from_numpy(one).to(logits.device) for one in (images.copies, texts.copies, shares)
        )
        of_classes, of_images = balanced(logits, wanted, images_, classes, self.rounds)
        for block in blocks(*logits.shape):
            logits[block] = (logits[block].double() + of_images[block, None] + of_classes).exp().float()
        found: np.ndarray = logits.cpu().numpy()
        return found


def given_shares(content: object, class_names: Sequence[str], where: str) -> Float64[np.ndarray, " c"]:
    """Return the shares that a file gives to the classes, in label order; they sum to one.

    >>> given_shares({"dog": 0.25, "cat": 0.75}, ["cat", "dog"], "shares.json").tolist()
    [0.75, 0.25]

    Args:
        content: of the file, class -> share.
        class_names: in label order; they are joined as those of prompt files are.
        where: the file, for messages.

    Raises:
        ScorerError: the file holds anything else, does not join the classes, or its shares do not sum to one.
    """
    if not isinstance(content, Mapping):
        raise ScorerError(f"{where} holds a {type(content).__name__}; it should map each class name to its share.")
    odd = [name for name, share in content.items() if not _is_share(share)]
    if odd:
        raise ScorerError(
            f"{len(odd)} of {len(content)} shares of {where} are no numbers from 0 to 1, first: {first(odd)}. Give the"
            " share of the images that each class is thought to have."
        )
    try:
        join = join_by_name(class_names, list(content), where, ignore_extra=True, missing="templates")
    except PromptsError as error:
        if {normalised(key) for key in content} & {normalised(name) for name in class_names}:
            raise ScorerError(f"scorer.prior: {error}") from error
        raise ScorerError(
            f"None of the {len(content):,} names of {where} is a class of the data set{_cases(list(content))}; its"
            f" classes are {first(list(class_names))}. Name every class as the data set does."
        ) from error
    lost, extra = [class_names[label] for label in sorted(join.missing)], sorted(set(content) - set(join.keys))
    if lost or extra:
        raise ScorerError(
            f"{where} should give a share to each of the {len(class_names):,} classes and to nothing else. {len(lost)}"
            f" classes have none{_cases(lost)}; {len(extra)} names are no class{_cases(extra)}. Name every class as the"
            " data set does; one that has no image has the share 0."
        )
    shares = np.array([float(content[key]) for key in join.keys])
    if abs(shares.sum() - 1) > ROUNDING:
        raise ScorerError(
            f"The shares of {where} sum to {shares.sum():.4g} over the {len(class_names):,} classes; they should sum to"
            " one. Divide counts by the number of images."
        )
    whole: Float64[np.ndarray, " c"] = shares / shares.sum()
    return whole


def _cases(names: Sequence[str]) -> str:
    return f", first: {first(names)}" if names else ""


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _exact(
    similarity: Float32[np.ndarray, "m c"], shares: Float64[np.ndarray, " c"], images: Distinct, texts: Distinct
) -> Float32[np.ndarray, "m c"]:
    """Return the share of each image that one copy of each class gets; minus infinity where it gets none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own code when it is first compiled; what it finds is asked for below
        import ot

        cost = np.subtract(0.0, similarity, dtype=np.float64)
        wanted = shares * images.copies.sum()
        plan, told = ot.emd(images.copies, wanted, cost, numItermax=MOST_STEPS, log=True)
    if told["warning"] is not None:
        raise ScorerError(
            f"The exact plan of {len(images):,} images and {len(texts):,} classes was not found: {told['warning']} Take"
            " the entropic plan: scorer.temperature=0.01."
        )
    plan /= images.copies[:, None]
    plan /= texts.copies
    plan[plan < NOTHING] = -np.inf
    found: Float32[np.ndarray, "m c"] = plan.astype(np.float32)
    return found
