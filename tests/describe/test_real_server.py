"""Against `transformers serve` with a language model of random weights: its words are nonsense, its manners are not."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from pathlib import Path

import pytest

from cupl_bench.prompts.sources import read_descriptions

pytestmark = pytest.mark.long  # a server of transformers takes ten seconds to start

pytest.importorskip("transformers.cli", reason="transformers serves so from 5 on")

N = 4
TOTAL = 3 * 3 * N
FAULTS = ["429 0.2", "500", "cut", "garbage", "no choices", "fewer", "stall midway"]


@pytest.fixture
def overrides(real_server, server, garden, tmp_path) -> list[str]:
    """A run through the server that injects faults; what names no class, as nonsense may, is kept."""
    server.upstream = real_server.address
    asked = server.overrides(
        "llm.timeout=3", "llm.patience=40", f"describe.n={N}", "describe.max_tokens=40", model=real_server.model
    )
    return [*garden, *asked, "describe.stop=['.']", "describe.leave_out=[]"]


def test_a_run_through_every_fault_and_a_comparison_with_its_prompts(
    overrides, cli, server, journal, real_server, tiny
) -> None:
    server.faults = deque(FAULTS)
    assert cli("describe", *overrides) == 0, cli.err
    path = Path(cli.out.strip().splitlines()[-1].split(maxsplit=1)[1])
    lines = journal().lines
    assert len(set(journal().places())) == len(lines) == TOTAL
    assert {line["answered_by"].split("@")[0] for line in lines} == {real_server.model}
    assert all(line["prompt_tokens"] > 0 and 0 < line["completion_tokens"] <= 40 for line in lines)
    assert {line["finish_reason"] for line in lines} <= {"stop", "length"}
    # The server gives one answer to a request, whatever n: each of the rest was asked for again.
    assert len(server.received) == TOTAL + len(FAULTS) - 1
    content = read_descriptions(str(path))
    provenance = json.loads(path.with_name(f"{path.stem}.provenance.json").read_text("utf-8"))
    assert sum(map(len, content.values())) + len(provenance["left_out"]) == TOTAL
    assert len(content) == 3
    assert all(text.strip() for row in content.values() for text in row)
    data = [one for one in overrides if one.startswith("dataset")]
    assert cli("eval", *data, *tiny.overrides, "prompts=file", f"prompts.path={path}", "device=cpu") == 0, cli.err
    assert cli.record().prompts.num_prompts == sum(map(len, content.values()))


def test_a_killed_run_goes_on_without_asking_twice(overrides, cli, server, journal, tmp_path) -> None:
    folders = [f"results_dir={cli.results}", f"cache_dir={cli.cache}"]
    running: list[subprocess.Popen[bytes]] = []
    server.on_request = lambda number: running[0].kill() if number == 12 else None
    command = [sys.executable, "-m", "cupl_bench", "describe", *overrides, *folders]
    with (tmp_path / "log").open("wb") as log:
        running.append(
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path, env=dict(os.environ))
        )
        assert running[0].wait(60) == -signal.SIGKILL, (tmp_path / "log").read_text()
    before = journal()
    assert 0 < len(before.lines) < 12
    assert not list(before.path.parent.glob("*[0-9a-f].json"))
    with before.path.open("ab") as file:
        file.write(b'{"request": "half a li')  # as a kill in the middle of a write leaves it
    server.on_request = None
    server.received.clear()
    assert cli("describe", *overrides) == 0, cli.err
    after = journal()
    assert after.lines[: len(before.lines)] == before.lines
    assert len(set(after.places())) == len(after.lines) == TOTAL
    answered = Counter(line["asked"] for line in before.lines)
    requests = Counter(one.text for one in server.received)
    assert all(requests[line["asked"]] == N - answered[line["asked"]] for line in after.lines)


def test_a_model_that_the_server_does_not_have(overrides, cli, server, real_server) -> None:
    server.upstream = None
    direct = [f"llm.base_url={real_server.address}/v1", "llm.model=nope"]
    assert cli("describe", *overrides, *direct) == 2
    assert "does not take the request for model 'nope' (400" in cli.err
    assert "nope" in cli.err
    assert not server.received
