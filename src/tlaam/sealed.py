"""Checksums by which what was damaged on the disk is known from what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MARK = b"tlaam-sha256:"
SEAL_SIZE = len(MARK) + hashlib.sha256().digest_size
"""Bytes of a seal."""
ENTRY = "sha256"
"""Name of the seal in a JSON object."""


def seal(payload: bytes | memoryview) -> bytes:
    """Return what is written behind a payload: a mark and its SHA-256."""
    return MARK + hashlib.sha256(payload).digest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum of all its other entries, whatever their layout in the file."""
    rest = {name: value for name, value in values.items() if name != ENTRY}
    return {**rest, ENTRY: _digest(rest)}


def is_intact(values: Mapping[str, Any]) -> bool:
    """Return whether a JSON object's checksum fits its other entries, or it has none (older versions wrote none)."""
    return ENTRY not in values or sealed(values)[ENTRY] == values[ENTRY]


def _digest(values: Mapping[str, Any]) -> str:
    # Read back first: a key that is a number is a text in the file.
    plain = json.loads(json.dumps(values))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()
