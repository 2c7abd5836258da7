"""What the tokens of a text were is remembered beside its features: known texts need no model and no tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from faulty import CONTEXT

from cupl_bench.backbone import TokenIds, Tokens
from cupl_bench.features import encode_texts
from cupl_bench.store import RowStore

TOKENIZER = "a" * 64


class LowerCase:
    """A text encoder whose tokens are the bytes of the text in lower case, at most five."""

    note = "a note"

    def __init__(self) -> None:
        self.tokenized: list[str] = []
        self.encoded: list[TokenIds] = []

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        self.tokenized += texts
        ids = [tuple(text.lower().encode("utf-8", "surrogatepass")) for text in texts]
        return Tokens(sequences=tuple(one[:5] for one in ids), truncated=tuple(len(one) > 5 for one in ids))

    def encode(self, sequences: Sequence[TokenIds], batch_size: int) -> torch.Tensor:
        self.encoded += sequences
        return torch.tensor([[1.0, sum(sequence)] for sequence in sequences])


class Asked:
    """Gives the backbone and counts how often it was asked for."""

    def __init__(self) -> None:
        self.text = LowerCase()
        self.loads = 0

    def __call__(self) -> Any:
        self.loads += 1
        return SimpleNamespace(text=self.text)


def encode(folder: Path, texts: Sequence[str], tokenizer: str | None = TOKENIZER) -> tuple[Any, Asked]:
    asked = Asked()
    found = encode_texts(texts, asked, RowStore(folder=folder, facts={}), tokenizer=tokenizer, batch_size=2)
    return found, asked


def of_texts(found: Any) -> list[tuple[list[float], bool]]:
    return [(found.rows[row].tolist(), cut) for row, cut in zip(found.row_of_text, found.truncated, strict=True)]


TEXTS = ["a frog", "A frog", "frog", "", "Kr\u00f6te \U0001f438", "\ud800", "frog"]


def test_known_texts_need_no_model(tmp_path: Path) -> None:
    first, _ = encode(tmp_path, TEXTS)
    again, asked = encode(tmp_path, TEXTS[::-1])
    assert asked.loads == 0
    assert of_texts(again) == of_texts(first)[::-1]
    assert (again.num_encoded, again.note) == (0, None)
    assert [cut for _, cut in of_texts(first)] == [True, True, False, False, True, False, False]


def test_only_new_texts_are_tokenized_and_only_new_tokens_encoded(tmp_path: Path) -> None:
    encode(tmp_path, ["frog", "newt"])
    found, asked = encode(tmp_path, ["toad", "newt", "FROG"])
    assert asked.text.tokenized == ["toad", "FROG"]
    assert asked.text.encoded == [tuple(b"toad")]
    assert found.num_encoded == 1
    assert of_texts(found) == of_texts(encode(tmp_path / "fresh", ["toad", "newt", "FROG"])[0])


@pytest.mark.parametrize("tokenizer", [None, "b" * 64])
def test_another_tokenizer_or_one_without_a_key_tokenizes(tmp_path: Path, tokenizer: str | None) -> None:
    encode(tmp_path, ["frog"])
    _, asked = encode(tmp_path, ["frog"], tokenizer)
    assert asked.text.tokenized == ["frog"]
    assert not asked.text.encoded
    _, asked = encode(tmp_path, ["frog"], tokenizer)
    assert asked.loads == (1 if tokenizer is None else 0)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: b"x" + content])
def test_a_damaged_memo_is_set_aside_and_made_again(tmp_path: Path, damage: Any) -> None:
    before, _ = encode(tmp_path, TEXTS)
    (shard,) = (tmp_path / "tokens").rglob("*.safetensors")
    shard.write_bytes(damage(shard.read_bytes()))
    after, asked = encode(tmp_path, TEXTS)
    assert asked.loads == 1
    assert not asked.text.encoded
    assert of_texts(after) == of_texts(before)
    assert [path.parent.name for path in (tmp_path / "tokens").rglob("*.safetensors") if "damaged" in str(path)]
    assert encode(tmp_path, TEXTS)[1].loads == 0


def test_features_that_were_lost_are_encoded_again(tmp_path: Path) -> None:
    before, _ = encode(tmp_path, TEXTS)
    for shard in tmp_path.glob("*.safetensors"):
        shard.unlink()
    after, asked = encode(tmp_path, TEXTS)
    assert len(asked.text.encoded) == before.num_encoded
    assert of_texts(after) == of_texts(before)


def in_a_process(folder: Path, start: int) -> None:
    for step in range(start, start + 40):
        encode(folder, [f"{number % 7} {number}" for number in range(step, step + 5)])


@pytest.mark.slow
def test_several_processes_write_one_memo(tmp_path: Path) -> None:
    processes = [CONTEXT.Process(target=in_a_process, args=(tmp_path, start)) for start in (0, 10, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    texts = [f"{number % 7} {number}" for number in range(60)]
    found, asked = encode(tmp_path, texts)
    assert asked.loads == 0
    assert np.array_equal(
        [row for row, _ in of_texts(found)], [row for row, _ in of_texts(encode(tmp_path / "fresh", texts)[0])]
    )
    assert not (tmp_path / "tokens" / TOKENIZER[:32] / "damaged").exists()
