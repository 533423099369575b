from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import pytest
from archive_server import ArchiveServer, Honest, chunked, redirect, status

from tlaam.data.download import fetch as module
from tlaam.data.download.fetch import TRIES, discard, fetch
from tlaam.errors import DataError

CONTENT = random.Random(0).randbytes(300_000)
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)


@pytest.fixture
def server(archive_server: ArchiveServer) -> Iterator[ArchiveServer]:
    archive_server.files["/a.tgz"] = CONTENT
    archive_server.etags["/a.tgz"] = '"one"'
    yield archive_server


class Call:
    """`fetch` of the server's file into a part, with what it said and showed."""

    def __init__(self, server: ArchiveServer, part: Path) -> None:
        self.url, self.part = server.url("/a.tgz"), part
        self.said: list[str] = []
        self.shown: list[tuple[int, int]] = []

    def __call__(self, size: int = SIZE) -> bytes:
        fetch(self.url, self.part, size, show=lambda *shown: self.shown.append(shown), say=self.said.append)
        return self.part.read_bytes()


@pytest.fixture
def call(server: ArchiveServer, tmp_path: Path) -> Call:
    return Call(server, tmp_path / "a.tgz.part")


def test_a_file_is_loaded_as_it_is(server: ArchiveServer, call: Call) -> None:
    assert call() == CONTENT and call.said == []
    assert call.shown[-1] == (SIZE, SIZE) and call.shown == sorted(call.shown)
    assert server.log[0].headers["Accept-Encoding"] == "identity"
    assert call() == CONTENT and len(server.log) == 1, "a whole file is not asked for again"
    discard(call.part)
    assert list(call.part.parent.iterdir()) == []


