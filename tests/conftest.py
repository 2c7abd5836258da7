"""What the tests share: tiny models with random weights, small data sets in their true layouts, a command line."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from safetensors.torch import save_file

from cupl_bench.__main__ import main
from cupl_bench.records import Record, read_record

settings.register_profile("cupl_bench", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("cupl_bench")

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
    import open_clip
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    config = {**TINY, **changes}
    model = CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "tiny.safetensors")
    assert open_clip.__version__
    return TinyModel(config=folder / "tiny.json", weights=folder / "tiny.safetensors")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five classes of three images."""
    return make_folder(tmp_path / "photos", dict.fromkeys(["ant", "bee", "cat", "dog", "eel"], 3))


@dataclass
class Cli:
    """The command line with a results folder and a cache of its own."""

    results: Path
    cache: Path
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *arguments: str) -> int:
        code = main([*arguments, f"results_dir={self.results}", f"cache_dir={self.cache}"])
        captured = self.capture.readouterr()
        self.out, self.err = captured.out, captured.err
        return code

    def record(self) -> Record:
        """The record that the last line names."""
        return read_record(Path(self.out.strip().splitlines()[-1].split(maxsplit=1)[1]))

    def records(self) -> dict[str, Record]:
        found = [read_record(path) for path in sorted((self.results / "records").glob("*.json"))]
        return {record.prompts.name: record for record in found}


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(results=tmp_path / "results", cache=tmp_path / "cache", capture=capsys)


@pytest.fixture
def on_photos(cli: Cli, photos: Path, tiny: TinyModel) -> Callable[..., int]:
    """`eval` on the five classes with the tiny model."""

    def run(*arguments: str) -> int:
        return cli("eval", "dataset=folder", f"dataset.path={photos}", *tiny.overrides, *arguments)

    return run
