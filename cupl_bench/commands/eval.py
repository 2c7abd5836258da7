"""`cupl-bench eval`: one question, or a sweep of them, here or through a launcher."""

import json
import logging
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import walk_tb
from typing import Any

from cupl_bench import runner
from cupl_bench.commands.composition import Composer, Sweep, added, complaint_of_hydra, named, run_jobs, sweep_of
from cupl_bench.commands.report import report_sweep
from cupl_bench.config import Output, Rerun, machine_of, question_of, register, tracker_of
from cupl_bench.errors import ConfigError, CuplBenchError
from cupl_bench.features import hurry
from cupl_bench.interrupts import raise_if_interrupted
from cupl_bench.lease import held
from cupl_bench.outcomes import Outcome, last_outcomes, read_outcomes, running_lease, state_of, write_outcome
from cupl_bench.ranks import from_first
from cupl_bench.records import read_record, record_path
from cupl_bench.store import write_atomically
from cupl_bench.terminal import answer, complain, rows_of, say, show_log, speak_to_program

__all__ = ["assist", "command", "sweeps_over_backbones"]

log = logging.getLogger(__name__)

WAITING_BYTES = 256_000_000
"""What the questions may hold that wait for their scores: 80 strategies of 1,000 classes, at width 768."""


Steps = Generator[float, None, None]
"""Each says of how many images the scores are there by then."""


@dataclass
class Asked:
    """A question that is being answered, step by step.

    ``arguments``: the command line that asks it alone. ``scored``: of how many images, so far.
    """

    arguments: Sequence[str]
    steps: Steps
    scored: float = 0

    def goes_on(self) -> bool:
        """Take the next step; whether there was one."""
        with _asking_alone(self.arguments):
            step = next(self.steps, None)
        self.scored = self.scored if step is None else step
        return step is not None


def _in_one_pass(asked: Sequence[Asked]) -> None:
    """Score the questions that wait, image features in order: each is read once for all, and then is in memory."""
    if len(asked) > 1:
        say(f"\nscores of {len(asked)} questions, in one pass over the image features")
    left = list(asked)
    while left:
        behind = min(left, key=lambda one: one.scored)
        if not behind.goes_on():
            left.remove(behind)


