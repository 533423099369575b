"""Text of others in one line of a terminal: names of files and classes can hold line breaks and control codes."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]")


def printable(text: str) -> str:
    """Return text for one line of a terminal: line breaks, control codes and bytes that are no text as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int = 300) -> str:
    """Return text that a message can bear, whatever a file holds where a word is expected."""
    return text if len(text) <= most else f"{text[:most]}…"


def valid_text(text: str) -> str:
    """Return text that any encoding of Unicode can write: bytes of a file name that are no text as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_cell(text: str) -> str:
    """Return text for a cell of a CSV file that a spreadsheet program takes for text, and never for a formula.

    What begins with ``=``, ``+``, ``-``, ``@`` (also in their wide forms), a tab or a line break gets an apostrophe
    before it, and so does such a text that has apostrophes before it already, so that nothing is ambiguous.

    >>> safe_cell("=1+1"), safe_cell("jay"), safe_cell("'=1+1")
    ("'=1+1", 'jay', "''=1+1")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def per_cent(share: float, digits: int = 1) -> str:
    """Return a share in per cent, with a space at which no line breaks.

    >>> per_cent(0.825), per_cent(1, 0)
    ('82.5\\xa0%', '100\\xa0%')
    """
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"
