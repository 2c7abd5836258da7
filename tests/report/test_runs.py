"""Which runs may be compared, and what each is called."""

import logging

import numpy as np
import pytest
from recorded import LABELS, Store, asked

from cupl_bench.errors import ResultsError
from cupl_bench.identity import PROTOCOL_VERSION
from cupl_bench.report.shown import shown


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"split": "val"}, "split"),
        ({"fingerprint": "0" * 64}, "fingerprint"),
        ({"labels": LABELS[:200]}, "num_images"),
        ({"config": {"dataset": {"decode": "fast"}}}, "decode"),
    ],
)
def test_what_differs_is_never_compared_and_is_named(
    store: Store, caplog: pytest.LogCaptureFixture, change: dict, differs: str
) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.6, **change)
    with caplog.at_level(logging.WARNING):
        table = store.table()
    assert table["difference"].isna().all()
    assert not table["best"].any()
    assert f"birds x small is split into 2 groups that are not compared: they differ in {differs}" in caplog.text


def test_other_images_of_the_same_number_are_never_compared(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.add("simple", 0.5)
    store.add("cupl", 0.6, index=np.arange(len(LABELS)) + 1)
    with caplog.at_level(logging.WARNING):
        assert store.table()["difference"].isna().all()
    assert "left out other images than simple" in caplog.text


def test_protocol_versions_are_never_mixed(store: Store) -> None:
    store.add("simple")
    store.add("cupl", protocol_version=PROTOCOL_VERSION + 1)
    with pytest.raises(ResultsError, match=r"mix protocol versions"):
        store.table()


def test_the_newest_run_of_a_question_stays_and_the_others_are_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = store.add("cupl", 0.5, digest="d" * 64), store.add("cupl", 0.6, digest="d" * 64)
    store.add("cupl", 0.6, aggregation="max_similarity")
    store.add("cupl", 0.6, budget=4, seed=0)
    with caplog.at_level(logging.WARNING):
        table = store.table()
    assert old.run_key not in set(table["run_key"])
    assert new.run_key in set(table["run_key"])
    assert f"1 older runs of questions that were answered again are left out: '{old.run_key}'" in caplog.text
    assert list(shown(table)["prompts"]) == ["cupl (mean)", "cupl (max_similarity)", "cupl (mean, budget 4, seed 0)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({"config": asked(path="x/a.json"), "source": "a.json"}, {"config": asked(path="x/b.json"), "source": "b.json"},
         ["file (a.json)", "file (b.json)"]),
        ({"config": asked(path="x/a.json"), "source": "a.json"}, {"config": asked(path="y/a.json"), "source": "a.json"},
         ["file (000000)", "file (111111)"]),
        ({"config": asked(path="a"), "source": f"a.json sha256:{'e' * 64}"},
         {"config": asked(path="b"), "source": f"b.json sha256:{'d' * 64}"}, ["file (a.json)", "file (b.json)"]),
        ({"config": asked(path="a"), "source": f"a.json sha256:{'e' * 64}"},
         {"config": asked(path="a"), "source": f"a.json sha256:{'d' * 64}"}, ["file (eeeeee)", "file (dddddd)"]),
        ({"config": asked(path="a.json"), "source": "a.json"}, {"config": asked(path="a.json"), "source": "a.json"},
         ["file (000000)", "file (111111)"]),
        ({"config": asked(templates=["a {}."])}, {"config": asked(templates=["the {}."])},
         ['file ("a {}.")', 'file ("the {}.")']),
        ({"config": asked(clean=False)}, {"config": asked(clean=True)}, ["file (clean=false)", "file (clean=true)"]),
        (
            {"config": asked(variant="base")},
            {"config": asked(variant=None)},
            ["file (variant=base)", "file (no variant)"],
        ),
        ({"config": asked(weights={"a": 1, "b": 2})}, {"config": asked(weights={"a": 2, "b": 2})},
         ["file (weights.a=1)", "file (weights.a=2)"]),
        ({"config": asked(members={"a": {"path": "1.json"}})}, {"config": asked(members={"a": {"path": "2.json"}})},
         ["file (1.json)", "file (2.json)"]),
        ({"config": None}, {"config": None}, ["file (000000)", "file (111111)"]),
        ({"config": {}, "source": "https://x/a.json"}, {"config": asked(path="b.json"), "source": "b.json"},
         ["file (a.json)", "file (b.json)"]),
        ({"config": {"prompts": {"path": "${dataset.texts.cupl}"}, "dataset": {"texts": {"cupl": "1.json"}}}},
         {"config": {"prompts": {"path": "${dataset.texts.cupl}"}, "dataset": {"texts": {"cupl": "2.json"}}}},
         ["file (1.json)", "file (2.json)"]),
    ],
)  # fmt: skip
def test_two_questions_never_share_a_row_and_their_names_differ(
    store: Store, one: dict, other: dict, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    store.add("simple", 0.5)
    store.add("file", 0.6, digest="0" * 64, **one)
    store.add("file", 0.7, digest="1" * 64, **other)
    with caplog.at_level(logging.WARNING):
        comparison = store.write()
    runs = comparison.runs
    assert list(runs["prompts_name"]) == ["simple", "file", "file"]
    assert runs["prompts"][0] == "simple"
    for name, expected in zip(runs["prompts"][1:], names, strict=True):
        assert name.startswith(expected)
    assert runs["prompts"].nunique() == 3
    assert runs["difference"].notna().sum() == 2
    assert "left out" not in caplog.text
    assert set(shown(runs)["prompts"]) == set(runs["prompts"])
    text = (store.folder / "tables" / "classes.md").read_text()
    assert all(f"x {name}, minus simple" in text for name in runs["prompts"][1:])


def test_the_same_words_with_another_content_are_two_rows_and_it_is_said_which_is_newer(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.add("file", 0.6, config=asked(path="a.json"), digest="0" * 64)
    newer = store.add("file", 0.7, config=asked(path="a.json"), digest="1" * 64)
    with caplog.at_level(logging.WARNING):
        assert len(store.table()) == 2
    assert "were asked in the same words, but the files that they read held different prompts" in caplog.text
    assert f"file (111111) of run {newer.run_key}" in caplog.text


def test_settings_that_other_versions_lack_or_that_ask_nothing_are_no_difference(store: Store) -> None:
    """One strategy on two data sets, by two versions of the program, from two caches, with a file for each."""
    for place, (dataset, more) in enumerate({"birds": {}, "cars": {"clean": False, "cache_dir": "/b"}}.items()):
        own = {"dataset": dataset, "fingerprint": f"{place}" * 64}
        store.add("simple", 0.5, **own, config=asked(templates=["x"]))
        store.add("file", 0.6, **own, config=asked(path=f"{dataset}.json", **more), source=f"{dataset}.json")
    comparison = store.compared()
    assert set(comparison.runs["prompts"]) == {"simple", "file"}
    assert list(comparison.pooled["datasets"]) == ["birds cars"]


def test_other_words_are_never_averaged_over_data_sets(store: Store) -> None:
    for place, dataset in enumerate(("birds", "cars", "dogs")):
        own = {"dataset": dataset, "fingerprint": f"{place}" * 64}
        store.add("simple", 0.5, **own)
        for template in ("a {}.", "the {}."):
            if (dataset, template) != ("birds", "the {}."):
                store.add("templates", 0.6, **own, config=asked(templates=[template]))
    pooled = store.compared().pooled
    assert list(zip(pooled["prompts"], pooled["datasets"], strict=True)) == [
        ('templates ("a {}.")', "birds cars dogs"),
        ('templates ("the {}.")', "cars dogs"),
    ]


def test_seeds_of_two_questions_are_two_means(store: Store) -> None:
    for pairs in (5, 15):
        for seed in range(3):
            store.add("waffle", 0.5 + pairs / 100, config=asked(pairs=pairs, seed="${seed}"), seed=seed)
    read = shown(store.table())
    assert list(read["prompts"]) == ["waffle (pairs=5) (3 seeds)", "waffle (pairs=15) (3 seeds)"]


def test_seeds_of_a_file_that_changed_have_no_common_mean(store: Store) -> None:
    for seed, content in enumerate("eedd"):
        source = f"words.json sha256:{content * 64}"
        store.add("cupl", 0.5, config=asked(path="words.json"), source=source, budget=2, seed=seed)
    read = shown(store.table())
    assert list(read["prompts"]) == ["cupl (eeeeee) (2 seeds)", "cupl (dddddd) (2 seeds)"]


def test_a_prompt_of_an_environment_is_never_looked_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "hidden")
    store.add("file", 0.6, config=asked(path="${oc.env:SECRET_OF_MINE}"))
    store.add("file", 0.7, config=asked(path="b.json"))
    store.write()
    assert "hidden" not in (store.folder / "tables" / "comparison.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other", "column", "names"),
    [
        ({"config": {"dataset": {"path": "/x/left"}}}, {"config": {"dataset": {"path": "/x/right"}}},
         "dataset_shown", ["birds (left)", "birds (right)"]),
        ({}, {"split": "val"}, "dataset_shown", ["birds (test)", "birds (val)"]),
        ({}, {"config": {"dataset": {"decode": "fast"}}}, "dataset_shown",
         ["birds (decode=exact)", "birds (decode=fast)"]),
        ({}, {}, "dataset_shown", ["birds (000000)", "birds (111111)"]),
    ],
)  # fmt: skip
def test_two_data_sets_of_one_name_have_two_names(
    store: Store, one: dict, other: dict, column: str, names: list[str]
) -> None:
    for digit, own in enumerate((one, other)):
        for prompts, share in (("simple", 0.5), ("cupl", 0.6)):
            store.add(prompts, share, **({"fingerprint": f"{digit}" * 64} | own))
    comparison = store.write()
    assert list(dict.fromkeys(comparison.runs[column])) == names
    assert list(dict.fromkeys(shown(comparison.runs)["dataset"])) == names
    assert set(comparison.runs["dataset"]) == {"birds"}
    # Two folders are two data sets; two splits, or two versions, of one are no two samples of data sets.
    assert len(comparison.pooled) == (1 if "left" in names[0] else 0)


def test_two_models_of_one_name_have_two_names(store: Store) -> None:
    for weights in ("a.safetensors", "b.safetensors"):
        store.add("simple", 0.5, pretrained=weights, architecture="/models/tiny.json", activation=weights)
    assert list(shown(store.table())["backbone"]) == ["small (a.safetensors)", "small (b.safetensors)"]
