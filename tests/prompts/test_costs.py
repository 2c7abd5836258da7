"""What a file of descriptions cost: only its own provenance is believed, and nothing is made up."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from cupl_bench.prompts.costs import Cost, cost_of

WHOLE = {"endpoint": {"model": "a-model"}, "tokens": {"input": 900, "output": 100, "cost": 0.25}}


def written(folder: Path, name: str, facts: object, *, sha256: str | None = None) -> dict[str, object]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"ant": [name]}))
    if isinstance(facts, dict):
        facts = {"sha256": sha256 or hashlib.sha256(path.read_bytes()).hexdigest(), **facts}
    (folder / f"{name}.provenance.json").write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return {"_target_": "x", "path": str(path), "templates": None}


def test_model_tokens_and_price_are_read(tmp_path: Path) -> None:
    found = cost_of(written(tmp_path, "one", WHOLE))
    assert found == Cost(language_model="a-model", input_tokens=900, output_tokens=100, cost=0.25)
    assert (
        cost_of(
            {
                "path": str(tmp_path / "one.json#sha256=")
                + hashlib.sha256((tmp_path / "one.json").read_bytes()).hexdigest()
            }
        )
        == found
    )


def test_members_are_added_and_one_that_does_not_tell_leaves_the_sum_open(tmp_path: Path) -> None:
    one, other = written(tmp_path, "one", WHOLE), written(tmp_path, "other", {**WHOLE, "language_model": "b-model"})
    both = cost_of({"members": {"a": one, "b": {"descriptions": other}, "again": one}})
    assert both == Cost(language_model="a-model, b-model", input_tokens=1800, output_tokens=200, cost=0.5)
    bare = written(tmp_path, "bare", {"tokens": {"input": 5}})
    part = cost_of({"members": [one, bare]})
    assert part == Cost(language_model=None, input_tokens=905, output_tokens=None, cost=None)


@pytest.mark.parametrize(
    "facts", [[], {}, {"tokens": 3, "endpoint": "x"}, {"tokens": {"input": float("nan"), "output": -1, "cost": "dear"}},
              {"tokens": {"input": True, "output": 1e300}, "language_model": {"a": 1}}]
)  # fmt: skip
def test_what_is_no_number_and_no_name_is_not_told(tmp_path: Path, facts: object) -> None:
    found = cost_of(written(tmp_path, "odd", facts))
    assert found in (None, Cost(language_model=None, input_tokens=None, output_tokens=None, cost=None))


def test_a_provenance_of_another_content_is_not_believed(tmp_path: Path) -> None:
    assert cost_of(written(tmp_path, "one", WHOLE, sha256="0" * 64)) is None
    (tmp_path / "one.provenance.json").unlink()
    assert cost_of({"path": str(tmp_path / "one.json")}) is None
    assert cost_of({"path": str(tmp_path / "gone.json")}) is None
    assert cost_of({"path": "https://example.org/one.json", "templates": ["a {}"]}) is None


def test_a_provenance_that_is_no_json_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = written(tmp_path, "one", "{not json")
    with caplog.at_level(logging.WARNING):
        assert cost_of(settings) is None
    assert "the record says neither who wrote it nor its cost" in caplog.text


def test_the_paper_s_own_files_name_their_model() -> None:
    assert cost_of({"path": "cupl:imagenet"}) == Cost(
        language_model="text-davinci-002", input_tokens=None, output_tokens=None, cost=None
    )


@pytest.mark.slow
def test_the_record_holds_what_the_file_cost(cli, tiny, photos, tmp_path: Path) -> None:
    rows = {name: [f"a {name}"] for name in ("ant", "bee", "cat", "dog", "eel")}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(rows))
    facts = {**WHOLE, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "p.provenance.json").write_text(json.dumps(facts))
    own = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("eval", *own, "prompts=file", f"prompts.path={path}") == 0, cli.err
    assert cli.record().prompts.cost.model_dump() == {
        "language_model": "a-model", "input_tokens": 900, "output_tokens": 100, "cost": 0.25
    }  # fmt: skip
