"""Downloads that fail, archives that are unsafe or half, tables of the hub: one message each, with the next step."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from email.message import Message
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import datasets
import huggingface_hub
import pooch
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trees
from huggingface_hub import errors
from making import encoded

from cupl_bench.dataset import Dataset
from cupl_bench.dataset.archives import unpack
from cupl_bench.dataset.hub import transport_errors
from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.spec import read_spec
from cupl_bench.errors import DatasetError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def load(name: str, cache: Path, **changes: Any) -> Dataset:
    settings: dict[str, Any] = {
        "spec": name, "path": None, "root": str(cache / "datasets"), "source": "auto", "protocol": "custom",
        "names": trees.default_names(name), "limit": None, "seed": 0,
    }  # fmt: skip
    return NamedSource(**{**settings, **changes})(cache)


def image_cells(count: int) -> list[dict[str, Any]]:
    return [{"bytes": encoded(900 + i), "path": None} for i in range(count)]


def snapshot(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[dict[str, Any]]:
    """The hub gives ``folder``; what it was asked is noted."""
    asked: list[dict[str, Any]] = []

    def download(repo: str, **options: Any) -> str:
        asked.append({"repo": repo, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def write_table(path: Path, features: dict[str, Any], **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(str(path))


def test_cub_from_the_hub_by_the_names_of_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = trees.ids("cub")
    shuffled = [*ids[100:], *ids[:100]]
    write_table(
        tmp_path / "0123abc" / "data" / "test-00000-of-00001.parquet",
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=shuffled)},
        image=image_cells(3), label=[shuffled.index(ids[place]) for place in (0, 140, 199)],
    )  # fmt: skip
    asked = snapshot(monkeypatch, tmp_path / "0123abc")
    found = load("cub", tmp_path, source="bentrevett/caltech-ucsd-birds-200-2011")
    assert found.labels.tolist() == [0, 140, 199]
    assert found.read(1) == encoded(901)
    assert found.notes[0] == "from bentrevett/caltech-ucsd-birds-200-2011@0123abc"
    assert asked == [
        {
            "repo": "bentrevett/caltech-ucsd-birds-200-2011",
            "repo_type": "dataset",
            "revision": None,
            "allow_patterns": ["*test-*.parquet"],
            "local_files_only": False,
        }
    ]


def test_imagenet_from_the_hub_by_the_order_of_its_synsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ClassLabel names are synsets in the order of the wnids: ids, not prompt names."""
    names = [f"synset {place}, another word" for place in range(1000)]
    path = tmp_path / "c0ffee" / "data" / "validation-00000-of-00014.parquet"
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    write_table(path, features, image=image_cells(2), label=[277, 999])
    snapshot(monkeypatch, tmp_path / "c0ffee")
    assert load("imagenet", tmp_path).labels.tolist() == [277, 999]
    path.unlink()
    write_table(path, features, image=image_cells(2), label=[-1, -1])
    with pytest.raises(DatasetError, match="1 labels are outside 0 to 999, first: -1. A split without labels"):
        load("imagenet", tmp_path)


def test_numeric_names_sorted_as_text_are_ids(tmp_path: Path) -> None:
    """A copy of Flowers-102 has the folder numbers as names, sorted as text: label 1 is class 10."""
    names = sorted(str(number) for number in range(1, 103))
    path = tmp_path / "copy" / "data" / "test-0.parquet"
    write_table(
        path,
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)},
        image=image_cells(3),
        label=[0, 1, 2],
    )
    assert load("flowers", tmp_path, path=str(tmp_path / "copy")).labels.tolist() == [0, 9, 99]


def test_a_label_called_cra_is_a_crab(tmp_path: Path) -> None:
    names = ["cra" if one == "crab" else one for one in trees.ids("cifar100")]
    path = tmp_path / "copy" / "cifar100" / "test-00000-of-00001.parquet"
    features = {
        "img": datasets.Image(),
        "fine_label": datasets.ClassLabel(names=names),
        "coarse_label": datasets.Value("int64"),
    }
    write_table(path, features, img=image_cells(2), fine_label=[26, 99], coarse_label=[3, 4])
    found = load("cifar100", tmp_path, path=str(tmp_path / "copy"))
    assert [found.class_names[label] for label in found.labels] == ["crab", "worm"]


