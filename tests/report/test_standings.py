"""What is ranked together over data sets, what is left out, and what is not said for want of data sets."""

import numpy as np
import pandas as pd
import pytest

from cupl_bench.report.answers import RightImages
from cupl_bench.report.ranking import average_ranks, skill_scores
from cupl_bench.report.standings import Standings, notes_of, shown_ranking, stand

OF_DATASETS = ["p", "rank_low", "friedman_p", "critical_difference", "swap_datasets"]
IMAGES = 300
GAINS = {"simple": 0.0, "cupl": 0.2, "waffle": -0.1}


def cell(dataset: str, prompts: str, seed: int = 0, **changes: object) -> tuple[dict, RightImages]:
    """Return the row of a run in a comparison, and its right images: the same ones are hard for all strategies."""
    hard = np.random.default_rng([seed, *dataset.encode()]).random(IMAGES)
    hits = hard < 0.6 + GAINS.get(prompts, 0.0) + np.random.default_rng([*dataset.encode()]).normal(0, 0.02)
    key = f"{dataset} {prompts} {changes.get('scorer', '')} {seed}"
    row = {
        "collection": dataset, "backbone": "b", "backbone_shown": "b", "precision": "fp32", "kind": "zero_shot",
        "prompts": prompts, "scorer": "plain", "aggregation": "mean", "budget": pd.NA, "num_seeds": pd.NA,
        "of_seeds": False, "primary": "top1", "top1": hits.mean(), "baseline_run_key": f"{dataset} simple  0",
        "run_key": key,
    }  # fmt: skip
    return row | changes, RightImages(bits=np.packbits(hits).tobytes(), count=IMAGES, images=dataset)


def standings(cells: list[tuple[dict, RightImages]]) -> Standings:
    return stand(pd.DataFrame([row for row, _ in cells]), {row["run_key"]: right for row, right in cells})


def grid(num_datasets: int, prompts: tuple[str, ...] = tuple(GAINS)) -> list[tuple[dict, RightImages]]:
    return [cell(f"set{number}", name) for number in range(num_datasets) for name in prompts]


@pytest.fixture(scope="module")
def eight() -> Standings:
    return standings(grid(8))


def test_the_table_is_the_arithmetic_of_its_accuracies_best_first(eight: Standings) -> None:
    table = eight.table
    assert list(table["prompts"]) == ["cupl", "simple", "waffle"]
    values = np.array([[cell(f"set{number}", name)[0]["top1"] for name in table["prompts"]] for number in range(8)])
    np.testing.assert_allclose(table["average_rank"], average_ranks(values))
    np.testing.assert_allclose(table["skill_score"], skill_scores(values, baseline=1))
    np.testing.assert_allclose(table["top1"], values.mean(axis=0))
    assert list(table["baseline"]) == ["simple"] * 3
    assert table["p_holm"].notna().tolist() == [True, False, True]
    assert (table["p_holm"].dropna() < 0.05).all()
    assert (table["friedman_p"] < 0.05).all()
    assert table["as_good_as_best"].tolist() == [True, True, False]  # the critical difference is 1.17
    assert table["swap_images"][:2].lt(0.05).all()
    assert np.isnan(table["swap_images"][2])
    assert eight.notes == {0: []}


def test_the_table_as_read_and_its_notes(eight: Standings) -> None:
    read = shown_ranking(eight.table, list(eight.table["prompts"]))
    assert list(read["rank [95%]"]) == ["1.00 [1.00, 1.00] *", "2.00 [2.00, 2.00] *", "3.00 [3.00, 3.00]"]
    assert read["skill over simple"][1] == "+0.0"
    lines = notes_of(eight)
    assert "critical difference 1.17 (Nemenyi; * within it of the best)" in lines
    assert "skill: the percentage of the errors of simple that are saved" in lines
    assert any(line.startswith("pairs that change places: 0% with other images") for line in lines)


@pytest.mark.parametrize(
    ("num_datasets", "prompts", "empty", "said"),
    [
        (3, tuple(GAINS), OF_DATASETS, "that takes 6 data sets, these are 3"),
        (6, tuple(GAINS), ["p", "p_holm"], "Wilcoxon's test of 2 strategies after Holm can find nothing; 7 data sets"),
        (6, ("simple", "cupl"), ["critical_difference", "friedman_p"], "of two strategies Wilcoxon's test says all"),
    ],
)  # fmt: skip
def test_too_few_data_sets_are_told_and_their_numbers_not_given(
    num_datasets: int, prompts: tuple[str, ...], empty: list[str], said: str
) -> None:
    found = standings(grid(num_datasets, prompts))
    assert found.table[empty].isna().all(axis=None)
    assert found.table[["average_rank", "win_rate", "skill_score"]].notna().all(axis=None)
    assert sum(said in note for note in found.notes[0]) == 1


def test_one_data_set_has_no_ranks() -> None:
    found = standings(grid(1))
    assert found.table.empty
    assert notes_of(found) == []


def test_kinds_backbones_and_precisions_never_share_ranks() -> None:
    cells = grid(2)
    for change in ({"kind": "transductive", "scorer": "zlap"}, {"backbone_shown": "c"}, {"precision": "fp16"}):
        cells += [cell(f"set{number}", name, **change) for number in range(2) for name in GAINS]
    found = standings(cells)
    assert found.table.groupby("league").size().tolist() == [3, 3, 3, 3]
    for column in ("kind", "backbone_shown", "precision"):
        assert (found.table.groupby("league")[column].nunique() == 1).all()
    assert len({line.partition(":")[0] for line in notes_of(found)[:-1]}) == 4  # each line says whose it is


