"""Download a file over HTTP: interrupted downloads are resumed, and no more than the known size is accepted."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tlaam._version import __version__
from tlaam.errors import DataError

TRIES = 5
"""Number of connections in a row that may fail or break off before they have brought `_WORTH` bytes."""

_WORTH = 1 << 20
_PAUSE = 1.0  # seconds before the second try, doubled before each further one
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # status codes that a retry may change


class _BrokenOffError(Exception):
    """The connection failed in a way that a retry may fix."""


def fetch(url: str, part: Path, size: int, *, show: Callable[[int, int], None], say: Callable[[str], None]) -> None:
    """Download `url` into the file `part` until it has `size` bytes, continuing where an earlier call stopped.

    What identifies the file on the server, its ETag or else its date, is kept in ``<part>.tag``, beside `part`. If it
    has changed on the server, or the server cannot resume, the download starts again.

    Args:
        show: called repeatedly with the number of bytes so far and `size`.
        say: called with one line when a connection broke off and is retried.

    Raises:
        DataError: the server does not have the file, sends another one, redirects to something other than HTTP, cannot
            be reached, or breaks off repeatedly. What was downloaded before is kept, unless it belongs to another file.
        OSError: the file cannot be written.
    """
    tries, most = 0, _size_of(part)
    while (have := _size_of(part)) != size:
        try:
            _load(url, part, have, size, show)
        except _BrokenOffError as fault:
            have = _size_of(part)
            tries = 1 if have >= most + _WORTH else tries + 1
            most = max(most, have)
            if tries == TRIES:
                raise DataError(
                    f"{url}: {fault} (the last of {TRIES} tries). {have} of {size} bytes are kept, and the same "
                    f"command continues; or get the file in another way and give it with --archive {part.stem}."
                ) from fault
            say(f"{url}: {fault}; trying again.")
            time.sleep(_PAUSE * 2 ** (tries - 1))


def discard(part: Path) -> None:
    """Remove a partial download."""
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _load(url: str, part: Path, have: int, size: int, show: Callable[[int, int], None]) -> None:
    """Download the bytes from `have` on over one connection."""
    # A server may call a .tar.gz a tar that was compressed for transfer; nothing here undoes that, nor should it.
    request = Request(url, headers={"User-Agent": f"tlaam/{__version__}", "Accept-Encoding": "identity"})
    tag = _tag_file(part).read_text(encoding="utf-8") if have and _tag_file(part).exists() else ""
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag:
            request.add_header("If-Range", tag)
    with _opened(request, part) as response:
        if response.status == 206:
            _require_continuation(response, part, have, size, tag)
        else:
            have = 0
            _require_file(response, part, size)
            part.write_bytes(b"")  # before the tag, which must never stand beside bytes of another file
            _tag_file(part).write_text(_tag_of(response.headers), encoding="utf-8")
        with part.open("ab") as stream:
            while chunk := _read(response):
                have += len(chunk)
                if have > size:
                    break
                stream.write(chunk)
                show(have, size)
    if have > size:
        discard(part)
        raise _other_file(url, part, f"more than {size} bytes", size)
    if have < size:
        raise _BrokenOffError(f"the connection ended after {have} of {size} bytes")


def _opened(request: Request, part: Path) -> HTTPResponse:
    url = request.full_url
    try:
        response: HTTPResponse = build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {' '.join(error.msg.split())}".rstrip()
        if error.code == 416:  # it has no such bytes, so ours belong to another file
            discard(part)
            raise _BrokenOffError(answer) from error
        if error.code in _PASSING:
            raise _BrokenOffError(answer) from error
        raise DataError(
            f"{url}: {answer}. Get the file in another way and give it with --archive {part.stem}."
        ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            fault = f"{url}: the server does not prove who it is ({reason.verify_message})"
            raise DataError(f"{fault}. Check the clock and the network.") from error
        raise _BrokenOffError(f"no connection ({str(reason) or type(reason).__name__})") from error
    return response


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _BrokenOffError(f"the connection broke off ({str(error) or type(error).__name__})") from error


def _require_file(response: HTTPResponse, part: Path, size: int) -> None:
    """Check that a response begins the file, before what was downloaded of it is discarded."""
    stated = response.headers.get("Content-Length")
    if stated not in (None, str(size)):
        raise _other_file(response.url, part, f"{stated} bytes", size)
    if response.headers.get_content_type() == "text/html":  # for example a network's login page
        raise _other_file(response.url, part, "a web page", size)


def _require_continuation(response: HTTPResponse, part: Path, have: int, size: int, tag: str) -> None:
    """Check that a partial response continues where our bytes end, in the same file."""
    stated = response.headers.get("Content-Range", "")
    positions, _, total = stated.removeprefix("bytes ").partition("/")
    if total not in ("*", str(size)):
        raise _other_file(response.url, part, f"the bytes '{stated}'", size)
    if positions.partition("-")[0] != str(have) or (tag and _tag_of(response.headers) not in ("", tag)):
        discard(part)
        raise _BrokenOffError(f"the server does not continue the file that was begun (it sends '{stated}')")


def _other_file(url: str, part: Path, sent: str, size: int) -> DataError:
    return DataError(
        f"{url}: the server sends {sent}, but the file has {size} bytes, so it is another one and was not taken. "
        f"Try again later; if the publisher has replaced it, get it in another way and give it with "
        f"--archive {part.stem} --unverified."
    )


def _tag_of(headers: HTTPMessage) -> str:
    """Return what identifies the file byte by byte: a strong ETag, or the date; empty if the server sends neither."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _Redirects(HTTPRedirectHandler):
    """Follows redirects over HTTP, but not from HTTPS back to it."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not newurl.startswith("https:" if req.type == "https" else ("https:", "http:")):
            raise HTTPError(newurl, code, f"{msg} and leads to '{newurl}', which is not allowed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
