"""The demo's descriptors and other names, and the texts that every data set says it has."""

import json
from importlib import resources

import pytest
import yaml

from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset.demo.drawing import evaluated_species

ASSETS = resources.files("cupl_bench") / "prompts/assets"
DESCRIPTORS: dict[str, list[str]] = json.loads((ASSETS / "descriptors/demo.json").read_text("utf-8"))
NAMES: dict[str, list[str]] = json.loads((ASSETS / "names/demo.json").read_text("utf-8"))
SHEETS = {one["name"]: one for one in json.loads(
    (resources.files("cupl_bench") / "dataset/demo/species.json").read_text("utf-8"))["species"]}  # fmt: skip
COLOURS = {
    "red": {"red", "maroon"}, "orange": {"orange"}, "yellow": {"yellow"}, "white": {"white"}, "blue": {"blue", "sky"},
    "purple": {"purple", "mauve"}, "pink": {"pink"}, "green": {"green"}, "brown": {"brown"}, "black": {"black"},
    "cream": {"cream"},
}  # fmt: skip
"""A colour word -> the colours of drawing sheets that it may mean."""


@pytest.mark.parametrize("texts", [DESCRIPTORS, NAMES], ids=["descriptors", "names"])
def test_classes_are_those_of_the_dataset_in_its_order(texts: dict[str, list[str]]) -> None:
    assert list(texts) == [one.name for one in evaluated_species()]
    for name, row in texts.items():
        assert row, name
        assert len({text.casefold() for text in row}) == len(row), name


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptors_say_no_colour_that_is_not_drawn(name: str) -> None:
    sheet = SHEETS[name]
    drawn = {colour for pair in sheet["colours"] for colour in pair if colour} | {sheet["centre"]}
    if sheet["form"] == "thistle":
        drawn.add("green")  # the ball below the tuft
    for text in DESCRIPTORS[name]:
        if "leaves" in text:
            continue
        for word in text.replace("-", " ").split():
            assert word not in COLOURS or COLOURS[word] & drawn, f"{name}: {text}"


def test_descriptors_do_not_name_the_class() -> None:
    assert not [(name, text) for name, row in DESCRIPTORS.items() for text in row if name in text]


def test_a_name_belongs_to_one_class() -> None:
    every = [name.casefold() for own, row in NAMES.items() for name in (own, *row)]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("path", sorted((conf_dir() / "dataset").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_data_set_says_which_texts_it_has(path) -> None:
    texts = yaml.safe_load(path.read_text())["texts"]
    assert set(texts) >= {"templates", "cupl", "descriptors", "names", "concept"}
