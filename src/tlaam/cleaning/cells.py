"""CSV cells that spreadsheets display as text, whatever they begin with."""

from __future__ import annotations

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "'")


def safe_cell(text: str) -> str:
    """Return a cell that spreadsheets do not take for a formula: potential formulas get a leading apostrophe.

    Examples:
        >>> safe_cell("=1+1"), safe_cell("a.jpg")
        ("'=1+1", 'a.jpg')
    """
    return f"'{text}" if text.startswith(_FORMULAS) else text


def text_of(cell: str) -> str:
    """Return the text that `safe_cell` was called with.

    Examples:
        >>> text_of("'=1+1"), text_of("a.jpg")
        ('=1+1', 'a.jpg')
    """
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULAS) else cell
