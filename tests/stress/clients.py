"""A served model in a process of its own, and clients that may send anything: bytes in pieces, slowly, or half."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stress.attempts import Outcome
from stress.colours import CLASSES, expected

CANARY = "what lies beside the model is nobody's business"
PATIENCE = 60.0
"""Seconds in which a client that sends at once has an answer, on a busy machine too."""

_CLOSE = {"PNG": 0.002, "BMP": 0.002, "JPEG": 0.03, "WEBP": 0.03}  # how far probabilities may be from the expected
_PROGRAM = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(9)), daemon=True).start()
from tlaam.cli.main import main
sys.exit(main())
"""  # ends with the process that started it, however that ends
_START = 120.0


class Footprint(NamedTuple):
    """What a process occupies: megabytes now and at most, open files, threads."""

    megabytes: int
    peak: int
    files: int
    threads: int


class Served:
    """``tlaam serve`` or ``tlaam demo`` on a free port of this machine.

    Args:
        verb: which.
        model: what it serves.
        folder: empty; its working folder and log lie there.
        options: of the command.
    """

    def __init__(self, verb: str, model: Path, folder: Path, *options: str) -> None:
        self.verb = verb
        (folder / "secret.txt").write_text(CANARY)
        self._log = folder / "log.txt"
        self._read = 0
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, verb, str(model), "--port", "0", *options],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], _START)
        line = self.process.stdout.readline().decode() if ready else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise RuntimeError(f"tlaam {verb} did not start: {line} {self.said()}")
        self.address = "127.0.0.1", int(found[1])

    def said(self) -> str:
        """Return what was written to the error stream since this was last asked."""
        content = self._log.read_bytes()[self._read :]
        self._read += len(content)
        return content.decode(errors="replace")

    def footprint(self) -> Footprint:
        """Return what the process occupies now."""
        place = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
        resident, peak = (int(status[name].split()[0]) >> 10 for name in ("VmRSS", "VmHWM"))
        return Footprint(resident, peak, len(os.listdir(place / "fd")), int(status["Threads"]))  # noqa: PTH208

    def counted(self, metric: str) -> float:
        """Return a counter of the service; -1 while it says that it is busy."""
        host, port = self.address
        answer = httpx.get(f"http://{host}:{port}/metrics", trust_env=False, timeout=PATIENCE)
        found = re.findall(rf"^{re.escape(metric)} (\S+)$", answer.text, re.MULTILINE)
        return float(found[0]) if found else -1


class Answer(NamedTuple):
    """One answer of HTTP; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Heard:
    """What came back on a connection.

    Attributes:
        answers: the whole ones, in their order.
        rest: bytes behind them.
        late: whether the other side neither answered nor closed in time.
        seconds: how long it took.
    """

    answers: list[Answer]
    rest: bytes
    late: bool
    seconds: float


def exchange(
    address: tuple[str, int],
    pieces: Iterable[bytes | float],
    *,
    answers: int = 1,
    seconds: float = PATIENCE,
    method: str = "POST",
    half: bool = False,
) -> Heard:
    """Send pieces, with pauses where there is a number, and read until so many answers are there or all is over.

    Reading goes on while sending, as an answer may come before everything was sent.

    Args:
        address: host and port.
        pieces: what to send.
        answers: how many are waited for.
        seconds: that are waited after the last piece.
        method: of the requests: what answers HEAD has no body.
        half: whether to say that nothing more comes, as a client that was cut off does.
    """
    began = time.monotonic()
    received, found, rest, over = b"", list[Answer](), b"", False
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.setblocking(False)

        def hear(wait: float) -> None:
            nonlocal received, found, rest, over
            if over or not select.select([connection], [], [], wait)[0]:
                return
            try:
                piece = connection.recv(1 << 18)
            except (ConnectionResetError, BrokenPipeError):
                piece = b""
            over = not piece
            received += piece
            if len(received) < 1 << 16 or over or answers > 1:
                found, rest = parsed(received, method, over)
            else:  # large: not parsed again with every piece
                found, rest = (
                    parsed(received, method, over) if received.endswith((b"}", b"\n", b">")) else (found, rest)
                )

        for piece in pieces:
            if over or len(found) >= answers:
                break
            if isinstance(piece, (int, float)):
                until = time.monotonic() + piece
                while not over and len(found) < answers and (left := until - time.monotonic()) > 0:
                    hear(left)
                continue
            at = 0
            stuck = time.monotonic() + PATIENCE
            while at < len(piece) and not over and time.monotonic() < stuck:
                readable, writable, _ = select.select([connection], [connection], [], 1)
                if readable:
                    hear(0)
                    if len(found) >= answers:
                        break
                if writable:
                    try:
                        at += connection.send(piece[at : at + (1 << 18)])
                    except BlockingIOError:
                        continue
                    except OSError:  # closed by the other side; what it said before may still be read
                        while not over:
                            hear(1)
        if half:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        until = time.monotonic() + seconds
        while not over and len(found) < answers and (left := until - time.monotonic()) > 0:
            hear(left)
        late = not over and len(found) < answers
    return Heard(found, rest, late, time.monotonic() - began)


def abandon(address: tuple[str, int], content: bytes, pause: float, reset: bool) -> None:
    """Send something and go without reading, at once or in order."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        with suppress(OSError):
            connection.sendall(content)
        time.sleep(pause)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Kept(io.BytesIO):
    """Bytes that stay readable when whoever reads them closes them."""

    def close(self) -> None:
        pass

    def makefile(self, *_: Any) -> _Kept:
        """Be the file of the socket that it stands for."""
        return self