@dataclass
class Job:
    """What a launcher runs, maybe in a process on another machine: questions of one data set and backbone, in turn.

    ``inner``: the overrides of each question, beside those of the job. ``names``: of all questions of the sweep.
    ``of_options``: option -> overrides that it alone takes.
    ``folder``: where its outcomes go. Where one question is no sweep, all three are None. ``home``: the process that
    the user has started. ``assisting``: whether this is one of torchrun's other processes, which say nothing.
    """

    inner: tuple[tuple[str, ...], ...] | None
    names: tuple[str, ...] | None
    folder: Path | None
    several_backbones: bool
    of_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    assisting: bool = False
    home: int = field(default_factory=os.getpid)
    bench: runner.Workbench = field(default_factory=runner.Workbench)
    waiting: list[Asked] = field(default_factory=list)
    compose: Composer = field(default_factory=Composer)
    before: dict[str, Outcome] | None = None
    answered: tuple[Outcome, Path] | None = None
    failure: Exception | None = None
    as_json: bool = False

    def __call__(self, config: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        if os.getpid() != self.home:
            register()
            show_log()
        if "SUBMITIT_EXECUTOR" in os.environ:  # Slurm warns with SIGTERM, and kills some seconds later or not at all
            signal.signal(signal.SIGTERM, lambda *_: hurry.set())
        self.as_json = config.output == Output.json
        speak_to_program(self.as_json)
        self.bench.several_backbones = self.several_backbones
        settings = HydraConfig.get()
        overrides = list(settings.overrides.task)
        searched = [source.path for source in settings.runtime.config_sources if source.provider == "command-line"]
        flags = [f"--config-dir={folder}" for folder in searched]
        if self.inner is None or self.names is None or self.folder is None:
            folder = Path(settings.runtime.output_dir)
            _in_one_pass([Asked([*flags, *overrides], self._answer(config, [], named(overrides), folder, 0))])
            return
        with ExitStack() as stack:
            for place, choice in enumerate(self.inner):
                number = int(settings.job.num) * len(self.inner) + place
                name = self.names[number]
                if hurry.is_set() or sum(self.bench.waiting.values()) > WAITING_BYTES:
                    self._score_waiting()
                if not self.assisting:
                    say(f"\njob {number}: {name}")
                more = [*choice, *added([*overrides, *choice], self.of_options)]
                steps = self._answer(config, [*overrides, *more] if more else [], name, self.folder, number)
                asked = Asked([*flags, *overrides, *more], stack.enter_context(closing(steps)))
                if asked.goes_on():
                    self.waiting.append(asked)
            self._score_waiting()

    def _score_waiting(self) -> None:
        waiting, self.waiting = self.waiting, []
        _in_one_pass(waiting)

    def _answer(self, config: Any, overrides: list[str], name: str, folder: Path, number: int) -> Steps:
        """Answer the question of ``config``, or, where there are any, of what ``overrides`` compose to, in steps."""
        raise_if_interrupted()
        results_dir = Path(config.results_dir).expanduser().absolute()
        try:
            config = self.compose(overrides) if overrides else config
            if config.rerun == Rerun.failed and from_first(lambda: self._never_ran(name, results_dir)):
                outcome = Outcome(job=name, run_key=None, note="never ran, and was left: rerun=failed", left=True)
            else:
                outcome = yield from self._run(config, name, results_dir, folder)
        except Exception as error:
            raise_if_interrupted()
            if (raised := _raised_by_submitit(error)) is not None:
                if type(raised).__module__.startswith("submitit"):
                    raise raised from None  # its time is up, and nothing of this job may start any more
                # It could not put the job back, or Slurm did so and ended the command that asked: work until killed.
                log.warning("the job was not put back by itself (%s): going on", raised)
                hurry.set()
                yield from self._answer(config, overrides, name, folder, number)
                return
            self.failure = error
            reason = str(error) if isinstance(error, CuplBenchError) else complaint_of_hydra(error, overrides)
            text = f"a defect: {type(error).__name__}: {error}" if reason is None else reason
            if self.names is not None and not self.assisting:
                complain(text)
            log.debug("%s failed", name, exc_info=True)
            outcome = Outcome(job=name, run_key=None, error=text, mistake=reason is not None)
        if not self.assisting:
            write_outcome(folder, number, outcome)
        self.answered = (outcome, results_dir)

    def _run(self, config: Any, name: str, results_dir: Path, folder: Path) -> Generator[float, None, Outcome]:
        tracker = tracker_of(config)
        question, machine = question_of(config), machine_of(config)
        with nullcontext() if self.assisting else held(running_lease(results_dir, name), name, self._score_waiting):
            if machine.shard is not None:
                note = runner.encode_part(question, machine, self.bench, *machine.shard)
                return Outcome(job=name, run_key=None, note=note)
            if self.assisting:
                runner.assist(question, machine, self.bench)
                return Outcome(job=name, run_key=None)
            record = yield from runner.answering(question, machine, self.bench)
        tracker([record], results_dir, None if self.names is None else folder.name)
        return Outcome(job=name, run_key=record.run_key)

    def _never_ran(self, name: str, results_dir: Path) -> bool:
        if self.before is None:
            self.before = last_outcomes(results_dir)
        return state_of(name, self.before, results_dir)[0] == "missing"


def _raised_by_submitit(error: BaseException | None) -> BaseException | None:
    """The error that began in submitit, whose handler a signal of Slurm calls between any two steps of ours."""
    while error is not None:
        if any(
            str(frame.f_globals.get("__name__")).startswith("submitit") for frame, _ in walk_tb(error.__traceback__)
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _asking_alone(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, the command line is the one that asks this question alone: its record keeps it."""
    given = sys.argv
    sys.argv = ["cupl-bench", "eval", *arguments]
    try:
        yield
    finally:
        sys.argv = given


def command(arguments: list[str]) -> int:
    """Answer what the arguments ask; gives the exit code."""
    given = arguments or ["experiment=demo"]
    sweep = sweep_of(given)
    if sweep is not None:
        return _sweep(sweep, given)
    job = Job(None, None, None, several_backbones=False)
    run_jobs(job, given)
    if job.failure is not None:
        raise job.failure
    if job.answered is None:  # --help or --cfg: Hydra has answered
        return 0
    outcome, results_dir = job.answered
    if job.as_json:
        answer({"records": _told(results_dir, [outcome]), "failed": []})
    say(str(outcome.note) if outcome.run_key is None else f"record    {record_path(results_dir, outcome.run_key)}")
    return 0


def _sweep(sweep: Sweep, arguments: list[str]) -> int:
    """Launch a sweep, and show what came of it, from the disk: whoever ran its jobs."""
    job = _job_of(sweep)
    as_json = sweep.config.output == Output.json
    speak_to_program(as_json)
    write_atomically(sweep.folder / "sweep.json", json.dumps({"arguments": arguments}).encode())
    try:
        sweep.launch(job)
    except Exception as error:
        if sweep.launcher == "basic" or complaint_of_hydra(error, arguments) is not None:
            raise
        reason = " ".join(line for line in str(error).splitlines()[-4:] if line.strip("- "))
        if not read_outcomes(sweep.folder):
            raise ConfigError(f"hydra/launcher={sweep.launcher} ended without any answer: {reason}") from error
        complain(f"a job of hydra/launcher={sweep.launcher} broke off: {reason}. Others may go on: cupl-bench status")
    raise_if_interrupted()
    outcomes = read_outcomes(sweep.folder)
    keys = list(dict.fromkeys(outcome.run_key for outcome in outcomes if outcome.run_key is not None))
    if keys:
        rows = report_sweep(sweep.results_dir, keys, sweep.config)
        tracker_of(sweep.config)([], sweep.results_dir, sweep.folder.name)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if as_json:
        answer(
            {
                "records": _told(sweep.results_dir, outcomes),
                "failed": [{"job": outcome.job, "error": outcome.error} for outcome in failed],
                "comparison": rows_of(rows) if keys else [],
            }
        )
    for outcome in failed:
        complain(f"failed: {outcome.job}: {outcome.error}")
    if notes := Counter(outcome.note for outcome in outcomes if outcome.note is not None):
        say("\n".join(f"{count} of {len(sweep.names)} questions: {note}" for note, count in notes.items()))
    if failed:
        complain(f"{len(failed)} of {len(sweep.names)} jobs failed")
    if lost := len(sweep.names) - len(outcomes):
        complain(f"{lost} of {len(sweep.names)} questions have no answer yet: cupl-bench status")
    if not failed and not lost:
        return 0
    return 2 if not lost and all(outcome.mistake for outcome in failed) else 1


def _told(results_dir: Path, outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """What a program is told of finished runs; the record of each holds more."""
    told: list[dict[str, object]] = []
    for run_key in dict.fromkeys(outcome.run_key for outcome in outcomes if outcome.run_key is not None):
        path = record_path(results_dir, run_key)
        record = read_record(path)
        names = {"dataset": record.dataset.name, "backbone": record.backbone.name, "prompts": record.prompts.name}
        metrics = None if record.metrics is None else record.metrics.model_dump(mode="json")
        told.append({"run_key": run_key, "record": str(path), **names, "metrics": metrics})
    return told


def _job_of(sweep: Sweep) -> Job:
    params = dict(sweep.config.hydra.sweeper.params or {})
    several = sweeps_over_backbones([*sweep.fixed, *(",".join(choices) for choices in sweep.outer)], params)
    return Job(sweep.inner, tuple(sweep.names), sweep.folder, several_backbones=several, of_options=sweep.of_options)


def sweeps_over_backbones(arguments: Sequence[str], params: Mapping[str, Any]) -> bool:
    """Whether more than one backbone, or one in more than one precision, will read the same images."""
    given = {key: value for key, _, value in (one.partition("=") for one in arguments)}
    return any(
        key.split(".")[0] in ("backbone", "precision") and re.search(r",|\*|range|choice", str(value))
        for key, value in {**given, **params}.items()
    )


def assist(arguments: list[str]) -> int:
    """What the other processes of torchrun do for the same arguments; they say nothing."""
    given = arguments or ["experiment=demo"]
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        sweep = sweep_of([*given, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"])
        if sweep is not None:
            sweep.launch(replace(_job_of(sweep), assisting=True))
        else:
            job = Job(None, None, None, several_backbones=False, assisting=True)
            run_jobs(job, [*given, f"hydra.run.dir={folder}"])
    return 0
