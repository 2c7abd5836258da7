"""What is encoded is what was hashed; the machine's failures are not the image's; what may not be read stays."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from making import encoded, make_folder, make_tiny
from PIL import ImageFile
from torch.utils.data import get_worker_info

from cupl_bench import features, store
from cupl_bench.backbone.open_clip import OpenClipSource
from cupl_bench.dataset import Dataset
from cupl_bench.dataset.decode import decode
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.dataset.hf import HfSource
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.errors import (
    BrokenImageError,
    CuplBenchError,
    DatasetError,
    MachineError,
    PromptsError,
    ResultsError,
    UnreadableError,
)
from cupl_bench.features import DecodedImages
from cupl_bench.memory import is_lack_of_memory
from cupl_bench.pixel_store import PixelStore
from cupl_bench.prompts.files import read_unchanged
from cupl_bench.prompts.sources import read_descriptions
from cupl_bench.records import read_record, read_records, unlike_artifacts
from cupl_bench.store import RowStore, read_arrays

KEYS = [bytes([number]) * 16 for number in range(3)]
ROWS = np.eye(3, dtype=np.float32)


def folder_of(root: Path, cache: Path) -> Dataset:
    return FolderSource(path=str(root), split="all", class_names=None)(cache)


# Read twice -----------------------------------------------------------------------------------------------------------


def changed(path: Path) -> None:
    path.write_bytes(encoded(99))


def in_tar(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new + b"\0" * (len(old) - len(new))))


def test_a_file_that_changes_or_vanishes_after_its_hash_is_told(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", {"ant": 3, "bee": 1})
    found = folder_of(root, tmp_path / "cache")
    changed(root / "ant" / "1.jpg")
    (root / "ant" / "2.jpg").unlink()
    assert found.content(0) == encoded(0)
    with pytest.raises(DatasetError, match=r"ant/1\.jpg was changed while this run worked"):
        found.content(1)
    with pytest.raises(DatasetError, match=r"ant/2\.jpg cannot be read \(No such file"):
        found.part((1, 1)).content(2)


def test_so_is_an_image_inside_a_shard(tmp_path: Path) -> None:
    import tarfile
    from io import BytesIO

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "classnames.txt").write_text("ant\nbee\n")
    with tarfile.open(tmp_path / "set" / "0.tar", "w") as archive:
        for name, content in (("0.jpg", encoded(0)), ("0.cls", b"0"), ("1.jpg", encoded(1)), ("1.cls", b"1")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
    found = WebdatasetSource(path=str(tmp_path / "set"), split="test", class_names=None)(tmp_path / "cache")
    in_tar(tmp_path / "set" / "0.tar", encoded(1), encoded(1)[:-5])
    assert found.content(0) == encoded(0)
    with pytest.raises(DatasetError, match="1 was changed"):
        found.content(1)
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(DatasetError, match="0 cannot be read"):
        found.content(0)


@pytest.mark.slow
def test_files_that_a_table_points_to_are_looked_at_themselves(tmp_path: Path, monkeypatch: Any) -> None:
    """The table of an image folder holds paths: a file may change, and its time be set back, without the table."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    root = make_folder(tmp_path / "set", {"ant": 2, "bee": 2})

    def listed() -> Dataset:
        source = HfSource(
            path="imagefolder", split="train", data_files=str(root / "**"), image_column=None, label_column=None,
            class_names=None, revision=None,
        )  # fmt: skip
        return source(tmp_path / "cache")

    for path in root.rglob("*.jpg"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    time.sleep(2.2)  # files that have just changed are not remembered
    before = listed()
    first = root / "ant" / "0.jpg"
    changed(first)
    os.utime(first, (1_000_000_000, 1_000_000_000))
    with pytest.raises(DatasetError, match="0 was changed"):
        before.content(0)
    assert [one != other for one, other in zip(before.image_keys, listed().image_keys, strict=True)].count(True) == 1


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_nothing_is_stored_under_the_key_of_other_bytes(cli, on_photos, photos: Path, num_workers: int) -> None:
    """Two images swap places between the hash and the decoding; afterwards all is as in a run that nobody disturbed."""
    plainly = FolderSource.part

    def swapped(self: FolderSource, *arguments: Any) -> Dataset:
        found = plainly(self, *arguments)
        one, other = photos / "ant" / "1.jpg", photos / "bee" / "1.jpg"
        mine, theirs = one.read_bytes(), other.read_bytes()
        one.write_bytes(theirs)
        other.write_bytes(mine)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderSource, "part", swapped)
        assert on_photos(f"num_workers={num_workers}", "batch_size=4") == 2
    assert "was changed while this run worked" in cli.err
    assert "Traceback" not in cli.err
    rows = stored(cli.cache)
    assert on_photos() == 0, cli.err
    cli.cache = cli.cache.with_name("other")
    assert on_photos("rerun=always") == 0, cli.err
    clean = stored(cli.cache)
    for key in rows:
        np.testing.assert_allclose(rows[key], clean[key], atol=1e-5)


