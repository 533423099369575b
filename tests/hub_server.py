"""A small Hugging Face hub on this machine: as much of its protocol as the real client asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    """A repository's files, and who may see them.

    Attributes:
        files: contents by path.
        private: whether it is private; shown to whoever holds `TOKEN` only.
        gated: whether nobody may read it yet.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    @property
    def commit(self) -> str:
        digest = hashlib.sha1()
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + b"\0" + hashlib.sha1(content).digest())
        return digest.hexdigest()


class Request(BaseHTTPRequestHandler):
    """One request of the client."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.server.log.append(f"POST {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "", "Invalid credentials")
        if path == "/api/validate-yaml":
            self.server.cards.append(json.loads(body)["content"])
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        name, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for f in json.loads(body)["files"]]  # fmt: skip
            return self._json({"files": files})
        name, _, rest = path.removeprefix("/api/models/").partition("/commit/")
        if rest and name in self.server.repositories:
            return self._commit(name, [json.loads(line) for line in body.splitlines()])
        return self._refuse(404, "", "no such address")

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _create(self, asked: dict[str, object]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name.startswith("others/"):
            return self._refuse(403, "", "You don't have the rights to create a model under this namespace")
        found = name in self.server.repositories
        private = asked.get("private") is True or asked.get("visibility") == "private"
        if not found:
            self.server.repositories[name] = Repository(private=private)
        self._json({"url": self.server.url(f"/{name}")}, 409 if found else 200)

    def _commit(self, name: str, lines: list[dict[str, dict[str, str]]]) -> None:
        files = self.server.repositories[name].files
        for line in lines:
            path = line["value"].get("path", "")
            if line["key"] == "file":
                files[path] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":  # type: ignore[comparison-overlap]
                del files[path]
        commit = self.server.repositories[name].commit
        self._json({"commitUrl": self.server.url(f"/{name}/commit/{commit}"), "commitOid": commit})

    def _read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner_and_name = "/".join(parts[2:4] if api else parts[:2])
        if path == "/":
            return self._json({})
        repository = self.server.repositories.get(owner_and_name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not known):
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if repository.gated:
            return self._refuse(403, "GatedRepo", "Access to this model is restricted")
        rest = parts[4:] if api else parts[2:]
        if rest[1:2] and rest[1] not in ("main", repository.commit):
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        if api and rest[:1] == ["tree"]:
            return self._json([_entry(path, content) for path, content in sorted(repository.files.items())])
        if api:
            siblings = [{"rfilename": path} for path in sorted(repository.files)]
            about = {"private": repository.private, "sha": repository.commit, "siblings": siblings}
            return self._json({"id": owner_and_name, "modelId": owner_and_name, "tags": [], "downloads": 0, **about})
        content = repository.files.get("/".join(rest[2:]))
        if content is None:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        self._answer(200, content, ETag=f'"{_blob(content)}"', X_Repo_Commit=repository.commit)

    def _json(self, values: object, status: int = 200) -> None:
        self._answer(status, json.dumps(values).encode(), Content_Type="application/json")

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X_Error_Code": code} if code else {}
        self._answer(status, json.dumps({"error": message}).encode(), X_Error_Message=message, **headers)

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class HubServer(ThreadingHTTPServer):
    """Serves and takes `repositories`; `log` holds what was asked for, `cards` the cards it was to look through."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.repositories: dict[str, Repository] = {}
        self.log: list[str] = []
        self.cards: list[str] = []

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


@contextmanager
def serving_hub() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
