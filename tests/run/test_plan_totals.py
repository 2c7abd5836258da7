"""What a plan comes to: nothing counted twice, nothing made up, nothing wider than a terminal."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from cupl_bench.commands.plan_rates import Rates, rates_of
from cupl_bench.commands.plan_totals import totals_of
from cupl_bench.commands.plan_words import lines_of
from cupl_bench.records import StageRecord, TimingRecord
from cupl_bench.run.plan import Plan, Planned
from scripts.synthetic_results import write_results

TEXTS = {"simple": np.arange(20), "cupl": np.arange(10, 40), "more": np.arange(35, 45)}
BY_NOW = {"cpu": Rates({("small", "fp32"): 0.6, ("large", "fp32"): 6.0}, {("small", "fp32"): 0.5})}


def planned(
    prompts: str = "simple",
    *,
    dataset: str = "cub",
    backbone: str = "small",
    views: bytes | None = None,
    **plan: object,
) -> Planned:
    texts = TEXTS.get(prompts)
    here = {"dataset_here": "here, split test", "num_images": 100, "images_to_encode": 100, "width": 1000}
    told = Plan(**{**here, "texts_to_encode": None if texts is None else len(texts), **plan})
    return Planned(
        dataset=dataset, backbone=backbone, precision="fp32", prompts=prompts, plan=told, views=views, texts=texts,
        images=(dataset, backbone), encoder=backbone,
    )  # fmt: skip


def test_what_questions_share_counts_once() -> None:
    questions = [
        planned("simple"),
        planned("cupl"),
        planned("cupl", views=b"crops", views_to_encode=6300),
        planned("simple", views=b"crops", views_to_encode=3100),
        planned("more", dataset="flowers", images_to_encode=70),
        planned("cupl", backbone="large", width=500),
        planned("done", dataset="dtd", images_to_encode=0, texts_to_encode=0, finished=True),
    ]
    found = totals_of(questions, BY_NOW, jobs=3, one_for_each=["data set", "backbone"])
    assert (found.questions, found.finished, found.jobs) == (7, 1, 3)
    assert [(one.backbone, one.images, one.views, one.texts) for one in found.encoders] == [
        ("small", 170, 6300, 45), ("large", 100, 0, 30)
    ]  # fmt: skip
    assert (found.images, found.views, found.texts) == (270, 6300, 75)
    assert asdict(found.gigabytes) == pytest.approx({"images": 0.00088, "views": 0.0252, "texts": 0.00024})
    (time,) = found.times
    assert time.image_seconds == pytest.approx(6470 * 0.6 + 100 * 6.0)
    assert (time.text_seconds, time.no_images_of, time.no_texts_of) == (pytest.approx(22.5), (), ("large",))
    assert lines_of(found) == [
        "in all    7 questions, 1 finished",
        "jobs      3, one for each data set and backbone",
        "to encode 270 images, 6,300 views and at most 75 prompts",
        "on disk   0.03 GB of features: 880.0 kB of images, 0.03 GB of views and 240.0 kB",
        "          of prompts, at most",
        "time      on cpu: about 75 minutes for images and 22 s for prompts, by earlier",
        "          runs; not known of large (prompts)",
    ]


def test_no_time_is_made_up() -> None:
    questions = [planned("simple"), planned("simple", backbone="large")]
    found = totals_of(questions, {"cpu": Rates({("small", "fp32"): 0.01}, {("small", "fp32"): 0.1})})
    assert lines_of(found)[-2:] == [
        "time      on cpu: about 1 s for images and 2 s for prompts, by earlier runs; not",
        "          known of large",
    ]
    assert lines_of(totals_of(questions, {}))[-1] == (
        "time      not known: no run in this results folder has encoded anything"
    )


def test_what_is_not_known_is_said_and_in_no_sum() -> None:
    found = totals_of([planned("unknown", images_to_encode=None), planned("simple", backbone="wide", width=None)], {})
    assert (found.images, found.texts, asdict(found.gigabytes)) == (100, 20, {"images": 0, "views": 0, "texts": 0})
    assert lines_of(found)[-2:] == [
        "not known how many images cub has, how many prompts 1 question has and how wide",
        "          the features of wide are: not in these sums",
    ]


def test_texts_that_scorers_encode_themselves_are_in_no_sum_and_said() -> None:
    questions = [planned("simple"), replace(planned("simple"), scorer="chils", own_texts=True)]
    found = totals_of([*questions, replace(planned(finished=True), scorer="fudd", own_texts=True)], {})
    assert (found.texts, found.not_known.own_texts_of) == (20, ("chils",))
    assert lines_of(found)[-1] == "not known how many texts scorer=chils encodes itself: not in these sums"


def test_what_most_questions_wait_for_is_fetched_first() -> None:
    by_hand = "not here, by hand: docs/datasets/ucf101.md; testlist01, 3,783 images"
    fetched = {"dataset": "flowers", "dataset_here": "not here, to download: torchvision (size not known)"}
    questions = [
        planned("simple", dataset="dtd", dataset_here="not here, to download: torchvision (600.0 MB); test"),
        planned("a", **fetched),
        planned("b", **fetched),
        planned("simple", dataset="ucf101", dataset_here=by_hand),
        planned("simple", weights="to download from hub:timm/small (1.50 GB)"),
    ]
    assert lines_of(totals_of(questions, {}))[-5:] == [
        "to fetch  3 downloads: 2.10 GB, and 1 of unknown size",
        "          flowers from torchvision (size not known), for 2 questions",
        "          dtd from torchvision (600.0 MB), for 1 question",
        "          weights of small: hub:timm/small (1.50 GB), for 1 question",
        "by hand   ucf101: docs/datasets/ucf101.md, for 1 question",
    ]


def test_downloads_that_are_not_named_are_counted_and_said_to_be_for_fewer_questions_only_if_they_are() -> None:
    def last_line(*waiting: int) -> str:
        questions = [
            planned(
                f"p{question}", dataset=f"d{place}", dataset_here="not here, to download: torchvision (1.0 MB); test"
            )
            for place, count in enumerate(waiting)
            for question in range(count)
        ]
        return lines_of(totals_of(questions, {}))[-1].strip()

    assert last_line(1, 1, 1, 1, 1) == "and 2 more"
    assert last_line(2, 2, 2, 1, 1) == "and 2 more, for fewer questions"
    assert last_line(2, 2, 2) == "d2 from torchvision (1.0 MB), for 2 questions"


def test_no_line_is_wider_than_a_terminal_but_an_address() -> None:
    names = [f"a_backbone_with_a_long_name_{number}" for number in range(20)]
    address = f"https://example.org/{'x' * 90}.json"
    questions = [
        planned(backbone=name, width=None, prompts_file=f"to download from {address} (1.0 MB)") for name in names
    ]
    lines = lines_of(totals_of(questions, BY_NOW))
    assert max(len(line) for line in lines if address not in line) <= 80
    assert any(line.strip() == address for line in lines)


def test_records_say_how_long_an_image_and_a_prompt_take_on_each_device(tmp_path) -> None:
    from cupl_bench.records import read_records

    write_results(tmp_path, datasets=1, backbones=1, images=50, classes=2, strategies=dict.fromkeys("abcde", 0.0))
    cached, gpu = StageRecord(seconds=0.1, cached=True), {"device": "cuda", "device_name": "a GPU"}
    cpu = {"device": "cpu", "processor": "a CPU", "threads": 2}
    cases = [  # seconds of images and of prompts; None where they were reused
        (10.0, 6.0, cpu, ()), (20.0, None, cpu, ()), (None, 2.0, cpu, ()), (1.0, None, gpu, ()),
        (900.0, None, cpu, ("views",)),
    ]  # fmt: skip
    records = []
    for one, (images, texts, environment, uses) in zip(read_records(tmp_path), cases, strict=True):
        stages = [cached if spent is None else StageRecord(seconds=spent, cached=False) for spent in (images, texts)]
        timing = TimingRecord(
            load_backbone=cached, image_features=stages[0], text_features=stages[1], class_embeddings=cached,
            scores=cached, total_seconds=1.0,
        )  # fmt: skip
        scorer = one.scorer.model_copy(update={"uses": uses})
        prompts = one.prompts.model_copy(update={"num_distinct": 40})
        changes = {"timing": timing, "environment": environment, "scorer": scorer, "prompts": prompts}
        records.append(one.model_copy(update=changes))
    key = ("backbone0", "fp32")
    assert rates_of(records) == {
        "a CPU, 2 threads": Rates({key: 0.4}, {key: 0.15}),
        "a GPU": Rates({key: 0.02}, {}),
    }
    assert rates_of([]) == {}
