"""Text of others in one line of a terminal: names of files and classes can hold line breaks and control codes."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text for one line of a terminal: line breaks, control codes and bytes that are no text as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int = 300) -> str:
    """Return text that a message can bear, whatever a file holds where a word is expected."""
    return text if len(text) <= most else f"{text[:most]}…"
