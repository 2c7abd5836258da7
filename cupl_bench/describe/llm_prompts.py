"""LLM-prompts: CuPL's as they were published, filled with class names.

``{}`` stands for the class name, ``{a}`` for its article, ``{thing}`` for the class name with the data set's category
("the bird {}").
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cupl_bench.describe import DescribeError
from cupl_bench.errors import first, nearest

__all__ = ["LlmPrompt", "article", "filled", "read_llm_prompts", "thing_of"]

PUBLISHED = Path(__file__).with_name("llm_prompts.json")

SOUNDS_YOU = re.compile(
    r"(uni(?!n|m|d)|u[bst][aeiou]|uk[eu]|eu|ewe|once\b|one\b)", re.IGNORECASE
)  # a unicycle, a utensil, a ukulele, a eucalyptus, a ewer, a one-piece
SILENT_H = re.compile(r"(hour|heir|honest|hono)", re.IGNORECASE)
SPELT = re.compile(r"([A-Z])(?![a-z])(?:[B-DF-HJ-NP-TV-Z]*)(?![A-Za-z])")  # an FM radio, an F-16, a T-shirt
NUMBER = re.compile(r"(8|11(?!\d)|18(?!\d))")  # an 8, an 11, an 18, an 80; but a 1100


@dataclass(frozen=True, kw_only=True)
class LlmPrompt:
    """A question with its gaps. ``status``: V read in a source, D inferred, M unverified, P the project's, U a user's.

    ``source``: where the wording comes from.
    """

    text: str
    status: str
    source: str


def article(name: str, rule: Literal["fixed", "paper"]) -> str:
    """Return the indefinite article of a name.

    `paper` has "an" before a capital A, E, I, O or U and "a" before all else, so "a electric ray". `fixed` goes by
    sound: vowels of either case; letters that are spelt ("an FM radio"), numbers that begin with a vowel ("an 8"),
    "u" and "eu" as in unicycle, and a silent h.

    Source: CuPL, `generate_image_prompts.py` @719619c, for `paper`.
    """
    if rule == "paper":
        return "an" if name[:1] in tuple("AEIOU") else "a"
    word = name.lstrip(" '\"([{")
    if spelt := SPELT.match(word):
        return "an" if spelt.group(1) in "AEFHILMNORSX" else "a"
    if NUMBER.match(word) or SILENT_H.match(word):
        return "an"
    return "an" if word[:1].casefold() in tuple("aeiouáàâäéèêëíìîïóòôöúùûü") and not SOUNDS_YOU.match(word) else "a"


def filled(template: str, class_name: str, thing: str, rule: Literal["fixed", "paper"]) -> str:
    """Return ``template`` with each gap filled; braces in the class name stay as they are.

    >>> filled("Describe what {a} {} looks like", "owl", thing="", rule="fixed")
    'Describe what an owl looks like'
    """
    gaps = {"{a}": article(class_name, rule), "{}": class_name}
    return re.sub(r"\{a?\}", lambda gap: gaps[gap.group()], template.replace("{thing}", thing))


def thing_of(dataset: str) -> str:
    """Return how CuPL's base LLM-prompts call a class of a data set: with its category, or with an article alone."""
    things = _published()["things"]
    return str(things.get(dataset, things["default"])["text"])


def read_llm_prompts(source: str | Sequence[str], dataset: str) -> list[LlmPrompt]:
    """Return the LLM-prompts `base` or `full` of a data set, or a user's own: a JSON list or a list.

    Raises:
        DescribeError: there are none, or one has no gap for the class name.
    """
    if source == "base":
        return [LlmPrompt(**one) for one in _published()["base"]]
    if source == "full":
        full = _published()["full"]
        if dataset not in full:
            raise DescribeError(
                f"CuPL has no full LLM-prompts for {dataset}; it has them for {', '.join(full)}. Take"
                " describe.llm_prompts=base, or give a list of your own."
            )
        found = full[full[dataset]] if isinstance(full[dataset], str) else full[dataset]
        return [LlmPrompt(**one) for one in found]
    where = "describe.llm_prompts"
    content: object = source
    if isinstance(source, str):
        if not source.endswith(".json"):
            raise DescribeError(
                f"{where}={source} is neither base, full, a list, nor a path to a JSON list."
                f"{nearest(source, ['base', 'full'])}"
            )
        where, content = source, _read_list(Path(source).expanduser())
    if not isinstance(content, list | tuple) or not content or not all(isinstance(one, str) for one in content):
        raise DescribeError(f"{where} should hold a list of LLM-prompts, each a text such as 'Describe {{a}} {{}}.'.")
    if wrong := [one for one in content if "{}" not in one and "{thing}" not in one]:
        raise DescribeError(
            f"{len(wrong)} of {len(content)} LLM-prompts of {where} lack the {{}} that stands for the class name,"
            f" first: {first(wrong)}."
        )
    return [LlmPrompt(text=one, status="U", source="the user's") for one in content]


def _read_list(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DescribeError(f"{path} cannot be read as a JSON list of LLM-prompts ({error}).") from error


def _published() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return content
