"""Files and arguments of any content: taken for what they say, or refused with one message; never a traceback."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from cupl_bench.archive import MANIFEST, import_runs
from cupl_bench.dataset.archives import unpack
from cupl_bench.dataset.names import read_class_names
from cupl_bench.describe.llm_prompts import read_llm_prompts
from cupl_bench.embeddings import Aggregation
from cupl_bench.errors import CuplBenchError, DatasetError, PromptsError, ResultsError
from cupl_bench.outcomes import read_outcomes
from cupl_bench.prompts.sources import read_descriptions, read_templates
from cupl_bench.prompts.strategies import DescriptionsStrategy
from cupl_bench.records import Record, read_record
from cupl_bench.store import DamagedFileError, read_arrays

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
SHAPES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SENTENCES = st.dictionaries(st.text(max_size=8), st.lists(st.text(max_size=30), max_size=4), max_size=4)
CONTENTS = (
    st.binary(max_size=80)
    | (SHAPES | SENTENCES).map(lambda shape: json.dumps(shape).encode())
    | (SHAPES | SENTENCES).map(lambda shape: json.dumps(shape, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
DEEP = b"[" * 200_000
HUGE = json.dumps({"ant": ["a " * 5_000_000]}).encode()

on_many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encodable(texts: list[str]) -> bool:
    """Whether texts can be written as UTF-8: records and tables are."""
    return all(text.encode("utf-8", "ignore").decode() == text for text in texts)


@on_many
@given(content=CONTENTS)
def test_descriptions(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    try:
        found = read_descriptions(str(path))
    except PromptsError as error:
        assert str(path) in str(error)  # noqa: PT017 - or it is taken
    else:
        assert found
        assert all(row and all(isinstance(text, str) for text in row) for row in found.values())
        assert encodable([*found, *(text for row in found.values() for text in row)])
        assert json.loads(content.decode("utf-8-sig")) == found


@on_many
@given(content=CONTENTS)
def test_templates_and_class_names(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    try:
        templates = read_templates(str(path))
    except PromptsError:
        pass
    else:
        assert all("{}" in template for template in templates)
        assert encodable(templates)
    try:
        names = read_class_names(path)
    except DatasetError:
        pass
    else:
        assert all(name.strip() for name in (names.values() if isinstance(names, dict) else names))
        assert encodable(list(names.values() if isinstance(names, dict) else names))


@pytest.mark.parametrize("content", [DEEP, b'{"a":' * 100_000, b"\xff\xfe[]", b'{"ant": ["x"], "ant": ["y"]}'])
def test_deep_and_repeated_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(PromptsError):
        read_descriptions(str(path))
    with pytest.raises(PromptsError):
        read_templates(str(path))
    with pytest.raises(DatasetError):
        read_class_names(path)


def test_a_sentence_of_ten_million_letters(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(HUGE)
    assert len(read_descriptions(str(tmp_path / "p.json"))["ant"][0]) == 10_000_000


@pytest.mark.slow
@on_many
@given(held=SENTENCES, names=st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=4))
def test_a_strategy_gives_every_class_its_own_sentences_or_refuses(
    tmp_path: Path, held: dict[str, list[str]], names: list[str]
) -> None:
    (tmp_path / "p.json").write_text(json.dumps(held))
    strategy = DescriptionsStrategy(
        path=str(tmp_path / "p.json"), variant=None, cache_dir=str(tmp_path), templates=None, aliases=None,
        extra="ignore", clean=False, aggregation=Aggregation.MEAN,
    )  # fmt: skip
    try:
        prompts = strategy(names)
    except PromptsError:
        return
    for name, texts in zip(names, prompts.texts, strict=True):
        assert list(texts) in held.values()
        if name in held:
            assert list(texts) == held[name]


WORDS = st.sampled_from(
    ["prompts", "dataset", "backbone", "budget", "seed", "batch_size", "device", "rerun", "precision", "hydra.mode",
     "prompts.templates", "dataset.path", "prompts.name", "results_dir", "nonsense", "prompts._target_", "+x",
     "~prompts", "++prompts.y", "num_workers", "cache_limit_gb", "experiment", "machine", "tracking"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["", "null", "0", "-1", "1e400", "nan", "[]", "{}", "[a,[b,{c:d}]]", "${oc.env:HOME}", "${nowhere}", "${", "'", '"',
     "\\", "simple", "cupl", "templates", "folder", "true", "os.system", "builtins.eval", "a=b", "a,b", "\x00",
     "\u2028",
     "9" * 400, "../..", "choice(1,2)", "range(1,3)", "é", "*"]
) | st.text(max_size=12)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(overrides=st.lists(st.tuples(WORDS, VALUES).map("=".join) | st.text(max_size=12), min_size=1, max_size=2))
def test_overrides_are_taken_or_refused_with_a_message(cli: Any, overrides: list[str]) -> None:
    from cupl_bench.composition import compose
    from cupl_bench.config import machine_of, question_of

    try:
        config = compose(overrides)
        question_of(config)
        machine_of(config)
    except CuplBenchError as error:
        assert str(error)  # noqa: PT017 - or it is taken
        assert "Traceback" not in str(error)  # noqa: PT017


@pytest.mark.slow
@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "subprocess.run", "nowhere.Nothing", "pathlib.Path"])
def test_a_target_that_is_no_part_of_a_question_is_refused(cli, on_photos, target: str) -> None:
    assert on_photos("prompts=templates", "prompts.templates=['a {}']", f"prompts._target_={target}") == 2, cli.err
    assert "Traceback" not in cli.err


@pytest.mark.slow
@on_many
@given(shape=SHAPES, key=st.sampled_from(sorted(Record.model_fields)), cut=st.integers(0, 4000))
def test_records(undisturbed: Any, tmp_path: Path, shape: Any, key: str, cut: int) -> None:
    whole = next((undisturbed.results / "records").glob("*.json"))
    content = json.loads(whole.read_text())
    path = tmp_path / whole.name
    for text in (json.dumps({**content, key: shape}), whole.read_text()[:cut]):
        path.write_text(text)
        try:
            record = read_record(path)
        except ResultsError as error:
            assert str(path) in str(error)  # noqa: PT017 - or it is taken
        else:
            assert json.loads(record.model_dump_json())["metrics"] == json.loads(text)["metrics"]


@pytest.mark.slow
@on_many
@given(content=st.binary(max_size=200), flipped=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_stored_arrays(undisturbed: Any, tmp_path: Path, content: bytes, flipped: int, bit: int) -> None:
    """Any one bit of a shard that flips is seen, or changes neither keys nor rows."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_arrays(path)
    (whole,) = (undisturbed.cache / "image_features").glob("*/*.safetensors")
    altered = bytearray(whole.read_bytes())
    altered[flipped % len(altered)] ^= 1 << bit
    path.write_bytes(altered)
    try:
        arrays, _ = read_arrays(path)
    except DamagedFileError:
        return
    expected, _ = read_arrays(whole)
    assert arrays.keys() == expected.keys()
    assert all((arrays[name] == expected[name]).all() for name in arrays)


