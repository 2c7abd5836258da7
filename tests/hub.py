"""A hub on the loopback address: what `huggingface_hub` asks, for repositories of a few kilobytes that tests make.

It answers repository information, trees, and files by HEAD and GET with redirects to storage of another address,
ranges, digests, and the refusals of the real one; a `Fault` breaks chosen answers.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Asked", "Fault", "Hub", "Repo", "hub_on_loopback"]

TOKEN = "hf_of_the_tests"
"""The token that may read what is private or gated."""
LARGE = (".parquet", ".tar", ".safetensors", ".bin", ".zip")
"""Files that lie in storage, under their sha256; Git has a pointer of them."""
API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.+))?"
)
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class Repo:
    """A repository: its commits, newest last, each a map from names to contents.

    ``gated``: its files are refused without the token; ``private``: so is the knowledge that it is there.
    ``moved_to``: its new name.
    """

    kind: str
    name: str
    commits: list[Mapping[str, bytes]]
    tags: dict[str, int] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    moved_to: str | None = None

    def id_of(self, place: int) -> str:
        """The commit's name."""
        place %= len(self.commits)
        told = json.dumps(
            [self.name, place, sorted((name, git_name(one)) for name, one in self.commits[place].items())]
        )
        return hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()

    def place_of(self, revision: str) -> int | None:
        known = {self.id_of(place): place for place in range(len(self.commits))}
        return (known | self.tags | {"main": len(self.commits) - 1}).get(revision)


@dataclass
class Fault:
    """What goes wrong in the answers to requests of ``method`` whose path holds ``where``.

    ``status``: refused with this. ``cut``: the connection ends after that part of the content; ``held``: it stays open,
    and nothing more comes. ``other``: as many bytes, but others. ``times``: how often; None: always.
    """

    where: str
    method: str = "GET"
    status: int | None = None
    cut: float | None = None
    other: bool = False
    times: int | None = None
    held: bool = False


@dataclass(frozen=True)
class Asked:
    """A request, and the status of its answer; ``bytes``: which of the file were asked for."""

    method: str
    path: str
    bytes: str | None
    status: int


