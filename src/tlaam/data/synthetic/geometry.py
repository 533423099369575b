"""Curves, placements and anti-aliased coverage, from which everything is drawn.

Points are ``(N, 2)`` float arrays of (x, y), y downwards. Coverage is the share of a pixel that a shape covers, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Array = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

SUPERSAMPLING = 3
"""Shapes are drawn this many times larger and reduced, for smooth edges."""


def points(*pairs: tuple[float, float]) -> Points:
    """Return (x, y) pairs as an ``(N, 2)`` array."""
    return np.array(pairs, dtype=np.float64)


def shifted(where: Points, x: float, y: float) -> Points:
    """Return points ``(..., 2)`` moved by (x, y)."""
    moved: Points = where + np.array((x, y))
    return moved


def curve(knots: Points, closed: bool = True, steps: int = 8) -> Points:
    """Return a Catmull-Rom curve through `knots` with `steps` points per knot, ``(N * steps, 2)``."""
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (before, start, end, after))
    bent = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat = bent.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


def blade(root: tuple[float, float], tip: tuple[float, float], width: float, roundness: float = 0.7) -> Points:
    """Return the outline of a feather or leaf from `root` to `tip`; `roundness` is where along it it is widest."""
    start, end = np.array(root), np.array(tip)
    along = end - start
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * width / 2
    knots = [
        start,
        start + along * roundness * 0.5 + across * 0.8,
        start + along * roundness + across,
        end,
        start + along * roundness - across,
        start + along * roundness * 0.5 - across * 0.8,
    ]
    return curve(np.array(knots), steps=5)


def rotation(degrees: float) -> Points:
    """Return the 2 x 2 matrix that turns (x right, y down) clockwise by `degrees`."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@dataclass(frozen=True)
class Placement:
    """An affine map ``p -> matrix @ p + offset`` from a drawing's own units to pixels."""

    matrix: Points
    offset: Points

    def __call__(self, where: Points) -> Points:
        """Map ``(N, 2)`` points."""
        mapped: Points = where @ self.matrix.T + self.offset
        return mapped

    def inverse(self, where: Points) -> Points:
        """Map ``(..., 2)`` pixels back to the drawing's units."""
        back: Points = (where - self.offset) @ np.linalg.inv(self.matrix).T
        return back

    @property
    def scale(self) -> float:
        """Pixels per unit, averaged over directions."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


@dataclass(frozen=True)
class Coverage:
    """How much of each pixel a shape covers, within a rectangle whose upper left pixel is (x, y)."""

    x: int
    y: int
    values: Array

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the rectangle spans."""
        height, width = self.values.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    def times(self, field: Array) -> Coverage:
        """Return the coverage multiplied by a field over the whole image."""
        return Coverage(self.x, self.y, self.values * field[self.window])

    def full(self, shape: tuple[int, int]) -> Array:
        """Return the coverage over the whole image of `shape` (H, W)."""
        whole = np.zeros(shape, dtype=np.float32)
        whole[self.window] = self.values
        return whole


def cover(shape: tuple[int, int], polygons: Sequence[Points], lines: Sequence[tuple[Points, float]] = ()) -> Coverage:
    """Return the union of polygons and of polylines with widths, all in pixels, on an image of `shape` (H, W)."""
    everything = np.concatenate([*polygons, *(line for line, _ in lines)])
    pad = 2 + max((width for _, width in lines), default=0.0) / 2
    low = np.clip(np.floor(everything.min(0) - pad), 0, (shape[1] - 1, shape[0] - 1)).astype(int)
    high = np.clip(np.ceil(everything.max(0) + pad), low + 1, (shape[1], shape[0])).astype(int)
    width, height = (int(n) for n in high - low)
    image = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        draw.polygon(((polygon - low) * SUPERSAMPLING).ravel().tolist(), fill=255)
    for line, thickness in lines:
        stroke(draw, (line - low) * SUPERSAMPLING, thickness * SUPERSAMPLING, 255)
    values = np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
    return Coverage(int(low[0]), int(low[1]), values)


def stroke(draw: ImageDraw.ImageDraw, line: Points, thickness: float, fill: int | tuple[int, int, int]) -> None:
    """Draw a polyline ``(N, 2)`` with round joints."""
    draw.line(line.ravel().tolist(), fill=fill, width=max(1, round(thickness)), joint="curve")


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour `share` of the way from a to b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def tone(colour: Colour, factor: float) -> tuple[int, int, int]:
    """Return a colour made lighter or darker, as integers from 0 to 255."""
    r, g, b = (min(255, max(0, round(channel * factor))) for channel in colour)
    return r, g, b


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Return 0 below `low`, 1 above `high`, and a smooth transition in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    eased: Array = t * t * (3 - 2 * t)
    return eased
