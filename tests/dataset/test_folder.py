import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from making import encoded, make_folder

from cupl_bench.dataset import Dataset, digests
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.errors import DatasetError
from cupl_bench.identity import bytes_key


def load(root: Path, cache: Path, class_names: Path | None = None) -> Dataset:
    names = None if class_names is None else str(class_names)
    return FolderSource(path=str(root), split="all", class_names=names, limit=None, seed=0)(cache)


@pytest.mark.parametrize("folders", [("test", "train"), ("Train", "val", "Validation"), ("test",)])
def test_splits_are_no_classes(folders: tuple[str, ...], tmp_path: Path) -> None:
    for folder in folders:
        make_folder(tmp_path / "set" / folder, {"ant": 1, "bee": 1})
    with pytest.raises(DatasetError, match=r"these are names of splits.*dataset.path=FOLDER/test"):
        load(tmp_path / "set", tmp_path / "cache")


def test_a_class_may_be_called_as_a_split_is(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"car": 1, "train": 1})
    assert load(root, tmp_path / "cache").class_names == ("car", "train")


def test_a_limit_takes_so_many_of_each_class(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"ant": 5, "bee": 1, "cat": 3})
    whole = load(root, tmp_path / "cache")
    few = FolderSource(path=str(root), split="all", class_names=None, limit=2, seed=0)
    found = few(tmp_path / "cache")
    assert np.bincount(found.labels).tolist() == [2, 1, 2]
    assert found.split == "all, 2 per class (seed 0)"
    content = {name: whole.read(i) for i, name in enumerate(whole.image_ids)}
    assert [found.read(i) for i in range(5)] == [content[name] for name in found.image_ids]
    parts = [few.part(tmp_path / "cache", (number, 2)) for number in (1, 2)]
    assert [name for part in parts for name in part.image_ids] == list(found.image_ids)
    assert [part.num_whole for part in parts] == [5, 5]


def test_images_under_two_labels_are_counted(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"ant": 3, "bee": 2, "cat": 1})
    assert load(root, tmp_path / "cache").under_two_labels() is None
    for number in (0, 1):
        (root / "cat" / f"again_{number}.jpg").write_bytes((root / "ant" / f"{number}.jpg").read_bytes())
    (root / "bee" / "again.jpg").write_bytes((root / "ant" / "0.jpg").read_bytes())
    (root / "ant" / "twin.jpg").write_bytes((root / "ant" / "2.jpg").read_bytes())
    told = load(root, tmp_path / "cache").under_two_labels()
    assert told is not None
    assert told.startswith("2 images stand under more than one label")


def test_labels_are_those_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    root = make_folder(tmp_path / "set", {"b": 2, "a": 1, "B": 3, "10": 1, "9": 2})
    ours, theirs = load(root, tmp_path / "cache"), ImageFolder(str(root))
    assert list(ours.class_names) == theirs.classes
    assert ours.labels.tolist() == theirs.targets
    assert [str(root / name) for name in ours.image_ids] == [path for path, _ in theirs.samples]
    assert ours.read(3) == Path(theirs.samples[3][0]).read_bytes()


def test_a_map_gives_names_and_keeps_classes_without_images(tmp_path: Path) -> None:
    """A partial tree keeps its true labels: the label is the place of the folder among all, not among those here."""
    root = make_folder(tmp_path / "set", {"n3": 1, "n1": 2})
    (tmp_path / "names.json").write_text(json.dumps({"n2": "missile", "n3": "missile", "n1": "ant", "n4": "bee"}))
    found = load(root, tmp_path / "cache", tmp_path / "names.json")
    assert found.class_names == ("ant", "missile", "missile", "bee")
    assert found.labels.tolist() == [0, 0, 2]
    assert "2 of 4 classes have no image here" in found.notes


def test_a_list_gives_names_in_the_order_of_the_sorted_folders(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"y": 1, "x": 1})
    (tmp_path / "names.json").write_text('["树蛙", "it\'s {one}"]')
    assert load(root, tmp_path / "cache", tmp_path / "names.json").class_names == ("树蛙", "it's {one}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ('["a"]', "lists 1 class names, but .* holds 2 class folders"),
        ('{"x": "a"}', "1 of 2 class folders have no name in .*, first: 'y'.*Did you mean 'x'|1 of 2 class folders"),
        ('{"x": "a", "y": 3}', "1 of 2 class names are blank or not text, first: 3"),
        ('["a", " "]', "1 of 2 class names are blank"),
        ("[]", "is empty or of another kind"),
        ("{", "is not JSON"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, names: str, message: str) -> None:
    root = make_folder(tmp_path / "set", {"y": 1, "x": 1})
    (tmp_path / "names.json").write_text(names)
    with pytest.raises(DatasetError, match=message):
        load(root, tmp_path / "cache", tmp_path / "names.json")


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        load(tmp_path / "sett", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    with pytest.raises(DatasetError, match="holds no class folder"):
        load(tmp_path / "set", tmp_path / "cache")
    (tmp_path / "set" / "a.jpg").write_bytes(encoded(1))
    with pytest.raises(DatasetError, match="holds no class folder"):
        load(tmp_path / "set", tmp_path / "cache")
    make_folder(tmp_path / "set", {"one": 2})
    with pytest.raises(DatasetError, match="There is 1 class .*nothing to choose from"):
        load(tmp_path / "set", tmp_path / "cache")
    (tmp_path / "set" / "two").mkdir()
    (tmp_path / "set" / "two" / "notes.txt").write_text("")
    with pytest.raises(DatasetError, match="1 of 2 class folders .* hold no image, first: 'two'"):
        load(tmp_path / "set", tmp_path / "cache")


def test_nested_hidden_odd_and_foreign_files(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"a": 1, "b": 1})
    make_folder(root / "a", {"deep": 1})
    (root / "a" / ".hidden.jpg").write_bytes(b"")
    (root / "a" / "list.csv").write_text("")
    (root / "b" / "new\nline é.JPG").write_bytes(encoded(9))
    (root / "b" / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(encoded(10))
    found = load(root, tmp_path / "cache")
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    assert any("1 files are not images" in note for note in found.notes)
    json.dumps(list(found.image_ids))
    "".join(found.image_ids).encode("utf-8")


def test_the_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"a": 2, "b": 2})
    before = load(root, tmp_path / "cache")
    moved = shutil.copytree(root, tmp_path / "elsewhere" / "moved")
    for path in moved.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert load(moved, tmp_path / "cache2").fingerprint == before.fingerprint
    victim = moved / "a" / "0.jpg"
    content = bytearray(victim.read_bytes())
    content[-3] ^= 1
    victim.write_bytes(content)
    changed = load(moved, tmp_path / "cache2")
    assert changed.fingerprint != before.fingerprint
    assert sum(a != b for a, b in zip(changed.image_keys, before.image_keys, strict=True)) == 1