def test_a_league_without_the_baseline_has_no_skill_and_says_so() -> None:
    others = [cell(f"set{number}", name, backbone_shown="c") for number in range(7) for name in ("cupl", "waffle")]
    found = standings([*grid(7), *others])
    lone = found.table[found.table["backbone_shown"] == "c"]
    assert lone[["baseline", "skill_score", "p"]].isna().all(axis=None)
    assert "c: no skill score and no test: the baseline was not run on all of these data sets." in notes_of(found)
    read = shown_ranking(found.table, list(found.table["prompts"]))
    assert list(read["skill over simple"][3:]) == ["", ""]
    assert read["rank [95%]"].str.endswith(" *").tolist() == [True, True, False, False, False]


def test_missing_cells_are_named_and_never_filled() -> None:
    cells = [one for one in grid(8) if one[0]["run_key"] != "set2 cupl  0"]
    cells += [cell("set0", "odd"), cell("set1", "odd")]
    found = standings(cells)
    assert set(found.table["prompts"]) == set(GAINS)
    assert (found.table["num_datasets"] == 7).all()
    assert "set2" not in found.table["datasets"][0].split()
    assert found.notes[0][:2] == [
        "strategies not ranked since they were run on fewer than half of the data sets (1): 'odd (2 of 8)'.",
        "data sets left out, not filled, since a strategy is missing there (1): 'set2'.",
    ]


def test_a_data_set_in_two_versions_is_left_out_and_named() -> None:
    cells = [*grid(3), *[cell("set1", name, run_key=f"other {name}") for name in GAINS]]
    found = standings(cells)
    assert found.table["datasets"][0] == "set0 set2"
    assert "data sets left out since they stand here in several versions (1): 'set1'." in found.notes[0]


def of_map(name: str) -> tuple[dict, RightImages]:
    value = {"simple": 0.5, "cupl": 0.4, "waffle": 0.6}[name]  # not the order of their accuracies
    return cell("voc", name, primary="map_11", primary_value=value)


def test_a_metric_beyond_accuracy_is_ranked_by_itself_and_averaged_with_none() -> None:
    cells = [*grid(3), *map(of_map, GAINS)]
    rows, right = pd.DataFrame([row for row, _ in cells]), {row["run_key"]: one for row, one in cells}
    draws = {row["run_key"]: np.full(1000, row["primary_value"]) for row, _ in cells if row["collection"] == "voc"}
    found = stand(rows, right, draws)
    table = found.table.set_index("prompts")
    assert table["datasets"].iloc[0] == "set0 set1 set2 voc"
    assert table["average_rank"].to_dict() == {"cupl": 1.5, "simple": 2.0, "waffle": 2.5}
    assert table["top1"]["cupl"] == pytest.approx(standings(grid(3)).table.set_index("prompts")["top1"]["cupl"])
    assert "beyond accuracy, which the mean leaves out (1): 'voc (mAP, 11 points)'." in found.notes[0][0]
    assert table["swap_images"].iloc[0] == pytest.approx(0)  # resamples that stay give ranks that stay
    assert stand(rows, right).table["swap_images"].isna().all()
    assert any("not defined in some resamples" in line for line in stand(rows, right).notes[0])


def test_resamples_of_a_metric_beyond_accuracy_change_places() -> None:
    cells = [cell("set0", name) for name in GAINS] + [of_map(name) for name in GAINS]
    rows, right = pd.DataFrame([row for row, _ in cells]), {row["run_key"]: one for row, one in cells}
    generator = np.random.default_rng(0)
    draws = {row["run_key"]: generator.random(1000) for row, _ in cells if row["collection"] == "voc"}
    assert stand(rows, right, draws).table["swap_images"].iloc[0] > 0.05


def test_a_data_set_in_several_metrics_is_left_out_and_named() -> None:
    cells = [*grid(3), *[cell("voc", name) if name == "simple" else of_map(name) for name in GAINS]]
    found = standings(cells)
    assert found.table["datasets"][0] == "set0 set1 set2"
    assert "data sets left out since they stand here in several metrics (1): 'voc'." in found.notes[0]


def test_without_a_complete_part_nothing_is_ranked_and_that_is_said() -> None:
    cells = [cell("a", "simple"), cell("b", "simple"), cell("b", "cupl"), cell("c", "cupl")]
    found = standings(cells)
    assert found.table.empty
    assert notes_of(found)[1].endswith("ranks take two data sets that all 2 strategies have answered; there are 1.")


def test_the_mean_over_seeds_is_ranked_and_its_runs_are_resampled_together() -> None:
    cells = []
    for dataset in ("a", "b"):
        seeds = [cell(dataset, "waffle", seed, of_seeds=True) for seed in (1, 2)]
        seeds = [(row, RightImages(bits=right.bits, count=IMAGES, images=dataset)) for row, right in seeds]
        mean = {**seeds[0][0], "run_key": "", "of_seeds": False, "num_seeds": 2}
        mean["top1"] = np.mean([row["top1"] for row, _ in seeds])
        cells += [cell(dataset, "simple"), (mean, seeds[0][1]), *seeds]
    table = standings(cells).table
    assert list(table["prompts"]) == ["simple", "waffle"]
    assert table["swap_images"].notna().tolist() == [True, False]


def test_without_independent_images_they_are_not_resampled() -> None:
    cells = grid(3)
    found = stand(pd.DataFrame([row for row, _ in cells]), {})
    assert found.table["swap_images"].isna().all()
    assert any("no changes of place with other images" in note for note in found.notes[0])
    other = {row["run_key"]: right for row, right in cells}
    first = other["set0 cupl  0"]
    other["set0 cupl  0"] = RightImages(bits=first.bits, count=first.count, images="other images")
    assert stand(pd.DataFrame([row for row, _ in cells]), other).table["swap_images"].isna().all()
