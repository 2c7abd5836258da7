"""The files of the page: what they hold, and that nothing in them can become markup."""

import base64
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import TinyModel, make_folder
from PIL import Image
from recorded import Store
from statsmodels.stats.contingency_tables import mcnemar

from cupl_bench.__main__ import main
from cupl_bench.commands.images import images_here
from cupl_bench.composition import compose as compose_once
from cupl_bench.records import Record, read_records
from cupl_bench.report.answers import Answers
from cupl_bench.report.comparison import Comparison, compare
from cupl_bench.report.page import PageWriter
from cupl_bench.report.page import thumbnails as of_thumbnails
from cupl_bench.report.page.contents import changed_classes, changed_tiers, overview
from cupl_bench.report.page.packing import as_json, data_script
from scripts.synthetic_results import write_results

HOSTILE = [
    "</script><script>x()</script>",
    "<!--",
    "a\u2028b\u2029c",
    "&amp;<b>",
    "\ud800",
    "日本語",
    'it\'s "quoted" \\',
]


def held(script: bytes) -> tuple[str, object]:
    """What a data script hands over."""
    name, packed = re.fullmatch(rb'cuplBench\.receive\("([^"]+)","([A-Za-z0-9+/=]+)"\);\n', script).groups()
    return name.decode(), json.loads(gzip.decompress(base64.b64decode(packed)))


def page_of(folder: Path, open_images=lambda record: None):
    page = PageWriter(folder)
    return page.write(compare(read_records(folder), folder, look=page.look), open_images)


def files_of(folder: Path) -> dict[str, bytes]:
    root = folder / "report"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def overview_of(folder: Path) -> dict:
    html = (folder / "report" / "index.html").read_text("utf-8")
    (content,) = re.findall(r'<script type="application/json" id="overview">(.*?)</script>', html, re.DOTALL)
    return json.loads(content)


def test_each_run_has_its_own_weights_of_the_same_prompts(store: Store) -> None:
    """Those of zpe depend on the images, and on the backbone that has seen them."""
    same = {"digest": "d" * 64, "names": list("abcdef")}
    runs = {backbone: store.add("zpe", backbone=backbone, weighting="zpe", **same) for backbone in ("small", "large")}
    plain = [store.add("ensemble", backbone=backbone, **same) for backbone in runs]
    for place, record in enumerate(runs.values()):
        path = store.folder / record.artifacts.prompts
        pd.read_parquet(path).assign(weight=place + 1.0).to_parquet(path, index=False)
    page_of(store.folder)

    def prompts_of(record: Record) -> tuple[str, dict]:
        data = store.folder / "report" / "data"
        name = held((data / "runs" / f"{record.run_key}.js").read_bytes())[1]["prompts"]
        return name, held((data / f"{name}.js").read_bytes())[1]

    weights = [prompts_of(record)[1]["weights"] for record in runs.values()]
    assert weights == [[[1.0]] * 6, [[2.0]] * 6]
    assert len({prompts_of(record)[0] for record in plain}) == 1
    assert prompts_of(plain[0])[1]["weights"] is None


def test_a_metric_beyond_accuracy_is_named_where_its_top1_stands(tmp_path: Path) -> None:
    write_results(tmp_path, datasets=2, backbones=1, images=40, classes=4)
    found = compare(read_records(tmp_path), tmp_path)
    assert overview(found, [])["other_metrics"] == []
    primary = np.where(found.runs["dataset"] == "synthetic01", "map_11", "top1")
    names = ("value", "low", "high", "difference", "difference_low", "difference_high", "p_holm")
    own = {f"primary_{name}": number / 8 for number, name in enumerate(names)}
    other = Comparison(**{**vars(found), "runs": found.runs.assign(primary=primary, **own)})
    content = overview(other, [])
    assert content["other_metrics"] == ["synthetic01 (mAP, 11 points)"]
    expected = {"title": "mAP, 11 points"} | {name: number / 8 for number, name in enumerate(names)}
    for run in content["runs"]:
        assert run["own"] == (expected if run["dataset"] == "synthetic01" else None)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_end_its_script(text: str) -> None:
    inside = as_json({"name": text})
    assert json.loads(inside) == {"name": text}
    assert not set(inside) & set("<>&\u2028\u2029")
    assert inside.isascii()
    assert held(data_script("a/b", [text])) == ("a/b", [text])


def test_what_is_not_known_is_null_and_numbers_are_pythons() -> None:
    values = [np.nan, np.float64("inf"), pd.NA, pd.NaT, None, np.int64(3), np.float32(0.5), np.bool_(True)]
    assert json.loads(as_json(values)) == [None, None, None, None, None, 3, 0.5, True]


