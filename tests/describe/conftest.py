"""A language model of random weights behind `transformers serve`, and a server that injects faults on the way to it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import make_folder
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from cupl_bench.composition import compose as compose_once
from cupl_bench.config import describing_of
from cupl_bench.describe.settings import Endpoint, Recipe

WORDS = (
    "a the is has with and red blue yellow white petals leaves stem long short round soft green . what Describe looks"
    " like sunflower rose tulip abcdef"  # the last: transformers tries its stop words on it
)
STALL_SECONDS = 8.0
GIVEN_UP_SECONDS = 180.0


def make_language_model(folder: Path) -> Path:
    """A Llama of one layer with random weights, a tokenizer of whole words, and a chat template."""
    folder.mkdir()
    names = ["<unk>", "<s>", "</s>", *WORDS.split()]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    write = lambda name, content: (folder / name).write_text(json.dumps(content))  # noqa: E731
    write("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **special})
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    width, vocabulary = 16, len(names)
    sizes = {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1, "num_attention_heads": 2}
    write(
        "config.json",
        {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": vocabulary,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "dtype": "float32",
            **sizes,
            **ids,
        },
    )
    write("generation_config.json", {"do_sample": True, **ids})
    random = np.random.default_rng(0)
    layer = "model.layers.0"
    matrices = {
        "model.embed_tokens": (vocabulary, width),
        "lm_head": (vocabulary, width),
        **{f"{layer}.self_attn.{part}_proj": (width, width) for part in "qkvo"},
        **{f"{layer}.mlp.{part}_proj": (width, width) for part in ("gate", "up", "down")},
    }
    norms = (f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm", "model.norm")
    weights = {f"{name}.weight": (0.02 * random.standard_normal(shape)) for name, shape in matrices.items()}
    weights |= {f"{name}.weight": np.ones(width) for name in norms}
    save_file(
        {name: value.astype(np.float32) for name, value in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


@dataclass(frozen=True)
class RealServer:
    process: subprocess.Popen[bytes]
    log: Path
    address: str
    model: str


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """`transformers serve`, up: it takes the processor's time of many other tests, so only who asks it waits for it."""
    folder = tmp_path_factory.mktemp("serving")
    model = make_language_model(folder / "model")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--default-seed", "0"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        running = RealServer(process, folder / "log", f"http://127.0.0.1:{port}", str(model))
        wait_until_up(running)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(server: RealServer) -> None:
    given_up = time.monotonic() + GIVEN_UP_SECONDS
    while time.monotonic() < given_up and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)  # between two looks; bounded above
    pytest.fail(f"transformers serve did not start:\n{server.log.read_text()[-3000:]}")


@dataclass(frozen=True)
class Received:
    text: str
    n: int
    body: dict[str, Any]
    headers: dict[str, str]
    time: float


