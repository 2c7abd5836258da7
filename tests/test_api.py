"""The program from Python: the same numbers, keys and files as from the shell, and nothing left behind."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from conftest import Cli
from making import TINY, picture
from PIL import Image

import cupl_bench
from cupl_bench.embeddings import Aggregation
from cupl_bench.prompts import Prompts

NAMES = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"results_dir": tmp_path / "results", "cache_dir": tmp_path / "cache"}


def pairs_of(photos: Path) -> list[tuple[Path, str]]:
    return [(path, path.parent.name) for path in sorted(photos.rglob("*.jpg"))]


def tiny_model(seed: int = 0) -> tuple[torch.nn.Module, Any, Any]:
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(**TINY)
    preprocess = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(size=32), is_train=False)
    return model, preprocess, open_clip.SimpleTokenizer()


@pytest.mark.slow
def test_the_public_names_are_exact_and_cheap_and_nothing_is_printed(photos: Path, places: dict[str, Any]) -> None:
    code = (
        "import sys, cupl_bench; assert 'torch' not in sys.modules and 'pandas' not in sys.modules;"
        "missing = [name for name in cupl_bench.__all__ if not hasattr(cupl_bench, name)]; assert not missing, missing;"
        "path, results, cache = sys.argv[1:];"
        "cupl_bench.evaluate(f'dataset.path={path}', dataset='folder', results_dir=results, cache_dir=cache)"
    )
    paths = [str(photos), str(places["results_dir"]), str(places["cache_dir"])]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((places["results_dir"] / "records").glob("*.json"))) == 1
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        getattr(cupl_bench, "evaluat")  # noqa: B009


@pytest.mark.slow
def test_the_same_question_is_one_question_from_both_doors(cli: Cli, photos: Path) -> None:
    assert cli("eval", "dataset=folder", f"dataset.path={photos}", "backbone=demo", "prompts=simple") == 0
    typed = cli.record()
    called = cupl_bench.evaluate(
        "dataset=folder", f"dataset.path={photos}", backbone="demo", prompts="simple",
        results_dir=cli.results, cache_dir=cli.cache,
    )  # fmt: skip
    assert called == typed


@pytest.mark.slow
def test_a_sweep_gives_its_records_in_order(photos: Path, places: dict[str, Any]) -> None:
    records = cupl_bench.sweep(
        f"dataset.path={photos}",
        dataset=["folder"],
        prompts=[["{}", "any {}"], ["a {}.", "the {}."]],
        seed=[0, 1],
        budget=1,
        **places,
    )
    assert [(one.prompts.seed, one.prompts.num_prompts) for one in records] == [(0, 5), (0, 5), (1, 5), (1, 5)]
    assert len({one.run_key for one in records}) == 4
    frame = cupl_bench.load_results(places["results_dir"])
    assert frame["run_key"].tolist() == [one.run_key for one in records]
    assert {"dataset", "backbone", "prompts", "scorer", "precision", "top1"} <= set(frame.columns)


@pytest.mark.slow
def test_a_sweep_answers_what_it_can_and_tells_the_rest(photos: Path, places: dict[str, Any]) -> None:
    with pytest.raises(cupl_bench.CuplBenchError, match=r"1 of 2 questions have no answer.*prompts=cupl"):
        cupl_bench.sweep(f"dataset.path={photos}", dataset=["folder"], prompts=["cupl", "simple"], **places)
    assert cupl_bench.load_results(places["results_dir"])["prompts"].tolist() == ["simple"]


@pytest.mark.slow
def test_things_in_memory_give_what_files_give(photos: Path, tmp_path: Path, places: dict[str, Any]) -> None:
    sentences = {name: [f"a {name} that runs.", f"some {name}"] for name in NAMES}
    (tmp_path / "file.json").write_text(json.dumps(sentences))
    by_file = cupl_bench.evaluate(
        f"dataset.path={photos}", f"prompts.path={tmp_path / 'file.json'}", dataset="folder", prompts="file", **places
    )
    by_map = cupl_bench.evaluate(dataset=pairs_of(photos), prompts=sentences, **places)
    by_function = cupl_bench.evaluate(
        dataset=pairs_of(photos), prompts=lambda names: [sentences[name] for name in names], **places
    )
    scores = [
        cupl_bench.load_predictions(places["results_dir"], one.run_key)["score"].to_numpy()
        for one in (by_file, by_map, by_function)
    ]
    assert by_file.prompts.digest == by_map.prompts.digest == by_function.prompts.digest
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


@pytest.mark.slow
def test_images_of_pillow_and_class_indices(photos: Path, places: dict[str, Any]) -> None:
    pairs = [(Image.open(path), NAMES.index(name)) for path, name in pairs_of(photos)]
    with pytest.raises(cupl_bench.CuplBenchError, match="give class_names"):
        cupl_bench.evaluate(dataset=pairs, **places)
    record = cupl_bench.evaluate(dataset=[(image, NAMES[label]) for image, label in pairs], **places)
    other = cupl_bench.evaluate(dataset=pairs_of(photos), **places)
    assert record.metrics is not None
    assert record.metrics == other.metrics


@pytest.mark.slow
def test_class_embeddings_are_those_of_open_clip(places: dict[str, Any]) -> None:
    model, preprocess, tokenizer = tiny_model()
    held = cupl_bench.class_embeddings(
        ["tree frog", "tailed frog"], backbone=cupl_bench.Model(model, preprocess, tokenizer, name="tiny"),
        prompts=["a photo of a {}.", "the {}."], **places,
    )  # fmt: skip
    reference = open_clip.build_zero_shot_classifier(
        model.eval(), tokenizer, ["tree frog", "tailed frog"], [lambda c: f"a photo of a {c}.", lambda c: f"the {c}."]
    )
    assert held.matrix.dtype == np.float32
    assert np.abs(held.matrix - reference.T.numpy()).max() < 1e-6
    assert held.class_names == ("tree frog", "tailed frog")
    assert held.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))


def test_encoded_images_are_those_of_open_clip(photos: Path, places: dict[str, Any]) -> None:
    model, preprocess, tokenizer = tiny_model()
    paths = [path for path, _ in pairs_of(photos)]
    rows = cupl_bench.encode_images(
        [paths[0], Image.open(paths[1]), paths[2].read_bytes(), paths[0]],
        backbone=cupl_bench.Model(model, preprocess, tokenizer, name="tiny"), **places,
    )  # fmt: skip
    batch = torch.stack([preprocess(Image.open(paths[i])) for i in (0, 1, 2, 0)])
    with torch.no_grad():
        reference = torch.nn.functional.normalize(model.eval().encode_image(batch), dim=-1).numpy()
    assert rows.shape == (4, 32)
    assert np.abs(rows - reference).max() < 1e-5


@pytest.mark.slow
def test_a_model_in_training_is_left_as_it_is(photos: Path, places: dict[str, Any]) -> None:
    model, preprocess, tokenizer = tiny_model()
    model.train()
    model.visual.eval()  # a frozen part
    loss = model.encode_text(tokenizer(["a frog"])).square().sum()
    loss.backward()
    modes = [part.training for part in model.modules()]
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    weights = {name: p.clone() for name, p in model.state_dict().items()}
    state = torch.random.get_rng_state()
    handlers, signals = list(logging.getLogger().handlers), signal.getsignal(signal.SIGINT)
    ours = cupl_bench.Model(model, preprocess, tokenizer, name="step 0")
    record = cupl_bench.evaluate(dataset=pairs_of(photos), backbone=ours, **places)
    assert [part.training for part in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    for name, p in model.named_parameters():
        assert (p.grad is None) == (gradients[name] is None)
        assert p.grad is None or torch.equal(p.grad, gradients[name])
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert logging.getLogger().handlers == handlers
    assert signal.getsignal(signal.SIGINT) is signals
    again = cupl_bench.evaluate(dataset=pairs_of(photos), backbone=ours, rerun="always", **places)
    assert again.timing is not None
    assert again.timing.image_features.cached
    assert again.timing.text_features.cached
    assert again.run_key == record.run_key
    model.encode_text(tokenizer(["a frog"])).square().sum().backward()  # nothing of it became an inference tensor


@pytest.mark.slow
def test_weights_that_moved_are_another_model(photos: Path, places: dict[str, Any]) -> None:
    model, preprocess, tokenizer = tiny_model()
    keys = set()
    for _ in range(2):
        ours = cupl_bench.Model(model, preprocess, tokenizer, name="now")
        keys.add(cupl_bench.evaluate(dataset=pairs_of(photos), backbone=ours, **places).run_key)
        with torch.no_grad():
            model.visual.conv1.weight += 0.1
    assert len(keys) == 2


@pytest.mark.slow
def test_models_that_cannot_be_used_are_refused(photos: Path, places: dict[str, Any]) -> None:
    model, preprocess, tokenizer = tiny_model()
    with pytest.raises(cupl_bench.CuplBenchError, match="has no encode_image"):
        cupl_bench.Model(torch.nn.Linear(2, 2), preprocess, tokenizer, name="linear")

    class Engine(torch.nn.Module):
        """Its weights lie elsewhere."""

        encode_image = encode_text = torch.nn.Module.forward

    with pytest.raises(cupl_bench.CuplBenchError, match=r"'engine' \(Engine\) has no parameters"):
        cupl_bench.Model(Engine(), preprocess, tokenizer, name="engine")

    def drawn(image: Image.Image) -> torch.Tensor:
        return preprocess(image) + torch.rand(1)

    with pytest.raises(cupl_bench.CuplBenchError, match="another result at each call"):
        cupl_bench.evaluate(
            dataset=pairs_of(photos), backbone=cupl_bench.Model(model, drawn, tokenizer, name="drawn"), **places
        )
    with pytest.raises(cupl_bench.CuplBenchError, match="precision=bf16"):
        cupl_bench.evaluate(
            dataset=pairs_of(photos), backbone=cupl_bench.Model(model, preprocess, tokenizer, name="a"),
            precision="bf16", **places,
        )  # fmt: skip


@pytest.mark.slow
def test_it_runs_in_threads_and_in_an_event_loop(photos: Path, places: dict[str, Any]) -> None:
    found: list[str] = []

    def ask(prompts: str) -> None:
        found.append(cupl_bench.evaluate(f"dataset.path={photos}", dataset="folder", prompts=prompts, **places).run_key)

    threads = [threading.Thread(target=ask, args=(prompts,)) for prompts in ("simple", "name_only", "simple")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 2

    async def inside() -> None:
        ask("simple")

    asyncio.run(inside())
    assert found[-1] in found[:3]


@pytest.mark.slow
def test_mistakes_have_the_words_of_the_command_line(cli: Cli, places: dict[str, Any]) -> None:
    for arguments, keys in (
        (["prompts.pth=x"], {"prompts": "file"}),
        (["dataset.path=nowhere"], {"dataset": "folder"}),
        ([], {"prompts": "cupll"}),
        ([], {"sede": 3}),
    ):
        typed = [*arguments, *(f"{key}={value}" for key, value in keys.items())]
        assert cli("eval", *typed) == 2
        with pytest.raises(cupl_bench.CuplBenchError) as caught:
            cupl_bench.evaluate(*arguments, **keys, results_dir=cli.results, cache_dir=cli.cache)
        assert str(caught.value) in cli.err


@pytest.mark.slow
def test_functions_that_give_too_little_are_refused(photos: Path, places: dict[str, Any]) -> None:
    for function, said in (
        (lambda names: [["one"]], "texts for 1 classes"),
        (lambda names: ["one"] * len(names), "return a list of texts"),
        (lambda names: [[]] * len(names), "have no prompt"),
    ):
        with pytest.raises(cupl_bench.CuplBenchError, match=said):
            cupl_bench.evaluate(dataset=pairs_of(photos), prompts=function, **places)

    def whole(names: list[str]) -> Prompts:
        return Prompts(texts=tuple((f"a {name}", name) for name in names), aggregation=Aggregation.MAX_SIMILARITY)

    record = cupl_bench.evaluate(dataset=pairs_of(photos), prompts=whole, **places)
    assert record.prompts.aggregation == "max_similarity"


@pytest.mark.slow
def test_results_as_frames(photos: Path, places: dict[str, Any]) -> None:
    records = cupl_bench.sweep(f"dataset.path={photos}", dataset=["folder"], prompts=["simple", "name_only"], **places)
    table = cupl_bench.compare(places["results_dir"])
    assert isinstance(table, pd.DataFrame)
    assert set(table["prompts"]) == {"simple", "name_only"}
    answers = cupl_bench.load_predictions(places["results_dir"], records[0].run_key)
    assert records[0].metrics is not None
    assert answers["correct"].mean() == pytest.approx(records[0].metrics.top1)
    (places["results_dir"] / f"predictions/{records[0].run_key}.parquet").write_bytes(b"")
    with pytest.raises(cupl_bench.CuplBenchError, match="is not what the run wrote"):
        cupl_bench.load_predictions(places["results_dir"], records[0].run_key)


def test_a_picture_in_any_mode_is_read_as_rgb(places: dict[str, Any]) -> None:
    plain, grey = picture(1), picture(1, mode="L")
    rows = cupl_bench.encode_images([plain, plain.convert("P"), grey, grey.convert("RGB")], **places)
    assert np.array_equal(rows[2], rows[3])
    assert not np.array_equal(rows[0], rows[2])
