"""Data sets and backbones of the hub, fetched from one on the loopback address through the public command."""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision
import trees
from conftest import Cli
from faulty import seconds_until
from hub import TOKEN, Fault, Hub, hub_on_loopback
from making import TINY, TinyModel, encoded, make_clip, make_folder, make_tiny

import cupl_bench.dataset.hub
import cupl_bench.dataset.urls
from cupl_bench.dataset.texts import spec_content
from cupl_bench.dataset.urls import size_text
from cupl_bench.records import read_record

NAMES = ["ant", "bee", "cat"]
PHOTOS = "field/photos"


def table(labels: list[int], first: int, names: list[str] = NAMES) -> bytes:
    """A parquet file of images, which are drawn with the seeds from ``first`` on."""
    buffer = io.BytesIO()
    rows = {"image": [{"bytes": encoded(first + i), "path": None} for i in range(len(labels))], "label": labels}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """A data set of two splits, of which the test split has two files."""
    return {
        ".gitattributes": b"*.parquet filter=lfs\n",
        "README.md": b"---\nlicense: mit\n---\n# Photos\n",
        "data/test-00000-of-00002.parquet": table([0, 1, 2], 0),
        "data/test-00001-of-00002.parquet": table([2, 1, 0], 10),
        "data/train-00000-of-00001.parquet": table([0] * 6, 20),
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, which the hub's client asks from now on, with an empty cache of its own."""
    with hub_on_loopback() as hub:
        connect(hub, tmp_path / "hf", monkeypatch)
        yield hub
        huggingface_hub.close_session()


def connect(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE do in a program, whose libraries read them once; no wait is long."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.address)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "datasets")
    monkeypatch.setattr(cupl_bench.dataset.hub, "_answers", {})
    monkeypatch.setattr(cupl_bench.dataset.urls, "_sizes", {})
    monkeypatch.setenv("HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setenv("CUPL_BENCH_CACHE", str(cache / "own"))
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.001)))


