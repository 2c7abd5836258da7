"""`transformers` models, built small and saved in the layout of the hub."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from making import make_clip, picture, text_tower_alone
from safetensors.torch import load_file, save_file

from cupl_bench.backbone import Backbone, BackboneFacts, Precision
from cupl_bench.backbone.text import choose_text_encoder
from cupl_bench.backbone.transformers import TransformersSource
from cupl_bench.backbone.transformers_models import _features, _pillow_processor
from cupl_bench.errors import BackboneError

CPU = torch.device("cpu")
TEXTS = ["a photo of a tree frog.", "a photo of a cat.", "", "frog " * 100]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("hf_clip"))


@pytest.mark.slow
def test_clip_features_are_the_librarys_own(clip_folder: Path, tmp_path: Path) -> None:
    source = TransformersSource(path=str(clip_folder), revision=None)
    facts = source.identify(tmp_path, download=False)
    assert (facts.embed_dim, facts.activation, facts.image_size) == (24, "quick_gelu", (32, 32))
    ours = source.load(facts, CPU, "fp32")
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    tokens = ours.text.tokenize(TEXTS)
    assert tokens.truncated == (False, False, False, True)
    assert ours.text.note == "prefix tree"
    with torch.no_grad():
        rows = tokenizer(TEXTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        expected = _features(model.get_text_features(**rows))
        torch.testing.assert_close(ours.text.encode(tokens.sequences, 8), expected, atol=1e-5, rtol=1e-4)
        processor = _pillow_processor(clip_folder)
        images = [picture(i) for i in range(3)]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        assert torch.equal(torch.stack([ours.transform.floats(image) for image in images]), pixels)
        torch.testing.assert_close(ours.encode_images(pixels), _features(model.get_image_features(pixel_values=pixels)))
    assert ours.logit_bias is None


@pytest.mark.slow
def test_the_tokenizer_agrees_with_open_clips(clip_folder: Path, tmp_path: Path) -> None:
    import open_clip

    source = TransformersSource(path=str(clip_folder), revision=None)
    ours = source.load(source.identify(tmp_path, download=False), CPU, "fp32")
    for text, sequence in zip(TEXTS, ours.text.tokenize(TEXTS).sequences, strict=True):
        row = open_clip.SimpleTokenizer()([text])[0].tolist()
        assert list(sequence) == row[: row.index(49407) + 1]


def save_siglip(folder: Path) -> transformers.SiglipModel:
    from tokenizers import Tokenizer, models, pre_tokenizers

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config={**small, "vocab_size": 64, "max_position_embeddings": 16, "projection_size": 32},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.SiglipModel(config).eval()
    with torch.no_grad():
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "a", "photo", "of", "frog", "cat"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "SiglipImageProcessor",
                "size": {"height": 32, "width": 32},
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
            }
        )
    )
    return model


def test_siglip_is_padded_and_has_a_bias(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "siglip"
    model = save_siglip(folder)
    source = TransformersSource(path=str(folder), revision=None)
    ours = source.load(source.identify(tmp_path, download=False), CPU, "fp32")
    assert "keeps capitals, and SigLIP models were trained on lower case" in caplog.text
    texts = ["a photo of a frog", "cat", "a " * 40]
    tokens = ours.text.tokenize(texts)
    assert {len(row) for row in tokens.sequences} == {16}
    assert tokens.truncated == (False, False, True)
    assert ours.text.note == "padded rows"
    with torch.no_grad():
        expected = _features(model.get_text_features(input_ids=torch.tensor(tokens.sequences)))
    torch.testing.assert_close(ours.text.encode(tokens.sequences, 2), expected)
    assert ours.logit_bias == pytest.approx(-3.0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["CLIP", "SigLIP", "CLIP in several files", "CLIP, pickled"])
def test_the_text_tower_is_loaded_alone(
    clip_folder: Path,
    copy: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    precision: Precision,
) -> None:
    if kind == "SigLIP":
        shutil.rmtree(copy)
        save_siglip(copy)
    elif kind != "CLIP":
        weights = load_file(copy / "model.safetensors")
        (copy / "model.safetensors").unlink()
        if kind == "CLIP, pickled":
            torch.save(weights, copy / "pytorch_model.bin")
        else:
            transformers.CLIPModel.from_pretrained(clip_folder).save_pretrained(copy, max_shard_size="2MB")
    models = []

    def chosen(model: torch.nn.Module, *given: object, **options: object) -> object:
        models.append(model)
        return choose_text_encoder(model, *given, **options)

    monkeypatch.setattr("cupl_bench.backbone.transformers_models.choose_text_encoder", chosen)
    text_tower_alone(TransformersSource(path=str(copy), revision=None), tmp_path / "cache", precision)
    whole, tower = ({name.partition(".")[0] for name, _ in model.named_parameters()} for model in models)
    assert whole - tower == {"vision_model"} | ({"visual_projection"} if kind != "SigLIP" else set())
    assert "UNEXPECTED" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"text_projection.weight": None},
            "1 weights are missing or of another shape, first: 'text_projection.weight'",
        ),
        ({"vision_model.encoder.layers.1.mlp.fc1.bias": None}, "1 weights are missing.*'vision_model"),
        ({"vision_model.encoder.layers.2.mlp.fc1.bias": torch.ones(2)}, "1 weights have no place"),
        ({"text_model.lora_A.weight": torch.ones(2)}, "1 weights have no place.*lora_A.*merge_and_unload"),
        ({"text_model.final_layer_norm.bias": torch.ones(2)}, "cannot be loaded"),
    ],
)
def test_weights_that_do_not_fit_are_refused_for_texts_too(
    copy: Path, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    weights = {**load_file(copy / "model.safetensors"), **change}
    weights = {name: rows for name, rows in weights.items() if rows is not None}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=message):
        TransformersSource(path=str(copy), revision=None).load_text(identify(copy, tmp_path), CPU, "fp32")


def test_folders_that_are_no_model(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def identify(path: Path | str) -> object:
        return TransformersSource(path=str(path), revision=None).identify(tmp_path / "cache", download=True)

    (tmp_path / "empty").mkdir()
    with pytest.raises(BackboneError, match="config.json is missing or not JSON"):
        identify(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BackboneError, match="is a model of type 'bert'; those that work here: clip, siglip"):
        identify(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text((clip_folder / "config.json").read_text())
    with pytest.raises(BackboneError, match="holds no weights"):
        identify(tmp_path / "empty")
    with pytest.raises(BackboneError, match="neither a folder nor a hub id"):
        identify("/nowhere/at/all/x")


def test_missing_weights_are_an_error_and_never_random(clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    source = TransformersSource(path=str(folder), revision=None)
    with pytest.raises(
        BackboneError, match="1 weights are missing or of another shape, first: 'text_projection.weight'"
    ):
        source.load(source.identify(tmp_path / "cache", download=False), CPU, "fp32")


def identify(folder: Path, tmp_path: Path) -> BackboneFacts:
    return TransformersSource(path=str(folder), revision=None).identify(tmp_path / "cache", download=False)


def loaded(folder: Path, tmp_path: Path) -> Backbone:
    return TransformersSource(path=str(folder), revision=None).load(identify(folder, tmp_path), CPU, "fp32")


@pytest.mark.slow
def test_what_was_identified_before_needs_no_library(clip_folder: Path, tmp_path: Path) -> None:
    """Neither PyTorch nor transformers, each of which takes seconds to import."""
    facts = identify(clip_folder, tmp_path)
    program = (
        "import sys; from pathlib import Path; from cupl_bench.backbone.transformers import TransformersSource\n"
        "facts = TransformersSource(path=sys.argv[1], revision=None).identify(Path(sys.argv[2]), download=False)\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)\n"
        "print(facts)"
    )
    again = subprocess.run(
        [sys.executable, "-c", program, str(clip_folder), str(tmp_path / "cache")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert again.stdout == f"{facts}\n"


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"activation": "gelu"}'])
def test_what_is_remembered_of_the_towers_is_found_again_where_it_is_damaged(
    clip_folder: Path, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    facts = identify(clip_folder, tmp_path)
    (path,) = (tmp_path / "cache" / "towers").glob("*.json")
    path.write_text(content)
    assert identify(clip_folder, tmp_path) == facts
    assert "holds no settings of towers" in caplog.text
    assert (path.parent / "damaged" / path.name).read_text() == content
    assert json.loads(path.read_text())["image_size"] == 32


@pytest.mark.slow
def test_another_setting_of_a_tower_is_not_taken_from_what_is_remembered(copy: Path, tmp_path: Path) -> None:
    before = identify(copy, tmp_path)
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["image_size"] = 64
    (copy / "config.json").write_text(json.dumps(config))
    after = identify(copy, tmp_path)
    assert (before.image_size, after.image_size) == ((32, 32), (64, 64))


@pytest.fixture
def copy(clip_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip_folder, tmp_path / "copy"))


@pytest.mark.slow
def test_a_folder_that_transformers_5_saved_is_the_same_model(clip_folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    transformers.CLIPModel.from_pretrained(clip_folder).save_pretrained(saved)
    transformers.AutoProcessor.from_pretrained(clip_folder).save_pretrained(saved)
    if int(transformers.__version__.split(".")[0]) >= 5:
        assert not (saved / "preprocessor_config.json").exists()
    before, after = loaded(clip_folder, tmp_path), loaded(saved, tmp_path)
    assert after.text.tokenize(TEXTS) == before.text.tokenize(TEXTS)
    assert after.facts.tokenization == before.facts.tokenization
    pixels = after.transform.floats(picture(1))
    assert torch.equal(pixels, before.transform.floats(picture(1)))
    assert torch.equal(after.encode_images(pixels[None]), before.encode_images(pixels[None]))


@pytest.mark.slow
def test_another_tokenizer_is_another_tokenization(clip_folder: Path, copy: Path, tmp_path: Path) -> None:
    before = identify(clip_folder, tmp_path)
    assert before.tokenization is not None
    assert identify(copy, tmp_path).tokenizer == before.tokenizer
    head, *merges = (copy / "merges.txt").read_text().splitlines()
    (copy / "merges.txt").write_text("\n".join([head, *merges[::-1]]) + "\n")
    after = identify(copy, tmp_path)
    assert after.weights_sha256 == before.weights_sha256
    assert after.text_key("fp32") == before.text_key("fp32")
    assert after.tokenization != before.tokenization
    assert after.tokenizer != before.tokenizer


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_is_never_ignored(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).write_text("{}")
    with pytest.raises(BackboneError, match=f"holds an adapter \\('{name}'\\), which is not read.*merge_and_unload"):
        identify(copy, tmp_path)


def test_only_what_is_read_is_hashed(copy: Path, tmp_path: Path) -> None:
    before = identify(copy, tmp_path)
    for name in ("other.safetensors", "pytorch_model.bin", "optimizer.pt", "training_args.bin"):
        (copy / name).write_bytes(b"not read")
    assert identify(copy, tmp_path).weights_sha256 == before.weights_sha256
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(BackboneError, match="holds no weights.*There are 'optimizer.pt', 'other.safetensors'"):
        identify(copy, tmp_path)


@pytest.mark.slow
def test_weights_in_several_files_are_those_of_the_index(clip_folder: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    transformers.CLIPModel.from_pretrained(clip_folder).save_pretrained(copy, max_shard_size="2MB")
    parts = sorted(copy.glob("model-*.safetensors"))
    assert len(parts) > 1
    before = identify(copy, tmp_path)
    (copy / "model-of-another-time.safetensors").write_bytes(b"not read")
    assert identify(copy, tmp_path).weights_sha256 == before.weights_sha256
    pixels = loaded(clip_folder, tmp_path).transform.floats(picture(1))[None]
    expected = loaded(clip_folder, tmp_path).encode_images(pixels)
    assert torch.equal(loaded(copy, tmp_path).encode_images(pixels), expected)
    parts[-1].unlink()
    with pytest.raises(BackboneError, match=f"lacks 1 of {len(parts)} files of weights: '{parts[-1].name}'"):
        identify(copy, tmp_path)


@pytest.mark.slow
def test_weights_that_have_no_place_are_refused(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"] = torch.ones(2, 32)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match="1 weights have no place.*lora_A.*merge_and_unload"):
        loaded(copy, tmp_path)
    del weights["text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"]
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    loaded(copy, tmp_path)


def test_a_model_that_reads_images_in_their_own_proportions_is_refused(tmp_path: Path) -> None:
    transformers.Siglip2Config().save_pretrained(tmp_path / "naflex")
    with pytest.raises(BackboneError, match="NaFlex kind.*backbone=siglip2_b16"):
        identify(tmp_path / "naflex", tmp_path)


@pytest.mark.slow
def test_a_folder_that_changes_between_hash_and_load_is_refused(copy: Path, tmp_path: Path) -> None:
    source = TransformersSource(path=str(copy), revision=None)
    facts = source.identify(tmp_path, download=False)
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": "left"}))
    with pytest.raises(BackboneError, match="changed while the model was loaded"):
        source.load(facts, CPU, "fp32")
    facts = source.identify(tmp_path, download=False)
    weights = {name: rows + 1 for name, rows in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match="model.safetensors.* changed between hashing and loading"):
        source.load(facts, CPU, "fp32")