@pytest.mark.parametrize("reset", [False, True])
def test_what_broke_off_is_continued(server: ArchiveServer, call: Call, reset: bool) -> None:
    server.answers = [Honest(cut=100_000, reset=reset)]
    assert call() == CONTENT
    assert len(server.log) == 2 and len(call.said) == 1
    have = int(server.log[1].headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert server.log[1].headers["If-Range"] == '"one"'
    assert 0 <= 100_000 - have <= (100_000 if reset else 0)
    assert sum(served.sent for served in server.log) == 100_000 + SIZE - have < 2 * SIZE


def test_a_later_call_continues(server: ArchiveServer, call: Call) -> None:
    server.answers = [Honest(cut=100_000), *[status(503)] * (TRIES - 1)]
    with pytest.raises(
        DataError, match=rf"503.*{TRIES} tries.*100000 of {SIZE} bytes are kept, and the same command continues"
    ):
        call()
    assert len(server.log) == TRIES and call.part.read_bytes() == CONTENT[:100_000]
    assert call() == CONTENT
    assert sum(served.sent for served in server.log) == SIZE


def test_tries_are_bounded_and_progress_renews_them(
    server: ArchiveServer, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [Honest(cut=10_000) for _ in range(20)]
    with pytest.raises(DataError, match=f"50000 of {SIZE} bytes are kept"):
        call()
    assert len(server.log) == TRIES
    monkeypatch.setattr(module, "_WORTH", 10_000)
    assert call() == CONTENT and len(server.log) == TRIES + 15 + 1


def test_starting_over_again_and_again_ends(server: ArchiveServer, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORTH", 10_000)
    server.answers = [Honest(cut=20_000 + 40_000 * (i % 2), ranges=False) for i in range(50)]
    with pytest.raises(DataError, match="tries"):
        call()
    assert len(server.log) <= 2 * TRIES


@pytest.mark.parametrize("announced", [SIZE + 1, SIZE - 1, 10 * SIZE, 0])
def test_a_lie_about_the_size_is_refused_at_once(server: ArchiveServer, call: Call, announced: int) -> None:
    call.part.write_bytes(CONTENT[:1000])
    server.answers = [Honest(announced=announced, ranges=False)]
    with pytest.raises(DataError, match=f"sends {announced} bytes, but the file has {SIZE} bytes"):
        call()
    assert call.part.read_bytes() == CONTENT[:1000], "another file's answer costs nothing"
    server.answers = []
    server.files["/a.tgz"] = CONTENT + b"x"
    with pytest.raises(DataError, match=f"sends the bytes 'bytes 1000-{SIZE}/{SIZE + 1}'"):
        call()
    assert call.part.read_bytes() == CONTENT[:1000]


def test_an_endless_body_is_cut_off(server: ArchiveServer, call: Call) -> None:
    server.answers = [chunked(10_000, bytes(100_000))]
    with pytest.raises(DataError, match=f"sends more than {SIZE} bytes"):
        call()
    assert not call.part.exists() and max(done for done, _ in call.shown) <= SIZE


def test_a_body_without_length_that_is_too_short_is_tried_again(server: ArchiveServer, call: Call) -> None:
    server.answers = [chunked(2, CONTENT[:1000])]
    assert call()[2000:] == CONTENT[2000:]
    assert "ended after 2000 of" in call.said[0] and server.log[1].headers["Range"] == "bytes=2000-"
    assert "If-Range" not in server.log[1].headers, "the first answer said nothing to know the file by"


def test_a_server_that_does_not_continue_begins_anew(server: ArchiveServer, call: Call) -> None:
    server.answers = [Honest(cut=100_000), Honest(ranges=False)]
    assert call() == CONTENT
    assert [served.sent for served in server.log] == [100_000, SIZE]


@pytest.mark.parametrize("conditions", [True, False])
def test_a_file_that_changed_is_begun_anew(server: ArchiveServer, call: Call, conditions: bool) -> None:
    server.answers = [Honest(cut=100_000), *[status(500)] * (TRIES - 1)]
    with pytest.raises(DataError):
        call()
    changed = random.Random(1).randbytes(SIZE)
    server.files["/a.tgz"], server.etags["/a.tgz"] = changed, '"two"'
    server.answers = [Honest(conditions=conditions)]
    assert call() == changed


def test_a_date_stands_in_for_a_weak_tag(server: ArchiveServer, call: Call) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.etags["/a.tgz"] = 'W/"one"'
    server.answers = [Honest(cut=100_000, more={"Last_Modified": date})]
    assert call() == CONTENT
    assert server.log[1].headers["If-Range"] == date


def test_a_part_from_the_wrong_place_is_not_taken(server: ArchiveServer, call: Call) -> None:
    server.answers = [Honest(cut=100_000), Honest(shift=1)]
    assert call() == CONTENT and "does not continue" in call.said[1]


def test_bytes_that_the_server_does_not_have_are_given_up(server: ArchiveServer, call: Call) -> None:
    call.part.write_bytes(b"x" * 200_000)
    server.answers = [status(416)]
    assert call() == CONTENT
    call.part.write_bytes(b"x" * (SIZE + 1))
    assert call() == CONTENT, "more than there is cannot be a part of it"


def test_a_dead_link_is_said_at_once(server: ArchiveServer, call: Call) -> None:
    del server.files["/a.tgz"]
    with pytest.raises(DataError, match=r"a\.tgz: the server answers 404 Not Found.*--archive a\.tgz"):
        call()
    assert len(server.log) == 1 and not call.part.exists()


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_passing_fault_is_tried_again(server: ArchiveServer, call: Call, code: int) -> None:
    server.answers = [status(code)]
    assert call() == CONTENT and str(code) in call.said[0]


def test_a_web_page_is_not_the_file(server: ArchiveServer, call: Call) -> None:
    call.part.write_bytes(CONTENT[:1000])
    server.answers = [Honest(ranges=False, more={"Content_Type": "text/html; charset=utf-8"})]
    with pytest.raises(DataError, match="sends a web page"):
        call()
    assert call.part.read_bytes() == CONTENT[:1000]


def test_a_redirect_is_followed_over_http_alone(server: ArchiveServer, call: Call, tmp_path: Path) -> None:
    call.part.write_bytes(CONTENT[:1000])
    there = server.url("/a.tgz")
    call.url = server.url("/moved")
    server.answers = [redirect(there)]
    assert call() == CONTENT and server.log[1].headers["Range"] == "bytes=1000-"
    discard(call.part)
    (tmp_path / "secret").write_bytes(CONTENT)
    for target in ((tmp_path / "secret").as_uri(), "ftp://127.0.0.1/a.tgz", "data:,x", call.url):
        server.answers = [redirect(target)] * 20
        with pytest.raises(DataError, match=r"answers 302 (Found|The HTTP server)"):
            call()
        assert not call.part.exists()


def test_https_is_not_left() -> None:
    for target, allowed in [("https://b/x", True), ("http://b/x", False)]:
        request = Request("https://a/x")
        arguments = (request, None, 302, "Found", {}, target)
        if allowed:
            assert module._Redirects().redirect_request(*arguments) is not None  # type: ignore[arg-type]
        else:
            with pytest.raises(HTTPError, match="not allowed"):
                module._Redirects().redirect_request(*arguments)  # type: ignore[arg-type]


def test_an_absent_server_is_said(server: ArchiveServer, call: Call) -> None:
    call.url = "http://127.0.0.1:1/a.tgz"
    with pytest.raises(DataError, match=r"no connection \(.*refused\)"):
        call()
    assert len(call.said) == TRIES - 1


def test_silence_is_no_reason_to_wait_for_ever(
    server: ArchiveServer, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    done = threading.Event()

    def silent(request: object) -> None:
        Honest(cut=100_000)(request)  # type: ignore[arg-type]
        request.wfile.flush()  # type: ignore[attr-defined]
        done.wait(10)

    server.answers = [silent]
    try:
        assert call() == CONTENT and "timed out" in call.said[0]
    finally:
        done.set()
