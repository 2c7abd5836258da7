"""Data sets and backbones of the hub, fetched from one on the loopback address through the public command."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from conftest import Cli
from hub import TOKEN, Fault, Hub, hub_on_loopback
from making import TinyModel, encoded

import cupl_bench.dataset.hub

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
    monkeypatch.setenv("HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setenv("CUPL_BENCH_CACHE", str(cache / "own"))
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.001)))


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def run(cli: Cli, tiny: TinyModel) -> Callable[..., int]:
    """`eval` of a data set of the hub with the tiny model."""

    def call(*arguments: str, command: str = "eval", path: str = PHOTOS) -> int:
        return cli(command, "dataset=hf", f"dataset.path={path}", "prompts=simple", *tiny.overrides, *arguments)

    return call


def test_a_data_set_is_fetched_once_of_one_commit_and_then_used_without_the_hub(
    hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.add("dataset", PHOTOS, photos)
    assert run() == 0, cli.err
    record = cli.record()
    assert record.dataset.origin == {"source": f"{PHOTOS}@{repo.id_of(-1)}"}
    assert (record.dataset.num_images, record.dataset.num_classes) == (6, 3)
    assert [one.path.rpartition("/")[2] for one in hub.fetched()] == [
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
    """A failure: how it comes about, what is said, and whether the same command succeeds once it is mended."""

    said: str
    faults: tuple[Fault, ...] = ()
    repo: dict[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    token: str | None = None
    again: bool = True


LOG_IN = "run 'hf auth login' (or set HF_TOKEN)"
REFUSED = {
    "private": Case(said="is not on the hub as main, or it is private. It may have moved: look at", repo={"private": True}),
    "gated": Case(said="is gated, and your account has no access. Accept its terms on", repo={"gated": True}),
    "no such revision": Case(
        said="has no revision v2 on the hub", arguments=("dataset.revision=v2", "backbone.revision=v2"), again=False
    ),
    "token refused": Case(said="is not to be had with your token (403)", faults=(Fault("/api/{kind}s", status=403),)),
    "too many requests": Case(said="too many requests from you (429)", faults=(Fault("/api/{kind}s", status=429),)),
    "too many files": Case(said="too many requests from you (429)", faults=(Fault("/storage/", status=429),)),
    "server fails": Case(said="the hub fails (500)", faults=(Fault("/api/{kind}s", status=500),)),
    "storage fails": Case(said="the hub fails (503)", faults=(Fault("/storage/", status=503),)),
    "head fails": Case(said="the hub fails (502)", faults=(Fault("{large}", "HEAD", status=502),)),
    "always cut": Case(said="cannot be downloaded (", faults=(Fault("/storage/", cut=0.5),)),
    "cut before the first byte": Case(said="cannot be downloaded (", faults=(Fault("/storage/", cut=0),)),
    "other content": Case(said="are not the content whose digest the hub gave", faults=(Fault("/storage/", other=True),)),
    "other small file": Case(
        said="are not the content whose digest the hub gave", faults=(Fault("{small}", other=True),)
    ),
}  # fmt: skip


def told_once(cli: Cli, said: str) -> None:
    """The error is one line, which says so, and nothing else of it."""
    lines = [line for line in cli.err.splitlines() if said in line]
    assert len(lines) == 1, cli.err
    assert "Traceback" not in cli.err
    assert not list(cli.results.glob("records/*.json"))


def refused(
    case: Case, hub: Hub, cli: Cli, ask: Callable[..., int], monkeypatch: pytest.MonkeyPatch, names: dict[str, str]
) -> None:
    """The command ends with the message, and succeeds once the cause is gone."""
    repo = hub.repos[-1]
    for name, value in case.repo.items():
        setattr(repo, name, value)
    hub.faults = [
        Fault(one.where.format(**names), one.method, one.status, one.cut, one.other, one.times) for one in case.faults
    ]
    assert ask(*[one for one in case.arguments if one.startswith(names["group"])]) == 2, cli.out + cli.err
    told_once(cli, case.said)
    assert names["name"] in cli.err
    if case.again:
        hub.faults = []
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        cupl_bench.dataset.hub._answers.clear()
        assert ask() == 0, cli.err


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "other small file"])
def test_a_data_set_that_is_refused_ends_with_its_message(
    name: str, hub: Hub, run: Callable[..., int], cli: Cli, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("dataset", PHOTOS, photos)
    names = {"kind": "dataset", "large": "test-00001", "group": "dataset", "name": PHOTOS}
    refused(REFUSED[name], hub, cli, run, monkeypatch, names)
