"""How jobs are started: by Hydra's launchers, through Hydra's public interface."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import OmegaConf

from cupl_bench.composition import Questions, hydra_here, quoted

__all__ = ["launch", "run_alone"]


def _task(job: Callable[[int], None], _: object) -> None:
    """Run the job that Hydra has numbered, maybe on another machine."""
    job(int(HydraConfig.get().job.num))


def launch(job: Callable[[int], None], questions: Questions, folder: Path) -> None:
    """Hand the jobs of a sweep to the launcher that its settings name; Hydra's logs go below ``folder``.

    Raises:
        Exception: whatever a job or the launcher raises.
    """
    with hydra_here(), _logging_as_before():
        # A job on another machine would ask its own clock for the folder.
        own = [*questions.settings.hydra.overrides.hydra, f"hydra.sweep.dir={quoted(str(folder))}"]
        settings = compose("config", own, return_hydra_config=True)
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=cast(Any, Callback()))
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=partial(_task, job), config=settings
        )
        for done in launcher.launch([one[0].overrides for one in questions.jobs], initial_job_idx=0):
            _ = done.return_value  # raises what the job has raised


def run_alone(job: Callable[[int], None], questions: Questions) -> None:
    """Run the one job of a question that is not a sweep, with Hydra's log of it.

    Raises:
        Exception: whatever the job raises.
    """
    with hydra_here(), _logging_as_before():
        settings = questions.settings
        OmegaConf.update(settings, "hydra.job.num", 0, force_add=True)
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=cast(Any, Callback()))
        done = run_job(partial(_task, job), settings, "hydra.run.dir", None, context)
        _ = done.return_value


@contextmanager
def _logging_as_before() -> Iterator[None]:
    """Undo after the block what Hydra does to the root logger: its level, and the log file of this run."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
