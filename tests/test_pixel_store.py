"""A sweep over backbones decodes once, and what it keeps is safe to damage, to kill and to delete."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import TINY, TinyModel, encoded, make_tiny

from cupl_bench import features
from cupl_bench.commands.eval import over_several_backbones
from cupl_bench.composition import read_questions
from cupl_bench.features import DecodedImages
from cupl_bench.pixel_store import PixelStore

KEYS = [bytes([number]) * 16 for number in range(6)]


@pytest.fixture
def sweep(cli, photos: Path, tiny: TinyModel, tmp_path: Path):
    """A sweep over two models that read the same pixels."""
    other = make_tiny(tmp_path / "other", seed=1)

    def run(*arguments: str) -> int:
        return cli(
            "eval", "-m", "dataset=folder", f"dataset.path={photos}", *tiny.overrides[:2],
            f"backbone.pretrained={tiny.weights},{other.weights}", *arguments,
        )  # fmt: skip

    return run


def scores(cli) -> dict[str, np.ndarray]:
    return {
        record.backbone.weights_sha256: pd.read_parquet(cli.results / record.artifacts.predictions)["score"].to_numpy()
        for record in (read(path) for path in sorted((cli.results / "records").glob("*.json")))
    }


def read(path: Path):
    from cupl_bench.records import read_record

    return read_record(path)


@pytest.mark.slow
def test_a_sweep_over_backbones_decodes_once(cli, sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep("cache_limit_gb=0") == 0, cli.err
    assert cli.out.count("not kept for the next backbone") == 2
    plain = scores(cli)
    assert not (cli.cache / "pixels").exists()
    cli.results, cli.cache = tmp_path / "r2", tmp_path / "c2"
    reads = []
    original = DecodedImages.__getitem__
    monkeypatch.setattr(DecodedImages, "__getitem__", lambda self, place: reads.append(place) or original(self, place))
    assert sweep() == 0, cli.err
    assert "0 read, 15 to decode" in cli.out
    assert "15 read, 0 to decode" in cli.out
    assert len(reads) == 15
    kept = scores(cli)
    assert kept.keys() == plain.keys()
    for digest in plain:
        np.testing.assert_allclose(kept[digest], plain[digest], atol=1e-6)


@pytest.mark.slow
def test_one_backbone_keeps_no_pixels(cli, on_photos) -> None:
    assert on_photos() == 0
    assert on_photos("-m", "prompts=simple,name_only") == 0
    assert not (cli.cache / "pixels").exists()


@pytest.mark.slow
def test_another_geometry_has_pixels_of_its_own(cli, photos: Path, tiny: TinyModel, tmp_path: Path) -> None:
    larger = make_tiny(tmp_path / "larger", vision_cfg={**TINY["vision_cfg"], "image_size": 40})
    given = [
        f"backbone.architecture={tiny.config},{larger.config}",
        f"backbone.pretrained={tiny.weights},{larger.weights}",
    ]
    assert cli("eval", "-m", "dataset=folder", f"dataset.path={photos}", "backbone=open_clip", *given) == 0, cli.err
    assert cli.out.count("0 read, 15 to decode") == 2
    assert cli.out.count("15 read, 0 to decode") == 2
    assert len(list((cli.cache / "pixels").iterdir())) == 2


@pytest.mark.slow
def test_damaged_pixels_are_decoded_again(cli, sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PIXEL_SHARD_BYTES", 5 * 3 * 32 * 32)
    assert sweep("batch_size=4") == 0, cli.err
    before = scores(cli)
    shards = sorted((cli.cache / "pixels").glob("*/*.safetensors"))
    assert len(shards) == 2
    flipped = bytearray(shards[0].read_bytes())
    flipped[-1] ^= 1
    shards[0].write_bytes(flipped)
    shards[1].write_bytes(shards[1].read_bytes()[:50])
    cli.results = tmp_path / "again"
    for folder in ("image_features",):
        (cli.cache / folder).rename(tmp_path / folder)
    assert sweep("batch_size=4") == 0, cli.err
    assert cli.err.count("damaged") >= 2
    assert "0 read, 15 to decode" in cli.out
    assert "15 read, 0 to decode" in cli.out
    for digest, values in scores(cli).items():
        np.testing.assert_allclose(values, before[digest], atol=1e-6)


@pytest.mark.slow
def test_broken_images_are_no_pixels(cli, sweep, photos: Path) -> None:
    (photos / "ant" / "bad.jpg").write_bytes(b"no image")
    (photos / "eel" / "cut.jpg").write_bytes(encoded(50)[:200])
    assert sweep("dataset.skip_broken=true") == 0, cli.err
    assert "15 read, 2 to decode" in cli.out
    assert {read(path).dataset.num_images for path in (cli.results / "records").glob("*.json")} == {15}


def test_each_image_comes_once_and_the_limit_holds(tmp_path: Path) -> None:
    rows = np.arange(6 * 12, dtype=np.uint8).reshape(6, 3, 2, 2)
    store = PixelStore(folder=tmp_path / "pixels" / "a", facts={}, limit_bytes=2000.0)
    store.write(KEYS[:3], rows[:3])
    store.write(KEYS[2:5], rows[2:5])
    found = {}
    for keys, pixels in store.stored([KEYS[4], KEYS[2], KEYS[0], KEYS[5]]):
        for key, row in zip(keys, pixels, strict=True):
            assert key not in found
            found[key] = row
    assert found.keys() == {KEYS[0], KEYS[2], KEYS[4]}
    for key, row in found.items():
        np.testing.assert_array_equal(row, rows[KEYS.index(key)])
    assert store.has_room(100)
    beside = PixelStore(folder=tmp_path / "pixels" / "b", facts={}, limit_bytes=2000.0)
    assert not beside.has_room(1900)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "several"),
    [
        (["backbone=demo,vit_b32_openai"], True), (["backbone=demo", "prompts=simple,cupl"], False),
        (["precision=fp32,bf16"], True), (["experiment=robustness"], True), (["backbone=glob(*)"], True),
        (["experiment=robustness", "backbone=demo"], False), (["backbone.transform_of=a,b"], True), ([], False),
    ],
)  # fmt: skip
def test_which_sweeps_read_images_more_than_once(overrides: list[str], several: bool) -> None:
    assert over_several_backbones(read_questions(overrides, several=True).all) == several
