"""Images as they lie on real disks: each is read as Pillow reads it, or counted and named as broken."""

import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from making import TinyModel, encoded, make_folder, picture
from PIL import Image

from cupl_bench.dataset.decode import decode
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.errors import BrokenImageError, DatasetError


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it is 60,000 x 60,000."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    data = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    frames = [picture(seed) for seed in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


SIXTEEN_BITS = Image.fromarray(np.arange(40 * 36, dtype=np.uint16).reshape(36, 40) * 45)

GOOD: dict[str, Callable[[], bytes]] = {
    "one pixel.png": lambda: saved(picture(1, (1, 1)), "PNG"),
    "one pixel.jpg": lambda: saved(picture(1, (1, 1)), "JPEG"),
    "wide.png": lambda: saved(picture(2, (30_000, 10)), "PNG"),
    "tall.jpg": lambda: saved(picture(3, (10, 30_000)), "JPEG"),
    "cmyk.jpg": lambda: saved(picture(4, mode="CMYK"), "JPEG"),
    "palette.png": lambda: saved(picture(5, mode="P"), "PNG"),
    "see-through palette.png": lambda: saved(picture(5, mode="P"), "PNG", transparency=3),
    "one bit.png": lambda: saved(picture(6, mode="1"), "PNG"),
    "grey with alpha.png": lambda: saved(picture(7, mode="LA"), "PNG"),
    "moving.gif": lambda: animated("GIF"),
    "moving.webp": lambda: animated("WEBP"),
    "moving.png": lambda: animated("PNG"),
    "wrong ending.png": lambda: encoded(8),
    "CAPITALS.JPG": lambda: encoded(9),
}
BROKEN: dict[str, Callable[[], bytes]] = {
    "sixteen bits.png": lambda: saved(SIXTEEN_BITS, "PNG"),
    "sixteen bits.tif": lambda: saved(SIXTEEN_BITS, "TIFF"),
    "empty.jpg": lambda: b"",
    "cut.jpg": lambda: encoded(50)[:-60],
    "cut.png": lambda: encoded(50, "PNG")[:-200],
    "bomb.png": bomb,
    "text.jpg": lambda: b"no image",
    "page.jpg": lambda: b"<html>404</html>",
    "header alone.jpg": lambda: encoded(50)[:20],
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_images_are_read_as_pillow_reads_them(name: str) -> None:
    content = GOOD[name]()
    found = decode(content)
    assert found.mode == "RGB"
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_is_broken_and_costs_no_memory(name: str) -> None:
    with pytest.raises(BrokenImageError, match=r".+"):
        decode(BROKEN[name]())


@pytest.mark.slow
def test_a_set_of_odd_images_end_to_end(cli, tiny: TinyModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "odd", {"ant": 1, "bee": 1})
    for name, make in {**GOOD, **BROKEN}.items():
        (root / "ant" / name).write_bytes(make())
    arguments = ["eval", "dataset=folder", f"dataset.path={root}", *tiny.overrides]
    assert cli(*arguments) == 2
    assert f"{len(BROKEN)} of {len(GOOD) + len(BROKEN) + 2} images cannot be decoded" in cli.err
    assert "dataset.skip_broken=true" in cli.err
    assert "Traceback" not in cli.err
    assert cli(*arguments, "dataset.skip_broken=true") == 0, cli.err
    assert cli.record().dataset.num_images == len(GOOD) + 2
    assert cli.record().dataset.num_broken == len(BROKEN)


def listing(root: Path, cache: Path):
    return FolderSource(path=str(root), split="all", class_names=None, limit=None, seed=0)(cache)


ODD_NAMES = [
    b"line\nbreak.jpg", b"\xff\xfe not utf-8.jpg", b"tab\there.jpg", "e\u0301.jpg".encode(), "\u00e9.jpg".encode(),
    b"'; DROP TABLE images; --.jpg", b"=cmd|' -C calc'!A0.jpg", b"\x1b[31mred.jpg", b"-rf.jpg", b" .jpg",
]  # fmt: skip


@pytest.mark.slow
def test_odd_file_names_end_to_end(cli, tiny: TinyModel, tmp_path: Path) -> None:
    import pandas as pd

    root = make_folder(tmp_path / "names", {"ant": 1, "bee": 1})
    for number, name in enumerate(ODD_NAMES):
        (Path(os.fsdecode(os.fsencode(root / "ant") + b"/" + name))).write_bytes(encoded(20 + number))
    odd_class = os.fsdecode(os.fsencode(root) + b"/caf\xe9")
    Path(odd_class).mkdir()
    (Path(odd_class) / "0.jpg").write_bytes(encoded(90))
    arguments = ["eval", "dataset=folder", f"dataset.path={root}", *tiny.overrides, "prompts=name_only"]
    assert cli(*arguments) == 2
    assert "1 of 3 class folders have names that are not UTF-8, first: b'caf\\xe9'" in cli.err
    (tmp_path / "names.json").write_text('["ant", "bee", "caf\u00e9"]')
    assert cli(*arguments, f"dataset.class_names={tmp_path / 'names.json'}") == 0, cli.err
    record = cli.record()
    assert record.dataset.num_images == len(ODD_NAMES) + 3
    ids = pd.read_parquet(cli.results / record.artifacts.predictions)["image_id"]
    assert ids.is_unique
    assert "ant/\\xff\\xfe not utf-8.jpg" in set(ids)
    assert cli("report") == 0, cli.err


def test_links_are_followed_to_images_and_a_circle_is_refused(tmp_path: Path) -> None:
    """Links out of the folder are how many people keep their sets; one that leads to itself is a mistake."""
    root = make_folder(tmp_path / "set", {"ant": 2, "bee": 1})
    outside = make_folder(tmp_path / "outside", {"cat": 3})
    (root / "cat").symlink_to(outside / "cat")
    (root / "ant" / "linked.jpg").symlink_to(outside / "cat" / "0.jpg")
    found = listing(root, tmp_path / "cache")
    assert found.labels.tolist() == [0, 0, 0, 1, 2, 2, 2]
    (root / "bee" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(DatasetError, match=r"1 of 8 .*gone\.jpg"):
        listing(root, tmp_path / "cache")
    (root / "bee" / "gone.jpg").unlink()
    (root / "bee" / "circle").symlink_to(root)
    with pytest.raises(DatasetError, match="leads back to"):
        listing(root, tmp_path / "cache")


def test_what_cannot_be_read_is_a_clear_refusal(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"ant": 1, "bee": 1})
    (root / "ant" / "folder.jpg").mkdir()
    (root / "ant" / "folder.jpg" / "inside.jpg").write_bytes(encoded(3))
    os.mkfifo(root / "bee" / "pipe.jpg")  # reading it would wait for ever
    with pytest.raises(DatasetError, match=r"1 of 4 .*pipe\.jpg"):
        listing(root, tmp_path / "cache")


def test_many_names_are_listed_in_time(tmp_path: Path) -> None:
    """scripts/faults does it with 100,000."""
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(1500):
            (tmp_path / "set" / name / f"{number}.jpg").write_bytes(b"%d" % number)
    began = time.process_time()
    assert len(listing(tmp_path / "set", tmp_path / "cache").labels) == 3000
    assert time.process_time() - began < 10
