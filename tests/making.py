"""Things that tests make: tiny models with random weights, images, data sets in their true layouts.

torch is imported where it is used: the process that hands out the tests imports this and needs none of it.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from cupl_bench.backbone import BackboneSource, Precision
    from cupl_bench.records import Record

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@dataclass(frozen=True)
class TinyModel:
    """An open_clip model on the disk: its config file and its weights."""

    config: Path
    weights: Path

    @property
    def overrides(self) -> list[str]:
        return [
            "backbone=open_clip",
            f"backbone.architecture={self.config}",
            f"backbone.pretrained={self.weights}",
        ]


def make_tiny(folder: Path, seed: int = 0, **changes: object) -> TinyModel:
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    config = {**TINY, **changes}
    model = CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "tiny.safetensors")
    return TinyModel(config=folder / "tiny.json", weights=folder / "tiny.safetensors")


def save_bpe(folder: Path) -> None:
    """The vocabulary and merges of CLIP's tokenizer, from open_clip's copy."""
    import open_clip

    tokenizer = open_clip.SimpleTokenizer()
    vocabulary = dict(tokenizer.encoder)
    vocabulary = {
        name.replace("<start_of_text>", "<|startoftext|>").replace("<end_of_text>", "<|endoftext|>"): i
        for name, i in vocabulary.items()
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.get)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")


def make_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP model of transformers with random weights, in the hub's form."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    save_bpe(folder)
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": 32},
                "crop_size": {"height": 32, "width": 32},
            }
        )
    )
    return folder


def text_tower_alone(source: "BackboneSource", cache_dir: Path, precision: "Precision") -> None:
    """Load the text tower of a model alone, and see that it is that of the whole model to the last bit."""
    import torch

    from cupl_bench.backbone import Backbone, text_loaded_by

    facts = source.identify(cache_dir, download=False)
    whole = source.load(facts, torch.device("cpu"), precision)
    tower = text_loaded_by(source, facts, torch.device("cpu"), precision)
    assert not isinstance(tower, Backbone)
    texts = ["a photo of a frog", "a photo of a tree frog.", "", "frog " * 100]
    assert tower.text.tokenize(texts) == whole.text.tokenize(texts)
    sequences = list(dict.fromkeys(whole.text.tokenize(texts).sequences))
    features = [model.text.encode(sequences, 2) for model in (tower, whole)]
    torch.testing.assert_close(*features, atol=0, rtol=0, equal_nan=True)  # a mean of no tokens is no number
    assert tower.text.note == whole.text.note
    assert (tower.facts, tower.logit_scale, tower.logit_bias) == (whole.facts, whole.logit_scale, whole.logit_bias)


def picture(seed: int, size: tuple[int, int] = (40, 36), mode: str = "RGB") -> Image.Image:
    """Coarse coloured noise, different for each seed."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(seed: int, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(seed, mode=str(options.pop("mode", "RGB"))).save(buffer, kind, **options)
    return buffer.getvalue()


def make_folder(root: Path, classes: dict[str, int], kind: str = "JPEG", ending: str = "jpg") -> Path:
    """One folder per class with so many images each."""
    seed = 0
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / name / f"{number}.{ending}").write_bytes(encoded(seed, kind))
            seed += 1
    return root


def make_run(results: Path, run_key: str, right: int = 3, **changes: object) -> "Record":
    """A finished run of 4 images, ``right`` of them classified right, with its files and its record."""
    import hashlib
    from datetime import UTC, datetime

    import pandas as pd

    from cupl_bench.intervals import wilson
    from cupl_bench.records import ARTIFACTS, Record, write_record

    prediction = [0] * right + [1] * (4 - right)
    frame = pd.DataFrame({"index": range(4), "label": [0] * 4, "prediction": prediction, "margin": [0.1] * 4})
    artifacts = {name: path.format(run_key) for name, path in ARTIFACTS.items()}
    contents = dict.fromkeys(artifacts, b"of " + run_key.encode()) | {"predictions": frame.to_parquet(index=False)}
    for name, path in artifacts.items():
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_bytes(contents[name])
    top1 = right / 4
    stage = {"seconds": 0.1, "cached": False}
    stages = ("load_backbone", "image_features", "text_features", "class_embeddings", "scores")
    record = Record.model_validate(
        {
            "protocol_version": 1, "run_key": run_key, "status": "ok", "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "dataset": {"name": "birds", "split": "test", "fingerprint": "f" * 64, "num_images": 4, "num_classes": 2},
            "backbone": {
                "name": "small", "architecture": "a", "pretrained": "p", "weights_sha256": "w" * 64,
                "activation": "gelu", "precision": "fp32", "embed_dim": 8, "image_size": (32, 32), "transform": {},
            },
            "prompts": {
                "name": "simple", "digest": run_key, "num_prompts": 2, "num_distinct": 2, "num_truncated": 0,
                "aggregation": "mean",
            },
            "metrics": {
                "top1": top1, "top1_ci95": wilson(right, 4), "mean_per_class": top1, "primary": top1,
                "primary_name": "top1",
            },
            "timing": {**dict.fromkeys(stages, stage), "total_seconds": 0.5},
            "environment": {"device": "cpu"},
            "artifacts": artifacts,
            "artifact_digests": {name: hashlib.sha256(contents[name]).hexdigest() for name in artifacts},
            **changes,
        }
    )  # fmt: skip
    write_record(results, record)
    return record
