"""Servers that fail in every way they are known to: bounded tries, nothing lost, nothing asked twice."""

import json
import os
import signal
import time
import traceback
from collections import deque
from pathlib import Path

import pytest

from cupl_bench.describe import DescribeError
from cupl_bench.describe.image_prompts import Description
from cupl_bench.describe.journal import opened

RETRIED = ["500", "503", "408", "409", "cut", "garbage", "half JSON", "empty", "no choices", "stall", "stall midway"]
TOTAL = 3 * 3 * 2
"""Answers: three classes, three LLM-prompts, two of each."""


@pytest.fixture
def describe(cli, garden, server):
    def run(*arguments: str, overrides: list[str] | None = None) -> int:
        given = server.overrides() if overrides is None else overrides
        return cli("describe", *garden, *given, "describe.n=2", *arguments)

    return run


def written(cli) -> dict[str, list[str]]:
    """The CuPL JSON that the last line names."""
    return json.loads(Path(cli.out.strip().splitlines()[-1].split(maxsplit=1)[1]).read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", RETRIED)
def test_a_fault_is_tried_again_and_costs_no_answer(fault, describe, cli, server, journal) -> None:
    server.faults = deque([fault])
    assert describe() == 0, cli.err
    assert len(server.received) == 3 * 3 + 1
    assert len(set(journal().places())) == len(journal().lines) == TOTAL
    assert {name: len(row) for name, row in written(cli).items()} == {"rose": 6, "sunflower": 6, "tulip": 6}


@pytest.mark.slow
def test_a_pause_that_the_server_asks_for_is_kept(describe, server) -> None:
    server.faults = deque(["429 1"])
    assert describe("llm.concurrency=1") == 0
    first, second = server.received[:2]
    assert first.text == second.text
    assert second.time - first.time >= 1.0  # the client's own first pause is at most half a second


def test_a_pause_of_minutes_ends_the_run(describe, cli, server) -> None:
    server.faults = deque(["429 300"])
    assert describe("llm.concurrency=1") == 2
    assert len(server.received) == 1
    assert "asks for a pause of 300 s" in cli.err
    assert "0 of 18 answers" in cli.err


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "garbage", "no choices", "cut"])
def test_tries_are_counted_whatever_fails(fault, describe, cli, server) -> None:
    server.always = fault
    assert describe("llm.concurrency=1", "llm.tries=2") == 2
    assert len(server.received) == 2
    assert "continues from there" in cli.err


@pytest.mark.slow
def test_tries_of_different_faults_are_counted_together(describe, server) -> None:
    server.faults, server.always = deque(["garbage", "500"]), "no choices"
    assert describe("llm.concurrency=1", "llm.tries=3") == 2
    assert len(server.received) == 3


@pytest.mark.slow
def test_a_stalled_server_is_given_up(describe, cli, server) -> None:
    server.always = "stall"
    began = time.monotonic()
    assert describe("llm.concurrency=1", "llm.tries=2", "llm.timeout=0.3") == 2
    assert time.monotonic() - began < 5
    assert "stalled 2 times, each for 0.3 s" in cli.err


