"""Overrides become questions: whose keys they are, what is refused, and what is left behind."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cupl_bench.composition import compose, read_questions
from cupl_bench.conf_folder import conf_dir


@pytest.fixture
def own_options(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "prompts").mkdir(parents=True)
    (tmp_path / "mine" / "prompts" / "loud.yaml").write_text(
        "# Loud ones.\n_target_: cupl_bench.prompts.strategies.TemplatesStrategy\nname: loud\n"
        'templates: ["a {}!"] # what is shouted\naggregation: mean\n'
    )
    return tmp_path / "mine"


@pytest.mark.slow
def test_options_of_ones_own_are_swept_and_matched(own_options: Path) -> None:
    found = read_questions(["prompts=simple,loud"], str(own_options), several=True).all
    assert [one.overrides for one in found] == [("prompts=simple",), ("prompts=loud",)]
    found = read_questions(["prompts=glob(lou*)"], str(own_options), several=True).all
    assert [one.overrides for one in found] == [("prompts=loud",)]
    assert compose(["prompts=loud"], own_options).prompts.templates == ["a {}!"]
    again = [f"hydra.searchpath=[file://{own_options}]", "prompts=loud"]
    questions = read_questions(again, several=False)
    assert questions.composer(questions.all[0].overrides).prompts.name == "loud"


@pytest.mark.parametrize(
    "command", ["eval", "status", "plan", "effects", "report", "prompts", "export", "import", "classify"]
)
def test_a_mistyped_folder_of_options_is_a_mistake(cli, own_options: Path, command: str) -> None:
    assert cli(command, "--config-dir", str(own_options.with_name("mien"))) == 2
    assert "is not a folder. Did you mean 'mine'" in cli.err
    assert cli(command, f"--config-dir={own_options / 'prompts'}") == 2
    assert "holds none of the groups' folders" in cli.err
    assert len(cli.err.strip().splitlines()) == 1


@pytest.mark.slow
def test_every_command_takes_options_of_ones_own(cli, own_options: Path, tiny, photos: Path) -> None:
    question = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=loud"]
    place = ["--config-dir", str(own_options)]
    assert cli("eval", *place, *question) == 0, cli.err
    key = cli.record().run_key
    assert shows(cli, "plan", *place, *question, has="finished")
    assert shows(cli, "status", *place, *question, has="1 done")
    assert shows(cli, "prompts", *place, *question[:2], "prompts=loud", has="folder x loud")
    assert shows(cli, "classify", str(photos / "ant" / "0.jpg"), "class_names=[a,b]", *place, *question[2:], has="a b!")
    assert shows(cli, "reproduce", key, *place, has="asked again")
    assert cli("report", *place) == 0, cli.err


def shows(cli, *arguments: str, has: str) -> bool:
    assert cli(*arguments) == 0, cli.err
    return has in cli.out


@pytest.mark.slow
def test_a_sweep_of_one_options_key_is_answered_planned_and_told(
    cli, on_photos, photos: Path, tiny, tmp_path: Path
) -> None:
    names = sorted(folder.name for folder in photos.iterdir())
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({one: [f"{name} {one}."] for one in names}))
    asked = ["prompts=simple,file", f"prompts.path={tmp_path / 'a.json'},{tmp_path / 'b.json'}"]
    question = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert on_photos("-m", *asked) == 0, cli.err
    assert len(list((cli.results / "records").glob("*.json"))) == 3
    assert shows(cli, "status", *question, *asked, has="3 questions: 3 done")
    assert cli("plan", *question, *asked) == 0, cli.err
    assert "3 questions, 3 finished" in cli.out


@pytest.mark.slow
def test_one_cause_is_told_once(cli, on_photos) -> None:
    assert on_photos("-m", "prompts=ensemble,simple", "seed=1,2,3") == 2
    failures = [line for line in cli.err.splitlines() if "failed: " in line]
    assert len(failures) == 1
    assert "failed: 3 questions (" in failures[0]
    assert all(f"seed={seed}" in failures[0] for seed in (1, 2, 3))
    assert "no hand-written templates" in failures[0]
    assert cli.err.count("no hand-written templates") == 2  # when it happened, and at the end


def test_a_file_without_what_every_file_has_is_the_users_mistake(cli, tmp_path: Path, photos: Path) -> None:
    folder = tmp_path / "mine" / "dataset"
    folder.mkdir(parents=True)
    (folder / "bare.yaml").write_text(
        "_target_: cupl_bench.dataset.folder.FolderSource\nname: bare\n"
        f"path: {photos}\nsplit: all\nclass_names: null\ntexts: {{}}\nskip_broken: false\ndecode: exact\n"
    )
    assert cli("eval", "--config-dir", str(tmp_path / "mine"), "dataset=bare") == 2
    assert "the file of dataset=bare lacks primary" in cli.err
    assert "Traceback" not in cli.err


def test_the_composed_configuration_can_be_seen(cli) -> None:
    assert cli("eval", "--cfg", "job", "seed=3") == 0
    content = OmegaConf.create(cli.out)
    assert content.seed == 3
    assert "hydra" not in content
    assert not cli.results.exists()


OF_ONES_OWN = """
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mine:
    def __call__(self, _):
        return {"a": "b"}

    def identify(self, cache_dir, *, download):
        return {"architecture": "mine"}

    def load(self, facts, device, precision):
        return None
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "needed", "promised"),
    [("backbone", "Mine.identify", "BackboneFacts"), ("dataset", "Mine", "Dataset"), ("prompts", "Mine", "Prompts")],
)
def test_a_class_of_ones_own_that_returns_something_else_is_a_mistake(
    cli, on_photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, needed: str, promised: str
) -> None:
    (tmp_path / f"own_{group}.py").write_text(OF_ONES_OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine" / group).mkdir(parents=True)
    of_the_run = "texts: {}\nprimary: top1\nskip_broken: false\ndecode: exact\n" if group == "dataset" else ""
    (tmp_path / "mine" / group / "mine.yaml").write_text(f"_target_: own_{group}.Mine\nname: mine\n{of_the_run}")
    place = ["--config-dir", str(tmp_path / "mine")]
    question = ["eval", *place, f"{group}=mine", *(["backbone=demo"] if group != "backbone" else [])]
    assert cli(*question) == 2
    assert f"own_{group}.{needed} gives " in cli.err
    assert ", of the class dict; " in cli.err
    assert cli.err.rstrip(".\n").endswith(f".{promised}")
    assert "Traceback" not in cli.err


OF_FILES = {"waffle_cub": "dataset.texts.descriptors=FILE"}
"""Recipes that need a file which cannot come with the program, and what they say of it."""

FEW = 4


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("at_most", [FEW, pytest.param(10_000, marks=pytest.mark.long)], ids=["few", "all"])
def test_a_recipe_can_be_finished_or_says_what_it_needs(path: Path, at_most: int) -> None:
    """The prompts of every question can be had for its classes; files that would be downloaded are taken for there.

    Some have so many questions that composing all of them takes ten seconds and more: ``./scripts/test --all`` does.
    """
    from cupl_bench.config import question_of
    from cupl_bench.dataset import class_names_of, on_this_machine
    from cupl_bench.dataset.named import NamedSource
    from cupl_bench.errors import DataNotHereError, PromptsError, PromptsNotHereError
    from cupl_bench.prompts import prompts_of
    from cupl_bench.prompts.files import no_downloads

    questions = read_questions([f"experiment={path.stem}", "backbone=demo"], several=False)
    lost = []
    seen = set()
    needed = OF_FILES.get(path.stem)
    every = 1 if needed is not None else -(-len(questions.all) // at_most)
    for one in questions.all[::every]:
        question = question_of(questions.composer(one.overrides))
        if (question.dataset, question.prompts_name) in seen or not isinstance(question.dataset, NamedSource):
            continue
        seen.add((question.dataset, question.prompts_name))
        try:
            with no_downloads():
                prompts_of(question.prompts, class_names_of(on_this_machine(question.dataset), Path("nowhere")))
        except (PromptsNotHereError, DataNotHereError):
            continue
        except PromptsError as error:
            lost.append(f"{one.name}: {error}")
    assert bool(lost) == (needed is not None), lost
    assert all("dataset.texts.descriptors=FILE" in each for each in lost)
    assert needed is None or needed in path.read_text()


@pytest.mark.slow
def test_plan_says_that_prompts_cannot_be_had_before_the_images_are_here(cli) -> None:
    assert cli("plan", "dataset=cub", "prompts=simple,cupl,dclip", "backbone=demo") == 2
    assert "not here, to download" in cli.out
    assert "in all    1 question, 0 finished" in cli.out
    assert "jobs" not in cli.out  # one job, whose other questions cannot be asked
    assert "prompts=cupl: CuPL has no file of image-prompts for cub" in cli.err
    assert "prompts=dclip: This data set has no descriptors of its own" in cli.err
    assert cli("plan", "dataset=cub,pets,folder", "prompts=simple", "backbone=demo") == 2
    assert "dataset.path is not set" in cli.err
    assert "jobs      2, one for each data set" in cli.out  # none for a question that is refused
    assert cli("plan", "dataset=dtd", "prompts=cupl", "backbone=demo") == 0, cli.err
    # Nothing was downloaded for a look; how the backbone's tokenizer works is remembered.
    assert {file.parent.name for file in cli.cache.rglob("*.json")} <= {"tokenizers"}
