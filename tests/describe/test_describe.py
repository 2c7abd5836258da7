"""What a run leaves: the CuPL JSON, its provenance, the journal, and what it says of faulty answers."""

import hashlib
import json
from pathlib import Path

import pytest

from cupl_bench.describe import DescribeError
from cupl_bench.describe.image_prompts import Description
from cupl_bench.prompts.joining import join_by_name
from cupl_bench.prompts.sources import read_descriptions


def count_words(texts):
    return [len(text.split()) for text in texts]


@pytest.fixture
def describe(cli, garden, server):
    return lambda *arguments: cli("describe", *garden, *server.overrides(), "describe.n=2", *arguments)


@pytest.fixture
def left(cli):
    """The CuPL JSON and the provenance that the last lines name."""

    def read() -> tuple[dict, dict, Path]:
        path = Path(cli.out.strip().splitlines()[-1].split(maxsplit=1)[1])
        provenance = json.loads(path.with_name(f"{path.stem}.provenance.json").read_text("utf-8"))
        return json.loads(path.read_text("utf-8")), provenance, path

    return read


@pytest.mark.slow
def test_sentences_stand_in_the_order_of_classes_llm_prompts_and_answers(describe, left, server, journal) -> None:
    assert describe("llm.concurrency=7") == 0
    content, provenance, path = left()
    assert list(content) == ["rose", "sunflower", "tulip"]
    by_place = {(line["request"], line["index"]): line for line in journal().lines}
    for key, row in content.items():
        kept = provenance["sentences"][key]
        assert [(one["llm_prompt"], one["index"]) for one in kept] == [(p, i) for p in range(3) for i in range(2)]
        lines = [by_place[one["request"], one["index"]] for one in kept]
        assert [line["text"] for line in lines] == row
        assert {line["class_name"] for line in lines} == {key}
        assert [line["llm_prompt"] for line in lines] == [
            provenance["llm_prompts"][one["llm_prompt"]]["text"] for one in kept
        ]
    assert provenance["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_descriptions(str(path)) == content


def test_a_journal_line_says_all(describe, journal) -> None:
    assert describe("describe=paper", "describe.n=2", "describe.llm_prompts=['Describe {a} {}.']") == 0
    line = min(journal().lines, key=lambda one: one["label"])  # they come in any order
    assert {name: line[name] for name in ("label", "llm_prompt", "api", "model", "answered_by", "limits")} == {
        "label": 0,
        "llm_prompt": "Describe {a} {}.",
        "api": "chat",
        "model": "canned",
        "answered_by": "canned-1",
        "limits": {"temperature": 0.99, "max_tokens": 50, "stop": ["."]},
    }
    assert (line["asked"], line["prompt_tokens"], line["completion_tokens"]) == ("Describe a rose.", 7, 10)
    assert (line["finish_reason"], line["refusal"]) == ("stop", None)
    assert line["time"].endswith("+00:00")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "body"),
    [
        (
            ["describe=paper"],
            {"n": 10, "temperature": 0.99, "max_tokens": 50, "stop": ["."]},
        ),
        (["describe.temperature=null"], {"n": 2, "max_tokens": 120}),
        (["llm.limit_key=max_completion_tokens"], {"n": 2, "temperature": 1.0, "max_completion_tokens": 120}),
    ],
)
def test_what_is_sent(overrides, body, cli, garden, server) -> None:
    given = [] if "describe=paper" in overrides else ["describe.n=2"]
    assert cli("describe", *garden, *server.overrides(), *given, *overrides) == 0
    sent = dict(server.received[0].body)
    assert sent.pop("model") == "canned"
    assert [message["role"] for message in sent.pop("messages")] == ["user"]
    assert sent == body


def test_completions_are_asked_without_a_chat(describe, server) -> None:
    assert describe("llm.api=completions") == 0
    asked = [one.body["prompt"] for one in server.received]  # in no order: several are in flight at once
    assert not any("messages" in one.body for one in server.received)
    assert len(asked) == 9
    assert sum(text.startswith("Describe what a rose looks like:\nAnswer with one sentence") for text in asked) == 1


