"""What lies between a text and its ids is part of the question: keys, caches and records follow it."""

import gzip
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
from conftest import Cli
from making import TinyModel, make_folder, make_tiny

from cupl_bench.backbone import BackboneFacts
from cupl_bench.backbone import open_clip_parts as parts
from cupl_bench.backbone import tokenization as tokenizing
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.backbone.open_clip_tables import architectures, merges_file, model_config

SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def with_merges(model: TinyModel, folder: Path, *, backwards: bool) -> TinyModel:
    """The same weights, with merges of their own in a file beside them."""
    folder.mkdir()
    head, *merges = gzip.decompress(merges_file().read_bytes()).decode().rstrip("\n").split("\n")
    first = merges[:48894][::-1] if backwards else merges[:48894]
    (folder / "bpe.txt.gz").write_bytes(gzip.compress("\n".join([head, *first, *merges[48894:]]).encode()))
    config = json.loads(model.config.read_text())
    config["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": "bpe.txt.gz"}
    (folder / "tiny.json").write_text(json.dumps(config))
    shutil.copy(model.weights, folder / "tiny.safetensors")
    return TinyModel(config=folder / "tiny.json", weights=folder / "tiny.safetensors")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny(tmp_path_factory.mktemp("small"), **SMALL)


def facts_of(model: TinyModel, cache: Path) -> BackboneFacts:
    source = OpenClipSource(architecture=str(model.config), pretrained=str(model.weights), transform_of=None)
    return source.identify(cache, download=False)


def changed(model: TinyModel, folder: Path, **settings: object) -> TinyModel:
    config = json.loads(model.config.read_text())
    config["text_cfg"] |= settings
    folder.mkdir()
    (folder / "tiny.json").write_text(json.dumps(config))
    return TinyModel(config=folder / "tiny.json", weights=model.weights)


