"""The upload of a request: its body, read within the limits on rate and size, and the files in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from tlaam.data.images import ImageBytes
from tlaam.service.limits import MIB, Limits
from tlaam.service.refusal import Refusal, busy

UNNAMED = "image"
_LONGEST_NAME = 255
_RAW = ("application/octet-stream", "binary/octet-stream")


class Aborted(Exception):
    """The client disconnected before its request was complete."""


class Memory:
    """Total of the bytes that all requests hold. It takes no lock: use it in one event loop only."""

    def __init__(self, size: int) -> None:
        self.size, self.held = size, 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Yield the share of one request; it is released on exit."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """The part of a `Memory` that one request holds."""

    def __init__(self, memory: Memory) -> None:
        self._memory, self.held = memory, 0

    def take(self, size: int) -> None:
        """Reserve more bytes.

        Raises:
            Refusal: not enough bytes are left.
        """
        if self._memory.held + size > self._memory.size:
            raise busy(2, "other uploads take all the memory that there is for them")
        self._memory.held += size
        self.held += size


async def read_body(request: Request, limits: Limits, share: Share) -> bytes:
    """Read a request's body.

    Raises:
        Refusal: the body is too large, arrives too slowly, or does not fit in memory.
        Aborted: the client disconnected before the end.
    """
    too_large = Refusal(
        413,
        "too_large",
        f"The body is larger than the {limits.request_bytes / MIB:.3g} MiB that are taken; "
        f"one image may have {limits.upload_bytes / MIB:g} MiB.",
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.request_bytes:
        raise too_large
    chunks: list[bytes] = []
    began, received = time.monotonic(), 0
    while True:
        left = began + limits.body_seconds + received / limits.slowest - time.monotonic()
        try:
            message = await asyncio.wait_for(request.receive(), max(left, 0.001))
        except asyncio.TimeoutError:  # not the same as the builtin TimeoutError in Python 3.10
            raise Refusal(408, "too_slow", "The body came too slowly, and was given up.", 1) from None
        if message["type"] == "http.disconnect":
            raise Aborted
        chunk = message.get("body", b"")
        received += len(chunk)
        if received > limits.request_bytes:
            raise too_large
        share.take(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def uploads_of(body: bytes, content_type: str, limits: Limits) -> list[ImageBytes]:
    """Return the images in a body: the body itself, or the files of a form, whatever their fields are called.

    Raises:
        Refusal: the content type is not supported, or the form is malformed, has no file or has too many.
    """
    kind, options = parse_options_header(content_type)
    media_type = kind.decode("latin-1").lower()
    if media_type == "multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= 256:
            raise _malformed("its boundary is missing or too long")
        return _files(body, boundary, limits)
    if not media_type or media_type.startswith("image/") or media_type in _RAW:
        return [ImageBytes(UNNAMED, body)]
    raise Refusal(
        415,
        "unsupported_media_type",
        f"The type is '{media_type[:80]}'; send an image file as image/* or application/octet-stream, or one or "
        "several as files in multipart/form-data.",
    )


class _Form:
    """The files of one form, collected through the parser's callbacks. Other fields are skipped."""

    def __init__(self, limits: Limits) -> None:
        self.files: list[ImageBytes] = []
        self.whole = False
        self._limits = limits
        self._chunks: list[bytes] = []
        self._header, self._value, self._disposition = b"", b"", b""
        self._name: str | None = None

    def on_part_begin(self) -> None:
        self._chunks, self._disposition, self._name = [], b"", None

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" in options:
            self._name = options[b"filename"].decode("utf-8", "replace")[:_LONGEST_NAME] or UNNAMED
            if len(self.files) >= self._limits.images:
                raise Refusal(
                    413,
                    "too_many_images",
                    f"A request may hold {self._limits.images} images; send the rest in another.",
                )

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        if self._name is not None:
            self.files.append(ImageBytes(self._name, b"".join(self._chunks)))

    def on_end(self) -> None:
        self.whole = True


def _files(body: bytes, boundary: bytes, limits: Limits) -> list[ImageBytes]:
    form = _Form(limits)
    names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "headers_finished")
    try:
        parser = MultipartParser(boundary, {f"on_{name}": getattr(form, f"on_{name}") for name in (*names, "end")})  # type: ignore[arg-type, misc]
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise _malformed(" ".join(str(error).split())[:120]) from error
    if not form.whole:
        raise _malformed("it ends early")
    if not form.files:
        raise Refusal(422, "no_image", "The form holds no file; give each image as a file, with a file name.")
    return form.files


def _malformed(why: str) -> Refusal:
    return Refusal(400, "malformed", f"The form cannot be read: {why}.")
