"""The command line: `cupl-bench COMMAND [key=value ...]`, the only place where Hydra is started.

Exit codes: 0 done; 2 the user's mistake (one message, no traceback); 130 interrupted; 1 anything else.
"""

import json
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cupl_bench import __version__
from cupl_bench.errors import ConfigError, CuplBenchError, nearest
from cupl_bench.terminal import complain, say, show_log, show_table

__all__ = ["main"]

USAGE = """\
cupl-bench eval [key=value ...]      answer a question: a data set, a backbone, prompts; -m sweeps over lists
cupl-bench plan [key=value ...]      what eval would reuse and compute, without running anything
cupl-bench report [key=value ...]    tables from the records below results_dir
cupl-bench classify IMAGE ... 'class_names=[tree frog,tailed frog]' [key=value ...]

Without arguments, eval runs the embedded demo. 'cupl-bench eval --help' lists groups, options and keys."""

log = logging.getLogger("cupl_bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"eval": _eval, "plan": _plan, "report": _report, "classify": _classify}
    if not given or given[0] in ("-h", "--help", "help"):
        say(USAGE)
        return 0
    if given[0] == "--version":
        say(f"cupl-bench {__version__}")
        return 0
    if given[0] not in commands:
        complain(f"{given[0]!r} is no command.{nearest(given[0], commands)}\n{USAGE}")
        return 2
    from cupl_bench.ranks import joined, rank

    if rank():  # one of torchrun's other processes: it encodes its share of the images and says nothing
        commands = {"eval": _assist}
    else:
        show_log()
    try:
        with joined():
            return commands[given[0]](given[1:]) if given[0] in commands else 0
    except CuplBenchError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("interrupted; what was encoded is kept, the same command goes on from there")
        return 130
    except Exception as error:  # noqa: BLE001 - the last stop: told as a defect, exit code 1
        mistake = _hydra_mistake(error, given[1:])
        if mistake is None:
            complain(f"a defect, not a mistake of yours: {type(error).__name__}: {error}")
            traceback.print_exc()
            return 1
        complain(mistake)
        return 2


@dataclass(frozen=True)
class Outcome:
    """How one job ended: its run, or what went wrong and whose fault it was."""

    job: str
    run_key: str | None
    error: str | None = None
    mistake: bool = False


def _eval(arguments: list[str]) -> int:
    from cupl_bench.config import machine_of, question_of
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
        bench.several_backbones = _sweeps_over_backbones(arguments, dict(settings.sweeper.get("params") or {}))
        seen.update(sweep=sweep, results_dir=Path(config.results_dir).expanduser().absolute())
        if sweep:
            seen["folder"] = Path(settings.sweep.dir)
            say(f"\njob {settings.job.num}: {name}")
        try:
            record = run(question_of(config), machine_of(config), bench)
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

    _hydra(job, arguments or ["experiment=demo"])
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
        _show_comparison(shown(compare(records, results_dir)))
        _, files = write_tables(results_dir)
        say(f"records   {results_dir / 'records'}\ntables    {', '.join(str(path) for path in files)}")
    for outcome in failed:
        complain(f"failed: {outcome.job}: {outcome.error}")
    if not failed:
        return 0
    complain(f"{len(failed)} of {len(outcomes)} jobs failed")
    return 2 if all(outcome.mistake for outcome in failed) else 1


def _sweeps_over_backbones(arguments: Sequence[str], params: Mapping[str, Any]) -> bool:
    """Whether more than one backbone, or one in more than one precision, will read the same images."""
    given = {key: value for key, _, value in (one.partition("=") for one in arguments)}
    return any(
        key.split(".")[0] in ("backbone", "precision") and re.search(r",|\*|range|choice", str(value))
        for key, value in {**given, **params}.items()
    )


def _assist(arguments: list[str]) -> int:
    from cupl_bench.config import machine_of, question_of
    from cupl_bench.runner import Workbench, assist

    bench = Workbench()

    def job(config: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        settings = HydraConfig.get()
        bench.several_backbones = _sweeps_over_backbones(arguments, dict(settings.sweeper.get("params") or {}))
        with suppress(Exception):  # rank 0 has the same error and tells it
            assist(question_of(config), machine_of(config), bench)

    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        _hydra(job, [*(arguments or ["experiment=demo"]), f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"])
    return 0


def _plan(arguments: list[str]) -> int:
    import pandas as pd

    from cupl_bench.config import machine_of, question_of
    from cupl_bench.runner import Workbench, plan

    bench = Workbench()
    rows: list[dict[str, object]] = []
    mistakes: list[str] = []

    def job(config: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        try:
            question = question_of(config)
            found = plan(question, machine_of(config), bench)
        except CuplBenchError as error:
            mistakes.append(f"{' '.join(HydraConfig.get().overrides.task) or 'the defaults'}: {error}")
            return
        rows.append(
            {
                "dataset": question.dataset_name,
                "backbone": question.backbone_name,
                "prompts": question.prompts_name,
                "data": found.dataset_here,
                "images": _count(found.num_images),
                "classes": _count(found.num_classes),
                "prompts to average": _count(found.num_prompts),
                "images to encode": _count(found.images_to_encode),
                "prompts to encode": ("<= " if found.texts_to_encode else "") + _count(found.texts_to_encode),
                "weights": found.weights,
                "run": "finished" if found.finished else found.run_key or "",
            }
        )

    # One question is a sweep of one, and 'dataset=glob(*)' needs no flag: it is the doctor of a fresh machine.
    given = ["-m", *(arguments or ["experiment=demo"])]
    with tempfile.TemporaryDirectory() as folder:  # a plan leaves nothing behind
        _hydra(job, [*given, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"])
    if rows:
        show_table(pd.DataFrame(rows), "What eval would do")
    for mistake in mistakes:
        complain(mistake)
    return 2 if mistakes else 0


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _report(arguments: list[str]) -> int:
    from cupl_bench.report.comparison import shown
    from cupl_bench.report.tables import write_tables

    config = _compose(arguments)
    comparison, files = write_tables(Path(config.results_dir).expanduser().absolute())
    _show_comparison(shown(comparison))
    for path in files:
        say(str(path))
    return 0


def _show_comparison(table: Any) -> None:
    show_table(table, "Accuracy in percent")
    if any("n.s." in str(cell) for column in table for cell in table[column]):
        say("n.s.: not significant, the 95% interval of the paired difference holds zero")


def _classify(arguments: list[str]) -> int:
    from cupl_bench.classify import classify_images
    from cupl_bench.config import machine_of, question_of

    images = [argument for argument in arguments if "=" not in argument or Path(argument).is_file()]
    overrides = [argument for argument in arguments if argument not in images]
    config = _compose(overrides)
    images += list(config.images)
    names = config.class_names
    if not images:
        raise ConfigError(
            "classify needs an image: cupl-bench classify IMAGE ... 'class_names=[tree frog,tailed frog]'"
        )
    if names is None:
        raise ConfigError(
            "classify needs class names: 'class_names=[tree frog,tailed frog]', or a path to a JSON list."
        )
    if isinstance(names, str):
        from cupl_bench.dataset.names import read_class_names

        names = read_class_names(Path(names))
    for answer in classify_images(
        [Path(image) for image in images],
        [str(name) for name in names],
        question_of(config),
        machine_of(config),
    ):
        say(answer.text())
    return 0


def _hydra(job: Callable[[Any], None], overrides: Sequence[str]) -> None:
    """Compose the configuration, once or for each job of a sweep, and hand it to ``job``."""
    import hydra

    from cupl_bench.config import conf_dir, register

    register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own reporting
    # Hydra's parser wants its flag before the overrides; users write it anywhere.
    flags = [one for one in overrides if one in ("-m", "--multirun")]
    given, handlers = sys.argv, list(logging.getLogger().handlers)
    sys.argv = ["cupl-bench", *flags[:1], *(one for one in overrides if one not in flags)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    finally:
        sys.argv = given
        for handler in set(logging.getLogger().handlers) - set(handlers):  # the log file of this run
            logging.getLogger().removeHandler(handler)
            handler.close()


def _compose(overrides: Sequence[str]) -> Any:
    from hydra import compose, initialize_config_dir

    from cupl_bench.config import conf_dir, register

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def _hydra_mistake(error: Exception, overrides: Sequence[str]) -> str | None:
    """Hydra's or OmegaConf's complaint about a configuration as one clear message; None if it is none."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, OSError) and "/logs/" in str(error.filename):
        folder = str(error.filename).split("/logs/")[0]
        return f"results_dir={folder} cannot be written ({error.strerror}). Name another with results_dir=..."
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = error.options or []
        return f"{group}={option} is no option of {group}.{nearest(option, options)} Options: {', '.join(options)}."
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        if "To append to your config" in text or "not in" in text:
            known = _known_keys(overrides)
            return f"{key} is no key of the configuration.{nearest(key, known)} 'cupl-bench eval --help' lists all."
        return f"{key} cannot be set: {' '.join(text.split())}"
    if match := re.match(r"Error merging override (\S+)", text):
        reason = str(error.__cause__ or "").split("\n")[0]
        return f"{match.group(1)} cannot be set: {reason or 'its type or value is wrong'}."
    if match := re.search(r"You must specify '([^']+)'", text):
        return f"{match.group(1)} is not set; choose an option with {match.group(1)}=NAME."
    lines = [line.strip() for line in text.splitlines() if line.strip() and "object_type" not in line]
    return " ".join(lines)


def _known_keys(overrides: Sequence[str]) -> list[str]:
    """Every key of the configuration that the group choices among ``overrides`` compose to, and the groups."""
    from omegaconf import OmegaConf

    from cupl_bench.config import conf_dir

    groups = [folder.name for folder in conf_dir().iterdir() if folder.is_dir()]
    choices = [one for one in overrides if one.split("=")[0] in groups and "," not in one]
    try:
        content = OmegaConf.to_container(_compose(choices), resolve=False)
    except Exception:  # noqa: BLE001 - only to offer a better name in a message that is already an error
        return groups

    def keys(node: object, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [
            prefix,
            *(key for name, value in node.items() for key in keys(value, f"{prefix}.{name}" if prefix else str(name))),
        ]

    return [*groups, *keys(content, "")]


if __name__ == "__main__":
    sys.exit(main())
