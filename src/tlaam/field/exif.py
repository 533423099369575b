"""When, where and with which camera a photograph was taken, read from its metadata; no value is trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tlaam.data.images import load_exif
from tlaam.errors import DataError

_MAKE, _MODEL = 0x010F, 0x0110
# Tags for the time taken, the time digitised and the time the file was changed, each with its subsecond and offset tag.
_TIMES = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))
_LATITUDE, _LONGITUDE, _STATUS = (1, 2), (3, 4), 9
_TIME = re.compile(r"(\d{4})[:-](\d{2})[:-](\d{2})[ T](\d{2}):(\d{2}):(\d{2})")
_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")
_LONGEST = 100  # maximum length of a camera name in characters


@dataclass(frozen=True)
class Shot:
    """The capture data in a photograph's metadata.

    Attributes:
        time: ISO 8601 by the camera's clock, with fractions of a second and the offset from UTC if stated.
        camera: make and model.
        latitude, longitude: decimal degrees, north and east positive.
    """

    time: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def read_shot(path: str | Path) -> Shot:
    """Return the EXIF metadata of a photograph; empty if there is none or the file cannot be read."""
    try:
        exif = load_exif(path)
    except DataError:
        return Shot()
    place = exif.place
    latitude, longitude = _degrees(place, *_LATITUDE, "NS", 90), _degrees(place, *_LONGITUDE, "EW", 180)
    if latitude is None or longitude is None or _text(place.get(_STATUS)) == "V":  # V: the receiver had no GPS fix
        latitude = longitude = None
    return Shot(_time({**exif.image, **exif.shot}), _camera(exif.image), latitude, longitude)


def _text(value: object) -> str:
    """Return a tag's text on one line; empty if the tag is not text."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in text.partition("\0")[0]).split())


def _camera(tags: Mapping[int, Any]) -> str | None:
    maker, model = _text(tags.get(_MAKE)), _text(tags.get(_MODEL))
    name = model if model.casefold().startswith(maker.casefold()) else f"{maker} {model}".strip()
    return name[:_LONGEST] or None


def _time(tags: Mapping[int, Any]) -> str | None:
    for moment, fraction, offset in _TIMES:
        found = _TIME.match(_text(tags.get(moment)))
        if found is None:
            continue
        try:
            stated = datetime(*map(int, found.groups())).isoformat()  # type: ignore[arg-type]
        except ValueError:  # for example 0000:00:00, or the 31st of June
            continue
        digits, zone = _text(tags.get(fraction)), _OFFSET.fullmatch(_text(tags.get(offset)))
        part = f".{digits[:9]}" if digits.isascii() and digits.isdigit() else ""
        there = zone is not None and int(zone[2]) < 24 and int(zone[3]) < 60
        return f"{stated}{part}{zone[0] if zone and there else ''}"
    return None


def _degrees(gps: Mapping[int, Any], side: int, tag: int, letters: str, most: int) -> float | None:
    letter = _text(gps.get(side)).upper()
    if letter not in tuple(letters):
        return None
    try:
        degrees, minutes, seconds = ([float(value) for value in gps[tag]] + [0.0, 0.0])[:3]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or min(degrees, minutes, seconds) < 0 or value > most:
        return None
    return round(-value if letter == letters[1] else value, 7)
