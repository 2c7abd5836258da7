"""The forms in which prompt files exist, each made here as its own repository has it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pooch
import pytest
import torch

from cupl_bench.errors import PromptsError
from cupl_bench.prompts.files import content_of, digest_of, path_of
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import read_descriptions

HELD = {"black_footed_albatross": ["A dark bird.", "Long wings."], "tree frog": ["It is green."]}


def test_a_torch_file_of_plain_data(tmp_path: Path) -> None:
    torch.save(HELD, tmp_path / "cub.pt")
    assert read_descriptions(str(tmp_path / "cub.pt")) == HELD


def test_a_torch_file_that_needs_code_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    torch.save({"a": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(PromptsError, match="need code to be run are never opened here"):
        read_descriptions(str(tmp_path / "trap.pt"))
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04half"])
def test_a_broken_torch_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cub.pt").write_bytes(content)
    with pytest.raises(PromptsError, match="cannot be read as a torch file of plain data"):
        read_descriptions(str(tmp_path / "cub.pt"))
    with pytest.raises(PromptsError, match="does not exist"):
        read_descriptions(str(tmp_path / "none.pt"))


def test_a_folder_of_text_files_has_a_class_for_each(tmp_path: Path) -> None:
    (tmp_path / "Baltimore_Oriole.txt").write_bytes(
        "\ufeffA bird with an orange breast.\r\n\r\n  A bird, très small.  \n".encode()
    )
    (tmp_path / "Åland.txt").write_text("One.", encoding="utf-8")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "notes.md").write_text("no")
    assert read_descriptions(str(tmp_path)) == {
        "Baltimore_Oriole": ["A bird with an orange breast.", "A bird, très small."],
        "Åland": ["One."],
    }


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="is a folder without a .txt file"):
        read_descriptions(str(tmp_path))
    (tmp_path / "ant.txt").write_text("\n \n")
    with pytest.raises(PromptsError, match="1 of 1 classes hold an empty list, first: 'ant'"):
        read_descriptions(str(tmp_path))
    (tmp_path / "ant.txt").write_bytes(b"\xff")
    with pytest.raises(PromptsError, match=r"ant.txt is not UTF-8 text \(byte 0\)"):
        read_descriptions(str(tmp_path))


def test_a_pinned_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(HELD))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest_of(path) == digest
    assert content_of(f"{path}#sha256={digest}", "anything") == HELD
    assert content_of(f"{path}#sha256={digest.upper()}", "anything") == HELD
    with pytest.raises(PromptsError, match=f"a.json has the sha256 {digest}, not {'0' * 64}: it is another file"):
        content_of(f"{path}#sha256={'0' * 64}", "anything")
    with pytest.raises(PromptsError, match="is a folder; #sha256=... can pin a single file"):
        path_of(f"{tmp_path}#sha256={digest}")


def test_a_hash_sign_in_a_name_is_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a#sha256=1.json"
    path.write_text(json.dumps(HELD))
    assert content_of(str(path), "anything") == HELD


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\n")
    with pytest.raises(PromptsError, match=r"is not JSON \(it is empty\); it should hold a CuPL JSON"):
        read_descriptions(str(tmp_path / "a.json"))


def test_a_url_is_fetched_with_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []
    path = tmp_path / "x.json"
    path.write_text(json.dumps(HELD))

    def retrieve(url: str, known_hash: str | None, path: Path, **_: Any) -> str:
        asked.append((url, known_hash))
        assert path == tmp_path / "kept" / "prompts"
        return str(tmp_path / "x.json")

    monkeypatch.setenv("CUPL_BENCH_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    digest = digest_of(path)
    assert read_descriptions(f"https://example.org/x.json#sha256={digest}") == HELD
    assert read_descriptions("https://example.org/x.json") == HELD
    assert asked == [
        ("https://example.org/x.json", f"sha256:{digest}"),
        ("https://example.org/x.json", None),
    ]


def test_the_digest_of_a_folder_is_that_of_its_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = digest_of(tmp_path)
    (tmp_path / "b.md").write_text("not a text of a class")
    assert digest_of(tmp_path) == before
    (tmp_path / "a.txt").write_text("two")
    assert digest_of(tmp_path) != before


def test_an_unknown_part_of_the_library_offers_what_there_is() -> None:
    with pytest.raises(PromptsError, match="The library has no descriptions of 'nothing-like-it'"):
        path_of("library:nothing-like-it")


def test_classes_of_one_name_find_the_texts_of_their_label() -> None:
    join = join_by_name(["missile", "frog", "missile"], ["missile [0]", "missile [2]", "frog"], "x.json")
    assert join.keys == ("missile [0]", "frog", "missile [2]")
    assert join.counts == {"exact": 3, "normalised": 0, "aliased": 0, "ignored": 0}


def test_a_key_of_another_label_belongs_to_no_class() -> None:
    with pytest.raises(PromptsError, match="1 of 2 classes have no prompts in x.json, first: 'missile'"):
        join_by_name(["frog", "missile"], ["missile [0]", "frog"], "x.json")
    aliased = join_by_name(["frog", "missile"], ["missile [0]", "frog"], "x.json", {"missile": "missile [0]"})
    assert aliased.keys == ("frog", "missile [0]")
