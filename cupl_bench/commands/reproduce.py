"""`cupl-bench reproduce`: a recorded question asked again, everything computed anew, and both answers compared."""

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cupl_bench.commands.arguments import Arguments
from cupl_bench.composition import compose, values_of
from cupl_bench.errors import ConfigError, ResultsError, first
from cupl_bench.paths import absolute
from cupl_bench.question import GROUPS, QuestionRecord, literal, nodes
from cupl_bench.records import Record, read_record, record_path
from cupl_bench.reproduction import TOLERANCE, compare_runs
from cupl_bench.terminal import say

__all__ = ["command"]


def command(given: Arguments) -> int:
    """Reproduce the runs whose records or keys are given; 0 if all are equal or within tolerance, else 1.

    Overrides say where it runs (``device=cpu``, ``batch_size=...``) and give the places of files that lie elsewhere on
    this machine (``dataset.path=...``). With ``--trust``, classes from outside the package that a record names are
    run, and its addresses are fetched.
    """
    runs = given.plain
    if not runs:
        raise ConfigError("reproduce needs a record: cupl-bench reproduce results/records/RUN_KEY.json (or its key)")
    verdicts = [_reproduce(run, given) for run in runs]
    return 1 if "different" in verdicts else 0


def _reproduce(run: str, given: Arguments) -> str:
    from cupl_bench.config import machine_of
    from cupl_bench.config.again import Place, ask_again, filled
    from cupl_bench.run.bench import Workbench
    from cupl_bench.run.flow import run as answer

    overrides = given.overrides
    machine_overrides = [one for one in overrides if "." not in one.partition("=")[0]]
    if other := [one for one in machine_overrides if one.partition("=")[0].lstrip("+~") in QuestionRecord.model_fields]:
        raise ConfigError(
            f"{first(other)} would change the recorded question; 'cupl-bench eval' asks the changed one. If a file or"
            " folder lies elsewhere on this machine, give its place by its key, such as dataset.path=..."
        )
    config = compose(machine_overrides, given.config_dir)
    path = Path(run).expanduser()
    if not path.is_file():
        path = record_path(absolute(config.results_dir), run)
    record = read_record(path)
    if record.config is None:
        raise ResultsError(f"{path} holds no configuration of its question, so it cannot be asked again.")
    if record.status != "ok":
        raise ResultsError(f"Run {record.run_key} has failed ({record.error}); there is no answer to reproduce.")
    record.config.check_whole()
    words, gained = filled(record.config)
    pins = _commits(record, words)
    words = _with_parts(words, [*pins, *(one for one in overrides if one not in machine_overrides)], config)
    here = machine_of(config)
    # Features are computed anew; data sets and weights are those of the user's cache.
    question = ask_again(
        words, Place(results_dir=here.results_dir, cache_dir=here.cache_dir, trust="--trust" in given.flags)
    )
    for line in gained:
        say(f"filled    {line}: the record is older than this setting; this is today's default")
    for where, name in _of_the_hub(words):
        say(f"hub       {where}={name} is fetched from the hub, unless this machine has it")
    for pin in pins:
        say(f"hub       {pin}: the commit that the record names")
    with tempfile.TemporaryDirectory(prefix="cupl-bench-reproduce-") as folder:
        machine = replace(here, results_dir=Path(folder, "results"), cache_dir=Path(folder, "cache"), rerun="always")
        again = answer(question, machine, Workbench())
        found = compare_runs((record, path.parent.parent), (again, machine.results_dir))
    _show(record, again, found.verdict, found)
    return found.verdict


def _with_parts(words: QuestionRecord, overrides: Sequence[str], config: Any) -> QuestionRecord:
    """Return the words with the user's replacements for some of their settings, interpolations resolved."""
    from omegaconf import OmegaConf

    settings = {group: copy.deepcopy(words.option(group)) for group in GROUPS}
    for key, value in values_of(overrides).items():
        *path, last = key.split(".")
        node: Any = settings
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"{key} is not a part of the recorded question.")
        own = OmegaConf.create({"value": value, "cache_dir": config.cache_dir, "results_dir": config.results_dir})
        node[last] = literal(OmegaConf.to_container(own, resolve=True)["value"])  # type: ignore[index, call-overload]
    values = words.model_dump(include={"precision", "budget", "seed"})
    return QuestionRecord.model_validate({**values, **settings})


def _commits(record: Record, words: QuestionRecord) -> list[str]:
    """Return overrides that take what came from the hub at the commit which the record names."""
    data, model = words.option("dataset"), words.option("backbone")
    _, at, commit = (record.dataset.origin or {}).get("source", "").rpartition("@")
    pins = [f"dataset.revision={commit}"] if at and str(data["_target_"]).endswith("hf.HfSource") else []
    if record.backbone.origin is not None:
        _, _, commit = record.backbone.origin.rpartition("@")
        if str(model["_target_"]).endswith("transformers.TransformersSource"):
            pins.append(f"backbone.revision={commit}")
        if str(model.get("architecture")).startswith("hf-hub:"):
            pins.append(f"backbone.architecture=hf-hub:{record.backbone.origin}")
    return pins


def _of_the_hub(words: QuestionRecord) -> list[tuple[str, str]]:
    """Return the names on the hub of the data set and the backbone, where they are not folders of this machine."""
    sources = ("hf.HfSource", "transformers.TransformersSource")
    return [
        (f"{where}.path", str(node.get("path")))
        for group in GROUPS
        for where, node in nodes(getattr(words, group), group)
        if str(node["_target_"]).endswith(sources) and not Path(str(node.get("path"))).expanduser().exists()
    ]


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
