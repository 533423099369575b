"""Text in pictures: the same font on every machine, with fallbacks for the characters that it lacks."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from tlaam.visualization.colors import Color

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_FALLBACK_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
)


def write_line(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: Color, width: int
) -> None:
    """Write a line of text at a position, truncated to a width in pixels."""
    text, font = fitted(text, pillow_font(size), width)
    draw.text(place, text, fill=colour, font=font)


def fitted(text: str, font: Font, width: float) -> tuple[str, Font]:
    """Return the part of the text that fits the width, with dots at the end if it was cut, and a font for it."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    font = _covering(text, font)
    text = _drawable(text, font)
    if font.getlength(text) <= width:
        return text, font
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "...") <= width else (low, middle - 1)
    return text[:low].rstrip() + "...", font


@lru_cache(maxsize=64)
def pillow_font(size: int) -> Font:
    """Return Pillow's own font, the same on every machine. (Pillow without FreeType has only one small size.)"""
    return ImageFont.load_default(size)


@lru_cache(maxsize=512)
def _covering(text: str, font: Font) -> Font:
    """Return Pillow's font if it has all characters of the text, else the available font that lacks the fewest."""
    if not isinstance(font, ImageFont.FreeTypeFont) or not _missing(text, font):
        return font
    candidates: list[ImageFont.FreeTypeFont] = [font]
    for name in _FALLBACK_FONTS:
        try:
            candidates.append(ImageFont.truetype(name, round(font.size)))
        except OSError:  # not installed
            continue
    return min(candidates, key=lambda candidate: len(_missing(text, candidate)))


def _drawable(text: str, font: Font) -> str:
    """Replace characters that the font lacks: by the letter without its accents, else by a question mark."""
    missing = _missing(text, font)
    for letter in missing:
        plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
        text = text.replace(letter, plain if plain and not _missing(plain, font) else "?")
    return text


def _missing(text: str, font: Font) -> set[str]:
    return {letter for letter in text if not _has(font, letter)}


@lru_cache(maxsize=4096)
def _has(font: Font, letter: str) -> bool:
    """Return whether the font has a glyph for the letter, other than the one for missing characters."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        return letter.isascii()
    drawn, absent = font.getmask(letter), font.getmask("\uffff")
    return drawn.size != absent.size or bytes(drawn) != bytes(absent)
