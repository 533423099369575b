"""Folder and file names that are safe on Windows, macOS and Linux, whatever a class is called."""

from __future__ import annotations

import unicodedata

from tlaam.utils.checksums import checksum
from tlaam.utils.text import valid_text

_FORBIDDEN = frozenset('<>:"/\\|?*')
_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"))
)
_LONGEST = 80  # bytes; file systems allow 255 per name, but Windows limits a path to 260 characters
_DIGITS = 8


def safe_name(name: str) -> str:
    """Return a safe folder or file name; altered names end in a checksum so that they stay distinct.

    Examples:
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
    """Folder names of classes, distinct even for classes whose names differ only in case."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def of(self, label: str) -> str:
        """Return the folder name of a class."""
        name = safe_name(label)
        if self._labels.setdefault(name.casefold(), label) != label:
            name = f"{name}~{checksum(valid_text(label).encode())[:_DIGITS]}"
        return name
