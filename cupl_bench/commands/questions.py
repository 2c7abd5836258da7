"""The questions that the arguments of a command ask."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import Questions, read_questions
from cupl_bench.terminal import say

__all__ = ["asked", "each_question", "show_configuration"]


def asked(given: Arguments) -> Arguments:
    """Return the arguments, or those of the embedded demo where there are none."""
    return given if given.given else replace(given, given=("experiment=demo",), overrides=["experiment=demo"])


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