@pytest.mark.slow
def test_a_server_that_trickles_is_given_up(describe, cli, server) -> None:
    server.always = "trickle"
    began = time.monotonic()
    assert describe("llm.concurrency=1", "llm.patience=1") == 2
    assert time.monotonic() - began < 6
    assert "gave no answer within 1 s" in cli.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("401", "does not accept the key of MY_KEY (401"),
        ("403", "does not accept the key of MY_KEY (403"),
        ("404", "has no model 'canned', or is no such server (404"),
        ("400", "does not take the request for model 'canned' (400"),
        ("422", "does not take the request for model 'canned' (422"),
    ],
)
def test_what_no_further_try_mends_is_told_at_once(status, message, describe, cli, server, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    server.always = status
    assert describe("llm.key_from=MY_KEY", "llm.concurrency=1") == 2
    assert len(server.received) == (3 if status in ("400", "422") else 1)  # those may be about one question alone
    assert message in cli.err
    assert cli.err.count("\n") == 1
    assert "sk-0123456789" not in cli.err + cli.out


@pytest.mark.slow
@pytest.mark.parametrize("status", ["400", "422"])
@pytest.mark.parametrize("place", [0, 4])
def test_a_question_that_is_refused_does_not_keep_the_others(
    status, place, describe, cli, server, journal, tmp_path
) -> None:
    server.faults = deque([*[None] * place, status])
    assert describe("llm.concurrency=1") == 0, cli.err
    assert "1 questions are refused by the server" in cli.err
    assert "does not take the request for model 'canned'" in cli.err
    assert "refusal    2 answers refuse to answer: left out" in cli.out
    assert len(server.received) == TOTAL // 2
    refused = [line for line in journal().lines if line["refusal"]]
    assert len(refused) == 2
    assert (refused[0]["text"], refused[0]["finish_reason"]) == ("", "content_filter")
    server.received.clear()
    assert describe("llm.concurrency=1") == 0
    assert not server.received


def test_a_server_that_refuses_all_that_follows_ends_the_run(describe, cli, server, journal) -> None:
    server.faults, server.always = deque([None]), "400"
    asked = [f"'{number}: Describe a {{}}.'" for number in range(8)]
    assert describe("llm.concurrency=1", "llm.answers_per_request=1", f"describe.llm_prompts=[{','.join(asked)}]") == 2
    assert len(server.received) == 21
    assert "does not take the request" in cli.err
    assert not [line for line in journal().lines if line["refusal"]]


@pytest.mark.slow
def test_a_server_that_is_not_there(describe, cli, server) -> None:
    nowhere = ["llm=vllm", "llm.base_url=http://127.0.0.1:1/v1", "llm.model=x", "llm.tries=2"]
    assert describe(overrides=nowhere) == 2
    assert "http://127.0.0.1:1/v1 cannot be reached" in cli.err
    assert "0 of 18 answers are in" in cli.err


def test_no_key_in_the_environment(describe, cli, server, monkeypatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    assert describe("llm.key_from=MY_KEY") == 2
    assert "The environment variable MY_KEY holds no key" in cli.err
    assert not server.received


@pytest.mark.parametrize("value", ["sk-secret-0123", "gsk_secret0123", "https://a:b@c"])
def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(value, describe, cli, server) -> None:
    assert describe(f"llm.key_from='{value}'") == 2
    assert "name of an environment variable" in cli.err
    assert value not in cli.err + cli.out


def test_a_key_in_the_address_is_refused_and_not_shown(describe, cli) -> None:
    for address in ("http://me:sk-secret@127.0.0.1/v1", "'http://127.0.0.1/v1?key=sk-secret'"):
        assert describe(f"llm.base_url={address}") == 2
        assert "llm.base_url should be an address alone" in cli.err
        assert "sk-secret" not in cli.err


def test_the_users_key_for_one_server_is_not_sent_to_another(describe, server, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-alone")
    assert describe() == 0
    assert not any("sk-of-openai-alone" in str(one.headers) for one in server.received)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["401", "400", "404", "429", "500", "garbage", "no choices", "echo"])
def test_a_key_that_the_server_repeats_stands_nowhere(fault, describe, cli, server, monkeypatch, tmp_path) -> None:
    key = "sk-live/0123456789abcdef"
    monkeypatch.setenv("MY_KEY", key)
    server.always = fault
    code = describe("llm.key_from=MY_KEY", "llm.tries=1", "llm.concurrency=2")
    assert code == 2  # "echo" answers, but only ever about the rose
    assert {one.headers["authorization"] for one in server.received} == {f"Bearer {key}"}
    files = [path for folder in (cli.results, cli.cache) for path in folder.rglob("*") if path.is_file()]
    assert files
    for content in [cli.out, cli.err, *(path.read_text("utf-8", "replace") for path in files)]:
        assert key not in content
        assert "0123456789abcdef" not in content
    if fault == "echo":
        assert "[key]" in "".join(path.read_text("utf-8") for path in files)


def test_no_exception_holds_the_key(server, tmp_path, recipe_and_endpoint) -> None:
    key = "sk-live-0123456789abcdef"
    server.always = "401"
    recipe, endpoint = recipe_and_endpoint(*server.overrides())
    description = Description(
        dataset="folder", class_names=("rose", "tulip"), endpoint=endpoint, recipe=recipe, folder=tmp_path
    )
    with pytest.raises(DescribeError) as caught:
        description.write(lambda: key, lambda: (lambda texts: [1 for _ in texts], 77))
    assert key not in "".join(traceback.format_exception(caught.value))


def test_fewer_answers_than_asked_for_are_asked_again(describe, server, journal) -> None:
    server.always = "fewer"
    assert describe("llm.concurrency=1") == 0
    assert [one.n for one in server.received] == [2, 1] * 9
    assert len(set(journal().places())) == len(journal().lines) == TOTAL


def test_more_answers_than_asked_for_are_kept_for_later(describe, server, journal) -> None:
    server.always = "more"
    assert describe() == 0
    assert len(set(journal().places())) == len(journal().lines) == 2 * TOTAL
    asked = len(server.received)
    assert describe("describe.n=4") == 0
    assert len(server.received) == asked


def test_answers_can_be_asked_for_one_by_one(describe, server, journal) -> None:
    assert describe("llm.answers_per_request=1") == 0
    assert [one.n for one in server.received] == [1] * TOTAL
    assert not any("n" in one.body for one in server.received)
    assert len(set(journal().places())) == TOTAL


def test_no_more_requests_at_a_time_than_allowed(describe, server) -> None:
    server.delay = 0.05
    assert describe("llm.concurrency=3") == 0
    assert server.most_at_once == 3


def test_replies_without_a_count_of_tokens(describe, cli, server) -> None:
    server.always = "no usage"
    assert describe("describe.leave_out=[]") == 0
    assert "0 in, 0 out; 9 replies did not report their tokens" in cli.out


def test_a_run_that_failed_goes_on_where_it_was(describe, cli, server, journal) -> None:
    server.faults, server.always = deque([None, None, None, None]), "401"
    assert describe("llm.concurrency=1") == 2
    before = journal()
    assert f"{8} of {TOTAL} answers are in {before.path}" in cli.err
    assert "continues from there" in cli.err
    assert not list(before.path.parent.glob("*[0-9a-f].json"))
    server.always = None
    server.received.clear()
    assert describe("llm.concurrency=1") == 0
    assert sum(server.asked.values()) == TOTAL - 8
    assert journal().lines[:8] == before.lines
    assert len(set(journal().places())) == len(journal().lines) == TOTAL


@pytest.mark.slow
def test_a_finished_run_asks_nothing_and_needs_no_key(describe, cli, server, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    assert describe("llm.key_from=MY_KEY") == 0
    server.received.clear()
    monkeypatch.delenv("MY_KEY")
    first = written(cli)
    assert describe("llm.key_from=MY_KEY") == 0
    assert written(cli) == first
    assert describe("llm.key_from=MY_KEY", "describe.postprocess=paper") == 0
    assert not server.received


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["describe.temperature=0.5", "describe.max_tokens=9", "llm.model=other", "llm.api=completions"]
)
def test_answers_of_other_settings_are_not_mixed(change, describe, server, journal) -> None:
    assert describe() == 0
    assert describe(change) == 0
    assert sum(server.asked.values()) == 2 * TOTAL
    assert len(set(journal().places())) == len(journal().lines) == 2 * TOTAL
    assert len(list(journal().path.parent.glob("*.provenance.json"))) == 2


@pytest.mark.slow
def test_a_half_written_last_line_is_set_aside_and_asked_again(describe, cli, server, journal) -> None:
    assert describe() == 0
    path = journal().path
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    server.received.clear()
    assert describe() == 0
    assert "was half-written" in cli.err
    assert sum(server.asked.values()) == 1
    assert path.with_name(f"{path.name}.torn").read_bytes() == content.splitlines()[-1][:-39] + b"\n"
    assert len(set(journal().places())) == len(journal().lines) == TOTAL
    assert describe() == 0
    assert "half-written" not in cli.err


def test_a_last_line_that_lacks_its_end_alone_counts(describe, server, journal) -> None:
    assert describe() == 0
    path = journal().path
    path.write_bytes(path.read_bytes()[:-1])
    server.received.clear()
    assert describe() == 0
    assert not server.received
    assert len(journal().lines) == TOTAL


@pytest.mark.slow
def test_damaged_lines_are_told_and_asked_again(describe, cli, server, journal) -> None:
    assert describe() == 0
    path = journal().path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b'{"request": 3}\n', *lines[2:5], b"\x00\xff\n", *lines[6:]]))
    server.received.clear()
    assert describe() == 0
    assert "2 of 18 lines" in cli.err
    assert sum(server.asked.values()) == 2


