"""Checksums by which what was damaged on the disk is told from what was written.

All are SHA-256. A checksum lies where the file's format has room for it: behind a binary payload (`trailer`), as an
entry of a JSON object (`with_checksum`), or in a file beside it, as ``sha256sum`` writes it (`sidecar`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MARK = b"tlaam-sha256:"
TRAILER_SIZE = len(MARK) + hashlib.sha256().digest_size
"""Bytes of a `trailer`."""
ENTRY = "sha256"
"""Name of the checksum in a JSON object."""


def checksum(*pieces: bytes | memoryview) -> str:
    """Return the SHA-256 of pieces of bytes, one behind the other, as 64 hexadecimal digits.

    >>> checksum(b"a", b"b") == checksum(b"ab")
    True
    """
    return checksum_of(pieces)


def checksum_of(pieces: Iterable[bytes | memoryview]) -> str:
    """Return `checksum` of pieces that are made one at a time."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def file_checksum(path: Path) -> str:
    """Return the `checksum` of a file's content, read a piece at a time.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return checksum_of(iter(lambda: stream.read(1 << 22), b""))


def trailer(payload: bytes | memoryview) -> bytes:
    """Return what is written behind a payload: a mark and its SHA-256."""
    return MARK + bytes.fromhex(checksum(payload))


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum of all its other entries, whatever their layout in the file.

    >>> is_intact(with_checksum({"classes": 3})), is_intact({**with_checksum({"classes": 3}), "classes": 4})
    (True, False)
    """
    rest = {name: value for name, value in values.items() if name != ENTRY}
    plain = json.loads(json.dumps(rest))  # read back first: a key that is a number is a text in the file
    return {**rest, ENTRY: checksum(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii"))}


def is_intact(values: Mapping[str, Any]) -> bool:
    """Return whether a JSON object's checksum fits its other entries, or it has none: older versions wrote none, and
    who edits a file may set it to null.
    """
    return values.get(ENTRY) is None or with_checksum(values)[ENTRY] == values[ENTRY]


def sidecar(name: str, content: bytes | memoryview) -> str:
    """Return the text of the file beside one of that name and content: what ``sha256sum`` writes and checks."""
    return f"{checksum(content)}  {name}\n"


def sidecar_path(file: Path) -> Path:
    """Return where the `sidecar` of a file lies: beside it, hidden."""
    return file.with_name(f".{file.name}.sha256")
