"""The smallest set of prompts: what it chooses, that the judging half has no say in it, and that it holds its level."""

import json

import numpy as np
import pytest
from making import make_folder

from cupl_bench.effects import right_images
from cupl_bench.embeddings import Aggregation, unit_rows
from cupl_bench.report.significance import mcnemar_exact
from cupl_bench.smallest_set import halves, smallest_set
from scripts.levels import false_alarms

CLASSES, PROMPTS, GOOD = 5, 6, (1, 4)


def made(
    seed: int, count: int = 400, *, signal: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[int]]]:
    """Prompts 1 and 4 of each class point to its images, the others anywhere; without a signal all point anywhere."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(CLASSES, 10))
    labels = generator.integers(0, CLASSES, count)
    images = signal * centres[labels] + generator.normal(size=(count, 10))
    texts = generator.normal(size=(CLASSES, PROMPTS, 10))
    texts[:, GOOD] = signal * 2 * centres[:, None] + 0.3 * texts[:, GOOD]
    units = [unit_rows(one.reshape(-1, 10).astype(np.float32), "rows") for one in (images, texts)]
    return units[0], labels, units[1], np.arange(CLASSES * PROMPTS).reshape(CLASSES, PROMPTS).tolist()


def test_halves_are_drawn_within_each_class_and_differ_by_one_at_most() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 301)
    one, other = halves(labels, seed=3)
    assert sorted([*one, *other]) == list(range(301))
    apart = np.bincount(labels[one], minlength=7) - np.bincount(labels[other], minlength=7)
    assert np.abs(apart).max() <= 1
    assert len(one) - len(other) == 1
    assert one.tolist() != halves(labels, seed=4)[0].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_the_prompts_that_matter_stay_and_are_judged_on_the_other_half(
    parallel: bool, aggregation: Aggregation
) -> None:
    images, labels, texts, rows = made(1)
    found = smallest_set(images, labels, texts, rows, aggregation, parallel=parallel, seed=0)
    assert found.rows is not None
    assert found.judged is not None
    assert found.judged.size <= 2
    assert {row % PROMPTS for own in found.rows for row in own} <= set(GOOD)
    if parallel:
        assert len({tuple(row % PROMPTS for row in own) for own in found.rows}) == 1
    _, judging = halves(labels, seed=0)
    here, right = (
        right_images(images[judging], labels[judging], texts, one, aggregation) for one in (found.rows, rows)
    )
    gained, lost = int((here & ~right).sum()), int((right & ~here).sum())
    assert (found.judged.gained, found.judged.lost, found.judged.images) == (gained, lost, len(judging))
    assert found.judged.top1 - found.judged.top1_of_all == pytest.approx((gained - lost) / len(judging))
    assert found.judged.p == mcnemar_exact([gained], [lost])[0]
    assert found.judged.interval[0] < found.judged.top1 - found.judged.top1_of_all < found.judged.interval[1]


def test_the_judging_half_has_no_say_in_the_choice() -> None:
    images, labels, texts, rows = made(2)
    given = {"parallel": False, "seed": 0}
    found = smallest_set(images, labels, texts, rows, Aggregation.MEAN, **given)
    _, judging = halves(labels, seed=0)
    changed = images.copy()
    changed[judging] = np.random.default_rng(9).permutation(changed[judging])
    other = smallest_set(changed, labels, texts, rows, Aggregation.MEAN, **given)
    assert (other.rows, other.tried) == (found.rows, found.tried)
    assert other.judged != found.judged


def test_repeats_of_a_prompt_stay_together() -> None:
    images, labels, texts, rows = made(3)
    rows[0] = [*rows[0], rows[0][1]]
    found = smallest_set(images, labels, texts, rows, Aggregation.MEAN, parallel=False, seed=0)
    assert found.rows is not None
    assert found.rows[0].count(rows[0][1]) in (0, 2)


def test_where_every_prompt_is_needed_there_is_no_smaller_set() -> None:
    generator = np.random.default_rng(0)
    parts = generator.normal(size=(CLASSES, 4, 40))  # each prompt tells of a fourth of what the images show
    labels = generator.integers(0, CLASSES, 3000)
    images = parts.sum(axis=1)[labels] + 9 * generator.normal(size=(3000, 40))
    units = [unit_rows(one.reshape(-1, 40).astype(np.float32), "rows") for one in (images, parts)]
    rows = np.arange(CLASSES * 4).reshape(CLASSES, 4).tolist()
    found = smallest_set(units[0], labels, units[1], rows, Aggregation.MEAN, parallel=True, seed=0)
    assert found.rows is None
    assert [one.size for one in found.tried] == [3]
    assert found.tried[0].worse
    one_prompt = smallest_set(
        units[0], labels, units[1], [own[:1] for own in rows], Aggregation.MEAN, parallel=True, seed=0
    )
    assert (one_prompt.rows, one_prompt.tried) == (None, ())


@pytest.mark.slow
def test_the_judgement_holds_its_level_and_one_on_the_choosing_half_would_not() -> None:
    """Prompts that point anywhere: whatever is chosen is as good as all. The script has the long simulation."""
    alarms = np.array([false_alarms(seed, images=120, prompts=12) for seed in range(24)])
    judged, on_its_own_half = np.nansum(alarms, axis=0)
    assert judged <= 4  # of 24 at 5%: more are less likely than 1%
    assert on_its_own_half >= 6


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_chosen_file_is_read_back_as_prompts(cli, tiny, tmp_path) -> None:
    root = make_folder(tmp_path / "many", dict.fromkeys(["ant", "bee", "cat", "dog"], 12))
    own = ["dataset=folder", f"dataset.path={root}", *tiny.overrides]
    rows = {name: [f"a {name}", f"the {name} at night", f"one {name}"] for name in ("ant", "bee", "cat [2]", "cat [3]")}
    (tmp_path / "names.json").write_text(json.dumps({"ant": "ant", "bee": "bee", "cat": "cat", "dog": "cat"}))
    own.append(f"dataset.class_names={tmp_path / 'names.json'}")
    (tmp_path / "p.json").write_text(json.dumps(rows))
    asked = ["prompts=file", f"prompts.path={tmp_path / 'p.json'}", f"select={tmp_path / 'kept.json'}"]
    assert cli("effects", *own, *asked, "output=json") == 0, cli.err
    (selection,) = [one["selection"] for one in json.loads(cli.out)["measured"]]
    assert selection["judged"]["num_images"] == 24
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert list(kept) == list(rows)
    assert all(set(kept[name]) < set(rows[name]) for name in rows)
    assert selection["num_prompts"] == sum(map(len, kept.values())) < selection["num_prompts_of_all"] == 12
    assert "images that had no say in the choice" in cli.err
    assert cli("effects", *own, *asked) == 2
    assert "kept.json is there already. Move it" in cli.err
    assert cli("eval", *own, "prompts=file", f"prompts.path={tmp_path / 'kept.json'}") == 0, cli.err
    assert cli.record().prompts.num_prompts == selection["num_prompts"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["select=kept.txt"], "should be the name of a JSON file to write"),
        (["prompts=simple,ensemble", "select=kept.json"], "select= writes one file, and 2 questions are asked"),
        (["select=kept.json"], "30 images are too few"),
    ],
)
def test_what_cannot_be_selected_is_refused_before_any_work(cli, tiny, tmp_path, asked: list[str], said: str) -> None:
    root = make_folder(tmp_path / "few", dict.fromkeys(["ant", "bee"], 15))
    assert cli("effects", "dataset=folder", f"dataset.path={root}", *tiny.overrides, *asked) == 2
    assert said in cli.err
    assert not list(tmp_path.rglob("effects/*"))
