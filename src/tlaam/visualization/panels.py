"""Composite pictures of a prediction: the image with boxes, heat map, object and parts below a caption.

Only NumPy and Pillow are used. Boxes are ``(x0, y0, x1, y1)`` in pixels of the given image, x1 and y1 exclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tlaam.data.sample import Box
from tlaam.visualization.annotate import draw_boxes, overlay_heatmap, part_colors, whole_pixels
from tlaam.visualization.colors import GREY, INK, OBJECT_COLOR, PAPER, TILE, Color
from tlaam.visualization.fonts import write_line

_MAX_PARTS = 16


def prediction_panel(
    image: Image.Image,
    heatmap: NDArray[np.floating] | None,
    object_box: Box | None,
    part_boxes: Sequence[Box],
    *,
    title: str,
    subtitle: str,
    true_box: Box | None = None,
    others: Sequence[tuple[Box, str]] = (),
    height: int = 320,
) -> Image.Image:
    """Show a prediction: image with boxes, heat map, object crop and part crops side by side below a caption.

    Args:
        image: the raw image.
        heatmap: ``(h, w)`` over the whole image; None omits that tile.
        object_box: in pixels of `image`; None omits the crop.
        part_boxes: in pixels of `image`; the first 16 are shown as crops.
        title: the answer, on one line.
        subtitle: further information, on one smaller line.
        true_box: drawn dashed.
        others: boxes and names of further objects, drawn on the image.
        height: height of the tiles in pixels; the caption adds a little.

    Returns:
        RGB; the width depends on the shapes of image and object.
    """
    size = _tile_size(image.width / image.height, height, 0.75, 1.5)
    boxed = _boxed_view(image, object_box, part_boxes, true_box, size, others)
    caption = "boxes" if object_box is not None or part_boxes else "image"
    tiles = [(f"{caption} (dashed: annotated)" if true_box is not None else caption, _tile(boxed, size))]
    if heatmap is not None:
        tiles.append(("heat map", _tile(overlay_heatmap(_contained(image, size), heatmap), size)))
    if object_box is not None:
        size = _tile_size(_shape(object_box), height, 0.6, 1.5)
        tiles.append(("object", _crop_tile(image, object_box, size, OBJECT_COLOR)))
    if part_boxes:
        tiles.append(("parts", _part_grid(image, part_boxes[:_MAX_PARTS], height)))
    return _arranged(tiles, title, subtitle, height)


def prediction_views(
    image: Image.Image,
    heatmap: NDArray[np.floating] | None,
    object_box: Box | None,
    part_boxes: Sequence[Box],
    *,
    true_box: Box | None = None,
    others: Sequence[tuple[Box, str]] = (),
    side: int = 320,
) -> dict[str, Image.Image]:
    """Return the views that `prediction_panel` shows as separate pictures by name, unlabelled, in their own shapes.

    Args:
        image, heatmap, object_box, part_boxes, true_box, others: see `prediction_panel`.
        side: length of a picture's longer side in pixels.

    Returns:
        RGB; crops whose box lies outside the image are omitted.
    """
    size = (side, side)
    caption = "boxes" if object_box is not None or part_boxes else "image"
    boxed = f"{caption} (dashed: true)" if true_box is not None else caption
    views = {boxed: _boxed_view(image, object_box, part_boxes, true_box, size, others)}
    if heatmap is not None:
        views["heat map"] = overlay_heatmap(_contained(image, size), heatmap)
    for name, boxes in (("object", [] if object_box is None else [object_box]), ("parts", part_boxes[:_MAX_PARTS])):
        colours = [OBJECT_COLOR] if name == "object" else part_colors(boxes)
        rows = max(1, math.ceil(math.sqrt(len(boxes))))
        pixels = [(whole_pixels(box, image.size), colour) for box, colour in zip(boxes, colours, strict=False)]
        crops = [_marked(image.crop(box), colour, side // rows) for box, colour in pixels if box is not None]
        if crops:
            views[name] = _collage(crops, rows)
    return views


def _marked(crop: Image.Image, colour: Color, side: int) -> Image.Image:
    """Fit a crop into a square and draw a bar at its bottom edge."""
    fitted = _contained(crop, (side, side))
    ImageDraw.Draw(fitted).rectangle((0, fitted.height - max(2, side // 50), *fitted.size), fill=colour)
    return fitted


def _collage(pictures: Sequence[Image.Image], rows: int) -> Image.Image:
    """Arrange pictures in columns of `rows` pictures, each centred in a cell as large as the largest picture."""
    width, height = (max(sizes) for sizes in zip(*(picture.size for picture in pictures), strict=True))
    gap, columns = 4 if len(pictures) > 1 else 0, math.ceil(len(pictures) / rows)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, min(rows, len(pictures)) * (height + gap) - gap), TILE)
    for index, picture in enumerate(pictures):
        column, row = divmod(index, rows)
        x, y = column * (width + gap), row * (height + gap)
        sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
    return sheet


def contact_sheet(panels: Sequence[Image.Image], columns: int = 1) -> Image.Image:
    """Arrange pictures in rows of `columns`, each column as wide as its widest picture.

    Raises:
        ValueError: no picture, or fewer than one column.
    """
    if not panels or columns < 1:
        raise ValueError(f"A sheet needs pictures and columns; received {len(panels)} and {columns}.")
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths), sum(heights)), PAPER)
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            sheet.paste(panel.convert("RGB"), (sum(widths[:column]), sum(heights[:number])))
    return sheet


def _boxed_view(
    image: Image.Image,
    object_box: Box | None,
    part_boxes: Sequence[Box],
    true_box: Box | None,
    size: tuple[int, int],
    others: Sequence[tuple[Box, str]] = (),
) -> Image.Image:
    """Return the image with boxes, drawn at display size so that lines stay crisp."""
    small = _contained(image, size)
    x, y = small.width / image.width, small.height / image.height

    def scaled(box: Box) -> Box:
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    for box, name in others:
        small = draw_boxes(small, scaled(box), [], label=name)
    return draw_boxes(
        small,
        scaled(object_box) if object_box is not None else None,
        [scaled(box) for box in part_boxes],
        scaled(true_box) if true_box is not None else None,
    )


def _contained(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to the largest size of the same aspect ratio that fits, at least one pixel wide and high."""
    scale = min(size[0] / image.width, size[1] / image.height)
    target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(target, Image.Resampling.LANCZOS, reducing_gap=3)


