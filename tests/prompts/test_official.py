"""The files of the CuPL paper: pinned, checked, kept; never shipped."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pooch
import pytest

from cupl_bench.dataset.spec import read_spec
from cupl_bench.dataset.texts import CUPL_COMMIT, CuplFile, CuplFiles, Texts
from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import PromptsError
from cupl_bench.prompts import sources
from cupl_bench.prompts.sources import fetch_official, read_templates
from cupl_bench.prompts.strategies import DescriptionsStrategy

NAMES = read_spec("flowers").classes.names


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two small files in place of the flowers' own: ``full`` checked by sha256, ``base`` by git's name alone."""
    held = {
        variant: json.dumps({name: [f"A {name} ({variant})."] for name in reversed(NAMES["openai"])}).encode()
        for variant in ("base", "full")
    }
    real = read_spec("flowers").texts

    def file(variant: str) -> CuplFile:
        content = held[variant]
        sha256 = hashlib.sha256(content).hexdigest() if variant == "full" else None
        return CuplFile(path=f"all/{variant} one.json", git_blob=blob(content), sha256=sha256, bytes=len(content))

    assert real.cupl is not None
    files = CuplFiles(base=file("base"), full=file("full"), aliases=real.cupl.aliases, subset=False)
    texts = Texts(templates={}, templates_source={}, cupl=files, instead_of_cupl=None)
    monkeypatch.setattr(sources, "read_texts", lambda _: texts)
    fetched: list[tuple[str, str | None]] = []

    def retrieve(url: str, known_hash: str | None, fname: str, path: Path, **_: Any) -> str:
        fetched.append((url, known_hash))
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(held["full" if "full" in fname else "base"])
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return {"held": held, "fetched": fetched}


def strategy(cache: Path, **changes: Any) -> DescriptionsStrategy:
    plain = DescriptionsStrategy(
        path="cupl:flowers",
        variant=None,
        cache_dir=str(cache),
        templates=None,
        aliases=None,
        extra="error",
        clean=False,
        aggregation=Aggregation.MEAN,
    )
    return replace(plain, **changes)


def test_fetched_once_at_the_pinned_commit(upstream: dict[str, Any], tmp_path: Path) -> None:
    names = NAMES["openai"]
    prompts = strategy(tmp_path)(names)
    assert prompts.texts[77] == (f"A {names[77]} (full).",)
    assert prompts.source == f"sarahpratt/CuPL@{CUPL_COMMIT} all/full one.json"
    assert strategy(tmp_path)(names).digest == prompts.digest
    assert strategy(tmp_path, variant="base")(names).texts[0] == (f"A {names[0]} (base).",)
    start = f"https://raw.githubusercontent.com/sarahpratt/CuPL/{CUPL_COMMIT}/all/"
    sha256 = f"sha256:{hashlib.sha256(upstream['held']['full']).hexdigest()}"
    assert upstream["fetched"] == [(f"{start}full%20one.json", sha256), (f"{start}base%20one.json", None)]


@pytest.mark.parametrize("variant", ["base", "full"])
def test_a_file_of_another_content_is_refused_each_time(variant: str, upstream: dict[str, Any], tmp_path: Path) -> None:
    official = fetch_official("flowers", variant, tmp_path)
    official.path.write_bytes(official.path.read_bytes().replace(b"pink primrose", b"pink primrosa", 1))
    with pytest.raises(PromptsError, match=f"is not CuPL's all/{variant} one.json .*Remove it and start again"):
        fetch_official("flowers", variant, tmp_path)


def test_other_spellings_are_joined_by_the_aliases(upstream: dict[str, Any], tmp_path: Path) -> None:
    prompts = strategy(tmp_path)(NAMES["torchvision"])
    assert prompts.texts[92] == ("A air plant (full).",)
    assert prompts.join == {"exact": 99, "normalised": 1, "aliased": 2, "ignored": 0}


def test_without_a_network_the_message_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(*_: Any, **__: Any) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(PromptsError, match="pets_prompts_full.json cannot be downloaded") as caught:
        strategy(tmp_path, path="cupl:pets")(["a", "b"])
    assert f"by hand and put it into {tmp_path / 'prompts' / 'cupl' / CUPL_COMMIT[:12]}" in str(caught.value)
    assert "prompts.path" in str(caught.value)


def test_a_data_set_without_a_file_says_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="CuPL has no file of image-prompts for cub. SuS-X wrote .* prompts=file"):
        strategy(tmp_path, path="cupl:cub")(["a", "b"])
    with pytest.raises(PromptsError, match="There is no data set 'flower'. Did you mean 'flowers'"):
        strategy(tmp_path, path="cupl:flower")(["a", "b"])


def test_a_variant_of_a_users_own_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"a": ["x"], "b": ["y"]}')
    own = strategy(tmp_path, path=str(tmp_path / "own.json"))
    assert own(["a", "b"]).texts == (("x",), ("y",))
    digest = hashlib.sha256((tmp_path / "own.json").read_bytes()).hexdigest()
    assert own(["a", "b"]).source == f"own.json sha256:{digest}"
    with pytest.raises(PromptsError, match="prompts.variant=base chooses between the two files of the CuPL paper"):
        replace(own, variant="base")(["a", "b"])


def test_templates_of_a_data_set_by_the_name_of_their_list() -> None:
    assert read_templates("cub/waffle") == ["A photo of a {}."]
    with pytest.raises(PromptsError, match="'cub/wafle' names no templates.*Did you mean 'cub/waffle"):
        read_templates("cub/wafle")


def test_no_file_of_the_paper_is_in_the_package() -> None:
    package = Path(sources.__file__).parents[1]
    pairs = [read_spec(name).texts.cupl for name in ("flowers", "imagenet", "pets")]
    names = {Path(file.path).name for pair in pairs if pair is not None for file in (pair.base, pair.full)}
    assert len(names) == 6
    assert not [path for path in package.rglob("*.json") if path.name in names]
