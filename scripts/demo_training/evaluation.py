"""Scores the demo's prompt strategies on freshly drawn pictures, with controls.

Independent of the package's own evaluation on purpose: it reads the shipped files through plain open_clip.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional as F

from cupl_bench.dataset.demo.drawing import draw_one, evaluated_species
from demo_training.training import normalised

SIMPLE: Final = "a photo of a {}."
TEMPLATES: Final = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Unit image features (n, d) and labels (n,)."""

    features: Tensor
    labels: npt.NDArray[np.int64]


class Encoder:
    """The shipped weights behind open_clip: pictures and texts to unit vectors."""

    def __init__(self, folder: Path) -> None:
        self._model = open_clip.create_model(f"local-dir:{folder}").eval()
        self._tokenizer = SimpleTokenizer(
            bpe_path=str(folder / "bpe.txt.gz"), context_length=self._model.context_length
        )

    @torch.no_grad()
    def pictures(self, seed: int, per_class: int) -> Pictures:
        """Pictures 0..per_class-1 of every class."""
        keys = [(label, number) for label in range(len(evaluated_species())) for number in range(per_class)]
        parts = []
        for start in range(0, len(keys), 256):
            drawn = np.stack([np.asarray(draw_one(seed, *key)) for key in keys[start : start + 256]])
            parts.append(F.normalize(self._model.encode_image(normalised(drawn)), dim=-1))
        return Pictures(torch.cat(parts), np.array([label for label, _ in keys]))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit text features (p, d)."""
        parts = [
            self._model.encode_text(self._tokenizer(list(texts[at : at + 512]))) for at in range(0, len(texts), 512)
        ]
        return F.normalize(torch.cat(parts), dim=-1)


def class_embeddings(encoder: Encoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """One unit vector per class (c, d): the mean of its prompts' unit vectors."""
    features = encoder.texts([text for texts in prompts for text in texts])
    means = [part.mean(dim=0) for part in torch.split(features, [len(texts) for texts in prompts])]
    return F.normalize(torch.stack(means), dim=-1)


def strategies(descriptions: Mapping[str, Sequence[str]], seed: int = 0) -> dict[str, list[list[str]]]:
    """The prompts per class of every strategy and control, by name.

    Controls: descriptions without the name; those of another class (`seed` decides which), as they are and
    with the right name put in.
    """
    names = [one.name for one in evaluated_species()]
    ensemble = [[template.format(name) for template in TEMPLATES] for name in names]
    cupl = [list(descriptions[name]) for name in names]
    turn = int(np.random.default_rng(seed).integers(1, len(names)))
    other = dict(zip(names, names[turn:] + names[:turn], strict=True))
    return {
        "simple": [[SIMPLE.format(name)] for name in names],
        "ensemble": ensemble,
        "cupl": cupl,
        "cupl+ensemble": [a + b for a, b in zip(cupl, ensemble, strict=True)],
        "cupl without names": [[_renamed(text, name, "flower") for text in descriptions[name]] for name in names],
        "shuffled": [list(descriptions[other[name]]) for name in names],
        "shuffled, own name": [
            [_renamed(text, other[name], name) for text in descriptions[other[name]]] for name in names
        ],
    }


def _renamed(text: str, old: str, new: str) -> str:
    return text.replace(old, new).replace(old.capitalize(), new.capitalize())


def hits(pictures: Pictures, embeddings: Tensor, among: Sequence[int] | None = None) -> Hits:
    """Which pictures are classified right; `among` narrows the task and its pictures to these classes."""
    classes = np.arange(len(embeddings)) if among is None else np.array(among)
    kept = np.isin(pictures.labels, classes)
    scores = pictures.features[torch.from_numpy(kept)] @ embeddings[torch.from_numpy(classes)].T
    return np.asarray(classes[scores.argmax(dim=1).numpy()] == pictures.labels[kept])


def paired_interval(first: Hits, second: Hits) -> tuple[float, float, float]:
    """The difference of two accuracies on the same pictures in points, and its 95 % interval (normal)."""
    difference = 100 * (first.astype(float) - second.astype(float))
    half = 1.96 * float(difference.std(ddof=1)) / len(difference) ** 0.5
    return float(difference.mean()), float(difference.mean()) - half, float(difference.mean()) + half


