"""A plan of what is not here: counted from what the package knows, without a download, each thing found out once."""

from pathlib import Path

import numpy as np
import pytest
from making import make_folder, make_run

import cupl_bench.run.plan
from cupl_bench.backbone import WeightsNotHereError
from cupl_bench.commands.plan_totals import totals_of
from cupl_bench.composition import compose
from cupl_bench.config import machine_of, question_of
from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.spec import read_spec
from cupl_bench.prompts.strategies import TemplatesStrategy
from cupl_bench.run.plan import Planned, Planner

WEIGHTS = "hub:somewhere (1.0 MB)"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Plans questions with one planner; no weights but the demo's are here, and nobody is asked for sizes."""

    def nowhere(*_: object, **__: object) -> None:
        raise WeightsNotHereError(WEIGHTS)

    monkeypatch.setattr(NamedSource, "not_here", lambda self: f"{self.spec} is not here")
    monkeypatch.setattr("cupl_bench.backbone.open_clip.hub_file", nowhere)
    planner = Planner()

    def call(*overrides: str) -> Planned:
        places = [f"cache_dir={tmp_path / 'cache'}", f"results_dir={tmp_path / 'results'}", "device=cpu"]
        config = compose([*overrides, *places])
        return planner(question_of(config), machine_of(config))

    return call


def test_a_data_set_that_is_not_here_is_counted_from_its_spec(asked, tmp_path: Path) -> None:
    told = asked("dataset=cub", "backbone=vit_b32_openai", "prompts=ensemble", "scorer=mta").plan
    spec = read_spec("cub")
    images, classes = spec.protocols["standard"].num_images, len(spec.classes.ids)
    assert (told.num_images, told.num_classes, told.images_to_encode) == (images, classes, images) == (5794, 200, 5794)
    assert told.num_prompts == told.texts_to_encode == classes * len(spec.texts.templates["slip"])
    assert (told.width, told.views_to_encode) == (512, images * 63)
    assert told.features_gigabytes == round(images * 512 * 4 / 1e9, 3)
    assert told.views_gigabytes == round(images * 63 * 512 * 4 / 1e9, 3)
    assert (told.weights, told.prompts_file, told.run_key) == (f"to download from {WEIGHTS}", "here", None)
    assert list(tmp_path.iterdir()) == []


def test_so_many_images_of_each_class_are_no_more_than_that(asked) -> None:
    assert asked("dataset=cub", "dataset.limit=3", "backbone=demo").plan.images_to_encode == 600


def test_images_that_are_here_are_all_to_encode_where_the_weights_are_not(asked, tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", {"ant": 3, "bee": 2})
    (photos / "bee" / "again.jpg").write_bytes((photos / "ant" / "0.jpg").read_bytes())
    found = asked("dataset=folder", f"dataset.path={photos}", "backbone=vit_b32_openai", "scorer=mta").plan
    assert (found.num_images, found.images_to_encode, found.views_to_encode) == (6, 5, 5 * 63)


def test_what_eval_would_run_again_is_not_finished(asked, tmp_path: Path) -> None:
    """A question that rerun=always asks again, or whose predictions are gone."""
    photos = make_folder(tmp_path / "photos", {"ant": 2, "bee": 2})
    question = ["dataset=folder", f"dataset.path={photos}", "backbone=demo", "prompts=simple"]
    told = asked(*question).plan
    assert told.run_key is not None
    make_run(tmp_path / "results", told.run_key)
    assert (asked(*question).plan.finished, asked(*question).plan.images_to_encode) == (True, 0)
    again = asked(*question, "rerun=always").plan
    assert (again.finished, again.images_to_encode) == (False, 4)
    (tmp_path / "results" / "predictions" / f"{told.run_key}.parquet").unlink()
    lost = asked(*question).plan
    assert (lost.finished, lost.images_to_encode) == (False, 4)


def test_prompts_whose_features_are_gone_are_encoded_for_a_scorer_that_reads_them(
    asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class embeddings are here, which is all that the plain scorer reads."""
    photos = make_folder(tmp_path / "photos", {"ant": 2, "bee": 2})
    question = ["dataset=folder", f"dataset.path={photos}", "backbone=demo", "prompts=simple"]
    monkeypatch.setattr(cupl_bench.run.plan, "class_embeddings_path", lambda _: photos / "ant" / "0.jpg")
    found = [asked(*question, f"scorer={scorer}").plan.texts_to_encode for scorer in ("plain", "autoclip")]
    assert found == [0, 2]


def test_questions_that_share_features_say_so(asked) -> None:
    one = asked("dataset=cub", "backbone=demo", "prompts=simple", "scorer=mta")
    scorer = asked("dataset=cub", "backbone=demo", "prompts=name_only", "scorer=zero")
    other = asked("dataset=dtd", "backbone=demo", "prompts=simple")
    precise = asked("dataset=dtd", "backbone=demo", "prompts=simple", "precision=bf16")
    assert (one.images, one.encoder, one.views) == (scorer.images, scorer.encoder, scorer.views)
    assert one.images != other.images
    assert one.encoder == other.encoder != precise.encoder
    assert other.images != precise.images
    assert other.views is None
    assert len(np.intersect1d(one.texts, scorer.texts)) == 0
    assert len(one.texts) == 200


def test_a_sweep_identifies_a_backbone_and_writes_its_prompts_once(asked, monkeypatch: pytest.MonkeyPatch) -> None:
    identified, written = [], []
    identify, write = cupl_bench.run.plan.identified_by, TemplatesStrategy.__call__

    def counted(source: object, *given: object, **more: object) -> object:
        identified.append(source)
        return identify(source, *given, **more)

    def counted_prompts(self: TemplatesStrategy, names: object) -> object:
        written.append(self)
        return write(self, names)

    monkeypatch.setattr(cupl_bench.run.plan, "identified_by", counted)
    monkeypatch.setattr(TemplatesStrategy, "__call__", counted_prompts)
    for dataset in ("cub", "dtd"):
        for backbone in ("vit_b32_openai", "demo"):
            for prompts in ("simple", "ensemble"):
                asked(f"dataset={dataset}", f"backbone={backbone}", f"prompts={prompts}")
    assert len(identified) == 2
    assert len(written) == 4


def test_a_part_of_the_images_is_planned_as_it_is_encoded(asked, tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", {"ant": 3, "bee": 2})
    demo = ["dataset=folder", f"dataset.path={photos}", "backbone=demo", "prompts=simple"]
    parts = [asked(*demo, "scorer=mta", f"shard={number}/3") for number in (1, 2, 3, 2)]
    assert [one.plan.images_to_encode for one in parts] == [1, 2, 2, 2]
    assert [one.plan.views_to_encode for one in parts] == [63, 126, 126, 126]
    assert {one.plan.texts_to_encode for one in parts} == {0}
    assert {(one.plan.run_key, one.plan.finished) for one in parts} == {(None, False)}
    assert parts[1].plan.dataset_here == "here, split all, part 2 of 3"
    totals = totals_of(parts, {})
    assert (totals.images, totals.views, totals.texts) == (5, 5 * 63, 0)
    assert asked(*demo, "shard=1/9").plan.images_to_encode == 0


def test_so_is_a_part_of_what_is_not_here(asked) -> None:
    told = asked("dataset=cub", "backbone=demo", "shard=2/4").plan
    assert (told.num_images, told.images_to_encode, told.texts_to_encode) == (1449, 1449, 0)
    assert told.dataset_here.endswith("; part 2 of 4")
