"""Features of views are those of a loop that decodes and crops each view anew, and belong to one model and image."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from making import TinyModel, make_folder, make_tiny
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

from cupl_bench.backbone import identified_by, loaded_by
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.dataset import Dataset
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.features import encode_images
from cupl_bench.store import RowStore
from cupl_bench.stored_features import Views, missing_views
from cupl_bench.view_features import encode_views
from cupl_bench.views import ViewFamily, boxes_of

FAMILY = ViewFamily(count=5)


@pytest.fixture
def loaded(tiny: TinyModel, tmp_path: Path):
    source = OpenClipSource(architecture=str(tiny.config), pretrained=str(tiny.weights), transform_of=None)
    facts = identified_by(source, tmp_path, download=False)
    return loaded_by(source, facts, torch.device("cpu"), "fp32")


@pytest.fixture
def encode(loaded, tmp_path: Path) -> Callable[..., tuple[Views, int]]:
    def run(dataset: Dataset, family: ViewFamily = FAMILY, *, skip_broken: bool = False) -> tuple[Views, int]:
        settings = {"batch_size": 3, "num_workers": 0}
        images = encode_images(
            dataset, lambda: loaded, RowStore(tmp_path / "images", {}), skip_broken=skip_broken, **settings
        )
        return encode_views(family, dataset, images, lambda: loaded, RowStore(tmp_path / "views", {}), **settings)

    return run


def folder(path: Path) -> Dataset:
    return FolderSource(path=str(path), split="all", class_names=None)(path.parent / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["resized", "square"])
def test_features_are_those_of_a_loop_over_views(encode, loaded, photos: Path, shape: str) -> None:
    family = ViewFamily(count=5, shape=shape, scale=(0.5, 0.9))
    dataset = folder(photos)
    views, number = encode(dataset, family)
    assert number == 15 * 4
    height, width = loaded.facts.image_size
    for index in range(len(dataset.labels)):
        content = dataset.content(index)
        whole = Image.open(io.BytesIO(content)).convert("RGB")
        crops = [whole]
        for box in boxes_of(family, dataset.image_keys[index], whole.size):
            crop = functional.crop(
                Image.open(io.BytesIO(content)).convert("RGB"), box.top, box.left, box.height, box.width
            )
            if shape == "resized":
                crop = functional.resize(crop, [height, width], InterpolationMode.BILINEAR)
            crops.append(functional.hflip(crop) if box.flipped else crop)
        floats = torch.stack([loaded.transform.floats(crop) for crop in crops])
        features = loaded.encode_images(floats).numpy()
        wanted = features / np.linalg.norm(features, axis=1, keepdims=True)
        assert views[index : index + 1][0] == pytest.approx(wanted, abs=1e-5)


def test_parts_and_places_of_views_are_those_of_their_images(encode, photos: Path) -> None:
    views, _ = encode(folder(photos))
    every = views[:]
    assert every.shape == (15, 5, 32)
    assert len(np.unique(every.reshape(-1, 32), axis=0)) == 75
    assert np.array_equal(views[4:9], every[4:9])
    assert np.array_equal(views[np.array([7, 2])], every[[7, 2]])


def test_images_of_equal_content_are_cropped_once(encode, photos: Path) -> None:
    (photos / "bee/again.jpg").write_bytes((photos / "ant/0.jpg").read_bytes())
    dataset = folder(photos)
    views, number = encode(dataset)
    assert number == 15 * 4
    again, first = (list(dataset.image_ids).index(name) for name in ("bee/again.jpg", "ant/0.jpg"))
    assert np.array_equal(views[again : again + 1], views[first : first + 1])


def test_what_was_left_out_has_no_views_and_moves_no_other(encode, photos: Path) -> None:
    whole = encode(folder(photos))[0][:]
    (photos / "ant/00.jpg").write_bytes(b"no image")
    views, number = encode(folder(photos), skip_broken=True)
    assert number == 0
    assert np.array_equal(views[:], whole)


def test_only_views_that_are_new_are_missing(encode, photos: Path, tmp_path: Path) -> None:
    dataset = folder(photos)
    encode(dataset)
    store = RowStore(tmp_path / "views", {})
    assert missing_views(FAMILY, dataset.image_keys, store) == {}
    more = missing_views(ViewFamily(count=7), dataset.image_keys, store)
    assert more == {index: [5, 6] for index in range(15)}
    assert len(missing_views(ViewFamily(count=5, seed=1), dataset.image_keys, store)) == 15


@pytest.mark.slow
def test_views_of_one_model_are_never_read_for_another(cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "few", {"ant": 2, "bee": 2})
    asked = ["eval", "dataset=folder", f"dataset.path={photos}", "scorer=mta", "scorer.views=4"]
    for model in (tiny, make_tiny(tmp_path / "other", seed=1)):
        assert cli(*asked, *model.overrides) == 0, cli.err
        assert "views     4 of each image: 0 reused, 12 encoded" in cli.out
    assert cli(*asked, *tiny.overrides, "precision=bf16") == 0, cli.err
    assert "views     4 of each image: 0 reused, 12 encoded" in cli.out
