"""When and with which camera a photograph was taken, according to its EXIF block."""

from __future__ import annotations

import io
from datetime import datetime
from typing import NamedTuple

from PIL import Image

from tlaam.data.container import Member
from tlaam.data.sample import Sample

_MAKE, _MODEL, _TIME, _EXIF = 0x010F, 0x0110, 0x0132, 0x8769
_ORIGINAL, _SERIAL = 0x9003, 0xA431


class Taken(NamedTuple):
    """When and with which camera a photograph was taken.

    Attributes:
        camera: make, model and serial number, as far as they are stated; empty if none is.
        time: in seconds since 1970 by the camera's own clock; None if it is not stated.
    """

    camera: str
    time: float | None


NOTHING = Taken("", None)


def taken(sample: Sample) -> Taken:
    """Return the EXIF data of a sample's file; empty if there is none or it is invalid."""
    try:
        source = sample.source
        with Image.open(io.BytesIO(source.read()) if isinstance(source, Member) else source) as image:
            tags = image.getexif()
            inner = tags.get_ifd(_EXIF)
    except Exception:  # a damaged block can raise anything in Pillow; the pixels are checked elsewhere
        return NOTHING
    words = [_text(tags.get(_MAKE)), _text(tags.get(_MODEL)), _text(inner.get(_SERIAL))]
    return Taken(" ".join(filter(None, words)), _seconds(_text(inner.get(_ORIGINAL)) or _text(tags.get(_TIME))))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return "".join(c for c in value if c.isprintable()).strip()[:100] if isinstance(value, str) else ""


def _seconds(text: str) -> float | None:
    try:
        found = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
        return (found - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None
