"""Image files of more than 8 bits a sample, in forms that Pillow reads but does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIZES, _CODES = {3: 2, 4: 4, 11: 4}, {3: "H", 4: "I", 11: "f"}  # of TIFF's types


def tiff(
    values: NDArray,
    *,
    bits: int | None = None,
    big: bool = False,
    photometric: int | None = None,
    sample_format: int = 0,
    planar: bool = False,
    deflate: bool = False,
    tags: Sequence[tuple[int, int, tuple[float, ...]]] = (),
) -> bytes:
    """Return a TIFF file of values ``(H, W)`` or ``(H, W, C)`` in one strip, or one for each plane.

    Args:
        values: written as they are; of 12 `bits`, packed.
        bits: a sample. [those of the values' type]
        big: write it big-endian.
        photometric: 0 where 0 is white. [1 of grey, 2 of colours]
        sample_format: the tag of this name. [none]
        planar: write one channel behind the other.
        deflate: compress it.
        tags: more of them: number, type and values.
    """
    order = ">" if big else "<"
    height, width, channels = *values.shape[:2], 1 if values.ndim == 2 else values.shape[2]
    written = values.astype(values.dtype.newbyteorder(order)).reshape(height, width, channels)
    planes = [written[..., channel] for channel in range(channels)] if planar else [written]
    strips = [_packed(plane) if bits == 12 else np.ascontiguousarray(plane).tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    entries: list[tuple[int, int, tuple[float, ...] | None]] = [
        (256, 3, (width,)),
        (257, 3, (height,)),
        (258, 3, (bits or values.dtype.itemsize * 8,) * channels),
        (259, 3, (8 if deflate else 1,)),
        (262, 3, ((1 if channels < 3 else 2) if photometric is None else photometric,)),
        (273, 4, None),  # where the strips lie
        (277, 3, (channels,)),
        (278, 3, (height,)),
        (279, 4, tuple(map(len, strips))),
        (284, 3, (2 if planar else 1,)),
        *([(339, 3, (sample_format,) * channels)] if sample_format else []),
        *tags,
    ]
    entries.sort(key=lambda entry: entry[0])
    lengths = [_SIZES[kind] * (len(strips) if numbers is None else len(numbers)) for _, kind, numbers in entries]
    aside_at = 8 + 2 + 12 * len(entries) + 4
    strips_at = aside_at + sum(length for length in lengths if length > 4)
    places = tuple(strips_at + sum(map(len, strips[:number])) for number in range(len(strips)))
    directory, aside = struct.pack(f"{order}H", len(entries)), b""
    for number, kind, numbers in entries:
        numbers = places if numbers is None else numbers
        field = struct.pack(f"{order}{len(numbers)}{_CODES[kind]}", *numbers)
        if len(field) > 4:
            aside, field = aside + field, struct.pack(f"{order}I", aside_at + len(aside))
        directory += struct.pack(f"{order}HHI", number, kind, len(numbers)) + field.ljust(4, b"\0")
    start = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{order}I", 8)
    return start + directory + struct.pack(f"{order}I", 0) + aside + b"".join(strips)


def _packed(plane: NDArray) -> bytes:
    """Return 12-bit values as TIFF packs them: two in three bytes, the high bits first, rows apart."""
    bits = (plane.reshape(len(plane), -1)[..., None].astype(np.uint16) >> np.arange(11, -1, -1)) & 1
    return np.packbits(bits.reshape(len(plane), -1).astype(np.uint8), axis=1).tobytes()


def png(values: NDArray, *, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return a 16-bit PNG file of values ``(H, W)`` or ``(H, W, C)``, C of 2, 3 or 4; `chunks` come before IDAT."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pnm(values: NDArray, most: int, *, plain: bool = False) -> bytes:
    """Return a PGM or PPM file of values ``(H, W)`` or ``(H, W, 3)`` whose header declares that maximum."""
    kind = {(2, True): 2, (3, True): 3, (2, False): 5, (3, False): 6}[values.ndim, plain]
    head = f"P{kind}\n{values.shape[1]} {values.shape[0]}\n{most}\n".encode()
    return head + (" ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2").tobytes())


def pfm(values: NDArray) -> bytes:
    """Return a floating-point file of values ``(H, W)``."""
    return f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode() + values[::-1].astype("<f4").tobytes()
