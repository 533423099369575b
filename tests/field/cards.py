"""Drawn memory cards and answers, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tlaam.field.answer import Answer, FoundObject
from tlaam.field.exif import Shot

ATTACKS = (
    "=cmd|' /C calc'!A0",
    "../../up",
    "two\nlines",
    "right\u202eleft",
    "x" * 300,
    "+1",
    "-1",
    "@SUM(1)",
    "\tcell",
    "con",
)
"""Names of classes that mean something to a program that they are given to."""


def photograph(
    path: Path, channel: int = 0, *, exif: Image.Exif | None = None, size: tuple[int, int] = (60, 40)
) -> Path:
    """Draw a photograph, strongest in one channel of colour; every one is different."""
    random = np.random.default_rng(abs(hash(path.as_posix())) % 2**32)
    pixels = random.integers(0, 130, (size[1], size[0], 3), dtype=np.uint8)
    pixels[..., channel] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {} if exif is None else {"exif": exif.tobytes()}
    Image.fromarray(pixels).save(path, **settings)
    return path


def exif_of(**tags: object) -> Image.Exif:
    """Return EXIF metadata: a camera, half a second past six, in a zone of its own, west of Greenwich."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "ACME Trail 2"
    exif[0x8769] = {0x9003: "2024:05:01 06:07:08", 0x9291: "50", 0x9011: "+02:00", **tags.get("inner", {})}  # type: ignore[dict-item]
    exif[0x8825] = {1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (11.0, 15.0, 36.0), **tags.get("gps", {})}  # type: ignore[dict-item]
    return exif


def answer(file: str | Path, label: str = "jay", probability: float = 0.75, **settings: object) -> Answer:
    """Return an answer with one object and a second name."""
    rest = {"size": (60, 40), "shot": Shot("2024-05-01T06:07:08", "Acme", 1.5, -2.25), **settings}
    box = rest.pop("box", (6.0, 8.0, 36.0, 28.0))
    alike = rest.pop("similarity", None)
    found = FoundObject(((label, probability), ("wren", 0.125)), "", box, similarity=alike)  # type: ignore[arg-type]
    return Answer(str(file), (found,), **rest)  # type: ignore[arg-type]