def stored(cache: Path) -> dict[bytes, np.ndarray]:
    arrays = [read_arrays(path)[0] for path in (cache / "image_features").glob("*/*.safetensors")]
    return {bytes(key): row for one in arrays for key, row in zip(one["keys"], one["rows"], strict=True)}


def test_weights_that_change_between_hash_and_loading_are_refused(cli, on_photos, tmp_path: Path, monkeypatch) -> None:
    mine = make_tiny(tmp_path / "mine", seed=3)
    other = make_tiny(tmp_path / "other", seed=4)
    plainly = OpenClipSource.identify

    def identify(self: OpenClipSource, *arguments: Any, **options: Any) -> Any:
        found = plainly(self, *arguments, **options)
        shutil.copy(other.weights, mine.weights)
        return found

    monkeypatch.setattr(OpenClipSource, "identify", identify)
    assert on_photos(f"backbone.pretrained={mine.weights}") == 2
    assert "changed between hashing and loading" in cli.err
    assert not stored(cli.cache)


def test_prompts_are_those_whose_digest_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"ant": ["an ant"]}')
    found, digest = read_unchanged(str(path), lambda: read_descriptions(str(path)))
    assert found == {"ant": ["an ant"]}
    assert len(digest) == 64
    with pytest.raises(PromptsError, match="changed while it was read"):
        read_unchanged(str(path), lambda: path.write_text('{"ant": ["a bee"]}'))


# The machine's failure ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("Pixel allocation failed: Out of memory"),
        OSError("out of memory when reading image file"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_known_in_all_its_words(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_lack_of_memory(error)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(MemoryError):
        decode(encoded(1, "PNG"))


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), OSError(errno.EMFILE, "Too many"), ImportError("no")]
)
def test_other_errors_of_the_system_are_no_broken_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_lack_of_memory(error)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)) as caught:
        decode(encoded(1, "PNG"))
    assert not isinstance(caught.value, CuplBenchError)


@pytest.mark.parametrize(
    "error", [OSError("broken data stream"), SyntaxError("x"), ValueError("x"), IndexError("x"), RuntimeError("x")]
)
def test_what_pillow_says_of_the_bytes_is_a_broken_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(BrokenImageError):
        decode(encoded(1, "PNG"))


