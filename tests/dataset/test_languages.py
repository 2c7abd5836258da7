"""Class names and templates of other languages: fetched whole and checked, joined by every mark of their scripts."""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trees
from conftest import Cli
from making import TinyModel
from trees import ids_of, load

from cupl_bench.dataset import texts
from cupl_bench.dataset.named import NamedSource
from cupl_bench.dataset.names import normalised
from cupl_bench.dataset.spec import read_spec
from cupl_bench.errors import DataNotHereError, DatasetError, PromptsError
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import read_templates
from cupl_bench.records import read_record

WORDS = {
    "ar": ("سمكة", "صورة {c}"),
    "cn": ("鱼", "一张{c}的照片"),
    "hi": ("मछली", "{c} की तस्वीर"),
    "ru": ("рыба", "фотография: {c}"),
    "jp": ("がぎぐ", "{c}の写真"),
}
"""Of each language a word, from which a thousand names are made, and a template."""


def names_of(language: str) -> list[str]:
    return [f"{WORDS[language][0]} {label % 998}" for label in range(1000)]


class Shelf:
    """Files by their paths, and which were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        shelf = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shelf.asked.append(self.path)
                content = shelf.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, name: str, content: bytes) -> dict[str, object]:
        """What a spec says of it."""
        self.files[f"/{name}"] = content
        return {
            "url": f"{self.address}/{name}", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
            "key": "imagenet1k", "source": "a test", "language": name,
        }  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Specs of ImageNet and ImageNet-A whose lists of five languages lie on a server of this machine."""
    found = Shelf()
    thread = Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    specs = tmp_path / "specs"
    specs.mkdir()
    for name in ("imagenet", "imagenet_a"):
        (specs / f"{name}.json").write_bytes((texts.SPECS / f"{name}.json").read_bytes())
    content = json.loads((specs / "imagenet.json").read_text())
    content["classes"]["fetched"], content["texts"]["fetched"] = {}, {}
    for language, (_, template) in WORDS.items():
        escaped = language in ("jp", "ar")  # both ways of writing JSON are in use
        for part, listed in (("classes", names_of(language)), ("texts", [template, "{c}"])):
            told = found.put(
                f"{language}_{part}.json", json.dumps({"imagenet1k": listed}, ensure_ascii=escaped).encode()
            )
            content[part]["fetched"][language] = {**told, "count": len(listed)}
    (specs / "imagenet.json").write_text(json.dumps(content))
    monkeypatch.setattr(texts, "SPECS", specs)
    monkeypatch.setenv("CUPL_BENCH_CACHE", str(tmp_path / "own-cache"))
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.mark.parametrize("language", list(WORDS))
def test_names_and_templates_are_fetched_once_letter_for_letter(language: str, shelf: Shelf, tmp_path: Path) -> None:
    expected = trees.imagenet_folders(tmp_path / "set")
    for _ in range(2):
        found = load("imagenet", tmp_path / "set", tmp_path / "cache", names=language, source="auto")
        assert ids_of(found, "imagenet") == expected
        assert list(found.class_names) == names_of(language)
        assert read_templates(f"imagenet/{language}") == [WORDS[language][1].replace("{c}", "{}"), "{}"]
    assert shelf.asked == [f"/{language}_classes.json", f"/{language}_texts.json"]
    assert found.origin is not None
    told = found.origin["names_from"]
    assert told.startswith(f"{shelf.address}/{language}_classes.json#sha256=")
    assert told.endswith(hashlib.sha256(shelf.files[f"/{language}_classes.json"]).hexdigest())
    english = load("imagenet", tmp_path / "set", tmp_path / "cache")
    assert english.fingerprint != found.fingerprint
    assert "names_from" not in (english.origin or {})


