"""A file server on this machine that can be told to break off, to lie and to serve something else."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request, and what is needed to answer it."""

    protocol_version = "HTTP/1.1"
    server: ArchiveServer

    def do_GET(self) -> None:
        self.served = Served(self.path, dict(self.headers))
        self.server.log.append(self.served)
        self.close_connection = True
        answer = self.server.answers.pop(0) if self.server.answers else honest
        with suppress(ConnectionError):  # the client has had enough
            answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def begin(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, content: bytes) -> None:
        self.served.sent += len(content)  # before they are, so that a client that has them all finds them counted
        self.wfile.write(content)


@dataclass
class Served:
    """What was asked for and how many bytes of content were sent."""

    path: str
    headers: dict[str, str]
    sent: int = 0


class ArchiveServer(ThreadingHTTPServer):
    """Serves `files` (paths to contents), with `etags`; `answers` are used up by the requests, then all is honest."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.answers: list[Answer] = []
        self.log: list[Served] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Honest:
    """Serves the file, continues it where asked to; all of it unless told otherwise.

    Attributes:
        cut: break off after so many bytes of content.
        reset: break off by a reset instead of an end.
        announced: the Content-Length to lie about; None for the right one.
        ranges: whether parts are served.
        conditions: whether If-Range is looked at.
        shift: so many bytes too early a part begins.
        more: headers besides.
    """

    cut: int | None = None
    reset: bool = False
    announced: int | None = None
    ranges: bool = True
    conditions: bool = True
    shift: int = 0
    more: dict[str, object] = field(default_factory=dict)

    def __call__(self, request: Request) -> None:
        content = request.server.files.get(request.path)
        if content is None:
            return status(404)(request)
        start, total, etag = 0, len(content), request.server.etags.get(request.path)
        condition = request.headers.get("If-Range")
        asked = request.headers.get("Range")
        if asked and self.ranges and (not self.conditions or condition in (None, etag)):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= total:
            return status(416)(request)
        headers: dict[str, object] = {"ETag": etag} if etag else {}
        if start:
            start -= self.shift
            headers["Content_Range"] = f"bytes {start}-{total - 1}/{total}"
        body = content[start:]
        headers["Content_Length"] = len(body) if self.announced is None else self.announced
        request.begin(206 if start else 200, **headers, **self.more)
        request.send(body[: self.cut])
        if self.reset:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()


honest = Honest()


def status(code: int) -> Answer:
    return lambda request: request.begin(code, Content_Length=0)


def redirect(url: str) -> Answer:
    return lambda request: request.begin(302, Location=url, Content_Length=0)


def chunked(pieces: int, piece: bytes) -> Answer:
    """Answer without any length: so many pieces, sent until the client hangs up."""

    def answer(request: Request) -> None:
        request.begin(200, Transfer_Encoding="chunked")
        for _ in range(pieces):
            request.wfile.write(f"{len(piece):x}\r\n".encode())
            request.send(piece)
            request.wfile.write(b"\r\n")
        request.wfile.write(b"0\r\n\r\n")

    return answer
