"""Class names as they are compared and stored: composed (NFC), and without invisible characters."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from tlaam.errors import DataError
from tlaam.utils.text import printable

_UNSEEN = frozenset(("\u034f", *map(chr, range(0xFE00, 0xFE10))))  # joiner and variation selectors (Unicode marks)


def clean_name(text: str) -> str:
    """Return a name in NFC, without format characters and surrounding space; every kind of space becomes a plain one.

    Names that look alike are then equal, whichever system wrote them. A name that would become empty stays unchanged.

    Examples:
        >>> clean_name("cr\\u00adow\\u200b ")
        'crow'
    """
    if text.isascii():
        return text.strip() or text
    seen = "".join(
        " " if unicodedata.category(c) == "Zs" else c
        for c in unicodedata.normalize("NFC", text)
        if c not in _UNSEEN and unicodedata.category(c) != "Cf"
    )
    return unicodedata.normalize("NFC", seen).strip() or text


def folded_name(text: str) -> str:
    """Return a key that is the same for names that differ only in letter case or in what `clean_name` normalises."""
    return clean_name(text).casefold()


def spelt_in_several_ways(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the clean names that occur under several spellings, each with its spellings in printable form."""
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        spellings[clean_name(name)].add(name)
    return {name: sorted(map(ascii, found)) for name, found in spellings.items() if len(found) > 1}


def require_text(name: str, where: object) -> None:
    """Check that a class name is text that files can store.

    Raises:
        DataError: it holds bytes that are not text, or was read in a locale that misinterprets UTF-8.
    """
    try:
        written = os.fsencode(name).decode("utf-8")
    except UnicodeEncodeError:
        return  # text that this locale could not have read from a folder: it comes from a file
    except UnicodeDecodeError:
        if name.isprintable() or not any("\ud800" <= c <= "\udfff" for c in name):
            return
        raise DataError(
            f"The name of class '{printable(name)}' of '{printable(str(where))}' is not UTF-8 text. Rename its folder."
        ) from None
    if written != name:
        raise DataError(
            f"Class '{printable(written)}' of '{printable(str(where))}' cannot be named in this locale, which is not "
            "UTF-8. Set PYTHONUTF8=1 (or LC_ALL=C.UTF-8) and run it again."
        )
