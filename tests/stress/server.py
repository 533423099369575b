"""The server under attack: far too many clients, slow, gone or lying ones; each knows its own right answer.

Each batch is sent together by many clients to one `tlaam serve` and one `tlaam demo` that live through all batches. Its
first attempt, in every second batch, is a crowd of ten times as many clients as there are places; its second waits for
all others and looks at what is left: the process, its memory, files and threads, places and bytes held, and its log.
"""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image

from stress.attempts import Outcome, last_lines, random_of
from stress.clients import PATIENCE, Footprint, Picture, Served, abandon, drawn, exchange, judged
from stress.colours import expected, write_model
from stress.mutate import BYTES, Random

BATCH = 200
CLIENTS = 48  # that attack at once
PLACES = 8
CROWD = 10 * PLACES
_LOAD_SECONDS = 10.0
_SIDE = 1000  # of the pictures of the crowd, which take their time to decode
_LARGEST = 2000
OPTIONS = ("--queue", str(PLACES), "--max-images", "4", "--max-upload", "1", "--max-pixels", "4")
_MIB = 1 << 20

# Where a server may end up after everything that was thrown at it, beyond where it began.
_MORE_MEGABYTES, _MORE_AT_PEAK, _MORE_FILES, _MORE_THREADS = 150, 600, 3, 8

_KNOWN = (
    *("/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json", "/", "/examples.json"),
    *(
        f"/static/{name}"
        for name in ("app.js", "asking.js", "card.js", "icon.svg", "picture.js", "receiving.js", "style.css")
    ),
    *("/static/texts.js", "/static/texts.json"),
)


class _Target(NamedTuple):
    served: Served
    at_rest: Footprint


