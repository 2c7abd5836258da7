"""Compares class embeddings and predictions with CLIP_benchmark's, on your own photographs and prompts.

    python scripts/parity.py --photos DIR --names NAMES.json --prompts CUPL.json --weights FILE

DIR holds one folder of images per class; NAMES.json maps each folder to its class name. The 80 templates of ImageNet
and the sentences of CUPL.json are encoded by both. Where FILE does not exist, random weights are written to it: they
show that the two codes compute the same, not how well a model does. CLIP_benchmark pads every prompt to the whole
context, so a hundred classes take it about a quarter of an hour on one core.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from clip_benchmark.metrics import zeroshot_classification as reference
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from cupl_bench.__main__ import main as cupl_bench
from cupl_bench.records import read_records
from cupl_bench.store import read_arrays


def main() -> None:
    """Run both codes on the same input and print how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--photos", "--names", "--prompts", "--weights"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--architecture", default="ViT-B-32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.weights.is_file():
        torch.manual_seed(0)
        weights = open_clip.create_model(options.architecture).state_dict()
        save_file({name: value.contiguous() for name, value in weights.items()}, options.weights)
    images = ImageFolder(str(options.photos))
    all_names = json.loads(options.names.read_text("utf-8"))
    names = [all_names[folder] for folder in images.classes]
    sentences = json.loads(options.prompts.read_text("utf-8"))
    templates = [make("{c}") for make in open_clip.OPENAI_IMAGENET_TEMPLATES]
    model, _, preprocess = open_clip.create_model_and_transforms(options.architecture, pretrained=str(options.weights))
    model.eval()
    images.transform = preprocess
    loader = DataLoader(images, batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        for strategy, theirs, ours in (
            ("80 templates", templates, ["prompts=ensemble", "dataset.texts.templates=openai_imagenet_80"]),
            (
                options.prompts.name,
                {name: sentences[name] for name in names},
                ["prompts=file", f"prompts.path={options.prompts.resolve()}", "prompts.extra=ignore"],
            ),
        ):
            results = Path(folder, strategy)
            chosen = Path(folder, "names.json")
            chosen.write_text(json.dumps(dict(zip(images.classes, names, strict=True))))
            began = time.perf_counter()
            code = cupl_bench(
                [
                    "eval", "dataset=folder", f"dataset.path={options.photos}", f"dataset.class_names={chosen}",
                    "backbone=open_clip", f"backbone.architecture={options.architecture}",
                    f"backbone.pretrained={options.weights}", f"results_dir='{results}'", f"cache_dir={folder}/cache",
                    *ours,
                ]
            )  # fmt: skip
            if code != 0:
                raise SystemExit(code)
            seconds = time.perf_counter() - began
            record = read_records(results)[0]
            if record.artifacts is None:
                raise SystemExit("the run left no predictions")
            embeddings = read_arrays(results / record.artifacts.class_embeddings)[0]["class_embeddings"]
            predictions = pd.read_parquet(results / record.artifacts.predictions)["prediction"].to_numpy()
            began = time.perf_counter()
            tokenizer = open_clip.get_tokenizer(options.architecture)
            classifier = reference.zero_shot_classifier(model, tokenizer, names, theirs, "cpu", amp=False)
            logits, _ = reference.run_classification(model, classifier, loader, "cpu", amp=False)
            peer_seconds = time.perf_counter() - began
            difference = np.abs(embeddings - classifier.T.numpy()).max()
            equal = int((predictions == logits.argmax(1).numpy()).sum())
            print(
                f"{strategy}: {len(names)} classes, {record.prompts.num_prompts} prompts; class embeddings differ by at"
                f" most {difference:.1e}; {equal} of {len(predictions)} predictions equal;"
                f" {seconds:.0f} s against {peer_seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
