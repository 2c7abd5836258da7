"""How runs were made: machines and their time, versions, and the statistics of their tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cupl_bench.paragraph.citations import keys_of
from cupl_bench.paragraph.markup import cite, code, joined
from cupl_bench.paragraph.subjects import DIGITS, by, count
from cupl_bench.records import Record
from cupl_bench.report.runs import Run
from cupl_bench.report.shown import baseline_names
from cupl_bench.report.significance import ALPHA, DRAWS
from cupl_bench.scorers import INDEPENDENT

__all__ = ["compute", "identity", "software", "statistics"]

NAMED = 6
"""Run keys that the text names; of more the tables have them."""


def compute(runs: Sequence[Run], unknown: list[str]) -> str:
    """Return the sentences on machines and time; what is not known is added to ``unknown``."""
    records = [run.record for run in runs]
    machines = by(records, _machine)
    told = [_machine(group[0]) + (f" ({count(len(group), 'run')})" if len(machines) > 1 else "") for group in machines]
    if any(not one.environment.get("processor") for one in records):
        unknown.append("the model of the processor")
    if any(not one.environment.get("memory_gb") for one in records):
        unknown.append("the memory of the machine")
    timed = [one.timing for one in records if one.timing is not None]
    time = f"{_duration(sum(one.total_seconds for one in timed))} of wall time, summed over {count(len(timed), 'run')}"
    reused = sum(one.image_features.cached for one in timed)
    if reused:
        time += (
            f"; in {count(reused, 'run')} all image features were there already, whose time is not counted unless"
            " another of these runs made them"
        )
    if len(timed) < len(records):
        unknown.append(f"the time of {count(len(records) - len(timed), 'run')}")
        time += f"; the time of {count(len(records) - len(timed), 'run')} was not recorded"
    not_counted = "failed runs, earlier runs of the same questions, and training are not counted"
    return f"Machines: {'; '.join(told)}. Computing: {time}; {not_counted}."


def _machine(record: Record) -> str:
    told = record.environment
    processor, memory, threads = (told.get(name) for name in ("processor", "memory_gb", "threads"))
    cores = code(processor) if processor else "a processor whose model was not recorded"
    cores += f" with {memory} GB of memory" if memory else ", its memory not recorded"
    threads = count(threads, "thread") if isinstance(threads, int) else "an unknown number of threads"
    if str(told.get("device", "")).startswith("cuda"):
        return f"a GPU {code(told.get('device_name'))} beside {cores}"
    if told.get("device") is None:
        return cores
    return f"{cores} ({code(told.get('device_name'))}), {threads}, no GPU"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def software(runs: Sequence[Run], unknown: list[str]) -> str:
    """Return the sentences on versions and commits."""
    records = [run.record for run in runs]
    told = [_version(group[0], unknown) for group in by(records, lambda one: _version(one, []))]
    packages = []
    for name in dict.fromkeys(name for one in records for name in _packages(one)):
        versions = {_packages(one).get(name) for one in records}
        if known := sorted(version for version in versions if version):
            packages.append(f"{name} {' or '.join(code(version) for version in known)}")
    pythons = sorted({str(one.environment.get("python")) for one in records if one.environment.get("python")})
    platforms = sorted({str(one.environment.get("platform")) for one in records if one.environment.get("platform")})
    parts = [f"Python {' or '.join(map(code, pythons))}"] if pythons else []
    on = f", on {' or '.join(map(code, platforms))}" if platforms else ""
    return f"Software: {'; '.join(told)}, with {', '.join([*parts, *packages])}{on}."


def _packages(record: Record) -> Mapping[str, Any]:
    told = record.environment.get("packages")
    return told if isinstance(told, Mapping) else {}


def _version(record: Record, unknown: list[str]) -> str:
    told = record.environment
    name = f"cupl_bench {code(told.get('cupl_bench'))}{cite(keys_of('software'))}"
    if not told.get("commit"):
        unknown.append("the commit of the program")
        return f"{name}, its commit not recorded"
    state = {"True": "with changes that are in no commit", "False": "unchanged"}.get(str(told.get("dirty")))
    return f"{name} at the commit {code(str(told['commit'])[:DIGITS])}{f', {state}' if state else ''}"


def statistics(runs: Sequence[Run], table: pd.DataFrame) -> str:
    """Return the sentences on intervals and tests, as far as the tables have them.

    Args:
        runs: of the tables.
        table: `report.comparison.Comparison.runs`.
    """
    told = []
    level = f"{100 * (1 - ALPHA):.0f}%"
    wilson, mcnemar, holm, bootstrap = (
        cite(keys_of(f"statistics:{name}")) for name in ("wilson", "mcnemar", "holm", "bootstrap")
    )
    by_image = [run for run in runs if run.record.kind in INDEPENDENT]
    if by_image:
        told.append(f"intervals of top-1 hold {level} over images, after Wilson{wilson}")
    if by_image and table["num_seeds"].notna().any():
        told.append("of a mean over seeds they are a bootstrap over images, and its spread is a standard deviation")
    if any(run.record.metrics and run.record.metrics.primary_name == "mean_per_class" for run in by_image):
        told.append(
            "those of the mean over classes are normal intervals of a stratified mean, images drawn within each class"
        )
    tested = table[~table["of_seeds"].astype(bool) & table["p_holm"].notna()]
    of_means = int(tested["num_seeds"].notna().sum())
    if len(tested):
        tests = [f"McNemar's exact test{mcnemar}"] if of_means < len(tested) else []
        tests += ["for means over seeds the paired t test over images"] if of_means else []
        told.append(
            f"differences of top-1 to the baseline {joined(map(code, baseline_names(table)))} are paired on the same"
            f" images, with {level} intervals by a bootstrap over images of {DRAWS:,} resamples{bootstrap}, drawn with"
            f" the run key as seed, and tested by {joined(tests)}; their p are corrected after Holm{holm} for"
            f" {count(len(tested), 'difference')}, and those below {ALPHA} are called significant"
        )
    if len(by_image) < len(runs):
        others = (run for run in runs if run.record.kind not in INDEPENDENT)
        names = dict.fromkeys(code(run.prompts if run.record.scorer.name == "plain" else run.scorer) for run in others)
        told.append(
            f"for {joined(names)} the scores of images depend on each other, so there is neither interval nor test over"
            " images"
        )
    return f"Statistics: {'; '.join(told)}." if told else "Statistics: none were made."


def identity(runs: Sequence[Run]) -> str:
    """Return which runs this is about."""
    keys = [run.record.run_key for run in runs]
    versions = joined(sorted({str(run.record.protocol_version) for run in runs}))
    which = joined(map(code, keys)) if len(keys) <= NAMED else f"in {code('tables/comparison.csv')}"
    return (
        f"Records: {count(len(keys), 'run')} of protocol version {versions}, with the run keys {which};"
        f" digests are the first {DIGITS} hex digits of a sha256, of which the records hold all."
    )