class Server:
    """See the module."""

    name = "server"
    attempts = 2000
    batch = BATCH
    seconds = 400.0
    megabytes = 2500

    def __init__(self) -> None:
        self.measures: dict[str, Any] = {}
        self._load: Counter[str] = Counter()

    def prepare(self, folder: Path) -> list[_Target]:
        """Start the two servers, and let each have decoded what is largest before its memory is looked at."""
        model = write_model(folder / "colours.onnx")
        targets = []
        for verb in ("serve", "demo"):
            (folder / verb).mkdir()
            served = Served(verb, model, folder / verb, *OPTIONS)
            random = random_of(0, self.name, 0)
            for number in range(2):
                large = [drawn(random, number + at, "PNG", _LARGEST) for at in range(4)]
                exchange(served.address, [_form_request(large)])
            targets.append(_Target(served, served.footprint()))
        return targets

    def attempt(self, prepared: list[_Target], seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Try all at once, and then look at what is left."""

        def one(number: int) -> Outcome:
            random = random_of(seed, self.name, number)
            target = prepared[int(random.integers(2))]
            try:
                if number % (2 * BATCH) == 0:
                    return self._crowd(random, prepared[0], number)
                ways = list(_WAYS)
                way = str(random.choice(ways, p=[_WAYS[name][0] for name in ways]))
                return _WAYS[way][1](random, target, number)
            except Exception:  # no connection, say: the server is gone, or takes nobody
                return Outcome("a client that could not ask", "crash", last_lines(traceback.format_exc()))

        looks = [number for number in numbers if number % BATCH == 1]
        (folder / "kind").write_text("server")
        with ThreadPoolExecutor(CLIENTS) as clients:
            found = dict(zip(others := [n for n in numbers if n not in looks], clients.map(one, others), strict=True))
        for number in looks:
            found[number] = self._left(prepared)
        if any(target.served.process.poll() is not None for target in prepared):
            os._exit(9)  # so that these attempts are made again one by one, with new servers
        return [found[number] for number in numbers]

    def _crowd(self, random: Random, target: _Target, number: int) -> Outcome:
        """Let ten times as many clients ask as there are places, each for itself, and come again when refused."""
        kind = "ten times the load"
        pictures = [drawn(random, number + at, "PNG", _SIDE) for at in range(CROWD)]
        began = time.monotonic()
        ends, lock = began + _LOAD_SECONDS, threading.Lock()
        faults: list[Outcome] = []
        slowest = 0.0

        def client(picture: Picture) -> None:
            nonlocal slowest
            answered = True
            while time.monotonic() < ends or not answered:
                heard = exchange(target.served.address, [_request(picture.content)])
                ended = judged(kind, heard, {"image": picture})
                answered = ended.ending == "right"
                with lock:
                    self._load[ended.ending] += 1
                    slowest = max(slowest, heard.seconds if answered else 0.0)
                    if ended.ending not in ("right", "refused"):
                        faults.append(ended)
                        return
                if time.monotonic() > ends + 2 * PATIENCE:
                    with lock:
                        faults.append(Outcome(kind, "hang", "refused for two minutes behind the crowd's last request"))
                    return
                if not answered:
                    time.sleep(0.15)

        with ThreadPoolExecutor(CROWD) as crowd:
            list(crowd.map(client, pictures))
        self._load["milliseconds"] += round(1000 * (time.monotonic() - began))
        asked = self._load["right"] + self._load["refused"]
        self.measures |= {
            "clients_of_the_crowd": CROWD,
            "places": PLACES,
            "crowd_seconds": self._load["milliseconds"] // 1000,
            "crowd_asked": asked,
            "crowd_answered": self._load["right"],
            "crowd_refused": self._load["refused"],
            "crowd_asked_for_each_answered": round(asked / max(1, self._load["right"]), 1),
            "slowest_answer_seconds": round(max(slowest, self.measures.get("slowest_answer_seconds", 0.0)), 2),
        }
        return faults[0] if faults else Outcome(kind, "right")

    def _left(self, prepared: list[_Target]) -> Outcome:
        """Look at the servers when all clients have gone; and each has to answer at once."""
        kind = "what is left"
        for served, began in prepared:
            if served.process.poll() is not None:
                return Outcome(kind, "crash", f"tlaam {served.verb} ended with {served.process.returncode}")
            until = time.monotonic() + 40
            while True:
                held = {name: served.counted(name) for name in ("tlaam_held_bytes", "tlaam_waiting_images")}
                now = served.footprint()
                if not any(held.values()) and now.files <= began.files + _MORE_FILES:
                    break
                if time.monotonic() > until:
                    return Outcome(kind, "hang", f"tlaam {served.verb} still holds {held}, {now}, at first {began}")
                time.sleep(0.5)
            picture = drawn(np.random.default_rng(), 0)
            ended = judged(kind, exchange(served.address, [_request(picture.content)]), {"image": picture})
            if ended.ending != "right":
                return ended
            self.measures[f"tlaam {served.verb}"] = {
                "at_first": began._asdict(),
                "last": now._asdict(),
            }
            if said := served.said().strip():
                return Outcome(kind, "crash", f"tlaam {served.verb} said: {said[-700:]}")
            if now.threads > began.threads + _MORE_THREADS or now.megabytes > began.megabytes + _MORE_MEGABYTES:
                return Outcome(kind, "memory", f"tlaam {served.verb}: {now}, at first {began}")
            if now.peak > began.peak + _MORE_AT_PEAK:
                return Outcome(kind, "memory", f"tlaam {served.verb} at its peak: {now}, at first {began}")
        return Outcome(kind, "right")


def _request(
    body: bytes, extra: str = "", *, path: str = "/v1/predict", length: int | str | None = None, host: str = "localhost"
) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body) if length is None else length}\r\n"
    return (head + extra + "\r\n").encode("latin-1", "replace") + body


def _form(pictures: Sequence[Picture], boundary: bytes = b"middle", *, name: str = "") -> bytes:
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="image"; filename="%b"\r\nContent-Type: image/png\r\n\r\n%b\r\n'
        % (boundary, (name or picture.name).encode(), picture.content)
        for picture in pictures
    ]
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


_FORM = "Content-Type: multipart/form-data; boundary=middle\r\n"


def _form_request(pictures: Sequence[Picture], path: str = "/v1/predict") -> bytes:
    return _request(_form(pictures), _FORM, path=path)


def _chosen(random: Random, values: Sequence[Any]) -> Any:
    return values[int(random.integers(len(values)))]


def _user(random: Random, target: _Target, number: int) -> Outcome:
    """Behave well, and come again when told to: there must be an answer at last, and it must be the user's own."""
    kind = "a user among them"
    pictures = [
        drawn(random, number + at, str(random.choice(["PNG", "JPEG", "BMP", "WEBP"])))
        for at in range(int(random.integers(1, 5)))
    ]
    alone = len(pictures) == 1
    path = str(random.choice(["/v1/predict", "/v1/predict?heatmap=1", "/v1/predict?top_k=3"]))
    request = _request(pictures[0].content, path=path) if alone else _form_request(pictures, path)
    pieces: list[bytes | float] = [request]
    if random.random() < 0.5:  # in pieces, as a network brings them
        cuts = sorted(int(cut) for cut in random.integers(0, len(request), 4))
        pieces = [part for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True) for part in (request[a:b], 0.01)]
    until = time.monotonic() + 2 * PATIENCE
    while True:
        heard = exchange(target.served.address, pieces)
        ended = judged(kind, heard, {"image": pictures[0]} if alone else {each.name: each for each in pictures})
        if ended.ending == "right":
            rows = json.loads(heard.answers[0].body)["results"]
            names = ["image"] if alone else [each.name for each in pictures]
            if [row["path"] for row in rows] != names:
                return Outcome(kind, "wrong", f"{[row['path'] for row in rows]} instead of {names}")
            return ended
        if ended.ending != "refused":
            return ended
        if not heard.answers or heard.answers[0].status != 503:
            return Outcome(kind, "wrong", f"a good request was refused: {heard.answers} {ended.detail}"[:600])
        if time.monotonic() > until:
            return Outcome(kind, "hang", "refused for two minutes")
        time.sleep(0.1 + 0.2 * float(random.random()))


