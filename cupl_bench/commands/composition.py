"""Where Hydra begins and ends: configurations composed for a command, and its complaints in plain words."""

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cupl_bench.errors import nearest

__all__ = ["complaint_of_hydra", "compose_once", "run_jobs"]


def run_jobs(job: Callable[[Any], None], overrides: Sequence[str]) -> None:
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


def compose_once(overrides: Sequence[str]) -> Any:
    """The configuration that ``overrides`` compose to, without a job."""
    from hydra import compose, initialize_config_dir

    from cupl_bench.config import conf_dir, register

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def complaint_of_hydra(error: Exception, overrides: Sequence[str]) -> str | None:
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
        content = OmegaConf.to_container(compose_once(choices), resolve=False)
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
