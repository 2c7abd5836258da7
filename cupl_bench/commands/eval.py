"""`cupl-bench eval`: one question, or a sweep of them, here or through a launcher."""

import json
import logging
import os
import shlex
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import walk_tb
from typing import Any

from cupl_bench.commands.arguments import Arguments
from cupl_bench.commands.failures import told_once
from cupl_bench.commands.launching import launch, run_alone
from cupl_bench.commands.questions import asked, show_configuration
from cupl_bench.commands.report import report_sweep
from cupl_bench.composition import Combination, Composer, Questions, is_about, read_questions
from cupl_bench.config import machine_of, question_of, tracker_of
from cupl_bench.errors import ConfigError, CuplBenchError
from cupl_bench.interrupts import hurry, raise_if_interrupted
from cupl_bench.lease import held
from cupl_bench.outcomes import Outcome, last_outcomes, read_outcomes, running_lease, state_of, write_outcome
from cupl_bench.paths import absolute
from cupl_bench.ranks import from_first
from cupl_bench.records import Record, read_record, record_path
from cupl_bench.run.bench import Workbench
from cupl_bench.run.flow import all_but_scores, scored
from cupl_bench.run.waiting import Waiting, is_time_to_score
from cupl_bench.schema import Output, Rerun
from cupl_bench.store import write_atomically
from cupl_bench.terminal import answer, complain, say, show_log, speak_to_program
from cupl_bench.tracking import Tracker

