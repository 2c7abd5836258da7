"""The descriptions that come with the package: what each sentence must be, and that every class has its own."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from cupl_bench.backbone.token_counts import token_counter
from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.spec import read_spec
from cupl_bench.prompts import files
from cupl_bench.prompts.files import library_part
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import read_descriptions

FOLDER = Path(files.__file__).with_name("library")
PER_CLASS = {"cub": 10, "flowers": 10, "imagenet": 5}
NAMES = {"cub": "hyphen", "flowers": "openai", "imagenet": "openai"}
LABELLED = re.compile(r" \[\d+\]$")

parts = pytest.mark.parametrize("part", PER_CLASS)


def held(part: str) -> dict[str, list[str]]:
    return {name: list(row) for name, row in read_descriptions(f"library:{part}").items()}


@parts
def test_every_class_has_its_sentences_and_no_two_share_one(part: str) -> None:
    names = read_spec(part).classes.names[NAMES[part]]
    sentences = held(part)
    joined = join_by_name(names, list(sentences), part)
    assert joined.counts == {"exact": len(names), "normalised": 0, "aliased": 0, "ignored": 0}
    assert len(set(joined.keys)) == len(names)
    assert {len(row) for row in sentences.values()} == {PER_CLASS[part]}
    repeated = Counter(normalised(text) for row in sentences.values() for text in row)
    assert [text for text, count in repeated.items() if count > 1] == []


@parts
def test_every_sentence_is_one_plain_sentence_that_names_its_class(part: str) -> None:
    wrong = []
    for key, row in held(part).items():
        name = normalised(LABELLED.sub("", key))
        for text in row:
            one = text.endswith(".") and ". " not in text and text == " ".join(text.split()) and text.isascii()
            if not (one and 8 <= len(text.split()) <= 40 and name in normalised(text) and text[0].isupper()):
                wrong.append((key, text))
    assert wrong == []


@pytest.mark.slow
@parts
def test_every_sentence_fits_the_context_of_clip(part: str) -> None:
    count, context_length = token_counter("ViT-B-32")
    texts = [text for row in held(part).values() for text in row]
    assert max(count(texts)) <= context_length == 77


@parts
def test_the_sentences_of_a_class_differ_in_more_than_a_word(part: str) -> None:
    alike = []
    for key, row in held(part).items():
        words = [set(re.findall(r"[a-z]+", text.lower())) for text in row]
        alike += [
            (key, row[one], row[two])
            for one in range(len(row))
            for two in range(one)
            if len(words[one] & words[two]) > 0.8 * len(words[one] | words[two])
        ]
    assert alike == []


@parts
def test_the_provenance_names_the_llm_prompt_of_each_sentence(part: str) -> None:
    provenance = json.loads((FOLDER / "provenance" / f"{part}.json").read_text())
    assert len(provenance["llm_prompts"]) == 3
    assert all("{}" in llm_prompt for llm_prompt in provenance["llm_prompts"])
    assert len(provenance["llm_prompt_of_sentence"]) == PER_CLASS[part]
    assert set(provenance["llm_prompt_of_sentence"]) == {0, 1, 2}
    assert provenance["licence"] == "Apache-2.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", provenance["written"])
    assert "without seeing images, predictions or results" in provenance["method"]


@pytest.mark.parametrize("pair", [(657, 744), (836, 837)])
def test_classes_of_one_name_have_sentences_of_their_own(pair: tuple[int, int]) -> None:
    names = read_spec("imagenet").classes.names["openai"]
    assert names[pair[0]] == names[pair[1]]
    sentences = held("imagenet")
    one, two = (set(sentences[f"{names[label]} [{label}]"]) for label in pair)
    assert not one & two


@pytest.mark.parametrize(
    "dataset", ["cub", "flowers", "imagenet", "imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
)
def test_every_spelling_of_the_class_names_joins(dataset: str) -> None:
    part = library_part(dataset)
    keys = list(json.loads(part.path.read_text()))
    for names in read_spec(dataset).classes.names.values():
        aliases = {name: key for name, key in part.aliases.items() if name in set(names)}
        joined = join_by_name(names, keys, dataset, aliases, ignore_extra=part.subset)
        assert len(set(joined.keys)) == len(names)


def test_the_missile_of_a_subset_is_the_right_one() -> None:
    names = read_spec("imagenet_r").classes.names["openai"]
    part = library_part("imagenet_r")
    joined = join_by_name(
        names, list(json.loads(part.path.read_text())), "r", {"missile": part.aliases["missile"]}, ignore_extra=True
    )
    assert joined.keys[list(names).index("missile")] == "missile [657]"
    assert read_spec("imagenet_r").classes.ids[list(names).index("missile")] == read_spec("imagenet").classes.ids[657]


def test_every_part_has_its_provenance() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(PER_CLASS)
    assert {path.stem for path in (FOLDER / "provenance").glob("*.json")} == set(PER_CLASS)
