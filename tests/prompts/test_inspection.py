"""`cupl-bench prompts`: the counts, the listing and the refusals."""

import json
from pathlib import Path

import pytest
from conftest import Cli

from cupl_bench.prompts.inspection import inspect_prompts, marks_of

NAMES = ["ant", "bee", "crane [2]", "crane [3]"]
TEXTS = [
    ["An ant is small and black.", "An ant is small and black.", " An ant\nwith six legs.", "."],
    ["A bee is striped.", "It is a striped insect here.", "a."],
    ["A crane lifts loads.", "A tall crane of steel."],
    ["A tall crane of steel.", "A crane lifts loads."],
]
LENGTHS = {text: 2 + len(text.split()) for row in TEXTS for text in row}


def test_every_count_by_hand() -> None:
    found = inspect_prompts(NAMES, TEXTS, LENGTHS, context_length=7)
    assert found.num_classes == 4
    assert found.per_class == (2, 4)
    assert found.num_prompts == 11
    assert found.num_distinct == 8
    assert found.repeats_within == 1
    assert found.repeats_across == 2
    assert found.blank == 1
    assert found.leading_space == 1
    assert found.with_newline == 1
    assert found.fragments == 2  # "." and "a."
    assert found.unnamed == 3  # ".", "It is a striped insect here.", "a."
    assert found.truncated == 3  # the two equal ones, and the sentence of six words
    assert found.twins == 1
    assert found.first_cases["twins"] == ["crane [2] (2) and crane [3] (3)"]
    assert found.tokens["max"] == 8
    assert found.tokens["mean"] == pytest.approx(sum(LENGTHS[text] for row in TEXTS for text in row) / 11)
    assert set(found.faults()) == {
        "blank", "fragments", "unnamed", "truncated", "repeats_within", "repeats_across", "twins"
    }  # fmt: skip


def test_nothing_wrong_is_nothing_said() -> None:
    texts = [["A small black ant runs."], ["A striped bee flies off."]]
    found = inspect_prompts(["ant", "bee"], texts, {text: 7 for row in texts for text in row}, context_length=77)
    assert found.faults() == {}
    assert found.first_cases == {}


def test_long_texts_are_shortened_where_they_are_shown() -> None:
    text = "x" * 5000
    found = inspect_prompts(["x"], [[text]], {text: 5000}, context_length=77)
    assert len(found.first_cases["truncated"][0]) < 150


def test_marks_of_one_prompt() -> None:
    assert marks_of("bee", ["a.", "a."], "a.", elsewhere=2) == [
        "fragment", "does not name the class", "2 times", "also in 2 other classes"
    ]  # fmt: skip
    assert marks_of("Black-footed Albatross", ["x"], "The black footed albatross is dark.", elsewhere=0) == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(dict(zip(NAMES, TEXTS, strict=True))))
    return path


def test_a_file_as_it_is(cli: Cli, file: Path) -> None:
    assert cli.raw("prompts", str(file)) == 0
    assert "mine.json" in cli.out
    assert "pairs of classes are nearly identical, first: crane [2] (2) and crane [3] (3)" in cli.out


def test_strict_is_for_scripts(cli: Cli, file: Path, tmp_path: Path) -> None:
    assert cli.raw("prompts", "--strict", str(file)) == 2
    assert "mine.json: 1 hold no letter or digit, 2 have at most 3 words" in cli.err
    (tmp_path / "good.json").write_text(
        json.dumps({"ant": ["A small black ant runs."], "bee": ["A striped bee flies."]})
    )
    assert cli.raw("prompts", "--strict", str(tmp_path / "good.json")) == 0


def test_json_holds_every_count(cli: Cli, file: Path) -> None:
    assert cli.raw("prompts", str(file), "output=json") == 0
    found = json.loads(cli.out)["mine.json"]
    assert found["num_prompts"] == 11
    assert found["tokens"]["max"] == 9  # seven of "It is a striped insect here." with the dot, and start and end
    assert found["first_cases"]["blank"] == ["ant: '.'"]


@pytest.mark.slow
def test_a_class_is_listed_by_name_or_label(cli: Cli, file: Path) -> None:
    assert cli.raw("prompts", str(file), "class=ant") == 0
    assert "mine.json: ant (0), 4 prompts" in cli.out
    assert "An ant is small and black.   <- 2 times" in cli.out
    assert "' An ant\\nwith six legs.'" in cli.out
    assert cli.raw("prompts", str(file), "class=2", "output=json") == 0
    assert [one["marks"] for one in json.loads(cli.out)["mine.json"]] == ["also in 1 other classes"] * 2
    assert cli.raw("prompts", str(file), "class=bea") == 2
    assert "mine.json has no class 'bea'. Did you mean 'bee'" in cli.err


def test_all_classes_of_a_name_that_repeats_are_listed(cli: Cli) -> None:
    assert cli.raw("prompts", "library:imagenet", "class=missile") == 0, cli.err
    assert "library:imagenet: missile [657] (657), 5 prompts" in cli.out
    assert "library:imagenet: missile [744] (744), 5 prompts" in cli.out


def test_two_files_of_one_name_are_both_counted(cli: Cli, tmp_path: Path) -> None:
    files = [tmp_path / folder / "bees.json" for folder in ("base", "full")]
    for number, file in enumerate(files, 1):
        file.parent.mkdir()
        file.write_text(json.dumps({"bee": ["A bee is a small insect."] * number}))
    assert cli.raw("prompts", *map(str, files), "output=json") == 0
    assert [one["num_prompts"] for one in json.loads(cli.out).values()] == [1, 2]


def test_a_strategy_of_a_named_data_set_needs_no_images(cli: Cli) -> None:
    assert cli("prompts", "dataset=flowers", "prompts=ensemble", "output=json") == 0
    found = json.loads(cli.out)["flowers x ensemble"]
    assert found["num_classes"] == found["num_prompts"] == 102
    assert found["tokens"]["mean"] == pytest.approx(14.53, abs=0.005)  # published counts of the same template
    assert found["tokens"]["max"] == 18
    assert found["unnamed"] == 0


@pytest.mark.slow
def test_the_demo_and_a_folder(cli: Cli, photos: Path) -> None:
    assert cli("prompts", "prompts=cupl") == 0
    assert "demo x cupl" in cli.out
    assert cli("prompts", "dataset=folder", f"dataset.path={photos}", "prompts=simple", "output=json") == 0
    assert json.loads(cli.out)["folder x simple"]["num_classes"] == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "nowhere.json does not exist"),
        (["output=yaml"], "output=yaml cannot be set: Invalid value 'yaml', expected one of [table, json]"),
        (["tokenizer=ViT-B-33"], "open_clip has no architecture 'ViT-B-33', whose tokenizer could count. Did you mean"),
        (["mine.json", "dataset=flowers"], "'mine.json' would be inspected as they are, without 'dataset=flowers'"),
        (["prompts=file"], "prompts.path is not set"),
    ],
)
def test_mistakes(cli: Cli, file: Path, arguments: list[str], message: str) -> None:
    assert cli.raw("prompts", *arguments) == 2
    assert message in cli.err
