"""What a plan comes to: nothing counted twice, nothing made up."""

import pytest

from cupl_bench.commands.plan_totals import Planned, speeds, totals
from cupl_bench.records import StageRecord, TimingRecord
from cupl_bench.run.plan import Plan
from scripts.synthetic_results import write_results


def planned(prompts: str, *, dataset: str = "cub", backbone: str = "small", **plan) -> Planned:
    here = {"dataset_here": "here, split test", "num_images": 100, "images_to_encode": 100, "texts_to_encode": 20}
    return Planned(dataset=dataset, backbone=backbone, precision="fp32", prompts=prompts, plan=Plan(**{**here, **plan}))


def test_images_of_one_data_set_and_backbone_count_once_and_prompts_for_each_strategy() -> None:
    lines = totals(
        [planned("simple", features_gigabytes=0.5), planned("cupl", features_gigabytes=0.5),
         planned("cupl", backbone="large", features_gigabytes=0.75),
         planned("done", images_to_encode=0, texts_to_encode=0, finished=True, dataset="dtd")],
        {("small", "fp32"): 0.6, ("large", "fp32"): 6.0},
    )  # fmt: skip
    assert lines == [
        "in all    4 questions, 1 finished",
        "to encode 200 images and at most 60 prompts",
        "on disk   1.25 GB of features, as far as the data sets are here",
        "time      about 11 minutes for images, by earlier runs of this folder",
    ]


def test_no_time_is_made_up() -> None:
    lines = totals([planned("simple"), planned("simple", backbone="large")], {("small", "fp32"): 0.01})
    assert lines[-2:] == [
        "time      about 1 s for images, by earlier runs of this folder",
        "time      not known: no run here encoded images with large",
    ]


def test_what_most_questions_wait_for_is_fetched_first() -> None:
    absent = {"num_images": None, "images_to_encode": None, "texts_to_encode": None}
    by_hand = "not here, by hand: docs/datasets/ucf101.md; testlist01, 3,783 images"
    questions = [
        planned("simple", dataset="dtd", dataset_here="not here, to download: torchvision (600.0 MB); test", **absent),
        planned("a", dataset="flowers", dataset_here="not here, to download: torchvision (size not known)", **absent),
        planned("b", dataset="flowers", dataset_here="not here, to download: torchvision (size not known)", **absent),
        planned("simple", dataset="ucf101", dataset_here=by_hand, **absent),
        planned("simple", weights="to download from hub:timm/small (1.50 GB)"),
    ]
    assert totals(questions, {})[1:] == [
        "to encode 3,883 images and at most 20 prompts",
        "time      not known: no run here encoded images with small",
        "to fetch  3 downloads: 2.10 GB, and 1 of unknown size",
        "          flowers from torchvision (size not known), for 2 questions",
        "          dtd from torchvision (600.0 MB), for 1 question",
        "          weights of small: hub:timm/small (1.50 GB), for 1 question",
        "by hand   ucf101: docs/datasets/ucf101.md, for 1 question",
    ]


def test_only_runs_that_encoded_their_images_say_how_long_one_takes(tmp_path) -> None:
    from cupl_bench.records import read_records

    write_results(tmp_path, datasets=1, backbones=1, images=50, classes=2, strategies={"a": 0.0, "b": 0.0, "c": 0.0})
    stage = StageRecord(seconds=0.0, cached=True)
    records = [
        one.model_copy(
            update={
                "timing": TimingRecord(
                    load_backbone=stage, image_features=StageRecord(seconds=seconds, cached=cached),
                    text_features=stage, class_embeddings=stage, scores=stage, total_seconds=1.0,
                )
            }
        )
        for one, seconds, cached in zip(read_records(tmp_path), (10.0, 20.0, 0.1), (False, False, True), strict=True)
    ]  # fmt: skip
    assert speeds(records) == {("backbone0", "fp32"): pytest.approx(0.3)}
    assert speeds([]) == {}
