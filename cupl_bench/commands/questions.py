"""The questions that the arguments of a command ask."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from cupl_bench.commands import MACHINE, PLACES
from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import Questions, plain_key, read_questions
from cupl_bench.terminal import say

__all__ = ["asked", "each_question", "show_configuration"]


NO_QUESTION = frozenset((*PLACES, *MACHINE, "machine", "tracking", "rerun", "output"))
"""Keys that say where and how to answer, and nothing of what is asked."""


def asked(given: Arguments) -> Arguments:
    """Return the arguments, with the embedded demo before them where they ask nothing: ``eval device=cpu``."""
    says_only_how = all(plain_key(one).split(".")[0] in NO_QUESTION for one in given.overrides)
    if len(given.overrides) < len(given.given) or not says_only_how:
        return given
    demo = ["experiment=demo", *given.overrides]
    return replace(given, given=tuple(demo), overrides=demo)


def each_question(given: Arguments) -> Iterator[tuple[str, Any]]:
    """Yield what each question is called, and its configuration; a list of values needs no flag.

    With ``--cfg`` the configuration is printed, and there is no question.
    """
    given = asked(given)
    questions = read_questions(given.overrides, given.config_dir, several=True)
    if given.cfg is not None:
        show_configuration(questions, given.cfg)
        return
    for one in questions.all:
        yield one.name, questions.composer(one.overrides)


def show_configuration(questions: Questions, part: str) -> None:
    """Print the composed configuration of the first question as YAML: ``job``, ``hydra`` or ``all``."""
    settings = questions.settings
    if part == "job":
        settings = questions.composer(questions.all[0].overrides)
    elif part == "hydra":
        settings = OmegaConf.masked_copy(settings, ["hydra"])
    say(OmegaConf.to_yaml(settings).rstrip())
