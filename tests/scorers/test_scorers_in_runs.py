"""Scorers as a user meets them: on the command line, in records and in tables."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Cli
from making import TinyModel

import cupl_bench
from cupl_bench.errors import ScorerError
from cupl_bench.records import Record, ScorerRecord, read_record
from cupl_bench.scorers import Inputs, Needs, checked
from cupl_bench.scorers.autoclip import AutoClipScorer


@dataclass(frozen=True, kw_only=True)
class Centred:
    """Takes the mean score of each class over all images off, so images depend on each other.

    ``short``: rows that it leaves out.
    """

    short: int = 0

    constants_from: ClassVar[str] = "ours"
    scores_are: ClassVar[str] = "scores"

    @property
    def needs(self) -> Needs:
        return Needs(uses=("other_images",), one_vector=True)

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        scores = torch.from_numpy(inputs.images[:]) @ torch.from_numpy(inputs.classes.matrix).T
        scores = scores - scores.mean(dim=0)
        yield scores[: len(scores) - self.short]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"results_dir": tmp_path / "results", "cache_dir": tmp_path / "cache"}


@pytest.mark.slow
def test_a_sweep_over_prompts_and_scorers_is_one_table(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    sweep = ["-m", "dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    templates = "prompts.templates=['a {}','the {}','my {}']"
    asked = ["prompts=simple,templates", templates, "scorer=plain,autoclip,zero", "scorer.views=8"]
    assert cli("eval", *sweep, *asked) == 0, cli.err
    table = pd.read_csv(cli.results / "tables/comparison.csv")
    cells = {(row["prompts"], row["scorer"]): row for row in table.to_dict("records")}
    assert len(cells) == len(table) == 6
    # Strategies are compared under one scorer, scorers under one strategy.
    assert cells["templates", "zero"]["baseline_run_key"] == cells["simple", "zero"]["run_key"]
    gap = cells["templates", "zero"]["top1"] - cells["templates", "plain"]["top1"]
    assert cells["templates", "zero"]["scorer_difference"] == pytest.approx(gap)
    assert pd.isna(cells["templates", "plain"]["scorer_difference"])
    assert {row["kind"] for row in cells.values()} == {"zero_shot", "zero_shot_views"}
    assert "minus plain" in cli.out
    records = [read_record(path) for path in (cli.results / "records").glob("*.json")]
    record = next(one for one in records if one.scorer.name == "zero")
    assert record.scorer.uses == ("views",)
    assert record.scorer.constants_from == "FarinaMatteo/zero@c609f7c; chosen here: views"
    assert record.scorer.parameters == {"views": 8, "kept": 0.3, "soft": False, "seed": 0}


@pytest.mark.slow
def test_the_plain_scorer_changes_no_run_key_and_no_file(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    """The key of the demo's `simple` in version 0.3, which knew no scorers."""
    assert cli("plan", "prompts=simple", "scorer=plain", "output=json") == 0
    assert json.loads(cli.out)["plan"][0]["run_key"] == "3ee0e29fd042"
    assert cli("eval", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, "scorer=plain") == 0
    file = cli.results / "records" / f"{cli.record().run_key}.json"
    told = json.loads(file.read_text())
    assert told["scorer"] == {
        "name": "plain", "parameters": {}, "constants_from": "none to choose", "uses": [], "kind": "zero_shot",
    }  # fmt: skip
    del told["scorer"], told["config"]["scorer"]
    before = Record.model_validate(told)
    assert before == read_record(file)


