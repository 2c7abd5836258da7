import json
import os
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from making import TINY, TinyModel, make_tiny, picture
from safetensors.torch import load_file, save_file

from cupl_bench.backbone import BackboneFacts
from cupl_bench.backbone.open_clip import OpenClipSource, _quick_gelu_of_digests
from cupl_bench.errors import BackboneError

CPU = torch.device("cpu")


def source_of(tiny: TinyModel, **changes: str) -> OpenClipSource:
    given = {"architecture": str(tiny.config), "pretrained": str(tiny.weights)} | changes
    return OpenClipSource(transform_of=None, **given)


def facts_of(source: OpenClipSource, tmp_path: Path) -> BackboneFacts:
    return source.identify(tmp_path / "cache", download=True)


def test_features_are_the_models_own(tiny: TinyModel, tmp_path: Path) -> None:
    source = source_of(tiny)
    facts = facts_of(source, tmp_path)
    ours = source.load(facts, CPU, "fp32")
    theirs = open_clip.model.CLIP(**TINY).eval()
    theirs.load_state_dict(load_file(tiny.weights))
    texts = ["a photo of a tree frog.", "", "word " * 100, "ä & b"]
    tokens = ours.text.tokenize(texts)
    assert tokens.truncated == (False, False, True, False)
    with torch.no_grad():
        expected = theirs.encode_text(open_clip.SimpleTokenizer()(texts))
        pixels = torch.stack([ours.transform.floats(picture(i)) for i in range(3)])
        torch.testing.assert_close(ours.encode_images(pixels), theirs.encode_image(pixels))
    torch.testing.assert_close(ours.text.encode(tokens.sequences, 2), expected, atol=1e-5, rtol=1e-4)
    assert ours.text.note == "prefix tree"
    assert ours.logit_scale == pytest.approx(float(theirs.logit_scale.detach().exp()))


def test_loading_draws_no_random_number(tiny: TinyModel, tmp_path: Path) -> None:
    source = source_of(tiny)
    before = torch.get_rng_state()
    source.load(facts_of(source, tmp_path), CPU, "fp32")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_transform_is_open_clips(tiny: TinyModel, tmp_path: Path) -> None:
    source = source_of(tiny)
    preprocess = source.load(facts_of(source, tmp_path), CPU, "fp32").transform.floats
    for size in [(40, 36), (20, 300), (33, 32), (32, 32), (7, 5)]:
        image = picture(1, size)
        assert torch.equal(preprocess(image), open_clip.image_transform(32, is_train=False)(image))


@pytest.mark.parametrize("change", [{"quick_gelu": True}, {"embed_dim": 16}, {"init_logit_scale": 1.0}])
def test_another_architecture_is_another_key(tiny: TinyModel, tmp_path: Path, change: dict[str, object]) -> None:
    before = facts_of(source_of(tiny), tmp_path)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**TINY, **change}))
    after = facts_of(source_of(tiny, architecture=str(other)), tmp_path)
    assert before.image_key("fp32") != after.image_key("fp32")
    assert before.text_key("fp32") != after.text_key("fp32")


def test_keys_know_weights_precision_and_transform_but_no_path(tiny: TinyModel, tmp_path: Path) -> None:
    """Trap T22: caches that are keyed by a name read the features of another model."""
    before = facts_of(source_of(tiny), tmp_path)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(tiny.weights.read_bytes())
    assert facts_of(source_of(tiny, pretrained=str(moved)), tmp_path).image_key("fp32") == before.image_key("fp32")
    weights = load_file(tiny.weights)
    weights["logit_scale"] = weights["logit_scale"] + 1
    save_file(weights, moved)
    assert facts_of(source_of(tiny, pretrained=str(moved)), tmp_path).image_key("fp32") != before.image_key("fp32")
    assert before.image_key("fp32") != before.image_key("bf16") != before.text_key("bf16")
    squash = tmp_path / "squash.json"
    squash.write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {"resize_mode": "squash"}}))
    squashed = facts_of(source_of(tiny, architecture=str(squash)), tmp_path)
    assert squashed.image_key("fp32") != before.image_key("fp32")
    assert squashed.text_key("fp32") == before.text_key("fp32")


