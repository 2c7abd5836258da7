"""Part i of n of each source: rows of the whole, in their order, each once, with the images that belong to them."""

import io
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trees
from making import encoded, make_folder

from cupl_bench.dataset import Dataset, PartSource, part_of
from cupl_bench.dataset.demo import DemoSource
from cupl_bench.dataset.folder import FolderSource
from cupl_bench.dataset.hf import HfSource
from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.webdataset import WebdatasetSource


@pytest.fixture(params=["folder", "named", "named, few of each", "hf", "webdataset"])
def source(request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> PartSource:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf cache")
    path = tmp_path / "set"
    if request.param == "folder":
        make_folder(path, {"ant": 4, "bee": 3})
        (path / "bee" / "again.jpg").write_bytes((path / "ant" / "1.jpg").read_bytes())
        return FolderSource(path=str(path), split="all", class_names=None, limit=None, seed=0)
    if request.param.startswith("named"):
        trees.imagenet_folders(path)
        limit = 1 if "few" in request.param else None
        return NamedSource(
            spec="imagenet", path=str(path), root=str(tmp_path), source="local", protocol="custom", names="openai",
            limit=limit, seed=0,
        )  # fmt: skip
    if request.param == "hf":
        path.mkdir()
        images = [{"bytes": encoded(number), "path": None} for number in range(7)]
        pq.write_table(pa.table({"image": images, "label": list("xyzxyzz")}), path / "test.parquet")
        return HfSource(
            path="parquet", split="test", data_files=[str(path / "test.parquet")], image_column=None,
            label_column=None, class_names=None, revision=None, limit=None, seed=0,
        )  # fmt: skip
    path.mkdir()
    for number in range(7):
        with tarfile.open(path / f"{number // 3}.tar", "a") as archive:
            for name, content in ((f"{number}.cls", str(number % 3).encode()), (f"{number}.jpg", encoded(number))):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    (path / "classnames.txt").write_text("ant\nbee\ncat\n")
    return WebdatasetSource(path=str(path), split="test", class_names=None, limit=None, seed=0)


def rows_of(dataset: Dataset) -> list[tuple[str, bytes, int, bytes]]:
    contents = [dataset.read(index) for index in range(len(dataset.labels))]
    return list(zip(dataset.image_ids, dataset.image_keys, dataset.labels.tolist(), contents, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_parts_are_the_rows_of_the_whole(source: PartSource, count: int, tmp_path) -> None:
    whole = source(tmp_path / "cache")
    assert whole.num_whole is None
    assert isinstance(source, PartSource)
    parts = [source.part(tmp_path / "cache", (number, count)) for number in range(1, count + 1)]
    assert [row for part in parts for row in rows_of(part)] == rows_of(whole)
    assert {part.num_whole for part in parts} == {len(whole.labels)}
    assert {part.class_names for part in parts} == {whole.class_names}
    cut = [whole.part((number, count)) for number in range(1, count + 1)]
    assert [row for part in cut for row in rows_of(part)] == rows_of(whole)
    assert all(part.fingerprint == own.fingerprint for part, own in zip(parts, cut, strict=True))


@pytest.mark.slow
def test_a_source_that_lists_no_parts_is_cut(tmp_path) -> None:
    source = DemoSource(split="test", limit=None, seed=0)
    assert not isinstance(source, PartSource)
    whole = source(tmp_path)
    part = whole.part((2, 5))
    own = part_of((2, 5), len(whole.labels))
    assert [part.read(0), part.read(len(own) - 1)] == [whole.read(own[0]), whole.read(own[-1])]
    assert list(part.image_keys) == list(whole.image_keys[own.start : own.stop])


@pytest.mark.parametrize(("length", "count"), [(15, 4), (15, 1), (3, 7), (0, 2), (10_000_019, 64)])
def test_parts_have_every_place_once_and_are_as_long_as_each_other(length: int, count: int) -> None:
    parts = [part_of((number, count), length) for number in range(1, count + 1)]
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, length)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
