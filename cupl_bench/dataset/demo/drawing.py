"""Draws the demo's flowers: 64 x 64 RGB pictures, each a pure function of (seed, class index, number).

A `Species` is a drawing sheet from `species.json`; `Traits` is what one picture shows of it (the colour
variant, how many petals, the photographic style); the picture is what is drawn from both. Whoever knows the
key of a picture can ask for its traits without drawing it: that is how training captions know what their
picture shows.

Every random number comes from one stream per picture and reaches the canvas as a whole number of pixels, so
a picture depends neither on the order of drawing nor on the process that draws it. Drawing costs about 1 ms
a picture on one core.

Source: own work. The shapes are simplified by hand from what the plants look like; no image was copied or
traced.
"""

import cmath
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, Literal, NamedTuple, TypeVar, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

IMAGE_SIZE: Final = 64
"""Side of a picture in pixels."""
VALIDATION_SEED: Final = 20_261
"""Pictures on which the demo's design was chosen."""
TEST_SEED: Final = 70_423
"""Pictures of the split `test`: evaluated once, after the design was fixed on the validation pictures."""
TEST_PER_CLASS: Final = 72
"""Pictures of each class in the splits `validation` and `test`."""

Tier = Literal["often", "rarely", "never"]
Form = Literal[
    "daisy", "open", "cup", "bell", "spike", "globe", "umbel", "trumpet", "layers", "iris", "lily", "thistle",
    "lotus", "spathe", "hearts",
]  # fmt: skip
Pattern = Literal["plain", "eye", "edge", "tips", "stripes", "spots", "bicolour"]
PetalShape = Literal["round", "pointed", "narrow", "notched", "bell", "fine"]
Leaves = Literal["grassy", "oval", "broad", "round", "lobed", "feathery"]
Heads = Literal["one", "few", "many"]
Style = Literal["plain", "blurry", "dark", "bright", "grey", "sketch", "painting", "pixelated"]
Background = Literal["meadow", "sky", "night", "soil", "paper", "stone", "hedge", "water"]
Colour = tuple[int, int, int]
_Number = float | int  # the tests check types at run time, where an int is not a float
_T = TypeVar("_T")

PALETTE: Final[dict[str, Colour]] = {
    "red": (210, 28, 34), "maroon": (118, 14, 40), "pink": (240, 122, 172), "orange": (246, 130, 22),
    "yellow": (250, 212, 36), "cream": (246, 234, 176), "white": (246, 246, 244), "blue": (58, 86, 218),
    "sky": (134, 182, 244), "purple": (120, 40, 164), "mauve": (196, 156, 228), "green": (134, 186, 84),
    "brown": (104, 64, 30), "black": (28, 22, 26),
}  # fmt: skip
STYLES: Final[tuple[Style, ...]] = ("blurry", "dark", "bright", "grey", "sketch", "painting", "pixelated")