def test_weights_that_were_trained_with_another_activation_are_refused(tmp_path: Path) -> None:
    """Trap T1, before anything is downloaded."""
    for architecture, tag, mend in [
        ("ViT-B-32", "openai", "ViT-B-32-quickgelu"),
        ("ViT-B-32", "laion400m_e32", "ViT-B-32-quickgelu"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", None),
    ]:
        source = OpenClipSource(architecture=architecture, pretrained=tag, transform_of=None)
        if mend is None and tag not in open_clip.list_pretrained_tags_by_model(architecture):
            continue
        with pytest.raises(BackboneError, match=f"accuracy would silently drop. Take backbone.architecture={mend}"):
            source.identify(tmp_path, download=False)


def test_local_copies_of_published_weights_are_known_by_their_digest(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _quick_gelu_of_digests()
    assert known["40d36571"] is True  # OpenAI's ViT-B/32
    assert len(known) > 15
    source = source_of(tiny)
    facts = facts_of(source, tmp_path)
    monkeypatch.setattr(
        "cupl_bench.backbone.open_clip._quick_gelu_of_digests", lambda: {facts.weights_sha256[:8]: True}
    )
    with pytest.raises(BackboneError, match="known by its sha256.*trained with QuickGELU"):
        source.load(facts, CPU, "fp32")


def test_siglip_weights_from_a_file_keep_siglips_transform(tiny: TinyModel) -> None:
    """open_clip would give them OpenAI's mean and deviation."""
    source = source_of(tiny, architecture="ViT-B-16-SigLIP")
    transform = source._transform(*source._config(), source._tag())
    assert (transform["mean"], transform["resize_mode"]) == ([0.5, 0.5, 0.5], "squash")


def test_tags_that_differ_in_their_transform_can_be_chosen_from(
    tiny: TinyModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def facts(transform_of: str | None) -> BackboneFacts:
        source = OpenClipSource(architecture="ViT-L-14", pretrained=str(tiny.weights), transform_of=transform_of)
        return facts_of(source, tmp_path)

    assert facts(None).transform["mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert "differ in their image transform" in caplog.text
    assert facts("laion2b_s32b_b82k").transform["mean"] == [0.5, 0.5, 0.5]
    with pytest.raises(BackboneError, match="transform_of=openia is no tag of ViT-L-14. Did you mean 'openai'"):
        facts("openia")


def test_architectures_and_weights_that_are_not_there(tiny: TinyModel, tmp_path: Path) -> None:
    cases = {
        "open_clip has no architecture 'ViT-B-33'. Did you mean 'ViT-B-32'": {"architecture": "ViT-B-33"},
        "nowhere.json cannot be read": {"architecture": str(tmp_path / "nowhere.json")},
        "is neither a file nor a tag of ViT-B-32. Did you mean 'openai'": {
            "architecture": "ViT-B-32",
            "pretrained": "openia",
        },
        "nowhere.safetensors is neither a file nor a tag": {"pretrained": str(tmp_path / "nowhere.safetensors")},
    }
    for message, changes in cases.items():
        with pytest.raises(BackboneError, match=message):
            facts_of(source_of(tiny, **changes), tmp_path)
    (tmp_path / "wrong.json").write_text('{"embed_dim": 3}')
    with pytest.raises(BackboneError, match="is no open_clip config: it lacks 'vision_cfg', 'text_cfg'"):
        facts_of(source_of(tiny, architecture=str(tmp_path / "wrong.json")), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"", "holds no weights"),
        ("a.safetensors", b"<html>not found</html>", "holds no weights"),
        ("a.pt", b"<html>not found</html>", "holds no weights"),
        ("a.pt", b"", "holds no weights|cannot be loaded"),
    ],
)
def test_files_that_hold_no_weights(tiny: TinyModel, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    source = source_of(tiny, pretrained=str(path))
    with pytest.raises(BackboneError, match=message):
        source.load(facts_of(source, tmp_path), CPU, "fp32")


def test_weights_of_another_architecture_or_cut_short(tiny: TinyModel, tmp_path: Path) -> None:
    other = make_tiny(tmp_path / "other", embed_dim=16)
    source = source_of(tiny, pretrained=str(other.weights))
    with pytest.raises(BackboneError, match="does not hold the weights of tiny.json"):
        source.load(facts_of(source, tmp_path), CPU, "fp32")
    (tmp_path / "cut.safetensors").write_bytes(tiny.weights.read_bytes()[:-100])
    source = source_of(tiny, pretrained=str(tmp_path / "cut.safetensors"))
    with pytest.raises(BackboneError, match="holds no weights that can be read"):
        source.load(facts_of(source, tmp_path), CPU, "fp32")


def test_a_pickle_that_runs_code_is_never_run(tiny: TinyModel, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"state_dict": Touch()}, tmp_path / "evil.pt")
    source = source_of(tiny, pretrained=str(tmp_path / "evil.pt"))
    with pytest.raises(BackboneError):
        source.load(facts_of(source, tmp_path), CPU, "fp32")
    assert not (tmp_path / "ran").exists()


def test_pickled_tensors_are_read_with_weights_only(tiny: TinyModel, tmp_path: Path) -> None:
    torch.save(load_file(tiny.weights), tmp_path / "tiny.pt")
    source = source_of(tiny, pretrained=str(tmp_path / "tiny.pt"))
    loaded = source.load(facts_of(source, tmp_path), CPU, "fp32")
    reference = source_of(tiny)
    expected = reference.load(facts_of(reference, tmp_path), CPU, "fp32")
    pixels = loaded.transform.floats(picture(3))[None]
    assert torch.equal(loaded.encode_images(pixels), expected.encode_images(pixels))


def test_what_open_clip_warns_of_is_an_error(tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings as standard

    source = source_of(tiny)
    facts = facts_of(source, tmp_path)
    original = open_clip.create_model

    def warns(*arguments: object, **options: object) -> object:
        standard.warn_explicit("something does not fit", UserWarning, open_clip.factory.__file__, 1)
        return original(*arguments, **options)

    monkeypatch.setattr(open_clip, "create_model", warns)
    with pytest.raises(BackboneError, match="open_clip warns about tiny.json: something does not fit"):
        source.load(facts, CPU, "fp32")


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_encodes_near_full_precision(tiny: TinyModel, tmp_path: Path, precision: str) -> None:
    source = source_of(tiny)
    facts = facts_of(source, tmp_path)
    full, half = source.load(facts, CPU, "fp32"), source.load(facts, CPU, precision)
    pixels = full.transform.floats(picture(5))[None]
    left, right = (torch.nn.functional.normalize(model.encode_images(pixels).float()) for model in (full, half))
    assert 0 < float((left - right).abs().max()) < 0.05
    tokens = full.text.tokenize(["a photo of a cat."]).sequences
    left, right = (torch.nn.functional.normalize(model.text.encode(tokens, 1)) for model in (full, half))
    assert 0 < float((left - right).abs().max()) < 0.05
    assert np.isfinite(right.numpy()).all()
