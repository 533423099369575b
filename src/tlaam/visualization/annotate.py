"""Drawing on an image: a heat map overlay, boxes, a label.

Boxes are ``(x0, y0, x1, y1)`` in pixels of the given image, x1 and y1 exclusive; boxes that are not finite or lie
outside the image are not drawn. No function modifies its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tlaam.data.sample import Box
from tlaam.visualization.colors import INK, OBJECT_COLOR, OUTLINE, PART_COLORS, WHITE, Color, colormap
from tlaam.visualization.fonts import fitted, pillow_font

PixelBox = tuple[int, int, int, int]
_HEATMAP_SIDE = 768  # a heat map has some hundred cells, so a finer resolution would show nothing more
_SAME_SIZE = 1.15  # maximum ratio of areas of windows of the same size, after rounding and clipping


def overlay_heatmap(image: Image.Image, heatmap: NDArray[np.floating], strength: float = 0.75) -> Image.Image:
    """Overlay a heat map on the image: low values leave the image visible, high values cover it with colour.

    Args:
        image: any size and mode.
        heatmap: ``(h, w)`` of any size, covering the whole image; normalised to its own minimum and maximum, so colours
            are comparable within an image, but not between images. A flat map leaves the image unchanged.
        strength: opacity at the maximum, 0 to 1.

    Returns:
        RGB, in the size of the image.
    """
    side = max(image.size)
    scale = min(1.0, _HEATMAP_SIDE / side)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    cells = Image.fromarray(_normalised(heatmap).astype(np.float32))
    values = np.clip(np.asarray(cells.resize(size, Image.Resampling.BICUBIC)), 0, 1)
    colours = Image.fromarray(colormap(values)).resize(image.size, Image.Resampling.BILINEAR)
    opacity = (255 * strength * values**0.8).round().astype(np.uint8)
    mask = Image.fromarray(opacity).resize(image.size, Image.Resampling.BILINEAR)
    return Image.composite(colours, image.convert("RGB"), mask)


def draw_boxes(
    image: Image.Image,
    object_box: Box | None,
    part_boxes: Sequence[Box],
    true_box: Box | None = None,
    label: str | None = None,
) -> Image.Image:
    """Draw the object box, the part boxes (one colour per size, thin) and the true box (white, dashed).

    Line widths grow with the image. The label is placed in a strip at the object box, or at the image's edge without
    one; it is omitted if the image is too small for a readable line.

    Returns:
        RGB, in the size of the image.
    """
    canvas = image.convert("RGB").copy()
    draw = ImageDraw.Draw(canvas)
    side = math.sqrt(canvas.width * canvas.height)
    width = max(1, round(min(side / 110, 4 + side / 800)))
    for box, colour in zip(part_boxes, part_colors(part_boxes), strict=True):
        _frame(draw, whole_pixels(box, canvas.size), colour, math.ceil(width / 2))
    if true_box is not None:
        _dashed_frame(draw, whole_pixels(true_box, canvas.size), math.ceil(width * 2 / 3))
    pixels = whole_pixels(object_box, canvas.size) if object_box is not None else None
    _frame(draw, pixels, OBJECT_COLOR, width)
    if label:
        _label_strip(draw, pixels or (0, 0, *canvas.size), canvas.size, label)
    return canvas


def part_colors(part_boxes: Sequence[Box]) -> list[Color]:
    """Return the colour of each part box, by size from small to large; boxes of (nearly) equal area share a colour."""
    areas = [_area(box) for box in part_boxes]
    colours: dict[float, Color] = {}
    group, previous = -1, -math.inf
    for area in sorted(set(areas)):
        group += area > previous * _SAME_SIZE or group < 0
        colours[area] = PART_COLORS[group % len(PART_COLORS)]
        previous = area
    return [colours[area] for area in areas]


def _normalised(heatmap: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.nan_to_num(heatmap.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _area(box: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area if math.isfinite(area) else 0.0


def whole_pixels(box: Box, size: tuple[int, int]) -> PixelBox | None:
    """Round a box to whole pixels inside the image, at least one wide and high; None if it lies outside."""
    if not all(map(math.isfinite, box)):
        return None
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0 or x1 <= 0 or y1 <= 0 or x0 >= size[0] or y0 >= size[1]:
        return None
    left, top = min(max(0, round(x0)), size[0] - 1), min(max(0, round(y0)), size[1] - 1)
    return left, top, max(left + 1, min(size[0], round(x1))), max(top + 1, min(size[1], round(y1)))


def _frame(draw: ImageDraw.ImageDraw, box: PixelBox | None, colour: Color, width: int) -> None:
    """Draw a rectangle inwards from the box's edge; thick ones get a dark hairline for contrast on bright areas."""
    if box is None:
        return
    x0, y0, x1, y1 = box
    if width > 1 and min(x1 - x0, y1 - y0) > 2 * width + 4:
        draw.rectangle((x0 + width, y0 + width, x1 - 1 - width, y1 - 1 - width), outline=OUTLINE)
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=min(width, x1 - x0, y1 - y0))


def _dashed_frame(draw: ImageDraw.ImageDraw, box: PixelBox | None, width: int) -> None:
    if box is None:
        return
    x0, y0, x1, y1 = box
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=OUTLINE, width=min(width, x1 - x0, y1 - y0))
    for start, end in _dashes(x0, x1, 5 * width):
        draw.rectangle((start, y0, end, min(y0 + width, y1) - 1), fill=WHITE)
        draw.rectangle((start, max(y1 - width, y0), end, y1 - 1), fill=WHITE)
    for start, end in _dashes(y0, y1, 5 * width):
        draw.rectangle((x0, start, min(x0 + width, x1) - 1, end), fill=WHITE)
        draw.rectangle((max(x1 - width, x0), start, x1 - 1, end), fill=WHITE)


def _dashes(start: int, stop: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last pixel of each dash; there is a dash at both corners."""
    count = max(1, round((stop - start) / length)) // 2 * 2 + 1
    step = (stop - start) / count
    for index in range(0, count, 2):
        first = start + round(index * step)
        yield first, max(first, start + round((index + 1) * step) - 1)


def _label_strip(draw: ImageDraw.ImageDraw, box: PixelBox, size: tuple[int, int], label: str) -> None:
    text_height = round(min(max(14, min(size) / 18), 64))
    if size[1] < 3 * text_height or size[0] < 4 * text_height:
        return
    pad = text_height // 3
    font = pillow_font(text_height)
    text, font = fitted(label, font, size[0] - 2 * pad)
    width, height = math.ceil(font.getlength(text)) + 2 * pad, text_height + 2 * pad
    x = min(max(0, box[0]), size[0] - width)
    y = box[1] - height if box[1] >= height else box[1]  # above the box, or inside it at the top of the image
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=OBJECT_COLOR)
    draw.text((x + pad, y + height // 2), text, fill=INK, font=font, anchor="lm")