@pytest.mark.slow
def test_views_are_encoded_once_for_every_scorer_whose_crops_agree(
    cli: Cli, photos: Path, tiny: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", "dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli(*asked, "scorer=zero", "scorer.views=8") == 0
    assert "8 of each image: 0 reused, 105 encoded" in cli.out
    assert cli(*asked, "scorer=mta", "scorer.views=12") == 0
    assert "12 of each image: 105 reused, 60 encoded" in cli.out
    assert cli(*asked, "scorer=zero", "scorer.views=8", "scorer.seed=1") == 0
    assert "0 reused, 105 encoded" in cli.out
    assert cli("plan", *asked[1:], "scorer=zero", "scorer.views=16", "output=json") == 0
    (found,) = json.loads(cli.out)["plan"]
    assert found["views_to_encode"] == 15 * 4
    assert found["scorer"] == "zero"


@pytest.mark.slow
def test_parts_encode_the_views_of_their_images_too(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    asked = ["eval", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, "scorer=zero", "scorer.views=8"]
    assert cli(*asked, "shard=1/2") == cli(*asked, "shard=2/2") == 0, cli.err
    assert not list(cli.results.glob("records/*.json"))
    assert cli(*asked) == 0
    assert "8 of each image: 105 reused, 0 encoded" in cli.out


@pytest.mark.slow
def test_views_that_were_encoded_before_a_run_died_are_kept(
    cli: Cli, photos: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cupl_bench import view_features

    batches, calls = view_features._batches, []

    def dying(*arguments: Any) -> Iterator[Any]:
        for batch in batches(*arguments):
            calls.append(batch)
            if len(calls) == 3:
                raise KeyboardInterrupt
            yield batch

    asked = ["eval", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, "scorer=zero", "scorer.views=8"]
    monkeypatch.setattr(view_features, "_batches", dying)
    assert cli(*asked, "batch_size=10") == 130
    monkeypatch.setattr(view_features, "_batches", batches)
    assert cli(*asked) == 0
    assert "8 of each image: 20 reused, 85 encoded" in cli.out


@pytest.mark.slow
def test_where_images_depend_on_each_other_no_interval_is_given(places: dict[str, Any]) -> None:
    prompts = ["simple", "cupl"]
    for scorer in ("plain", Centred()):
        records = cupl_bench.sweep("dataset.limit=4", prompts=prompts, scorer=[scorer], **places)
    assert [one.kind for one in records] == ["transductive"] * 2
    assert records[0].metrics.top1_ci95 is None
    assert all(tier.top1_ci95 is None for tier in records[0].metrics.tiers.values())
    table = cupl_bench.compare(places["results_dir"])
    scored = table[table["scorer"] == "Centred"]
    assert scored[["top1_low", "top1_high", "p", "difference_low", "scorer_p"]].isna().all(axis=None)
    assert not scored["best"].any()
    cupl = scored[scored["prompts"] == "cupl"].iloc[0]
    assert cupl["difference"] == pytest.approx(records[1].metrics.top1 - records[0].metrics.top1)
    assert cupl_bench.load_results(places["results_dir"])["kind"].tolist()[-2:] == ["transductive"] * 2
    text = (Path(places["results_dir"]) / "tables").exists()
    assert not text  # from Python no file is written unless asked


@pytest.mark.slow
def test_a_scorer_is_never_told_a_label(tmp_path: Path, tiny: TinyModel) -> None:
    """The same images under other labels get the same scores and predictions."""
    from PIL import Image

    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(8)]
    found = []
    for shift in (0, 1):
        folder = tmp_path / str(shift)
        record = cupl_bench.evaluate(
            *tiny.overrides,
            "scorer.views=8",
            dataset=[(image, ("ant", "bee")[(place + shift) % 2]) for place, image in enumerate(images)],
            prompts=["a photo of a {}."],
            scorer="mta",
            results_dir=folder,
            cache_dir=tmp_path / "cache",
        )
        found.append(cupl_bench.load_predictions(folder, record.run_key).drop(columns=["label", "correct"]))
    pd.testing.assert_frame_equal(*found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["prompts=cupl", "scorer=autoclip"], "these prompts are not"),
        (["prompts=zpe", "scorer=autoclip"], "takes prompts that all weigh the same"),
        (["prompts=simple", "prompts.aggregation=max_similarity", "scorer=zero"], "one vector of each class"),
        (["scorer=autoclip", "scorer.beta=2"], "beta=2.0 should be above 0 and at most 1"),
        (["scorer=atuoclip"], "autoclip"),
        (["scorer=autoclip", "scorer.bta=2"], "scorer.bta"),
    ],
)
def test_what_a_scorer_cannot_do_is_one_message(cli: Cli, overrides: list[str], told: str) -> None:
    assert cli("eval", "dataset=demo", *overrides) == 2
    assert told in cli.err
    assert "Traceback" not in cli.err


