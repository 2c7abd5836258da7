"""Things that tests make: tiny models with random weights, images, data sets in their true layouts."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

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
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    config = {**TINY, **changes}
    model = CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "tiny.safetensors")
    return TinyModel(config=folder / "tiny.json", weights=folder / "tiny.safetensors")


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
