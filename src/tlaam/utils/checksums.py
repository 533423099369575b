"""Checksums for detecting files that were damaged on disk.

All are SHA-256. Their place depends on the file's format: after a binary payload (`trailer`), as an entry of a JSON
object (`with_checksum`), or in a separate file in the format of ``sha256sum`` (`sidecar`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MARK = b"tlaam-sha256:"
TRAILER_SIZE = len(MARK) + hashlib.sha256().digest_size
"""Size of a `trailer` in bytes."""
ENTRY = "sha256"
"""Name of the checksum in a JSON object."""


def checksum(*pieces: bytes | memoryview) -> str:
    """Return the SHA-256 of the concatenated pieces as 64 hexadecimal digits.

    Examples:
        >>> checksum(b"a", b"b") == checksum(b"ab")
        True
    """
    return checksum_of(pieces)


def checksum_of(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the `checksum` of pieces that are produced one at a time."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def file_checksum(path: Path) -> str:
    """Return the `checksum` of a file's content, read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return checksum_of(iter(lambda: stream.read(1 << 22), b""))


def trailer(payload: bytes | memoryview) -> bytes:
    """Return the trailer to write after a payload: a mark and its SHA-256."""
    return MARK + bytes.fromhex(checksum(payload))


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum of all its other entries, independent of their layout in the file.

    Examples:
        >>> is_intact(with_checksum({"classes": 3})), is_intact({**with_checksum({"classes": 3}), "classes": 4})
        (True, False)
    """
    rest = {name: value for name, value in values.items() if name != ENTRY}
    plain = json.loads(json.dumps(rest))  # a round trip, since JSON turns numeric keys into text
    return {**rest, ENTRY: checksum(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii"))}


def is_intact(values: Mapping[str, Any]) -> bool:
    """Return whether a JSON object's checksum matches its other entries, or is missing: older versions wrote none, and
    users who edit a file may set it to null.
    """
    return values.get(ENTRY) is None or with_checksum(values)[ENTRY] == values[ENTRY]


def sidecar(name: str, content: bytes | memoryview) -> str:
    """Return the content of the checksum file for a file with that name and content, in the format of ``sha256sum``."""
    return f"{checksum(content)}  {name}\n"


def sidecar_path(file: Path) -> Path:
    """Return the path of the `sidecar` of a file: beside it, hidden."""
    return file.with_name(f".{file.name}.sha256")
