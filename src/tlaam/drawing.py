"""Pictures of a prediction: heat maps over photographs, boxes, and panels for people to look at.

NumPy and Pillow only. Boxes are ``(x0, y0, x1, y1)`` in pixels of the image given, x1 and y1 exclusive; boxes that are
not finite or lie outside the image are not drawn. Every function leaves its inputs as they were.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tlaam.data.sample import Box

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_PixelBox = tuple[int, int, int, int]

# Nine even steps of the "inferno" map (N. Smith and S. van der Walt; public domain, CC0). Its lightness rises steadily,
# so that equal steps of the map look about equally large, in greyscale print too.
_ANCHORS = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (188, 55, 84),
        (227, 89, 51),
        (249, 142, 9),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float64,
)

OBJECT_COLOUR: Colour = (255, 176, 0)
PART_COLOURS: tuple[Colour, ...] = ((94, 200, 255), (255, 110, 180), (120, 230, 160), (180, 150, 255))
"""Colours of part boxes from the smallest window size to the largest; further sizes begin again."""
_OUTLINE: Colour = (20, 20, 24)
_WHITE: Colour = (255, 255, 255)

_PAPER: Colour = (250, 250, 247)
_INK: Colour = (32, 34, 38)
_GREY: Colour = (112, 116, 122)
_TILE: Colour = (236, 236, 231)

_HEATMAP_SIDE = 768  # a heat map has some hundred cells: finer than this nothing is to be seen
_MAX_PARTS = 16
_SAME_SIZE = 1.15  # windows of one size may differ by this factor of area after rounding and clipping
_FALLBACK_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
)


def colormap(heatmap: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour values between 0 (black) and 1 (pale yellow) so that equal steps look about equally large.

    Args:
        heatmap: ``(H, W)``; values outside [0, 1] are clipped, NaN counts as 0.

    Returns:
        ``(H, W, 3)`` RGB.
    """
    values = np.clip(np.nan_to_num(heatmap.astype(np.float64), nan=0.0), 0, 1)
    positions = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(values, positions, _ANCHORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay_heatmap(image: Image.Image, heatmap: NDArray[np.floating], strength: float = 0.75) -> Image.Image:
    """Lay a heat map over the image: where it is low the image stays, where it is high the colour covers it.

    Args:
        image: any size and mode.
        heatmap: ``(h, w)`` of any size, covering the whole image; stretched to its own minimum and maximum, so that
            colours compare places within one image, not images. A flat map leaves the image as it is.
        strength: opacity at the maximum, 0 to 1.

    Returns:
        RGB, of the image's size.
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

    Lines grow with the image. The label stands in a strip at the object box, or at the image where there is none; it
    is left out where the image is too small to hold a readable line.

    Returns:
        RGB, of the image's size.
    """
    canvas = image.convert("RGB").copy()
    draw = ImageDraw.Draw(canvas)
    side = math.sqrt(canvas.width * canvas.height)
    width = max(1, round(min(side / 110, 4 + side / 800)))
    for box, colour in zip(part_boxes, part_colours(part_boxes), strict=True):
        _frame(draw, _pixels(box, canvas.size), colour, math.ceil(width / 2))
    if true_box is not None:
        _dashed_frame(draw, _pixels(true_box, canvas.size), math.ceil(width * 2 / 3))
    pixels = _pixels(object_box, canvas.size) if object_box is not None else None
    _frame(draw, pixels, OBJECT_COLOUR, width)
    if label:
        _label_strip(draw, pixels or (0, 0, *canvas.size), canvas.size, label)
    return canvas


def part_colours(part_boxes: Sequence[Box]) -> list[Colour]:
    """Return each part box's colour: boxes of (nearly) equal area share one, from small to large."""
    areas = [_area(box) for box in part_boxes]
    colours: dict[float, Colour] = {}
    group, previous = -1, -math.inf
    for area in sorted(set(areas)):
        group += area > previous * _SAME_SIZE or group < 0
        colours[area] = PART_COLOURS[group % len(PART_COLOURS)]
        previous = area
    return [colours[area] for area in areas]


def prediction_panel(
    image: Image.Image,
    heatmap: NDArray[np.floating] | None,
    object_box: Box | None,
    part_boxes: Sequence[Box],
    *,
    title: str,
    subtitle: str,
    true_box: Box | None = None,
    height: int = 320,
) -> Image.Image:
    """Show one prediction: image with boxes, heat map, object crop and part crops side by side under a caption.

    Args:
        image: the raw image.
        heatmap: ``(h, w)`` over the whole image; None leaves that tile out.
        object_box: in pixels of `image`; None leaves the crop out.
        part_boxes: in pixels of `image`; the first 16 are shown as crops.
        title: one line, the answer.
        subtitle: one smaller line, what else is to be known.
        true_box: drawn dashed.
        height: of the tiles, pixels; the caption adds a little.

    Returns:
        RGB, as wide as the shapes of image and object ask for.
    """
    size = _tile_size(image.width / image.height, height, 0.75, 1.5)
    boxed = _boxed_view(image, object_box, part_boxes, true_box, size)
    caption = "boxes" if object_box is not None or part_boxes else "image"
    tiles = [(f"{caption} (dashed: annotated)" if true_box is not None else caption, _tile(boxed, size))]
    if heatmap is not None:
        tiles.append(("heat map", _tile(overlay_heatmap(_contained(image, size), heatmap), size)))
    if object_box is not None:
        size = _tile_size(_shape(object_box), height, 0.6, 1.5)
        tiles.append(("object", _crop_tile(image, object_box, size, OBJECT_COLOUR)))
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
    side: int = 320,
) -> dict[str, Image.Image]:
    """Return what `prediction_panel` shows as pictures of their own by name, without letters and of their own shapes.

    Args:
        image, heatmap, object_box, part_boxes, true_box: as of `prediction_panel`.
        side: pixels of a picture's longer side.

    Returns:
        RGB; a crop whose box lies outside the image is left out.
    """
    size = (side, side)
    caption = "boxes" if object_box is not None or part_boxes else "image"
    boxed = f"{caption} (dashed: true)" if true_box is not None else caption
    views = {boxed: _boxed_view(image, object_box, part_boxes, true_box, size)}
    if heatmap is not None:
        views["heat map"] = overlay_heatmap(_contained(image, size), heatmap)
    for name, boxes in (("object", [] if object_box is None else [object_box]), ("parts", part_boxes[:_MAX_PARTS])):
        colours = [OBJECT_COLOUR] if name == "object" else part_colours(boxes)
        rows = max(1, math.ceil(math.sqrt(len(boxes))))
        pixels = [(_pixels(box, image.size), colour) for box, colour in zip(boxes, colours, strict=False)]
        crops = [_marked(image.crop(box), colour, side // rows) for box, colour in pixels if box is not None]
        if crops:
            views[name] = _collage(crops, rows)
    return views


def _marked(crop: Image.Image, colour: Colour, side: int) -> Image.Image:
    """Fit a crop into a square and draw a bar at its foot."""
    fitted = _contained(crop, (side, side))
    ImageDraw.Draw(fitted).rectangle((0, fitted.height - max(2, side // 50), *fitted.size), fill=colour)
    return fitted


def _collage(pictures: Sequence[Image.Image], rows: int) -> Image.Image:
    """Put pictures into columns of so many rows, each in the middle of a cell as large as the largest."""
    width, height = (max(sizes) for sizes in zip(*(picture.size for picture in pictures), strict=True))
    gap, columns = 4 if len(pictures) > 1 else 0, math.ceil(len(pictures) / rows)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, min(rows, len(pictures)) * (height + gap) - gap), _TILE)
    for index, picture in enumerate(pictures):
        column, row = divmod(index, rows)
        x, y = column * (width + gap), row * (height + gap)
        sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
    return sheet


def contact_sheet(panels: Sequence[Image.Image], columns: int = 1) -> Image.Image:
    """Put pictures into rows of `columns`, each column as wide as its widest picture.

    Raises:
        ValueError: no picture, or fewer than one column.
    """
    if not panels or columns < 1:
        raise ValueError(f"A sheet needs pictures and columns; received {len(panels)} and {columns}.")
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths), sum(heights)), _PAPER)
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            sheet.paste(panel.convert("RGB"), (sum(widths[:column]), sum(heights[:number])))
    return sheet


