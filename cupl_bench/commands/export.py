"""`cupl-bench export`: finished runs as one file, for another machine's `cupl-bench import`."""

from pathlib import Path

from cupl_bench.archive import export_runs
from cupl_bench.commands.composition import compose_once
from cupl_bench.errors import ConfigError
from cupl_bench.terminal import say

__all__ = ["command"]


def command(arguments: list[str]) -> int:
    """Export the runs whose keys are given (none: all that are finished) to the file ``to=``; gives the exit code."""
    keys = [one for one in arguments if "=" not in one]
    targets = [one.partition("=")[2] for one in arguments if one.startswith("to=")]
    config = compose_once([one for one in arguments if "=" in one and not one.startswith("to=")])
    if len(targets) != 1 or not targets[0]:
        raise ConfigError("export needs one file to write: cupl-bench export [RUN_KEY ...] to=runs.zip")
    target = Path(targets[0]).expanduser().absolute()
    keys = [Path(key).stem for key in keys]
    records = export_runs(Path(config.results_dir).expanduser().absolute(), keys, target)
    say(f"{len(records)} runs, {target.stat().st_size / 1e6:.1f} MB: {target}")
    return 0
