"""Hydra is at work for a call and leaves nothing behind."""

import logging
import threading
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.version import getbase

from cupl_bench.composition import compose
from cupl_bench.conf_folder import conf_dir
from cupl_bench.errors import ConfigError


def test_the_errors_of_hydra_say_what_messages_are_made_of() -> None:
    """Messages are made of the attributes and causes of Hydra's errors; a release without them is seen here."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        with pytest.raises(MissingConfigException) as missing:
            hydra_compose("config", ["prompts=nope"])
        with pytest.raises(OverrideParseException) as unreadable:
            hydra_compose("config", ["prompts=[a"])
    assert missing.value.missing_cfg_file == "prompts/nope"
    assert "simple" in missing.value.options
    assert unreadable.value.override == "prompts=[a"


@pytest.mark.slow
def test_nothing_of_hydra_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    base = getbase()
    compose(["dataset=demo"])
    assert not GlobalHydra.instance().is_initialized()
    assert getbase() is base
    with initialize_config_dir(str(tmp_path), version_base="1.2"):  # whoever calls us uses Hydra too
        theirs, base = GlobalHydra.instance().hydra, str(getbase())
        assert compose(["seed=3"]).seed == 3
        with pytest.raises(ConfigError):
            compose(["sed=3"])
        assert GlobalHydra.instance().hydra is theirs
        assert str(getbase()) == base
        assert hydra_compose("mine").a == 1
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)


@pytest.mark.slow
def test_threads_compose_at_once() -> None:
    found: dict[int, int] = {}

    def work(seed: int) -> None:
        found[seed] = compose([f"seed={seed}", "dataset=cub"]).seed

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == {seed: seed for seed in range(6)}
