"""What is fuzzed: functions that read what others wrote, what they may answer, and good input to begin with."""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from making import encoded, make_folder, make_tiny
from open_clip.tokenizer import SimpleTokenizer
from pydantic import ValidationError

from cupl_bench.archive import export_runs, import_runs
from cupl_bench.backbone.bpe import FastBpe
from cupl_bench.dataset.archives import unpack
from cupl_bench.dataset.decode import decode, decode_tensor
from cupl_bench.dataset.names import is_unicode, read_class_names
from cupl_bench.dataset.webdataset import WebdatasetSource
from cupl_bench.describe.answers import sentence_of
from cupl_bench.describe.asking import Reply
from cupl_bench.describe.journal import Entry, opened
from cupl_bench.describe.llm_prompts import read_llm_prompts
from cupl_bench.errors import CuplBenchError
from cupl_bench.outcomes import read_outcomes
from cupl_bench.prompts.sources import read_descriptions, read_templates
from cupl_bench.records import read_record
from cupl_bench.store import DamagedFileError, RowStore, read_arrays

__all__ = ["REFUSALS", "TARGETS", "make_seeds"]

REFUSALS = (CuplBenchError, DamagedFileError, ValidationError)
"""What may be raised: `DamagedFileError` by what reads stored files, `ValidationError` by the model of a reply."""

TOKENIZERS = [SimpleTokenizer(clean=clean) for clean in ("lower", "whitespace", "canonicalize")]
FAST = [FastBpe.from_tokenizer(tokenizer) for tokenizer in TOKENIZERS]


def _written(content: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def descriptions(content: bytes, place: Path) -> None:
    found = read_descriptions(str(_written(content, place / "p.json")))
    assert found
    assert all(row and all(isinstance(text, str) and is_unicode(text) for text in row) for row in found.values())


def torch_descriptions(content: bytes, place: Path) -> None:
    read_descriptions(str(_written(content, place / "p.pt")))


def text_descriptions(content: bytes, place: Path) -> None:
    read_descriptions(str(_written(content, place / "texts" / "ant.txt").parent))


def templates(content: bytes, place: Path) -> None:
    assert all("{}" in template for template in read_templates(str(_written(content, place / "t.json"))))


def class_names(content: bytes, place: Path) -> None:
    found = read_class_names(_written(content, place / "c.json"))
    assert all(name.strip() for name in (found.values() if isinstance(found, dict) else found))


def llm_prompts(content: bytes, place: Path) -> None:
    read_llm_prompts(str(_written(content, place / "l.json")), "demo")


def records(content: bytes, place: Path) -> None:
    read_record(_written(content, place / "0123456789ab.json"))


def outcomes(content: bytes, place: Path) -> None:
    read_outcomes(_written(content, place / "sweep" / "outcomes" / "000000.json").parent.parent)


def stored_arrays(content: bytes, place: Path) -> None:
    read_arrays(_written(content, place / "a.safetensors"))


def stored_rows(content: bytes, place: Path) -> None:
    _written(content, place / "store" / "a.safetensors")
    RowStore(folder=place / "store", facts={}).present([b"0" * 16])


def exported_runs(content: bytes, place: Path) -> None:
    shutil.rmtree(place / "results", ignore_errors=True)
    import_runs(_written(content, place / "runs.zip"), place / "results")


def archives(content: bytes, place: Path) -> None:
    archive = _written(content, place / "archive")
    try:
        unpack(archive, place / "unpacked")
    finally:
        shutil.rmtree(place / "unpacked", ignore_errors=True)
    assert [path.name for path in place.iterdir()] == ["archive"]


def shards(content: bytes, place: Path) -> None:
    _written(b"ant\nbee", place / "shards" / "classnames.txt")
    _written(content, place / "shards" / "0.tar")
    WebdatasetSource(path=str(place / "shards"), split="test", class_names=None, limit=None, seed=0)(place / "cache")


def images(content: bytes, _: Path) -> None:
    picture = decode(content)
    assert decode_tensor(content).shape == (3, picture.height, picture.width)


def tokens(content: bytes, _: Path) -> None:
    text = content.decode("utf-8", "ignore")
    for tokenizer, fast in zip(TOKENIZERS, FAST, strict=True):
        assert fast is not None
        (sequence,), _cut = fast([text])
        assert [*sequence, *[0] * (tokenizer.context_length - len(sequence))] == tokenizer([text])[0].tolist(), text


def replies(content: bytes, _: Path) -> None:
    for choice in Reply.model_validate_json(content).choices:
        text = (choice.message.content if choice.message else choice.text) or ""
        sentence_of(text, choice.finish_reason, "clean", ("###",))
        sentence_of(text, choice.finish_reason, "paper")


def journals(content: bytes, place: Path) -> None:
    with opened(_written(content, place / "journal.jsonl")) as journal:
        before = journal.of("request")
    with opened(place / "journal.jsonl") as journal:
        assert journal.of("request") == before


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    target.__name__: target
    for target in (
        descriptions, torch_descriptions, text_descriptions, templates, class_names, llm_prompts, records, outcomes,
        stored_arrays, stored_rows, exported_runs, archives, shards, images, tokens, replies, journals,
    )
}  # fmt: skip