def test_texts_that_are_no_unicode_are_refused_before_any_work(cli, on_photos, tmp_path: Path) -> None:
    """JSON can write half of a surrogate pair; no tokenizer, table or record can hold it."""
    rows = {name: ["a \\ud800 ."] for name in ("ant", "bee", "cat", "dog", "eel")}
    (tmp_path / "p.json").write_text(json.dumps(rows).replace("\\\\", "\\"))
    assert on_photos("prompts=file", f"prompts.path={tmp_path / 'p.json'}") == 2, cli.err
    assert "is not Unicode text" in cli.err


def zipped(name: str, content: bytes = b"a picture " * 20) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return bytearray(buffer.getvalue())


def encrypted(name: str) -> bytes:
    content = zipped(name)
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def with_broken_stream(name: str) -> bytes:
    content = zipped(name)
    content[30 + len(name)] = 0xFF
    return bytes(content)


@pytest.mark.parametrize("make", [encrypted, with_broken_stream])
def test_archives_that_cannot_be_unpacked_are_refused(tmp_path: Path, make: Any) -> None:
    (tmp_path / "a.zip").write_bytes(make("x/0.jpg"))
    with pytest.raises(DatasetError, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    (tmp_path / "runs.zip").write_bytes(make(MANIFEST))
    with pytest.raises(ResultsError, match=r"runs\.zip cannot be read as an archive"):
        import_runs(tmp_path / "runs.zip", tmp_path / "results")


def without_a_name() -> bytes:
    """The one letter of the name is said to be something else that belongs to the file."""
    content = zipped("a")
    for lengths in (26, content.index(b"PK\x01\x02") + 28):
        content[lengths : lengths + 4] = b"\0\0\1\0"
    return bytes(content)


@pytest.mark.parametrize("content", [zipped("."), without_a_name()])
def test_a_member_of_an_archive_without_a_name_is_no_defect(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")


def test_other_files_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(DEEP)
    with pytest.raises(CuplBenchError, match="LLM-prompts"):
        read_llm_prompts(str(tmp_path / "p.json"), "demo")
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "000000.json").write_bytes(DEEP)
    with pytest.raises(ResultsError, match="is not an outcome of a question"):
        read_outcomes(tmp_path)
    save_file({"a": np.zeros(1)}, tmp_path / "a.safetensors", metadata={"facts": DEEP.decode(), "sha256": ""})
    with pytest.raises(DamagedFileError):
        read_arrays(tmp_path / "a.safetensors")