@pytest.mark.slow
def test_a_plan_asks_nothing_and_needs_no_key(describe, cli, server, monkeypatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    prices = ["llm.price_input=1000", "llm.price_output=2000", "llm.key_from=MY_KEY", "describe.plan=true"]
    assert describe(*prices) == 0
    assert not server.received
    assert not cli.results.exists()
    # 9 requests for 2 answers of at most 120 tokens.
    row = cli.out.splitlines()[3].split()
    assert row[:5] == ["3", "3", "18", "0", "9"]
    assert row[-3:] == ["2,160", "<=", f"{(int(row[6].replace(',', '')) * 1000 + 2160 * 2000) / 1e6:.2f}"]
    assert describe() == 0
    asked = sum(len(one.text) for one in server.received)
    assert abs(int(row[6]) - asked / 4 - 9 * 8) < 9
    assert describe(*prices) == 0
    assert cli.out.splitlines()[3].split()[:5] == ["3", "3", "18", "18", "0"]


def test_tokens_and_cost_are_counted_once_for_each_reply(describe, cli, left) -> None:
    assert describe("llm.price_input=1000000", "llm.price_output=2000000") == 0
    assert "63 in, 90 out, cost 243.0000" in cli.out  # 9 replies of 7 and 2 x 5 tokens
    assert left()[1]["tokens"] == {"input": 63, "output": 90, "replies_without_a_count": 0, "cost": 243.0}


def test_faulty_answers_are_counted_listed_and_left_out(describe, cli, left, server) -> None:
    answers = {
        ("rose", 0): {"content": "I'm sorry, but I cannot describe a rose."},
        ("rose", 1): {"content": None, "refusal": "no roses"},
        ("sunflower", 0): {"content": ""},
        ("sunflower", 1): {"content": "A tulip has a cup of six petals."},
        ("tulip", 0): {"content": "It is a red flower on a stem."},
        ("tulip", 1): {"content": "A tulip stands beside a rose in the garden."},
    }

    def says(text: str, number: int) -> dict:
        name = next(name for name in ("rose", "sunflower", "tulip") if f"a {name}" in text)
        if text.startswith("Describe what"):
            return answers[name, number]
        if text.startswith("What"):
            return {
                "content": f"A {name} has many" if number else f"A {name} is soft. It ha",
                "finish_reason": "length",
            }
        return {"content": f"A {name} is tall and green." if number else f"A {name}."}

    server.says = says
    assert describe() == 0, cli.err
    content, provenance, _ = left()
    assert content == {
        "rose": ["A rose is tall and green.", "A rose is soft."],
        "sunflower": ["A sunflower is tall and green.", "A sunflower is soft."],
        "tulip": ["A tulip stands beside a rose in the garden.", "A tulip is tall and green.", "A tulip is soft."],
    }
    assert {mark: (one["answers"], one["left_out"]) for mark, one in provenance["marks"].items()} == {
        "empty": (2, 2),  # the second has only a refusal beside it
        "refusal": (2, 2),
        "cut": (3, 3),
        "shortened": (3, 0),
        "fragment": (3, 3),
        "another": (1, 1),
        "unnamed": (1, 1),
        "beside": (1, 0),
    }
    assert len(provenance["left_out"]) == 11
    gone = {(one["class"], one["answer"]) for one in provenance["left_out"]}
    assert ("sunflower", "A tulip has a cup of six petals.") in gone
    assert ("rose", "A rose has many") in gone
    assert "another    1 answers name another class in place of their own: left out; first: sunflower:" in cli.out
    assert "beside     1 answers name another class beside their own: kept; first: tulip:" in cli.out
    assert "2 to 3 of each class; 11 answers left out" in cli.out


def test_a_class_without_a_sentence_ends_the_run_and_loses_nothing(describe, cli, server, journal) -> None:
    server.says = lambda text, number: {"content": "It is red." if "a rose" in text else "A sunflower, not a tulip."}
    assert describe() == 2
    assert "1 of 3 classes are left without a sentence, first: 'rose'" in cli.err
    assert "6 name no class (unnamed)" in cli.err
    assert "describe.leave_out" in cli.err
    assert len(journal().lines) == 18
    assert [path.name for path in journal().path.parent.glob("*.json")] == []
    server.received.clear()
    assert describe("describe.leave_out=[]") == 0
    assert not server.received


def test_long_answers_are_found_by_clips_tokens(describe, cli, left, server) -> None:
    long = "A rose a sunflower a tulip has " + "petals and " * 40
    server.says = lambda text, number: {"content": long if number else f"{long[:31]}petals."}
    assert describe() == 0
    assert left()[1]["marks"]["long"] == {"says": "are longer than a text tower reads", "answers": 9, "left_out": 9}


def test_classes_of_one_name_keep_their_own(server, tmp_path, recipe_and_endpoint) -> None:
    recipe, endpoint = recipe_and_endpoint(*server.overrides("describe.n=2"))
    names = ("missile", "rose", "missile")
    description = Description(dataset="imagenet", class_names=names, endpoint=endpoint, recipe=recipe, folder=tmp_path)
    written = description.write(lambda: None, lambda: (count_words, 77))
    content = json.loads(written.output.read_text())
    assert list(content) == ["missile [0]", "rose", "missile [2]"]
    assert not set(content["missile [0]"]) & set(content["missile [2]"])
    assert sum(server.asked.values()) == 3 * 3 * 2
    join = join_by_name(names, list(content), "the file")
    assert join.keys == tuple(content)


def test_an_llm_prompt_that_stands_twice_is_asked_twice(server, tmp_path, recipe_and_endpoint) -> None:
    recipe, endpoint = recipe_and_endpoint(*server.overrides("describe.n=2", "describe.llm_prompts=full"))
    server.says = lambda text, number: {"content": f"The {text.split()[2]} is aircraft number {number}."}
    description = Description(
        dataset="aircraft", class_names=("DC-3", "A300"), endpoint=endpoint, recipe=recipe, folder=tmp_path
    )
    content = json.loads(description.write(lambda: None, lambda: (count_words, 77)).output.read_text())
    assert {name: len(set(row)) for name, row in content.items()} == {"DC-3": 4, "A300": 4}


@pytest.mark.parametrize(
    ("names", "message"),
    [(("rose", " "), "1 class names are blank"), (("a", "a", "a [1]"), "'a [1]'")],
)
def test_names_that_make_no_keys(names, message, server, tmp_path, recipe_and_endpoint) -> None:
    recipe, endpoint = recipe_and_endpoint(*server.overrides())
    description = Description(dataset="x", class_names=names, endpoint=endpoint, recipe=recipe, folder=tmp_path)
    with pytest.raises(DescribeError, match=message.replace("[", r"\[")):
        description.write(lambda: None, lambda: (count_words, 77))
    assert not server.received


def test_names_of_any_script_and_with_braces(server, tmp_path, recipe_and_endpoint) -> None:
    names = ("été {}", "椿", "{a} rose", "line\nbreak")
    recipe, endpoint = recipe_and_endpoint(*server.overrides("describe.n=1", "describe.llm_prompts=['Describe {}:']"))
    server.says = lambda text, number: {"content": f"See the {text[9:].split(':')[0]} in bloom."}
    description = Description(dataset="a/b", class_names=names, endpoint=endpoint, recipe=recipe, folder=tmp_path)
    written = description.write(lambda: None, lambda: (count_words, 77))
    assert json.loads(written.output.read_text("utf-8")) == {
        name: [f"See the {' '.join(name.split())} in bloom."] for name in names
    }
    assert {one.text for one in server.received} == {f"Describe {name}:\n{recipe.instruction}" for name in names}


@pytest.mark.slow
def test_a_named_data_set_needs_no_images(cli, server) -> None:
    server.says = lambda text, number: {"content": f"A {text.split('bird ')[1].split(chr(10))[0]} has wings."}
    assert cli("describe", "dataset=cub", *server.overrides("describe.n=1", "describe.llm_prompts=['Of {thing}']")) == 0
    assert len(server.received) == 200
    assert server.received[0].text.startswith("Of the bird ")
