"""The effect of each prompt against brute force: its class rebuilt without it, every image scored anew."""

import numpy as np
import pandas as pd
import pytest
from making import make_folder
from statsmodels.stats.multitest import multipletests

from cupl_bench import scores
from cupl_bench.effects import measure_prompts, measure_subsets, measure_templates, right_images
from cupl_bench.embeddings import Aggregation, build_class_embeddings, unit_rows
from cupl_bench.report.significance import mcnemar_exact
from cupl_bench.scores import predict
from cupl_bench.truth import ClassSets

AGGREGATIONS = list(Aggregation)


def made(seed: int, *, ragged: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[int]]]:
    """Images near their classes; 1 and 4 have equal prompts, 6 no image, 2 a repeated prompt, 3 one text twice."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(7, 12))
    counts = generator.integers(1, 6, 7) if ragged else np.full(7, 4)
    counts[0] = 1 if ragged else 4
    rows, texts = [], []
    for label, count in enumerate(counts.tolist()):
        rows.append(list(range(len(texts), len(texts) + count)))
        texts += list(centres[label] + generator.normal(size=(count, 12)))
    rows[4] = list(rows[1])
    if ragged:
        rows[2] = [*rows[2], rows[2][0], rows[2][0]]
        rows[3] = [*rows[3], len(texts)]  # another text with the same feature as the first
        texts.append(texts[rows[3][0]])
    labels = generator.integers(0, 6, 400)
    images = centres[labels] + 1.5 * generator.normal(size=(400, 12))
    as_unit = [unit_rows(np.asarray(one, dtype=np.float32), "rows") for one in (images, texts)]
    return as_unit[0], labels, as_unit[1], rows


def accuracy(images, labels, texts, rows, aggregation, weights=None) -> tuple[float, np.ndarray]:
    found = predict(images, build_class_embeddings(texts, rows, aggregation, weights)).prediction
    own = [(found[labels == label] == label).mean() if (labels == label).any() else np.nan for label in range(7)]
    return float((found == labels).mean()), np.array(own)


def replaced(rows: list[list[int]], label: int, own: list[int]) -> list[list[int]]:
    return [own if place == label else row for place, row in enumerate(rows)]


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_each_prompt_is_as_brute_force_says(
    aggregation: Aggregation, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, texts, rows = made(seed, ragged=True)
    monkeypatch.setattr(scores, "TILE_VALUES", 1000)  # many tiles, the last of another size
    found = measure_prompts(images, labels, texts, rows, aggregation)
    assert found.top1 == accuracy(images, labels, texts, rows, aggregation)[0]
    assert len(found.label) == sum(len(set(own)) for own in rows)
    changed = 0
    for place, (label, row) in enumerate(zip(found.label.tolist(), found.row.tolist(), strict=True)):
        total, own = accuracy(images, labels, texts, replaced(rows, label, [row]), aggregation)
        assert found.top1_alone[place] == pytest.approx(total, abs=1e-12)
        np.testing.assert_allclose(found.class_top1_alone[place], own[label])
        rest = [one for one in rows[label] if one != row]
        if not rest:
            assert np.isnan([found.top1_without[place], found.class_top1_without[place]]).all()
            assert found.top1_alone[place] == found.top1
            continue
        total, own = accuracy(images, labels, texts, replaced(rows, label, rest), aggregation)
        assert found.top1_without[place] == pytest.approx(total, abs=1e-12)
        np.testing.assert_allclose(found.class_top1_without[place], own[label])
        changed += total != found.top1
    assert changed > 3
    assert found.weight[(found.label == 2) & (found.row == rows[2][0])] == [3]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_images_are_counted_that_are_right_only_with_or_only_without(aggregation: Aggregation) -> None:
    images, labels, texts, rows = made(0, ragged=False)

    def right(choice: list[list[int]]) -> np.ndarray:
        return predict(images, build_class_embeddings(texts, choice, aggregation)).prediction == labels

    whole = right(rows)
    found = measure_prompts(images, labels, texts, rows, aggregation)
    for place, (label, row) in enumerate(zip(found.label.tolist(), found.row.tolist(), strict=True)):
        rest = right(replaced(rows, label, [one for one in rows[label] if one != row]))
        assert found.only_with[place] == (whole & ~rest).sum()
        assert found.only_without[place] == (rest & ~whole).sum()
    assert (found.only_with * found.only_without).any()  # some do both, which their difference does not show
    templates = measure_templates(images, labels, texts, rows, aggregation)
    for place in range(4):
        rest = right([row[:place] + row[place + 1 :] for row in rows])
        assert templates.only_with[place] == (whole & ~rest).sum()
        assert templates.only_without[place] == (rest & ~whole).sum()
    alone = measure_prompts(images, labels, texts, [row[:1] for row in rows], aggregation)
    assert not (alone.only_with | alone.only_without).any()


@pytest.mark.parametrize("aggregation", [Aggregation.MEAN, Aggregation.MEAN_SIMILARITY])
def test_weights_stay_when_a_prompt_is_left_out(aggregation: Aggregation) -> None:
    images, labels, texts, rows = made(5, ragged=False)
    generator = np.random.default_rng(0)
    weights = [generator.uniform(0.2, 4, len(own)).tolist() for own in rows]
    found = measure_prompts(images, labels, texts, rows, aggregation, weights)
    templates = measure_templates(images, labels, texts, rows, aggregation, weights)
    for label, own in enumerate(rows):
        for place, row in enumerate(own):
            less = [(replaced(one, label, one[label][:place] + one[label][place + 1 :])) for one in (rows, weights)]
            expected = accuracy(images, labels, texts, less[0], aggregation, less[1])[0]
            here = (found.label == label) & (found.row == row)
            assert found.top1_without[here] == pytest.approx(expected, abs=1e-12)
    for place in range(4):
        less = [[row[:place] + row[place + 1 :] for row in one] for one in (rows, weights)]
        expected = accuracy(images, labels, texts, less[0], aggregation, less[1])[0]
        assert templates.top1_without[place] == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_each_template_is_as_brute_force_says(
    aggregation: Aggregation, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, texts, rows = made(seed, ragged=False)
    monkeypatch.setattr(scores, "TILE_VALUES", 300)
    found = measure_templates(images, labels, texts, rows, aggregation)
    for place in range(4):
        alone = accuracy(images, labels, texts, [[row[place]] for row in rows], aggregation)[0]
        rest = accuracy(images, labels, texts, [row[:place] + row[place + 1 :] for row in rows], aggregation)[0]
        assert found.top1_alone[place] == pytest.approx(alone, abs=1e-12)
        assert found.top1_without[place] == pytest.approx(rest, abs=1e-12)
    one = measure_templates(images, labels, texts, [row[:1] for row in rows], aggregation)
    assert np.isnan(one.top1_without).all()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_images_of_several_classes_are_right_as_one_of_them(
    aggregation: Aggregation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brute force again; where each set is the label alone, all is as without sets."""
    monkeypatch.setattr(scores, "TILE_VALUES", 1000)
    images, labels, texts, rows = made(0, ragged=True)
    matrix = np.zeros((len(labels), 7), dtype=np.int8)
    matrix[np.arange(len(labels)), labels] = 1
    plain = measure_prompts(images, labels, texts, rows, aggregation)
    same = measure_prompts(images, labels, texts, rows, aggregation, sets=ClassSets(matrix=matrix))
    for name, values in vars(plain).items():
        np.testing.assert_array_equal(getattr(same, name), values, err_msg=name)
    matrix[np.arange(len(labels)), (labels + 2) % 7] = np.where(labels % 2, -1, 1)  # -1 is a class of the image, too
    sets = ClassSets(matrix=matrix)

    def right(rows: list[list[int]]) -> np.ndarray:
        best = predict(images, build_class_embeddings(texts, rows, aggregation)).prediction
        return matrix[np.arange(len(labels)), best] != 0

    found = measure_prompts(images, labels, texts, rows, aggregation, sets=sets)
    now = right(rows)
    assert found.top1 == now.mean() > plain.top1
    np.testing.assert_array_equal(right_images(images, labels, texts, rows, aggregation, sets=sets), now)
    for place, (label, row) in enumerate(zip(found.label.tolist(), found.row.tolist(), strict=True)):
        alone, own = right(replaced(rows, label, [row])), labels == label
        assert found.top1_alone[place] == pytest.approx(alone.mean())
        if own.any():
            assert found.class_top1_alone[place] == alone[own].mean()
        if rest := [one for one in rows[label] if one != row]:
            then = right(replaced(rows, label, rest))
            assert found.top1_without[place] == pytest.approx(then.mean())
            assert (found.only_with[place], found.only_without[place]) == ((now & ~then).sum(), (then & ~now).sum())
    images, labels, texts, rows = made(1, ragged=False)
    matrix = np.eye(7, dtype=np.int8)[labels] | np.eye(7, dtype=np.int8)[(labels + 1) % 7]
    of_templates = measure_templates(images, labels, texts, rows, aggregation, sets=ClassSets(matrix=matrix))
    for place in range(4):
        then = right([own[:place] + own[place + 1 :] for own in rows])
        assert of_templates.top1_without[place] == pytest.approx(then.mean())
        assert of_templates.top1_alone[place] == pytest.approx(right([own[place : place + 1] for own in rows]).mean())