def test_crops_of_features_that_were_given_are_refused(cli: Cli, tmp_path: Path) -> None:
    features = np.eye(4, 8, dtype=np.float32)
    np.savez(tmp_path / "given.npz", features=features, labels=[0, 1, 0, 1], class_names=["a", "b"])
    given = ["dataset=features", f"dataset.path={tmp_path}/given.npz", "backbone=given", "backbone.name=x",
             "prompts=embeddings"]  # fmt: skip
    np.save(tmp_path / "classes.npy", np.eye(2, 8, dtype=np.float32))
    assert cli("eval", *given, f"prompts.path={tmp_path}/classes.npy", "scorer=zero") == 2
    assert "it needs the images" in cli.err
    assert cli("eval", *given, f"prompts.path={tmp_path}/classes.npy", "scorer=wca") == 2


@pytest.mark.slow
def test_a_scorer_that_gives_too_few_rows_gives_no_number(places: dict[str, Any]) -> None:
    with pytest.raises(ScorerError, match="scores of 123 images, and there are 128"):
        cupl_bench.evaluate("dataset.limit=4", prompts="simple", scorer=Centred(short=5), **places)
    (record,) = [read_record(path) for path in (Path(places["results_dir"]) / "records").glob("*.json")]
    assert record.status == "failed"


@pytest.mark.parametrize("tile", [torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 2, dtype=torch.int64)], ids=str)
def test_tiles_of_another_form_are_refused(tile: torch.Tensor) -> None:
    with pytest.raises(ScorerError, match="it should be images x 2 classes"):
        list(checked([tile], "mine", (2, 2)))


def test_a_kind_that_does_not_follow_from_what_is_used_is_no_record() -> None:
    with pytest.raises(ValueError, match="makes it 'online'"):
        ScorerRecord(name="x", uses=("stream",), kind="zero_shot")


@pytest.mark.slow
def test_a_scorer_in_memory_has_a_key_of_its_own_and_says_so(places: dict[str, Any]) -> None:
    asked = {"dataset": "demo", "prompts": "ensemble", **places}
    one, other, named = (
        cupl_bench.evaluate("dataset.limit=2", scorer=scorer, **asked)
        for scorer in (AutoClipScorer(beta=0.5), AutoClipScorer(beta=0.6), "autoclip")
    )
    assert len({one.run_key, other.run_key, named.run_key}) == 3
    assert one.config.beyond_words
    assert not named.config.beyond_words


@pytest.mark.slow
def test_a_run_with_a_scorer_can_be_asked_again(cli: Cli, photos: Path, tiny: TinyModel) -> None:
    asked = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("eval", *asked, "prompts=simple", "scorer=autoclip") == 0
    key = cli.record().run_key
    assert cli("reproduce", key) == 0, cli.err
    assert "asked again: equal" in cli.out


@pytest.mark.slow
def test_no_test_over_images_reaches_the_page_or_the_classes(places: dict[str, Any]) -> None:
    from cupl_bench.records import read_records
    from cupl_bench.report.answers import GroupAnswers
    from cupl_bench.report.comparison import compare
    from cupl_bench.report.page.contents import group_contents

    cupl_bench.sweep("dataset.limit=4", prompts=["simple", "cupl"], scorer=["plain", Centred()], **places)
    pairs: dict[str, list[Any]] = {}

    def look(group: GroupAnswers) -> None:
        pairs[group.group.scorer] = group_contents(group)["pairs"]

    found = compare(read_records(places["results_dir"]), places["results_dir"], look=look)
    assert len(pairs["plain"]) == 1
    assert pairs["Centred"] == []
    scored = found.classes["run_key"].isin(found.runs.loc[found.runs["scorer"] == "Centred", "run_key"])
    assert found.classes[scored][["p", "p_holm", "low", "high"]].isna().all(axis=None)
    assert found.classes[scored]["change"].notna().any()
    assert found.classes[~scored]["p"].notna().any()