@dataclass
class Server:
    """Speaks OpenAI's protocol: its own answers or those of another server, with a fault where one is due.

    ``faults`` are used up, one for each request; ``always`` comes after them. ``upstream``: another server's address.
    ``says``: own answers to a question. ``on_request``: called with the number of a request before it is answered.
    """

    faults: deque[str] = field(default_factory=deque)
    always: str | None = None
    upstream: str | None = None
    says: Callable[[str, int], dict[str, Any]] | None = None
    on_request: Callable[[int], None] | None = None
    delay: float = 0.0
    received: list[Received] = field(default_factory=list)
    delivered: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def overrides(self, *more: str, model: str = "canned") -> list[str]:
        """A run that asks this server, quick to give up."""
        fast = ["llm.timeout=0.7", "llm.patience=20", "llm.concurrency=4", "llm.answers_per_request=null"]
        return ["llm=vllm", f"llm.base_url={self.address}", f"llm.model={model}", *fast, *more]

    @property
    def asked(self) -> Counter[str]:
        """How many answers were asked for, by question, whatever came of it."""
        count: Counter[str] = Counter()
        for one in self.received:
            count[one.text] += one.n
        return count

    def reply(self, path: str, body: dict[str, Any], text: str) -> tuple[int, bytes]:
        if self.upstream is not None:
            request = urllib.request.Request(
                self.upstream + path, json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        choices = []
        for place in range(body.get("n", 1)):
            with self.lock:
                number = self.delivered[text]
                self.delivered[text] += 1
            said = (self.says or sensible)(text, number)
            message = {"role": "assistant", "content": said.get("content"), "refusal": said.get("refusal")}
            answer = {"text": said.get("content")} if path.endswith("/v1/completions") else {"message": message}
            choices.append({"index": place, "finish_reason": said.get("finish_reason", "stop"), **answer})
        usage = {"prompt_tokens": 7, "completion_tokens": 5 * len(choices), "total_tokens": 7 + 5 * len(choices)}
        return 200, json.dumps({"model": "canned-1", "choices": choices, "usage": usage}).encode()


def sensible(text: str, number: int) -> dict[str, Any]:
    """An answer without a fault, different each time."""
    found = re.search(r"(?:of|what|Describe) (?:the flower |an? )(.+?)(?: looks like)?[:?.]", text)
    assert found, text
    return {"content": f"Seen from nearby, {found.group(1)} number {number} has {len(text)} soft parts."}


class Handler(BaseHTTPRequestHandler):
    owner: Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        with owner.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            owner.received.append(Received(text, body.get("n", 1), body, headers, time.monotonic()))
            number = len(owner.received)
            fault = owner.faults.popleft() if owner.faults else owner.always
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        try:
            if owner.on_request is not None:
                owner.on_request(number)
            owner.closing.wait(owner.delay)
            self.answer(fault, body, text)
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            with owner.lock:
                owner.at_once -= 1

    def answer(self, fault: str | None, body: dict[str, Any], text: str) -> None:
        echo = self.headers.get("authorization", "")
        if fault and fault[:3].isdigit():
            status, _, wait = fault.partition(" ")
            content = json.dumps({"error": {"message": f"no: {echo} was given", "code": status}}).encode()
            return self.send(int(status), content, {"retry-after": wait} if wait else {})
        if fault == "stall":
            self.owner.closing.wait(STALL_SECONDS)
            return None
        if fault == "garbage":
            return self.send(200, f"<html>not JSON {echo}".encode())
        if fault == "half JSON":
            return self.send(200, b'{"choices": [{"message": {"con')
        if fault == "empty":
            return self.send(200, b"")
        if fault == "no choices":
            return self.send(200, json.dumps({"choices": [], "why": echo}).encode())
        if fault == "no usage":
            message = {"content": "A rose has red petals."}
            return self.send(200, json.dumps({"choices": [{"message": message}] * body.get("n", 1)}).encode())
        if fault == "echo":
            message = {"content": f"A rose has red petals and {echo}.", "refusal": None}
            choice = {"message": message, "finish_reason": echo}
            return self.send(200, json.dumps({"model": echo, "choices": [choice] * body.get("n", 1)}).encode())
        if fault == "fewer":
            body = {**body, "n": 1}
        if fault == "more":
            body = {**body, "n": body.get("n", 1) + 2}
        status, content = self.owner.reply(self.path, body, text)
        if fault in ("cut", "stall midway", "trickle"):
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if fault == "stall midway":
                self.owner.closing.wait(STALL_SECONDS)
            for place in range(len(content) // 2, len(content) if fault == "trickle" else 0):
                self.wfile.write(content[place : place + 1])
                self.wfile.flush()
                if self.owner.closing.wait(0.2):
                    break
            return None
        return self.send(status, content)

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that has gone


@pytest.fixture
def server() -> Iterator[Server]:
    owner = Server()
    handler = type("OwnHandler", (Handler,), {"owner": owner})
    with QuietServer(("127.0.0.1", 0), handler) as running:
        owner.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield owner
        owner.closing.set()
        running.shutdown()
        thread.join(5)


@dataclass
class Journaled:
    """The lines of a journal as plain data."""

    path: Path
    lines: list[dict[str, Any]]

    def places(self) -> Sequence[tuple[str, int]]:
        return [(line["request"], line["index"]) for line in self.lines]


@pytest.fixture
def journal(tmp_path: Path) -> Callable[[], Journaled]:
    """Reads the one journal below the results of the command line, whole lines only."""

    def read() -> Journaled:
        (path,) = (tmp_path / "results" / "descriptions").glob("*.journal.jsonl")
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        return Journaled(path=path, lines=[json.loads(line) for line in whole.splitlines()])

    return read


@pytest.fixture
def garden(tmp_path: Path) -> list[str]:
    """Three classes of one image."""
    folder = make_folder(tmp_path / "garden", {"rose": 1, "sunflower": 1, "tulip": 1})
    return ["dataset=folder", f"dataset.path={folder}"]


@pytest.fixture
def recipe_and_endpoint() -> Callable[..., tuple[Recipe, Endpoint]]:
    """What overrides compose to."""

    def build(*overrides: str) -> tuple[Recipe, Endpoint]:
        _, _, endpoint, recipe = describing_of(compose_once(overrides))
        return recipe, endpoint

    return build
