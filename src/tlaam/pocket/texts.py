"""The page's texts by name, which a file of translations can replace."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tlaam.errors import ExportError, did_you_mean
from tlaam.service.texts import card_texts
from tlaam.utils.text import shortened

_SERVERS = ("card.fault.busy", "card.fault.offline", "card.fault.too_large", "card.fault.too_many_pixels",
            "card.fault.not_an_image", "card.fault.corrupt")  # fmt: skip
"""Prefixes of texts that only a server needs."""
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_MOST = 1 << 20  # maximum file size in bytes
_PLACE = re.compile(r"\{(\w+)\}")


def page_texts(translation: Path | None = None) -> dict[str, str]:
    """Return the page's texts by name, in English or from a file; texts missing from the file stay in English.

    Args:
        translation: a JSON object of texts by name; ``lang`` is its language (BCP 47), ``dir`` ``ltr`` or ``rtl``.

    Raises:
        ExportError: the file cannot be used; the message says what is wrong.
    """
    own = resources.files("tlaam.pocket").joinpath("page", "texts.json").read_text(encoding="utf-8")
    texts = {name: text for name, text in card_texts().items() if not name.startswith(_SERVERS)}
    texts |= json.loads(own)
    return texts if translation is None else texts | _translated(translation, texts)


def _translated(path: Path, english: Mapping[str, str]) -> dict[str, str]:
    try:
        if path.stat().st_size > _MOST:
            raise ExportError(f"--texts: {path} has more than {_MOST:,} bytes; it is to hold texts by name.")
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"--texts: {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ExportError(f"--texts: {path} is no JSON file: {error}.") from error
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ExportError(f"--texts: {path} is to be one JSON object of texts by name.")
    for name, text in found.items():
        if name not in english:
            raise ExportError(f"--texts: there is no text '{shortened(name, 60)}'.{did_you_mean(name, english)}")
        if unknown := sorted(set(_PLACE.findall(text)) - set(_PLACE.findall(english[name]))):
            known = ", ".join(f"{{{each}}}" for each in _PLACE.findall(english[name])) or "none"
            raise ExportError(
                f"--texts: '{name}' has {{{unknown[0]}}}, for which there is no value; it may have: {known}."
            )
    if not _LANGUAGE.fullmatch(found.get("lang", "en")) or found.get("dir", "ltr") not in ("ltr", "rtl"):
        raise ExportError("--texts: 'lang' is a language such as de or pt-BR, and 'dir' ltr or rtl.")
    texts: dict[str, str] = found
    return texts