def class_interval(first: Hits, second: Hits, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """95 % bootstrap interval of that difference over classes: would it hold for other species?"""
    difference = 100 * (first.astype(float) - second.astype(float))
    per_class = np.array([difference[labels == label].mean() for label in np.unique(labels)])
    draws = np.random.default_rng(0).integers(0, len(per_class), (10_000, len(per_class)))
    low, high = np.percentile(per_class[draws].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def evaluate(weights: Path, descriptions_path: Path, seed: int, per_class: int) -> list[str]:
    """The table of one set of weights on one seed's pictures, as lines of Markdown."""
    encoder = Encoder(weights)
    pictures = encoder.pictures(seed, per_class)
    species = evaluated_species()
    tiers = np.array([one.tier for one in species])
    never = [at for at, one in enumerate(species) if one.tier == "never"]
    named = [at for at, one in enumerate(species) if one.tier != "never"]
    prompts = strategies(json.loads(descriptions_path.read_text("utf-8")))
    embeddings = {name: class_embeddings(encoder, texts) for name, texts in prompts.items()}

    def row(embedding: Tensor) -> list[float]:
        right = hits(pictures, embedding)
        of_tier = [right[tiers[pictures.labels] == tier].mean() for tier in ("often", "rarely", "never")]
        in_named = right[tiers[pictures.labels] != "never"].mean()
        alone = [hits(pictures, embedding, among).mean() for among in (named, never)]
        return [100 * float(value) for value in (right.mean(), *of_tier, in_named, *alone)]

    rows = {name: row(embedding) for name, embedding in embeddings.items()}
    singles = [
        row(class_embeddings(encoder, [[template.format(one.name)] for one in species])) for template in TEMPLATES
    ]
    rows["mean of the 80 alone"] = [float(value) for value in np.mean(singles, axis=0)]
    order = (
        "simple",
        "mean of the 80 alone",
        "ensemble",
        "cupl",
        "cupl+ensemble",
        "cupl without names",
        "shuffled",
        "shuffled, own name",
    )
    lines = [
        f"{len(pictures.labels)} pictures of {len(species)} classes, seed {seed}; top-1 in percent",
        "",
        f"| prompts | all | often | rarely | never | named, full task | named alone ({len(named)}-way) "
        f"| never alone ({len(never)}-way) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {name} | " + " | ".join(f"{value:.1f}" for value in rows[name]) + " |" for name in order]
    right = {name: hits(pictures, embedding) for name, embedding in embeddings.items()}
    lines.append("")
    for first, second in (
        ("cupl", "simple"),
        ("cupl", "ensemble"),
        ("ensemble", "simple"),
        ("cupl+ensemble", "cupl"),
    ):
        mean, low, high = paired_interval(right[first], right[second])
        over = class_interval(right[first], right[second], pictures.labels)
        lines.append(
            f"{first} - {second}: {mean:+.1f} points, 95 % over pictures {low:+.1f} to {high:+.1f}, "
            f"over classes {over[0]:+.1f} to {over[1]:+.1f}"
        )
    seen = tiers[pictures.labels] != "never"
    mean, low, high = paired_interval(right["cupl"][seen], right["simple"][seen])
    lines.append(f"cupl - simple, full task, pictures of named classes: {mean:+.1f}, {low:+.1f} to {high:+.1f}")
    mean, low, high = paired_interval(*(hits(pictures, embeddings[name], named) for name in ("cupl", "simple")))
    lines.append(f"cupl - simple, task of the named classes alone: {mean:+.1f}, {low:+.1f} to {high:+.1f}")
    alone = np.array([single[0] for single in singles])
    lines.append(f"the 80 alone: {alone.min():.1f} to {alone.max():.1f}, mean {alone.mean():.1f}")
    return lines


def per_class_lines(weights: Path, descriptions_path: Path, seed: int, per_class: int) -> list[str]:
    """Recall of every class under simple and CuPL, and the class it is most often taken for under CuPL."""
    encoder = Encoder(weights)
    pictures = encoder.pictures(seed, per_class)
    species = evaluated_species()
    prompts = strategies(json.loads(descriptions_path.read_text("utf-8")))
    guesses = {
        name: (pictures.features @ class_embeddings(encoder, prompts[name]).T).argmax(dim=1).numpy()
        for name in ("simple", "cupl")
    }
    lines = ["| class | tier | simple | cupl | most taken for |", "|---|---|---|---|---|"]
    for at, one in enumerate(species):
        own = pictures.labels == at
        recall = {name: 100 * float((guess[own] == at).mean()) for name, guess in guesses.items()}
        wrong = guesses["cupl"][own & (guesses["cupl"] != at)]
        counts = np.bincount(wrong, minlength=len(species))
        taken = f"{species[int(counts.argmax())].name} ({counts.max()})" if len(wrong) else ""
        lines.append(f"| {one.name} | {one.tier} | {recall['simple']:.0f} | {recall['cupl']:.0f} | {taken} |")
    return lines