def _slow(random: Random, target: _Target, number: int) -> Outcome:
    """Send a header or body by drops, or nothing at all, or never read the answers."""
    way = str(random.choice(["nothing", "headers", "body", "form", "reading"], p=[0.2, 0.3, 0.2, 0.1, 0.2]))
    kind = f"slow, {way}"
    address = target.served.address
    if way == "nothing":
        return judged(kind, exchange(address, []), silent=True)
    if way == "headers":
        drops: list[bytes | float] = [b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"]
        for at in range(40):
            drops += [f"X-{at}: y\r\n".encode() if random.random() < 0.5 else b"Z", 0.4]
        return judged(kind, exchange(address, drops), silent=True)
    if way == "reading":
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300
        with socket.create_connection(address, timeout=5) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(OSError):
                connection.sendall(asked)
            time.sleep(3)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return Outcome(kind, "refused")
    picture = drawn(random, number)
    body = _form([picture]) if way == "form" else picture.content
    extra = _FORM if way == "form" else ""
    pieces: list[bytes | float] = [_request(body[:60], extra, length=len(body))]
    for at in range(60, len(body)):
        pieces += [body[at : at + 1], 0.5]
        if len(pieces) > 100:
            break
    return judged(kind, exchange(address, pieces), {"image": picture, picture.name: picture})


def _abort(random: Random, target: _Target, number: int) -> Outcome:
    """Break off anywhere: with a reset, in order, or by saying that nothing more comes."""
    pictures = [
        drawn(random, number + at, "PNG", _LARGEST if random.random() < 0.3 else 0)
        for at in range(random.integers(1, 4))
    ]
    whole = _form_request(pictures) if len(pictures) > 1 else _request(pictures[0].content)
    cut = len(whole) if random.random() < 0.3 else int(random.integers(1, len(whole)))
    way = str(random.choice(["reset", "closed", "cut off"]))
    kind = f"aborted, {way}"
    if way == "cut off":
        names = {each.name: each for each in pictures} | {"image": pictures[0]}
        return judged(kind, exchange(target.served.address, [whole[:cut]], half=True), names, silent=True)
    abandon(target.served.address, whole[:cut], float(random.choice([0, 0, 0.01, 0.1])), way == "reset")
    return Outcome(kind, "refused")


_NAMES = (
    *("../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "secret.txt", "./secret.txt", "a\0b.png", '"quoted".png'),
    *("<script>alert(1)</script>.png", "x" * 5000, "é🐦.png", "\udce9.png", "new\r\nline: x", "%00", "%2e%2e%2f", ""),
    *("C:\\fakepath\\a.png", "file:///etc/passwd", "http://127.0.0.1/", "-", ".", "..", "\x1b[31m", "null"),
)

_HEADS = (
    b'Content-Disposition: form-data; name="image"', b"Content-Disposition: attachment", b"Content-Disposition:", b"",
    b'Content-Disposition: form-data; filename="a.png"; filename="b.png"', b"Content-Disposition" + b" " * 9000,
    b"Content-Disposition: form-data; filename*=UTF-8''%2e%2e%2fa.png", b"No colon at all", b":", b"\0: \0",
    b'Content-Disposition: form-data; name="image"; filename="' + b"a" * 100_000, b"X: y\r\n" * 3000,
    b'Content-Disposition: form-data; filename="a.png"\r\nContent-Transfer-Encoding: base64',
    b'Content-Disposition: form-data; filename="a.png"\r\nContent-Type: multipart/mixed; boundary=middle',
    b'content-disposition: FORM-DATA; FILENAME="a.png"', b'Content-Disposition: form-data; filename="' + b"\\" * 2000,
    b'Content-Disposition: form-data;;;; filename="a.png";;' + b"a=b;" * 5000,
)  # fmt: skip

_BOUNDARIES = (
    *("", "=", '""', '"middle', "middle; boundary=other", "m" * 257, "m" * 5000, "m\xe9", "'middle'", "--", "\t"),
    *("middle ", '"mid dle"', "*0=mid; boundary*1=dle", "middle, multipart/form-data", "%6diddle"),
)


def _malformed(random: Random, target: _Target, number: int) -> Outcome:
    """Damage a form: its bytes, its parts' headers, its boundary, or how many parts it has."""
    pictures = [drawn(random, number + at) for at in range(random.integers(1, 4))]
    body, extra = _form(pictures), _FORM
    way = str(random.choice(["bytes", "several bytes", "name", "heads", "boundary", "parts", "ends"]))
    if way == "bytes":
        way = str(random.choice(list(BYTES)))
        body = BYTES[way](body, random)
    elif way == "several bytes":
        for _ in range(int(random.integers(2, 6))):
            body = BYTES[str(random.choice(list(BYTES)))](body, random)
    elif way == "name":
        name = _chosen(random, _NAMES).encode("utf-8", "surrogateescape")
        body = body.replace(pictures[0].name.encode(), name, 1)
    elif way == "heads":
        body = body.replace(body[8 : body.index(b"\r\n\r\n")], b"\r\n" + _chosen(random, _HEADS), 1)
    elif way == "boundary":
        extra = f"Content-Type: multipart/form-data; boundary={_chosen(random, _BOUNDARIES)}\r\n"
    elif way == "parts":
        count = int(random.choice([0, 5, 100, 15_000]))
        part = str(random.choice(["file", "field", "empty"]))
        line = {"file": b'; filename="a"', "field": b"", "empty": b'; filename=""'}[part]
        each = b'--middle\r\nContent-Disposition: form-data; name="a"' + line + b"\r\n\r\n\r\n"
        body = (each * count)[: 2 * _MIB] + body if random.random() < 0.5 else (each * count)[: 2 * _MIB]
    else:
        body = {
            "no end": body[:-4], "much before": b"x" * 900_000 + b"\r\n" + body, "much behind": body + b"x" * 900_000,
            "line feeds": body.replace(b"\r\n", b"\n"), "twice": body + body, "boundary alone": b"--middle",
            "dashes": b"--" * 50_000, "boundaries": b"--middle\r\n" * 50_000, "empty": b"",
            "returns": b"\r" * 500_000, "nearly boundaries": b"--middle\r\n\r\n" + b"\r\n--middl" * 100_000,
        }[way := str(random.choice(
            ["no end", "much before", "much behind", "line feeds", "twice", "boundary alone", "dashes", "boundaries",
             "empty", "returns", "nearly boundaries"]
        ))]  # fmt: skip
    names = {each.name: each for each in pictures}
    heard = exchange(target.served.address, [_request(body, extra)])
    ended = judged(kind := f"malformed form, {way}", heard, names)
    # Damage within an image may leave it readable: then the answer is that of what Pillow makes of it.
    return judged(kind, heard, _files_in(body, names)) if ended.ending == "wrong" else ended


def _files_in(body: bytes, sent: Mapping[str, Picture]) -> dict[str, Picture]:
    """Return what the standard library and Pillow find in a form, besides what was sent."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: multipart/form-data; boundary=middle\r\n\r\n" + body)
    found = {f"as sent: {name}": picture for name, picture in sent.items()}
    for number, part in enumerate(message.iter_parts()):
        content = part.get_payload(decode=True)
        with suppress(OSError, SyntaxError, ValueError), Image.open(io.BytesIO(content)) as image:
            found[f"as found: {number}"] = Picture("", image.size, "JPEG", content, expected(image.convert("RGB")))
    return found


def _lengths(random: Random, target: _Target, number: int) -> Outcome:
    """Lie about the body's length, or send it in odd chunks."""
    picture = drawn(random, number)
    body, names = picture.content, {"image": picture}
    address = target.served.address
    start = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    whole = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    ways: dict[str, tuple[list[bytes | float], bool]] = {
        "negative": ([_request(body, length=-5)], False),
        "no number": (
            [_request(body, length=str(random.choice(["", "0x10", "1e3", "\xb3", "+5", "5 5", "nan"])))],
            False,
        ),
        "absurd": ([_request(body, length=10 ** int(random.integers(9, 60)))], False),
        "too short": ([_request(body, length=int(random.integers(0, len(body))))], False),
        "too long": ([_request(body, length=len(body) + int(random.integers(1, 99)))], True),
        "twice": ([_request(body, f"Content-Length: {random.integers(1, 99)}\r\n")], False),
        "both": ([_request(whole, "Transfer-Encoding: chunked\r\n", length=len(body))], False),
        "chunks": ([chunked + whole], False),
        "tiny chunks": ([chunked + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"], False),
        "chunk extensions": ([chunked + whole.replace(b"\r\n", b';a="b"' + b"x" * 200 + b"\r\n", 1)], False),
        "trailers": ([chunked + whole[:-2] + b"X: y\r\n" * 50 + b"\r\n"], False),
        "no hexadecimal": ([chunked + b"zz\r\n" + body], False),
        "absurd chunk": ([chunked + b"f" * int(random.integers(8, 40)) + b"\r\n" + body], True),
        "chunks damaged": ([chunked + BYTES[str(random.choice(list(BYTES)))](whole[:9], random) + whole[9:]], True),
        "other coding": ([start + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + whole], False),
        "endless chunk size": ([chunked + b"0" * 100_000], True),
        "gzip": ([_request(zlib.compress(body), "Content-Encoding: deflate\r\n")], False),
        "expects": ([_request(b"", "Expect: 100-continue\r\n", length=len(body)), 0.3, body], False),
        "none": ([start + b"\r\n" + body], False),
    }
    way = str(random.choice(list(ways)))
    pieces, half = ways[way]
    heard = exchange(address, pieces, half=half)
    return judged(f"lengths, {way}", heard, names, silent=half)


_PATHS = (
    *("/static/../secret.txt", "/static/..%2fsecret.txt", "/static/%2e%2e/secret.txt", "/..%5csecret.txt", "//etc"),
    *("/static/....//secret.txt", "/static/%00", "/static/app.js%00.png", "/secret.txt", "/%2fetc%2fpasswd", "/static"),
    *("/static//etc/passwd", "/examples/0.jpg", "/examples/../secret.txt", "/v1/predict/../../secret.txt", "/v1/"),
    *("/v1//predict", "/V1/PREDICT", "/%ff%fe", "/é", "/" + "a/" * 4000, "/" + "%61" * 3000, "/?" + "a=b&" * 3000, "*"),
    *("http://evil.example/", "http://localhost/healthz", "/#", "/;", "/.git/config", "/.env", "", "?", "/ /", "/\t"),
    *("/openapi.json?x=%00", "/metrics?name[]=x", "/healthz/.", "/static/app.js/", "/static/style.css?../../x", "/-1"),
    *("/static/..%252fsecret.txt", "/static/..%c0%afsecret.txt", "/static/app.js::$DATA", "/proc/self/environ"),
)  # fmt: skip


def _paths(random: Random, target: _Target, number: int) -> Outcome:
    """Ask for what there is not, and by methods that there are not."""
    path = _chosen(random, _PATHS)
    if random.random() < 0.3:
        path = "/" + quote(bytes(random.integers(0, 256, 12, dtype=np.uint8))) + path
    method = str(
        random.choice(["GET", "GET", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X" * 300])
    )
    version = str(random.choice(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9"]))
    head = f"{method} {path} {version}\r\nHost: localhost\r\n\r\n".encode()
    kind = f"paths, {method[:7]}"
    heard = exchange(target.served.address, [head], method=method)
    ended = judged(kind, heard)
    found = [answer.status for answer in heard.answers if answer.status == 200]
    plain = path.partition("?")[0].removeprefix("http://localhost").removeprefix("http://evil.example")
    if found and plain.partition("#")[0] not in _KNOWN and not plain.startswith("/examples/0"):
        return Outcome(kind, "wrong", f"200 for {path!r}: {heard.answers[0].body[:200]!r}")
    return ended


def _queries(random: Random, target: _Target, number: int) -> Outcome:
    """Give parameters that are none."""
    picture = drawn(random, number)
    value = str(random.choice([
        "", "0", "1", "-1", "3", "1000", "1001", "9" * 300, "1e3", "0x1", "٣", "²", "nan", "1 ", "%00", "1%0d%0a",
        "true", "1&top_k=99999", "[1]", "{}", "%ff", "';--",
    ]))  # fmt: skip
    name = str(random.choice(["top_k", "heatmap", "look_alikes", "other"]))
    path = f"/v1/predict?{name}={quote(value, safe='%&')}"
    return judged(
        "queries", exchange(target.served.address, [_request(picture.content, path=path)]), {"image": picture}
    )


def _other_types(random: Random, target: _Target, number: int) -> Outcome:
    """Send JSON, well-formed or not, and other types than images and forms."""
    depth = int(random.integers(1, 50_000))
    body = _chosen(random, [
        b"{}", b"[" * depth, b'{"a":' * depth, b'{"image": "' + b"A" * 9000 + b'"}', b"\xff\xfe{", b"nan", b"", b"{]",
        b'{"results": [{"error": null}]}', b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
    ])  # fmt: skip
    media = _chosen(random, [
        "application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=middle", "x",
        "image/png", "application/octet-stream", "", "a" * 9000, "\xff", "text/html; <script>alert(1)</script>",
        "multipart/form-data", "image/svg+xml", ";", "application/json; charset=utf-99", "multipart/form-data; =",
    ])  # fmt: skip
    ended = judged("JSON and other types", exchange(
        target.served.address, [_request(body, f"Content-Type: {media}\r\n" if random.random() < 0.9 else "")]
    ))  # fmt: skip
    return ended if ended.ending != "right" else Outcome(ended.kind, "wrong", "an answer for what is no image")


def _oversize(random: Random, target: _Target, number: int) -> Outcome:
    """Send more bytes than are taken: declared, in chunks, in one file or in many."""
    way = str(random.choice(["declared", "chunked", "file", "files", "headers", "header", "request line"]))
    kind = f"oversize, {way}"
    if way == "declared":
        pieces: list[bytes | float] = [_request(bytes(100_000), length=1 << int(random.integers(22, 45)))]
        pieces += [bytes(100_000)] * 40
    elif way == "chunked":
        pieces = [b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"]
        pieces += [b"40000\r\n" + bytes(0x40000) + b"\r\n"] * 40
    elif way == "file":
        pieces = [_request(drawn(random, number).content + bytes(_MIB))]
    elif way == "files":
        pieces = [_form_request([drawn(random, number + at) for at in range(int(random.integers(5, 300)))])]
    elif way == "headers":
        pieces = [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * int(random.integers(3000, 50_000))]
    elif way == "header":
        pieces = [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * int(random.integers(20_000, 500_000))]
    else:
        pieces = [b"GET /" + b"a" * int(random.integers(20_000, 500_000))]
    ended = judged(kind, exchange(target.served.address, pieces, half=way == "request line"))
    return ended if ended.ending != "right" else Outcome(kind, "wrong", "taken")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width: int, height: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [_chunk(b"IHDR", header), *extra, _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _bomb(random: Random, target: _Target, number: int) -> Outcome:
    """Send an image that is far larger than its file."""
    way = str(
        random.choice(["header", "pixels", "text", "profile", "scans", "frames", "strips", "long", "rows missing"])
    )
    kind = f"bomb, {way}"
    if way == "header":
        side = int(random.choice([5000, 60_000, 2**31 - 1]))
        content = _png(side, side, b"")
    elif way == "pixels":
        content = _png(4000, 4000, bytes(4000 * 12_001))
    elif way == "text":
        packed = zlib.compress(bytes(200 << 20), 9)
        content = _png(8, 8, bytes(8 * 25), *[_chunk(b"zTXt", b"a\0\0" + packed)] * int(random.integers(1, 4)))
    elif way == "profile":
        content = _png(8, 8, bytes(8 * 25), _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200 << 20), 9)))
    elif way == "scans":
        base = _saved(Image.new("RGB", (1900, 1900)), "JPEG", progressive=True)
        at = base.rindex(b"\xff\xda")
        content = base[:at] + (base[at:-2] * int(random.choice([80, 2000])))[:900_000] + b"\xff\xd9"
    elif way == "frames":
        frames = [Image.new("P", (1900, 1900), at % 250) for at in range(12)]
        content = _saved(frames[0], str(random.choice(["GIF", "WEBP"])), save_all=True, append_images=frames[1:])
    elif way == "strips":
        content = _saved(Image.new("RGB", (3000, 3000)), "TIFF", compression="tiff_deflate")
    elif way == "long":
        content = (
            _png(4_000_000, 1, bytes(12_000_001)) if random.random() < 0.5 else _png(1, 4_000_000, bytes(16_000_000))
        )
    else:
        content = _png(1900, 1900, bytes(9000))
    if len(content) > _MIB:
        content = content[:_MIB]
    colours = np.zeros(3)
    shares = np.exp(colours) / 3
    black = [
        Picture("image", size, "JPEG", b"", shares) for size in ((8, 8), (1900, 1900), (4_000_000, 1), (1, 4_000_000))
    ]
    return judged(
        kind, exchange(target.served.address, [_request(content)]), {str(n): each for n, each in enumerate(black)}
    )


def _hosts(random: Random, target: _Target, number: int) -> Outcome:
    """Ask by another name: only the machine's own are answered."""
    kind = "hosts"
    picture = drawn(random, number)
    host = _chosen(random, [
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::1",
        "0.0.0.0", "x" * 5000, "localhost:99999999", "LOCALHOST", "\xff", "localhost, evil.example", "[::1]:80",
    ])  # fmt: skip
    heard = exchange(target.served.address, [_request(picture.content, host=host)])
    ended = judged(kind, heard, {"image": picture})
    if "evil" in host and any(answer.status not in (400, 421, 503) for answer in heard.answers):
        return Outcome(kind, "wrong", f"answered as {host!r}")
    return ended


def _pipelined(random: Random, target: _Target, number: int) -> Outcome:
    """Send several requests before reading: their answers come in their order, each of its own."""
    pictures = [drawn(random, number + at) for at in range(int(random.integers(2, 7)))]
    heard = exchange(
        target.served.address, [b"".join(_request(each.content) for each in pictures)], answers=len(pictures)
    )
    kind, ending = "pipelined", "right"
    if heard.late:
        return judged(kind, heard)
    for picture, answer in zip(pictures, heard.answers, strict=False):
        one = judged(kind, heard.__class__([answer], b"", False, 0.0), {"image": picture})
        if one.ending not in ("right", "refused"):
            return one
        ending = one.ending if one.ending == "refused" else ending
    if len(heard.answers) < len(pictures) and ending == "right":
        return Outcome(kind, "wrong", f"{len(heard.answers)} answers for {len(pictures)} requests")
    return Outcome(kind, ending)


def _noise(random: Random, target: _Target, number: int) -> Outcome:
    """Send what is no HTTP, or a damaged request."""
    picture = drawn(random, number)
    way = str(random.choice(["noise", "TLS", "HTTP/2", "damaged", "smuggled", "lines"]))
    content: bytes = {
        "noise": lambda: bytes(random.integers(0, 256, int(random.integers(1, 40_000)), dtype=np.uint8)),
        "TLS": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.bytes(500),
        "HTTP/2": lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100),
        "damaged": lambda: (
            BYTES[str(random.choice(list(BYTES)))](_request(b"")[:-2], random) + b"\r\n" + picture.content
        ),
        "smuggled": lambda: _request(picture.content, str(random.choice([
            "Transfer-Encoding : chunked\r\n", "Transfer-Encoding: xchunked\r\n", " Folded: x\r\n", "X: a\r\n b\r\n",
            "Content-Length : 5\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "X\0: y\r\n",
        ]))),
        "lines": lambda: b"\r\n" * int(random.integers(1, 60_000)),
    }[way]()  # fmt: skip
    return judged(
        f"no request, {way}", exchange(target.served.address, [content], half=True), {"image": picture}, silent=True
    )


def _idle(random: Random, target: _Target, number: int) -> Outcome:
    """Open more connections than are taken, and say nothing; those beyond are told so, and later all is as before."""
    kind = "idle connections"
    many = []
    try:
        for _ in range(int(random.integers(100, 300))):
            many.append(socket.create_connection(target.served.address, timeout=5))
    except OSError:  # the system's own queue is full: a client has to wait
        pass
    heard = exchange(target.served.address, [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], method="GET")
    for connection in many:
        connection.close()
    return judged(kind, heard)


_WAYS: dict[str, tuple[float, Callable[[Random, _Target, int], Outcome]]] = {
    "user": (0.22, _user),
    "slow": (0.05, _slow),
    "abort": (0.14, _abort),
    "malformed": (0.17, _malformed),
    "lengths": (0.08, _lengths),
    "paths": (0.09, _paths),
    "queries": (0.04, _queries),
    "types": (0.04, _other_types),
    "oversize": (0.05, _oversize),
    "bomb": (0.03, _bomb),
    "hosts": (0.02, _hosts),
    "pipelined": (0.03, _pipelined),
    "noise": (0.03, _noise),
    "idle": (0.01, _idle),
}
