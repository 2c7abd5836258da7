import json
import math
from pathlib import Path

import pytest

from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts.selection import TopDescriptionsStrategy, distinctiveness
from cupl_bench.prompts.strategies import DescriptionsStrategy

SENTENCES = {
    "tree frog": ["A tree frog is an animal.", "A tree frog has sticky toes.", "A tree frog has sticky toes."],
    "tailed frog": ["A tailed frog is an animal.", "A tailed frog has a tail."],
    "newt": ["A newt has a tail.", "newt", "A newt is an animal with a crest."],
}


def strategy(tmp_path: Path, keep: int) -> TopDescriptionsStrategy:
    (tmp_path / "cupl.json").write_text(json.dumps(SENTENCES))
    descriptions = DescriptionsStrategy(
        path=str(tmp_path / "cupl.json"), variant=None, cache_dir=str(tmp_path), templates=None, aliases=None,
        extra="error", clean=False, aggregation=Aggregation.MEAN,
    )  # fmt: skip
    return TopDescriptionsStrategy(descriptions=descriptions, keep=keep)


def test_the_score_is_the_formula_worked_by_hand() -> None:
    names, rows = list(SENTENCES), list(SENTENCES.values())
    scores = distinctiveness(names, rows, names)
    everywhere, twice, once = 0.0, math.log(3 / 2), math.log(3)
    assert scores[0][0] == pytest.approx(everywhere)  # a, is, an, animal: in all three
    assert scores[0][1] == pytest.approx((0 + 0 + once + once) / 4)  # a, has, sticky, toes
    assert scores[1][1] == pytest.approx((0 + 0 + twice) / 3)  # a, has, tail
    assert scores[2][1] == 0.0  # nothing but the name
    assert scores[2][2] == pytest.approx((once + once) / 6)  # a, is, an, animal, with, crest


def test_the_most_distinctive_are_kept_in_their_order(tmp_path: Path) -> None:
    kept = strategy(tmp_path, 1)(list(SENTENCES)).texts
    assert kept == (("A tree frog has sticky toes.",), ("A tailed frog has a tail.",), (SENTENCES["newt"][2],))
    assert strategy(tmp_path, 2)(list(SENTENCES)).texts[2] == (SENTENCES["newt"][0], SENTENCES["newt"][2])


def test_classes_with_fewer_keep_all_and_repeats_count_once(tmp_path: Path) -> None:
    assert [len(row) for row in strategy(tmp_path, 9)(list(SENTENCES)).texts] == [2, 2, 3]


def test_classes_of_one_name_are_one_class(tmp_path: Path) -> None:
    """Otherwise each would make the other's sentences look common."""
    names = ["newt", "tree frog", "tailed frog", "newt"]
    prompts = strategy(tmp_path, 1)(names)
    assert prompts.texts[0] == prompts.texts[3] == (SENTENCES["newt"][2],)
    twice = distinctiveness(names, [SENTENCES[name] for name in names], names)
    assert twice[0] == distinctiveness(names[:3], [SENTENCES[name] for name in names[:3]], names[:3])[0]


def test_forms_of_the_own_name_distinguish_nothing() -> None:
    """Every sentence about ostriches says so; the word is rare and tells nothing more."""
    rows = [["Ostriches are birds.", "An ostrich is tall."], ["Emus are birds."]]
    plural, _ = distinctiveness(["ostrich", "emu"], rows, ["ostrich", "emu"])[0]
    assert plural == 0.0


def test_ties_go_to_the_earlier_sentence() -> None:
    assert distinctiveness(["one", "two"], [["x y", "y x"], ["z"]], ["one", "two"])[0] == pytest.approx(
        [math.log(2)] * 2
    )


def test_something_is_kept(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="prompts.keep=0 should be 1 or more"):
        strategy(tmp_path, 0)(list(SENTENCES))
