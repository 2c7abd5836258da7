"""The version of a data set: raised when its numbers can move, part of the key, and never mixed in one report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making import make_folder

from cupl_bench.composition import compose
from cupl_bench.config import machine_of, question_of
from cupl_bench.dataset import Dataset
from cupl_bench.dataset.spec import Spec, read_spec
from cupl_bench.dataset.texts import spec_names
from cupl_bench.errors import DatasetError, ResultsError
from cupl_bench.identity import content_key
from cupl_bench.records import Record
from cupl_bench.report.runs import comparable
from cupl_bench.run.bench import Workbench
from cupl_bench.run.prepare import prepared_of
from cupl_bench.run.recording import record_of

KNOWN = Path(__file__).with_name("spec_versions.json")
"""For each data set its version, and digests of all that its numbers depend on: written by `written`."""


def parts_of(spec: Spec) -> dict[str, str]:
    """Short digests of what the numbers of a data set depend on, each by what it is."""
    parts: dict[str, object] = {"ids": spec.classes.ids, "primary": spec.primary}
    parts |= {f"names {name}": row for name, row in spec.classes.names.items()}
    parts |= {f"templates {name}": row for name, row in spec.texts.templates.items()}
    for name, one in spec.protocols.items():
        parts[f"protocol {name}"] = [one.split, one.num_images, one.without]
    return {name: content_key({"part": part})[:12] for name, part in parts.items()}


def written() -> str:
    """The content of the file of known versions, as the specs are now."""
    known = {name: {"version": (spec := read_spec(name)).version, "parts": parts_of(spec)} for name in spec_names()}
    return json.dumps(known, indent=1) + "\n"


def test_what_moves_numbers_moves_the_version() -> None:
    """A new list, protocol or data set moves no number that there was; one that is changed, or gone, does."""
    for name, known in json.loads(KNOWN.read_text()).items():
        spec = read_spec(name)
        now = parts_of(spec)
        changed = [part for part, digest in known["parts"].items() if now.get(part) != digest]
        assert not changed or spec.version > known["version"], (
            f"{changed} of {name} changed: raise its version, and write {KNOWN.name} anew by written()"
        )
        assert spec.version >= known["version"], f"the version of {name} went back"


def test_a_change_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = read_spec("pets")
    names = {**spec.classes.names, "openai": ("cat", *spec.classes.names["openai"][1:])}
    other = spec.model_copy(update={"classes": spec.classes.model_copy(update={"names": names})})
    assert {key for key, value in parts_of(spec).items() if parts_of(other)[key] != value} == {"names openai"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Record]:
    """The record of one question by the version of its data set, as if it had failed: nothing is encoded."""
    folder = tmp_path_factory.mktemp("versions")
    photos = make_folder(folder / "photos", {"ant": 2, "bee": 2})
    places = [f"results_dir={folder / 'results'}", f"cache_dir={folder / 'cache'}", "device=cpu"]
    config = compose(["dataset=folder", f"dataset.path={photos}", "prompts=simple", *places])
    prepared = prepared_of(question_of(config), machine_of(config), Workbench())
    found = {}
    for version in (1, 2):
        one = replace(prepared, dataset=replace(prepared.dataset, version=version))
        found[version] = record_of(one, status="failed", error="not run")
    assert found[1].run_key == prepared.key
    return found


def test_the_first_version_adds_nothing_to_a_key_and_another_does(recorded: dict[int, Record]) -> None:
    assert recorded[1].run_key != recorded[2].run_key
    assert [one.dataset.version for one in recorded.values()] == [1, 2]
    old = recorded[1].model_dump(mode="json")
    del old["dataset"]["version"], old["dataset"]["licence"]
    assert Record.model_validate(old).dataset.version == 1


def finished(record: Record, key: str) -> Record:
    return record.model_copy(update={"status": "ok", "error": None, "run_key": key})


def test_two_versions_are_not_mixed_in_a_report(recorded: dict[int, Record], tmp_path: Path) -> None:
    one, two = recorded[1], recorded[2]
    records = [finished(one, "0" * 12), finished(one, "1" * 12), finished(two, "2" * 12)]
    with pytest.raises(ResultsError) as told:
        comparable(records, tmp_path)
    message = str(told.value)
    assert "mix 2 versions of the data set folder" in message
    assert "version 1: 2 runs, '000000000000', '111111111111'; version 2: 1 run, '222222222222'" in message
    assert "Run the questions of version 1 again" in message
    renamed = {"_target_": "cupl_bench.dataset.named.NamedSource", "name": "mine", "spec": "pets"}
    assert one.config is not None
    config = one.config.model_copy(update={"dataset": renamed})
    pets = [
        finished(record, key * 12).model_copy(
            update={"config": config, "dataset": record.dataset.model_copy(update={"name": key})}
        )
        for record, key in ((one, "a"), (two, "b"))
    ]
    with pytest.raises(ResultsError, match="mix 2 versions of the data set pets"):
        comparable(pets, tmp_path)
    other = two.model_copy(update={"dataset": two.dataset.model_copy(update={"name": "birds"})})
    assert len(comparable([records[0], finished(other, "2" * 12)], tmp_path)) == 2


def test_a_version_is_a_number_from_1() -> None:
    dataset = {
        "split": "all", "class_names": ("ant", "bee"), "labels": np.array([0, 1]), "image_ids": ["a", "b"],
        "image_keys": [b"0" * 16, b"1" * 16], "read": lambda _: b"",
    }  # fmt: skip
    assert Dataset(**dataset, version=3).version == 3
    with pytest.raises(DatasetError, match="version=0 should be 1 or more"):
        Dataset(**dataset, version=0)
    with pytest.raises(DatasetError, match="version is"):
        Dataset(**dataset, version="newest")


def test_reproducing_tells_another_version(recorded: dict[int, Record], tmp_path: Path) -> None:
    from cupl_bench.reproduction import _differences

    assert ("data set version", "1", "2") in _differences(recorded[1], recorded[2])