def test_a_part_of_the_classes_has_the_names_of_that_part(shelf: Shelf, tmp_path: Path) -> None:
    """ImageNet-A has 200 of the thousand; its labels close up, and so do its names."""
    trees.wnid_folders("imagenet_a", "imagenet-a")(tmp_path / "set")
    found = load("imagenet_a", tmp_path / "set", tmp_path / "cache", names="hi", source="auto")
    whole = read_spec("imagenet").classes.ids
    assert list(found.class_names) == [names_of("hi")[whole.index(one)] for one in read_spec("imagenet_a").classes.ids]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the server has no such file, 404.* Fetch it by hand and save it as "),
        (b"<html>", "its sha256 is .* it is another file"),
        ({"imagenet1k": names_of("ru")[1:]}, "should hold a map whose 'imagenet1k' is a list of 1,000 texts"),
        ({"imagenet": names_of("ru")}, "should hold a map whose 'imagenet1k' is a list of 1,000 texts"),
        (names_of("ru"), "should hold a map whose 'imagenet1k' is a list"),
        ({"imagenet1k": [*names_of("ru")[1:], " "]}, "1 of 1,000 texts are blank or not text: ' '"),
    ],
)
def test_names_that_cannot_be_had_are_one_message(
    content: object, message: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.imagenet_folders(tmp_path / "set")
    if content is None:
        del shelf.files["/ru_classes.json"]
    elif isinstance(content, bytes):
        shelf.files["/ru_classes.json"] = content
    else:
        spec = json.loads((texts.SPECS / "imagenet.json").read_text())
        told = shelf.put("ru_classes.json", json.dumps(content).encode())
        spec["classes"]["fetched"]["ru"] = {**told, "count": 1000}
        (texts.SPECS / "imagenet.json").write_text(json.dumps(spec))
    with pytest.raises(DatasetError, match=message):
        load("imagenet", tmp_path / "set", tmp_path / "cache", names="ru", source="auto")


def test_nothing_is_fetched_where_it_may_not_be(shelf: Shelf, tmp_path: Path, cli: Cli, tiny: TinyModel) -> None:
    trees.imagenet_folders(cli.cache / "datasets" / "imagenet")
    source = NamedSource(
        spec="imagenet", path=None, root=str(cli.cache / "datasets"), source="local", protocol="custom", names="cn",
        limit=None, seed=0,
    )  # fmt: skip
    with pytest.raises(DataNotHereError, match="class names 'cn' of ImageNet-1k .* are not in .*/cn_classes.json"):
        source.class_names()
    arguments = ["dataset=imagenet", "dataset.names=cn", "dataset.protocol=custom", "prompts=ensemble"]
    arguments += ["dataset.texts.templates=imagenet/${dataset.names}", *tiny.overrides]
    assert cli("plan", *arguments) == 0, cli.err
    assert f"class names not here, to download: {shelf.address}/cn_classes.json (" in cli.out
    assert "then the images are looked for: val, 50,000 images" in cli.out
    assert "not here, to download: ILSVRC" not in cli.out  # the images are here
    assert not shelf.asked or set(shelf.asked) == {"/cn_classes.json"}  # by HEAD, for its size
    assert not (cli.cache / "datasets" / "names").exists()
    with pytest.raises(DatasetError, match="dataset.names=jq is not a list of names here; there are .*'cn'"):
        load("imagenet", None, cli.cache, names="jq")
    with pytest.raises(PromptsError, match="imagenet/ar"):
        read_templates("imagenet/jq")


def test_a_users_own_templates_in_any_script_by_url(shelf: Shelf) -> None:
    for name, content in (
        ("hi.json", json.dumps(["{} की तस्वीर", "{}"])),
        ("ar.txt", "صورة {c}\r\n{}\n"),
        ("jp.json", json.dumps(["{}の写真"], ensure_ascii=False)),
    ):
        told = shelf.put(name, content.encode())
        expected = {"hi.json": ["{} की तस्वीर", "{}"], "ar.txt": ["صورة {}", "{}"], "jp.json": ["{}の写真"]}[name]
        assert read_templates(str(told["url"])) == read_templates(f"{told['url']}#sha256={told['sha256']}") == expected
        with pytest.raises(PromptsError, match=f"its sha256 is {told['sha256']}, not 0000"):
            read_templates(f"{told['url']}#sha256={'0' * 64}")


@pytest.mark.slow
def test_a_sweep_over_languages_takes_the_templates_of_each(shelf: Shelf, cli: Cli, tiny: TinyModel) -> None:
    trees.wnid_folders("imagenet_a", "imagenet-a")(cli.cache / "datasets" / "imagenet_a")
    arguments = ["-m", "dataset=imagenet_a", "dataset.names=ar,jp", "dataset.protocol=custom", "prompts=ensemble"]
    assert cli("eval", *arguments, "dataset.texts.templates=imagenet/${dataset.names}", *tiny.overrides) == 0, cli.err
    records = [read_record(path) for path in (cli.results / "records").glob("*.json")]
    assert {(one.dataset.origin or {})["names"] for one in records} == {"ar", "jp"}
    assert {one.prompts.num_prompts for one in records} == {400}
    table = (cli.results / "tables" / "comparison.md").read_text()
    assert "imagenet_a (names=ar)" in table
    assert "imagenet_a (names=jp)" in table


def test_the_digests_are_those_of_clip_benchmarks_own_files() -> None:
    package = importlib.util.find_spec("clip_benchmark")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "datasets"
    spec = read_spec("imagenet")
    for fetched in (spec.classes.fetched, spec.texts.fetched):
        assert set(fetched) == {"ar", "cn", "it", "jp"}
        for listed in fetched.values():
            file = folder / listed.url.rsplit("/", 1)[1]
            content = file.read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (listed.sha256, listed.bytes)
            assert len(listed.read(file)) == listed.count
    distinct = {
        name: len(set(listed.read(folder / f"{name}_classnames.json"))) for name, listed in spec.classes.fetched.items()
    }
    assert distinct == {"ar": 996, "cn": 999, "it": 980, "jp": 991}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("कल", "काल"), ("कील", "कुल"),  # vowels of Hindi
        ("かき", "かぎ"), ("ハト", "バト"), ("ぱ", "ば"),  # the marks of voiced sounds
        ("หมา", "หมี"),  # vowels above
        ("бой", "бои"), ("ведро", "вёдро"),
        ("שָׁם", "שֵׁם"),
    ],
)  # fmt: skip
def test_marks_that_make_another_word_are_no_accents(one: str, other: str) -> None:
    """Else a class without prompts would silently get those of another word."""
    assert normalised(one) != normalised(other)
    with pytest.raises(PromptsError, match="1 of 2 classes have no prompts"):
        join_by_name([one, "x"], [other, "x"], "a file")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café au lait", "cafe-au-lait"), ("ÅNGSTRÖM", "angstrom"), ("Άλφα", "αλφα"), ("\uff34\uff36", "tv"),
        ("ﬁsh", "fish"),
        ("तस्वीर!", "तस्वीर"), ("がくせい", "か\u3099くせい"), ("Рыба-меч", "рыба меч"), ("صورة، سمكة", "صورة سمكة"),
        ("ガクセイ", "ｶﾞｸｾｲ"),
    ],
)  # fmt: skip
def test_two_spellings_of_one_name_stay_one(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert join_by_name([one], [other], "a file").keys == (other,)
