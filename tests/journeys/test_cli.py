"""The command line as a user meets it: what it prints, what it leaves, and how it refuses."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import TinyModel, encoded, make_folder, make_tiny

from cupl_bench.commands import COMMANDS
from cupl_bench.commands.arguments import split
from cupl_bench.commands.questions import asked
from cupl_bench.records import read_record
from cupl_bench.store import read_arrays


def numbers(record) -> dict[str, object]:
    """What a question and its answer are; not when, where and how fast."""
    return record.model_dump(exclude={"created_at", "timing", "environment", "artifact_digests"})


@pytest.mark.slow
def test_a_run_leaves_what_the_contract_says(cli, on_photos) -> None:
    assert on_photos("prompts=ensemble", "dataset.texts.templates=openai_imagenet_7") == 0, cli.err
    record = cli.record()
    content = json.loads((cli.results / "records" / f"{record.run_key}.json").read_text())
    assert content["schema_version"] == 1
    assert content["status"] == "ok"
    assert content["dataset"] == {
        "name": "folder",
        "split": "all",
        "fingerprint": record.dataset.fingerprint,
        "num_images": 15,
        "num_classes": 5,
        "num_broken": 0,
        "origin": None,
        "features": None,
        "version": 1,
        "licence": None,
    }
    assert set(content["backbone"]) >= {
        "name",
        "architecture",
        "pretrained",
        "weights_sha256",
        "activation",
        "precision",
        "embed_dim",
    }
    assert content["prompts"]["num_prompts"] == content["prompts"]["num_distinct"] == 35
    assert content["prompts"]["aggregation"] == "mean"
    assert set(content["metrics"]) >= {"top1", "top1_ci95", "top5", "mean_per_class", "primary"}
    assert content["metrics"]["top5"] == 1.0
    assert set(content["timing"]) == {
        "load_backbone",
        "image_features",
        "text_features",
        "class_embeddings",
        "scores",
        "total_seconds",
    }
    assert content["timing"]["image_features"]["cached"] is False
    frame = pd.read_parquet(cli.results / content["artifacts"]["predictions"])
    contract = ["index", "image_id", "label", "prediction", "correct", "top5", "score", "margin"]
    assert list(frame) == [*contract, "confidence"]
    assert frame["image_id"][0] == "ant/0.jpg"
    arrays, _ = read_arrays(cli.results / content["artifacts"]["class_embeddings"])
    assert arrays["class_embeddings"].dtype == np.float32
    assert arrays["class_embeddings"].shape == (5, 32)
    np.testing.assert_allclose(np.linalg.norm(arrays["class_embeddings"], axis=1), 1, atol=1e-6)
    assert not list(cli.results.rglob("*.tmp"))


@pytest.mark.slow
def test_the_command_of_a_record_asks_its_question_alone(cli, on_photos, photos: Path, tiny: TinyModel) -> None:
    own = ["prompts=name_only,templates", "prompts.templates=['a {}.', 'the {} of it.']"]
    assert on_photos("-m", *own) == 0, cli.err
    records = [read_record(path) for path in (cli.results / "records").glob("*.json")]
    assert {record.prompts.name for record in records} == {"name_only", "templates"}
    for record in records:
        program, *arguments = shlex.split(record.environment["command"])
        assert (program, arguments[0]) == ("cupl-bench", "eval")
        assert cli(*arguments) == 0, cli.err
        assert "finished before" in cli.out
        assert f"{record.run_key}.json" in cli.out.splitlines()[-1]


@pytest.mark.slow
def test_nothing_is_encoded_twice(cli, on_photos, tmp_path: Path, photos: Path) -> None:
    assert on_photos() == 0
    assert "0 reused, 15 encoded" in cli.out
    first = cli.record()
    assert on_photos() == 0
    assert "finished before" in cli.out
    assert cli.record() == first
    assert on_photos("rerun=always") == 0
    assert "15 reused, 0 encoded" in cli.out
    assert "class embeddings reused" in cli.out
    again = cli.record()
    assert numbers(again) == numbers(first)
    assert again.timing.load_backbone.cached
    moved = photos.rename(tmp_path / "moved")
    assert on_photos(f"dataset.path={moved}") == 0
    assert "finished before" in cli.out


@pytest.mark.slow
def test_a_new_image_and_a_new_prompt_cost_one_each(cli, on_photos, photos: Path) -> None:
    assert on_photos("prompts=templates", "prompts.templates=['a {}.','the {}.']") == 0
    (photos / "bee" / "00.jpg").write_bytes(encoded(100))
    assert on_photos("prompts=templates", "prompts.templates=['the {}.','one {}.']") == 0
    assert "15 reused, 1 encoded" in cli.out
    assert "10 distinct: 5 reused, 5 encoded" in cli.out


def test_images_of_equal_content_are_encoded_once(cli, on_photos, photos: Path) -> None:
    for number in range(5):
        shutil.copy(photos / "ant" / "0.jpg", photos / "bee" / f"copy{number}.jpg")
    assert on_photos() == 0
    assert "15 encoded" in cli.out
    assert cli.record().dataset.num_images == 20


@pytest.mark.slow
def test_one_changed_byte_of_an_image_or_a_weight_is_seen(cli, on_photos, photos: Path, tmp_path: Path) -> None:
    assert on_photos() == 0
    first = cli.record()
    content = bytearray((photos / "ant" / "0.jpg").read_bytes())
    content[-20] ^= 1
    (photos / "ant" / "0.jpg").write_bytes(content)
    assert on_photos() == 0
    second = cli.record()
    assert second.run_key != first.run_key
    other = make_tiny(tmp_path / "other", seed=1)
    assert on_photos(*other.overrides[1:]) == 0
    assert "0 reused, 15 encoded" in cli.out
    assert cli.record().run_key not in (first.run_key, second.run_key)


@pytest.mark.slow
def test_features_of_another_model_are_never_read(cli, on_photos, tmp_path: Path) -> None:
    """The same sweep in another order, on a cache of its own, gives the same answers."""
    models = [make_tiny(tmp_path / f"m{seed}", seed=seed) for seed in range(2)]
    answers = []
    for order in (models, models[::-1]):
        cli.results, cli.cache = tmp_path / f"r{len(answers)}", tmp_path / f"c{len(answers)}"
        found = {}
        for model in order:
            assert on_photos(*model.overrides[1:]) == 0
            record = cli.record()
            frame = pd.read_parquet(cli.results / record.artifacts.predictions)
            found[record.backbone.weights_sha256] = frame["score"].to_numpy()
        answers.append(found)
    left, right = answers
    assert left.keys() == right.keys()
    for digest in left:
        np.testing.assert_allclose(left[digest], right[digest], atol=1e-6)
    first, second = left.values()
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.slow
def test_the_batch_size_moves_nothing_beyond_rounding(cli, on_photos, tmp_path: Path) -> None:
    """Trap T19: a last batch of one; 15 images in batches of 2, 7 and 14 end with one."""
    found = {}
    for batch_size in (15, 1, 2, 7, 14, 64):
        cli.results, cli.cache = tmp_path / f"r{batch_size}", tmp_path / f"c{batch_size}"
        assert on_photos(f"batch_size={batch_size}") == 0, cli.err
        record = cli.record()
        assert record.dataset.num_images == 15
        scores = pd.read_parquet(cli.results / record.artifacts.predictions)["score"].to_numpy()
        found[batch_size] = (record.run_key, scores)
    key, expected = found[15]
    for batch_size, (run_key, scores) in found.items():
        np.testing.assert_allclose(scores, expected, atol=1e-5, err_msg=f"batch_size={batch_size}")
        assert run_key == key


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_workers_give_the_same_features(cli, on_photos) -> None:
    assert on_photos("num_workers=2") == 0, cli.err
    scores = pd.read_parquet(cli.results / cli.record().artifacts.predictions)["score"].to_numpy()
    cli.results, cli.cache = cli.results.with_name("r"), cli.cache.with_name("c")
    assert on_photos("num_workers=0") == 0
    assert np.array_equal(pd.read_parquet(cli.results / cli.record().artifacts.predictions)["score"].to_numpy(), scores)


def test_fewer_than_five_classes_have_no_top5(cli, tiny: TinyModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "few", {"a": 2, "b": 1})
    assert cli("eval", "dataset=folder", f"dataset.path={root}", *tiny.overrides) == 0
    assert cli.record().metrics.top5 is None


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["mean_similarity", "max_similarity"])
def test_other_aggregations_are_other_questions_and_reproducible_from_their_artifact(
    cli, on_photos, aggregation: str
) -> None:
    prompts = ["prompts=templates", "prompts.templates=['a {}.','the {} in the wild, seen from far.','{}']"]
    assert on_photos(*prompts) == 0
    mean = cli.record()
    assert on_photos(*prompts, f"prompts.aggregation={aggregation}") == 0
    record = cli.record()
    assert record.run_key != mean.run_key
    assert record.prompts.aggregation == aggregation
    scores = pd.read_parquet(cli.results / record.artifacts.predictions)["score"].to_numpy()
    assert on_photos(*prompts, f"prompts.aggregation={aggregation}", "rerun=always") == 0
    again = pd.read_parquet(cli.results / cli.record().artifacts.predictions)["score"].to_numpy()
    assert np.array_equal(scores, again)


# Bad input ------------------------------------------------------------------------------------------------------


def test_broken_images_are_all_counted_and_can_be_left_out(cli, on_photos, photos: Path) -> None:
    (photos / "ant" / "text.jpg").write_text("a text file called .jpg")
    (photos / "bee" / "cut.jpg").write_bytes(encoded(50)[:-60])
    (photos / "cat" / "empty.png").write_bytes(b"")
    assert on_photos() == 2
    assert "3 of 18 images cannot be decoded, first: ant/text.jpg: cannot identify image file" in cli.err
    assert "dataset.skip_broken=true" in cli.err
    failed = next(iter(cli.records().values()))
    assert failed.status == "failed"
    assert "3 of 18" in failed.error
    assert on_photos("dataset.skip_broken=true") == 0
    assert "15 reused, 0 encoded" in cli.out
    record = cli.record()
    assert (record.dataset.num_images, record.dataset.num_broken) == (15, 3)
    frame = pd.read_parquet(cli.results / record.artifacts.predictions)
    assert len(frame) == 15
    assert "ant/text.jpg" not in set(frame["image_id"])
    assert frame["index"].max() == 17


def test_images_that_are_all_broken_are_an_error(cli, tiny: TinyModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.jpg").write_text(f"no image {name}")
    assert (
        cli("eval", "dataset=folder", f"dataset.path={tmp_path / 'set'}", "dataset.skip_broken=true", *tiny.overrides)
        == 2
    )
    assert "2 of 2 images cannot be decoded" in cli.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prompts=cupll"], "prompts=cupll is not an option of prompts. Did you mean 'cupl'"),
        (["datset=folder"], "datset is not a key of the configuration. Did you mean 'dataset'"),
        (
            ["prompts.temlates=[a]"],
            "prompts.temlates is not a key of the configuration. Did you mean 'prompts.templates'",
        ),
        (
            ["dataset.protocol=custom", "dataset=folder"],
            "dataset.protocol is not a key of the configuration. It is a key of dataset=aircraft, ",
        ),
        (["batch_size=0"], "batch_size=0 should be 1 or more"),
        (["batch_size=many"], "batch_size=many cannot be set: Value 'many'"),
        (["precision=fp64"], "expected one of [fp32, bf16, fp16]"),
        (["+foo=1"], "foo is not a key of the configuration"),
        (["prompts=[cupl"], "prompts=[cupl cannot be read."),
        (["dataset.path=my photos ü"], """into quotes for the shell: 'dataset.path="my photos ü"'"""),
        (["prompts.templates=[a photo of a {}.]"], """the shell: 'prompts.templates=["a photo of a {}."]'"""),
        (["prompts=simple,cupl"], "With -m each value becomes a question of its own."),
        (["nonsense"], "'nonsense' is neither key=value nor a flag"),
        (["rerun=never"], "rerun=never forbids running it"),
        (["prompts=ensemble"], "no hand-written templates of its own"),
        (["prompts=cupl"], "no descriptions of its own"),
        (["prompts=templates", "prompts.templates=[no braces]"], "1 of 1 templates lack the {}"),
        (["prompts=file", "prompts.path=nowhere.json"], "nowhere.json does not exist"),
        (["backbone.architecture=ViT-B-33"], "open_clip has no architecture 'ViT-B-33'. Did you mean 'ViT-B-32'"),
        (["backbone.pretrained=nowhere.safetensors"], "nowhere.safetensors is neither a file nor a tag"),
        (["dataset.path=nowhere"], "dataset.path=nowhere does not exist"),
        (["backbone.architecture=ViT-B-32", "backbone.pretrained=openai"], "accuracy would silently drop"),
    ],
)
def test_mistakes_end_with_one_message_and_code_2(cli, on_photos, arguments: list[str], message: str) -> None:
    assert on_photos(*arguments) == 2
    assert message in cli.err
    assert "Traceback" not in cli.err + cli.out
    assert len(cli.err.strip().splitlines()) == 1
    assert not list((cli.results / "records").glob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ('["a"]', "holds a list"),
        ('{"ant": ["x"]}', "4 of 5 classes have no prompts"),
        ('{"ant": [1], "bee": ["x"]}', "hold something that is not text"),
        ('{"ant": [], "bee": ["x"]}', "hold an empty list"),
    ],
)
def test_prompt_files_that_are_wrong(cli, on_photos, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.json").write_text(content)
    assert on_photos("prompts=file", f"prompts.path={tmp_path / 'p.json'}") == 2
    assert message in cli.err


@pytest.mark.slow
def test_ten_thousand_prompts_for_one_class_work(cli, on_photos, tmp_path: Path) -> None:
    rows = {name: [f"a {name}."] for name in ("bee", "cat", "dog", "eel")}
    rows["ant"] = [f"an ant number {i}." for i in range(10_000)]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    assert on_photos("prompts=file", f"prompts.path={tmp_path / 'p.json'}") == 0
    assert cli.record().prompts.num_prompts == 10_004


@pytest.mark.slow
def test_long_prompts_are_counted_and_told(cli, on_photos) -> None:
    long = "word " * 90
    assert on_photos("prompts=templates", f"prompts.templates=['{long}{{}}','a {{}}']") == 0
    assert cli.record().prompts.num_truncated == 5
    assert "5 of 10 prompts are longer than the context and were cut (50.0%)" in cli.err
    assert on_photos("prompts=templates", f"prompts.templates=['{long}{{}}','a {{}}']", "rerun=always") == 0
    assert cli.record().prompts.num_truncated == 5


def test_odd_names_pass_unchanged(cli, tiny: TinyModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "odd", {"{curly}": 1, "树蛙": 1, "a, b=c": 1, "ünï": 1, "$x": 1})
    assert cli("eval", "dataset=folder", f"dataset.path={root}", *tiny.overrides, "prompts=name_only") == 0, cli.err


def test_a_results_folder_that_cannot_be_written(cli, on_photos, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cli.results = tmp_path / "file" / "results"
    assert on_photos() == 2
    assert "cannot be written" in cli.err
    assert (tmp_path / "file").read_text() == ""


def test_folders_of_ours_among_the_classes_are_refused(cli, photos: Path) -> None:
    given = ["dataset=folder", f"dataset.path={photos}", f"cache_dir={photos / 'cache'}", f"results_dir={cli.results}"]
    assert cli.raw("eval", *given) == 2
    assert f"cache_dir={photos / 'cache'} lies among the class folders" in cli.err


def test_a_results_folder_that_cannot_be_made(cli) -> None:
    assert cli.raw("eval", "results_dir=/proc/none", f"cache_dir={cli.cache}", "prompts=simple") == 2
    assert "results_dir=/proc/none cannot be written (No such file or directory). Name another" in cli.err


def test_unknown_commands_and_help(cli, capsys: pytest.CaptureFixture[str]) -> None:
    from cupl_bench.__main__ import main

    assert main(["evla"]) == 2
    assert "Did you mean 'eval'" in capsys.readouterr().err
    assert main([]) == 0
    assert "\ncupl-bench classify " in capsys.readouterr().out
    assert main(["--version"]) == 0


def test_a_defect_is_not_called_the_users_mistake(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cupl_bench.run.scoring.measure", lambda _: 1 / 0)
    assert on_photos() == 1
    assert "ZeroDivisionError" in cli.err


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ([], ["experiment=demo"]),
        (["device=cpu", "rerun=always", "tracking.project=mine"], ["experiment=demo"]),
        (["device=cpu", "prompts=simple"], []),
        (["precision=bf16"], []),
        (["-m", "device=cpu"], []),
        (["--cfg", "job", "device=cpu"], []),
    ],
)
def test_where_to_answer_is_no_question_and_leaves_the_demo_as_it_is(given: list[str], prompts: list[str]) -> None:
    found = asked(split("eval", COMMANDS["eval"], given))
    overrides = [one for one in given if "=" in one]
    assert found.overrides == [*prompts, *overrides]
    assert found.given == (*prompts, *given)


# Stored things that rot -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 99}'])
def test_a_damaged_record_is_set_aside_and_made_again(cli, on_photos, content: str) -> None:
    assert on_photos() == 0
    first = cli.record()
    (cli.results / "records" / f"{first.run_key}.json").write_text(content)
    assert cli("report") == 2
    assert "is not a record of schema 1" in cli.err
    assert on_photos() == 0
    assert numbers(cli.record()) == numbers(first)


@pytest.mark.slow
def test_a_record_without_its_predictions_runs_again(cli, on_photos) -> None:
    assert on_photos() == 0
    first = cli.record()
    (cli.results / first.artifacts.predictions).unlink()
    assert on_photos() == 0
    assert (cli.results / first.artifacts.predictions).is_file()


# Sweeps, plan, report, classify ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_ends_with_one_table_and_one_line_for_each_failure(cli, on_photos, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"ant": ["x"]}')
    code = on_photos("-m", "prompts=simple,name_only,file", f"+prompts.path={tmp_path / 'p.json'}")
    assert code == 2  # simple has no such setting: two jobs fail
    code = on_photos("-m", "prompts=simple,name_only,ensemble")
    assert code == 2
    assert cli.out.count("Accuracy in percent") == 1
    assert "minus simple" in cli.out
    failures = [line for line in cli.err.splitlines() if "failed: " in line]
    assert len(failures) == 1
    assert "prompts=ensemble" in failures[0]
    assert "no hand-written templates" in failures[0]
    assert "1 of 3 jobs failed" in cli.err
    assert {name for name, record in cli.records().items() if record.status == "ok"} == {"simple", "name_only"}
    assert (cli.results / "tables" / "comparison.csv").is_file()


@pytest.mark.slow
def test_a_key_of_some_swept_options_goes_to_those_alone(
    cli, on_photos, tmp_path: Path, photos: Path, tiny: TinyModel
) -> None:
    names = sorted(folder.name for folder in photos.iterdir())
    file = tmp_path / "cupl.json"
    file.write_text(json.dumps({name: [f"a {name} is seen."] for name in names}))
    arguments = ["-m", "prompts=simple,file,templates", f"prompts.path={file}", 'prompts.templates=["the {}."]']
    of_photos = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("plan", *of_photos, *arguments) == 0, cli.err
    assert on_photos(*arguments) == 0, cli.err
    texts = {
        name: list(pd.read_parquet(cli.results / record.artifacts.prompts)["text"])
        for name, record in cli.records().items()
    }
    assert texts == {
        "simple": [f"a photo of a {name}." for name in names],
        "file": [f"a {name} is seen." for name in names],
        "templates": [f"the {name}." for name in names],
    }
    assert cli("status", *of_photos, *arguments) == 0, cli.err
    assert "3 questions: 3 done" in cli.out
    assert on_photos("-m", "prompts=simple,file", "prompts.pth=x") == 2
    assert "prompts.pth is not a key" in cli.err
    assert "prompts.path" in cli.err


@pytest.mark.slow
def test_a_tilde_after_a_key_is_the_home_folder(cli, photos: Path, tiny: TinyModel, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    given = ["dataset=folder", f"dataset.path=~/{photos.name}", *tiny.overrides]
    assert cli("eval", *given) == 0, cli.err
    assert cli("eval", "-m", *given, "prompts=simple,name_only") == 0, cli.err
    assert cli("plan", *given) == 0, cli.err


@pytest.mark.slow
def test_a_sweep_over_backbones_keeps_them_apart(cli, on_photos, tmp_path: Path) -> None:
    other = make_tiny(tmp_path / "other", seed=3)
    assert on_photos("-m", "prompts=simple,name_only") == 0, cli.err
    assert on_photos("-m", "prompts=simple,name_only", f"backbone.pretrained={other.weights}") == 0
    table = pd.read_csv(cli.results / "tables" / "comparison.csv")
    assert len(table) == 4
    assert table["difference"].notna().sum() == 2


@pytest.mark.slow
def test_plan_tells_and_leaves_nothing(cli, on_photos, photos: Path, tiny: TinyModel) -> None:
    arguments = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("plan", "-m", "prompts=simple,name_only", *arguments) == 0
    assert "<= 5" in cli.out
    assert not cli.results.exists()
    assert on_photos() == 0
    assert cli("plan", "-m", "prompts=simple,name_only", *arguments) == 0
    assert "finished" in cli.out
    assert cli("plan", "backbone=vit_b32_openai", *arguments[:2]) == 0
    assert "to download from hub:timm/vit_base_patch32_clip_224.openai" in cli.out
    assert cli("plan", *arguments, "prompts=ensemble") == 2


@pytest.mark.slow
def test_report_writes_tables_from_records_alone(cli, on_photos, photos: Path) -> None:
    assert on_photos("-m", "prompts=simple,name_only") == 0, cli.err
    shutil.rmtree(photos)
    shutil.rmtree(cli.cache)
    shutil.rmtree(cli.results / "tables")
    assert cli("report") == 0
    markdown = (cli.results / "tables" / "comparison.md").read_text()
    assert markdown.count("\n") == 4
    latex = (cli.results / "tables" / "comparison.tex").read_text()
    assert "\\toprule" in latex
    table = pd.read_csv(cli.results / "tables" / "comparison.csv")
    for row in table.to_dict("records"):
        record = read_record(cli.results / "records" / f"{row['run_key']}.json")
        assert row["top1"] == record.metrics.top1


@pytest.mark.slow
def test_report_refuses_to_mix_protocol_versions(cli, on_photos) -> None:
    assert on_photos("-m", "prompts=simple,name_only") == 0, cli.err
    path = next((cli.results / "records").glob("*.json"))
    path.write_text(path.read_text().replace('"protocol_version": 1', '"protocol_version": 2'))
    assert cli("report") == 2
    assert "mix protocol versions [1, 2]" in cli.err


def test_report_without_records(cli) -> None:
    assert cli("report") == 2
    assert "holds no record yet" in cli.err


def test_classify_gives_probabilities_and_the_prompts_that_decided(cli, tiny: TinyModel, photos: Path) -> None:
    image = str(photos / "ant" / "0.jpg")
    assert cli("classify", image, "class_names=[tree frog,tailed frog]", *tiny.overrides) == 0, cli.err
    shares = [float(line.split("%")[0]) for line in cli.out.splitlines() if "%" in line]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == sorted(shares, reverse=True)
    assert "a photo of a tree frog." in cli.out


def test_classify_takes_a_file_of_descriptions_and_several_images(
    cli, tiny: TinyModel, photos: Path, tmp_path: Path
) -> None:
    rows = {
        "tree frog": ["A tree frog is green.", "It has toes."],
        "tailed frog": ["A tailed frog is brown."],
        "newt": ["x"],
    }
    (tmp_path / "p.json").write_text(json.dumps(rows))
    images = [str(photos / "ant" / "0.jpg"), str(photos / "bee" / "1.jpg")]
    arguments = [
        "classify",
        *images,
        "class_names=[tree frog,tailed frog]",
        *tiny.overrides,
        "prompts=file",
        f"prompts.path={tmp_path / 'p.json'}",
    ]
    assert cli(*arguments) == 2
    assert "prompts.extra=ignore" in cli.err
    assert cli(*arguments, "prompts.extra=ignore") == 0
    assert cli.out.count("A tailed frog is brown.") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["class_names=[a,b]"], "classify needs an image"),
        (["nowhere.jpg", "class_names=[a,b]"], "nowhere.jpg cannot be read"),
        (["IMAGE"], "classify needs class names"),
        (["IMAGE", "class_names=[a]"], "leaves no choice; give two names"),
        (["TEXT", "class_names=[a,b]"], "cannot be decoded"),
    ],
)
def test_classify_refuses(
    cli, tiny: TinyModel, photos: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "text.jpg").write_text("text")
    places = {"IMAGE": str(photos / "ant" / "0.jpg"), "TEXT": str(tmp_path / "text.jpg")}
    assert cli("classify", *(places.get(one, one) for one in arguments), *tiny.overrides) == 2
    assert message in cli.err


# A user's own strategy ------------------------------------------------------------------------------------------


def test_a_strategy_is_one_class_and_one_file(
    cli, photos: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of docs/own/strategy.md, in a folder of configurations of its own."""
    page = (Path(__file__).parents[2] / "docs/own/strategy.md").read_text()
    code, settings = (page.split(f"```{kind}\n# my_")[1].split("```")[0] for kind in ("python", "yaml"))
    code, settings = f"# my_{code}", f"# my_{settings}"
    Path("my_prompts.py").write_text(code)
    Path("my_conf/prompts").mkdir(parents=True)
    Path("my_conf/prompts/coloured.yaml").write_text(settings)
    monkeypatch.syspath_prepend(".")
    arguments = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides]
    assert cli("eval", "--config-dir", "my_conf", "prompts=coloured", *arguments) == 0, cli.err
    record = cli.record()
    assert (record.prompts.name, record.prompts.num_prompts) == ("coloured", 15)
    assert cli("eval", "--config-dir", "my_conf", "prompts=coloured", "prompts.colours=3", *arguments) == 2
    assert "prompts.colours=3 is of the wrong type" in cli.err
