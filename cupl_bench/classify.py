"""Single images: a probability per class at the model's own temperature, and the prompts that decided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cupl_bench.backbone import identified_by, loaded_by
from cupl_bench.dataset.decode import decode
from cupl_bench.embeddings import build_class_embeddings
from cupl_bench.errors import BrokenImageError, ConfigError, DatasetError
from cupl_bench.features import finite_units
from cupl_bench.prompts import prompts_of
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.device import batch_size_of, device_of
from cupl_bench.scorers.facts import check_plain
from cupl_bench.scores import predict, similarities

__all__ = ["Answer", "classify_images"]

SHOWN = 2
"""Prompts of a class that a person and a program are told: the closest."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The classes of one image, likeliest first: name, probability, and its prompts, the closest first."""

    image: Path
    classes: tuple[tuple[str, float, tuple[tuple[float, str], ...]], ...]
    sigmoid: bool

    def text(self) -> str:
        """Return the answer as a line for the terminal."""
        lines = [str(self.image)]
        for name, probability, prompts in self.classes:
            lines.append(f"  {100 * probability:5.1f}%  {name}")
            lines += [f"          {similarity:.3f}  {prompt}" for similarity, prompt in prompts[:SHOWN]]
        if self.sigmoid:
            lines.append("  (each probability stands alone: the model was trained with a sigmoid)")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Return the answer as plain data for a program."""
        return {
            "image": str(self.image),
            "sigmoid": self.sigmoid,
            "classes": [
                {
                    "class_name": name,
                    "probability": probability,
                    "prompts": [{"text": text, "similarity": similarity} for similarity, text in prompts[:SHOWN]],
                }
                for name, probability, prompts in self.classes
            ],
        }


def classify_images(
    images: Sequence[Path], class_names: Sequence[str], question: Question, machine: Machine
) -> Iterator[Answer]:
    """Yield an answer for each of ``images``, in order.

    Probabilities are the softmax of the similarities at the model's temperature, or their sigmoids with its bias for
    a model that was trained so (SigLIP).

    Raises:
        DatasetError: an image is missing or cannot be decoded.
        BackboneError: features are not finite.
        ConfigError: there are fewer than two class names.
        ScorerError: another scorer than the plain one is asked for.
    """
    check_plain(question.scorer_name, question.scorer, "classify")
    if len(class_names) < 2:
        raise ConfigError(f"class_names={list(class_names)} leaves no choice; give two names or more.")
    decoded = []
    for path in images:
        try:
            decoded.append(decode(path.read_bytes()))
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}).") from error
        except BrokenImageError as error:
            raise DatasetError(f"{path} cannot be decoded: {error}.") from error
    prompts = prompts_of(question.prompts, class_names)
    if prompts.weigh_by_images:
        raise ConfigError(
            f"prompts={question.prompts_name} weighs templates by the images of a data set; a few images are not"
            " enough. Choose prompts=ensemble or another."
        )
    facts = identified_by(question.backbone, machine.cache_dir, download=True)
    backbone = loaded_by(question.backbone, facts, device_of(machine), question.precision)
    if prompts.given is not None:
        units, row = prompts.given.rows, dict(prompts.given.row_of)
    else:
        texts = prompts.distinct()
        tokens = backbone.text.tokenize(texts)
        distinct = list(dict.fromkeys(tokens.sequences))
        units = finite_units(backbone.text.encode(distinct, batch_size_of(machine)), "prompts")
        place = {sequence: number for number, sequence in enumerate(distinct)}
        row = {text: place[sequence] for text, sequence in zip(texts, tokens.sequences, strict=True)}
    classes = build_class_embeddings(
        units,
        [[row[text] for text in texts_of_class] for texts_of_class in prompts.texts],
        prompts.aggregation,
        prompts.weights,
    )
    for path, image in zip(images, decoded, strict=True):
        # One at a time, and read at once, though a GPU is waited for with each: the answer to an image is shown while
        # the next is encoded, and is the same to the last bit whatever other images are asked about.
        features = backbone.encode_images(backbone.transform.exact(image)[None])
        unit = finite_units(features, str(path))
        scores = similarities(torch.from_numpy(unit), classes)[0].double()
        logits = scores * backbone.logit_scale + (backbone.logit_bias or 0.0)
        sigmoid = backbone.logit_bias is not None
        probabilities = torch.sigmoid(logits) if sigmoid else torch.softmax(logits, dim=0)
        # The best by the same rule as everywhere, then the rest: ties go to the lowest class index.
        best = int(predict(unit, classes).prediction[0])
        order = [best, *(int(i) for i in np.argsort(-scores.numpy(), kind="stable") if int(i) != best)]
        to_prompts = units @ unit[0]
        yield Answer(
            image=path,
            classes=tuple(
                (
                    class_names[label],
                    float(probabilities[label]),
                    _closest(prompts.texts[label], to_prompts, row),
                )
                for label in order
            ),
            sigmoid=sigmoid,
        )


def _closest(texts: Sequence[str], to_prompts: np.ndarray, row: dict[str, int]) -> tuple[tuple[float, str], ...]:
    ranked = sorted({text: float(to_prompts[row[text]]) for text in texts}.items(), key=lambda item: -item[1])
    return tuple((similarity, text) for text, similarity in ranked)
