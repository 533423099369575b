"""The service on a socket of this machine: clients that dawdle, vanish, talk nonsense, or are far too many."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from served import COLOURS, SlowEngine, command, form, picture, running, until
from several_file import several_file

from tlaam.cli.main import main
from tlaam.service.app import create_app
from tlaam.service.limits import Limits
from tlaam.service.server import bound, is_loopback

QUICK = Limits(
    keep_alive_seconds=1,
    header_seconds=0.4,
    body_seconds=0.4,
    slowest=10**9,
    answer_seconds=20,
    queue=6,
    images=6,
    batch_size=3,
)


@pytest.fixture
def address(predictor: SlowEngine) -> Iterator[str]:
    """A service with little patience and few places."""
    with running(create_app(predictor, limits=QUICK), QUICK) as address:
        yield address


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    chunks = []
    try:
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    except ConnectionResetError:
        pass
    return b"".join(chunks)


def head(length: int | str, extra: str = "") -> bytes:
    return f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


def name(address: str, colour: str) -> str:
    answer = httpx.post(f"{address}/v1/predict", content=picture(colour), trust_env=False)
    assert answer.status_code == 200, answer.text
    label: str = answer.json()["results"][0]["predictions"][0]["label"]
    return label


def counted(address: str, metric: str) -> float:
    text = httpx.get(f"{address}/metrics", trust_env=False).text
    (value,) = re.findall(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE)
    return float(value)


def test_a_body_that_comes_too_slowly_is_given_up(address: str) -> None:
    with connected(address) as slow:
        slow.sendall(head(1000) + b"x" * 10)
        began = time.monotonic()
        answer = received(slow)
        assert answer.startswith(b"HTTP/1.1 408 ") and b'"too_slow"' in answer
        assert 0.2 < time.monotonic() - began < 5
    assert name(address, "red") == "red" and counted(address, "tlaam_held_bytes") == 0


@pytest.mark.parametrize("said", [b"", b"POST /v1/pre", b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX: "])
def test_headers_that_never_end_are_given_up(address: str, said: bytes) -> None:
    with connected(address) as slow:
        slow.sendall(said)
        began = time.monotonic()
        assert received(slow) == b"" and time.monotonic() - began < 5


def test_after_an_answer_too(address: str) -> None:
    with connected(address) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
        slow.sendall(b"GET /healthz HT")
        began = time.monotonic()
        assert received(slow) in (b"", b'{"status":"ok"}') and time.monotonic() - began < 3


def test_an_upload_that_is_broken_off_leaves_nothing_behind(address: str) -> None:
    for share in (0.1, 0.5, 0.99):
        body = picture("red", (300, 300), "BMP")
        with connected(address) as gone:
            gone.sendall(head(len(body)) + body[: int(share * len(body))])
    until(lambda: counted(address, "tlaam_held_bytes") == 0)
    assert counted(address, "tlaam_waiting_images") == 0 and name(address, "blue") == "blue"


def test_a_client_that_goes_before_its_answer_costs_nobody_theirs(address: str, predictor: SlowEngine) -> None:
    predictor.seconds = 0.1
    body = picture("red")
    for _ in range(3):
        with connected(address) as gone:
            gone.sendall(head(len(body)) + body)
    until(lambda: counted(address, "tlaam_waiting_images") == 0)
    assert name(address, "green") == "green"


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    ],
    ids=["TLS", "version", "length", "chunk", "long path", "many headers"],
)
def test_nonsense_is_refused(address: str, said: bytes) -> None:
    with connected(address) as connection:
        try:
            connection.sendall(said)
            answer = received(connection)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert name(address, "red") == "red"


def test_nonsense_leaves_nothing_in_the_log(colours: Path) -> None:
    """Neither a body that goes wrong behind its answer nor a malformed form: strangers could fill the log."""
    with command("serve", colours) as (process, address):
        with connected(address) as connection:
            connection.sendall(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")
            connection.sendall(b"zz\r\n")
            received(connection)
        with connected(address) as connection:  # at once: the body is found to be wrong before anything answers
            connection.sendall(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            assert received(connection).startswith(b"HTTP/1.1 400 ")
        for body in (b"--other--", b"--middle-", b"--middle\r\nno colon\r\n\r\n"):
            kind = {"Content-Type": "multipart/form-data; boundary=middle"}
            answer = httpx.post(f"{address}/v1/predict", content=body, headers=kind, trust_env=False)
            assert answer.status_code in (400, 422)
        assert name(address, "red") == "red"
        process.terminate()
        assert process.communicate(timeout=20)[1] == ""


def test_what_is_too_large_hears_so_even_while_it_sends(address: str) -> None:
    with connected(address) as large:
        large.sendall(head(QUICK.request_bytes + 1) + bytes(100_000))
        assert large.recv(65536).startswith(b"HTTP/1.1 413 ")
    with connected(address) as endless:
        endless.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        answered = threading.Event()

        def send() -> None:
            while not answered.is_set():
                try:
                    endless.sendall(b"100000\r\n" + bytes(0x100000) + b"\r\n")
                except OSError:
                    return

        sender = threading.Thread(target=send)
        sender.start()
        answer = endless.recv(65536)
        answered.set()
        endless.shutdown(socket.SHUT_RDWR)
        sender.join()
        assert re.match(rb"HTTP/1.1 (413|408) ", answer)
    until(lambda: counted(address, "tlaam_held_bytes") == 0)


def test_pipelined_requests_are_answered_in_their_order(address: str) -> None:
    bodies = [picture(colour) for colour in COLOURS]
    with connected(address) as connection:
        connection.sendall(b"".join(head(len(body)) + body for body in bodies))
        answers = received(connection)
    assert re.findall(rb'"predictions":\[{"label":"(\w+)"', answers) == [colour.encode() for colour in COLOURS]


@pytest.fixture
def patient(predictor: SlowEngine) -> Iterator[str]:
    """A service with few places, whose patience a machine that is busy does not try."""
    limits = replace(QUICK, header_seconds=20, body_seconds=20)
    with running(create_app(predictor, limits=limits), limits) as address:
        yield address


def test_ten_times_what_it_can_carry(patient: str, predictor: SlowEngine) -> None:
    """Sixty at once where six are taken: each is answered rightly or told when to come again, and then all are."""
    address = patient
    predictor.seconds = 0.02
    statuses: Counter[int] = Counter()

    def user(number: int) -> bool:
        colour = list(COLOURS)[number % 3]
        with httpx.Client(trust_env=False, timeout=30) as client:
            for _ in range(100):
                answer = client.post(f"{address}/v1/predict", content=picture(colour))
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    assert answer.json()["results"][0]["predictions"][0]["label"] == colour
                    return True
                assert answer.status_code == 503 and 1 <= int(answer.headers["Retry-After"]) <= 30
                assert answer.json()["error"]["code"] == "busy"
                time.sleep(0.05)
        return False

    with ThreadPoolExecutor(60) as users:
        assert all(users.map(user, range(60)))
    assert statuses[200] == 60 and statuses[503] > 0
    assert sum(predictor.passes) == 60, "refused work was done"
    assert httpx.get(f"{address}/readyz", trust_env=False).status_code == 200


def test_users_are_served_among_those_who_do_harm(patient: str) -> None:
    """Slow bodies, broken uploads, malformed forms and nonsense at the same time cost nobody an answer."""
    ends = threading.Event()
    body, kind = form({"a.png": picture("red")})

    def harm(number: int) -> None:
        while not ends.is_set():
            with suppress(OSError), connected(patient) as connection:
                if number % 4 == 0:
                    connection.sendall(head(100_000) + b"x" * 10)
                    ends.wait(0.3)
                elif number % 4 == 1:
                    connection.sendall(head(len(body), f"Content-Type: {kind}\r\n") + body[:-20])
                elif number % 4 == 2:
                    connection.sendall(head(len(body) - 9, f"Content-Type: {kind}\r\n") + body[:-9])
                    assert connection.recv(65536).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 503 "))
                else:
                    connection.sendall(bytes(range(256)) * 40)
                    ends.wait(0.05)

    def user(number: int) -> None:
        colour = list(COLOURS)[number % 3]
        for _ in range(8):
            assert name(patient, colour) == colour

    with ThreadPoolExecutor(19) as people:
        harmful = [people.submit(harm, number) for number in range(16)]
        try:
            list(people.map(user, range(3)))
        finally:
            ends.set()
        for each in harmful:
            each.result(10)
    until(lambda: counted(patient, "tlaam_held_bytes") == counted(patient, "tlaam_waiting_images") == 0)


def test_health_answers_while_the_queue_is_full(patient: str, predictor: SlowEngine) -> None:
    address = patient
    predictor.seconds = 0.2
    body, kind = form({f"{number}.png": picture("red") for number in range(6)})
    with ThreadPoolExecutor(1) as user:
        asked = user.submit(
            httpx.post, f"{address}/v1/predict", content=body, headers={"Content-Type": kind}, trust_env=False
        )
        until(lambda: httpx.get(f"{address}/readyz", trust_env=False).status_code == 503)
        assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
        assert httpx.post(f"{address}/v1/predict", content=b"x", trust_env=False).status_code == 503
        assert asked.result().status_code == 200


def test_connections_are_bounded(predictor: SlowEngine) -> None:
    limits = Limits(connections=5)
    with running(create_app(predictor, limits=limits), limits) as address:
        idle = [socket.create_connection((urlsplit(address).hostname, urlsplit(address).port)) for _ in range(5)]
        time.sleep(0.1)
        answer = httpx.get(f"{address}/healthz", trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
        assert answer.headers["Retry-After"]
        for connection in idle:
            connection.close()
        until(lambda: httpx.get(f"{address}/healthz", trust_env=False).status_code == 200)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_answers_what_it_took(colours: Path, number: signal.Signals) -> None:
    with command("serve", colours) as (process, address), connected(address) as connection:
        body = picture("green", (3000, 3000))
        connection.sendall(head(len(body)) + body[:-10])
        time.sleep(0.2)
        process.send_signal(number)
        time.sleep(0.4)
        with pytest.raises(OSError):
            connected(address).__enter__()  # new ones are refused
        connection.sendall(body[-10:])
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 200 ") and json.loads(answer.partition(b"\r\n\r\n")[2])["results"]
        output, said = process.communicate(timeout=10)
        assert (process.returncode, said) == (0, "") and "everything" in output


def test_nothing_of_pytorch_is_needed(colours: Path) -> None:
    with command("serve", colours, without=("torch", "timm", "lightning", "pydantic")) as (_, address):
        assert name(address, "blue") == "blue"


def test_a_port_that_is_taken_is_said_in_one_line(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bound("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(colours), "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert said == f"tlaam: Port {port} of 127.0.0.1 is taken; give another by --port, or 0 for any.\n"
    assert main(["serve", str(colours), "--host", "no.such.name.invalid"]) == 1
    assert "no address of this machine" in capsys.readouterr().err


def test_other_machines_are_not_let_in_without_a_word(colours: Path) -> None:
    with command("serve", colours, "--host", "0.0.0.0") as (process, address):
        assert httpx.get(f"{address}/v1/model", headers={"Host": "any"}, trust_env=False).status_code == 200
        process.terminate()
        assert "reached by other machines" in process.communicate(timeout=10)[1]
    with command("serve", colours, "--allow-host", "birds.example") as (process, address):
        statuses = [
            httpx.get(f"{address}/v1/model", headers={"Host": host}, trust_env=False).status_code
            for host in ("any", "birds.example", "localhost")
        ]
        assert statuses == [421, 200, 200]


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "")))


def test_the_command_looks_for_several_objects(
    tmp_path: Path, colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = several_file(tmp_path / "several.onnx")
    with command("serve", several, "--objects", "all") as (_, address):
        found = httpx.post(f"{address}/v1/predict", content=picture("blue"), trust_env=False).json()["results"][0]
        assert len(found["objects"]) == 2 and found["verdict"] is None
    assert main(["serve", str(colours), "--port", "0", "--objects", "all"]) == 1
    assert "export the run again" in capsys.readouterr().err
