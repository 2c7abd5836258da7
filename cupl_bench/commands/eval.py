"""`cupl-bench eval`: one question, or a sweep of them."""

import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cupl_bench.commands.composition import run_jobs
from cupl_bench.commands.report import show_comparison
from cupl_bench.errors import CuplBenchError
from cupl_bench.terminal import complain, say

__all__ = ["assist", "command", "sweeps_over_backbones"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one job ended: its run, or what went wrong and whose fault it was."""

    job: str
    run_key: str | None
    error: str | None = None
    mistake: bool = False


def command(arguments: list[str]) -> int:
    """Answer what the arguments ask; gives the exit code."""
    from cupl_bench.config import machine_of, question_of, tracker_of
    from cupl_bench.records import read_record, record_path
    from cupl_bench.report.comparison import compare, shown
    from cupl_bench.report.tables import write_tables
    from cupl_bench.runner import Workbench, run

    bench = Workbench()
    seen: dict[str, Any] = {}

    def job(config: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        settings = HydraConfig.get()
        sweep = settings.mode is not None and settings.mode.name == "MULTIRUN"
        name = " ".join(settings.overrides.task) or "the defaults"
        bench.several_backbones = sweeps_over_backbones(arguments, dict(settings.sweeper.get("params") or {}))
        seen.update(sweep=sweep, results_dir=Path(config.results_dir).expanduser().absolute())
        if sweep:
            seen["folder"] = Path(settings.sweep.dir)
            say(f"\njob {settings.job.num}: {name}")
        try:
            seen["tracker"] = tracker_of(config)
            record = run(question_of(config), machine_of(config), bench)
            seen["tracker"]([record], seen["results_dir"], seen["folder"].name if sweep else None)
            outcome = Outcome(job=name, run_key=record.run_key)
        except Exception as error:
            if not sweep:
                seen["error"] = error  # raised below: Hydra would print about it first
                return
            mistake = isinstance(error, CuplBenchError)
            complain(str(error) if mistake else f"a defect: {type(error).__name__}: {error}")
            log.debug("job %s failed", name, exc_info=True)
            outcome = Outcome(job=name, run_key=None, error=str(error) or type(error).__name__, mistake=mistake)
        if sweep:
            place = seen["folder"] / "outcomes" / f"{settings.job.num:06d}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
        else:
            seen["outcome"] = outcome

    run_jobs(job, arguments or ["experiment=demo"])
    if "error" in seen:
        raise seen["error"]
    if not seen:  # --help or --cfg: Hydra has answered
        return 0
    results_dir: Path = seen["results_dir"]
    if not seen["sweep"]:
        say(f"record    {record_path(results_dir, seen['outcome'].run_key)}")
        return 0
    outcomes = [
        Outcome(**json.loads(path.read_text("utf-8"))) for path in sorted((seen["folder"] / "outcomes").glob("*.json"))
    ]
    keys = list(dict.fromkeys(outcome.run_key for outcome in outcomes if outcome.run_key is not None))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if keys:
        say("")
        records = [read_record(record_path(results_dir, key)) for key in keys]
        show_comparison(shown(compare(records, results_dir)))
        _, files = write_tables(results_dir)
        if "tracker" in seen:
            seen["tracker"]([], results_dir, seen["folder"].name)
        say(f"records   {results_dir / 'records'}\ntables    {', '.join(str(path) for path in files)}")
    for outcome in failed:
        complain(f"failed: {outcome.job}: {outcome.error}")
    if not failed:
        return 0
    complain(f"{len(failed)} of {len(outcomes)} jobs failed")
    return 2 if all(outcome.mistake for outcome in failed) else 1


def sweeps_over_backbones(arguments: Sequence[str], params: Mapping[str, Any]) -> bool:
    """Whether more than one backbone, or one in more than one precision, will read the same images."""
    given = {key: value for key, _, value in (one.partition("=") for one in arguments)}
    return any(
        key.split(".")[0] in ("backbone", "precision") and re.search(r",|\*|range|choice", str(value))
        for key, value in {**given, **params}.items()
    )


def assist(arguments: list[str]) -> int:
    """What the other processes of torchrun do for the same arguments; they say nothing."""
    from cupl_bench import runner
    from cupl_bench.config import machine_of, question_of

    bench = runner.Workbench()

    def job(config: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        settings = HydraConfig.get()
        bench.several_backbones = sweeps_over_backbones(arguments, dict(settings.sweeper.get("params") or {}))
        with suppress(Exception):  # rank 0 has the same error and tells it
            runner.assist(question_of(config), machine_of(config), bench)

    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        run_jobs(job, [*(arguments or ["experiment=demo"]), f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"])
    return 0