def test_a_broken_stream_is_none_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg and libwebp say a broken stream where they found no memory."""
    monkeypatch.setattr("cupl_bench.dataset.decode.np.empty", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        decode(encoded(6, "PNG")[:-200])
    with pytest.raises(BrokenImageError):
        decode(b"no image at all")


def test_a_decoder_that_is_gone_is_no_broken_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torchvision.io.decode_jpeg")
    with pytest.raises(MachineError, match="torchvision cannot decode JPEGs here"):
        decode(encoded(1))


def failing(error: Exception, which: str) -> Callable[..., Any]:
    plainly = Dataset.content

    def content(self: Dataset, index: int) -> bytes:
        if self.image_ids[index] == which:
            raise error
        return plainly(self, index)

    return content


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ant/0.jpg", "cat/1.jpg"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_short_memory_leaves_no_image_out(
    cli, on_photos, monkeypatch: pytest.MonkeyPatch, which: str, num_workers: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "content", failing(MemoryError(), which))
        assert on_photos("dataset.skip_broken=true", f"num_workers={num_workers}") == 2
        assert f"not enough memory to decode {which}" in cli.err
        assert "Traceback" not in cli.err
    assert not [one for one in cli.records().values() if one.status == "ok"]
    assert on_photos("dataset.skip_broken=true") == 0, cli.err
    assert cli.record().dataset.num_images == 15


@pytest.mark.slow
def test_a_run_that_left_images_out_is_another_question(cli, on_photos, photos: Path, monkeypatch) -> None:
    assert on_photos() == 0
    whole = cli.record()
    cli.cache = cli.cache.with_name("other")
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "content", failing(BrokenImageError("a Pillow without this format"), "cat/1.jpg"))
        assert on_photos("dataset.skip_broken=true") == 0, cli.err
        fewer = cli.record()
        assert (fewer.dataset.num_images, fewer.dataset.num_broken) == (14, 1)
        assert on_photos("dataset.skip_broken=true") == 0
        assert "finished before" in cli.out  # asked again with the same image broken
        assert cli.record() == fewer
        assert on_photos("dataset.skip_broken=true", "rerun=never") == 0, cli.err
    assert on_photos("dataset.skip_broken=true", "rerun=never") == 2  # now it can be read
    assert on_photos("dataset.skip_broken=true") == 0, cli.err
    healed = cli.record()
    assert (healed.dataset.num_images, healed.dataset.num_broken) == (15, 0)
    assert len({whole.run_key, fewer.run_key, healed.run_key}) == 3
    assert healed.metrics == whole.metrics


@pytest.mark.slow
def test_a_record_of_before_that_left_images_out_is_not_taken_for_the_whole(cli, on_photos) -> None:
    assert on_photos("dataset.skip_broken=true") == 0
    record = cli.record()
    old = record.dataset.model_copy(update={"num_broken": 1, "num_images": 14})
    path = cli.results / "records" / f"{record.run_key}.json"
    path.write_text(record.model_copy(update={"dataset": old}).model_dump_json())
    assert on_photos("dataset.skip_broken=true") == 0
    assert "did not record the images that were left out" in cli.err
    assert read_record(path).dataset.num_broken == 0


# Processes and shared memory ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_full_shared_memory_is_no_hang(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to write to file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert on_photos("num_workers=2", "batch_size=4") == 0, cli.err
    assert cli.err.count("shared memory (/dev/shm) has no room") == 1
    assert cli.record().dataset.num_images == 15


def test_a_worker_that_is_killed_is_one_message(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    plainly = DecodedImages.__getitem__

    def killed(self: DecodedImages, place: int) -> Any:
        if get_worker_info() is not None and place == 9:
            os.kill(os.getpid(), 9)
        return plainly(self, place)

    monkeypatch.setattr(DecodedImages, "__getitem__", killed)
    assert on_photos("num_workers=1", "batch_size=2") == 2
    assert "has ended unexpectedly" in cli.err
    assert "num_workers" in cli.err
    assert "Traceback" not in cli.err


@pytest.mark.slow
def test_a_batch_that_cannot_be_handed_over_ends_the_run(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's queue would print the error and drop the batch, and the run wait for it."""

    class Unsendable(np.ndarray):
        def __reduce__(self) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

    plainly = features._collate
    monkeypatch.setattr(features, "_collate", lambda items: (plainly(items)[0], np.ones(3).view(Unsendable), []))
    assert on_photos("num_workers=1") == 2
    assert "has ended unexpectedly" in cli.err