def _normalised(heatmap: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.nan_to_num(heatmap.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _area(box: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area if math.isfinite(area) else 0.0


def _pixels(box: Box, size: tuple[int, int]) -> _PixelBox | None:
    """Round a box to whole pixels inside the image, at least one wide and high; None where nothing of it is inside."""
    if not all(map(math.isfinite, box)):
        return None
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0 or x1 <= 0 or y1 <= 0 or x0 >= size[0] or y0 >= size[1]:
        return None
    left, top = min(max(0, round(x0)), size[0] - 1), min(max(0, round(y0)), size[1] - 1)
    return left, top, max(left + 1, min(size[0], round(x1))), max(top + 1, min(size[1], round(y1)))


def _frame(draw: ImageDraw.ImageDraw, box: _PixelBox | None, colour: Colour, width: int) -> None:
    """Draw a rectangle inwards from the box's edge; a thick one has a dark hairline for contrast on bright ground."""
    if box is None:
        return
    x0, y0, x1, y1 = box
    if width > 1 and min(x1 - x0, y1 - y0) > 2 * width + 4:
        draw.rectangle((x0 + width, y0 + width, x1 - 1 - width, y1 - 1 - width), outline=_OUTLINE)
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=min(width, x1 - x0, y1 - y0))


def _dashed_frame(draw: ImageDraw.ImageDraw, box: _PixelBox | None, width: int) -> None:
    if box is None:
        return
    x0, y0, x1, y1 = box
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=_OUTLINE, width=min(width, x1 - x0, y1 - y0))
    for start, end in _dashes(x0, x1, 5 * width):
        draw.rectangle((start, y0, end, min(y0 + width, y1) - 1), fill=_WHITE)
        draw.rectangle((start, max(y1 - width, y0), end, y1 - 1), fill=_WHITE)
    for start, end in _dashes(y0, y1, 5 * width):
        draw.rectangle((x0, start, min(x0 + width, x1) - 1, end), fill=_WHITE)
        draw.rectangle((max(x1 - width, x0), start, x1 - 1, end), fill=_WHITE)


def _dashes(start: int, stop: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield first and last pixel of dashes that begin and end in both corners."""
    count = max(1, round((stop - start) / length)) // 2 * 2 + 1
    step = (stop - start) / count
    for index in range(0, count, 2):
        first = start + round(index * step)
        yield first, max(first, start + round((index + 1) * step) - 1)


def _label_strip(draw: ImageDraw.ImageDraw, box: _PixelBox, size: tuple[int, int], label: str) -> None:
    text_height = round(min(max(14, min(size) / 18), 64))
    if size[1] < 3 * text_height or size[0] < 4 * text_height:
        return
    pad = text_height // 3
    font = _font(text_height)
    text, font = _fitted(label, font, size[0] - 2 * pad)
    width, height = math.ceil(font.getlength(text)) + 2 * pad, text_height + 2 * pad
    x = min(max(0, box[0]), size[0] - width)
    y = box[1] - height if box[1] >= height else box[1]  # above the box, or inside it at the image's edge
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=OBJECT_COLOUR)
    draw.text((x + pad, y + height // 2), text, fill=_INK, font=font, anchor="lm")


def _boxed_view(
    image: Image.Image,
    object_box: Box | None,
    part_boxes: Sequence[Box],
    true_box: Box | None,
    size: tuple[int, int],
) -> Image.Image:
    """Return the image with boxes, drawn at the size shown so that lines stay crisp."""
    small = _contained(image, size)
    x, y = small.width / image.width, small.height / image.height

    def scaled(box: Box) -> Box:
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    return draw_boxes(
        small,
        scaled(object_box) if object_box is not None else None,
        [scaled(box) for box in part_boxes],
        scaled(true_box) if true_box is not None else None,
    )


def _contained(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to the largest size of the same shape that fits, at least one pixel wide and high."""
    scale = min(size[0] / image.width, size[1] / image.height)
    target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(target, Image.Resampling.LANCZOS, reducing_gap=3)


def _tile(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", size, _TILE)
    tile.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return _rounded(tile)


def _crop_tile(image: Image.Image, box: Box, size: tuple[int, int], colour: Colour) -> Image.Image:
    """Show what lies in the box, with a bar in the box's colour at its foot."""
    pixels = _pixels(box, image.size)
    tile = Image.new("RGB", size, _TILE)
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
    # One cell for all: windows have the shape of the object box, but for rounding.
    width, side = _tile_size(_shape(part_boxes[0]), max(1, (height - gap * (rows - 1)) // rows), 0.6, 1.3)
    grid = Image.new("RGB", (columns * (width + gap) - gap, height), _PAPER)
    for index, (box, colour) in enumerate(zip(part_boxes, part_colours(part_boxes), strict=True)):
        column, row = divmod(index, rows)
        grid.paste(_crop_tile(image, box, (width, side), colour), (column * (width + gap), row * (side + gap)))
    return grid


def _shape(box: Box) -> float:
    """Return width / height, 1 where the box has none."""
    width, height = box[2] - box[0], box[3] - box[1]
    return width / height if width > 0 and height > 0 and math.isfinite(width / height) else 1.0


def _tile_size(shape: float, height: int, narrowest: float, widest: float) -> tuple[int, int]:
    return max(1, round(height * min(max(shape, narrowest), widest))), height


def _arranged(tiles: Sequence[tuple[str, Image.Image]], title: str, subtitle: str, height: int) -> Image.Image:
    margin, gap = max(4, height // 16), max(2, height // 32)
    title_size, small_size = max(10, height // 15), max(9, height // 23)
    top = margin + round(1.5 * title_size) + round(1.9 * small_size)
    width = 2 * margin + sum(tile.width for _, tile in tiles) + gap * (len(tiles) - 1)
    panel = Image.new("RGB", (width, top + height + round(1.8 * small_size) + margin), _PAPER)
    draw = ImageDraw.Draw(panel)
    _write(draw, (margin, margin), title, title_size, _INK, width - 2 * margin)
    _write(draw, (margin, margin + round(1.5 * title_size)), subtitle, small_size, _GREY, width - 2 * margin)
    x = margin
    for name, tile in tiles:
        panel.paste(tile, (x, top))
        _write(draw, (x, top + height + small_size // 2), name, small_size, _GREY, tile.width)
        x += tile.width + gap
    return panel


def _rounded(tile: Image.Image) -> Image.Image:
    """Round the corners, smoothly: the mask is drawn four times as large."""
    radius = min(tile.size) // 28
    mask = Image.new("L", (tile.width * 4, tile.height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * 4, fill=255)
    ground = Image.new("RGB", tile.size, _PAPER)
    ground.paste(tile, mask=mask.resize(tile.size, Image.Resampling.BOX))
    return ground


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: Colour, width: int) -> None:
    text, font = _fitted(text, _font(size), width)
    draw.text(place, text, fill=colour, font=font)


def _fitted(text: str, font: Font, width: float) -> tuple[str, Font]:
    """Return what of the text can be drawn within the width, ending in dots where it was cut, and a font for it."""
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
def _font(size: int) -> Font:
    """Pillow's own font: the same on every machine. (A Pillow without FreeType has one small size only.)"""
    return ImageFont.load_default(size)


@lru_cache(maxsize=512)
def _covering(text: str, font: Font) -> Font:
    """Return Pillow's font where it has every letter of the text, else the one of the system's that lacks fewest."""
    if not isinstance(font, ImageFont.FreeTypeFont) or not _missing(text, font):
        return font
    candidates: list[ImageFont.FreeTypeFont] = [font]
    for name in _FALLBACK_FONTS:
        try:
            candidates.append(ImageFont.truetype(name, round(font.size)))
        except OSError:  # not on this machine
            continue
    return min(candidates, key=lambda candidate: len(_missing(text, candidate)))


def _drawable(text: str, font: Font) -> str:
    """Replace letters that the font lacks by the letter without its accents, else by a question mark."""
    missing = _missing(text, font)
    for letter in missing:
        plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
        text = text.replace(letter, plain if plain and not _missing(plain, font) else "?")
    return text


def _missing(text: str, font: Font) -> set[str]:
    return {letter for letter in text if not _has(font, letter)}


@lru_cache(maxsize=4096)
def _has(font: Font, letter: str) -> bool:
    """Whether the font draws the letter as something else than its sign for missing letters."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        return letter.isascii()
    drawn, absent = font.getmask(letter), font.getmask("\uffff")
    return drawn.size != absent.size or bytes(drawn) != bytes(absent)