def test_two_classes_suffice_and_ties_go_to_the_lower() -> None:
    images = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    labels = np.array([0, 1, 1, 0])
    texts = np.eye(2, dtype=np.float32)
    found = measure_prompts(images, labels, texts, [[0, 1], [0, 1]], Aggregation.MEAN)
    # All similarities tie: everything is taken for class 0.
    assert found.top1 == 0.5
    for place, (label, row) in enumerate(zip(found.label.tolist(), found.row.tolist(), strict=True)):
        rows = replaced([[0, 1], [0, 1]], label, [1 - row])
        expected = predict(images, build_class_embeddings(texts, rows)).prediction
        assert found.top1_without[place] == (expected == labels).mean()


def test_choices_of_prompts_are_scored_as_runs_are() -> None:
    images, labels, texts, rows = made(1, ragged=False)
    choices = [([row[:2] for row in rows], None), (rows, [[1.0, 2.0, 3.0, 4.0]] * 7)]
    found = measure_subsets(images, labels, texts, choices, Aggregation.MEAN)
    assert found == [accuracy(images, labels, texts, *choice[:1], Aggregation.MEAN, choice[1])[0] for choice in choices]


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_effects_of_templates_agree_with_runs(cli, tiny, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupl_bench.commands.effects.DRAWS", 3)
    root = make_folder(tmp_path / "many", dict.fromkeys(["ant", "bee", "cat", "dog"], 8))
    templates = ["a {}.", "the {} at night.", "one big {}", "{} in the wild"]
    own = ["dataset=folder", f"dataset.path={root}", *tiny.overrides]

    def prompts(chosen: list[str]) -> list[str]:
        return ["prompts=templates", f"prompts.templates={chosen}"]

    assert cli("eval", *own, *prompts(templates)) == 0, cli.err
    whole = cli.record()
    assert cli("effects", *own, *prompts(templates)) == 0, cli.err
    assert "16 distinct: 16 reused, 0 encoded" in cli.out
    table = pd.read_parquet(cli.results / "effects" / f"{whole.run_key}.parquet")
    of_templates = table[table["kind"] == "template"].set_index("text")
    assert list(of_templates.index) == templates
    assert (table["top1"] == whole.metrics.top1).all()
    assert len(table) == 4 + 16
    adds = of_templates["top1"] - of_templates["top1_without"]
    assert of_templates["adds"].to_numpy() == pytest.approx(adds.to_numpy())
    assert (of_templates["adds_low"] < adds).all()
    assert (of_templates["adds_high"] > adds).all()
    p = mcnemar_exact(of_templates["only_with"].to_numpy(), of_templates["only_without"].to_numpy())
    assert list(of_templates["p_bh"]) == pytest.approx(list(multipletests(p, method="fdr_bh")[1]))
    assert "of 4 templates 0 add to top-1 and 0 take from it; the others are n.s." in " ".join(cli.out.split())
    of_images = pd.read_parquet(cli.results / "similarities" / f"{whole.run_key}.parquet")
    similarity = {(row.place, row.label): row.similarity for row in of_images.itertuples()}
    assert {place for place, _ in similarity} == set(range(32))
    for place, template in enumerate(templates):
        assert cli("eval", *own, *prompts([template])) == 0
        alone = pd.read_parquet(cli.results / "predictions" / f"{cli.record().run_key}.parquet")
        known = [  # with one prompt a class scores as its prompt does
            (score, similarity[image, label][place])
            for image, (label, score) in enumerate(zip(alone["prediction"], alone["score"], strict=True))
            if (image, label) in similarity
        ]
        assert len(known) > 8
        assert [one for one, _ in known] == pytest.approx([one for _, one in known], abs=1e-6)
        assert cli.record().metrics.top1 == of_templates["top1_alone"][template]
        assert cli("eval", *own, *prompts(templates[:place] + templates[place + 1 :])) == 0
        assert cli.record().metrics.top1 == of_templates["top1_without"][template]
    curve = pd.read_parquet(cli.results / "curves" / f"{whole.run_key}.parquet").set_index("num_prompts")
    assert list(curve.index) == [1, 2, 3, 4]
    assert curve["top1_mean"][4] == whole.metrics.top1
    runs = []
    for seed in range(3):
        assert cli("eval", *own, *prompts(templates), "budget=2", f"seed={seed}") == 0
        runs.append(cli.record().metrics.top1)
    assert curve["top1_mean"][2] == pytest.approx(np.mean(runs))
    assert (curve["top1_low"][2], curve["top1_high"][2]) == (min(runs), max(runs))
    assert curve["top1_sd"][2] == pytest.approx(np.std(runs, ddof=1))


@pytest.mark.slow
def test_effects_of_descriptions_name_class_and_text_and_failures(cli, tiny, photos, tmp_path) -> None:
    rows = {"ant": ["an ant", "six legs"], "bee": ["a bee"], "cat": ["a cat", "a cat"], "dog": ["x"], "eel": ["y"]}
    (tmp_path / "p.json").write_text(str(rows).replace("'", '"'))
    own = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("effects", *own, "prompts=file,simple", f"+prompts.path={tmp_path / 'p.json'}") == 2
    assert "failed: " in cli.err
    (path,) = (cli.results / "effects").glob("*.parquet")
    table = pd.read_parquet(path)
    assert set(table["kind"]) == {"prompt"}
    assert list(table["class_name"]) == ["ant", "ant", "bee", "cat", "dog", "eel"]
    assert set(table["text"][:2]) == {"an ant", "six legs"}
    assert table["weight"][3] == 2
    assert table["p_bh"].notna().tolist() == [True, True, False, False, False, False]
    assert table["top1_without"].isna().tolist() == [False, False, True, True, True, True]
    assert not list((cli.results / "records").glob("*.json"))
    assert not (cli.results / "similarities").exists()  # of a run, and there is none
