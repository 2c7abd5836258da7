"""Checkpoints as trainers and wrappers leave them: the weights are read, or the refusal names what is there."""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from making import TinyModel, make_tiny, picture, text_tower_alone
from safetensors.torch import load_file, save_file

from cupl_bench.backbone import Backbone, BackboneFacts, Precision, text_loaded_by
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.backbone.text import choose_text_encoder
from cupl_bench.errors import BackboneError

CPU = torch.device("cpu")
Rows = dict[str, torch.Tensor]
SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny(tmp_path_factory.mktemp("small"), **SMALL)


@pytest.fixture(scope="module")
def rows(small: TinyModel) -> Rows:
    return load_file(small.weights)


def load(config: Path, weights: Path | None, cache: Path, key: str | None = None) -> Backbone:
    source = source_of(config, weights, key)
    return source.load(source.identify(cache, download=False), CPU, "fp32")


def source_of(config: Path, weights: Path | None, key: str | None = None) -> OpenClipSource:
    return OpenClipSource(
        architecture=str(config), pretrained=None if weights is None else str(weights), transform_of=None,
        state_dict_key=key,
    )  # fmt: skip


def answer(model: Backbone) -> torch.Tensor:
    """An image feature and a text feature."""
    image = model.encode_images(model.transform.floats(picture(1))[None])
    text = model.text.encode(model.text.tokenize(["a photo of a frog."]).sequences, 1)
    return torch.cat([image, text])


