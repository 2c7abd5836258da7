"""NLLB-CLIP: the token of a language before each text, its place in run keys, and what open_clip's own call does."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
from conftest import Cli
from making import make_folder
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file

from cupl_bench.backbone import BackboneFacts
from cupl_bench.backbone.nllb_clip import NllbClipSource
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.errors import BackboneError

VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with NLLB's kind of tokenizer, with all its languages and next to no words, and a small text tower."""
    place = tmp_path_factory.mktemp("nllb")
    words = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁", "a", "p", "h", "o", "t", "f"]
    tokenizer = transformers.NllbTokenizer(vocab={word: number for number, word in enumerate(words)})
    tokenizer.save_pretrained(place)
    transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        pad_token_id=1,
    ).save_pretrained(place / "tower")  # fmt: skip
    text = {"hf_model_name": "tower", "hf_tokenizer_name": "nobody/nothing", "hf_pooler_type": "cls_pooler",
            "hf_proj_type": "linear", "context_length": 12}  # fmt: skip
    config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        **{**config, "text_cfg": {**text, "hf_model_name": str(place / "tower"), "hf_model_pretrained": False}}
    )
    rows = {name: one.contiguous() for name, one in model.state_dict().items()}
    save_file(rows, place / "open_clip_model.safetensors")
    return place


def source(folder: Path, language: str) -> NllbClipSource:
    return NllbClipSource(architecture=str(folder), pretrained=None, transform_of=None, language=language)


def facts(folder: Path, language: str, cache: Path) -> BackboneFacts:
    return source(folder, language).identify(cache, download=False)


def test_the_token_of_the_language_stands_before_each_text(folder: Path, tmp_path: Path) -> None:
    codes = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    for language in ("eng_Latn", "jpn_Jpan"):
        ours = source(folder, language)
        tower = ours.load_text(ours.identify(tmp_path, download=False), torch.device("cpu"), "fp32")
        sequences = tower.text.tokenize(["a photo", "", "at hof at hof at hof at hof"]).sequences
        assert [row[0] for row in sequences] == [codes[language]] * 3


def test_open_clips_own_call_does_nothing(folder: Path) -> None:
    """Why it is not taken: its ids are English ones, whatever language it was told."""
    told = HFTokenizer(str(folder), context_length=12, language="jpn_Jpan")
    assert torch.equal(told(["a photo"]), HFTokenizer(str(folder), context_length=12)(["a photo"]))


def test_a_language_is_another_tokenization_of_the_same_weights(folder: Path, tmp_path: Path) -> None:
    english, japanese = (facts(folder, language, tmp_path) for language in ("eng_Latn", "jpn_Jpan"))
    plain = OpenClipSource(architecture=str(folder), pretrained=None, transform_of=None)
    told = plain.identify(tmp_path, download=False)
    assert english.weights_sha256 == japanese.weights_sha256 == told.weights_sha256
    assert english.tokenization == told.tokenization  # English is what the tokenizer is set to
    assert english.tokenization != japanese.tokenization
    assert english.text_key("fp32") != japanese.text_key("fp32")
    assert "tokenizer_kwargs" not in told.model["text_cfg"]


def test_a_language_without_a_token_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no token of the language 'jpn_Japn'; it knows 20., .*'jpn_Jpan'"):
        facts(folder, "jpn_Japn", tmp_path)


def test_two_languages_are_two_questions_on_images_that_are_encoded_once(
    folder: Path, cli: Cli, tmp_path: Path
) -> None:
    photos = make_folder(tmp_path / "photos", {"at": 2, "hof": 2})
    asked = ["dataset=folder", f"dataset.path={photos}", "prompts=simple", "backbone=nllb_clip_base"]
    model = [f"backbone.architecture={folder}", "backbone.pretrained=null"]
    assert cli("eval", *asked, *model) == 0, cli.err
    english = cli.record()
    assert cli("eval", *asked, *model, "backbone.language=jpn_Jpan") == 0, cli.err
    japanese = cli.record()
    assert english.run_key != japanese.run_key
    assert english.backbone.tokenization != japanese.backbone.tokenization
    assert japanese.config is not None
    assert japanese.config.backbone["language"] == "jpn_Jpan"
    assert english.backbone.weights_sha256 == japanese.backbone.weights_sha256
    assert cli("eval", *asked, *model, "backbone.language=japanese") == 2
    assert "no token of the language 'japanese'" in cli.err
