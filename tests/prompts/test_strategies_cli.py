"""Strategies as a user meets them: every option on the demo's classes, seeds, budgets, weights from images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from making import TinyModel

from cupl_bench.conf_folder import conf_dir
from cupl_bench.config import question_of
from cupl_bench.dataset.decode import decode
from cupl_bench.dataset.demo.drawing import evaluated_species
from cupl_bench.embeddings import unit_rows
from cupl_bench.prompts import Prompts
from cupl_bench.schema import register
from cupl_bench.store import read_arrays

DEMO_NAMES = [one.name for one in evaluated_species()]
WITHOUT_OWN_TEXTS = {
    "coop": "CoOp's data sets alone",
    "embeddings": "a user's own",
    "file": "a user's own",
    "templates": "a user's own",
    "cupl_base": "two files",
    "cupl_full": "two",
    "library": "photographs alone",
}
ON_DEMO = sorted({path.stem for path in (conf_dir() / "prompts").glob("*.yaml")} - set(WITHOUT_OWN_TEXTS))
TEMPLATES = ["a photo of a {}.", "a drawing of the {}, seen from far.", "{}"]
OF_TEMPLATES = f"dataset.texts.templates={TEMPLATES}".replace("'", '"')


def prompts_of(*overrides: str) -> Prompts:
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return question_of(compose("config", list(overrides))).prompts(DEMO_NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_DEMO)
def test_every_strategy_runs_on_the_demo_offline(name: str) -> None:
    prompts = prompts_of("dataset=demo", f"prompts={name}")
    assert len(prompts.texts) == 32
    assert prompts.digest == prompts_of("dataset=demo", f"prompts={name}").digest
    few = prompts_of("dataset=demo", f"prompts={name}", "budget=2")
    assert all(len(row) <= 2 and set(row) <= set(all_of) for row, all_of in zip(few.texts, prompts.texts, strict=True))


DRAW = [
    "waffle", "waffle_concept", "dclip_waffle", "dclip_waffle_concept", "cupl_shuffled", "cupl_length_matched",
    "cupl_random_words",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
def test_random_strategies_draw_with_the_seed_of_the_question(name: str) -> None:
    first, second = (prompts_of("dataset=demo", f"prompts={name}", f"seed={seed}") for seed in (0, 1))
    assert (first.seed, second.seed) == (0, 1)
    assert first.digest != second.digest


@pytest.mark.slow
def test_others_do_not_know_the_seed() -> None:
    for name in set(ON_DEMO) - set(DRAW):
        first, second = (prompts_of("dataset=demo", f"prompts={name}", f"seed={seed}") for seed in (0, 1))
        assert (first.seed, first.digest) == (None, second.digest), name


@pytest.mark.slow
def test_seeds_and_budgets_leave_a_record_each(cli, on_photos) -> None:
    assert on_photos("-m", "prompts=ensemble", OF_TEMPLATES, "budget=null,1,2,3", "seed=0,1") == 0, cli.err
    found = {}
    for path in (cli.results / "records").glob("*.json"):
        from cupl_bench.records import read_record

        record = read_record(path)
        found[record.prompts.budget, record.prompts.seed] = record
        assert record.config is not None
        assert record.config.budget == record.prompts.budget
    # Where nothing is drawn, both seeds ask the same question.
    assert set(found) == {(None, None), (1, 0), (1, 1), (2, 0), (2, 1), (3, None)}
    assert [found[key].prompts.num_prompts for key in ((1, 0), (2, 1), (3, None))] == [5, 10, 15]
    assert found[None, None].metrics == found[3, None].metrics


@pytest.mark.slow
def test_a_budget_is_told_and_enters_no_key_where_it_is_not_set(cli, on_photos) -> None:
    assert on_photos("prompts=ensemble", OF_TEMPLATES) == 0
    plain = cli.record()
    assert on_photos("prompts=ensemble", OF_TEMPLATES, "seed=9") == 0
    assert cli.record().run_key == plain.run_key
    assert "finished before" in cli.out
    assert on_photos("prompts=ensemble", OF_TEMPLATES, "budget=2", "seed=9") == 0
    assert "at most 2 of each class, drawn with seed 9" in cli.out
    assert on_photos("prompts=ensemble", OF_TEMPLATES, "budget=30") == 0
    assert "at most 30 of each class, all kept; 5 of 5 classes have fewer and keep all" in cli.out


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["0", "-1", "few"])
def test_budgets_that_cannot_be(cli, on_photos, budget: str) -> None:
    assert on_photos(f"budget={budget}") == 2
    assert "budget" in cli.err


def features_of(photos: Path, tiny: TinyModel, cache: Path) -> tuple[np.ndarray, list[np.ndarray], float]:
    """Images, prompts of each template, and the model's scale, without the runner."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, f"cache_dir={cache}"]
        question = question_of(compose("config", overrides))
    facts = question.backbone.identify(cache, download=False)
    import torch

    backbone = question.backbone.load(facts, torch.device("cpu"), "fp32")
    paths = sorted(photos.glob("*/*.jpg"))
    rows = [backbone.encode_images(backbone.transform.exact(decode(path.read_bytes()))[None]) for path in paths]
    images = unit_rows(torch.cat(rows).numpy(), "images")
    names = sorted(path.name for path in photos.iterdir())
    texts = []
    for template in TEMPLATES:
        tokens = backbone.text.tokenize([template.replace("{}", name) for name in names])
        texts.append(unit_rows(backbone.text.encode(list(tokens.sequences), 8).numpy(), "texts"))
    return images, texts, backbone.logit_scale


