"""The root of every configuration: its keys and their types. It imports no torch, so that help is quick."""

import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

__all__ = ["Config", "Output", "PrecisionChoice", "Rerun", "log_folder", "register"]


class PrecisionChoice(Enum):
    """The number format of encoding; features and scores are float32 in any case."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Rerun(Enum):
    """The questions to answer anew: those without a finished record, all, none, or those that failed."""

    missing = "missing"
    always = "always"
    never = "never"
    failed = "failed"


class Output(Enum):
    """The form of a command's output: tables for a person, or one JSON document for a program."""

    table = "table"
    json = "json"


@dataclass
class Config:
    """The root schema; conf/config.yaml holds the defaults."""

    # Keys that an older file of a data set need not have.
    dataset: Any = field(default_factory=lambda: {"texts": {"dclip_after": "", "coop": None}})
    backbone: Any = MISSING
    prompts: Any = MISSING
    scorer: Any = MISSING
    tracking: Any = MISSING
    llm: Any = MISSING
    describe: Any = MISSING
    precision: PrecisionChoice = MISSING
    budget: int | None = MISSING
    seed: int = MISSING
    results_dir: str = MISSING
    cache_dir: str = MISSING
    device: str = MISSING
    batch_size: int | None = MISSING
    num_workers: int | None = MISSING
    cache_limit_gb: float = MISSING
    rerun: Rerun = MISSING
    shard: str | None = MISSING
    baseline: str | None = MISSING
    output: Output = MISSING
    images: list[str] = field(default_factory=list)
    class_names: Any = None


def register() -> None:
    """Make the schema and the resolvers known to Hydra."""
    ConfigStore.instance().store(name="cupl_bench_schema", node=Config)
    OmegaConf.register_new_resolver(
        "asset", lambda path: str(resources.files("cupl_bench").joinpath(path)), replace=True
    )
    OmegaConf.register_new_resolver("user_cache", _user_cache, replace=True)
    OmegaConf.register_new_resolver("log_folder", log_folder, replace=True, use_cache=True)


def log_folder(results_dir: str) -> str:
    """Return the name of a new folder of logs: the time (UTC), or a later one than all that are there.

    So the order of the names is that in which the folders came.
    """
    form = "%Y-%m-%d_%H-%M-%S-%f"
    names = [one.name for one in (Path(results_dir).expanduser() / "logs").glob("*")]
    last = max((name for name in names if re.fullmatch(r"\d{4}(-\d\d){2}_(\d\d-){3}\d{6}", name)), default="")
    now = datetime.now(UTC).strftime(form)
    if now > last:
        return now
    # Those that start at once where a clock was set back do not take the same name.
    later = timedelta(microseconds=random.randint(1, 1_000_000))  # noqa: S311 - not for secrets
    return (datetime.strptime(last, form).replace(tzinfo=UTC) + later).strftime(form)


def _user_cache() -> str:
    from cupl_bench.store import user_cache_dir

    return str(user_cache_dir())