def test_a_renamed_class_is_another_fingerprint_but_the_same_images(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"a": 2, "b": 2})
    before = load(root, tmp_path / "cache")
    (root / "b").rename(root / "c")
    after = load(root, tmp_path / "cache")
    assert after.fingerprint != before.fingerprint
    assert list(after.image_keys) == list(before.image_keys)


def test_swapped_labels_are_another_fingerprint(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"a": 2, "b": 2})
    before = load(root, tmp_path / "cache")
    swapped = Dataset(
        split="all", class_names=before.class_names, labels=1 - before.labels, image_ids=before.image_ids,
        image_keys=before.image_keys, read=before.read,
    )  # fmt: skip
    assert swapped.fingerprint != before.fingerprint


def test_files_are_read_again_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(tmp_path / "set", {"a": 3, "b": 3})
    monkeypatch.setattr(digests, "FRESH_NS", 0)
    read: list[bytes] = []
    monkeypatch.setattr(digests, "bytes_key", lambda content: read.append(content) or content[:16].ljust(16, b"\0"))
    load(root, tmp_path / "cache")
    assert len(read) == 6
    load(root, tmp_path / "cache")
    assert len(read) == 6
    (root / "a" / "1.jpg").write_bytes(encoded(99))
    load(root, tmp_path / "cache")
    assert len(read) == 7


def test_a_file_that_just_changed_is_not_trusted(tmp_path: Path) -> None:
    """Two changes within one tick of the clock leave size and time alike."""
    root = make_folder(tmp_path / "set", {"a": 1, "b": 1})
    before = load(root, tmp_path / "cache")
    path = root / "a" / "0.jpg"
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load(root, tmp_path / "cache").fingerprint != before.fingerprint


def test_a_damaged_memo_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "FRESH_NS", 0)
    root = make_folder(tmp_path / "set", {"a": 1, "b": 1})
    before = load(root, tmp_path / "cache")
    memos = list((tmp_path / "cache" / "keys").glob("*/*.safetensors"))
    assert memos
    for memo in memos:
        memo.write_bytes(memo.read_bytes()[:-4])
    assert load(root, tmp_path / "cache").fingerprint == before.fingerprint


def test_jobs_that_read_parts_remember_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists the whole after them reads no file again; a part reads its own files alone."""
    root = make_folder(tmp_path / "set", {"a": 3, "b": 4})
    source = FolderSource(path=str(root), split="all", class_names=None, limit=None, seed=0)
    whole = source(tmp_path / "elsewhere")
    monkeypatch.setattr(digests, "FRESH_NS", 0)
    read: list[bytes] = []
    monkeypatch.setattr(digests, "bytes_key", lambda content: read.append(content) or bytes_key(content))
    parts = [source.part(tmp_path / "cache", (number, 3)) for number in (3, 1, 2)]
    assert [len(part.labels) for part in parts] == [3, 2, 2]
    assert len(read) == 7
    assert source(tmp_path / "cache").fingerprint == whole.fingerprint
    assert len(read) == 7
    for part, first in zip(parts, (4, 0, 2), strict=True):
        here = slice(first, first + len(part.labels))
        assert list(part.image_ids) == list(whole.image_ids[here])
        assert list(part.image_keys) == list(whole.image_keys[here])
        assert part.labels.tolist() == whole.labels[here].tolist()
        assert [part.read(i) for i in range(len(part.labels))] == [
            whole.read(first + i) for i in range(len(part.labels))
        ]
        assert part.num_whole == 7


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(DatasetError, match="1 of 2 images have a label outside 0 to 1, first: 'y' with -1"):
        Dataset(
            split="test", class_names=("a", "b"), labels=np.array([0, -1]), image_ids=["x", "y"],
            image_keys=[b"1" * 16, b"2" * 16], read=lambda _: b"",
        )  # fmt: skip