def make_seeds(folder: Path) -> dict[str, list[bytes]]:
    """Good input for each target, some of it left by a small run."""
    from cupl_bench.__main__ import main

    results = folder / "results"
    photos, tiny = make_folder(folder / "photos", dict.fromkeys(["ant", "bee"], 2)), make_tiny(folder / "tiny")
    arguments = ["dataset=folder", f"dataset.path={photos}", *tiny.overrides, "prompts=simple"]
    assert main(["eval", *arguments, f"results_dir={results}", f"cache_dir={folder / 'cache'}"]) == 0
    record = next((results / "records").glob("*.json")).read_bytes()
    key = json.loads(record)["run_key"].encode()
    export_runs(results, [], folder / "runs.zip")
    stored = [path.read_bytes() for path in sorted(folder.glob("cache/*/*/*.safetensors"))]
    rows = {"ant": ["an ant.", "a small ant."], "bee": ["a bée."]}
    torch.save(rows, folder / "rows.pt")
    members = {"x/0.jpg": encoded(0), "x/0.cls": b"1", "notes.txt": b"none"}
    sentences = [b"A photo of a tree frog.", b"fish &amp; chips, na\xc3\xafve <start_of_text> it's THE_dog's 12"]
    entry = Entry(
        request="request", index=0, label=0, class_name="ant", llm_prompt="Describe {}.", asked="Describe ant.",
        base_url="http://127.0.0.1/v1", api="chat", model="m", answered_by=None,
        limits={"temperature": 0.5, "max_tokens": 9, "stop": ["."]}, time="2025-01-01T00:00:00.000+00:00",
        response="r", prompt_tokens=None, completion_tokens=3, finish_reason="stop", refusal=None, text="An ant.",
    )  # fmt: skip
    line = json.dumps(asdict(entry)).encode()
    chat = {
        "choices": [{"message": {"content": "An ant.Black."}, "finish_reason": "length"}],
        "usage": {},
        "model": "m",
    }
    outcome = {"job": "j", "run_key": None, "error": "e", "mistake": True, "note": None, "left": False}
    return {
        "descriptions": [json.dumps(rows).encode(), b"\xef\xbb\xbf{}"],
        "torch_descriptions": [(folder / "rows.pt").read_bytes()],
        "text_descriptions": [b"an ant.\r\nblack\n\n"],
        "templates": [b'["a photo of a {}.", "{}"]'],
        "class_names": [b'["ant", "bee"]', b'{"n01": "ant"}'],
        "llm_prompts": [b'["Describe {a} {}.", "What is {thing}?"]'],
        "records": [record.replace(key, b"0123456789ab")],
        "outcomes": [json.dumps(outcome).encode()],
        "stored_arrays": stored,
        "stored_rows": stored,
        "exported_runs": [(folder / "runs.zip").read_bytes()],
        "archives": [_zip(members), _tar(members, "w"), _tar(members, "w:gz"), _tar(members, "w:xz")],
        "shards": [_tar(members, "w")],
        "images": [encoded(0, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA")],
        "tokens": sentences,
        "replies": [json.dumps(chat).encode(), b'{"choices": [{"text": "x", "finish_reason": null}]}'],
        "journals": [line + b"\n", line + b"\n" + line, line[:-9]],
    }


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(members: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
