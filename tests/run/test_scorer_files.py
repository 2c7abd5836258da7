"""A scorer with files of its own, asked as a user does: what identifies it, and when a mistake is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from making import make_folder

from cupl_bench.__main__ import main
from cupl_bench.composition import compose
from cupl_bench.config import machine_of, question_of
from cupl_bench.errors import ScorerError
from cupl_bench.records import Record
from cupl_bench.run import encode
from cupl_bench.run.asking import Machine, Question
from cupl_bench.run.bench import Workbench
from cupl_bench.run.flow import run
from cupl_bench.run.plan import Planned, Planner


def plan(question: Question, machine: Machine, bench: Workbench) -> Planned:
    return Planner(bench)(question, machine)


SETS = {"a": ["a", "an apple"], "b": ["a banana"], "c": ["a cherry", "c"]}
Asking = Callable[..., Record]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    """Answers a question about twelve images with a scorer; ``by`` runs or plans it."""
    photos = make_folder(tmp_path / "photos", dict.fromkeys("abc", 4))

    def asked(*overrides: str, by: Callable = run) -> Record:
        config = compose(
            ["dataset=folder", f"dataset.path={photos}", "backbone=demo", "device=cpu", *overrides,
             f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
        )  # fmt: skip
        return by(question_of(config), machine_of(config), Workbench())

    return asked


def chils(path: Path, content: object = SETS) -> list[str]:
    path.write_text(json.dumps(content))
    return ["prompts=simple", "scorer=chils", f"scorer.label_sets={path}", "scorer.templates=['a photo of a {}.']"]


@pytest.mark.slow
def test_the_content_of_a_file_identifies_a_scorer_and_its_place_does_not(asking: Asking, tmp_path: Path) -> None:
    one = asking(*chils(tmp_path / "one.json"))
    moved = asking(*chils(tmp_path / "two.json"))
    changed = asking(*chils(tmp_path / "one.json", {**SETS, "b": ["bread"]}))
    assert one.run_key == moved.run_key != changed.run_key
    assert set(one.scorer.parameters) == {"label_sets", "aliases", "templates", "reweigh"}
    assert set(one.scorer.parameters["label_sets"]) == {"sha256"}
    assert str(tmp_path) not in json.dumps(one.scorer.model_dump(mode="json"))
    assert (one.kind, one.scorer.uses) == ("zero_shot", ("second_texts", "groups"))


@pytest.mark.parametrize("by", [run, plan])
def test_a_file_that_lacks_a_class_is_told_before_any_image_is_decoded(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: Callable
) -> None:
    monkeypatch.setattr(encode, "image_features", lambda prepared: pytest.fail("an image is encoded"))
    with pytest.raises(ScorerError, match="1 of 3 classes are not in the file of scorer.label_sets, first: 'b'"):
        asking(*chils(tmp_path / "one.json", {"a": ["a"], "c": ["c"]}), by=by)


def test_a_folder_of_images_without_templates_is_told_what_to_give(asking: Asking, tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match="no hand-written templates of its own. Give some: 'scorer.templates="):
        asking(*chils(tmp_path / "one.json")[:-1])


def test_prompts_that_would_count_for_nothing_are_refused(asking: Asking, tmp_path: Path) -> None:
    path = tmp_path / "contexts.json"
    path.write_text(json.dumps({"quality": {"good": ["good"], "any": [""]}}))
    perception = ["scorer=perceptionclip", f"scorer.contexts={path}"]
    assert asking(*perception, "prompts=simple").status == "ok"
    with pytest.raises(ScorerError, match="these 240 prompts would count for nothing.*Take prompts=simple"):
        asking(*perception, "prompts=templates", "prompts.templates=openai_imagenet_80")


def test_texts_of_a_scorer_that_are_cut_are_told(
    asking: Asking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asking(*chils(tmp_path / "one.json", {**SETS, "b": ["word " * 90, "b"]}))
    assert "1 of 6 texts of scorer=chils are longer than the context and were cut" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("command", ["effects", "classify"])
def test_a_command_that_knows_the_plain_scorer_alone_refuses_others(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_folder(tmp_path / "photos", dict.fromkeys("abc", 1))
    asked = {
        "effects": ["dataset=folder", f"dataset.path={photos}"],
        "classify": [f"images=[{next(photos.rglob('*.*'))}]", "class_names=[a,b]"],
    }[command]
    places = [f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}"]
    common = [command, *asked, "backbone=demo", "prompts=simple", "device=cpu", *places]
    assert main([*common, "scorer=autoclip"]) == 2
    assert f"scorer=autoclip: 'cupl-bench {command}' measures plain similarities alone" in capsys.readouterr().err
    assert main(common) == 0
