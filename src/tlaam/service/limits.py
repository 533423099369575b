"""What the service takes, holds and waits for: every bound in one place."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of one service; what lies beyond them is refused with a status that says why.

    Attributes:
        upload_bytes: of one image file (413).
        pixels: of one image, by its header, before it is decoded (413).
        images: in one request (413).
        queue: images that are waiting, being decoded or being answered, over all users (503).
        memory: bytes of bodies that are held at once, over all users (503).
        batch_size: images a pass.
        linger: seconds that a pass which is not full waits for images that are being decoded.
        decoders: threads that decode.
        header_seconds: for a request's line and headers, and for what is left of a body that was refused.
        body_seconds: for a body, beyond the time that it takes at `slowest`.
        slowest: bytes a second that a client has to send in the long run (408).
        answer_seconds: from a whole body to its answer (503).
        keep_alive_seconds: between two requests of a connection.
        connections: open at once (503); of four times as many, the last are closed without a word.
        header_bytes: of a request's line and headers that come bit by bit (400).
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
        """Of a whole body: two of the largest images, and what a form adds."""
        return 2 * self.upload_bytes + 64 * 1024

    @property
    def request_seconds(self) -> float:
        """Longer than any request may last."""
        return self.body_seconds + self.request_bytes / self.slowest + self.answer_seconds + self.header_seconds
