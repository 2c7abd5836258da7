"""`cupl-bench reproduce`: a recorded question asked again, everything computed anew, and both answers compared."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose, values_of
from cupl_bench.errors import ConfigError, ResultsError, first
from cupl_bench.records import Record, read_record, record_path
from cupl_bench.reproduction import TOLERANCE, compare_runs
from cupl_bench.terminal import say

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Reproduce the runs whose records or keys are given; 0 if all are equal or within tolerance, else 1.

    Overrides say where it runs (``device=cpu``, ``batch_size=...``) and replace parts of the recorded question that are
    elsewhere on this machine (``dataset.path=...``).
    """
    runs = given.plain
    if not runs:
        raise ConfigError("reproduce needs a record: cupl-bench reproduce results/records/RUN_KEY.json (or its key)")
    verdicts = [_reproduce(run, given.overrides, given.config_dir) for run in runs]
    return 1 if "different" in verdicts else 0


def _reproduce(run: str, overrides: list[str], config_dir: str | None) -> str:
    from cupl_bench.config import machine_of, question_of
    from cupl_bench.runner import Workbench
    from cupl_bench.runner import run as answer

    machine_overrides = [one for one in overrides if "." not in one.partition("=")[0]]
    config = compose(machine_overrides, config_dir)
    path = Path(run).expanduser()
    if not path.is_file():
        path = record_path(Path(config.results_dir).expanduser().absolute(), run)
    record = read_record(path)
    if record.config is None:
        raise ResultsError(f"{path} holds no configuration of its question, so it cannot be asked again.")
    if other := [one for one in machine_overrides if one.partition("=")[0] in record.config]:
        raise ConfigError(
            f"{first(other)} would be another question than the recorded one; 'cupl-bench eval' asks it. Parts that are"
            " elsewhere on this machine are named by their keys, such as dataset.path=..."
        )
    if record.status != "ok":
        raise ResultsError(f"Run {record.run_key} has failed ({record.error}); there is no answer to reproduce.")
    config = _with_question(config, record.config, [one for one in overrides if one not in machine_overrides])
    with tempfile.TemporaryDirectory(prefix="cupl-bench-reproduce-") as folder:
        # Features are computed anew; data sets and weights are those of the user's cache.
        machine = replace(
            machine_of(config), results_dir=Path(folder, "results"), cache_dir=Path(folder, "cache"), rerun="always"
        )
        again = answer(question_of(config), machine, Workbench())
        found = compare_runs((record, path.parent.parent), (again, machine.results_dir))
    _show(record, again, found.verdict, found)
    return found.verdict


def _with_question(config: Any, question: Mapping[str, Any], overrides: list[str]) -> Any:
    from omegaconf import OmegaConf

    OmegaConf.set_struct(config, False)
    for name, value in question.items():
        config[name] = value if not isinstance(value, Mapping) else OmegaConf.create(dict(value))
    for key, value in values_of(overrides).items():
        if OmegaConf.select(config, key, default=...) is ...:
            raise ConfigError(f"{key} is no part of the recorded question.")
        OmegaConf.update(config, key, value)
    return config


def _show(record: Record, again: Record, verdict: str, found: Any) -> None:
    then, now = found.top1
    say(f"\nrun       {record.run_key} of {record.created_at:%Y-%m-%d}, asked again: {verdict}")
    say(f"top-1     {100 * then:.2f}% then, {100 * now:.2f}% now, of {found.num_images:,} images")
    say(
        f"images    {found.num_other_predictions:,} have another prediction, {found.num_other_beyond_rounding:,} beyond"
        f" rounding; scores differ by at most {found.largest_difference:.1e} (rounding:"
        f" {TOLERANCE[record.backbone.precision]:.0e})"
    )
    for what, before, here in found.differences:
        say(f"differs   {what}: {before} then, {here} now")
    if again.run_key != record.run_key:
        say(f"differs   the run key: {record.run_key} then, {again.run_key} now")
