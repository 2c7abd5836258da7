import gc
import io
import tarfile
from pathlib import Path

import pytest
from making import encoded

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import decode
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.errors import DatasetError


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def sample(number: int, label: int, kind: str = "jpg") -> list[tuple[str, bytes]]:
    return [
        (f"s{number:07}.cls", str(label).encode()),
        (f"s{number:07}.{kind}", encoded(number, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[kind])),
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve shards in CLIP_benchmark's layout, with endings that are mixed across and inside shards."""
    for shard in range(12):
        kinds = ["jpg", "webp", "png"]
        members = [*sample(2 * shard, shard % 3, kinds[shard % 3]), *sample(2 * shard + 1, 0, kinds[(shard + 1) % 3])]
        write_tar(tmp_path / "set" / "test" / f"{shard}.tar", members)
    (tmp_path / "set" / "test" / "nshards.txt").write_text("12\n")
    (tmp_path / "set" / "classnames.txt").write_text("ant\nbee\ntree frog\n")
    return tmp_path / "set" / "test"


def load(path: Path | str, cache: Path, class_names: str | None = None) -> Dataset:
    return WebdatasetSource(path=str(path), split="test", class_names=class_names, limit=None, seed=0)(cache)


def test_every_image_once_in_the_order_of_the_shard_numbers(root: Path, tmp_path: Path) -> None:
    """String order would be 0, 1, 10, 11, 2; readers that go by the first ending lose the others silently."""
    found = load(root, tmp_path / "cache")
    assert list(found.image_ids) == [f"{number // 2}.tar/s{number:07}" for number in range(24)]
    assert found.labels[::2].tolist() == [shard % 3 for shard in range(12)]
    assert found.class_names == ("ant", "bee", "tree frog")
    assert all(decode(found.read(i)).size == (40, 36) for i in range(24))
    assert found.read(0) == encoded(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves its files open
def test_the_webdataset_library_reads_the_same(root: Path, tmp_path: Path) -> None:
    import webdataset

    theirs = webdataset.WebDataset([str(root / f"{i}.tar") for i in range(12)], shardshuffle=False, empty_check=False)
    expected = [
        (int(one["cls"]), next(content for ending, content in one.items() if ending in ("jpg", "png", "webp")))
        for one in theirs
    ]
    del theirs
    gc.collect()
    found = load(root, tmp_path / "cache")
    assert [(int(label), found.read(i)) for i, label in enumerate(found.labels)] == expected


def test_globs_and_braces_are_the_same(root: Path, tmp_path: Path) -> None:
    by_folder = load(root, tmp_path / "cache")
    assert load(f"{root}/*.tar", tmp_path / "cache").fingerprint == by_folder.fingerprint
    assert load(f"{root}/{{0..11}}.tar", tmp_path / "cache").fingerprint == by_folder.fingerprint


def test_an_incomplete_download_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="1 of 13 shards .* do not exist, first: '12.tar'"):
        load(f"{root}/{{0..12}}.tar", tmp_path / "cache")
    (root / "11.tar").unlink()
    with pytest.raises(DatasetError, match="says 12 shards, but 11 are here"):
        load(root, tmp_path / "cache")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", encoded(1))], "1 of 1 images .* have no .cls label, first: 'a'"),
        ([("a.cls", b"0"), ("b.cls", b"0"), ("b.jpg", encoded(1))], "1 of 2 labels .* have no image, first: 'a'"),
        ([("a.cls", b"cat"), ("a.jpg", encoded(1))], "the label of 'a' is b'cat'; it should be a whole number"),
        ([("a.cls", b"0"), ("a.jpg", encoded(1)), ("a.png", encoded(1, "PNG"))], "sample 'a' has two images"),
        (
            [("a.cls", b"0"), ("a.jpg", encoded(1)), ("a.jpg", encoded(2))],
            "holds 1 files more than once, first: 'a.jpg'",
        ),
        ([("a.cls", b"7"), ("a.jpg", encoded(1))], "1 of 1 images have a label outside 0 to 2"),
        ([("readme.txt", b"")], r"hold no image and no .cls label; they hold .txt \(1\)"),
    ],
)
def test_shards_that_are_wrong(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    write_tar(tmp_path / "set" / "0.tar", members)
    (tmp_path / "set" / "classnames.txt").write_text("a\nb\nc\n")
    with pytest.raises(DatasetError, match=message):
        load(tmp_path / "set", tmp_path / "cache")


def test_a_shard_that_is_cut_or_no_tar(root: Path, tmp_path: Path) -> None:
    content = (root / "3.tar").read_bytes()
    (root / "3.tar").write_bytes(content[: len(content) // 3])
    with pytest.raises(DatasetError, match="3.tar"):
        load(root, tmp_path / "cache")
    (root / "3.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(DatasetError, match="is not a whole, uncompressed tar"):
        load(root, tmp_path / "cache")


def test_no_shards_and_no_names(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leads to no .tar shard"):
        load(tmp_path / "nowhere", tmp_path / "cache")
    (root.parent / "classnames.txt").unlink()
    with pytest.raises(DatasetError, match="has no classnames.txt"):
        load(root, tmp_path / "cache")


def named_set(folder: Path, members: list[tuple[str, bytes]]) -> Path:
    write_tar(folder / "0.tar", members)
    (folder / "classnames.txt").write_text("a\nb\nc\n")
    return folder


def test_a_dot_in_a_name_loses_no_sample(tmp_path: Path) -> None:
    """webdataset ends a name at its first dot; exports of files called `crop_0.1.jpg` do not."""
    names = ["img_0", "crop_0.0", "crop_0.1", "v1.2/a.b.c"]
    members = [
        pair
        for label, name in enumerate(names)
        for pair in ((f"{name}.jpg", encoded(label)), (f"{name}.cls", str(label % 3).encode()))
    ]
    found = load(named_set(tmp_path / "set", members), tmp_path / "cache")
    assert list(found.image_ids) == [f"0.tar/{name}" for name in names]
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert [found.read(i) for i in range(4)] == [encoded(i) for i in range(4)]
    assert found.notes == ()


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    members = [
        *[("a.jpg", encoded(1)), ("a.cls", b"0"), ("a.json", b"{}"), ("a.seg.png", encoded(2, "PNG"))],
        *[("b.jpg", encoded(3)), ("b.cls", b"1"), ("b.json", b"{}"), ("._b.jpg", b"?"), ("README", b"?")],
    ]
    found = load(named_set(tmp_path / "set", members), tmp_path / "cache")
    assert found.labels.tolist() == [0, 1]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("5 members are neither images nor .cls labels of a sample")
    for kind in (".json (2)", "further images (1)", "hidden (1)", "without an ending (1)"):
        assert kind in found.notes[0]


def test_an_unlabelled_image_with_a_dot_is_counted_among_all(tmp_path: Path) -> None:
    members = [("a.jpg", encoded(1)), ("a.cls", b"0"), ("crop_0.1.jpg", encoded(2))]
    with pytest.raises(DatasetError, match=r"1 of 2 images .* have no .cls label, first: 'crop_0.1'"):
        load(named_set(tmp_path / "set", members), tmp_path / "cache")


def test_links_in_a_shard_are_refused(tmp_path: Path) -> None:
    root = named_set(tmp_path / "set", [("a.jpg", encoded(1)), ("a.cls", b"0")])
    with tarfile.open(root / "0.tar", "a") as archive:
        for name, target in (("b.jpg", "a.jpg"), ("b.cls", "a.cls")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            archive.addfile(link)
    with pytest.raises(DatasetError, match="holds 2 members that are links or devices, first: 'b.jpg'"):
        load(root, tmp_path / "cache")


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.zst"])
def test_compressed_shards_are_refused_and_counted(ending: str, root: Path, tmp_path: Path) -> None:
    (root / "11.tar").rename(root / f"11.{ending}")
    with pytest.raises(DatasetError, match=f"1 of 12 shards .* are compressed, first: '11.{ending}'.*gunzip"):
        load(root, tmp_path / "cache")


def test_the_root_of_an_export(root: Path, tmp_path: Path) -> None:
    inner = load(root, tmp_path / "cache")
    assert load(root.parent, tmp_path / "cache").fingerprint == inner.fingerprint
    write_tar(root.parent / "train" / "0.tar", sample(99, 2))
    assert load(root.parent, tmp_path / "cache").fingerprint == inner.fingerprint
    root.rename(root.with_name("validation"))
    with pytest.raises(
        DatasetError, match="holds shards of 'train', 'validation'; dataset.split=test is none of these"
    ):
        load(root.parent, tmp_path / "cache")
    found = WebdatasetSource(path=str(root.parent), split="val", class_names=None, limit=None, seed=0)
    assert found(tmp_path / "cache").labels.tolist() == inner.labels.tolist()


def test_shards_of_two_splits_in_one_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("pets-train-0.tar", "pets-train-1.tar", "pets-test-0.tar")):
        write_tar(tmp_path / "set" / name, sample(number, number))
    (tmp_path / "set" / "classnames.txt").write_text("a\nb\nc\n")
    with pytest.raises(DatasetError, match=r"shards of 2 splits: 'test' \(1\), 'train' \(2\)"):
        load(tmp_path / "set", tmp_path / "cache")
    assert load(f"{tmp_path}/set/*test*.tar", tmp_path / "cache").labels.tolist() == [2]


def test_a_blank_class_name_moves_no_other(tmp_path: Path) -> None:
    root = named_set(tmp_path / "set", [("a.jpg", encoded(1)), ("a.cls", b"2")])
    (root / "classnames.txt").write_text("a\n\nc\n\n")
    with pytest.raises(DatasetError, match="1 class names are blank, first: class 1"):
        load(root, tmp_path / "cache")


def test_a_limit_takes_so_many_of_each_class(root: Path, tmp_path: Path) -> None:
    found = WebdatasetSource(path=str(root), split="test", class_names=None, limit=3, seed=1)(tmp_path / "cache")
    assert sorted(found.labels.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.split == "test, 3 per class (seed 1)"
    whole = load(root, tmp_path / "cache")
    content = {name: whole.read(i) for i, name in enumerate(whole.image_ids)}
    assert [found.read(i) for i in range(9)] == [content[name] for name in found.image_ids]
