"""The demo's pictures: the same pixels everywhere, in any order, for enough classes."""

import hashlib

import numpy as np
import pytest

from cupl_bench.dataset.demo.drawing import (
    IMAGE_SIZE,
    TEST_PER_CLASS,
    TEST_SEED,
    VALIDATION_SEED,
    Dice,
    draw_flower,
    draw_one,
    draw_split,
    evaluated_species,
    generator_for,
    load_species,
    sample_traits,
)

# Drawn with Pillow 13.0 and numpy 2.4. Another Pillow may round a polygon's edge differently: then the
# demo's numbers move by fractions of a point and these digests, with docs/demo.md, have to be renewed
# together.
DIGESTS = {
    (0, 0): "ab9d11c730218932",
    (3, 1): "a15fd0aaa2b5d88c",
    (9, 2): "cb08c7306b97e8a9",
    (13, 3): "b4d334eb1f0919bc",
    (17, 4): "96d09784ab9b458d",
    (20, 5): "0b889c4b03670eef",
    (22, 6): "2e2f1c2c962dbc1a",
    (23, 7): "d22baad87f1a966f",
    (24, 8): "4a27b29707c76b03",
    (25, 9): "9437a7fdfb3ebbd2",
    (27, 10): "f8f5cfaac3bc1b85",
    (31, 11): "7333efc316c6151c",
}
SEED = 3


def pixels_digest(seed: int, class_index: int, number: int) -> str:
    return hashlib.sha256(draw_one(seed, class_index, number).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("class_index", "number"), DIGESTS)
def test_pixels_are_those_of_the_published_numbers(class_index: int, number: int) -> None:
    assert pixels_digest(SEED, class_index, number) == DIGESTS[class_index, number]


def test_a_picture_does_not_depend_on_what_was_drawn_before() -> None:
    forward = {key: pixels_digest(SEED, *key) for key in ((0, 0), (5, 1), (31, 2))}
    backward = {key: pixels_digest(SEED, *key) for key in reversed(forward)}
    assert forward == backward


def test_split_equals_pictures_drawn_by_key() -> None:
    drawn = list(draw_split(SEED, per_class=2))
    assert [(label, number) for label, number, _ in drawn] == [
        (label, number) for label in range(len(evaluated_species())) for number in range(2)
    ]
    label, number, image = drawn[37]
    assert image.tobytes() == draw_one(SEED, label, number).tobytes()


def test_pictures_are_small_rgb_and_all_different() -> None:
    drawn = [image for _, _, image in draw_split(SEED, per_class=3)]
    assert {(image.size, image.mode) for image in drawn} == {((IMAGE_SIZE, IMAGE_SIZE), "RGB")}
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_another_seed_draws_other_pictures() -> None:
    assert draw_one(VALIDATION_SEED, 0, 0).tobytes() != draw_one(TEST_SEED, 0, 0).tobytes()


def test_traits_known_without_drawing_are_those_drawn() -> None:
    species = evaluated_species()[2]
    traits = sample_traits(species, Dice(generator_for(SEED, 2, 7)))
    assert traits == sample_traits(species, Dice(generator_for(SEED, 2, 7)))
    assert traits.colour in {colour for colour, _ in species.colours}
    assert draw_flower(species, generator_for(SEED, 2, 7)).tobytes() == draw_one(SEED, 2, 7).tobytes()


def test_there_are_enough_classes_in_every_tier() -> None:
    tiers = [one.tier for one in evaluated_species()]
    assert len(tiers) >= 25
    assert len(tiers) * TEST_PER_CLASS >= 2000
    assert all(tiers.count(tier) >= 8 for tier in ("often", "rarely", "never"))


def test_species_are_listed_once_with_the_evaluated_ones_first() -> None:
    species = load_species()
    assert len({one.name for one in species}) == len(species)
    assert species[: len(evaluated_species())] == evaluated_species()


def test_every_species_can_be_drawn() -> None:
    for at, species in enumerate(load_species()):
        assert np.asarray(draw_flower(species, generator_for(SEED, 100 + at, 0))).std() > 3


def test_unknown_class_is_refused() -> None:
    with pytest.raises(IndexError, match=r"class index 32 is not in 0\.\.31"):
        draw_one(SEED, 32, 0)
