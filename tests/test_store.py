import json
import multiprocessing
import struct
from pathlib import Path

import numpy as np
import pytest

from cupl_bench.errors import ResultsError
from cupl_bench.identity import bytes_key
from cupl_bench.store import DamagedFileError, RowStore, read_arrays, remove, write_arrays, write_atomically


def keys(*names: str) -> list[bytes]:
    return [bytes_key(name.encode()) for name in names]


def rows(*values: float) -> np.ndarray:
    return np.array([[value, -value] for value in values], dtype=np.float32)


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = RowStore(folder=tmp_path, facts={})
    store.write(keys("a", "b"), rows(1, 2))
    store.write(keys("c"), rows(3))
    fresh = RowStore(folder=tmp_path, facts={})
    assert fresh.present(keys("c", "x", "a")).tolist() == [True, False, True]
    assert fresh.read(keys("c", "a", "c")).tolist() == [[3, -3], [1, -1], [3, -3]]


def test_a_reader_sees_what_another_writer_adds(tmp_path: Path) -> None:
    reader, writer = RowStore(folder=tmp_path, facts={}), RowStore(folder=tmp_path, facts={})
    assert not reader.present(keys("a")).any()
    writer.write(keys("a"), rows(1))
    assert reader.present(keys("a")).all()


def test_nan_is_never_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 of 2 feature rows hold NaN"):
        RowStore(folder=tmp_path, facts={}).write(keys("a", "b"), rows(1, float("nan")))
    assert not list(tmp_path.iterdir())


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: flip(content, len(content) - 1),
        lambda content: flip(content, len(content) // 2),
        lambda content: content[:-3],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: struct.pack("<Q", 2**40) + content[8:],
        lambda content: b"not safetensors at all, but long enough to be looked at",
    ],
)
def test_a_damaged_shard_is_named_set_aside_and_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage
) -> None:
    store = RowStore(folder=tmp_path, facts={})
    store.write(keys("a", "b"), rows(1, 2))
    store.write(keys("c"), rows(3))
    name = next(store.shard_names())
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    fresh = RowStore(folder=tmp_path, facts={})
    present = fresh.present(keys("a", "b", "c"))
    assert present.sum() in (1, 2)
    assert name in caplog.text
    assert (tmp_path / "damaged" / name).is_file()
    fresh.write(
        [key for key, here in zip(keys("a", "b", "c"), present, strict=True) if not here],
        rows(*[9] * int((~present).sum())),
    )
    assert RowStore(folder=tmp_path, facts={}).present(keys("a", "b", "c")).all()


def test_shapes_and_names_are_part_of_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"x": np.arange(6, dtype=np.int64).reshape(2, 3)}, {"why": "ü"})
    arrays, facts = read_arrays(path)
    assert (arrays["x"].shape, facts) == ((2, 3), {"why": "ü"})
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert header["x"]["shape"] == [2, 3]
    path.write_bytes(content.replace(b'"shape":[2,3]', b'"shape":[3,2]'))
    with pytest.raises(DamagedFileError, match="does not hold the content"):
        read_arrays(path)


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def write_many(folder: str, first: int) -> None:
    store = RowStore(folder=Path(folder), facts={})
    for number in range(first, first + 20):
        store.present(keys("0"))
        store.write(keys(str(number)), rows(number))


@pytest.mark.slow
def test_two_processes_on_one_store_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(str(tmp_path), first)) for first in (0, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = RowStore(folder=tmp_path, facts={})
    names = [str(number) for number in range(30)]
    assert store.present(keys(*names)).all()
    assert store.read(keys(*names))[:, 0].tolist() == list(range(30))
    assert not list(tmp_path.glob("*.tmp"))


def test_found_rows_are_read_part_by_part_and_live_on_the_disk(tmp_path: Path) -> None:
    store = RowStore(folder=tmp_path, facts={})
    store.write(keys("a", "b"), rows(1, 2))
    store.write(keys("c"), rows(3))
    for one in (store, RowStore(folder=tmp_path, facts={})):
        assert one.present(keys("a", "b", "c")).all()
        found = one.find(keys("c", "a", "b", "c"))
        assert len(found) == 4
        assert found[1:3].tolist() == [[1, -1], [2, -2]]
        assert found[:].tolist() == one.read(keys("c", "a", "b", "c")).tolist()
        assert found[np.array([3, 0, 1])].tolist() == [[3, -3], [3, -3], [1, -1]]
        assert found[4:].shape == (0, 2)


def test_rows_whose_file_was_removed_are_missed_with_words(tmp_path: Path) -> None:
    store = RowStore(folder=tmp_path, facts={})
    store.write(keys("a"), rows(1))
    found = store.find(keys("a"))
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ResultsError, match=r"safetensors was removed while this run read it. Run it again"):
        found[:]


def test_of_thousands_of_shards_none_is_held_open(tmp_path: Path) -> None:
    """Ten million rows are 2,500 files, and many systems let a process open 1,024."""
    store = RowStore(folder=tmp_path, facts={})
    names = [str(number) for number in range(60)]
    for number, name in enumerate(names):
        store.write(keys(name), rows(number))
    before = len(list(Path("/proc/self/fd").iterdir()))
    found = RowStore(folder=tmp_path, facts={})
    assert found.present(keys(*names)).all()
    assert found.find(keys(*reversed(names)))[:][:, 0].tolist() == list(range(59, -1, -1))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_first_of_equal_keys_wins(tmp_path: Path) -> None:
    store = RowStore(folder=tmp_path, facts={})
    store.write(keys("a", "b", "a"), rows(1, 2, 3))
    assert store.read(keys("a", "b")).tolist() == [[1, -1], [2, -2]]
    store.write(keys("c", "a", "b"), rows(4, 5, 6))
    assert store.read(keys("a", "b", "c", "a")).tolist() == [[1, -1], [2, -2], [4, -4], [1, -1]]


def test_keys_without_a_row_are_an_error_that_counts_them(tmp_path: Path) -> None:
    store = RowStore(folder=tmp_path, facts={})
    with pytest.raises(KeyError, match="1 of 1 keys have no row"):
        store.find(keys("a"))
    store.write(keys("a", "b"), rows(1, 2))
    with pytest.raises(KeyError, match="2 of 3 keys have no row"):
        store.find(keys("x", "a", "y"))


def test_rows_of_bytes(tmp_path: Path) -> None:
    content = np.array([[1, 255, 0]], dtype=np.uint8)
    RowStore(folder=tmp_path, facts={}, dtype=np.uint8).write(keys("a"), content)
    fresh = RowStore(folder=tmp_path, facts={}, dtype=np.uint8)
    assert fresh.present(keys("a")).all()
    assert fresh.read(keys("a")).tolist() == content.tolist()
    assert not RowStore(folder=tmp_path, facts={}).present(keys("a")).any()  # floats are wanted: set aside


def test_no_rows(tmp_path: Path) -> None:
    store = RowStore(folder=tmp_path, facts={})
    assert store.read([]).shape == (0, 0)
    store.write([], np.empty((0, 3), dtype=np.float32))
    assert RowStore(folder=tmp_path, facts={}).present(keys("a")).tolist() == [False]


def test_what_is_not_there_is_removed_without_a_try_and_what_stays_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing may be written, removing what is not there fails too."""
    (tmp_path / "old.csv").write_text("1")
    remove(tmp_path / "old.csv")
    assert not (tmp_path / "old.csv").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultsError, match=r"folder is out of date and cannot be removed \(.*\)\. Free or unlock"):
        remove(tmp_path / "folder")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: pytest.fail("it was tried"))
    remove(tmp_path / "old.csv")