@dataclass
class Hub:
    """The repositories of a server, files by plain URL, what breaks, and what was asked."""

    address: str = ""
    repos: list[Repo] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    holding: Event = field(default_factory=Event)
    closing: Event = field(default_factory=Event)

    def add(self, kind: str, name: str, *commits: Mapping[str, bytes], **rest: object) -> Repo:
        repo = Repo(kind, name, list(commits), **rest)  # type: ignore[arg-type]
        self.repos.append(repo)
        return repo

    def fetched(self, part: str = "") -> list[Asked]:
        """The requests for contents of files whose path holds ``part``, in their order."""
        return [one for one in self.asked if one.method == "GET" and "/storage/" in one.path and part in one.path]

    def sent(self, part: str = "") -> list[Asked]:
        """The requests for contents of any file: storage, small files of a repository, plain URLs."""
        return [one for one in self.asked if one.method == "GET" and "/api/" not in one.path and part in one.path]

    def fault_of(self, method: str, path: str) -> Fault:
        for fault in self.faults:
            if fault.method == method and fault.where in path and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return Fault(where="")


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub of its server."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer_all()

    def do_GET(self) -> None:
        self._answer_all()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer_all()

    def _answer_all(self) -> None:
        self.fault = self.hub.fault_of(self.command, self.path)
        if self.fault.status is not None:
            self._send(self.fault.status, b"the server of the tests refuses it", {"Retry-After": "0"})
            return
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path.startswith("/files/"):
            content = self.hub.files.get(path.removeprefix("/files/"))
            self._send(404, b"no such file") if content is None else self._send_content(content, {})
        elif path.startswith("/storage/"):
            known = {
                hashlib.sha256(one).hexdigest(): one
                for repo in self.hub.repos
                for commit in repo.commits
                for one in commit.values()
            }
            self._send_content(known[path.split("/")[2]], {})
        elif found := API.fullmatch(path):
            self._api(found, parse_qs(parts.query))
        elif found := FILE.fullmatch(path):
            self._file(found)
        else:
            self._send(404, b"{}")

    def _repo(self, kind: str, name: str) -> Repo | None:
        """The repository, or None after its refusal was sent, as the hub sends it to who has no token."""
        repo = next((one for one in self.hub.repos if (one.kind, one.name) == (kind, name)), None)
        if repo is None or (repo.private and not self._has_token):
            self._refuse(404 if self._has_token else 401, "RepoNotFound", "Repository not found")
            return None
        if repo.moved_to is not None:
            self._send(307, b"", {"Location": self.path.replace(name, repo.moved_to)})
            return None
        return repo

    @property
    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _api(self, asked: re.Match[str], query: Mapping[str, list[str]]) -> None:
        repo = self._repo(asked["kind"].removesuffix("s"), asked["name"])
        if repo is None:
            return
        revision, _, inside = (asked["rest"] or "main").partition("/")
        place = repo.place_of(revision)
        if place is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = repo.commits[place]
        if asked["what"] == "tree":
            answer: object = self._tree(files, inside, recursive=query.get("recursive", ["false"])[0].lower() == "true")
            if not answer and inside:
                self._refuse(404, "EntryNotFound", f"{inside} does not exist on {revision}")
                return
        else:
            sizes = "blobs" in query
            siblings = [
                {"rfilename": name, **({"size": len(one), "blobId": git_name(one)} if sizes else {})}
                for name, one in files.items()
            ]
            answer = {
                "id": repo.name, "sha": repo.id_of(place), "private": repo.private,
                "gated": "auto" if repo.gated else False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
                "siblings": siblings,
            }  # fmt: skip
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    @staticmethod
    def _tree(files: Mapping[str, bytes], inside: str, *, recursive: bool) -> list[dict[str, object]]:
        root = f"{inside}/" if inside else ""
        rows: dict[str, dict[str, object]] = {}
        for name, content in files.items():
            if not name.startswith(root):
                continue
            *folders, _ = name.removeprefix(root).split("/")
            for depth in range(len(folders) if recursive else min(1, len(folders))):
                folder = root + "/".join(folders[: depth + 1])
                rows[folder] = {"type": "directory", "path": folder, "oid": git_name(folder.encode()), "size": 0}
            if not folders or recursive:
                lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
                rows[name] = {
                    "type": "file", "path": name, "oid": git_name(content), "size": len(content),
                    **({"lfs": lfs} if name.endswith(LARGE) else {}),
                }  # fmt: skip
        return list(rows.values())

    def _file(self, asked: re.Match[str]) -> None:
        repo = self._repo("dataset" if asked["kind"] else "model", asked["name"])
        if repo is None:
            return
        place = repo.place_of(asked["revision"])
        if place is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {asked['revision']}")
            return
        if repo.gated and not self._has_token:
            self._refuse(401, "GatedRepo", f"Access to {repo.kind} {repo.name} is restricted.")
            return
        commit = {"X-Repo-Commit": repo.id_of(place)}
        content = repo.commits[place].get(asked["file"])
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found", commit)
        elif asked["file"].endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            storage = self.hub.address.replace("127.0.0.1", "localhost")
            self._send(
                302, b"",
                {
                    **commit, "X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{digest}"',
                    "ETag": f'"{git_name(content)}"',
                    "Location": f"{storage}/storage/{digest}/{asked['file'].rpartition('/')[2]}",
                },
            )  # fmt: skip
        else:
            self._send_content(content, {**commit, "ETag": f'"{git_name(content)}"'})

    def _send_content(self, content: bytes, headers: Mapping[str, str]) -> None:
        """Send a file, or the part of it that a range names."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if self.fault.other:
            content = bytes(255 - byte for byte in content)
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        self._send(206 if asked else 200, content[start:], {"Accept-Ranges": "bytes", **part, **headers})

    def _refuse(self, status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message, **(more or {})})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.hub.asked.append(Asked(self.command, self.path, self.headers.get("Range"), status))
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault.cut is not None:
            self.wfile.write(content[: int(len(content) * self.fault.cut)])
            if self.fault.held:
                self.wfile.flush()
                self.hub.holding.set()
                self.hub.closing.wait()
            self.close_connection = True
            return
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """Says nothing of connections that the client gave up."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def hub_on_loopback() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("HandlerOfOne", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