@pytest.mark.slow
def test_zpe_is_the_published_rule_from_images_to_class_embeddings(
    cli, on_photos: Callable[..., int], photos: Path, tiny: TinyModel
) -> None:
    assert on_photos("prompts=zpe", OF_TEMPLATES) == 0, cli.err
    record = cli.record()
    assert (record.prompts.weighting, record.prompts.uses_images) == ("zpe", True)
    assert "weighed by 15 images without their labels" in cli.out
    images, texts, scale = features_of(photos, tiny, cli.cache)
    logits = np.stack([scale * images.astype(np.float64) @ rows.T for rows in texts], axis=1)
    scores = (logits - logits.mean(axis=0)).max(axis=2).mean(axis=0)
    weights = np.exp(scores) / np.exp(scores).sum()
    assert record.artifacts is not None
    frame = pd.read_parquet(cli.results / str(record.artifacts.prompts))
    np.testing.assert_allclose(frame["weight"], np.tile(weights, 5), rtol=1e-4)
    matrix = read_arrays(cli.results / record.artifacts.class_embeddings)[0]["class_embeddings"]
    np.testing.assert_allclose(matrix, sum(w * rows for w, rows in zip(weights, texts, strict=True)), atol=1e-5)


@pytest.mark.slow
def test_weights_of_zpe_belong_to_their_images(cli, on_photos, photos: Path) -> None:
    zpe = ["prompts=zpe", OF_TEMPLATES]
    assert on_photos(*zpe) == 0
    first = pd.read_parquet(cli.results / str(cli.record().artifacts.prompts))["weight"].to_numpy()
    assert on_photos(*zpe, "rerun=always") == 0
    assert "class embeddings reused" in cli.out
    assert np.array_equal(pd.read_parquet(cli.results / str(cli.record().artifacts.prompts))["weight"], first)
    (photos / "ant" / "0.jpg").unlink()
    assert on_photos(*zpe) == 0
    assert "weighed by 14 images" in cli.out
    second = pd.read_parquet(cli.results / str(cli.record().artifacts.prompts))["weight"].to_numpy()
    assert np.abs(first - second).max() > 0