@pytest.mark.slow
def test_clips_own_tokenization_is_in_no_key_and_any_other_is(small: TinyModel, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    own = facts_of(small, cache)
    assert own.tokenization is None
    forwards = facts_of(with_merges(small, tmp_path / "forwards", backwards=False), cache)
    backwards = facts_of(with_merges(small, tmp_path / "backwards", backwards=True), cache)
    assert backwards.weights_sha256 == own.weights_sha256
    assert backwards.text_key("fp32") == forwards.text_key("fp32")
    assert backwards.tokenization is not None
    assert backwards.tokenization != forwards.tokenization
    assert len({own.tokenizer, forwards.tokenizer, backwards.tokenizer}) == 3
    cleaned = facts_of(changed(small, tmp_path / "cleaned", tokenizer_kwargs={"clean": "canonicalize"}), cache)
    keeping = facts_of(changed(small, tmp_path / "keeping", tokenizer_kwargs={"clean": "whitespace"}), cache)
    shorter = facts_of(changed(small, tmp_path / "shorter", context_length=10), cache)
    assert len({own.tokenization, cleaned.tokenization, keeping.tokenization}) == 3
    assert len({own.tokenizer, cleaned.tokenizer, keeping.tokenizer, shorter.tokenizer}) == 4
    assert shorter.text_key("fp32") != own.text_key("fp32")


def test_the_demos_tokenization_is_known(tmp_path: Path) -> None:
    assets = Path(tokenizing.__file__).parent / "assets" / "demo"
    source = OpenClipSource(architecture=str(assets), pretrained=None, transform_of=None)
    assert source.identify(tmp_path, download=False).tokenization is None


def test_a_library_that_cleans_in_another_way_is_another_tokenization(
    small: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache remembers what versions do; a new version is looked at anew."""
    import open_clip.tokenizer

    before = facts_of(small, tmp_path)
    real = tokenizing.versions
    monkeypatch.setattr("cupl_bench.backbone.open_clip_parts.versions", lambda *names: {**real(*names), "ftfy": "99"})
    same = facts_of(small, tmp_path)
    assert same.tokenization == before.tokenization
    assert same.tokenizer != before.tokenizer
    monkeypatch.setattr("cupl_bench.backbone.open_clip_parts.versions", lambda *names: {**real(*names), "ftfy": "100"})
    monkeypatch.setattr(open_clip.tokenizer.ftfy, "fix_text", lambda text: text)
    assert facts_of(small, tmp_path).tokenization not in (None, before.tokenization)


def test_a_tokenization_is_looked_at_once(small: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = facts_of(small, tmp_path)

    def no_tokenizer(*_: object) -> object:
        raise AssertionError("the tokenizer is built again")

    monkeypatch.setattr("cupl_bench.backbone.open_clip.open_clip_tokenizer", no_tokenizer)
    assert facts_of(small, tmp_path) == first
    (remembered,) = (tmp_path / "tokenizers").glob("*.json")
    remembered.write_text("{}")
    monkeypatch.undo()
    assert facts_of(small, tmp_path) == first
    assert (tmp_path / "tokenizers" / "damaged").is_dir()


@pytest.mark.slow
def test_two_tokenizers_of_the_same_weights_share_no_record_and_no_embedding(
    small: TinyModel, tmp_path: Path, cli: Cli
) -> None:
    photos = make_folder(tmp_path / "photos", dict.fromkeys(["tree frog", "sea lion"], 2))
    ask = ["eval", "dataset=folder", f"dataset.path={photos}", "prompts=simple"]
    models = {name: with_merges(small, tmp_path / name, backwards=name == "b") for name in "ab"}
    keys, alone, together = {}, {}, {}
    for name, model in models.items():
        assert (
            cli.raw(*ask, *model.overrides, f"results_dir={tmp_path}/alone", f"cache_dir={tmp_path}/{name}-cache") == 0
        )
        alone[name] = embeddings(tmp_path / "alone", cli.record().run_key)
        keys[name] = cli.record().run_key
        assert cli.record().backbone.tokenization is not None
    assert keys["a"] != keys["b"]
    for name, model in models.items():
        assert cli(*ask, *model.overrides) == 0
        together[name] = embeddings(cli.results, keys[name])
    for name in models:
        assert abs(together[name] - alone[name]).max() < 1e-6
    assert abs(alone["a"] - alone["b"]).max() > 1e-3


def embeddings(results: Path, key: str) -> Any:
    from safetensors.numpy import load_file

    return load_file(results / "class_embeddings" / f"{key}.safetensors")["class_embeddings"]


@pytest.mark.slow
def test_class_embeddings_of_before_are_not_read(small: TinyModel, tmp_path: Path, cli: Cli) -> None:
    """They were found by the weights and the texts alone, and may be those of another tokenizer."""
    from cupl_bench.identity import content_key
    from cupl_bench.store import read_arrays, write_arrays

    photos = make_folder(tmp_path / "photos", dict.fromkeys(["tree frog", "sea lion"], 2))
    ask = ["eval", "dataset=folder", f"dataset.path={photos}", "prompts=simple", *small.overrides]
    assert cli(*ask) == 0
    record = cli.record()
    (path,) = (cli.cache / "class_embeddings").glob("*.safetensors")
    arrays, facts = read_arrays(path)
    earlier = {"texts": facts_of(small, cli.cache).text_key("fp32"), "prompts": record.prompts.digest}
    path.unlink()
    wrong = {"class_embeddings": arrays["class_embeddings"][::-1].copy()}
    write_arrays(path.with_name(f"{content_key(earlier)[:32]}.safetensors"), wrong, facts)
    assert cli(*ask, "rerun=always") == 0
    assert cli.record().metrics == record.metrics
    assert abs(embeddings(cli.results, record.run_key) - arrays["class_embeddings"]).max() < 1e-6


@pytest.mark.slow
def test_a_record_of_before_is_not_trusted_where_the_merges_are_the_models_own(tmp_path: Path, cli: Cli) -> None:
    """Two models with the same weights and other merges had one key."""
    photos = make_folder(tmp_path / "photos", dict.fromkeys(["tree frog", "sea lion"], 2))
    ask = ["eval", "dataset=folder", f"dataset.path={photos}", "backbone=demo", "prompts=simple"]
    assert cli(*ask) == 0
    (path,) = (cli.results / "records").glob("*.json")
    content = json.loads(path.read_text())
    assert content["backbone"].pop("tokenization") is None
    path.write_text(json.dumps({**content, "metrics": {**content["metrics"], "top1": 0.123}}))
    assert cli(*ask) == 0
    assert cli.record().metrics.top1 == content["metrics"]["top1"]
    assert "tokenization" in json.loads(path.read_text())["backbone"]


@pytest.mark.parametrize("name", [name for name in architectures() if "siglip" in name.lower()])
def test_named_siglip_models_are_given_lower_case(name: str) -> None:
    config = model_config(name)
    assert config is not None
    # But for text towers of transformers, which are not SigLIP's: nllb-clip-base-siglip.
    of_transformers = "hf_model_name" in config["text_cfg"]
    assert of_transformers or config["text_cfg"]["tokenizer_kwargs"]["clean"] == "canonicalize"


def test_a_warning_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tokenizing.say_once("said once in this test")
        tokenizing.say_once("said once in this test")
    assert caplog.text.count("said once in this test") == 1


@pytest.mark.parametrize("context_length", [77, 20])
def test_the_tokenizer_that_open_clip_makes_on_import_is_taken(
    context_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*tokenizing.PROBES, "a photo of a unseenword."]
    fresh = open_clip.SimpleTokenizer(bpe_path=str(merges_file()), context_length=context_length)
    expected, ids = fresh(texts), [fresh.encode(text) for text in texts]
    made: list[object] = []
    build = open_clip.SimpleTokenizer.__init__
    monkeypatch.setattr(open_clip.SimpleTokenizer, "__init__", lambda *a, **b: made.append(a) or build(*a, **b))
    parts._of_own_merges.cache_clear()
    ours = parts.open_clip_tokenizer({"context_length": context_length}, merges_file())
    assert ours.context_length == context_length
    assert ours(texts).equal(expected)
    assert [ours.encode(text) for text in texts] == ids
    assert open_clip.tokenizer._tokenizer.context_length == 77
    assert made == []
    parts.open_clip_tokenizer({"context_length": 77, "tokenizer_kwargs": {"clean": "canonicalize"}}, merges_file())
    assert len(made) == 1
    parts._of_own_merges.cache_clear()
    monkeypatch.delattr(open_clip.tokenizer, "_tokenizer")
    assert parts.open_clip_tokenizer({"context_length": context_length}, merges_file())(texts).equal(expected)
    assert len(made) == 2
    parts._of_own_merges.cache_clear()


def test_the_library_that_reads_a_tokenizer_is_loaded_in_a_step_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[list[str]] = []
    monkeypatch.setattr(parts, "load_open_clip", lambda names: needed.append([*names]))
    monkeypatch.setattr("open_clip.tokenizer.HFTokenizer", lambda *_, **__: None)
    parts.open_clip_tokenizer({}, tmp_path)
    parts.open_clip_tokenizer({}, merges_file())
    assert needed == [["transformers"], []]
