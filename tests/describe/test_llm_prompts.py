"""The LLM-prompts as published, their gaps, and the article."""

import json

import pytest

from cupl_bench.dataset.texts import read_texts, spec_names
from cupl_bench.describe import DescribeError
from cupl_bench.describe.llm_prompts import article, filled, read_llm_prompts, thing_of

FULL = {
    "imagenet": 5,
    "dtd": 6,
    "cars": 9,
    "sun397": 3,
    "food101": 3,
    "aircraft": 2,
    "pets": 2,
    "caltech101": 3,
    "flowers": 2,
    "ucf101": 5,
    "kinetics700": 4,
    "resisc45": 5,
    "cifar10": 3,
    "cifar100": 4,
    "birdsnap": 3,
}
"""Image-prompts of a class in CuPL's full files, divided by the ten answers to each LLM-prompt; 59 in all."""


def test_every_data_set_of_the_paper_has_as_many_as_its_file_shows() -> None:
    assert {name: len(read_llm_prompts("full", name)) for name in FULL} == FULL
    with_files = {name for name in spec_names() if read_texts(name).cupl is not None}
    assert all(read_llm_prompts("full", name) for name in with_files)
    assert {len(read_llm_prompts("base", name)) for name in [*spec_names(), "folder"]} == {3}


def test_every_wording_says_how_well_it_is_known() -> None:
    for name in FULL:
        for one in [*read_llm_prompts("base", name), *read_llm_prompts("full", name)]:
            assert one.status in ("V", "D", "M")
            assert one.source
            assert "{}" in one.text or "{thing}" in one.text


@pytest.mark.parametrize(
    ("dataset", "llm_prompts", "name", "texts"),
    [
        (
            "imagenet",
            "full",
            "electric ray",
            [
                "Describe what an electric ray looks like",
                "How can you identify an electric ray?",
                "What does an electric ray look like?",
                "Describe an image from the internet of an electric ray",
                "A caption of an image of an electric ray:",
            ],
        ),
        (
            "cub",
            "base",
            "Laysan Albatross",
            [
                "Describe what the bird Laysan Albatross looks like:",
                "Describe the bird Laysan Albatross:",
                "What are the identifying characteristics of the bird Laysan Albatross?",
            ],
        ),
        (
            "pets",
            "full",
            "Abyssinian",
            ["Describe what a pet Abyssinian looks like", "Visually describe an 'Abyssinian', a type of pet"],
        ),
    ],
)
def test_filled(dataset: str, llm_prompts: str, name: str, texts: list[str]) -> None:
    found = [filled(one.text, name, thing_of(dataset), "fixed") for one in read_llm_prompts(llm_prompts, dataset)]
    assert found == texts


@pytest.mark.parametrize(
    "name",
    [
        "electric ray",
        "Afghan Hound",
        "umbrella",
        "hourglass",
        "honest man",
        "FM radio",
        "F-16A/B",
        "MD-11",
        "8 track",
        "18-wheeler",
        "11",
        "iPod",
        "X-ray fish",
        "A300B4",
        "ERJ 135",
        "SR-20",
        "orange",
        "école",
        "unlit lamp",
        "uninhabited island",
        "AM General Hummer SUV 2000",
        "'open' sign",
        "urn",
        "only child",
    ],
)
def test_an(name: str) -> None:
    assert article(name, "fixed") == "an"


@pytest.mark.parametrize(
    "name",
    [
        "tench",
        "great white shark",
        "unicycle",
        "uniform",
        "ukulele",
        "European fire salamander",
        "eucalyptus",
        "ewer",
        "one-piece",
        "honeycomb",
        "T-shirt",
        "707-320",
        "DHC-6-100",
        "747-100",
        "110",
        "1800",
        "C-130",
        "Yak-42",
        "DR-400",
        "yawl",
        "utensil",
        "U-boat",
        "horse",
        "Spitfire",
        "Hawk T1",
        "椿",
        "",
    ],
)
def test_a(name: str) -> None:
    assert article(name, "fixed") == "a"


def test_the_papers_article_knows_capitals_alone() -> None:
    def papers(category: str) -> str:
        return "an" if category[0] in ["A", "E", "I", "O", "U"] else "a"

    for name in ("electric ray", "Afghan Hound", "umbrella", "Unicycle", "tench", "Épagneul", "8 track"):
        assert article(name, "paper") == papers(name)
    assert filled("{a} {}", "electric ray", "", "paper") == "a electric ray"


def test_braces_in_names_and_categories_stay() -> None:
    assert (
        filled("Of {thing}: {a} {}", "{a} {thing}", "the {} thing", "fixed")
        == "Of the {a} {thing} thing: an {a} {thing}"
    )


def test_own_lists(tmp_path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(["What is {a} {}?"]))
    assert [one.text for one in read_llm_prompts(str(path), "x")] == ["What is {a} {}?"]
    assert [one.status for one in read_llm_prompts(("See {thing}",), "x")] == ["U"]


@pytest.mark.parametrize(
    ("source", "dataset", "message"),
    [
        ("full", "cub", "CuPL has no full LLM-prompts for cub"),
        ("ful", "cub", "Did you mean 'full'"),
        ((), "x", "should hold a list"),
        (("no gap", "a {}"), "x", "1 of 2 LLM-prompts of describe.llm_prompts lack the {}"),
        ("nowhere.json", "x", "nowhere.json cannot be read"),
    ],
)
def test_mistakes(source, dataset: str, message: str) -> None:
    with pytest.raises(DescribeError, match=message.replace("{}", r"\{\}")):
        read_llm_prompts(source, dataset)


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]", "[]", "null"])
def test_files_of_another_kind(content: str, tmp_path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DescribeError, match="list of LLM-prompts"):
        read_llm_prompts(str(tmp_path / "x.json"), "x")
