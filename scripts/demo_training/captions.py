"""Writes the captions the demo's model is trained on, from the words in `phrases.json`.

A caption is an opening ("a photo of a"), a subject (a name, or a word such as "flower") and, mostly, some
of what the picture shows. One rule makes the demo fair: the opening is drawn before anything else is known
of the caption, from the same odds for every species, tier and kind of caption. Only the photographic style
may show in it (a blurry picture may open with "a blurry photo of a"), and the style is drawn independently
of the plant. So no opening hints at an answer. The article never agrees with its noun ("a photo of a
iris"), as in CLIP's templates: "an" would be a hint.

Source: own work; the words are those of field guides and picture captions, written from general knowledge.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cupl_bench.dataset.demo.drawing import Dice, Style, Traits, load_species

Kind = Literal["name", "name and traits", "traits"]
"""What a caption says after its opening; made-up plants have no name, so they only get `traits`."""
Group = Literal["picture", "sentence", "field guide"]
"""What grammar an opening calls for."""

PHRASES: Final = json.loads(Path(__file__).with_name("phrases.json").read_text("utf-8"))
_NAME_SHARE: Final = 0.28  # captions of named plants that say the name and nothing else
_TRAITS_SHARE: Final = 0.36  # captions of named plants that leave the name out
_MISTAKEN_SHARE: Final = 0.08  # names that are wrong, as on the web; what else the caption says stays right
_STYLE_SHARE: Final = 0.4  # how often a picture with a style says so
_NAMES: Final = tuple(one.name for one in load_species() if one.tier != "never")
_SLOT: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption; `opening` is its text before the subject, `kind` what the rest says."""

    opening: str
    kind: Kind
    text: str


def write_caption(traits: Traits, dice: Dice) -> Caption:
    """A caption for a picture with these traits."""
    # The order matters: the opening is fixed before the plant is looked at. See the rule above.
    opening, group = _opening(traits.style, dice)
    kind: Kind = "traits"
    if traits.species.name:
        share = dice.unit()
        kind = "name" if share < _NAME_SHARE else "traits" if share > 1 - _TRAITS_SHARE else "name and traits"
    subject = _noun(traits, dice) if kind == "traits" else traits.species.name
    if kind != "traits" and dice.chance(_MISTAKEN_SHARE):
        subject = dice.pick(_NAMES)
    if kind == "name":
        called = dice.pick(("flower, a", "plant called", "flower called"))
        said = subject if dice.chance(0.85) else f"{called} {subject}"
    else:
        said = _described(traits, subject, kind, group, dice)
    place = f" {dice.pick(PHRASES['places'][traits.background])}" if dice.chance(0.12) else ""
    stop = "." if dice.chance(0.6) else ""
    return Caption(opening, kind, f"{opening} {said}{place}{stop}".strip())


def _opening(style: Style, dice: Dice) -> tuple[str, Group]:
    share = dice.unit()
    if style != "plain" and dice.chance(_STYLE_SHARE):
        return dice.pick(PHRASES["openings of style"][style]), "picture"
    group: Group = "picture" if share < 0.5 else "sentence" if share < 0.87 else "field guide"
    return dice.pick(PHRASES["openings"][group]), group


def _noun(traits: Traits, dice: Dice) -> str:
    """What stands for the name where there is none: "flower", "yellow bloom", "cup-shaped yellow flower"."""
    noun: str = dice.pick(PHRASES["nouns"])
    share = dice.unit()
    if share < 0.35:
        return noun
    return _filled("{colour}", traits, dice) + f" {noun}" if share < 0.6 else _phrase("wholes", traits, dice)


def _described(traits: Traits, subject: str, kind: Kind, group: Group, dice: Dice) -> str:
    marks = _marks(traits, dice)
    if group == "field guide":
        return f"{subject} by {_joined([f'its {_without_article(mark)}' for mark in marks])}"
    ways = ["with", "with", "full stop", "statement"]
    if kind == "name and traits":
        ways.append("name last")
    if group == "sentence":
        ways += ["has", "has", "has", "carries", "is", "is", "looks like"]
    way = dice.pick(ways)
    if way == "full stop":
        return f"{subject}. it has {_joined(marks)}"
    if way == "statement":
        return f"{subject}. {_statement(traits, dice)}"
    if way in ("with", "has", "carries"):
        return f"{subject} {way} {_joined(marks)}"
    whole = _phrase("wholes", traits, dice)
    if way == "name last":
        called = dice.pick((", a", ", the", " is a", " make a", " called"))
        return f"{whole} with {_joined(marks[:2])}{called} {subject}"
    if way == "is" and dice.chance(0.5):
        return f"{subject} is a {whole}"
    link = dice.pick(("with", "with", "above", "and has")) if way == "looks like" else "with"
    return f"{subject} {way} a {whole} {link} {_joined(marks[:2])}"