@pytest.mark.slow
def test_given_weights_are_in_the_record_and_its_prompts(cli, on_photos, tmp_path: Path) -> None:
    (tmp_path / "cupl.json").write_text('{"ant": ["x"], "bee": ["y", "z"], "cat": ["x"], "dog": ["y"], "eel": ["w"]}')
    union = ["prompts=union", OF_TEMPLATES, f"dataset.texts.cupl={tmp_path / 'cupl.json'}"]
    assert on_photos(*union, "prompts.weights.sentences=2") == 0, cli.err
    record = cli.record()
    assert (record.prompts.weighting, record.prompts.uses_images) == ("given", False)
    frame = pd.read_parquet(cli.results / str(record.artifacts.prompts))
    assert frame[frame["label"] == 1]["weight"].tolist() == pytest.approx([1 / 3] * 3 + [1, 1])
    assert on_photos(*union) == 0
    assert cli.record().run_key != record.run_key
    assert on_photos(*union, "prompts.weights.sentences=0") == 2
    assert "weights are not above zero" in cli.err


def test_classify_takes_weights_but_not_those_of_images(cli, photos: Path, tiny: TinyModel) -> None:
    image = str(photos / "ant" / "0.jpg")
    names = "class_names=[ant,bee]"
    assert cli("classify", image, names, *tiny.overrides, "prompts=zpe") == 2
    assert "a few images are not enough" in cli.err


def test_templates_that_are_weighed_cannot_be_nearest(cli, on_photos) -> None:
    assert on_photos("prompts=zpe", OF_TEMPLATES, "prompts.aggregation=max_similarity") == 2
    assert "max_similarity takes no weights" in cli.err


@pytest.mark.slow
def test_dclip_has_the_wording_of_its_own_code_and_that_of_waffle_clips_tables() -> None:
    """Both stand under the name DCLIP in published tables, with other numbers."""
    own, tables = prompts_of("dataset=demo", "prompts=dclip"), prompts_of("dataset=demo", "prompts=dclip_photo")
    assert tables.texts == tuple(tuple(f"A photo of a {text}." for text in row) for row in own.texts)
    assert tables.aggregation == own.aggregation
    assert not any(text.endswith(".") for row in own.texts for text in row)
    descriptors = "dataset.texts.descriptors=${asset:prompts/assets/descriptors/demo.json}"
    for dataset, end in [("imagenet", "."), ("imagenet_v2", ""), ("cub", ""), ("demo", "")]:
        prompts = prompts_of(f"dataset={dataset}", "prompts=dclip", descriptors)
        assert prompts.texts == tuple(tuple(f"{text}{end}" for text in row) for row in own.texts)


def test_the_concept_stands_before_random_and_true_descriptors_as_before_random_ones() -> None:
    plain, concept = (
        prompts_of("dataset=demo", f"prompts={name}") for name in ("dclip_waffle", "dclip_waffle_concept")
    )
    opening = "A photo of a flower: a "
    assert concept.texts == tuple(
        tuple(text.replace("A photo of a ", opening, 1) for text in row) for row in plain.texts
    )


@pytest.mark.slow
def test_numbers_for_names_are_said_once_by_eval_and_plan(cli, photos: Path, tiny: TinyModel) -> None:
    for place, folder in enumerate(sorted(path for path in photos.iterdir() if path.is_dir())):
        folder.rename(photos / f"{place:04d}")
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=simple,name_only"]
    for command in (["plan", "-m"], ["eval", "-m"]):
        assert cli(*command, *asked) == 0
        assert cli.err.count("class names are numbers and no words, first: '0000'") == 1


def test_a_record_says_how_many_classes_were_filled(cli, on_photos: Callable[..., int], photos: Path) -> None:
    name = min(path.name for path in photos.iterdir() if path.is_dir())
    path = photos.parent / "few.json"
    path.write_text(json.dumps({name: [f"One {name}."]}))
    num_classes = sum(one.is_dir() for one in photos.iterdir())
    fill = 'prompts.fill=["a photo of a {}."]'
    assert on_photos("prompts=file", f"prompts.path={path}", "prompts.missing=templates", fill) == 0
    join = cli.record().prompts.join
    assert (join["exact"], join["filled"]) == (1, num_classes - 1)