def test_a_table_without_the_librarys_metadata(tmp_path: Path) -> None:
    """Text labels in a plain parquet file: FGVC Aircraft's copy."""
    (tmp_path / "copy" / "data").mkdir(parents=True)
    table = pa.table({"image": image_cells(2), "variant": ["Yak-42", "707-320"]})
    pq.write_table(table, tmp_path / "copy" / "data" / "test-0.parquet")
    assert load("aircraft", tmp_path, path=str(tmp_path / "copy")).labels.tolist() == [99, 0]


def shard(path: Path, rows: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in rows:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_shards_in_another_order_of_classes_are_joined_by_name(tmp_path: Path) -> None:
    """VTAB sorts Caltech-101 without case; its labels are not the archive's."""
    classes = read_spec("caltech101").classes
    order = sorted(range(102), key=lambda label: classes.ids[label].lower())
    base = tmp_path / "copy"
    rows = [row for i in range(3) for row in ((f"s{i}.webp", encoded(i, "WEBP")), (f"s{i}.cls", str(50 * i).encode()))]
    shard(base / "test" / "0.tar", rows)
    (base / "classnames.txt").write_text("\n".join(classes.names["openai"][label] for label in order) + "\n")
    found = load("caltech101", tmp_path, path=str(base))
    assert found.labels.tolist() == [order[0], order[50], order[100]]


def raises(error: Exception) -> Callable[..., str]:
    def download(*_: Any, **__: Any) -> str:
        raise error

    return download


CLIENT: Any = import_module(transport_errors()[0].__module__.partition(".")[0])
"""The library that the hub's client stands on."""
RESPONSE = CLIENT.Response(403, request=CLIENT.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.GatedRepoError("gated", response=RESPONSE),
            "is gated, and your account has no access. Accept its terms on"
            " https://huggingface.co/datasets/ILSVRC/imagenet-1k, run 'hf auth login'",
        ),
        (
            errors.LocalEntryNotFoundError("no network"),
            "cannot be reached and is not in the hub's cache here. Where there is a network: hf download"
            r" ILSVRC/imagenet-1k --repo-type dataset --include '\*validation-\*.parquet' --local-dir FOLDER; then"
            " dataset.path=FOLDER",
        ),
        (
            errors.RepositoryNotFoundError("gone", response=RESPONSE),
            r"is not on the hub as main, or it is private. It may have moved: look at https://huggingface.co/datasets/",
        ),
        (CLIENT.ReadTimeout("slow"), r"cannot be downloaded \(slow\). Start again: what is here is kept"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_the_hub_refuses_ends_with_the_next_step(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", raises(error))
    with pytest.raises(DatasetError, match=message) as caught:
        load("imagenet", tmp_path)
    text = str(caught.value)
    place = tmp_path / "datasets" / "imagenet"
    assert f"or Kaggle's LOC_val_solution.csv beside it) into {place}. Another place" in text
    assert "docs/datasets/imagenet.md" in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["cub", "kinetics700", "ucf101", "cars"])
def test_a_missing_data_set_says_where_to_put_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not in .* Another place is named with dataset.path=FOLDER") as caught:
        load(name, tmp_path, source="local")
    assert str(tmp_path / "datasets" / name) in str(caught.value)
    with pytest.raises(DatasetError, match=r"dataset.source=locl is not a source of .*Did you mean 'local'"):
        load(name, tmp_path, source="locl")


def test_a_path_of_the_users_is_never_filled_with_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", raises(AssertionError("downloads")))
    with pytest.raises(DatasetError, match=f"ImageNet-1k .* is not in {tmp_path}/mine"):
        load("imagenet", tmp_path, path=str(tmp_path / "mine"))


def test_a_download_that_has_changed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "abc").mkdir()
    snapshot(monkeypatch, tmp_path / "abc")
    with pytest.raises(DatasetError, match="tanganke/dtd@abc was downloaded .* it has changed"):
        load("dtd", tmp_path, source="tanganke/dtd")


def test_cubs_archive_is_fetched_checked_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trees.cub(tmp_path / "made")
    packed = tmp_path / "CUB_200_2011.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "made" / "CUB_200_2011", "CUB_200_2011")
    asked: list[Any] = []

    def retrieve(url: str, known_hash: str | None, **_: Any) -> str:
        asked.append((url, known_hash))
        return str(packed)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    found = load("cub", tmp_path)
    assert {found.read(i): trees.ids("cub")[label] for i, label in enumerate(found.labels)} == expected
    assert asked == [
        ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz", "md5:97eceeb196236b17998738112f37df78")
    ]
    monkeypatch.setattr(pooch, "retrieve", raises(AssertionError("fetched twice")))
    assert load("cub", tmp_path, source="local").fingerprint == found.fingerprint
    # The user's own copy, under a name that is not the published one.
    own = packed.rename(tmp_path / "birds.tgz")
    assert load("cub", tmp_path, path=str(own)).fingerprint == found.fingerprint


def test_an_archive_in_its_place_is_checked_and_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "cub"
    folder.mkdir(parents=True)
    (folder / "CUB_200_2011.tgz").write_bytes(b"half of it")
    with pytest.raises(
        DatasetError, match=r"CUB_200_2011.tgz is not the published file, or is incomplete \(md5 .*Download it again"
    ):
        load("cub", tmp_path)
    assert [path.name for path in folder.iterdir()] == ["CUB_200_2011.tgz"]


def test_a_failed_download_names_the_file_and_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch, "retrieve", raises(OSError("Name or service not known")))
    with pytest.raises(DatasetError, match="CUB_200_2011.tgz cannot be downloaded .*Download it on a machine"):
        load("cub", tmp_path)