__all__ = ["assist", "command", "over_several_backbones"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question of the sweep, and its place there, while it waits for its scores.

    ``tracker``: what takes its record, besides ``results_dir``. ``lease``: held until it is answered.
    """

    question: Combination
    number: int
    waiting: Waiting
    tracker: Tracker
    results_dir: Path
    lease: ExitStack


@dataclass
class Job:
    """What a launcher runs, maybe in a process on another machine: the questions of one of the sweep's jobs, in turn.

    ``jobs``: the questions of every job of the sweep. ``is_sweep``: whether there is one. ``folder``: where its
    outcomes go. ``compose``: composes a question. ``config_dir``: the folder of the user's own options, as given.
    ``home``: the process that the user has started. ``assisting``: whether this is one of torchrun's other processes,
    which say nothing.
    """

    jobs: tuple[tuple[Combination, ...], ...]
    is_sweep: bool
    folder: Path
    compose: Composer
    config_dir: str | None
    several_backbones: bool
    assisting: bool = False
    home: int = field(default_factory=os.getpid)
    bench: Workbench = field(default_factory=Workbench)
    waiting: list[Asked] = field(default_factory=list)
    leases: ExitStack = field(default_factory=ExitStack)
    before: dict[str, Outcome] | None = None
    failure: Exception | None = None
    told: dict[str, str] = field(default_factory=dict)

    def __call__(self, number: int) -> None:
        """Answer the questions of job ``number``."""
        if os.getpid() != self.home:
            show_log()
        if "SUBMITIT_EXECUTOR" in os.environ:  # Slurm warns with SIGTERM, and kills some seconds later or not at all
            signal.signal(signal.SIGTERM, lambda *_: hurry.set())
        self.bench.several_backbones = self.several_backbones
        place = sum(len(job) for job in self.jobs[:number])
        with self.leases:  # whatever ends the job
            for offset, question in enumerate(self.jobs[number]):
                if is_time_to_score(one.waiting for one in self.waiting):
                    self._score_waiting()
                self._answer(question, place + offset)
            self._score_waiting()

    def _score_waiting(self) -> None:
        while self.waiting:  # one that a signal of Slurm broke off waits again
            asked, self.waiting = self.waiting, []
            if len(asked) > 1:
                say(f"\nscores of {len(asked)} questions, in one pass over the image features")
            outcomes = zip(asked, scored([one.waiting for one in asked]), strict=True)
            # Errors last: one of them may say that the time of this job is up.
            for one, found in sorted(outcomes, key=lambda pair: isinstance(pair[1], Exception)):
                one.lease.close()
                with self._own_failure(one.question, one.number):
                    if isinstance(found, Exception):
                        raise found
                    self._leave(one.number, self._outcome_of(found, one.question, one.tracker, one.results_dir))

    def _answer(self, question: Combination, number: int) -> None:
        """Answer a question of the sweep, or leave it among those that wait for their scores."""
        raise_if_interrupted()
        with self._own_failure(question, number):
            config = self.compose(question.overrides)
            speak_to_program(config.output == Output.json)
            if not self.assisting:  # the first line, before anything that takes time
                say(f"\njob {number}: {question.name}" if self.is_sweep else f"question  {question.name}")
            results_dir = absolute(config.results_dir)
            if config.rerun == Rerun.failed and from_first(lambda: self._never_ran(question.name, results_dir)):
                note = "never ran, and rerun=failed does not start it"
                self._leave(number, Outcome(job=question.name, run_key=None, note=note, left=True))
            elif (outcome := self._run(config, question, number, results_dir)) is not None:
                self._leave(number, outcome)

    def _run(self, config: Any, question: Combination, number: int, results_dir: Path) -> Outcome | None:
        """Do all but the scores of a question; return its outcome where that is all of it."""
        name, tracker = question.name, tracker_of(config)
        asked, machine = question_of(config), replace(machine_of(config), command=self._alone(question))
        with ExitStack() as lease:
            if not self.assisting:
                # Two jobs that wait for each other's questions would wait for ever: nothing is held while one waits.
                lease.enter_context(held(running_lease(results_dir, name), name, self._score_waiting))
            if machine.shard is not None:
                from cupl_bench.run.encode import encode_part

                note = encode_part(asked, machine, self.bench, *machine.shard)
                return Outcome(job=name, run_key=None, note=note)
            if self.assisting:
                from cupl_bench.run.encode import assist as assist_run

                assist_run(asked, machine, self.bench)
                return Outcome(job=name, run_key=None)
            found = all_but_scores(asked, machine, self.bench)
            if isinstance(found, Waiting):
                kept = self.leases.enter_context(lease.pop_all())
                self.waiting.append(
                    Asked(
                        question=question,
                        number=number,
                        waiting=found,
                        tracker=tracker,
                        results_dir=results_dir,
                        lease=kept,
                    )
                )
                return None
        return self._outcome_of(found, question, tracker, results_dir)

    def _outcome_of(self, record: Record, question: Combination, tracker: Tracker, results_dir: Path) -> Outcome:
        tracker([record], results_dir, self.folder.name if self.is_sweep else None)
        return Outcome(job=question.name, run_key=record.run_key)

    @contextmanager
    def _own_failure(self, question: Combination, number: int) -> Iterator[None]:
        """Make what goes wrong inside the outcome of this question, and of no other."""
        try:
            yield
        except Exception as error:
            raise_if_interrupted()
            if (raised := _raised_by_submitit(error)) is not None:
                if type(raised).__module__.startswith("submitit"):
                    raise raised from None  # its time is up, and nothing of this job may start any more
                # It could not put the job back, or Slurm did so and ended the command that asked: work until killed.
                log.warning("the job could not put itself back into the queue (%s): continuing", raised)
                hurry.set()
                self._answer(question, number)
                return
            self.failure = error
            mistake = isinstance(error, CuplBenchError)
            text = str(error) if mistake else f"a defect: {type(error).__name__}: {error}"
            if self.is_sweep and not self.assisting:
                before = self.told.setdefault(text, f"job {number}")
                complain(text if before == f"job {number}" else f"the same as {before}")
            log.debug("%s failed", question.name, exc_info=True)
            self._leave(number, Outcome(job=question.name, run_key=None, error=text, mistake=mistake))

    def _leave(self, number: int, outcome: Outcome) -> None:
        if not self.assisting:
            write_outcome(self.folder, number, outcome)

    def _alone(self, question: Combination) -> str:
        """Return the command line that asks this question alone: its record keeps it."""
        flags = [] if self.config_dir is None else [f"--config-dir={self.config_dir}"]
        return shlex.join(["cupl-bench", "eval", *flags, *question.overrides])

    def _never_ran(self, name: str, results_dir: Path) -> bool:
        if self.before is None:
            self.before = last_outcomes(results_dir)
        return state_of(name, self.before, results_dir)[0] == "missing"


def _raised_by_submitit(error: BaseException | None) -> BaseException | None:
    """Return the error that began in submitit, whose handler a signal of Slurm can call between any two steps."""
    while error is not None:
        if any(
            str(frame.f_globals.get("__name__")).startswith("submitit") for frame, _ in walk_tb(error.__traceback__)
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


def command(given: Arguments) -> int:
    """Answer what the arguments ask; return the exit code."""
    given = asked(given)
    questions = read_questions(given.overrides, given.config_dir, several=given.multirun)
    if given.cfg is not None:
        show_configuration(questions, given.cfg)
        return 0
    speak_to_program(questions.settings.output == Output.json)
    job = _job_of(questions, given.config_dir)
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        if questions.is_sweep:
            write_atomically(job.folder / "sweep.json", json.dumps({"arguments": given.given}).encode())
    except OSError as error:
        raise ConfigError(
            f"results_dir={questions.results_dir} cannot be written ({error.strerror}). Name another place with"
            " results_dir=..."
        ) from error
    return _sweep(questions, job) if questions.is_sweep else _alone(questions, job)


def _alone(questions: Questions, job: Job) -> int:
    """Answer one question, which is not a sweep, and name its record."""
    run_alone(job, questions)
    if job.failure is not None:
        raise job.failure
    (outcome,) = read_outcomes(job.folder)
    if questions.settings.output == Output.json:
        answer({"records": _told(questions.results_dir, [outcome]), "failed": []})
    path = None if outcome.run_key is None else record_path(questions.results_dir, outcome.run_key)
    say(str(outcome.note) if path is None else f"record    {path}")
    return 0


def _sweep(questions: Questions, job: Job) -> int:
    """Launch a sweep, and show what came of it, from the disk: whoever ran its jobs."""
    folder, results_dir, names = job.folder, questions.results_dir, questions.names
    try:
        launch(job, questions, folder)
    except Exception as error:
        if questions.launcher == "basic" or isinstance(error, CuplBenchError):
            raise
        reason = " ".join(line for line in str(error).splitlines()[-4:] if line.strip("- "))
        if not read_outcomes(folder):
            raise ConfigError(f"hydra/launcher={questions.launcher} ended without any answer: {reason}") from error
        complain(
            f"a job of hydra/launcher={questions.launcher} broke off: {reason}. Others may still run: cupl-bench status"
        )
    raise_if_interrupted()
    outcomes = read_outcomes(folder)
    keys = list(dict.fromkeys(outcome.run_key for outcome in outcomes if outcome.run_key is not None))
    if keys:
        rows = report_sweep(results_dir, keys, questions.settings)
        tracker_of(questions.settings)([], results_dir, folder.name)
    failed = [(outcome.job, outcome.error) for outcome in outcomes if outcome.error is not None]
    if questions.settings.output == Output.json:
        answer(
            {
                "records": _told(results_dir, outcomes),
                "failed": [{"job": name, "error": error} for name, error in failed],
                "comparison": rows if keys else [],
            }
        )
    for line in told_once(failed):
        complain(f"failed: {line}")
    if notes := Counter(outcome.note for outcome in outcomes if outcome.note is not None):
        say("\n".join(f"{count} of {len(names)} questions: {note}" for note, count in notes.items()))
    if failed:
        complain(f"{len(failed)} of {len(names)} jobs failed")
    if lost := len(names) - len(outcomes):
        complain(f"{lost} of {len(names)} questions have no answer yet: cupl-bench status")
    if not failed and not lost:
        return 0
    return 2 if not lost and all(outcome.mistake for outcome in outcomes if outcome.error is not None) else 1


def _told(results_dir: Path, outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """Return what a program is told of finished runs; the record of each holds more."""
    told: list[dict[str, object]] = []
    for run_key in dict.fromkeys(outcome.run_key for outcome in outcomes if outcome.run_key is not None):
        path = record_path(results_dir, run_key)
        record = read_record(path)
        names = {"dataset": record.dataset.name, "backbone": record.backbone.name, "prompts": record.prompts.name}
        names["scorer"] = record.scorer.name
        metrics = None if record.metrics is None else record.metrics.model_dump(mode="json")
        told.append({"run_key": run_key, "record": str(path), **names, "metrics": metrics})
    return told


def _job_of(questions: Questions, config_dir: str | None) -> Job:
    return Job(
        jobs=questions.jobs,
        is_sweep=questions.is_sweep,
        folder=questions.folder,
        compose=questions.composer,
        config_dir=config_dir,
        several_backbones=over_several_backbones(questions.all),
    )


def over_several_backbones(questions: Sequence[Combination]) -> bool:
    """Return whether more than one backbone, or one in more than one precision, will read the same images."""
    asked = {tuple(one for one in each.overrides if is_about(one, ("backbone", "precision"))) for each in questions}
    return len(asked) > 1


def assist(given: Arguments) -> int:
    """Do what the other processes of torchrun do for the same arguments; they say nothing."""
    given = asked(given)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        questions = read_questions(given.overrides, given.config_dir, several=given.multirun)
        job = replace(_job_of(questions, given.config_dir), assisting=True)
        for number in range(len(job.jobs)):
            job(number)
    return 0
