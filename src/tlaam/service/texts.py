"""Texts of the pages: one JSON file of named texts, and the pages that are filled with them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib import resources

FILE = "texts.json"
_MARK = re.compile(r"\{\{([\w.]+)\}\}")


def read_static(name: str) -> str:
    """Return a file of `static` as text."""
    return resources.files("tlaam.service").joinpath("static", name).read_text(encoding="utf-8")


def card_texts() -> dict[str, str]:
    """Return the English texts of the result cards by name."""
    texts: dict[str, str] = json.loads(read_static(FILE))
    return texts


def filled(page: str, texts: Mapping[str, str]) -> str:
    """Return a page with ``CARD`` replaced by the card template, and each ``{{name}}`` by the text of that name.

    Raises:
        KeyError: there is no text of that name.

    Examples:
        >>> filled("<p>{{greeting}}</p>", {"greeting": "1 < 2"})
        '<p>1 &lt; 2</p>'
    """
    whole = re.sub(r"^ *CARD$", lambda _: read_static("card.html").rstrip(), page, flags=re.MULTILINE)
    return _MARK.sub(lambda mark: html.escape(texts[mark[1]]), whole)
