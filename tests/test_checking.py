"""`cupl-bench check`: whole runs pass, and each thing that is not what it says has a message of its own."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Cli
from making import TinyModel, make_folder

from cupl_bench.__main__ import main
from cupl_bench.checking import Checked, Finding, check_runs, exit_code
from cupl_bench.conf_folder import conf_dir
from cupl_bench.errors import ResultsError
from cupl_bench.records import Record, read_records, record_path
from cupl_bench.report import published
from cupl_bench.store import read_arrays, write_arrays

CHECKS = [
    "complete", "records", "files", "answers", "numbers", "images", "weights", "prompts", "class embeddings",
    "protocol", "published",
]  # fmt: skip
CLASSES = {"ant": 5, "bee": 4, "cat": 3, "dog": 2, "eel": 2, "fox": 2}
SWEEP = "prompts=simple,ensemble"


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModel) -> list[str]:
    """The arguments of a data set of six classes and a model."""
    photos = make_folder(tmp_path_factory.mktemp("photos") / "photos", CLASSES)
    texts = "dataset.texts.templates=openai_imagenet_80"
    return ["dataset=folder", f"dataset.path={photos}", texts, "device=cpu", *tiny.overrides]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, asking: list[str]) -> Path:
    """The results of two finished runs."""
    folder = tmp_path_factory.mktemp("swept")
    places = [f"results_dir={folder / 'results'}", f"cache_dir={folder / 'cache'}"]
    assert main(["eval", "-m", *asking, SWEEP, *places]) == 0
    return folder / "results"


@pytest.fixture
def results(swept: Path, cli: Cli) -> Path:
    """The same, to be changed."""
    shutil.copytree(swept, cli.results)
    return cli.results


def record_of(results: Path, prompts: str = "simple") -> Record:
    return next(one for one in read_records(results) if one.prompts.name == prompts)


def edit(results: Path, change: Callable[[dict], object], prompts: str = "simple") -> None:
    """Change a record as its JSON."""
    path = record_path(results, record_of(results, prompts).run_key)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def sign(results: Path, kind: str) -> None:
    """Give the record the sha256 that a changed file has now: what a careful forger does."""
    (path,) = (results / kind).glob(f"{record_of(results).run_key}.*")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(results, lambda content: content["artifact_digests"].update({kind: digest}))


def change_table(
    results: Path, kind: str, change: Callable[[pd.DataFrame], pd.DataFrame], *, signed: bool = True
) -> None:
    path = results / kind / f"{record_of(results).run_key}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    if signed:
        sign(results, kind)


def differing(found: Checked) -> dict[str, str]:
    """The cases of the checks that differ, as one text each."""
    return {one.check: " | ".join(one.cases) for one in found.findings if one.verdict == "differs"}


@pytest.mark.slow
def test_whole_runs_are_well(cli: Cli, results: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert cli("check") == 0, cli.out
    assert "11 checks: all well" in cli.out
    assert "2 finished runs" in cli.out
    assert "differs" not in cli.out
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
    found = check_runs(results)
    assert [one.check for one in found.findings] == CHECKS
    assert [one.check for one in found.findings if one.verdict == "cannot be judged"] == ["protocol", "published"]


def test_a_program_is_told_the_same(cli: Cli, results: Path) -> None:
    edit(results, lambda content: content["metrics"].update(top1=0.5))
    assert cli("check", "output=json") == 1
    told = json.loads(cli.out)
    assert (told["exit_code"], told["verdict"], len(told["run_keys"])) == (1, "something differs", 2)
    assert [one["check"] for one in told["findings"] if one["verdict"] == "differs"] == ["numbers"]
    assert told["published"] == []


def swap_labels(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[[0, 17], "label"] = frame.loc[[17, 0], "label"].to_numpy()
    return frame.assign(correct=frame["label"] == frame["prediction"])


def other_prediction(frame: pd.DataFrame) -> pd.DataFrame:
    """Another wrong answer in place of a wrong one: no accuracy moves."""
    row = int(np.flatnonzero(frame["label"] != frame["prediction"])[0])
    others = set(range(6)) - {int(frame.loc[row, "label"]), int(frame.loc[row, "prediction"])}
    frame.loc[row, "prediction"] = min(others)
    return frame


def test_a_swapped_label(results: Path) -> None:
    change_table(results, "predictions", swap_labels)
    found = differing(check_runs(results))
    assert "have one fingerprint and other labels of 2 images, first: 0, 17" in found["images"]
    assert found.keys() <= {"images", "numbers"}


@pytest.mark.slow
def test_an_altered_prediction(cli: Cli, results: Path) -> None:
    change_table(results, "predictions", other_prediction, signed=False)
    assert differing(check_runs(results)).keys() == {"files", "answers"}
    sign(results, "predictions")
    found = differing(check_runs(results))
    assert found.keys() == {"answers"}
    assert "1 images have a prediction that is not the first of their top5" in found["answers"]
    assert cli("check") == 1
    assert "differs           answers" in cli.out
    assert "11 checks: something differs; differs: answers;" in cli.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(index=3), "17 predictions, and the record has 18 images"),
        (lambda frame: frame.assign(index=frame["index"][::-1].to_numpy()), "17 images stand out of the order"),
        (lambda frame: frame.assign(label=frame["label"] + 1), "2 images have a label that is none of 6"),
        (lambda frame: frame.assign(prediction=-1), "18 images have a prediction that is none of 6 classes"),
        (lambda frame: frame.assign(correct=~frame["correct"]), "18 images have a 'correct' that is not"),
        (lambda frame: frame.assign(top5=[[one[0]] * 5 for one in frame["top5"]]), "have a class twice"),
        (lambda frame: frame.assign(top5=[one[:3] for one in frame["top5"]]), "top5 holds 3 labels"),
        (lambda frame: frame.assign(label=frame["label"].astype(str)), "label is not a whole number"),
        (lambda frame: frame.drop(columns="prediction"), "cannot be read"),
        (lambda frame: frame.assign(top5="x"), "top5 does not hold lists of labels"),
    ],
)
def test_predictions_that_cannot_be(
    results: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    change_table(results, "predictions", change)
    assert message in differing(check_runs(results))["answers"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["top1", "top5", "mean_per_class", "primary"])
def test_a_changed_number_of_a_record(results: Path, name: str) -> None:
    told = getattr(record_of(results).metrics, name)
    edit(results, lambda content: content["metrics"].update({name: told + 1e-6}))
    found = differing(check_runs(results))
    assert found.keys() == {"numbers"}
    assert f"{name} is {told + 1e-6:.6f} in the record and {told:.6f} by its predictions" in found["numbers"]


@pytest.mark.parametrize("interval", [None, [0.0, 0.5]])
def test_a_changed_interval_of_a_record(results: Path, interval: object) -> None:
    edit(results, lambda content: content["metrics"].update(top1_ci95=interval))
    assert "top1_ci95 is" in differing(check_runs(results))["numbers"]


@pytest.mark.slow
def test_a_missing_cell(cli: Cli, results: Path, asking: list[str]) -> None:
    key = record_of(results).run_key
    record_path(results, key).unlink()
    finding = check_runs(results).findings[0]
    assert (finding.check, finding.verdict, finding.count) == ("complete", "differs", 4)
    assert f"is missing: the record {key} is gone" in finding.cases[0]
    assert finding.cases[1] == f"predictions/{key}.parquet belongs to no record"
    assert cli("check") == 1
    assert "and 1 more" in cli.out
    assert cli("check", *asking, SWEEP) == 1
    assert "2 questions of the experiment: 1 case" in cli.out
    assert "prompts=simple has no record" in cli.out.replace("  ", " ")


@pytest.mark.parametrize("kind", ["predictions", "prompts", "class_embeddings"])
def test_a_lost_file(results: Path, kind: str) -> None:
    (path,) = (results / kind).glob(f"{record_of(results).run_key}.*")
    path.unlink()
    found = differing(check_runs(results))
    assert found["files"].endswith(f"{kind}/{path.name} is not there")
    assert found.keys() - {"files"} <= {"answers", "numbers", "prompts", "class embeddings"}


@pytest.mark.parametrize("kind", ["predictions", "prompts", "class_embeddings"])
def test_a_damaged_file(results: Path, kind: str) -> None:
    (path,) = (results / kind).glob(f"{record_of(results).run_key}.*")
    path.write_bytes(path.read_bytes()[:-50])
    sign(results, kind)
    checks = {"predictions": "answers", "prompts": "prompts", "class_embeddings": "class embeddings"}
    assert "cannot be read" in differing(check_runs(results))[checks[kind]]


def test_other_prompts_than_those_of_the_record(results: Path) -> None:
    change_table(results, "prompts", lambda frame: frame.assign(text=frame["text"].str.replace("photo", "pic")))
    assert "are not those of the digest" in differing(check_runs(results))["prompts"]
    change_table(results, "prompts", lambda frame: frame.assign(text=[None, *frame["text"][1:]]))
    assert "class_name or text is no text in every row" in differing(check_runs(results))["prompts"]
    change_table(results, "prompts", lambda frame: frame.assign(text="a pic"))
    edit(results, lambda content: content["prompts"].update(num_prompts=7))
    assert "7 prompts in the record and 6 in the table" in differing(check_runs(results))["prompts"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, facts: (rows * 1.001, facts), "6 of 6 class embeddings are not of length one, first: 0, 1, 2"),
        (lambda rows, facts: (rows[:5], facts), "float32 of the shape (5, 32), not float32 of the shape (6, 32)"),
        (lambda rows, facts: (rows, facts | {"run_key": "0" * 12}), "the file is of the run_key 000000000000"),
    ],
)
def test_other_class_embeddings(results: Path, change: Callable[..., tuple[np.ndarray, dict]], message: str) -> None:
    path = results / "class_embeddings" / f"{record_of(results).run_key}.safetensors"
    arrays, facts = read_arrays(path)
    rows, facts = change(arrays["class_embeddings"], facts)
    write_arrays(path, {"class_embeddings": rows.astype(np.float32)}, facts)
    sign(results, "class_embeddings")
    found = differing(check_runs(results))
    assert found.keys() == {"class embeddings"}
    assert message in found["class embeddings"]


def test_other_weights_of_the_same_backbone(results: Path) -> None:
    edit(results, lambda content: content["backbone"].update(weights_sha256="f" * 64))
    found = differing(check_runs(results))
    assert found.keys() == {"weights"}
    assert "the weights_sha256 ffffffffffff" in found["weights"]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("prompts", "name", "cupl"), ("backbone", "precision", "bf16"), ("prompts", "budget", 3)],
)
def test_a_record_that_says_otherwise_than_its_question(results: Path, part: str, key: str, value: object) -> None:
    path = record_path(results, record_of(results).run_key)
    edit(results, lambda content: content[part].update({key: value}))
    found = differing(check_runs(results))
    assert found.keys() == {"records"}
    assert path.stem in found["records"]
    assert f"is {value}, and" in found["records"]


def test_a_record_in_another_place_is_no_record(results: Path) -> None:
    path = record_path(results, record_of(results).run_key)
    path.rename(path.with_name("0123456789ab.json"))
    assert "a record's name is its run key" in differing(check_runs(results))["records"]


def test_a_record_of_another_protocol_or_without_digests_cannot_be_judged(cli: Cli, results: Path) -> None:
    edit(results, lambda content: content.update(protocol_version=2))
    edit(results, lambda content: content.update(artifact_digests=None), "ensemble")
    assert cli("check") == 2
    assert "is of protocol version 2" in cli.out
    assert "holds no sha256 of its class_embeddings, predictions, prompts" in cli.out
    assert "cannot be judged: records, files" in cli.out


# Beside an experiment -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_experiment_of_ones_own(cli: Cli, results: Path, asking: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    experiment = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"prompts": "simple,ensemble"}}}}
    text = f"# @package _global_\n{yaml.safe_dump(experiment)}"
    (tmp_path / "mine" / "experiment" / "two.yaml").write_text(text)
    assert cli("check", "experiment=two", *asking, "--config-dir", str(tmp_path / "mine")) == 0, cli.err
    assert "2 questions of the experiment: each has a finished record" in cli.out
    assert "12 checks: all well" in cli.out


@pytest.mark.slow
def test_runs_of_another_folder_and_other_runs(cli: Cli, results: Path, asking: list[str], tmp_path: Path) -> None:
    asking = [one if "dataset.path" not in one else f"dataset.path={tmp_path}/elsewhere" for one in asking]
    assert cli("check", *asking, "prompts=simple") == 0, cli.out
    assert "1 other records lie there and are not looked at" in cli.out
    assert cli("check", *asking, "prompts=simple", "seed=3") == 0  # nothing was drawn
    edit(results, lambda content: content["metrics"].update(top1=0.5), "ensemble")
    assert cli("check", *asking, "prompts=simple") == 0
    assert cli("check", *asking, "prompts=ensemble") == 1


@pytest.mark.slow
def test_the_record_that_was_asked_in_the_same_words_is_taken(
    cli: Cli, results: Path, asking: list[str], tmp_path: Path
) -> None:
    """Though its images lay elsewhere, and a newer run of the same names was asked otherwise."""
    assert cli("eval", *asking, "prompts=simple", "dataset.split=other") == 0
    elsewhere = f"dataset.path={tmp_path}/elsewhere"
    assert cli("check", *asking, elsewhere, "prompts=simple", "output=json") == 0, cli.out
    told = json.loads(cli.out)["run_keys"]
    assert cli("check", *asking, elsewhere, "prompts=simple", "dataset.split=other", "output=json") == 0
    assert len(told) == 1
    assert told != json.loads(cli.out)["run_keys"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.split=other", "dataset.split=all in the record, other asked"),
        ("precision=bf16", "precision=fp32 in the record, bf16 asked"),
        ("budget=1", "budget=None in the record, 1 asked"),
        ('prompts.templates=["a {}"]', "['a {}'] asked"),
        ("dataset.primary=mean_per_class", "dataset.primary=top1 in the record, mean_per_class asked"),
    ],
)
def test_another_split_or_setting(cli: Cli, results: Path, asking: list[str], override: str, message: str) -> None:
    assert cli("check", *asking, "prompts=simple", override) == 1, cli.err
    assert "differs: as asked" in cli.out
    assert message in cli.out


@pytest.mark.slow
def test_a_sample_of_a_split_is_not_the_split(cli: Cli) -> None:
    asked = ["dataset=demo", "backbone=demo", "prompts=name_only", "device=cpu"]
    assert cli("eval", *asked, "dataset.limit=1") == 0
    assert cli("check") == 1
    assert "only 1 images of each class: the split is 'test, 1 per class (seed 0)'" in cli.out
    assert "differs: protocol" in cli.out
    assert cli("check", *asked) == 1
    assert "dataset.limit=1 in the record, None asked" in cli.out
    edit(cli.results, lambda content: content["metrics"]["tiers"].popitem(), "name_only")
    assert "by its prompts" in differing(check_runs(cli.results))["numbers"]


@pytest.mark.slow
def test_a_seed_that_is_missing_is_not_taken_for_another(cli: Cli, asking: list[str]) -> None:
    asked = [*asking, "prompts=ensemble", "budget=2", "seed=0,1"]
    assert cli("eval", "-m", *asked) == 0
    assert cli("check", *asked) == 0, cli.out
    lost = next(one for one in read_records(cli.results) if one.prompts.seed == 1)
    record_path(cli.results, lost.run_key).unlink()
    assert cli("check", *asked) == 1
    assert "seed=1 has no record" in cli.out.replace(" budget=2", "")
    assert "differs: complete" in cli.out
    assert "in the record, 1 asked" not in cli.out


@pytest.mark.slow
def test_every_aggregation_weighting_and_kind_of_scorer_is_well(cli: Cli, asking: list[str]) -> None:
    for more in (
        ["prompts=ensemble", "prompts.aggregation=mean,mean_similarity,max_similarity"],
        ["prompts=simple", "scorer=transclip"],
        ["prompts=zpe"],
    ):
        assert cli("eval", "-m", *asking, *more) == 0, cli.err
    vectors = next(
        cli.results / f"class_embeddings/{one.run_key}.safetensors"
        for one in read_records(cli.results)
        if one.prompts.name == "simple"
    )
    assert cli("eval", *asking, "prompts=embeddings", f"prompts.path={vectors}") == 0, cli.err
    assert len(list((cli.results / "records").glob("*.json"))) == 6
    assert cli("check") == 0, cli.out
    assert "is not judged" not in cli.out


# Beside published numbers ---------------------------------------------------------------------------------------------


def as_pets(content: dict) -> None:
    """Make a record one of a named data set, of the right size or not."""
    content["dataset"] |= {"name": "pets", "split": "test"}
    content["dataset"]["origin"] = {"source": "x", "protocol": "standard", "names": "openai"}
    settings = yaml.safe_load((conf_dir() / "dataset" / "pets.yaml").read_text())
    fields = {name: settings.pop(name) for name in ("primary", "decode", "skip_broken")}
    content["config"] |= {**fields, "dataset": settings}


def of_published(results: Path) -> Finding:
    return next(one for one in check_runs(results).findings if one.check == "published")


@pytest.mark.parametrize(
    ("by", "changes", "verdict", "said"),
    [
        (0.0, {}, "ok", "1 published numbers of the same question agree"),
        (0.7, {}, "differs", "1 case"),
        (0.7, {"verified": "no"}, "cannot be judged", "1 more are unverified and only told"),
        (0.7, {"names": "coop"}, "cannot be judged", "1 of nearly the same question are only told"),
    ],
)
def test_published_numbers(
    results: Path, monkeypatch: pytest.MonkeyPatch, by: float, changes: dict, verdict: str, said: str
) -> None:
    edit(results, as_pets)
    record = record_of(results)
    assert record.metrics is not None
    row = {
        **dict.fromkeys(published.read_published().columns, ""),
        "source": "a paper", "architecture": record.backbone.architecture, "pretrained": record.backbone.pretrained,
        "dataset": "pets", "protocol": "standard", "split": "test", "names": "openai", "strategy": "simple",
        "scorer": "plain", "metric": "top1", "value": 100 * (record.metrics.top1 + by), "verified": "yes", **changes,
    }  # fmt: skip
    monkeypatch.setattr(published, "read_published", lambda: pd.DataFrame([row]))
    finding = of_published(results)
    assert finding.verdict == verdict
    assert said in finding.reason
    if verdict == "differs":
        assert "is published, -70.0 (a paper)" in finding.cases[0]


def test_fewer_images_and_other_names_than_the_protocol(results: Path) -> None:
    edit(results, as_pets)
    cases = differing(check_runs(results))["protocol"]
    assert "18 images, and protocol standard has 3,669" in cases
    assert "6 classes, and protocol standard has 37" in cases
    edit(results, lambda content: content["dataset"].update(split="trainval"))
    assert "the split is 'trainval'" in differing(check_runs(results))["protocol"]
    edit(results, lambda content: content["dataset"]["origin"].update(protocol="custom"))
    assert "protocol" not in differing(check_runs(results))


# Archives, and mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_archive(cli: Cli, results: Path, asking: list[str], tmp_path: Path) -> None:
    archive = tmp_path / "runs.zip"
    assert cli("export", f"to={archive}") == 0
    assert cli.raw("check", str(archive)) == 0, cli.err
    assert "2 finished runs" in cli.out
    assert cli.raw("check", str(archive), *asking, SWEEP) == 0
    assert cli.raw("check", str(archive), *asking, "prompts=simple,name_only") == 1
    assert "prompts=name_only has no record" in cli.out.replace("  ", " ")
    assert cli.raw("check", str(archive), *asking, "prompts=name_only") == 1
    assert "2 checks: something differs; differs: complete" in cli.out
    content = archive.read_bytes()
    for damaged in (content[:-100], content[:60], content.replace(b"records/", b"recorts/")):
        archive.write_bytes(damaged)
        assert cli.raw("check", str(archive)) == 1, cli.err
        assert "differs           archive" in cli.out


@pytest.mark.slow
def test_what_cannot_be_judged(cli: Cli, results: Path, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        (["check", f"results_dir={tmp_path / 'empty'}"], "holds no record, so there is nothing to check"),
        (["check", f"results_dir={tmp_path / 'none'}"], "holds no record, so there is nothing to check"),
        (["check", "experiment=cupl_table2"], "cupl_table1"),
        (["check", "none.zip"], "none.zip does not exist"),
        (["check", "text.zip"], "text.zip cannot be read as an archive"),
        (["check", "empty"], "is a folder. Check it with results_dir=empty"),
        (["check", "text.zip", "none.zip"], "check takes one archive, not 2"),
        (["check", "text.zip", f"results_dir={results}"], "not both"),
    ]:
        assert cli.raw(*arguments) == 2, arguments
        assert message in cli.err
        assert "Traceback" not in cli.err


def test_only_failed_runs(results: Path) -> None:
    failed = {"status": "failed", "error": "no", "metrics": None, "artifacts": None, "artifact_digests": None}
    for name in ("simple", "ensemble"):
        edit(results, lambda content: content.update(failed), name)
    shutil.rmtree(results / "outcomes")
    shutil.rmtree(results / "logs")
    found = check_runs(results)
    assert exit_code(found.findings) == 1
    assert "has no finished run: no" in found.findings[0].cases[0]


def test_a_folder_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no record"):
        check_runs(tmp_path)


def test_results_of_the_first_version_are_well(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "version_0_1" / "results", tmp_path / "results")
    found = check_runs(tmp_path / "results")
    assert not differing(found)
    assert exit_code(found.findings) == 0


@pytest.mark.parametrize(
    ("as_named", "check", "said"),
    [
        (False, "images", "their numbers are not comparable"),
        (True, "protocol", "is on version 7 of pets, and this program knows 1 alone"),
    ],
)
def test_another_version_of_a_data_set(results: Path, as_named: bool, check: str, said: str) -> None:
    if as_named:
        edit(results, as_pets)
    edit(results, lambda content: content["dataset"].update(version=7))
    (finding,) = (one for one in check_runs(results).findings if one.check == check)
    assert finding.verdict == ("cannot be judged" if as_named else "differs")
    assert said in finding.cases[0]


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("dataset", "split", "train", "split is train, and all in its question"),
        (
            "dataset",
            "split",
            "all, 2 per class (seed 0)",
            "split is all, 2 per class (seed 0), and all in its question",
        ),
        ("prompts", "aggregation", "mean_similarity", "aggregation is mean_similarity, and mean in its question"),
    ],
)
def test_another_split_than_that_of_the_question(results: Path, part: str, key: str, value: str, said: str) -> None:
    edit(results, lambda content: content[part].update({key: value}))
    assert said in differing(check_runs(results))["records"]


def test_another_protocol_and_other_names_than_those_of_the_question(results: Path) -> None:
    edit(results, as_pets)
    edit(results, lambda content: content["dataset"]["origin"].update(protocol="coop", names="coop"))
    told = differing(check_runs(results))["records"]
    assert "protocol is coop, and standard in its question" in told
    assert "names is coop, and openai in its question" in told