def patch_address(hub: Hub, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers any more."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(cupl_bench.dataset.hub, "_answers", {})


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(cupl_bench.dataset.hub, "_answers", {})


@pytest.fixture
def run(cli: Cli, tiny: TinyModel) -> Callable[..., int]:
    """`eval` of a data set of the hub with the tiny model."""

    def call(*arguments: str, command: str = "eval", path: str = PHOTOS) -> int:
        return cli(command, "dataset=hf", f"dataset.path={path}", "prompts=simple", *tiny.overrides, *arguments)

    return call


@pytest.mark.slow
def test_a_data_set_is_fetched_once_of_one_commit_and_then_used_without_the_hub(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add("dataset", PHOTOS, photos)
    assert run() == 0, cli.err
    record = cli.record()
    assert record.dataset.origin == {"source": f"{PHOTOS}@{repo.id_of(-1)}"}
    assert (record.dataset.num_images, record.dataset.num_classes) == (6, 3)
    assert sorted(one.path.rpartition("/")[2] for one in hub.fetched()) == [
        "test-00000-of-00002.parquet", "test-00001-of-00002.parquet",
    ]  # fmt: skip
    assert "Fetching" not in cli.err
    sent = len(hub.sent())
    assert run("rerun=always") == 0, cli.err
    assert len(hub.sent()) == sent
    offline(monkeypatch)
    asked = len(hub.asked)
    assert run("rerun=always") == 0, cli.err
    assert len(hub.asked) == asked
    assert cli.record().run_key == record.run_key
    assert cli.record().dataset == record.dataset


@pytest.mark.slow
def test_a_commit_or_tag_is_kept_to_without_the_hub_and_whatever_was_used_last(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library itself takes what it prepared last, whatever revision is asked for."""
    newer = {**photos, "data/test-00001-of-00002.parquet": table([1, 1, 1], 40)}
    repo = hub.add("dataset", PHOTOS, photos, newer, tags={"v1": 0})
    fingerprints = {}
    asked = {"v1": repo.id_of(0), repo.id_of(0): repo.id_of(0), "main": repo.id_of(1)}
    for revision, commit in asked.items():
        assert run(f"dataset.revision={revision}") == 0, cli.err
        assert cli.record().dataset.origin == {"source": f"{PHOTOS}@{commit}"}
        fingerprints[revision] = cli.record().dataset.fingerprint
    assert fingerprints["v1"] == fingerprints[repo.id_of(0)] != fingerprints["main"]
    assert len(hub.fetched()) == 3  # the file that both commits have is fetched once
    offline(monkeypatch)
    for revision in asked:
        assert run(f"dataset.revision={revision}", "rerun=always") == 0, cli.err
        assert cli.record().dataset.fingerprint == fingerprints[revision]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A failure: how it comes about, and what is said."""

    said: str
    faults: tuple[Fault, ...] = ()
    repo: dict[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


REFUSED = {
    "private": Case(said="is not on the hub as main, or it is private. It may have moved:", repo={"private": True}),
    "gated": Case(said="is gated, and your account has no access. Accept its terms on", repo={"gated": True}),
    "no such revision": Case(
        said="has no revision v2 on the hub", arguments=("dataset.revision=v2", "backbone.revision=v2")
    ),
    "token refused": Case(said="is not to be had with your token (403)", faults=(Fault("/api/{kind}s", status=403),)),
    "too many requests": Case(said="too many requests from you (429)", faults=(Fault("/api/{kind}s", status=429),)),
    "too many files": Case(said="too many requests from you (429)", faults=(Fault("/storage/", status=429),)),
    "server fails": Case(said="the hub fails (500)", faults=(Fault("/api/{kind}s", status=500),)),
    "storage fails": Case(said="the hub fails (503)", faults=(Fault("/storage/", status=503),)),
    "head fails": Case(said="the hub fails (502)", faults=(Fault("{large}", "HEAD", status=502),)),
    "always cut": Case(said="(it was cut short). Start again:", faults=(Fault("/storage/", cut=0.5),)),
    "cut before the first byte": Case(said="(it was cut short). Start again:", faults=(Fault("/storage/", cut=0),)),
    "other content": Case(said="are not the content whose digest", faults=(Fault("/storage/", other=True),)),
    "other small file": Case(said="are not the content whose digest", faults=(Fault("{small}", other=True),)),
}  # fmt: skip


SOME = ("gated", "too many requests", "always cut", "other content")
"""Those of them that every run of the tests tries; ``./scripts/test --all`` tries all."""


def all_or_some(names: Iterable[Any], some: Sequence[Any]) -> list[Any]:
    return [name if name in some else pytest.param(name, marks=pytest.mark.long) for name in names]


AGAIN = ("gated", "storage fails", "always cut", "other content", "other small file")
"""Of these it is also tried that the same command succeeds once the cause is gone: they come when something is here."""


def told_once(cli: Cli, said: str) -> None:
    """The error is one line, which says so, and nothing else of it."""
    lines = [line for line in cli.err.splitlines() if said in line]
    assert len(lines) == 1, cli.err
    assert "Traceback" not in cli.err
    assert not list(cli.results.glob("records/*.json"))


def refused(
    name: str, hub: Hub, cli: Cli, ask: Callable[..., int], monkeypatch: pytest.MonkeyPatch, names: dict[str, str]
) -> None:
    """The command ends with the message, and what it left does not spoil the next, once the cause is gone."""
    case = REFUSED[name]
    for key, value in case.repo.items():
        setattr(hub.repos[-1], key, value)
    hub.faults = [
        Fault(one.where.format(**names), one.method, one.status, one.cut, one.other, one.times) for one in case.faults
    ]
    assert ask(*[one for one in case.arguments if one.startswith(names["group"])]) == 2, cli.out + cli.err
    told_once(cli, case.said)
    assert names["name"] in cli.err
    if name in AGAIN:
        hub.faults = []
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        cupl_bench.dataset.hub._answers.clear()
        assert ask() == 0, cli.err


@pytest.mark.slow
@pytest.mark.parametrize("name", all_or_some(REFUSED, SOME))
def test_a_data_set_that_is_refused_ends_with_its_message(
    name: str, hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("dataset", PHOTOS, photos)
    names = {"kind": "dataset", "large": "test-00001", "small": "README.md", "group": "dataset", "name": PHOTOS}
    refused(name, hub, cli, run, monkeypatch, names)


@pytest.mark.slow
def test_a_cut_download_goes_on_where_it_was_cut(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100)  # ten million: what may be lost by a cut
    hub.add("dataset", PHOTOS, photos)
    hub.faults = [Fault("test-00001", cut=0.25, times=1), Fault("test-00001", cut=0.5, times=1)]
    assert run() == 0, cli.err
    asked = [one.bytes for one in hub.fetched("test-00001")]
    size = len(photos["data/test-00001-of-00002.parquet"])
    first = size // 4 // 100 * 100
    second = first + (size - first) // 2 // 100 * 100
    assert asked == [None, f"bytes={first}-", f"bytes={second}-"]


@pytest.mark.slow
def test_a_download_whose_process_was_killed_goes_on_with_the_files_that_were_not_whole(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], tmp_path: Path
) -> None:
    """The hub's client gives half a file a name of its own, and never takes it up again."""
    hub.add("dataset", PHOTOS, photos)
    hub.faults = [Fault("test-00001", cut=0.5, held=True, times=1)]
    cache = tmp_path / "hf" / "hub"
    killed = multiprocessing.get_context("fork").Process(target=run)
    killed.start()
    assert hub.holding.wait(60)
    whole = hashlib.sha256(photos["data/test-00000-of-00002.parquet"]).hexdigest()
    seconds_until((next(cache.glob("datasets--*")) / "blobs" / whole).is_file)
    killed.kill()
    killed.join()
    assert not list(cli.results.glob("records/*.json"))
    assert [path.suffix for path in cache.glob("datasets--*/blobs/*.incomplete")] == [".incomplete"]
    assert not list(cache.glob("datasets--*/snapshots/*/data/test-00001*"))
    assert run() == 0, cli.err
    assert cli.record().dataset.num_images == 6
    assert [one.bytes for one in hub.fetched("test-00000")] == [None]
    assert [one.bytes for one in hub.fetched("test-00001")] == [None, None]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves refused answers open
def test_what_torchvision_downloads_is_whole_or_not_there(
    hub: Hub, tiny: TinyModel, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own code, with the address and the digest of an archive that the tests made."""
    expected = trees.rendered_sst2(tmp_path / "tree")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(tmp_path / "tree" / "rendered-sst2", "rendered-sst2")
    hub.files["rendered-sst2.tgz"] = buffer.getvalue()
    monkeypatch.setattr(torchvision.datasets.RenderedSST2, "_URL", f"{hub.address}/files/rendered-sst2.tgz")
    digest = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(torchvision.datasets.RenderedSST2, "_MD5", digest)
    ask = ["dataset=rendered_sst2", "dataset.source=torchvision", "dataset.protocol=custom", "prompts=simple"]
    ask += tiny.overrides
    for fault, reason in (
        ({"cut": 0.5}, "(File not found or corrupted.)"),
        ({"other": True}, "(File not found or corrupted.)"),
        ({"status": 404}, "(HTTP Error 404: Not Found)"),
        ({"status": 503}, "(HTTP Error 503: Service Unavailable)"),
    ):
        hub.faults = [Fault("/files/", **fault)]  # type: ignore[arg-type]
        assert cli("eval", *ask) == 2, cli.out
        told_once(cli, f"torchvision's RenderedSST2 cannot be downloaded {reason}")
        assert [path for path in (cli.cache / "datasets").rglob("*") if path.is_file()] == []
    hub.faults = []
    assert cli("eval", *ask) == 0, cli.err
    record = cli.record()
    assert record.dataset.num_images == len(expected)
    assert record.dataset.origin == {"source": "torchvision RenderedSST2", "protocol": "custom", "names": "openai"}
    sent = len(hub.sent())
    assert cli("eval", *ask, "rerun=always") == 0, cli.err
    assert len(hub.sent()) == sent


@pytest.mark.slow
def test_what_is_damaged_in_the_cache_is_found_and_fetched_again(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add("dataset", PHOTOS, photos)
    assert run() == 0, cli.err
    fingerprint = cli.record().dataset.fingerprint
    path = next((tmp_path / "hf" / "hub").glob("datasets--*/snapshots/*/data/test-00001*"))
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    assert run("rerun=always") == 2
    assert "1 of 2 files of field/photos are not the content whose digest the hub gave, first: 'test-00001" in cli.err
    assert run("rerun=always") == 0, cli.err
    assert cli.record().dataset.fingerprint == fingerprint


@pytest.mark.slow
def test_without_the_hub_what_is_not_here_is_said_with_the_way_to_get_it(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("dataset", PHOTOS, photos)
    assert run("dataset.split=train") == 0, cli.err
    shutil.rmtree(cli.results)
    with monkeypatch.context() as patch:
        offline(patch)
        assert run(path="field/others") == 2
        told_once(
            cli, "field/others is not in the hub's cache here, and HF_HUB_OFFLINE forbids to ask the hub. Unset it,"
        )
        assert "hf download field/others --repo-type dataset" in cli.err
        assert run("dataset.split=test") == 2  # of a repository whose other split is here
        told_once(cli, "Which files of field/photos make up the split test was not yet asked")
    patch_address(hub, "http://127.0.0.1:1", monkeypatch)
    assert run(path="field/others") == 2
    told_once(
        cli, "field/others cannot be reached and is not in the hub's cache here. Where there is a network: hf download"
    )
    assert run("dataset.split=train") == 0, cli.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset.split=tset"], "field/photos has no split 'tset'; it has 'test', 'train'. Did you mean 'test'"),
        (["dataset.data_files=data/val-*.parquet"], "field/photos cannot be loaded: "),
        (["dataset.config_name=big"], "field/photos cannot be loaded: "),
    ],
)
@pytest.mark.long
def test_what_a_repository_does_not_have_is_said(
    arguments: list[str], said: str, hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes]
) -> None:
    hub.add("dataset", PHOTOS, photos)
    assert run(*arguments) == 2, cli.out
    told_once(cli, said)


@pytest.mark.slow
@pytest.mark.long
def test_a_repository_that_has_moved_is_followed(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes]
) -> None:
    hub.add("dataset", PHOTOS, photos)
    hub.add("dataset", "field/old", {}, moved_to=PHOTOS)
    assert run(path="field/old") == 0, cli.err
    assert cli.record().dataset.origin == {"source": f"field/old@{hub.repos[0].id_of(-1)}"}


@pytest.mark.slow
@pytest.mark.long
def test_files_named_by_their_address_are_pinned_too(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add("dataset", PHOTOS, photos, {**photos, "photos.py": b"raise SystemExit"})
    assert run() == 2
    told_once(cli, f"dataset.path=parquet 'dataset.data_files=hf://datasets/{PHOTOS}/data/test-*.parquet'")
    by_address = ["dataset.path=parquet", f"dataset.data_files=hf://datasets/{PHOTOS}/data/test-*.parquet"]
    assert run(*by_address) == 0, cli.err
    assert cli.record().dataset.origin == {"source": f"{PHOTOS}@{repo.id_of(-1)}"}
    offline(monkeypatch)
    assert run(*by_address, "rerun=always") == 0, cli.err


@pytest.mark.slow
@pytest.mark.long
def test_shards_of_the_hub(hub: Hub, run: Callable[..., int], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    hub.add("dataset", "field/shards", {"test/0.tar": shard([0, 1]), "test/1.tar": shard([2, 2], 10)})
    arguments = [f"dataset.class_names={tmp_path / 'names.json'}", "dataset.image_column=jpg"]
    assert run(*arguments, path="field/shards") == 0, cli.err
    record = cli.record()
    assert record.dataset.num_images == 4
    assert record.dataset.origin == {"source": f"field/shards@{hub.repos[0].id_of(-1)}"}


@pytest.mark.slow
@pytest.mark.long
def test_a_repository_of_several_configurations_says_how_its_files_are_read(
    hub: Hub, run: Callable[..., int], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README names the files of each, and the classes of labels that are bare numbers in the files."""
    readme = """---
configs:
- config_name: small
  data_files: [{split: test, path: small/*.parquet}]
- config_name: large
  data_files: [{split: test, path: large/*.parquet}]
dataset_info:
- config_name: small
  features: [{name: image, dtype: image}, {name: label, dtype: {class_label: {names: {"0": ant, "1": bee, "2": cat}}}}]
- config_name: large
  features:
  - {name: image, dtype: image}
  - {name: label, dtype: {class_label: {names: {"0": ant, "1": bee}}}}
---
"""
    rows = {"image": [{"bytes": encoded(i), "path": None} for i in range(3)], "label": [1, 0, 1]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer)
    files = {"README.md": readme.encode(), "small/a.parquet": table([0], 5), "large/a.parquet": buffer.getvalue()}
    hub.add(
        "dataset",
        PHOTOS,
        files,
    )
    assert run() == 2
    told_once(cli, "field/photos has 2 configurations, 'small', 'large'. Choose one: dataset.config_name=small")
    assert run("dataset.config_name=lrage") == 2
    told_once(
        cli,
        "dataset.config_name=lrage is not a configuration of field/photos; it has 'small', 'large'.",
    )
    assert run("dataset.config_name=large") == 0, cli.err
    assert cli.record().dataset.num_classes == 2
    assert cli.record().dataset.num_images == 3
    assert [one.path.rpartition("/")[2] for one in hub.fetched()] == ["a.parquet"]
    offline(monkeypatch)
    assert run("dataset.config_name=large", "rerun=always") == 0, cli.err


def shard(labels: list[int], first: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for place, label in enumerate(labels):
            for ending, content in (("jpg", encoded(first + place)), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"s{first + place}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CUB = "bentrevett/caltech-ucsd-birds-200-2011"


def cub(hub: Hub) -> Any:
    content = table([0, 140, 199], 0, trees.ids("cub"))
    return hub.add(
        "dataset", CUB, {"README.md": b"#", "data/test-00000-of-00001.parquet": content, "data/train.parquet": b"-"}
    )


@pytest.mark.slow
def test_a_named_data_set_comes_from_its_repository(
    hub: Hub, cli: Cli, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = cub(hub)
    ask = ["dataset=cub", f"dataset.source={CUB}", "dataset.protocol=custom", "prompts=simple", *tiny.overrides]
    assert cli("plan", *ask) == 0, cli.err
    size = len(repo.commits[0]["data/test-00000-of-00001.parquet"])
    assert f"not here, to download: {CUB} ({size / 1e3:.1f} kB at {repo.id_of(-1)[:12]})" in " ".join(cli.out.split())
    assert not hub.sent()
    hub.faults = [Fault("/storage/", other=True)]
    assert cli("eval", *ask) == 2
    told_once(cli, f"1 of 1 files of {CUB} are not the content whose digest the hub gave")
    hub.faults = []
    assert cli("eval", *ask) == 0, cli.err
    assert [one.path.rpartition("/")[2] for one in hub.fetched()] == ["test-00000-of-00001.parquet"] * 2
    assert (cli.record().dataset.origin or {})["source"] == f"{CUB}@{repo.id_of(-1)}"
    offline(monkeypatch)
    assert cli("eval", *ask, "rerun=always") == 0, cli.err


def test_a_gated_data_set_names_the_page_of_its_terms(hub: Hub, cli: Cli, tiny: TinyModel) -> None:
    hub.add("dataset", "ILSVRC/imagenet-1k", {"data/validation-00000-of-00014.parquet": b"-" * 5000}, gated=True)
    assert cli("plan", "dataset=imagenet", *tiny.overrides) == 0
    assert "ILSVRC/imagenet-1k (5.0 kB at" in cli.out
    assert cli("eval", "dataset=imagenet", *tiny.overrides) == 2
    told_once(
        cli, f"is gated, and your account has no access. Accept its terms on {hub.address}/datasets/ILSVRC/imagenet-1k"
    )


@pytest.mark.slow
def test_a_plan_asks_the_hub_how_large_a_data_set_is(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add("dataset", PHOTOS, photos)
    size = sum(len(content) for name, content in photos.items() if "test-" in name)
    assert run("output=json", command="plan") == 0, cli.err
    said = f"not here, to download: {PHOTOS} ({size / 1e3:.1f} kB at {repo.id_of(-1)[:12]}); test"
    assert json.loads(cli.out)["plan"][0]["dataset_here"] == said
    assert not hub.fetched()
    assert not cli.results.exists()
    with monkeypatch.context() as patch:
        offline(patch)
        cupl_bench.dataset.hub._answers.clear()
        assert run("output=json", command="plan") == 0, cli.err
        said = f"not here, to download: {PHOTOS} (size not known); test"
        assert json.loads(cli.out)["plan"][0]["dataset_here"] == said
    cupl_bench.dataset.hub._answers.clear()
    hub.faults = [Fault("/api/", cut=0.5)]  # an answer that is not whole is none
    assert run("output=json", command="plan") == 0, cli.err
    assert json.loads(cli.out)["plan"][0]["dataset_here"] == said
    hub.faults = []
    cupl_bench.dataset.hub._answers.clear()
    assert run("dataset.revision=v2", command="plan") == 2
    assert "field/photos has no revision v2 on the hub" in cli.err
    assert run() == 0, cli.err
    assert run("output=json", command="plan") == 0, cli.err
    found = json.loads(cli.out)["plan"][0]
    assert (found["dataset_here"], found["finished"]) == (f"{PHOTOS}@{repo.id_of(-1)}, split test", True)


# Backbones ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """A model in each of the two layouts: the files of a repository."""
    folder = make_clip(tmp_path_factory.mktemp("clip"))
    made = make_tiny(tmp_path_factory.mktemp("open_clip"))
    told = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    weights = made.weights.read_bytes()
    return {
        "transformers": {path.name: path.read_bytes() for path in folder.iterdir()},
        "open_clip": {
            "open_clip_config.json": json.dumps(told).encode(),
            "open_clip_model.safetensors": weights,
            "open_clip_pytorch_model.bin": b"the same weights once more" * 1000,
        },
    }


MODEL = "lab/tiny"
LAYOUTS = {
    "transformers": ["backbone=transformers", f"backbone.path={MODEL}"],
    "open_clip": ["backbone=open_clip", f"backbone.architecture=hf-hub:{MODEL}"],
}
SOME_OF_BACKBONES = (("transformers", "gated"), ("transformers", "always cut"), ("open_clip", "other content"))
WEIGHTS = {"transformers": "model.safetensors", "open_clip": "open_clip_model.safetensors"}


@pytest.fixture
def with_model(cli: Cli, tmp_path: Path) -> Callable[..., int]:
    """`eval` of two images with a model of the hub."""
    folder = make_folder(tmp_path / "folder", {"ant": 1, "bee": 1})

    def call(layout: str, *arguments: str, command: str = "eval") -> int:
        given = [f"dataset.path={folder}", "prompts=simple", *LAYOUTS[layout], *arguments]
        return cli(command, "dataset=folder", *given)

    return call


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_backbone_is_fetched_once_of_one_commit_and_then_used_without_the_hub(
    layout: str, hub: Hub, with_model: Callable[..., int], cli: Cli, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add("model", MODEL, models[layout])
    assert with_model(layout, "output=json", command="plan") == 0, cli.err
    size = len(models[layout][WEIGHTS[layout]])
    said = json.loads(cli.out)["plan"][0]["weights"]
    assert said.startswith(f"to download from hub:{MODEL} (")
    assert said.endswith(f" at {repo.id_of(-1)[:12]})")
    assert not hub.sent()
    assert with_model(layout) == 0, cli.err
    record = cli.record()
    assert record.backbone.origin == f"{MODEL}@{repo.id_of(-1)}"
    assert [one.path.rpartition("/")[2] for one in hub.fetched()] == [WEIGHTS[layout]]
    assert size == sum(len(models[layout][one.path.rpartition("/")[2]]) for one in hub.fetched())
    sent = len(hub.sent())
    assert with_model(layout, "rerun=always") == 0, cli.err
    assert len(hub.sent()) == sent
    offline(monkeypatch)
    asked = len(hub.asked)
    assert with_model(layout, "rerun=always") == 0, cli.err
    assert len(hub.asked) == asked
    assert cli.record().backbone == record.backbone
    assert with_model(layout, "output=json", command="plan") == 0, cli.err
    assert json.loads(cli.out)["plan"][0]["finished"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        pytest.param(layout, name, marks=[] if (layout, name) in SOME_OF_BACKBONES else pytest.mark.long)
        for layout, names in {
            "transformers": [
                name for name in REFUSED if name not in ("token refused", "server fails", "too many files")
            ],
            "open_clip": ["no such revision", "always cut", "other content"],
        }.items()
        for name in names
    ],
)
def test_a_backbone_that_is_refused_ends_with_its_message(
    name: str, layout: str, hub: Hub, with_model: Callable[..., int], cli: Cli, models: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hub.add("model", MODEL, models[layout])
    small = "tokenizer_config.json" if layout == "transformers" else "open_clip_config.json"
    names = {"kind": "model", "large": WEIGHTS[layout], "small": small, "group": "backbone", "name": MODEL}
    if layout == "open_clip" and name == "no such revision":
        assert cli("eval", "dataset=demo", *LAYOUTS[layout], f"backbone.architecture=hf-hub:{MODEL}@v2") == 2
        told_once(cli, REFUSED[name].said)
        return
    refused(name, hub, cli, lambda *more: with_model(layout, *more), monkeypatch, names)


@pytest.mark.slow
@pytest.mark.long
def test_a_plan_counts_what_is_missing_of_a_model_that_is_here_in_part(
    hub: Hub, with_model: Callable[..., int], cli: Cli, models: Any
) -> None:
    files = models["transformers"]
    repo = hub.add("model", MODEL, files)
    huggingface_hub.hf_hub_download(MODEL, "config.json")
    assert with_model("transformers", "output=json", command="plan") == 0, cli.err
    size = sum(len(content) for name, content in files.items() if name != "config.json")
    said = f"to download from hub:{MODEL} ({size_text(size)} at {repo.id_of(-1)[:12]})"
    assert json.loads(cli.out)["plan"][0]["weights"] == said
    assert with_model("transformers") == 0, cli.err
    other = b"-" * 3_000_000
    repo.commits.append({**files, "model.safetensors": other})
    cupl_bench.dataset.hub._answers.clear()
    assert with_model("transformers", "output=json", command="plan") == 0, cli.err
    said = f"to download from hub:{MODEL} ("
    assert json.loads(cli.out)["plan"][0]["weights"].startswith(said)
    assert json.loads(cli.out)["plan"][0]["weights"].endswith(f" at {repo.id_of(-1)[:12]})")


@pytest.mark.slow
def test_a_main_branch_that_moves_between_identifying_and_loading(hub: Hub, tmp_path: Path, models: Any) -> None:
    """What is loaded is what was identified: a record never names other weights than those that were used."""
    import torch

    from cupl_bench.backbone.transformers import TransformersSource

    files = models["transformers"]
    repo = hub.add("model", MODEL, files)
    source = TransformersSource(path=MODEL, revision=None)
    facts = source.identify(tmp_path, download=True)
    other = make_clip(tmp_path / "other", seed=1)
    repo.commits.append({**files, "model.safetensors": (other / "model.safetensors").read_bytes()})
    loaded = source.load(facts, torch.device("cpu"), "fp32")
    assert loaded.facts.origin == f"{MODEL}@{repo.id_of(0)}"
    assert len(hub.fetched()) == 1


def test_a_tag_says_what_its_weights_are_and_how_large(
    hub: Hub, cli: Cli, photos: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = "timm/vit_base_patch32_clip_224.openai"
    repo = hub.add(
        "model", tag, {"open_clip_model.safetensors": b"-" * 20_000, "open_clip_pytorch_model.bin": b"-" * 7}
    )
    ask = [f"dataset.path={make_folder(tmp_path / 'two', {'ant': 1, 'bee': 1})}", "backbone=vit_b32_openai"]
    assert cli("plan", "dataset=folder", *ask, "output=json") == 0, cli.err
    said = f"to download from hub:{tag} (20.0 kB at {repo.id_of(-1)[:12]})"
    assert json.loads(cli.out)["plan"][0]["weights"] == said
    assert not hub.sent()
    offline(monkeypatch)
    assert cli("plan", "dataset=folder", *ask, "output=json") == 0, cli.err
    assert json.loads(cli.out)["plan"][0]["weights"] == f"to download from hub:{tag} (size not known)"


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.long
def test_a_run_is_reproduced_with_the_commits_that_its_record_names(
    layout: str, hub: Hub, cli: Cli, photos: dict[str, bytes], models: Any
) -> None:
    data, model = hub.add("dataset", PHOTOS, photos), hub.add("model", MODEL, models[layout])
    assert cli("eval", "dataset=hf", f"dataset.path={PHOTOS}", "prompts=simple", *LAYOUTS[layout]) == 0, cli.err
    key = cli.record().run_key
    data.commits.append({**photos, "data/test-00001-of-00002.parquet": table([1, 1, 1], 40)})
    model.commits.append({**models[layout], WEIGHTS[layout]: b"other weights"})
    assert cli("reproduce", key) == 0, cli.err + cli.out
    assert f"dataset.revision={data.id_of(0)}: the commit that the record names" in cli.out
    assert "asked again: equal" in cli.out
    assert cli("eval", "dataset=hf", f"dataset.path={PHOTOS}", "prompts=simple", "backbone=demo") == 0, cli.err
    assert cli.record().dataset.origin == {"source": f"{PHOTOS}@{data.id_of(1)}"}  # seconds after the branch has moved


# Files by URL ---------------------------------------------------------------------------------------------------

PROMPTS = {"ant": ["a photo of an ant."], "bee": ["a photo of a bee."]}


@pytest.fixture
def with_prompts(cli: Cli, tmp_path: Path, tiny: TinyModel) -> Callable[..., int]:
    """`eval` of two images with prompts by URL."""
    folder = make_folder(tmp_path / "folder", {"ant": 1, "bee": 1})

    def call(url: str, *arguments: str, command: str = "eval") -> int:
        given = [f"dataset.path={folder}", "prompts=file", f"prompts.path='{url}'", *tiny.overrides, *arguments]
        return cli(command, "dataset=folder", *given)

    return call


@pytest.mark.slow
def test_prompts_by_url_are_fetched_once(
    hub: Hub, with_prompts: Callable[..., int], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps(PROMPTS).encode()
    hub.files["prompts.json"] = content
    url = f"{hub.address}/files/prompts.json"
    assert with_prompts(url, "output=json", command="plan") == 0, cli.err
    found = json.loads(cli.out)["plan"][0]
    assert found["prompts_file"] == f"to download from {url} ({len(content)} bytes)"
    assert (found["num_images"], found["num_prompts"]) == (2, None)
    assert with_prompts(url, command="plan") == 0, cli.err
    assert "prompts file" in cli.out
    assert not hub.sent()
    assert with_prompts(url) == 0, cli.err
    hub.faults = [Fault("/files/", status=500), Fault("/files/", "HEAD", status=500)]
    assert with_prompts(url, "rerun=always") == 0, cli.err
    assert with_prompts(f"{hub.address}/files/more.json", "output=json", command="plan") == 0, cli.err
    assert json.loads(cli.out)["plan"][0]["prompts_file"].endswith("more.json (size not known)")
    assert len(hub.sent()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "pin", "said"),
    [
        ({"cut": 0.5}, "", "cannot be downloaded (it was cut short: start again)"),
        ({"cut": 0.5}, "#sha256={digest}", "cannot be downloaded (it was cut short: start again)"),
        ({"status": 404}, "", "cannot be downloaded (the server has no such file, 404)"),
        ({"status": 403}, "", "cannot be downloaded (the server refuses it, 403)"),
        ({"status": 429}, "", "cannot be downloaded (too many requests, 429: wait a few minutes)"),
        ({"status": 500}, "", "cannot be downloaded (the server fails, 500: start again later)"),
        ({"other": True}, "#sha256={digest}", "it is another file, or was damaged on the way"),
        ({"status": None}, "nobody", "cannot be downloaded (the server cannot be reached)"),
    ],
)
@pytest.mark.long
def test_prompts_by_url_that_cannot_be_had(
    fault: dict[str, Any], pin: str, said: str, hub: Hub, with_prompts: Callable[..., int], cli: Cli
) -> None:
    content = json.dumps(PROMPTS).encode()
    hub.files["prompts.json"] = content
    hub.faults = [Fault("/files/", **fault)]
    url = f"{hub.address}/files/prompts.json{pin.format(digest=hashlib.sha256(content).hexdigest())}"
    if pin == "nobody":
        url = "http://127.0.0.1:1/prompts.json"
    assert with_prompts(url) == 2, cli.out
    told_once(cli, said)
    assert "Fetch it by hand and give its path in prompts.path." in cli.err
    if pin != "nobody":
        hub.faults = []
        assert with_prompts(url) == 0, cli.err


def spec_of_archive(folder: Path, url: str, md5: str | None, size: int | None) -> Path:
    """The spec of CUB, whose images are had as an archive by a URL."""
    content = spec_content("cub")
    content["remotes"] = [{"kind": "archive", "url": url, "md5": md5, "bytes": size}]
    path = folder / "cub.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.slow
def test_an_archive_by_url(hub: Hub, cli: Cli, tiny: TinyModel, tmp_path: Path) -> None:
    trees.cub(tmp_path / "made")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(tmp_path / "made" / "CUB_200_2011", "CUB_200_2011")
    content = buffer.getvalue()
    hub.files["CUB_200_2011.tgz"] = content
    url = f"{hub.address}/files/CUB_200_2011.tgz"
    spec = spec_of_archive(tmp_path, url, hashlib.md5(content, usedforsecurity=False).hexdigest(), 10**9)
    ask = ["dataset=cub", f"dataset.spec={spec}", "dataset.protocol=custom", "prompts=simple", *tiny.overrides]
    assert cli("plan", *ask, "output=json") == 0, cli.err
    here = json.loads(cli.out)["plan"][0]["dataset_here"]
    assert here.startswith(f"not here, to download: archive ({size_text(len(content))}); ")
    hub.faults = [Fault("/files/", "HEAD", status=500)]
    cupl_bench.dataset.urls._sizes.clear()
    assert cli("plan", *ask, "output=json") == 0, cli.err
    assert "archive (1.00 GB as published); " in json.loads(cli.out)["plan"][0]["dataset_here"]
    assert not hub.sent()
    for fault, said in (
        (Fault("/files/", cut=0.5), "cannot be downloaded (it was cut short: start again)"),
        (Fault("/files/", status=404), "cannot be downloaded (the server has no such file, 404)"),
        (Fault("/files/", status=500), "cannot be downloaded (the server fails, 500: start again later)"),
        (Fault("/files/", other=True), "it is another file, or was damaged on the way"),
    ):
        hub.faults = [fault]
        assert cli("eval", *ask) == 2, cli.out
        told_once(cli, said)
    hub.faults = []
    assert cli("eval", *ask) == 0, cli.err
    assert (cli.record().dataset.origin or {})["source"] == url
    sent = len(hub.sent())
    hub.faults = [Fault("/files/", status=500)]
    assert cli("eval", *ask, "rerun=always") == 0, cli.err
    assert len(hub.sent()) == sent


@pytest.mark.slow
def test_a_table_by_url(hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes]) -> None:
    content = photos["data/test-00000-of-00002.parquet"]
    hub.files["table.parquet"] = content
    url = f"{hub.address}/files/table.parquet"
    ask = [f"dataset.data_files={url}"]
    assert run(*ask, "output=json", path="parquet", command="plan") == 0, cli.err
    said = f"not here, to download: '{url}' ({size_text(len(content))}); test"
    assert json.loads(cli.out)["plan"][0]["dataset_here"] == said
    assert not hub.sent()
    for fault, reason in (
        ({"cut": 0.5}, "(it was cut short: start again)"),
        ({"status": 404}, "(the server has no such file, 404)"),
        ({"status": 500}, "(the server fails, 500: start again later)"),
    ):
        hub.faults = [Fault("/files/", **fault)]  # type: ignore[arg-type]
        assert run(*ask, path="parquet") == 2, cli.out
        told_once(cli, f"{url} cannot be downloaded {reason}. Fetch it by hand")
    hub.faults = []
    assert run(*ask, path="parquet") == 0, cli.err
    assert cli.record().dataset.origin == {"source": url}
    hub.faults = [Fault("/files/", status=500)]
    assert run(*ask, "rerun=always", path="parquet") == 0, cli.err


@pytest.mark.slow
@pytest.mark.long
def test_a_word_that_is_no_repository(hub: Hub, run: Callable[..., int], cli: Cli) -> None:
    assert run(path="imagnet") == 2
    told_once(cli, "imagnet is ")


# Programs -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.long
def test_a_program_reads_the_address_of_the_hub_and_whether_it_may_ask(
    photos: dict[str, bytes], models: Any, tmp_path: Path
) -> None:
    def program(address: str, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [
            sys.executable, "-m", "cupl_bench", "eval", "dataset=hf", f"dataset.path={PHOTOS}", "prompts=simple",
            *LAYOUTS["open_clip"], f"results_dir={tmp_path / 'results'}", f"cache_dir={tmp_path / 'cache'}", *more,
        ]  # fmt: skip
        known = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_ETAG_TIMEOUT": "2"}
        known["CUPL_BENCH_CACHE"] = str(tmp_path / "own")
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, **known, **environment},
            check=False,
            timeout=300,
        )

    with hub_on_loopback() as hub:
        data, model = hub.add("dataset", PHOTOS, photos), hub.add("model", MODEL, models["open_clip"])
        first = program(hub.address)
        assert first.returncode == 0, first.stderr
        record = read_record(next((tmp_path / "results" / "records").glob("*.json")))
        assert record.dataset.origin == {"source": f"{PHOTOS}@{data.id_of(-1)}"}
        assert record.backbone.origin == f"{MODEL}@{model.id_of(-1)}"
    again = program(hub.address, "rerun=always", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert "Traceback" not in first.stderr + again.stderr