def test_processes_that_cannot_be_started_are_done_without(cli, on_photos, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> Any:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter", refused)
    assert on_photos("num_workers=2") == 0, cli.err
    assert "no process that decodes images can be started" in cli.err


# Permission is no damage ----------------------------------------------------------------------------------------------


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ends of paths that may be neither read nor listed; works for root too, whom permissions do not bind."""
    ends: list[str] = []

    def guarded(plainly: Callable[..., Any]) -> Callable[..., Any]:
        def guard(path: Any, *arguments: Any, **options: Any) -> Any:
            if ends and str(path).endswith(tuple(ends)):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return plainly(path, *arguments, **options)

        return guard

    monkeypatch.setattr(Path, "open", guarded(Path.open))
    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    return ends


def test_a_row_store_leaves_what_it_may_not_read_and_stores_beside_it(tmp_path: Path, forbidden: list[str]) -> None:
    RowStore(folder=tmp_path / "f", facts={}).write(KEYS, ROWS)
    (theirs,) = (tmp_path / "f").iterdir()
    content = theirs.read_bytes()
    forbidden.append(theirs.name)
    mine = RowStore(folder=tmp_path / "f", facts={})
    assert not mine.present(KEYS).any()
    mine.write(KEYS, ROWS)
    assert RowStore(folder=tmp_path / "f", facts={}).present(KEYS).all()
    forbidden.clear()
    assert theirs.read_bytes() == content
    assert not (tmp_path / "f" / "damaged").exists()
    forbidden.append("/f")
    with pytest.raises(UnreadableError, match="Permission denied.*umask"):
        RowStore(folder=tmp_path / "f", facts={}).present(KEYS)


def test_a_pixel_store_does_too(tmp_path: Path, forbidden: list[str]) -> None:
    pixels = PixelStore(folder=tmp_path / "p", facts={}, limit_bytes=1e9)
    pixels.write(KEYS, np.zeros((3, 3, 2, 2), np.uint8))
    (theirs,) = (tmp_path / "p").iterdir()
    forbidden.append(theirs.name)
    assert not list(pixels.stored(KEYS))
    pixels.write(KEYS, np.zeros((3, 3, 2, 2), np.uint8))
    assert len(list((tmp_path / "p").glob("*.safetensors"))) == 2
    assert len(list(pixels.stored(KEYS))) == 1


def test_a_file_that_may_not_be_read_is_not_replaced(tmp_path: Path, forbidden: list[str]) -> None:
    (tmp_path / "x.json").write_text("theirs")
    forbidden.append("x.json")
    with pytest.raises(ResultsError, match="it is not replaced"):
        store.write_atomically(tmp_path / "x.json", b"mine")
    forbidden.clear()
    assert (tmp_path / "x.json").read_text() == "theirs"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["logit_scales", "class_embeddings", "image_features", "text_features", "keys"])
def test_a_cache_of_another_user_is_worked_without(cli, on_photos, forbidden: list[str], kind: str) -> None:
    assert on_photos() == 0
    before, metrics = files(cli.cache / kind), cli.record().metrics
    forbidden.extend({path.name for path in before})
    if kind == "text_features":  # else nobody would read them
        shutil.rmtree(cli.cache / "class_embeddings")
    assert on_photos("rerun=always") == 0, cli.err
    assert "Permission denied" in cli.err or kind == "keys"
    forbidden.clear()
    assert cli.record().metrics == metrics
    assert not list(cli.cache.rglob("damaged"))
    assert before.items() <= files(cli.cache / kind).items()


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_record_or_file_of_a_run_that_may_not_be_read_is_told(cli, on_photos, forbidden: list[str]) -> None:
    assert on_photos() == 0
    record, before = cli.record(), files(cli.results)
    for end in (f"records/{record.run_key}.json", f"predictions/{record.run_key}.parquet"):
        forbidden[:] = [end]
        assert on_photos() == 2, end
        assert "Permission denied" in cli.err or "cannot be read" in cli.err
        assert "Traceback" not in cli.err
        if end.endswith("parquet"):
            with pytest.raises(UnreadableError):
                unlike_artifacts(record, cli.results)
    forbidden[:] = ["/records"]
    with pytest.raises(UnreadableError, match="Permission denied"):
        read_records(cli.results)
    forbidden.clear()
    before = {path: content for path, content in before.items() if "outcomes" not in path.parts}
    assert before.items() <= files(cli.results).items()
    assert not list(cli.results.rglob("damaged"))


def test_a_folder_of_images_that_may_not_be_listed_is_not_empty(
    cli, on_photos, photos: Path, forbidden: list[str]
) -> None:
    (photos / "ant" / "more").mkdir()
    (photos / "ant" / "more" / "9.jpg").write_bytes(encoded(9))
    forbidden.append("ant/more")
    assert on_photos() == 2
    assert "ant/more cannot be read (Permission denied)" in cli.err
    assert "Traceback" not in cli.err
