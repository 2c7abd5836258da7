"""Named data sets through the public command."""

import json
from pathlib import Path

import huggingface_hub
import pooch
import pytest
import trees
from conftest import Cli
from making import TinyModel

from cupl_bench.conf_folder import conf_dir
from cupl_bench.dataset.texts import spec_content
from cupl_bench.records import read_record


def test_a_data_set_is_evaluated_by_its_name(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    trees.dtd(cli.cache / "datasets" / "dtd")
    arguments = ["dataset=dtd", "dataset.protocol=custom", "prompts=ensemble", *tiny.overrides]
    assert cli("eval", *arguments) == 0, cli.err
    record = cli.record()
    assert (record.dataset.name, record.dataset.split) == ("dtd", "custom: 47 of 1880 images of test1")
    assert (record.dataset.num_images, record.dataset.num_classes) == (47, 47)
    assert record.dataset.origin == {"source": "a local folder", "protocol": "custom", "names": "openai"}
    assert record.prompts.num_prompts == 47 * 8
    assert record.metrics is not None
    assert record.metrics.primary_name == "top1"


@pytest.mark.slow
def test_the_primary_metric_is_the_data_sets(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    trees.flowers(tmp_path / "mine")
    arguments = ["dataset=flowers", f"dataset.path={tmp_path / 'mine'}", "dataset.protocol=custom", *tiny.overrides]
    assert cli("eval", *arguments) == 0, cli.err
    record = cli.record()
    assert record.metrics is not None
    assert record.metrics.primary_name == "mean_per_class"
    assert record.metrics.primary == record.metrics.mean_per_class
    whole = record.run_key
    assert cli("eval", *arguments, "dataset.limit=1") == 0, cli.err
    assert cli.record().run_key != whole
    assert cli.record().dataset.split.endswith(", 1 per class (seed 0)")


def test_a_missing_or_partial_data_set_is_one_message(cli: Cli, tiny: TinyModel) -> None:
    assert cli("eval", "dataset=cub", "dataset.source=local", *tiny.overrides) == 2
    assert "CUB-200-2011 is not in" in cli.err
    assert "Traceback" not in cli.err
    trees.cub(cli.cache / "datasets" / "cub")
    assert cli("eval", "dataset=cub", *tiny.overrides) == 2
    assert "holds 8 images of 4 classes; CUB-200-2011, split test, has 5,794 of 200" in cli.err
    assert cli("eval", "dataset=cub", "dataset.protocol=custom", "prompts=cupl", *tiny.overrides) == 2
    assert "CuPL has no file of image-prompts for cub" in cli.err


def test_names_that_stand_in_the_tree_are_asked_and_recorded(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    """Its own file alone has the names of Dollar Street: without it there are no prompts."""
    asked = ["dataset=dollar_street", "dataset.protocol=custom", "dataset.source=local", "prompts=simple"]
    assert cli("prompts", *asked) == 2
    assert "Dollar Street is not in" in cli.err
    assert cli("plan", *asked, *tiny.overrides) == 0, cli.err
    assert "by hand   dollar_street: docs/datasets/dollar_street.md" in cli.out
    trees.dollar_street(cli.cache / "datasets" / "dollar_street")
    assert cli("prompts", *asked) == 0, cli.err
    assert cli("eval", *asked, *tiny.overrides) == 0, cli.err
    record = cli.record()
    assert (record.dataset.num_images, record.dataset.num_classes) == (4, 58)
    assert record.dataset.origin == {"source": "a local folder", "protocol": "custom", "names": "own"}
    assert record.metrics is not None
    assert record.metrics.primary_name == "worst_group_top5"
    assert record.metrics.more is not None
    assert [(part.name, part.num_images) for part in record.metrics.more["worst_group_top5"].parts] == [
        ("group 0", 1), ("group 1", 1), ("group 3", 2)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_plan_downloads_nothing_and_says_what_would(
    cli: Cli, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> str:
        raise AssertionError("a plan downloads")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(pooch, "retrieve", download)
    assert cli("plan", "dataset=imagenet,cub,ucf101", *tiny.overrides) == 0, cli.err
    assert "not here, to download: ILSVRC/imagenet-1k (size not known, gated); val, 50,000 images" in cli.out
    assert "not here, to download: archive (size not known); test, 5,794 images" in cli.out
    assert "not here, by hand: docs/datasets/ucf101.md; testlist01, 3,783 images" in cli.out
    trees.cub(cli.cache / "datasets" / "cub")
    assert cli("plan", "dataset=cub", "dataset.protocol=custom", *tiny.overrides) == 0, cli.err
    assert "a local folder, split custom: 8 of 5794 images of test" in cli.out
    assert not cli.results.exists()


@pytest.mark.long
def test_the_doctor_of_a_fresh_machine_lists_every_data_set(cli: Cli) -> None:
    assert cli("plan", "dataset=glob(*)") == 2  # features, folder, hf and webdataset have no path yet: one line for all
    assert cli.err.count("dataset.path is not set") == 1
    assert "4 questions (" in cli.err
    assert len(cli.err.strip().splitlines()) == 1
    for path in (conf_dir() / "dataset").glob("*.yaml"):
        assert path.stem in cli.out + cli.err


LATER = [
    "places365", "caltech256", "country211", "objectnet", "stanford_dogs", "stl10", "mnist", "svhn", "gtsrb",
    "fer2013", "rendered_sst2", "pcam", "clevr_counts", "voc2007_crops",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [LATER[:2], LATER[-2:], pytest.param(LATER[2:-2], marks=pytest.mark.long)], ids=lambda some: some[0]
)
def test_sets_that_came_later_go_through_the_public_command(cli: Cli, tiny: TinyModel, names: list[str]) -> None:
    expected = {name: (trees.MAKERS | trees.ARRAYS)[name](cli.cache / "datasets" / name) for name in names}
    arguments = ["-m", f"dataset={','.join(names)}", "dataset.protocol=custom", "prompts=simple,ensemble"]
    assert cli("eval", *arguments, *tiny.overrides) == 0, cli.err
    records = [read_record(path) for path in (cli.results / "records").glob("*.json")]
    found = {(one.dataset.name, one.prompts.name): one for one in records}
    assert set(found) == {(name, prompts) for name in names for prompts in ("simple", "ensemble")}
    for (name, _), record in found.items():
        assert record.status == "ok"
        assert record.dataset.num_images == len(expected[name])
        assert record.dataset.split.startswith(f"custom: {len(expected[name])} of ")


@pytest.mark.slow
def test_the_factors_of_imagenet_x_are_compared_in_one_run(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    expected = trees.imagenet_x(cli.cache / "datasets" / "imagenet_x")
    content = spec_content("imagenet_x")
    content["protocols"]["factors"] |= {"num_images": len(expected), "some_classes": True}
    (tmp_path / "imagenet_x.json").write_text(json.dumps(content))
    asked = ["dataset=imagenet_x", f"dataset.spec={tmp_path / 'imagenet_x.json'}", "dataset.protocol=factors"]
    assert cli("eval", *asked, "dataset.primary=worst_group", "prompts=simple", *tiny.overrides) == 0, cli.err
    metrics = cli.record().metrics
    assert metrics is not None
    assert metrics.more is not None
    counts = {one.name: one.num_images for one in metrics.more["worst_group"].parts}
    assert {name: count for name, count in counts.items() if count} == {"pose": 5, "style": 2}
    assert set(counts) == set(trees.FACTORS)


@pytest.mark.long
def test_vtabs_sets_and_videos_and_species_go_through_the_public_command(cli: Cli, tiny: TinyModel) -> None:
    """One prompt a class: of five thousand species eighty would take a minute."""
    names = [
        "clevr_distance", "kitti_distance", "dmlab", "diabetic_retinopathy", "smallnorb_azimuth",
        "smallnorb_elevation", "dsprites_orientation", "dsprites_x_position", "inaturalist2017", "inaturalist2021",
        "kinetics400",
    ]  # fmt: skip
    expected = {name: trees.MAKERS[name](cli.cache / "datasets" / name) for name in names}
    arguments = ["-m", f"dataset={','.join(names)}", "dataset.protocol=custom", "prompts=simple", *tiny.overrides]
    assert cli("eval", *arguments) == 0, cli.err
    records = [read_record(path) for path in (cli.results / "records").glob("*.json")]
    assert {one.dataset.name: one.dataset.num_images for one in records} == {
        name: len(images) for name, images in expected.items()
    }
    assert {one.status for one in records} == {"ok"}