@pytest.mark.parametrize("numbers", [[], [0], [3, 0, 999], [99_999, 1], [100_000, 1], [-1, 2], [2**40]])
def test_arrays_of_whole_numbers_are_the_json_of_their_lists(numbers: list[int]) -> None:
    others = {"b": "é<", "c": [0.5, float("nan")], "d": {"e": None}}
    assert as_json({"a": np.array(numbers, dtype=np.int64), **others}) == as_json({"a": numbers, **others})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> Path:
    """A folder with ``photos``, five classes of three images, the ``results`` of three runs, and their ``cache``."""
    folder = tmp_path_factory.mktemp("made")
    root = make_folder(folder / "photos", dict.fromkeys(["ant", "bee", "cat", "dog", "eel"], 3))
    places = [f"results_dir={folder / 'results'}", f"cache_dir={folder / 'cache'}"]
    for prompts in (
        ["prompts=simple"],
        ["prompts=name_only"],
        ["prompts=templates", "prompts.templates=['{}?','{}!']"],
    ):
        assert main(["eval", "dataset=folder", f"dataset.path={root}", *tiny.overrides, *prompts, *places]) == 0
    return folder


@pytest.fixture
def swept(made: Path, tmp_path: Path) -> Path:
    """A copy of the results, for one test."""
    return shutil.copytree(made / "results", tmp_path / "results")


@pytest.fixture
def opener(made: Path):
    return images_here(compose_once([f"cache_dir={made / 'cache'}"]))


@pytest.mark.slow
def test_the_page_holds_every_run_and_what_its_files_say(swept: Path) -> None:
    page = page_of(swept)
    assert page.path == swept / "report" / "index.html"
    overview = overview_of(swept)
    records = {record.run_key: record for record in read_records(swept)}
    assert {run["run_key"] for run in overview["runs"]} == set(records)
    assert [overview[name] for name in ("ranks", "controls", "writers")] == [None] * 3  # one data set, and no control
    (group,) = overview["groups"]
    assert records[group["baseline"]].prompts.name == "simple"
    for key, record in records.items():
        _, run = held((swept / "report" / "data" / "runs" / f"{key}.js").read_bytes())
        frame = pd.read_parquet(swept / record.artifacts.predictions)
        assert run["predictions"] == frame["prediction"].tolist()
        _, best = held((swept / "report" / "data" / f"{run['top5']}.js").read_bytes())
        assert best == {"width": 5, "classes": [one for row in frame["top5"] for one in row.tolist()]}
        assert run["margins"] == [round(1000 * margin) for margin in frame["margin"]]
        _, prompts = held((swept / "report" / "data" / f"{run['prompts']}.js").read_bytes())
        kept = pd.read_parquet(swept / record.artifacts.prompts)
        assert [text for row in prompts["texts"] for text in row] == kept["text"].tolist()
    _, of_group = held((swept / "report" / "data" / "groups" / "0.js").read_bytes())
    assert of_group["class_names"] == ["ant", "bee", "cat", "dog", "eel"]
    assert of_group["total"] == [3] * 5
    assert of_group["right"][group["baseline"]] == (
        pd.read_parquet(swept / records[group["baseline"]].artifacts.predictions)
        .groupby("label")["correct"]
        .sum()
        .tolist()
    )
    assert len(of_group["pairs"]) == 3
    assert {pair["family"] for pair in of_group["pairs"]} == {"table", "group"}
    assert page.num_bytes == sum(map(len, files_of(swept).values()))


def test_classes_and_tiers_that_change_are_counted_and_tested() -> None:
    """Sums over the classes of a tier; of two runs, the second untested since its images depend on each other."""
    classes = pd.DataFrame(
        {
            "run_key": ["a"] * 4 + ["b"] * 4,
            "tier": ["often", "often", "never", "never"] * 2,
            "images": [50] * 8,
            "gained": [10, 5, 1, 0] * 2,
            "lost": [0, 1, 1, 3] * 2,
            "change": [0.2, 0.08, 0.0, -0.06] * 2,
            "p": [0.002, 0.2, 1.0, 0.25, *[np.nan] * 4],
            "p_holm": [0.008, 0.6, 1.0, 0.6, *[np.nan] * 4],
        }
    )
    counts = changed_classes(classes)
    assert counts["a"] == {
        "classes_better": 2, "classes_worse": 1, "classes_surely_better": 1, "classes_surely_worse": 0
    }  # fmt: skip
    assert counts["b"]["classes_surely_better"] == 0
    tiers = changed_tiers(classes)
    assert tiers["a"]["often"]["difference"] == pytest.approx(14 / 100)
    often, never = mcnemar([[0, 15], [1, 0]], exact=True).pvalue, mcnemar([[0, 1], [4, 0]], exact=True).pvalue
    assert tiers["a"]["often"]["p_holm"] == pytest.approx(2 * often)
    assert tiers["a"]["never"]["p_holm"] == pytest.approx(max(2 * often, never))
    assert np.isnan(tiers["b"]["often"]["p_holm"])


