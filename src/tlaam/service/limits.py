"""All limits of the service: sizes, counts and timeouts."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of one service; a request beyond them is refused with a status that says why.

    Attributes:
        upload_bytes: size of one image file (413).
        pixels: pixels of one image according to its header, checked before decoding (413).
        images: images per request (413).
        queue: images that are waiting, being decoded or being answered, over all users (503).
        memory: bytes of request bodies held at once, over all users (503).
        batch_size: images per batch.
        linger: seconds that an incomplete batch waits for images that are being decoded.
        decoders: number of decoder threads.
        header_seconds: time for the request line and headers, and for the rest of a body that was refused.
        body_seconds: time for a body, in addition to the time that it takes at `slowest`.
        slowest: minimum average rate of a client in bytes per second (408).
        answer_seconds: time from receiving the whole body to the answer (503).
        keep_alive_seconds: time between two requests on a connection.
        connections: number of open connections (503); beyond four times as many, new ones are closed without a reply.
        header_bytes: size of a request line and headers that arrive in pieces (400).
    """

    upload_bytes: int = 32 * MIB
    pixels: int = 64_000_000
    images: int = 16
    queue: int = 64
    memory: int = 256 * MIB
    batch_size: int = 8
    linger: float = 0.005
    decoders: int = 2
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    slowest: int = 32 * 1024
    answer_seconds: float = 60.0
    keep_alive_seconds: int = 5
    connections: int = 256
    header_bytes: int = 16 * 1024

    @property
    def request_bytes(self) -> int:
        """Size of a whole body: two images of the maximum size and the overhead of a form."""
        return 2 * self.upload_bytes + 64 * 1024

    @property
    def request_seconds(self) -> float:
        """An upper bound on the duration of any request."""
        return self.body_seconds + self.request_bytes / self.slowest + self.answer_seconds + self.header_seconds
