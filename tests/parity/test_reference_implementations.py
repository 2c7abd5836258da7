"""The same model, the same images, the same prompts: our class embeddings and predictions against the field's codes.

References: clip-benchmark's `zero_shot_classifier` and `run_classification` (for a list of templates and for a map of
per-class prompts), open_clip's `build_zero_shot_classifier`, transformers' `CLIPModel` (tests/backbone).
"""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification as reference
from making import TINY, TinyModel, encoded
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from cupl_bench.records import read_record
from cupl_bench.store import read_arrays

NAMES = ["tree frog", "missile", "crane", "sunglasses", "missile", "café {au} lait", "it's"]
"""Seven classes; a name stands twice, as in ImageNet."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """41 images, some of them grey: the last batch of ten holds one."""
    root = tmp_path_factory.mktemp("images")
    for number in range(41):
        folder = root / f"c{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:02}.jpg").write_bytes(encoded(number, mode="L" if number % 10 == 3 else "RGB"))
    return root


@pytest.fixture(scope="module")
def model(tiny: TinyModel) -> open_clip.model.CLIP:
    model = open_clip.model.CLIP(**TINY).eval()
    model.load_state_dict(load_file(tiny.weights))
    return model


@pytest.fixture(scope="module")
def sentences() -> dict[str, list[str]]:
    """Ragged: classes own one to seven sentences, repeats and odd ones among them."""
    generator = np.random.default_rng(0)
    words = ["large", "round", "eyes", "green", "a", "tail", "shiny", "metal", "&", "naïve", "with"]
    rows = {
        name: [f"A {name} has {' '.join(generator.choice(words, 4))}." for _ in range(1 + i)]
        for i, name in enumerate(dict.fromkeys(NAMES))
    }
    rows["missile"] *= 2
    rows["crane"].append(" .")
    return rows


def reference_answers(model: open_clip.model.CLIP, root: Path, templates: object) -> tuple[np.ndarray, np.ndarray]:
    """CLIP_benchmark's class embeddings (C x D) and predictions."""
    tokenizer = open_clip.SimpleTokenizer()
    classifier = reference.zero_shot_classifier(model, tokenizer, NAMES, templates, "cpu", amp=False)
    images = ImageFolder(str(root), transform=open_clip.image_transform(32, is_train=False))
    logits, _ = reference.run_classification(model, classifier, DataLoader(images, batch_size=10), "cpu", amp=False)
    return classifier.T.numpy(), logits.argmax(1).numpy()


def ours(on: object, root: Path, tiny: TinyModel, tmp_path: Path, *prompts: str) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    code = on(
        "eval", "dataset=folder", f"dataset.path={root}", f"dataset.class_names={tmp_path / 'names.json'}",
        "batch_size=10", *tiny.overrides, *prompts,
    )  # fmt: skip
    assert code == 0, on.err
    record = on.record()
    arrays, _ = read_arrays(on.results / record.artifacts.class_embeddings)
    frame = pd.read_parquet(on.results / record.artifacts.predictions)
    assert frame["index"].tolist() == list(range(41))
    assert frame["label"].tolist() == ImageFolder(str(root)).targets
    assert record.metrics.top1 == pytest.approx((frame["prediction"] == frame["label"]).mean())
    assert read_record(on.results / "records" / f"{record.run_key}.json") == record
    return arrays["class_embeddings"], frame["prediction"].to_numpy()


@pytest.mark.slow
def test_the_eighty_templates_equal_clip_benchmark(cli, root: Path, model, tiny: TinyModel, tmp_path: Path) -> None:
    templates = [make("{c}") for make in open_clip.OPENAI_IMAGENET_TEMPLATES]
    # CLIP_benchmark fills with str.format, which would trip over braces in a name; ours does not.
    expected, answers = reference_answers(model, root, templates)
    embeddings, predictions = ours(
        cli, root, tiny, tmp_path, "prompts=ensemble", "dataset.texts.templates=openai_imagenet_80"
    )
    assert np.abs(embeddings - expected).max() < 1e-5
    assert np.array_equal(predictions, answers)
    assert np.array_equal(embeddings[1], embeddings[4])
    assert not (predictions == 4).any()


@pytest.mark.slow
def test_per_class_sentences_equal_clip_benchmark(
    cli, root: Path, model, tiny: TinyModel, tmp_path: Path, sentences
) -> None:
    (tmp_path / "cupl.json").write_text(json.dumps(dict(sorted(sentences.items()))))
    expected, answers = reference_answers(model, root, sentences)
    embeddings, predictions = ours(cli, root, tiny, tmp_path, "prompts=file", f"prompts.path={tmp_path / 'cupl.json'}")
    assert np.abs(embeddings - expected).max() < 1e-5
    assert np.array_equal(predictions, answers)


@pytest.mark.slow
def test_prompts_of_two_classes_swapped_are_noticed(
    cli, root: Path, model, tiny: TinyModel, tmp_path: Path, sentences
) -> None:
    expected, _ = reference_answers(model, root, sentences)
    swapped = {**sentences, "crane": sentences["tree frog"], "tree frog": sentences["crane"]}
    (tmp_path / "cupl.json").write_text(json.dumps(swapped))
    embeddings, _ = ours(cli, root, tiny, tmp_path, "prompts=file", f"prompts.path={tmp_path / 'cupl.json'}")
    assert np.abs(embeddings - expected).max() > 1e-2


@pytest.mark.slow
def test_templates_and_sentences_in_one_mean_equal_cupls_both(
    cli, root: Path, model, tiny: TinyModel, tmp_path: Path, sentences
) -> None:
    (tmp_path / "cupl.json").write_text(json.dumps(sentences))
    both = {name: [*(f"{a} {name}." for a in ("a", "the")), *rows] for name, rows in sentences.items()}
    expected, answers = reference_answers(model, root, both)
    embeddings, predictions = ours(
        cli,
        root,
        tiny,
        tmp_path,
        "prompts=file",
        f"prompts.path={tmp_path / 'cupl.json'}",
        "prompts.templates=['a {}.','the {}.']",
    )
    assert np.abs(embeddings - expected).max() < 1e-5
    assert np.array_equal(predictions, answers)


def test_templates_equal_open_clip(cli, root: Path, model, tiny: TinyModel, tmp_path: Path) -> None:
    """open_clip's builder takes templates alone: it reshapes to classes x templates."""
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(
            model, open_clip.SimpleTokenizer(), NAMES, open_clip.SIMPLE_IMAGENET_TEMPLATES, num_classes_per_batch=3
        )
    embeddings, _ = ours(cli, root, tiny, tmp_path, "prompts=ensemble", "dataset.texts.templates=openai_imagenet_7")
    assert np.abs(embeddings - weights.T.numpy()).max() < 1e-5
