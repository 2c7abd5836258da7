import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.descriptors import which
from cupl_bench.prompts.waffle import DclipWaffleStrategy, WaffleStrategy, groups_of_characters, pick, read_words

NAMES = ["tree frog", "newt", "European_fire salamander", "axolotl"]
DESCRIPTORS = {
    "tree frog": ["a long, sticky tongue.", "green skin"],
    "newt": ["an orange belly"],
    "European fire salamander": [],
    "axolotl": ["feathery gills", "pink skin", "has 4 legs"],
}
WORDS = ["apple", "Zebra", "boat", "stone", "quarrel", "winter"]


@pytest.fixture
def waffle(tmp_path: Path) -> WaffleStrategy:
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n\n")
    (tmp_path / "descriptors.json").write_text(json.dumps(DESCRIPTORS))
    return WaffleStrategy(
        words=str(tmp_path / "words.txt"),
        characters=str(tmp_path / "descriptors.json"),
        pairs=15,
        concept=None,
        seed=3,
        aggregation=Aggregation.MEAN_SIMILARITY,
    )


def with_descriptors(waffle: WaffleStrategy, **changes: object) -> DclipWaffleStrategy:
    settings = {name: getattr(waffle, name) for name in waffle.__dataclass_fields__}
    settings |= {"path": waffle.characters, "aliases": None, "extra": "error", **changes}
    return DclipWaffleStrategy(**settings)