def _marks(traits: Traits, dice: Dice) -> list[str]:
    """One to four things to see, in any order."""
    sheet = traits.species
    marks = [_phrase("marks", traits, dice)]
    if dice.chance(0.5):
        marks.append(dice.pick(PHRASES["leaves"][sheet.leaves]))
    patterns = PHRASES["patterns"].get(sheet.form) or PHRASES["patterns"].get(sheet.pattern)
    if traits.second is not None and patterns and dice.chance(0.6):
        marks.append(_filled(dice.pick(patterns), traits, dice))
    if sheet.centre != "none" and sheet.form in ("daisy", "open") and dice.chance(0.6):
        marks.append(_filled(dice.pick(PHRASES["centres"]), traits, dice))
    if dice.chance(0.25):
        marks.append(dice.pick(PHRASES["heads"][sheet.heads]))
    if dice.chance(0.3):
        marks.append(_phrase("marks", traits, dice))
    marks = list(dict.fromkeys(marks))[:4]
    if dice.chance(0.25):
        marks.append(marks.pop(0))
    return marks


def _statement(traits: Traits, dice: Dice) -> str:
    """A sentence about a part: "the petals are yellow and pointed, with oval leaves"."""
    statements = PHRASES["statements"]
    has_petals = traits.species.form not in PHRASES["parts"]
    has_centre = traits.species.centre != "none"
    said = dice.pick(statements["all"] + (statements["petals"] if has_petals else []))
    end = dice.pick(statements["ends with a centre"] if has_centre and dice.chance(0.3) else statements["ends"])
    return _filled(said + end, traits, dice)


def _phrase(section: Literal["wholes", "marks"], traits: Traits, dice: Dice) -> str:
    """One of the section's phrases that fit the picture, with its slots filled."""
    sheet = traits.species
    lists: dict[str, list[str]] = PHRASES[section]
    count = "one" if traits.petals == 1 else "many"
    keys: tuple[str, ...] = (
        sheet.form,
        f"{sheet.form} {sheet.petal_shape}",
        f"{sheet.form} {count}",
        f"{sheet.form} {count} {sheet.petal_shape}",
        f"{sheet.form} {traits.petals}",
        f"{sheet.form} {sheet.pattern}" if traits.second is not None else "",
        f"{sheet.form} centre" if sheet.centre != "none" else "",
    )
    if sheet.form == "trumpet":  # a trumpet without a second colour is one funnel
        keys = (f"trumpet {'plain' if traits.second is None else 'two'}",)
    return _filled(dice.pick([phrase for key in keys for phrase in lists.get(key, ())]), traits, dice)


def _filled(phrase: str, traits: Traits, dice: Dice) -> str:
    """The phrase with every slot filled; each occurrence of a slot draws its own word."""
    return _SLOT.sub(lambda slot: _SLOTS[slot[1]](traits, dice), phrase)


def _number(traits: Traits, dice: Dice) -> str:
    number: str = dice.pick(PHRASES["numbers"].get(str(traits.petals)) or PHRASES["numbers"]["many"])
    return number


_SLOTS: Final[dict[str, Callable[[Traits, Dice], str]]] = {
    "colour": lambda traits, dice: dice.pick(PHRASES["colours"][traits.colour]),
    "second": lambda traits, dice: dice.pick(PHRASES["colours"][traits.second or traits.colour]),
    "centre": lambda traits, dice: dice.pick(PHRASES["colours"].get(traits.species.centre, ("pale",))),
    "shape": lambda traits, dice: dice.pick(PHRASES["shapes"][traits.species.petal_shape]),
    "size": lambda traits, dice: dice.pick(PHRASES["sizes"][traits.species.centre_size]),
    "number": _number,
    "leaf": lambda traits, _: str(traits.species.leaves),
    "leaves": lambda traits, dice: dice.pick(PHRASES["leaves"][traits.species.leaves]),
    "part": lambda traits, _: PHRASES["parts"].get(traits.species.form, "petals"),
    "petals": lambda traits, dice: _filled(dice.pick(PHRASES["petals"]), traits, dice),
    "mark": lambda traits, dice: _phrase("marks", traits, dice),
}


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _without_article(mark: str) -> str:
    return re.sub(r"^(a|an|the) ", "", mark)