def parsed(received: bytes, method: str = "POST", over: bool = True) -> tuple[list[Answer], bytes]:
    """Split what was received into whole answers and the rest."""
    stream, found, at = _Kept(received), [], 0
    while at < len(received):
        response = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            ends = response.length is not None or response.chunked or method == "HEAD"
            body = response.read()
        except (http.client.HTTPException, ValueError, OSError):
            break
        if not ends and not over:
            break
        found.append(Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body))
        at = stream.tell()
    return found, received[at:]


class Picture(NamedTuple):
    """A picture of one client's own colour.

    Attributes:
        name: of the file.
        size: width and height.
        kind: Pillow's name of the format.
        content: the file.
        shares: the probabilities that the model has to answer.
    """

    name: str
    size: tuple[int, int]
    kind: str
    content: bytes
    shares: NDArray[np.float64]


def drawn(random: np.random.Generator, number: int, kind: str = "PNG", side: int = 0) -> Picture:
    """Return a picture of a colour and size that hardly another client has."""
    size = (side, side) if side else tuple(int(value) for value in random.integers(8, 200, 2))
    image = Image.new("RGB", size, tuple(int(value) for value in random.integers(90, 166, 3)))
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    small = image.resize((1, 1), Image.Resampling.NEAREST)
    name = f"{number}-{int(random.integers(1 << 30))}.{kind.lower()}"
    return Picture(name, (size[0], size[1]), kind, stream.getvalue(), expected(small))


def judged(
    kind: str, heard: Heard, pictures: Mapping[str, Picture] | None = None, *, silent: bool = False, answers: int = 1
) -> Outcome:
    """Return how an attempt ended.

    Args:
        kind: what was tried.
        heard: what came back.
        pictures: by the names under which they may be answered; others are looked for only among the refused.
        silent: whether the connection may end without a status: what came was no request, or not to its end.
        answers: how many must come.
    """
    if heard.late:
        return Outcome(kind, "hang", f"neither answered nor closed in {heard.seconds:.0f} s; {heard.rest[:200]!r}")
    if CANARY.encode() in heard.rest:
        return Outcome(kind, "wrong", "a file beside the model was sent")
    refused = False
    for answer in heard.answers:
        ending, detail = _judged(answer, pictures or {})
        if ending not in ("right", "refused"):
            return Outcome(kind, ending, detail)
        refused = refused or ending == "refused"
    if len(heard.answers) < answers:
        ending = "refused" if silent or refused else "unnamed"
        return Outcome(kind, ending, f"closed after {len(heard.answers)} answers of {answers}; {heard.rest[:200]!r}")
    return Outcome(kind, "refused" if refused else "right")


def _judged(answer: Answer, pictures: Mapping[str, Picture]) -> tuple[str, str]:
    shown = f"{answer.status} {answer.body[:300]!r}"
    if CANARY.encode() in answer.body:
        return "wrong", f"a file beside the model was sent: {shown}"
    if answer.status >= 500 and answer.status != 503:
        return "crash", shown
    if answer.status == 400 and answer.body in (b"Invalid HTTP request received.", b""):  # to HEAD without it
        return "refused", ""
    if "default-src 'none'" not in answer.headers.get("content-security-policy", "") and answer.status != 503:
        return "wrong", f"without the headers against scripts: {shown}"
    if answer.headers.get("content-type") != "application/json":
        return ("right", "") if answer.status in (200, 405, 404, 400) else ("unnamed", shown)
    try:
        said = json.loads(answer.body) if answer.body else {}
    except ValueError:
        return "wrong", f"no JSON: {shown}"
    if answer.status == 503 and not 1 <= int(answer.headers.get("retry-after", 0)) <= 30:
        return ("right", "") if said == {"status": "busy"} else ("unnamed", f"when to come again is not said: {shown}")
    if answer.status >= 400 and answer.body and not (said.get("error", {}).get("code") and said["error"]["message"]):
        return "unnamed", shown
    rows = said.get("results", []) if isinstance(said, dict) else []
    for row in rows:
        if row["error"] is None:
            if (wrong := _differs(row, pictures)) is not None:
                return "wrong", wrong
        elif not row["code"] or row["code"] == "failed":
            return "crash", str(row)[:300]
    if answer.status == 200 and rows and all(row["error"] is not None for row in rows):
        return "wrong", f"200, and no image was answered: {shown}"
    return ("refused" if answer.status >= 400 or any(row["error"] for row in rows) else "right"), ""


def _differs(row: Mapping[str, Any], pictures: Mapping[str, Picture]) -> str | None:
    """Say how a row differs from what was sent, if it does."""
    candidates = [pictures[row["path"]]] if row["path"] in pictures else list(pictures.values())
    shares = {each["label"]: each["probability"] for each in row["predictions"]}
    for picture in candidates:
        gaps = [abs(shares[name] - picture.shares[at]) for at, name in enumerate(CLASSES) if name in shares]
        if gaps and max(gaps) <= _CLOSE[picture.kind] and tuple(row["size"]) == picture.size:
            return None
    wanted = [(picture.name, picture.size, picture.shares.round(4).tolist()) for picture in candidates]
    return f"{row['path']!r:.200} {row['size']} {shares} instead of {wanted}"[:900]