def test_a_server_that_torchvision_cannot_reach_is_said_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "Flowers102", raises(URLError(OSError(-2, "Name or service not known"))))
    with pytest.raises(DatasetError, match=r"Flowers102 cannot be downloaded \(the server cannot be reached\)"):
        load("flowers", tmp_path)
    refused = HTTPError("https://example.org/flowers", 503, "Service Unavailable", Message(), None)
    monkeypatch.setattr(torchvision.datasets, "Flowers102", raises(refused))
    with pytest.raises(DatasetError, match=r"cannot be downloaded \(HTTP Error 503: Service Unavailable\)"):
        load("flowers", tmp_path)


def test_torchvisions_download_counts_only_when_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def interrupted(root: str, download: bool, split: str) -> None:
        trees.flowers(Path(root))
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets, "Flowers102", interrupted)
    with pytest.raises(
        DatasetError, match=r"torchvision's Flowers102 cannot be downloaded \(File not found or corrupted.\)"
    ):
        load("flowers", tmp_path)
    assert not list((tmp_path / "datasets" / "flowers").iterdir())
    expected: trees.Expected = {}
    monkeypatch.setattr(
        torchvision.datasets, "Flowers102", lambda root, download, split: expected.update(trees.flowers(Path(root)))
    )
    found = load("flowers", tmp_path)
    assert {found.read(i): str(label + 1) for i, label in enumerate(found.labels)} == expected
    monkeypatch.setattr(torchvision.datasets, "Flowers102", raises(AssertionError("fetched twice")))
    assert load("flowers", tmp_path, source="local").fingerprint == found.fingerprint


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/cupl_bench_out.txt", "a/../../out.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_no_path_of_an_archive_leaves_its_folder(name: str, kind: str, tmp_path: Path) -> None:
    packed = tmp_path / f"bad.{kind}"
    if kind == "tar":
        shard(packed, [("good.txt", b"1"), (name, b"2")])
    else:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("good.txt", b"1")
            archive.writestr(name, b"2")
    outside = set(tmp_path.rglob("*"))
    try:
        unpack(packed, tmp_path / "deep" / "set")
    except DatasetError as error:
        assert "holds a path that leaves its folder" in str(error)  # noqa: PT017 - an absolute tar path is made relative
        assert not (tmp_path / "deep" / "set").exists()
    assert not Path("/tmp/cupl_bench_out.txt").exists()
    assert not (tmp_path / "out.txt").exists()
    assert not (tmp_path / "deep" / "out.txt").exists()
    assert outside <= set(tmp_path.rglob("*"))


def test_links_that_lead_outside_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(link)
    with pytest.raises(DatasetError, match="holds a path that leaves its folder"):
        unpack(tmp_path / "bad.tar", tmp_path / "set")


@pytest.mark.parametrize("content", [b"", b"<html>moved</html>", b"\x1f\x8b\x08\x00cut"])
def test_what_is_no_archive_leaves_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.tgz").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be unpacked into .* download it again"):
        unpack(tmp_path / "bad.tgz", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir() if path.name != "hf"] == ["bad.tgz"]
