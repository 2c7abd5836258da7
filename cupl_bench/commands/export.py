"""`cupl-bench export`: finished runs as one file, for another machine's `cupl-bench import`."""

from pathlib import Path

from cupl_bench.archive import export_runs
from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.errors import ConfigError
from cupl_bench.paths import absolute
from cupl_bench.terminal import say

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Export the runs whose keys are given (none: all that are finished) to the file ``to=``; return the exit code."""
    config = compose(given.overrides, given.config_dir)
    if not given.own.get("to"):
        raise ConfigError("export needs one file to write: cupl-bench export [RUN_KEY ...] to=runs.zip")
    target = absolute(given.own["to"])
    keys = [Path(key).stem for key in given.plain]
    records = export_runs(absolute(config.results_dir), keys, target)
    say(f"{len(records)} runs, {target.stat().st_size / 1e6:.1f} MB: {target}")
    return 0
