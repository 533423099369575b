"""Safe output of untrusted text: names of files and classes can contain line breaks and control codes."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]")


def printable(text: str) -> str:
    """Return text for one line of a terminal; line breaks, control codes and undecodable bytes are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int = 300) -> str:
    """Return text short enough for a message, whatever a file contains where a word is expected."""
    return text if len(text) <= most else f"{text[:most]}…"


def valid_text(text: str) -> str:
    """Return text that any Unicode encoding can represent; undecodable bytes of a file name are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_cell(text: str) -> str:
    """Return text for a CSV cell that spreadsheet programs always take for text, never for a formula.

    Text that begins with ``=``, ``+``, ``-``, ``@`` (or their full-width forms), a tab or a line break gets a leading
    apostrophe. So does such text with apostrophes already before it, so that the result is unambiguous.

    Examples:
        >>> safe_cell("=1+1"), safe_cell("jay"), safe_cell("'=1+1")
        ("'=1+1", 'jay', "''=1+1")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def per_cent(share: float, digits: int = 1) -> str:
    """Return a share in per cent, with a no-break space.

    Examples:
        >>> per_cent(0.825), per_cent(1, 0)
        ('82.5\\xa0%', '100\\xa0%')
    """
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"
