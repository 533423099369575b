"""The page's icons as PNG files, which phones want for their home screens: drawn like ``icon.svg``."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw

_TEAL, _ORANGE, _WHITE = (15, 118, 110, 255), (255, 176, 0, 255), (255, 255, 255, 255)
_FINER = 4  # drawn so many times larger, and reduced
_UNITS = 32  # of the drawing's side


def icon(side: int, *, maskable: bool = False) -> bytes:
    """Return a square PNG file.

    Args:
        side: pixels.
        maskable: colour to the edges, with room for a system that cuts a circle or another shape out of it.
    """
    size = side * _FINER
    image = Image.new("RGBA", (size, size), _TEAL if maskable else (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    if not maskable:
        pen.rounded_rectangle((0, 0, size - 1, size - 1), round(8 / _UNITS * size), fill=_TEAL)
    shrink = 0.78 if maskable else 1.0

    def at(*places: float) -> tuple[float, ...]:
        return tuple(((place - _UNITS / 2) * shrink + _UNITS / 2) / _UNITS * size for place in places)

    def width(units: float) -> int:
        return round(units * shrink / _UNITS * size)

    pen.rounded_rectangle(at(4.8, 5.8, 27.2, 26.2), width(4.2), outline=_ORANGE, width=width(2.4))
    for x, y in ((13, 13.5), (20, 18.5)):
        pen.ellipse(at(x - 4.4, y - 4.4, x + 4.4, y + 4.4), outline=_WHITE, width=width(2))
    buffer = BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()
