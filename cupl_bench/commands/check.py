"""`cupl-bench check`: whether finished runs are complete, whole and what they say, without data and without a model."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cupl_bench.archive import import_runs, is_archive
from cupl_bench.checking import AskedQuestion, Checked, Finding, check_runs, damaged_archive, exit_code
from cupl_bench.commands.arguments import Arguments
from cupl_bench.commands.questions import show_configuration
from cupl_bench.composition import NO_QUESTION, Questions, is_about, read_questions
from cupl_bench.config import question_of
from cupl_bench.errors import ConfigError, ResultsError, first
from cupl_bench.schema import Output
from cupl_bench.terminal import answer, rows_of, say, speak_to_program

__all__ = ["command"]

ENDINGS = {0: "all well", 1: "something differs", 2: "something cannot be judged"}


def command(given: Arguments) -> int:
    """Check the runs of a folder or an archive, beside an experiment if there is one; return the exit code.

    0: all is well. 1: something differs or is damaged. 2: it cannot be judged.
    """
    questions = read_questions(given.overrides, given.config_dir, several=True)
    if given.cfg is not None:
        show_configuration(questions, given.cfg)
        return 0
    speak_to_program(questions.settings.output == Output.json)
    asked = None
    if any(not is_about(one, NO_QUESTION) for one in given.overrides):
        asked = _asked(questions)
    place = questions.results_dir
    if given.plain:
        place = _archive(given)
        found = _check_archive(place, asked)
    else:
        found = check_runs(place, asked)
    code = exit_code(found.findings)
    _show(place, found, code)
    if questions.settings.output == Output.json:
        answer(
            {
                "checked": str(place),
                "exit_code": code,
                "verdict": ENDINGS[code],
                "run_keys": found.run_keys,
                "findings": [asdict(one) for one in found.findings],
                "published": rows_of(found.published),
            }
        )
    return code


def _asked(questions: Questions) -> list[AskedQuestion]:
    return [
        AskedQuestion(name=one.name, words=question_of(questions.composer(one.overrides)).config)
        for one in questions.all
    ]


def _archive(given: Arguments) -> Path:
    if len(given.plain) > 1:
        raise ConfigError(f"check takes one archive, not {len(given.plain)}: {first(given.plain, 3)}.")
    if any(is_about(one, ["results_dir"]) for one in given.overrides):
        raise ConfigError("check takes an archive or results_dir=FOLDER, not both.")
    path = Path(given.plain[0]).expanduser()
    if path.is_dir():
        raise ConfigError(f"{path} is a folder. Check it with results_dir={path}")
    return path


def _check_archive(path: Path, asked: Sequence[AskedQuestion] | None) -> Checked:
    """Check the runs of an archive, which is unpacked into a folder of its own as import would."""
    with tempfile.TemporaryDirectory(prefix="cupl-bench-check-") as folder:
        try:
            import_runs(path, Path(folder))
        except ResultsError as error:
            if not is_archive(path):
                raise
            return damaged_archive(path, error)
        return check_runs(Path(folder), asked)


def _show(place: Path, found: Checked, code: int) -> None:
    say(f"checked   {place}: {len(found.run_keys):,} finished runs\n")
    for one in found.findings:
        _show_finding(one)
    differ = [one.check for one in found.findings if one.verdict == "differs"]
    unknown = [one.check for one in found.findings if one.verdict == "cannot be judged"]
    said = [f"{len(found.findings)} checks: {ENDINGS[code]}"]
    said += [f"differs: {', '.join(differ)}"] if differ else []
    said += [f"cannot be judged: {', '.join(unknown)}"] if unknown else []
    say(f"\n{'; '.join(said)}")


def _show_finding(one: Finding) -> None:
    say(f"{one.verdict:<17} {one.check:<17} {one.subject}: {one.reason}")
    for case in one.cases:
        say(f"{'':<36}{case}")
    if one.count > len(one.cases) > 0:
        say(f"{'':<36}and {one.count - len(one.cases):,} more")