def other(rows: Rows) -> Rows:
    return {name: value + 0.01 for name, value in rows.items()}


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def under(prefix: str, rows: Mapping[str, torch.Tensor]) -> Rows:
    return {prefix + name: value for name, value in rows.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
READ: dict[str, Callable[[Rows], object]] = {
    "DataParallel": lambda rows: under("module.", rows),
    "torch.compile": lambda rows: under("_orig_mod.", rows),
    "compiled and parallel": lambda rows: under("module._orig_mod.", rows),
    "a compiled tower": lambda rows: {
        name.replace("visual.", "visual._orig_mod."): value for name, value in rows.items()
    },
    "state_dict": lambda rows: {
        "epoch": 3,
        "name": "run",
        "state_dict": under("module.", rows),
        "optimizer": OPTIMIZER,
    },
    "model": lambda rows: {"model": rows, "epoch": 3, "scaler": {"scale": 65536.0}},
    "model_state_dict": lambda rows: {"model_state_dict": rows, "optimizer_state_dict": OPTIMIZER, "loss": 0.1},
    "lightning": lambda rows: {"state_dict": under("model.", rows), "pytorch-lightning_version": "2.0"},
    "an EMA alone": lambda rows: {"ema": {"module": rows, "decay": 0.999}},
    "an EMA without names": lambda rows: {"model": rows, "ema": {"decay": 0.9, "shadow_params": list(rows.values())}},
    "half precision": lambda rows: {name: value.half() for name, value in rows.items()},
    "numbers of numpy and arguments": lambda rows: {
        "model": rows,
        "best": np.float64(0.5),
        "curve": np.arange(3),
        "args": argparse.Namespace(lr=0.1, name="run"),
    },
    "arrays of numpy": lambda rows: {name: value.numpy() for name, value in rows.items()},
    "OpenAI's numbers": lambda rows: {**rows, "input_resolution": torch.tensor(16), "vocab_size": torch.tensor(49408)},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", READ)
def test_weights_are_found_in_what_trainers_save(form: str, small: TinyModel, rows: Rows, tmp_path: Path) -> None:
    path = saved(READ[form](rows), tmp_path / "run.pt")
    found, expected = answer(load(small.config, path, tmp_path)), answer(load(small.config, small.weights, tmp_path))
    torch.testing.assert_close(found, expected, atol=2e-3 if "half" in form else 0, rtol=0)
    text_tower_alone(source_of(small.config, path), tmp_path, "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("keys", [("model", "ema"), ("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_of_two_sets_of_weights_one_is_chosen_by_its_key(
    keys: tuple[str, str], small: TinyModel, rows: Rows, tmp_path: Path
) -> None:
    path = saved({keys[0]: rows, keys[1]: {"module": other(rows)}, "optimizer": OPTIMIZER}, tmp_path / "run.pt")
    with pytest.raises(
        BackboneError, match=rf"2 sets .*{keys[0]}.*{keys[1]}\.module.*backbone.state_dict_key={keys[0]}"
    ):
        load(small.config, path, tmp_path)
    first, second = (load(small.config, path, tmp_path, key) for key in (keys[0], f"{keys[1]}.module"))
    assert torch.equal(answer(first), answer(load(small.config, small.weights, tmp_path)))
    assert not torch.equal(answer(first), answer(second))
    assert first.facts.image_key("fp32") != second.facts.image_key("fp32")
    assert first.facts.text_key("fp32") != second.facts.text_key("fp32")
    with pytest.raises(BackboneError, match=rf"no weights under backbone.state_dict_key=emma. It holds '{keys[0]}'"):
        load(small.config, path, tmp_path, "emma")


def lora(rows: Rows) -> Rows:
    name = "visual.transformer.resblocks.0.attn.out_proj"
    return {
        **{key.replace(name, f"{name}.base_layer"): value for key, value in rows.items()},
        f"{name}.lora_A.weight": torch.ones(2, 32),
        f"{name}.lora_B.weight": torch.ones(32, 2),
    }


REFUSED: dict[str, tuple[Callable[[Rows], object], str]] = {
    "a logit_bias": (lambda rows: {**rows, "logit_bias": torch.tensor(-10.0)}, "'logit_bias'.*init_logit_bias"),
    "LoRA layers": (lambda rows: under("base_model.model.", lora(rows)), "LoRA layers.*merge_and_unload"),
    "a lost parameter": (
        lambda rows: {"model": {name: value for name, value in rows.items() if name != "logit_scale"}, "epoch": 3},
        "are missing under 'model', first: 'logit_scale'.*Keys of the file: 'model', 'epoch'",
    ),
    "another vocabulary": (
        lambda rows: {**rows, "token_embedding.weight": rows["token_embedding.weight"][:100]},
        "token_embedding.weight",
    ),
    "another context": (
        lambda rows: {**rows, "positional_embedding": rows["positional_embedding"][:12]},
        'texts of 12 tokens.*built for 20.*"context_length": 12',
    ),
    "student and teacher": (
        lambda rows: {**under("student.", rows), **under("teacher.", other(rows))},
        "does not hold the weights.*'student.",
    ),
    "an optimizer alone": (
        lambda rows: {"optimizer": OPTIMIZER, "epoch": 1},
        "holds no weights. Its keys: 'optimizer'",
    ),
    "a list": (lambda rows: list(rows.values()), "holds no weights but an object of type list"),
    "one tensor": (lambda rows: rows["logit_scale"], "holds no weights but an object of type Tensor"),
    "objects of others": (lambda rows: {"model": rows, "path": Path("/x")}, "objects of pathlib.*torch.save"),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", REFUSED)
def test_what_does_not_fit_is_refused_by_its_names(form: str, small: TinyModel, rows: Rows, tmp_path: Path) -> None:
    make, message = REFUSED[form]
    path = saved(make(rows), tmp_path / "run.pt")
    with pytest.raises(BackboneError, match=f"(?s){message}") as of_the_whole:
        load(small.config, path, tmp_path)
    source = source_of(small.config, path)
    with pytest.raises(BackboneError) as of_the_texts:
        source.load_text(source.identify(tmp_path, download=False), CPU, "fp32")
    assert str(of_the_texts.value) == str(of_the_whole.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_refused_with_a_way_on(small: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(BackboneError, match="TorchScript archive, a program.*pretrained=openai.*torch.jit.load"):
        load(small.config, path, tmp_path)


def test_places_of_an_image_that_are_interpolated_are_said(
    small: TinyModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = tmp_path / "large.json"
    large.write_text(json.dumps({**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "image_size": 32}}))
    model = load(large, small.weights, tmp_path)
    assert model.facts.image_size == (32, 32)
    assert "initialized randomly" not in caplog.text
    assert "images of 5 places" in caplog.text
    assert "reads 17: they are interpolated" in caplog.text
    config = json.loads(large.read_text())
    name = "local-large-for-a-test"
    (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    theirs = open_clip.create_model(name, pretrained=str(small.weights)).eval()
    pixels = model.transform.floats(picture(1))[None]
    with torch.no_grad():
        torch.testing.assert_close(model.encode_images(pixels), theirs.encode_image(pixels))


def test_a_bias_of_the_models_own(tmp_path: Path) -> None:
    with_bias = make_tiny(tmp_path / "bias", **SMALL, init_logit_bias=-10.0)
    assert load(with_bias.config, with_bias.weights, tmp_path).logit_bias == -10.0
    weights = load_file(with_bias.weights)
    del weights["logit_bias"]
    save_file(weights, tmp_path / "without.safetensors")
    assert load(with_bias.config, tmp_path / "without.safetensors", tmp_path).logit_bias == 0.0


def save_config(folder: Path, config: Mapping[str, object], **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, **more}))
    return folder


def test_custom_text_towers(small: TinyModel, rows: Rows, tmp_path: Path) -> None:
    """Weights of before the text tower had a name of its own are read too, as open_clip does."""
    custom = tmp_path / "custom.json"
    custom.write_text(json.dumps({**SMALL, "custom_text": True}))
    expected = answer(load(small.config, small.weights, tmp_path))
    found = load(custom, small.weights, tmp_path)
    torch.testing.assert_close(answer(found), expected)
    names = {f"text.{name}" if not name.startswith(("visual", "logit")) else name: rows[name] for name in rows}
    weights = saved(names, tmp_path / "text.pt")
    torch.testing.assert_close(answer(load(custom, weights, tmp_path)), expected)
    with pytest.raises(BackboneError, match="does not hold the weights of tiny.json.*'text"):
        load(small.config, weights, tmp_path)


COCA: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {**SMALL["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**SMALL["text_cfg"], "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def save_model(folder: Path, kind: type[torch.nn.Module], config: Mapping[str, object]) -> torch.nn.Module:
    """A model of open_clip with random weights, in the hub's form."""
    torch.manual_seed(0)
    model = kind(**config).eval()
    save_config(folder, {**config, "custom_text": kind is not open_clip.CLIP})
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return model


def test_coca(tmp_path: Path) -> None:
    folder = tmp_path / "coca"
    theirs = save_model(folder, open_clip.coca_model.CoCa, COCA)
    ours = load(folder, None, tmp_path)
    assert ours.text.note == "padded rows"
    pixels = ours.transform.floats(picture(1))[None]
    tokens = open_clip.SimpleTokenizer(context_length=20)(["a photo of a frog."])
    with torch.no_grad():
        torch.testing.assert_close(ours.encode_images(pixels), theirs.encode_image(pixels))
        ids = ours.text.tokenize(["a photo of a frog."]).sequences
        assert ids == (tuple(tokens[0].tolist()),)
        torch.testing.assert_close(ours.text.encode(ids, 1), theirs.encode_text(tokens))


def hugging_face(folder: Path) -> Path:
    """An open_clip folder whose text tower and tokenizer are of transformers, all of it in the folder."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    tower = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    tower.save_pretrained(folder / "tower")
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "photo", "of", "frog", "A", "Frog"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    text = {"hf_model_name": "tower", "hf_tokenizer_name": "nobody/nothing", "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear", "context_length": 12}  # fmt: skip
    config = {"embed_dim": 16, "vision_cfg": SMALL["vision_cfg"], "text_cfg": text}
    save_config(folder, config)
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        embed_dim=16,
        vision_cfg=SMALL["vision_cfg"],
        text_cfg={**text, "hf_model_name": str(folder / "tower"), "hf_model_pretrained": False},
    )
    save_file(
        {name: rows.contiguous() for name, rows in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def test_text_towers_of_transformers(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "hf")
    ours = load(folder, None, tmp_path)
    assert ours.text.note == "padded rows"
    tokens = ours.text.tokenize(["a photo of a frog", "a frog"])
    assert [row[:5] for row in tokens.sequences] == [(2, 3, 4, 2, 5), (2, 5, 0, 0, 0)]
    assert ours.facts.tokenization is not None
    config = json.loads((folder / "tower" / "config.json").read_text())
    (folder / "tower" / "config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    assert load(folder, None, tmp_path).facts.text_key("fp32") != ours.facts.text_key("fp32")


SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10.0,
    "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"},
    "text_cfg": {
        **SMALL["text_cfg"], "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}  # fmt: skip
KINDS: dict[str, Callable[[Path], object]] = {
    "CLIP": lambda folder: save_model(folder, open_clip.CLIP, {**SMALL, "quick_gelu": True}),
    "ResNet": lambda folder: save_model(
        folder,
        open_clip.CLIP,
        {**SMALL, "embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}},
    ),
    "custom text": lambda folder: save_model(folder, open_clip.CustomTextCLIP, SMALL),
    "SigLIP": lambda folder: save_model(folder, open_clip.CustomTextCLIP, SIGLIP),
    "CLIP on timm": lambda folder: save_model(folder, open_clip.CLIP, {**SIGLIP, "text_cfg": SMALL["text_cfg"]}),
    "CoCa": lambda folder: save_model(folder, open_clip.coca_model.CoCa, COCA),
    "transformers": hugging_face,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "precision"),
    # In half precision open_clip computes neither CoCa nor towers of transformers.
    [(kind, "fp32") for kind in KINDS] + [(kind, "bf16") for kind in KINDS if kind not in ("CoCa", "transformers")],
)
def test_the_text_tower_is_loaded_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, precision: Precision
) -> None:
    KINDS[kind](tmp_path / "model")
    models = []

    def chosen(model: torch.nn.Module, *given: object, **options: object) -> object:
        models.append(model)
        return choose_text_encoder(model, *given, **options)

    monkeypatch.setattr("cupl_bench.backbone.open_clip_models.choose_text_encoder", chosen)
    text_tower_alone(source_of(tmp_path / "model", None), tmp_path / "cache", precision)
    whole, tower = (dict(model.named_parameters()) for model in models)
    assert tower.keys() == whole.keys()
    without = {name.partition(".")[0] for name, rows in tower.items() if rows.is_meta}
    assert without == {"visual"} | ({"text_decoder"} if kind == "CoCa" else set())
    assert all(rows.is_meta for name, rows in tower.items() if name.startswith("visual."))
    assert not any(rows.is_meta for rows in whole.values())


def test_a_model_that_cannot_be_divided_is_loaded_whole(
    small: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = open_clip.transformer.VisionTransformer.__init__

    def counting(self: torch.nn.Module, *given: object, **options: object) -> None:
        init(self, *given, **options)
        assert self.class_embedding.sum().item() is not None  # nothing of the meta device has a sum to look at

    monkeypatch.setattr(open_clip.transformer.VisionTransformer, "__init__", counting)
    text_tower_alone(source_of(small.config, small.weights), tmp_path, "fp32")


def test_a_subclass_that_changes_the_weights_is_asked_for_the_whole(small: TinyModel, tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Interpolated(OpenClipSource):
        def load(self, facts: BackboneFacts, device: torch.device, precision: Precision) -> Backbone:
            return replace(super().load(facts, device, precision), logit_scale=7.0)

    source = Interpolated(architecture=str(small.config), pretrained=str(small.weights), transform_of=None)
    assert text_loaded_by(source, source.identify(tmp_path, download=False), CPU, "fp32").logit_scale == 7.0


def test_code_of_a_tokenizer_is_never_run(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "hf")
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    save_config(folder, config)
    with pytest.raises(BackboneError, match="trust_remote_code"):
        load(folder, None, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["{}", "local-dir:{}"])
def test_folders_of_the_hubs_form(form: str, small: TinyModel, tmp_path: Path) -> None:
    folder = save_config(tmp_path / "mine", SMALL, preprocess_cfg={"mean": [0.5] * 3, "std": [0.5] * 3})
    with pytest.raises(BackboneError, match="holds no files of weights"):
        load(folder, None, tmp_path)
    shutil.copy(small.weights, folder / "open_clip_model.safetensors")
    source = OpenClipSource(architecture=form.format(folder), pretrained=None, transform_of=None)
    facts = source.identify(tmp_path, download=False)
    assert (facts.architecture, facts.pretrained) == ("mine", "open_clip_model.safetensors")
    assert facts.transform["mean"] == [0.5] * 3
    expected = load(folder / "open_clip_config.json", small.weights, tmp_path)
    assert expected.facts.image_key("fp32") == facts.image_key("fp32")
    assert torch.equal(answer(source.load(facts, CPU, "fp32")), answer(expected))
    assert torch.equal(answer(load(folder, folder, tmp_path)), answer(expected))


def test_folders_in_which_something_is_not_clear(small: TinyModel, tmp_path: Path) -> None:
    folder = save_config(tmp_path / "mine", SMALL)
    for name in ("epoch_1.pt", "epoch_2.pt"):
        saved({}, folder / name)
    with pytest.raises(BackboneError, match="2 files of weights.*'epoch_1.pt', 'epoch_2.pt'.*backbone.pretrained"):
        load(folder, None, tmp_path)
    shutil.copy(small.weights, folder / "open_clip_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BackboneError, match="holds an adapter.*merge_and_unload"):
        load(folder, None, tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    with pytest.raises(BackboneError, match="open_clip_config.json cannot be read.*backbone=transformers"):
        load(tmp_path / "theirs", None, tmp_path)
    with pytest.raises(BackboneError, match="backbone.pretrained= is neither a file nor a tag of ViT-B-32.*openai"):
        OpenClipSource(architecture="ViT-B-32", pretrained=None, transform_of=None).identify(tmp_path, download=False)


def test_weights_that_change_between_hash_and_load_are_refused(small: TinyModel, rows: Rows, tmp_path: Path) -> None:
    weights = Path(shutil.copy(small.weights, tmp_path / "mine.safetensors"))
    long_ago = time.time() - 1000
    os.utime(weights, (long_ago, long_ago))
    source = OpenClipSource(architecture=str(small.config), pretrained=str(weights), transform_of=None)
    facts = source.identify(tmp_path / "cache", download=False)
    source.load(facts, CPU, "fp32")
    save_file(other(rows), weights)
    os.utime(weights, (long_ago, long_ago))
    with pytest.raises(BackboneError, match="mine.safetensors.* changed between hashing and loading"):
        source.load(facts, CPU, "fp32")
