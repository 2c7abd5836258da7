"""`cupl-bench import`: the runs of an archive, checked and put beside one's own."""

from pathlib import Path

from cupl_bench.archive import import_runs
from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose
from cupl_bench.errors import ConfigError
from cupl_bench.paths import absolute
from cupl_bench.terminal import say

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Import the archives among the arguments into ``results_dir``; return the exit code."""
    config = compose(given.overrides, given.config_dir)
    archives = given.plain
    if not archives:
        raise ConfigError("import needs an archive: cupl-bench import runs.zip [results_dir=...]")
    results_dir = absolute(config.results_dir)
    for archive in archives:
        found = import_runs(Path(archive).expanduser(), results_dir)
        mended = f", {len(found.mended)} had lost files here and are repaired" if found.mended else ""
        kept = f", {len(found.kept)} were here before and are kept" if found.kept else ""
        say(f"{archive}: {len(found.new)} runs are new{mended}{kept}; 'cupl-bench report' compares them")
    return 0
