"""The page's icons as PNG files, drawn like ``icon.svg``; phones need them for the home screen."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw

_TEAL, _ORANGE, _WHITE = (15, 118, 110, 255), (255, 176, 0, 255), (255, 255, 255, 255)
_FINER = 4  # supersampling factor: draw larger, then reduce
_UNITS = 32  # side of the drawing in drawing units


def icon(side: int, *, maskable: bool = False) -> bytes:
    """Return the icon as a square PNG file.

    Args:
        side: width and height in pixels.
        maskable: fill the square to its edges, with a margin for systems that cut out a circle or another shape.
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