def published_sizes(key_list: list[str]) -> tuple[int, int, str]:
    """The numbers that `waffle_tools.py` draws by: words, their length, and a character descriptor with a for each."""
    spaced = [key.replace("_", " ") for key in key_list]
    num_words = int(np.max([np.round(np.mean([len(key.split(" ")) for key in spaced])), 1]))
    length = int(np.round(np.mean([np.mean([len(part) for part in key.split(" ")]) for key in spaced])))
    groups = int(np.round(np.mean([sum(c == " " for c in key) for key in key_list]))) + 1
    characters = int(np.ceil(np.mean([np.max([len(part) for part in key.split(" ")]) for key in key_list])))
    characters += groups - characters % groups
    return num_words, length, " ".join("a" * (characters // groups) for _ in range(groups))


def published(key_list: list[str], words: list[str], descriptors: dict[str, list[str]], seed: int, pairs: int):
    """WaffleCLIP's steps for one class whose prompts all share; our numbers in the place of numpy's."""
    generator = random.Random(f"waffle {seed}")
    num_words, length, sample = published_sizes(key_list)
    words = [word[:length] for word in words]
    parts = [part for row in descriptors.values() for text in row for part in text.split(" ")]
    characters = sorted(set("".join(part.replace(",", "").replace(".", "") for part in parts)))
    out = []
    for _ in range(pairs):
        out.append(" ".join(words[int(generator.random() * len(words))] for _ in range(num_words)))
        noise = ""
        for c in sample:
            noise += ", " if c == " " else characters[int(generator.random() * len(characters))]
        out.append(noise)
    return out


def test_prompts_are_those_of_the_published_rules(waffle: WaffleStrategy) -> None:
    prompts = waffle(NAMES)
    expected = published(NAMES, WORDS, DESCRIPTORS, 3, 15)
    for name, row in zip(NAMES, prompts.texts, strict=True):
        shown = name.replace("_", " ")
        assert row == tuple(f"A photo of a {shown}, {which(text, 'original')}." for text in expected)
    assert (prompts.seed, prompts.parallel, prompts.num_prompts) == (3, True, 4 * 30)


@pytest.mark.parametrize(
    "names", [NAMES, ["newt"], ["newt", "eft"], ["a b", "c d"], ["a b c d e f g", "h"], ["aa bbb", "c"], ["x_y z"]]
)
def test_character_descriptors_have_the_published_shape(names: list[str]) -> None:
    groups, size = groups_of_characters(names)
    assert " ".join("a" * size for _ in range(groups)) == published_sizes(names)[2]


def test_a_seed_is_a_draw_and_another_seed_another(waffle: WaffleStrategy) -> None:
    draws = {WaffleStrategy(**{**waffle.__dict__, "seed": seed})(NAMES).digest for seed in range(7)}
    assert len(draws) == 7
    assert waffle(NAMES).digest == waffle(NAMES).digest


def test_every_word_is_as_likely() -> None:
    generator = random.Random(0)
    counts = Counter(pick(generator, WORDS) for _ in range(6000))
    assert set(counts) == set(WORDS)
    assert max(abs(count - 1000) for count in counts.values()) < 150  # 5 standard deviations


def test_a_concept_stands_before_the_name(waffle: WaffleStrategy) -> None:
    prompts = WaffleStrategy(**{**waffle.__dict__, "concept": "amphibian"})(NAMES)
    assert all(text.startswith("A photo of a amphibian: a newt, which ") for text in prompts.texts[1])


def test_words_of_clips_vocabulary_are_words(waffle: WaffleStrategy) -> None:
    words = read_words("clip_vocabulary")
    assert len(words) > 20_000
    assert {"frog", "photo", "the"} < set(words)
    assert all(word.isalpha() and len(word) > 2 for word in words)


def test_characters_are_of_the_words_where_there_are_no_descriptors(waffle: WaffleStrategy) -> None:
    found = WaffleStrategy(**{**waffle.__dict__, "characters": None}).random_descriptors(NAMES, 50)
    assert set("".join(found[1::2])) - set(", ") <= set("".join(WORDS))


def test_dclip_waffle_mixes_shared_noise_with_the_descriptors_of_each_class(waffle: WaffleStrategy) -> None:
    """The published counts: of 10 word, 10 character and 20 true descriptors a class keeps 30."""
    prompts = with_descriptors(waffle)(NAMES)
    noise = published(NAMES, WORDS, DESCRIPTORS, 3, 10)
    for name, row in zip(NAMES, prompts.texts, strict=True):
        shown = name.replace("_", " ")
        own = {f"A photo of a {shown}, {which(text, 'original')}." for text in DESCRIPTORS[shown] or [""]}
        random_ones = Counter(f"A photo of a {shown}, {which(text, 'original')}." for text in noise)
        assert len(row) == 30
        assert set(row) <= own | set(random_ones)
        kept_noise = Counter(text for text in row if text not in own)
        assert kept_noise <= random_ones
        assert 10 <= sum(kept_noise.values()) <= 20
    assert prompts.parallel is False
    assert prompts.join == {"exact": 3, "normalised": 1, "aliased": 0, "ignored": 0}


def test_dclip_waffle_keeps_each_prompt_alike(waffle: WaffleStrategy) -> None:
    kept = [
        sum(
            text not in {f"A photo of a newt, {which(one, 'original')}." for one in DESCRIPTORS["newt"]} for text in row
        )
        for seed in range(300)
        for row in [with_descriptors(waffle, seed=seed)(NAMES).texts[1]]
    ]
    assert np.mean(kept) == pytest.approx(15, abs=4 * math.sqrt(20 * 0.25 / 300))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 0}, "prompts.pairs=0 is too small"),
        ({"words": "/no/such/file"}, "prompts.words should be a text file"),
        ({"concept": " "}, "no word for what all its classes are"),
    ],
)
def test_mistakes_are_named(waffle: WaffleStrategy, changes: dict[str, object], message: str) -> None:
    with pytest.raises(PromptsError, match=message):
        WaffleStrategy(**{**waffle.__dict__, **changes})(NAMES)


def test_an_empty_word_list_and_missing_descriptors_are_errors(waffle: WaffleStrategy, tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text(" \n\n")
    with pytest.raises(PromptsError, match="holds no word"):
        read_words(str(tmp_path / "none.txt"))
    with pytest.raises(PromptsError, match=r"dataset.texts.descriptors=FILE"):
        with_descriptors(waffle, path=None)(NAMES)
    with pytest.raises(PromptsError, match="prompts.pairs=1 is too small"):
        with_descriptors(waffle, pairs=1)(NAMES)
