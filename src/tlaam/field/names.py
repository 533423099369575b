"""Names for folders and files that mean the same on Windows, macOS and Linux, whatever a class is called."""

from __future__ import annotations

import unicodedata

from tlaam.utils.checksums import checksum
from tlaam.utils.text import valid_text

_FORBIDDEN = frozenset('<>:"/\\|?*')
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"))
)
_LONGEST = 80  # bytes, of which file systems allow 255; paths of 260 characters are Windows's limit
_DIGITS = 8


def safe_name(name: str) -> str:
    """Return a name for a folder or file; one that had to be altered ends in a checksum, so that none are mixed up.

    >>> safe_name("jay"), safe_name("../jay"), safe_name("con")
    ('jay', 'jay~9aff332c', 'con~1143da2b')
    """
    safe = unicodedata.normalize("NFC", valid_text(name))
    safe = "".join("_" if c in _FORBIDDEN or (unicodedata.category(c)[0] in "CZ" and c != " ") else c for c in safe)
    safe = safe.strip(" .").lstrip("-~_ .")
    safe = safe.encode()[:_LONGEST].decode("utf-8", "ignore").rstrip(" .")
    if safe == name and safe and safe.partition(".")[0].rstrip().casefold() not in _RESERVED:
        return safe
    return f"{safe}~{checksum(valid_text(name).encode())[:_DIGITS]}"


class FolderNames:
    """Folders of classes: two classes whose names differ in case alone do not share one."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def of(self, label: str) -> str:
        """Return the folder of a class."""
        name = safe_name(label)
        if self._labels.setdefault(name.casefold(), label) != label:
            name = f"{name}~{checksum(valid_text(label).encode())[:_DIGITS]}"
        return name
