"""The training set of the demo: which plants are drawn, how often, and the pictures themselves.

Two halves. Named pictures show species of the tiers "often" and "rarely" (evaluated ones and some that only
occur here). Nameless pictures show made-up plants: each has a sheet of its own, its traits combined at
random, so that captions can teach what words such as "spike" or "maroon" look like without any name.
Species of the tier "never" are not drawn. A made-up plant may by chance resemble one of them, as an
unlabelled picture on the web may.
"""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from cupl_bench.dataset.demo.drawing import (
    IMAGE_SIZE,
    PALETTE,
    Dice,
    Form,
    Heads,
    Leaves,
    Pattern,
    PetalShape,
    Species,
    Traits,
    draw_traits,
    generator_for,
    load_species,
    sample_traits,
)

CORPUS_SEED: Final = 9_101
"""Seed of the training pictures; apart from the validation and test seeds, so no picture is shared."""
TIER_WEIGHT: Final = {"often": 1.0, "rarely": 0.04, "never": 0.0}
"""How often a species of a tier is drawn, relative to one of the tier "often"."""

_PETAL_COLOURS: Final = tuple(name for name in PALETTE if name not in ("brown", "black"))
_LEAVES: Final[tuple[Leaves, ...]] = ("grassy", "oval", "broad", "round", "lobed", "feathery")
_HEADS: Final[tuple[Heads, ...]] = ("one", "few", "few", "many")
_FLAT: Final[tuple[Pattern, ...]] = ("plain", "plain", "plain", "eye", "edge", "tips", "stripes", "spots")
# What a made-up plant of each form may look like: petal counts, petal shapes, patterns.
_FORMS: Final[dict[Form, tuple[tuple[tuple[int, int], ...], tuple[PetalShape, ...], tuple[Pattern, ...]]]] = {
    "daisy": (((9, 11), (12, 16), (17, 24)), ("pointed", "narrow", "notched"), _FLAT),
    "open": (((3, 3), (4, 4), (5, 5), (6, 6), (8, 8)), ("round", "pointed", "narrow", "notched"), _FLAT),
    "cup": (((3, 3),), ("round", "pointed"), ("plain", "plain", "eye", "edge", "tips", "stripes")),
    "bell": (((1, 1), (1, 1), (2, 3), (6, 8)), ("bell", "bell", "pointed"), ("plain", "spots", "tips")),
    "spike": (
        ((1, 1),), ("fine", "round", "bell", "narrow"), ("plain", "plain", "spots", "bicolour", "bicolour"),
    ),
    "globe": (((4, 4),), ("round", "narrow", "fine"), ("plain",)),
    "umbel": (((1, 1),), ("round", "fine"), ("plain",)),
    "trumpet": (((5, 5), (6, 6)), ("round", "pointed"), ("plain",)),
    "layers": (
        ((8, 10), (11, 14), (16, 20)),
        ("round", "pointed", "narrow", "notched"),
        ("plain", "plain", "edge", "tips"),
    ),
    "iris": (((6, 6),), ("round",), ("plain",)),
    "lily": (((6, 6),), ("pointed",), ("plain", "spots", "stripes")),
    "thistle": (((1, 1),), ("fine",), ("plain",)),
    "lotus": (((9, 12),), ("pointed", "round"), ("plain", "tips")),
    "spathe": (((1, 1),), ("round", "pointed"), ("plain",)),
    "hearts": (((5, 7),), ("round",), ("plain",)),
}  # fmt: skip
# Forms with much to tell apart are made up more often than those of which there is one kind.
_FORM_POOL: Final[tuple[Form, ...]] = (
    *(("daisy",) * 4), *(("open",) * 6), *(("cup",) * 2), *(("bell",) * 4), *(("spike",) * 5),
    *(("globe",) * 3), *(("umbel",) * 3), *(("trumpet",) * 2), *(("layers",) * 3), "iris", *(("lily",) * 2),
    "thistle", "lotus", "spathe", "hearts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Corpus:
    """The training pictures: `images[i]` (n, 64, 64, 3, uint8) shows `traits[i]`."""

    images: npt.NDArray[np.uint8]
    traits: tuple[Traits, ...]


def made_up_species(dice: Dice) -> Species:
    """A plant without a name whose traits are combined at random."""
    form = dice.pick(_FORM_POOL)
    counts, shapes, patterns = _FORMS[form]
    pattern = dice.pick(patterns)
    colour = dice.pick(_PETAL_COLOURS)
    has_second = pattern != "plain" or form in ("iris", "hearts") or (form == "trumpet" and dice.chance(0.5))
    others = tuple(name for name in PALETTE if name != colour)
    return Species(
        name="",
        tier="never",
        evaluated=False,
        form=form,
        colours=((colour, dice.pick(others) if has_second else None),),
        pattern=pattern,
        petals=dice.pick(counts),
        petal_shape=dice.pick(shapes),
        centre=_centre(form, colour, dice),
        centre_size=dice.pick(("small", "small", "large")),
        leaves=dice.pick(_LEAVES),
        heads=dice.pick(_HEADS),
    )


def _centre(form: Form, colour: str, dice: Dice) -> str:
    if form in ("daisy", "open", "lily", "lotus", "spathe"):
        return dice.pick(
            tuple(
                c for c in ("yellow", "yellow", "brown", "black", "white", "cream", "orange", "purple") if c != colour
            )
        )
    if form == "cup":
        return dice.pick(("none", "orange", "yellow"))
    return "none"


def traits_of(index: int, named: int) -> tuple[Traits, Dice]:
    """What training picture `index` shows, and the dice that draw it; the first `named` ones are named."""
    dice = Dice(generator_for(CORPUS_SEED, 0 if index < named else 1, index))
    if index >= named:
        return sample_traits(made_up_species(dice), dice), dice
    species = [one for one in load_species() if TIER_WEIGHT[one.tier] > 0]
    point = dice.unit() * sum(TIER_WEIGHT[one.tier] for one in species)
    for one in species:
        point -= TIER_WEIGHT[one.tier]
        if point < 0:
            return sample_traits(one, dice), dice
    return sample_traits(species[-1], dice), dice


def build_corpus(folder: Path, named: int, nameless: int, processes: int) -> Corpus:
    """Draws the training pictures into `folder`, or reads those that an earlier call has drawn there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"images_{named}_{nameless}.npy"
    total = named + nameless
    if not path.exists():
        shares = [range(start, total, 8 * processes) for start in range(8 * processes)]
        unfinished = path.with_suffix(".partial")
        images = np.lib.format.open_memmap(
            unfinished, mode="w+", dtype=np.uint8, shape=(total, IMAGE_SIZE, IMAGE_SIZE, 3)
        )
        for share, drawn in _drawn(shares, named, processes):
            images[share.start :: share.step] = drawn
        images.flush()
        unfinished.replace(path)
    traits = tuple(traits_of(index, named)[0] for index in range(total))
    return Corpus(np.load(path, mmap_mode="r"), traits)


def _drawn(shares: list[range], named: int, processes: int) -> Iterator[tuple[range, npt.NDArray[np.uint8]]]:
    tasks = [(share, named) for share in shares]
    if processes == 1:
        yield from map(_draw_share, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_draw_share, tasks)


def _draw_share(task: tuple[range, int]) -> tuple[range, npt.NDArray[np.uint8]]:
    share, named = task
    return share, np.stack([np.asarray(draw_traits(*traits_of(index, named))) for index in share])