def _tile(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", size, TILE)
    tile.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return _rounded(tile)


def _crop_tile(image: Image.Image, box: Box, size: tuple[int, int], colour: Color) -> Image.Image:
    """Show the content of the box, with a bar in the box's colour at the bottom edge."""
    pixels = whole_pixels(box, image.size)
    tile = Image.new("RGB", size, TILE)
    bar = max(2, size[1] // 60)
    if pixels is not None:
        crop = _contained(image.crop(pixels), size)
        tile.paste(crop, ((size[0] - crop.width) // 2, (size[1] - crop.height) // 2))
    ImageDraw.Draw(tile).rectangle((0, size[1] - bar, size[0], size[1]), fill=colour)
    return _rounded(tile)


def _part_grid(image: Image.Image, part_boxes: Sequence[Box], height: int) -> Image.Image:
    """Show part crops in columns as high as the other tiles (three sizes around two peaks: three rows, two columns)."""
    rows = math.ceil(math.sqrt(len(part_boxes)))
    columns = math.ceil(len(part_boxes) / rows)
    gap = max(1, height // 60)
    # Use one cell size for all: windows have the shape of the object box, except for rounding.
    width, side = _tile_size(_shape(part_boxes[0]), max(1, (height - gap * (rows - 1)) // rows), 0.6, 1.3)
    grid = Image.new("RGB", (columns * (width + gap) - gap, height), PAPER)
    for index, (box, colour) in enumerate(zip(part_boxes, part_colors(part_boxes), strict=True)):
        column, row = divmod(index, rows)
        grid.paste(_crop_tile(image, box, (width, side), colour), (column * (width + gap), row * (side + gap)))
    return grid


def _shape(box: Box) -> float:
    """Return width / height; 1 if the box has none."""
    width, height = box[2] - box[0], box[3] - box[1]
    return width / height if width > 0 and height > 0 and math.isfinite(width / height) else 1.0


def _tile_size(shape: float, height: int, narrowest: float, widest: float) -> tuple[int, int]:
    return max(1, round(height * min(max(shape, narrowest), widest))), height


def _arranged(tiles: Sequence[tuple[str, Image.Image]], title: str, subtitle: str, height: int) -> Image.Image:
    margin, gap = max(4, height // 16), max(2, height // 32)
    title_size, small_size = max(10, height // 15), max(9, height // 23)
    top = margin + round(1.5 * title_size) + round(1.9 * small_size)
    width = 2 * margin + sum(tile.width for _, tile in tiles) + gap * (len(tiles) - 1)
    panel = Image.new("RGB", (width, top + height + round(1.8 * small_size) + margin), PAPER)
    draw = ImageDraw.Draw(panel)
    write_line(draw, (margin, margin), title, title_size, INK, width - 2 * margin)
    write_line(draw, (margin, margin + round(1.5 * title_size)), subtitle, small_size, GREY, width - 2 * margin)
    x = margin
    for name, tile in tiles:
        panel.paste(tile, (x, top))
        write_line(draw, (x, top + height + small_size // 2), name, small_size, GREY, tile.width)
        x += tile.width + gap
    return panel


def _rounded(tile: Image.Image) -> Image.Image:
    """Round the corners smoothly: the mask is drawn four times as large."""
    radius = min(tile.size) // 28
    mask = Image.new("L", (tile.width * 4, tile.height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * 4, fill=255)
    ground = Image.new("RGB", tile.size, PAPER)
    ground.paste(tile, mask=mask.resize(tile.size, Image.Resampling.BOX))
    return ground
