"""The format of a file by its first bytes, whatever its suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tlaam.data.container import Member, piece_of

Signature = Literal["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF"]

LENGTH = 32
"""Number of a file's first bytes that identify its format."""

_STARTS: tuple[tuple[bytes, Signature], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_AVIF_BRANDS = (b"avif", b"avis")
_PNM = frozenset(b"P" + kind for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f"))


def signature(head: bytes) -> Signature | None:
    """Return the format that a file's first bytes indicate, or None if it is none of these.

    Examples:
        >>> signature(bytes.fromhex("000000186674797068656963"))
        'HEIF'
    """
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brand, compatible = head[8:12], head[16:]
        if brand in _AVIF_BRANDS or (brand in (b"mif1", b"msf1") and any(b in compatible for b in _AVIF_BRANDS)):
            return "AVIF"
        return "HEIF" if brand in _HEIF_BRANDS else None
    return "PPM" if head[:2] in _PNM and head[2:3].isspace() else None


def signature_of(path: Path | Member | str) -> Signature | None:
    """Return the format that a file's first bytes indicate; None if it is none, no regular file, or unreadable."""
    source = Path(path) if isinstance(path, str) else path
    try:
        if isinstance(source, Path) and not source.is_file():  # opening a pipe would block until someone writes
            return None
        return signature(piece_of(source, 0, LENGTH))
    except (OSError, ValueError):
        return None


__all__ = ["LENGTH", "Signature", "signature", "signature_of"]