_CANVAS: Final = 2 * IMAGE_SIZE  # drawn at twice the size, then averaged: smooth edges from whole-pixel primitives
_PLAIN_SHARE: Final = 0.72
_LEAF_GREENS: Final[tuple[Colour, ...]] = (
    (66, 130, 52),
    (88, 150, 66),
    (52, 108, 60),
    (104, 146, 92),
    (120, 160, 60),
)
_BACKGROUNDS: Final[dict[Background, tuple[Colour, ...]]] = {
    "meadow": ((92, 148, 70), (128, 172, 92), (70, 120, 62), (150, 184, 110)),
    "sky": ((150, 194, 234), (190, 216, 240), (214, 228, 240), (120, 172, 224)),
    "night": ((18, 24, 30), (34, 40, 44), (10, 12, 20), (40, 36, 48)),
    "soil": ((120, 92, 66), (146, 114, 84), (98, 74, 54), (132, 110, 92)),
    "paper": ((236, 234, 228), (246, 244, 240), (226, 226, 226), (238, 230, 218)),
    "stone": ((150, 150, 148), (174, 170, 166), (130, 132, 136), (160, 152, 146)),
    "hedge": ((38, 76, 44), (52, 92, 54), (28, 58, 40), (64, 104, 62)),
    "water": ((60, 104, 128), (84, 128, 146), (44, 84, 110), (96, 140, 150)),
}
_LAND: Final[tuple[Background, ...]] = ("meadow", "meadow", "sky", "night", "soil", "paper", "stone", "hedge")
# Half outlines of a petal that grows from (0, 0) to (1, 0): pairs of length and half width, mirrored when
# drawn.
_PETALS: Final[dict[PetalShape, tuple[tuple[float, float], ...]]] = {
    "round": ((0.0, 0.05), (0.35, 0.34), (0.7, 0.46), (0.92, 0.32), (1.0, 0.1)),
    "pointed": ((0.0, 0.06), (0.3, 0.24), (0.55, 0.27), (0.8, 0.15), (1.0, 0.0)),
    "narrow": ((0.0, 0.05), (0.4, 0.12), (0.8, 0.13), (0.96, 0.07), (1.0, 0.0)),
    "notched": ((0.0, 0.05), (0.5, 0.24), (0.85, 0.36), (1.0, 0.22), (0.82, 0.0)),
    "bell": ((0.0, 0.12), (0.3, 0.3), (0.7, 0.3), (1.0, 0.46), (0.92, 0.0)),
    "fine": ((0.0, 0.04), (0.5, 0.08), (1.0, 0.0)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Species:
    """A drawing sheet: what every plant of one species has in common.

    `name` is empty for the made-up plants of the training set, which have no name. `colours` are the
    variants that occur, each a petal colour and, where there is one, a second colour for `pattern`.
    `petals` is a closed range.
    """

    name: str
    tier: Tier
    evaluated: bool
    form: Form
    colours: tuple[tuple[str, str | None], ...]
    pattern: Pattern
    petals: tuple[int, int]
    petal_shape: PetalShape
    centre: str
    centre_size: Literal["small", "large"]
    leaves: Leaves
    heads: Heads


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """The content of one picture: a species' sheet with its choices made, and how it is photographed."""

    species: Species
    colour: str
    second: str | None
    petals: int
    style: Style
    background: Background


class Dice:
    """Random choices read from one stream of uniform numbers.

    Only `Generator.random` is used, whose stream numpy has kept stable; it is read in blocks because single
    reads would cost more than the drawing.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._block: Iterator[float] = iter(())

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        for number in self._block:
            return number
        self._block = iter(cast("list[float]", self._generator.random(256).tolist()))
        return next(self._block)

    def between(self, low: _Number, high: _Number) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """Return a whole number in [low, high], both ends included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.unit() < probability

    def pick(self, options: Sequence[_T]) -> _T:
        """Return one of the options, all equally likely."""
        return options[int(self.unit() * len(options))]


@cache
def load_species() -> tuple[Species, ...]:
    """Return all species, the evaluated ones first: the position of an evaluated species is its class index."""
    sheet = json.loads((resources.files("cupl_bench.dataset.demo") / "species.json").read_text("utf-8"))
    species = tuple(
        Species(
            **{
                **row,
                "colours": tuple((first, second) for first, second in row["colours"]),
                "petals": tuple(row["petals"]),
            }
        )
        for row in sheet["species"]
    )
    return tuple(one for one in species if one.evaluated) + tuple(one for one in species if not one.evaluated)


def evaluated_species() -> tuple[Species, ...]:
    """Return the species of the evaluated classes, in class order."""
    return tuple(one for one in load_species() if one.evaluated)


def generator_for(seed: int, class_index: int, number: int) -> np.random.Generator:
    """Return the random stream of one picture, independent of every other picture's."""
    # PCG64 is named because numpy may change what `default_rng` means.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(class_index, number))))


def draw_flower(species: Species, generator: np.random.Generator) -> Image.Image:
    """Return a 64 x 64 RGB picture of one plant of the species."""
    dice = Dice(generator)
    return draw_traits(sample_traits(species, dice), dice)


def draw_one(seed: int, class_index: int, number: int) -> Image.Image:
    """Return picture `number` of class `class_index`: 64 x 64, RGB.

    Raises:
        IndexError: There is no such class.
    """
    classes = evaluated_species()
    if not 0 <= class_index < len(classes):
        raise IndexError(f"class index {class_index} is not in 0..{len(classes) - 1}")
    return draw_flower(classes[class_index], generator_for(seed, class_index, number))


def draw_split(seed: int, per_class: int = TEST_PER_CLASS) -> Iterator[tuple[int, int, Image.Image]]:
    """Yield (class index, number, picture) class by class; each picture equals `draw_one` of its key."""
    for class_index in range(len(evaluated_species())):
        for number in range(per_class):
            yield class_index, number, draw_one(seed, class_index, number)


def sample_traits(species: Species, dice: Dice) -> Traits:
    """Return the content of the picture at the beginning of this random stream."""
    colour, second = dice.pick(species.colours)
    petals = dice.whole(*species.petals)
    style: Style = "plain" if dice.chance(_PLAIN_SHARE) else dice.pick(STYLES)
    land = dice.pick(_LAND)
    return Traits(
        species=species,
        colour=colour,
        second=second,
        petals=petals,
        style=style,
        background="water" if species.form == "lotus" else land,
    )


def draw_traits(traits: Traits, dice: Dice) -> Image.Image:
    """Return the 64 x 64 RGB picture of these traits; `dice` decide the rest (place, size, shades, clutter)."""
    image = _backdrop(traits.background, dice)
    pen = _Pen(image)
    if traits.background in ("meadow", "hedge") and dice.chance(0.6):
        _clutter(pen, dice)
    _plant(pen, traits, dice)
    if dice.chance(0.15):
        _blade_in_front(pen, dice)
    small = image.reduce(2)
    light = [dice.between(0.9, 1.06) for _ in range(3)]  # the light's own colour
    small = small.point([min(255, int(value * gain)) for gain in light for value in range(256)])
    return _developed(small, traits.style, dice)


class _Frame(NamedTuple):
    """The place of a flower head: its middle, how far it leans away (1 is face-on) and how far it is turned."""

    middle: complex
    squash: float
    turn: complex

    def place(self, points: Iterable[complex]) -> list[int]:
        flat = []
        for point in points:
            moved = self.middle + self.turn * complex(point.real, point.imag * self.squash)
            flat.append(math.floor(moved.real + 0.5))
            flat.append(math.floor(moved.imag + 0.5))
        return flat


class _Pen:
    """Primitives on the large canvas; all coordinates are rounded to whole pixels before Pillow sees them."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image)

    def blob(
        self, middle: complex, across: _Number, down: _Number, colour: Colour, outline: Colour | None = None
    ) -> None:
        left, top = math.floor(middle.real - across + 0.5), math.floor(middle.imag - down + 0.5)
        right, bottom = math.floor(middle.real + across + 0.5), math.floor(middle.imag + down + 0.5)
        self._draw.ellipse((left, top, max(left, right), max(top, bottom)), fill=colour, outline=outline)

    def patch(self, flat: list[int], colour: Colour, outline: Colour | None = None) -> None:
        self._draw.polygon(flat, fill=colour, outline=outline)

    def stroke(self, points: Sequence[complex], width: int, colour: Colour) -> None:
        flat = [math.floor(value + 0.5) for point in points for value in (point.real, point.imag)]
        self._draw.line(flat, fill=colour, width=width)

    def petal(
        self,
        frame: _Frame,
        shape: PetalShape,
        angle: _Number,
        length: _Number,
        width: _Number,
        colour: Colour,
    ) -> None:
        """Draw a petal of `length` pixels from the middle outwards; its width is a share of its length."""
        direction = cmath.rect(1.0, angle)
        half = _PETALS[shape]
        points = [direction * complex(length * u, length * width * v) for u, v in half]
        points += [direction * complex(length * u, -length * width * v) for u, v in reversed(half)]
        self.patch(frame.place(points), colour, _shade(colour, 0.72))


def _shade(colour: Colour, factor: _Number) -> Colour:
    red, green, blue = colour
    return (min(255, int(red * factor)), min(255, int(green * factor)), min(255, int(blue * factor)))


def _varied(colour: Colour, dice: Dice, amount: float = 0.09) -> Colour:
    return _shade(colour, dice.between(1 - amount, 1 + amount))


def _backdrop(background: Background, dice: Dice) -> Image.Image:
    tones = _BACKGROUNDS[background]
    light = dice.between(0.8, 1.15)
    coarse = Image.new("RGB", (3, 3))
    coarse.putdata([_shade(_varied(dice.pick(tones), dice), light) for _ in range(9)])
    return coarse.resize((_CANVAS, _CANVAS), Image.Resampling.BILINEAR)


def _clutter(pen: _Pen, dice: Dice) -> None:
    for _ in range(dice.whole(6, 16)):
        foot = complex(dice.between(0, _CANVAS), _CANVAS + 4)
        tip = foot + complex(dice.between(-18, 18), -dice.between(20, 70))
        pen.stroke((foot, tip), dice.whole(1, 3), _varied(dice.pick(_LEAF_GREENS), dice, 0.2))


def _blade_in_front(pen: _Pen, dice: Dice) -> None:
    foot = complex(dice.between(0, _CANVAS), _CANVAS + 4)
    tip = foot + complex(dice.between(-50, 50), -dice.between(50, 110))
    pen.stroke((foot, tip), dice.whole(2, 4), _varied(dice.pick(_LEAF_GREENS), dice, 0.2))


def _developed(image: Image.Image, style: Style, dice: Dice) -> Image.Image:
    if style == "blurry":
        return image.filter(ImageFilter.BoxBlur(dice.pick((1, 2))))
    if style == "dark":
        factor = dice.between(0.35, 0.55)
        return image.point([int(value * factor) for value in range(256)] * 3)
    if style == "bright":
        lift = dice.between(0.3, 0.5)
        return image.point([int(value + (255 - value) * lift) for value in range(256)] * 3)
    if style == "grey":
        return image.convert("L").convert("RGB")
    if style == "sketch":
        return image.convert("L").filter(ImageFilter.CONTOUR).convert("RGB")
    if style == "painting":
        return ImageOps.posterize(image.filter(ImageFilter.ModeFilter(3)), 3)
    if style == "pixelated":
        small = image.reduce(dice.pick((2, 3)))
        return small.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.NEAREST)
    return image


# --- the plant
# -------------------------------------------------------------------------------------------------------


def _plant(pen: _Pen, traits: Traits, dice: Dice) -> None:
    green = _varied(dice.pick(_LEAF_GREENS), dice)
    if traits.species.form == "lotus":
        _on_water(pen, traits, dice, green)
        return
    zoom = dice.between(0.66, 1.2)
    places = _places(traits, dice, zoom)
    foot = complex(_CANVAS / 2 + dice.between(-14, 14), _CANVAS + 6)
    upright = traits.species.form in ("spike", "bell", "hearts")
    _leaves(pen, traits.species.leaves, foot, zoom, green, dice)
    for middle, radius in places:
        root = foot + complex(dice.between(-10, 10), 0)
        if not upright:
            bend = complex((middle.real + root.real) / 2 + dice.between(-6, 6), (middle.imag + root.imag) / 2)
            pen.stroke((root, bend, middle), max(2, int(radius / 10)), green)
        _head(pen, traits, middle, radius, root, green, dice)


def _places(traits: Traits, dice: Dice, zoom: float) -> list[tuple[complex, float]]:
    """Return the middles and radii of the heads, furthest first, in pixels of the large canvas."""
    heads = traits.species.heads
    count = {"one": 1, "few": dice.whole(2, 3), "many": dice.whole(4, 6)}[heads]
    radius = {"one": 38.0, "few": 25.0, "many": 17.0}[heads] * zoom
    if count == 1:
        return [(complex(64 + dice.between(-12, 12), 52 + dice.between(-10, 10)), radius)]
    spacing = 100 / count
    order = sorted(range(count), key=lambda _: dice.unit())
    return [
        (
            complex(
                14 + spacing * (slot + dice.between(0.3, 0.7)),
                (46 if heads == "few" else 54) + dice.between(-24, 24),
            ),
            radius * dice.between(0.88, 1.1),
        )
        for slot in order
    ]


def _leaves(pen: _Pen, kind: Leaves, foot: complex, zoom: float, green: Colour, dice: Dice) -> None:
    for _ in range({"grassy": 7, "oval": 5, "broad": 3, "round": 5, "lobed": 4, "feathery": 5}[kind]):
        angle = -math.pi / 2 + dice.between(-1.15, 1.15)
        tone = _varied(green, dice, 0.18)
        if kind == "grassy":
            tip = foot + cmath.rect(dice.between(50, 82) * zoom, angle * 0.6 - math.pi * 0.2)
            frame = _Frame(foot + complex(dice.between(-12, 12), 0), 1.0, 1 + 0j)
            pen.petal(frame, "fine", cmath.phase(tip - foot), abs(tip - foot), 0.9, tone)
            continue
        base = foot + cmath.rect(dice.between(6, 34), -math.pi / 2 + dice.between(-0.5, 0.5))
        frame = _Frame(base, 1.0, 1 + 0j)
        if kind == "oval":
            pen.petal(frame, "pointed", angle, dice.between(28, 38) * zoom, 1.0, tone)
        elif kind == "broad":
            pen.petal(frame, "round", angle, dice.between(42, 56) * zoom, 0.85, tone)
            pen.stroke((base, base + cmath.rect(36 * zoom, angle)), 1, _shade(tone, 1.25))
        elif kind == "round":
            spot = base + cmath.rect(22 * zoom, angle)
            pen.blob(spot, 14 * zoom, 11 * zoom, tone, _shade(tone, 0.7))
        elif kind == "lobed":
            for part in range(5):
                turn = angle + (part - 2) * 0.5
                pen.petal(frame, "pointed", turn, (36 - 5 * abs(part - 2)) * zoom, 0.6, tone)
        else:
            _feather(pen, base, angle, 40 * zoom, tone)


def _feather(pen: _Pen, base: complex, angle: float, length: float, tone: Colour) -> None:
    pen.stroke((base, base + cmath.rect(length, angle)), 2, tone)
    for step in range(1, 6):
        joint = base + cmath.rect(length * step / 6, angle)
        side = length * (0.42 - 0.05 * step)
        pen.stroke((joint + cmath.rect(side, angle - 0.9), joint, joint + cmath.rect(side, angle + 0.9)), 1, tone)


def _head(pen: _Pen, traits: Traits, middle: complex, radius: float, root: complex, green: Colour, dice: Dice) -> None:
    form = traits.species.form
    if form in ("spike", "bell", "hearts"):
        {"spike": _spike, "bell": _bells, "hearts": _hearts}[form](pen, traits, middle, radius, root, green, dice)
        return
    frame = _Frame(middle, dice.between(0.66, 1.0), cmath.rect(1.0, dice.between(-0.5, 0.5)))
    if form in ("daisy", "open", "lily", "trumpet", "layers"):
        {"daisy": _daisy, "open": _daisy, "lily": _lily, "trumpet": _trumpet, "layers": _layers}[form](
            pen, traits, frame, radius, dice
        )
        return
    upright = _Frame(middle, 1.0, cmath.rect(1.0, dice.between(-0.25, 0.25)))
    if form in ("cup", "iris", "spathe"):
        {"cup": _cup, "iris": _iris, "spathe": _spathe}[form](pen, traits, upright, radius, dice)
    else:
        {"globe": _globe, "umbel": _umbel, "thistle": _thistle}[form](pen, traits, upright, radius, green, dice)


def _colours(traits: Traits) -> tuple[Colour, Colour]:
    main = PALETTE[traits.colour]
    return main, PALETTE[traits.second] if traits.second is not None else main


def _rosette(
    pen: _Pen,
    traits: Traits,
    frame: _Frame,
    radius: float,
    width: float,
    dice: Dice,
    shape: PetalShape | None = None,
) -> None:
    """Draw a wheel of petals with the traits' pattern."""
    main, second = _colours(traits)
    shape = shape if shape is not None else traits.species.petal_shape
    pattern = traits.species.pattern
    first = dice.between(0, 2 * math.pi)
    step = 2 * math.pi / traits.petals
    for petal in range(traits.petals):
        angle = first + step * (petal + dice.between(-0.12, 0.12))
        length = radius * dice.between(0.92, 1.06)
        tone = _varied(main, dice, 0.07)
        if pattern in ("edge", "tips"):
            pen.petal(frame, shape, angle, length, width, second)
            pen.petal(frame, shape, angle, length * (0.84 if pattern == "edge" else 0.7), width * 0.85, tone)
            continue
        pen.petal(frame, shape, angle, length, width, tone)
        if pattern == "stripes":
            for side in (-0.09, 0.09):
                ray = [cmath.rect(length * reach, angle + side) for reach in (0.15, 0.85)]
                pen.stroke(_points(frame.place(ray)), 2, second)
        elif pattern == "spots":
            for _ in range(5):
                spot = cmath.rect(length * dice.between(0.25, 0.75), angle + dice.between(-0.22, 0.22))
                pen.blob(_points(frame.place((spot,)))[0], 1.6, 1.6, second)
    if pattern == "eye":
        # After all the petals: a later petal would cover the eye of the one before it.
        for petal in range(traits.petals):
            pen.petal(frame, shape, first + step * petal, radius * 0.5, width * 1.05, second)


def _points(flat: Sequence[int]) -> list[complex]:
    return [complex(flat[at], flat[at + 1]) for at in range(0, len(flat), 2)]


def _petal_width(traits: Traits) -> float:
    """Return a petal's width as a share of its length, so that few petals are broad and many are slim."""
    if traits.species.petal_shape in ("round", "notched"):
        return {3: 1.5, 4: 1.5, 5: 1.25}.get(traits.petals, min(1.2, 7.0 / traits.petals))
    return {3: 1.7, 4: 1.5, 5: 1.3}.get(traits.petals, min(1.2, 9.0 / traits.petals))


def _daisy(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    _rosette(pen, traits, frame, radius, _petal_width(traits), dice)
    if traits.species.centre == "none":
        return
    colour = _varied(PALETTE[traits.species.centre], dice)
    share = 0.2 if traits.species.form == "open" else 0.26
    disc = radius * (0.46 if traits.species.centre_size == "large" else share)
    pen.blob(frame.middle, disc, disc * (0.5 + frame.squash / 2), colour, _shade(colour, 0.7))
    for _ in range(8):
        spot = frame.middle + cmath.rect(disc * dice.between(0.2, 1.05), dice.between(0, 2 * math.pi))
        pen.blob(spot, 1, 1, _shade(colour, dice.pick((0.6, 1.35))))


def _lily(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    _rosette(pen, traits, frame, radius * 1.1, 1.0, dice, "pointed")
    anther = PALETTE[traits.species.centre] if traits.species.centre != "none" else PALETTE["brown"]
    for _ in range(6):
        tip = frame.middle + cmath.rect(radius * dice.between(0.42, 0.62), dice.between(0, 2 * math.pi))
        pen.stroke((frame.middle, tip), 1, (206, 224, 150))
        pen.blob(tip, 2.4, 1.8, anther)


def _trumpet(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    main, second = _colours(traits)
    if traits.second is None:  # a funnel in one piece, with a pale throat
        rim = [
            cmath.rect(
                radius * (0.96 + 0.08 * math.cos(traits.petals * 2 * math.pi * at / 40)),
                2 * math.pi * at / 40,
            )
            for at in range(40)
        ]
        tone = _varied(main, dice)
        pen.patch(frame.place(rim), tone, _shade(tone, 0.7))
        for petal in range(traits.petals):
            ray = [cmath.rect(radius * reach, 2 * math.pi * (petal + 0.5) / traits.petals) for reach in (0.2, 0.9)]
            pen.stroke(_points(frame.place(ray)), 2, _shade(tone, 0.82))
        pen.blob(frame.middle, radius * 0.24, radius * 0.22, PALETTE["cream"])
        pen.blob(frame.middle, radius * 0.09, radius * 0.09, _shade(PALETTE["yellow"], 0.7))
        return
    _rosette(pen, traits, frame, radius, 1.15, dice)
    cup = radius * (0.46 if traits.species.centre_size == "large" else 0.34)
    lip = frame.middle + cmath.rect(cup * 0.35, dice.between(0, 2 * math.pi))
    tone = _varied(second, dice)
    pen.blob(frame.middle, cup * 0.9, cup * 0.9, _shade(tone, 0.8))
    for at in range(10):
        pen.blob(lip + cmath.rect(cup * 0.8, at * math.pi / 5), cup * 0.28, cup * 0.28, tone, _shade(tone, 0.75))
    pen.blob(lip, cup * 0.72, cup * 0.72, _shade(tone, 0.62))


def _layers(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    main, second = _colours(traits)
    shape = traits.species.petal_shape
    first = dice.between(0, 2 * math.pi)
    width = 1.25 if shape == "round" else 0.9
    for ring, share in enumerate((1.0, 0.78, 0.56, 0.34)):
        count = max(4, traits.petals - (2 if shape != "narrow" else 4) * ring)
        for petal in range(count):
            angle = first + ring * 0.45 + 2 * math.pi * (petal + dice.between(-0.15, 0.15)) / count
            tone = _shade(_varied(main, dice, 0.08), 1.06 - 0.09 * ring)
            if traits.species.pattern in ("edge", "tips"):
                pen.petal(frame, shape, angle, radius * share, width, second)
                pen.petal(frame, shape, angle, radius * share * 0.86, width * 0.9, tone)
            else:
                pen.petal(frame, shape, angle, radius * share, width, tone)
    heart = PALETTE[traits.species.centre] if traits.species.centre != "none" else _shade(main, 0.7)
    pen.blob(frame.middle, radius * 0.09, radius * 0.09, heart)


def _cup(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    main, second = _colours(traits)
    shape = traits.species.petal_shape
    base = _Frame(frame.middle + complex(0, radius * 0.8), 1.0, frame.turn)
    length = radius * 1.65
    width = 0.75 if shape == "round" else 1.0
    if traits.species.centre != "none":
        for lean in (-0.3, -0.1, 0.1, 0.3):
            tip = base.middle + cmath.rect(length * 0.95, -math.pi / 2 + lean)
            pen.stroke((base.middle, tip), 2, PALETTE[traits.species.centre])
    for lean, dim in ((-0.34, 0.86), (0.34, 0.86), (0.0, 1.0)):
        angle = -math.pi / 2 + lean + dice.between(-0.05, 0.05)
        tone = _shade(_varied(main, dice, 0.06), dim)
        if traits.species.pattern in ("edge", "tips"):
            pen.petal(base, shape, angle, length, width, second)
            pen.petal(base, shape, angle, length * 0.86, width * 0.85, tone)
            continue
        pen.petal(base, shape, angle, length * (0.9 if lean == 0.0 else 1.0), width, tone)
        if traits.species.pattern == "eye":
            pen.petal(base, shape, angle, length * 0.5, width, second)
        elif traits.species.pattern == "stripes":
            for side in (-0.12, 0.0, 0.12):
                ray = [cmath.rect(length * reach, angle + side) for reach in (0.2, 0.8)]
                pen.stroke(_points(base.place(ray)), 1, second)


def _iris(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    main, second = _colours(traits)
    for angle in (-math.pi / 2 - 0.45, -math.pi / 2 + 0.45, -math.pi / 2):
        tone = _shade(_varied(main, dice), 1.18)
        pen.petal(frame, "round", angle, radius * 1.05, 0.85, tone)
    for angle in (math.pi / 2 - 1.05, math.pi / 2 + 1.05, math.pi / 2):
        tone = _varied(main, dice)
        pen.petal(frame, "round", angle, radius * 1.15, 0.8, tone)
        pen.petal(frame, "narrow", angle, radius * 0.65, 1.2, second)


def _spathe(pen: _Pen, traits: Traits, frame: _Frame, radius: float, dice: Dice) -> None:
    main, _ = _colours(traits)
    tone = _varied(main, dice)
    if traits.species.petal_shape == "pointed":  # a flat heart
        outline = [0.55j, 0.75 + 0.5j, 1.0, 0.7 - 0.6j, 0.1 - 1.15j, -0.5 - 0.7j, -0.9 - 0.1j, -0.7 + 0.45j]
    else:  # a rolled funnel, open at the top
        outline = [0.05 + 1.15j, 0.5 + 0.2j, 0.8 - 0.6j, 0.25 - 1.2j, -0.4 - 0.85j, -0.7 - 0.3j, -0.35 + 0.4j]
    pen.patch(frame.place(radius * point for point in outline), tone, _shade(tone, 0.7))
    spadix = frame.place((radius * 0.35j, radius * (0.12 - 0.7j)))
    pen.stroke(_points(spadix), max(4, int(radius / 6)), PALETTE[traits.species.centre])


def _globe(pen: _Pen, traits: Traits, frame: _Frame, radius: float, green: Colour, dice: Dice) -> None:
    main, _ = _colours(traits)
    shape = traits.species.petal_shape
    radius *= 0.95
    if shape == "narrow":  # stalked florets that stand away from the middle
        for spoke in range(30):
            reach = radius * dice.between(0.5, 1.1)
            tip = frame.middle + cmath.rect(reach, spoke * 2 * math.pi / 30 + dice.between(-0.1, 0.1))
            pen.stroke((frame.middle, tip), 1, green)
            star = _Frame(tip, 1.0, 1 + 0j)
            tone = _varied(main, dice, 0.16)
            for arm in range(3):
                pen.petal(star, "narrow", arm * 2.1 + spoke, radius * 0.26, 2.4, tone)
        return
    pen.blob(frame.middle, radius * 0.96, radius * 0.9, _shade(main, 0.72))
    count, size = (34, 0.2) if shape == "round" else (70, 0.09)
    for _ in range(count):
        spot = frame.middle + cmath.rect(radius * math.sqrt(dice.unit()) * 0.94, dice.between(0, 2 * math.pi))
        tone = _varied(main, dice, 0.14)
        if shape == "round":  # a floret of four petals
            for corner in (1, 1j, -1, -1j):
                pen.blob(spot + corner * radius * size * 0.55, radius * size * 0.55, radius * size * 0.55, tone)
            pen.blob(spot, 1, 1, _shade(main, 0.6))
        else:
            spike = spot + (spot - frame.middle) * 0.16
            pen.stroke((spot, spike), 2, tone)


def _umbel(pen: _Pen, traits: Traits, frame: _Frame, radius: float, green: Colour, dice: Dice) -> None:
    main, _ = _colours(traits)
    fork = frame.middle + complex(0, radius * 0.75)
    buttons = traits.species.petal_shape == "round"
    rays = 15 if buttons else 17
    for ray in range(rays):
        lean = (ray / (rays - 1) - 0.5) * 2.1
        tip = fork + cmath.rect(radius * dice.between(0.8, 1.35), -math.pi / 2 + lean)
        tip = complex(tip.real, tip.imag * 0.75 + (fork.imag - radius) * 0.25)
        pen.stroke((fork, tip), 1, green)
        if buttons:
            tone = _varied(main, dice, 0.12)
            pen.blob(tip, radius * 0.19, radius * 0.16, tone, _shade(tone, 0.65))
            continue
        for _ in range(9):
            dot = tip + complex(dice.between(-0.22, 0.22) * radius, dice.between(-0.14, 0.14) * radius)
            pen.blob(dot, 1.7, 1.4, _varied(main, dice, 0.08))


def _thistle(pen: _Pen, traits: Traits, frame: _Frame, radius: float, green: Colour, dice: Dice) -> None:
    main, _ = _colours(traits)
    ball = frame.middle + complex(0, radius * 0.4)
    for ray in range(34):
        lean = (ray / 33 - 0.5) * 1.7 + dice.between(-0.05, 0.05)
        tip = ball + cmath.rect(radius * dice.between(1.25, 1.5), -math.pi / 2 + lean) * frame.turn
        pen.stroke((ball, tip), 2, _varied(main, dice, 0.2))
    pen.blob(ball, radius * 0.62, radius * 0.58, green, _shade(green, 0.6))
    for _ in range(22):
        spot = ball + cmath.rect(radius * 0.55 * math.sqrt(dice.unit()), dice.between(0, 2 * math.pi))
        pen.stroke((spot, spot + (spot - ball) * 0.4), 1, _shade(green, dice.pick((0.55, 1.4))))


def _spike(pen: _Pen, traits: Traits, middle: complex, radius: float, root: complex, green: Colour, dice: Dice) -> None:
    main, second = _colours(traits)
    shape, pattern = traits.species.petal_shape, traits.species.pattern
    height = radius * 2.3
    top = middle - complex(dice.between(-8, 8), height * 0.5)
    low = top + complex((root.real - top.real) * 0.3, height)
    pen.stroke((root, low, top), max(2, int(radius / 12)), green)
    rows = 14 if shape in ("fine", "narrow") else 9
    thick = radius * {"fine": 0.2, "narrow": 0.34, "round": 0.42, "bell": 0.44}.get(shape, 0.4)
    for row in range(rows):
        share = (row + 0.5) / rows
        spot = top + (low - top) * share
        reach = thick * (0.45 + 0.75 * share)
        colour = main
        if pattern == "bicolour" and share > 0.55:
            colour = second
        sides = (-1.0, 1.0) if shape in ("bell", "narrow", "fine") else (-1.0, 0.0, 1.0)
        for side in sides:
            tone = _varied(colour, dice, 0.13)
            if shape in ("bell", "narrow"):
                hang = math.pi / 2 - side * (0.75 if shape == "bell" else 0.5)
                frame = _Frame(spot + complex(side * reach * 0.15, 0), 1.0, 1 + 0j)
                length = reach * 1.7
                pen.petal(
                    frame,
                    "bell" if shape == "bell" else "narrow",
                    hang,
                    length,
                    0.75 if shape == "bell" else 2.2,
                    tone,
                )
                if pattern == "spots":
                    for _ in range(3):
                        mark = frame.middle + cmath.rect(
                            length * dice.between(0.55, 0.95), hang + dice.between(-0.18, 0.18)
                        )
                        pen.blob(mark, 1.2, 1.2, second)
            else:
                lump = spot + complex(side * reach * 0.75, dice.between(-2, 2))
                size = reach * (0.42 if shape == "round" else 0.55)
                pen.blob(lump, size, size * 0.9, tone, _shade(tone, 0.75))


def _bells(pen: _Pen, traits: Traits, middle: complex, radius: float, root: complex, green: Colour, dice: Dice) -> None:
    main, second = _colours(traits)
    side = dice.pick((-1.0, 1.0))
    count = traits.petals
    reach = radius * (0.95 if count > 1 else 0.5)
    peak = middle + complex(-side * reach * 0.3, -radius * 0.85)
    tip = middle + complex(side * reach, -radius * (0.35 if count > 1 else 0.5))
    pen.stroke((root, middle + complex(-side * reach * 0.6, radius * 0.5), peak, tip), 2, green)
    size = radius * (0.62 if count > 3 else 0.85 if count > 1 else 1.35)
    for bell in range(count):
        share = bell / max(1, count - 1)
        if count == 1:
            top = tip
        elif share < 0.5:
            start = middle + complex(-side * reach * 0.6, radius * 0.5)
            top = start + (peak - start) * (share * 2)
        else:
            top = peak + (tip - peak) * (share * 2 - 1)
        tone = _varied(main, dice)
        frame = _Frame(top + complex(0, 2), 1.0, 1 + 0j)
        hang = math.pi / 2 - side * dice.between(0.0, 0.3)
        if traits.species.petal_shape == "bell":
            pen.petal(frame, "bell", hang, size, 1.05, tone)
            if traits.species.pattern == "spots":
                for column in range(-2, 3):
                    for line in range(1, 5):
                        at = cmath.rect(1.0, hang) * complex(size * (0.16 + 0.17 * line), size * 0.12 * column)
                        if (column + line) % 2 == 0:
                            pen.blob(frame.middle + at, size * 0.045, size * 0.045, second)
        else:
            for lean in (-0.42, 0.42, 0.0):
                pen.petal(frame, "pointed", hang + lean, size, 1.0, _varied(tone, dice, 0.04))
                if traits.species.pattern == "tips":
                    pen.blob(
                        frame.middle + cmath.rect(size * 0.86, hang + lean * 0.9),
                        size * 0.07,
                        size * 0.07,
                        second,
                    )
            pen.blob(frame.middle, size * 0.13, size * 0.13, green)


def _hearts(
    pen: _Pen, traits: Traits, middle: complex, radius: float, root: complex, green: Colour, dice: Dice
) -> None:
    main, second = _colours(traits)
    side = dice.pick((-1.0, 1.0))
    left, right = middle - side * radius * 1.3, middle + side * radius * 1.5
    arch = [
        root,
        left - complex(0, radius * 0.2),
        middle - complex(0, radius * 0.9),
        right - complex(0, radius * 0.7),
    ]
    pen.stroke(arch, 2, _shade(PALETTE["maroon"], 1.2) if dice.chance(0.4) else green)
    size = radius * 0.42
    for heart in range(traits.petals):
        share = (heart + 0.5) / traits.petals * 2
        start, end = (arch[1], arch[2]) if share < 1 else (arch[2], arch[3])
        top = start + (end - start) * (share % 1.0)
        tone = _varied(main, dice)
        middle_of_heart = top + complex(0, size * 0.9)
        pen.stroke((top, middle_of_heart), 1, green)
        pen.blob(middle_of_heart - size * 0.42, size * 0.5, size * 0.52, tone)
        pen.blob(middle_of_heart + size * 0.42, size * 0.5, size * 0.52, tone)
        frame = _Frame(middle_of_heart, 1.0, 1 + 0j)
        pen.patch(frame.place((complex(-size * 0.9, 0), complex(size * 0.9, 0), complex(0, size))), tone)
        pen.blob(middle_of_heart + complex(0, size * 1.15), size * 0.22, size * 0.34, second)


def _on_water(pen: _Pen, traits: Traits, dice: Dice, green: Colour) -> None:
    main, second = _colours(traits)
    for _ in range(dice.whole(4, 7)):
        spot = complex(dice.between(0, _CANVAS), dice.between(50, _CANVAS))
        across = dice.between(18, 32)
        tone = _varied(green, dice, 0.18)
        pen.blob(spot, across, across * 0.5, tone, _shade(tone, 0.7))
        cut = spot + cmath.rect(across, dice.between(0, 2 * math.pi))
        pen.stroke((spot, complex(cut.real, spot.imag + (cut.imag - spot.imag) * 0.5)), 2, _shade(tone, 0.6))
    radius = 36 * dice.between(0.8, 1.15)
    middle = complex(64 + dice.between(-14, 14), 68 + dice.between(-10, 12))
    frame = _Frame(middle + complex(0, radius * 0.35), dice.between(0.7, 0.85), 1 + 0j)
    for ring, share in enumerate((1.15, 0.92, 0.66)):
        count = traits.petals - 2 * ring
        for petal in range(count):
            angle = -math.pi * (petal + 0.5 + dice.between(-0.15, 0.15)) / count * 1.16 + 0.25
            tone = _shade(_varied(main, dice, 0.05), 0.92 + 0.05 * ring)
            shape = traits.species.petal_shape
            if traits.species.pattern == "tips":
                pen.petal(frame, shape, angle, radius * share, 0.75, second)
                pen.petal(frame, shape, angle, radius * share * 0.8, 0.75, tone)
            else:
                pen.petal(frame, shape, angle, radius * share, 0.9, tone)
    if traits.species.centre != "none":
        heart = frame.middle - complex(0, radius * 0.22)
        size = radius * (0.3 if traits.species.centre_size == "large" else 0.2)
        pen.blob(heart, size, size * 0.75, PALETTE[traits.species.centre])
