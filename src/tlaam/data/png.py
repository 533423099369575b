"""The chunks of a PNG file, read without decoding its pixels."""

from __future__ import annotations

import struct

from PIL import ImageFile


def png_chunk(image: ImageFile.ImageFile, kind: bytes, *, before: bytes = b"", most: int = 0) -> bytes | None:
    """Return the first bytes of a PNG file's first chunk of a given kind, found by walking the chunk headers.

    Args:
        image: opened and not yet decoded; the position in its file is preserved.
        kind: four letters.
        before: kind of chunk at which the search ends.
        most: maximum number of the chunk's data bytes to return.

    Returns:
        The data, or None if there is no such chunk.
    """
    stream = image.fp
    if stream is None:
        return None
    position = stream.tell()
    try:
        stream.seek(8)
        while len(header := stream.read(8)) == 8:
            length, found = struct.unpack(">I4s", header)
            if found == kind:
                return stream.read(min(length, most))
            if found == before:
                return None
            stream.seek(length + 4, 1)  # the chunk's data and its checksum
        return None
    finally:
        stream.seek(position)


__all__ = ["png_chunk"]