@pytest.mark.slow
def test_best_classes_are_held_of_so_many_answers_and_the_page_says_of_how_many(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cupl_bench.report.page.writing.BEST_AT_MOST", 31)
    page_of(swept)
    held_of = [held(path.read_bytes())[1]["top5"] for path in (swept / "report" / "data" / "runs").iterdir()]
    assert sum(one is not None for one in held_of) == 2
    assert len(list((swept / "report" / "data" / "top5").iterdir())) == 2


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_and_old_files_go(swept: Path) -> None:
    page_of(swept)
    before = files_of(swept)
    (swept / "report" / "data" / "runs" / "0123456789ab.js").write_text("of a run that is gone")
    page_of(swept)
    assert files_of(swept) == before


@pytest.mark.slow
def test_thumbnails_are_of_the_images_and_are_made_once(swept: Path, opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_thumbnails, "OF_EACH_CLASS", 1)
    page = page_of(swept, opener)
    made = list((swept / "report" / "thumbnails").rglob("*.webp"))
    assert 5 <= len(made) == page.num_thumbnails <= 15
    with Image.open(made[0]) as image:
        assert max(image.size) == 96
    key = next((swept / "report" / "data" / "images").iterdir())
    _, listed = held(key.read_bytes())
    dataset = opener(read_records(swept)[0])
    for place, name in listed["thumbnails"].items():
        assert name.split("/")[1] == f"{dataset.image_keys[int(place)].hex()}.webp"
    stamps = {path: path.stat().st_mtime_ns for path in made}
    page_of(swept, opener)
    assert {path: path.stat().st_mtime_ns for path in made} == stamps
    made[1].write_bytes(b"")  # by a full disk, or a copy that broke off
    page_of(swept, opener)
    assert made[1].stat().st_size > 0
    del stamps[made.pop(1)]
    assert {path: path.stat().st_mtime_ns for path in made} == stamps
    assert overview_of(swept)["notes"] == []


@pytest.mark.slow
def test_images_that_are_gone_or_others_now_mean_no_thumbnails_and_a_line(
    swept: Path, made: Path, opener, caplog: pytest.LogCaptureFixture
) -> None:
    photos, away = made / "photos", made / "away"
    photos.rename(away)
    try:
        assert page_of(swept, opener).num_thumbnails == 0
        shutil.copytree(away, photos)
        (photos / "ant" / "0.jpg").write_bytes((photos / "bee" / "0.jpg").read_bytes())
        assert page_of(swept, opener).num_thumbnails == 0
    finally:
        shutil.rmtree(photos, ignore_errors=True)
        away.rename(photos)
    assert "are no longer those that run" in caplog.text
    assert overview_of(swept)["notes"] == [
        "No thumbnails of folder: its images are not on the machine that wrote the report."
    ]


@pytest.mark.slow
def test_more_thumbnails_than_the_page_takes_are_told(swept: Path, opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupl_bench.report.page.writing.AT_MOST", 4)
    page = page_of(swept, opener)
    assert page.num_thumbnails == 4
    assert overview_of(swept)["notes"] == ["11 images of folder have no thumbnail: the page holds 4 at most."]


@pytest.mark.slow
def test_the_first_right_and_wrong_images_of_each_class_are_shown(swept: Path) -> None:
    seen = []
    compare(read_records(swept), swept, look=lambda group: seen.extend(group.members))
    answers = seen[0]
    chosen = of_thumbnails.chosen_images(answers)
    expected = []
    for label in range(5):
        for hit in (False, True):
            own = np.flatnonzero((answers.labels == label) & (answers.hits == hit))
            expected += own[: of_thumbnails.OF_EACH_CLASS].tolist()
    assert chosen.tolist() == sorted(expected)
    flipped = of_thumbnails.chosen_images(answers, replace(answers, predictions=(answers.labels + 1) % 5))
    assert set(flipped) >= set(expected)


def test_images_that_flipped_are_shown_although_others_come_first() -> None:
    labels = np.zeros(40, np.int64)
    ours, base = labels.copy(), labels.copy()
    base[30:36] = 1  # the run gains these, long after its first right ones
    one, other = (
        Answers(run=None, index=labels, labels=labels, predictions=said, margin=None, confidence=None)
        for said in (ours, base)
    )
    assert of_thumbnails.chosen_images(one, other).tolist() == [0, 1, 2, 3, 4, 5, 30, 31, 32]


@pytest.mark.slow
def test_runs_that_left_out_other_images_have_lists_of_their_own(cli, tiny: TinyModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"a": 3, "b": 3})
    (root / "a" / "0.jpg").write_text("no image")
    arguments = ["dataset=folder", f"dataset.path={root}", "dataset.skip_broken=true", *tiny.overrides]
    assert cli("eval", *arguments) == 0, cli.err
    page = page_of(cli.results, images_here(compose_once([f"cache_dir={cli.cache}"])))
    assert page.num_thumbnails == 5
    (path,) = (cli.results / "report" / "data" / "images").iterdir()
    _, listed = held(path.read_bytes())
    assert listed["names"][0] == "a/1.jpg"
    assert listed["index"] == [1, 2, 3, 4, 5]
    dataset = images_here(compose_once([f"cache_dir={cli.cache}"]))(read_records(cli.results)[0])
    assert listed["thumbnails"]["0"].endswith(f"{dataset.image_keys[1].hex()}.webp")