def test_two_processes_do_not_share_a_journal(describe, cli, server, tmp_path) -> None:
    with opened(tmp_path / "results" / "descriptions" / "folder_vllm.journal.jsonl"):
        assert describe() == 2
    assert "Another process writes into" in cli.err
    assert not server.received
    assert describe() == 0


def test_a_place_that_cannot_be_written(describe, cli, server, tmp_path) -> None:
    (tmp_path / "results").write_text("a file")
    assert describe() == 2
    assert "cannot be written" in cli.err
    assert not server.received


@pytest.mark.slow
def test_a_file_of_another_origin_is_not_replaced(describe, cli, server, tmp_path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    assert describe("describe.output=mine.json") == 2
    assert "was not written by this command" in cli.err
    assert not server.received
    assert (tmp_path / "mine.json").read_text() == "{}"
    assert describe("describe.output=yours.json") == 0
    assert describe("describe.output=yours.json", "describe.n=3") == 0
    assert {len(row) for row in json.loads((tmp_path / "yours.json").read_text()).values()} == {9}


@pytest.fixture
def interruptible():
    """Python's own answer to Ctrl-C, which processes of a parallel test run do without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_ends_with_130_and_goes_on(describe, server, journal) -> None:
    server.on_request = lambda number: os.kill(os.getpid(), signal.SIGINT) if number == 4 else None
    assert describe("llm.concurrency=1") == 130
    done = len(journal().lines)
    assert done == 6
    server.on_request = None
    server.received.clear()
    assert describe() == 0
    assert sum(server.asked.values()) == TOTAL - done
