from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from tlaam.data.sample import Box
from tlaam.visualization import fonts
from tlaam.visualization.annotate import draw_boxes, overlay_heatmap, part_colors
from tlaam.visualization.colors import OBJECT_COLOR, PART_COLORS, colormap
from tlaam.visualization.panels import contact_sheet, prediction_panel, prediction_views

NAN_BOX: Box = (math.nan, 0.0, 5.0, 5.0)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image.convert("RGB")).astype(int)


def test_lightness_of_the_colours_rises_steadily() -> None:
    lightness = rgb2lab(colormap(np.linspace(0, 1, 201)[None]))[0, :, 0]
    assert (np.diff(lightness) > 0).all()
    steps = np.diff(lightness[::25])  # CIE L* over eighths of the map
    assert steps.max() / steps.min() < 1.8


def test_colormap_ends_clips_and_forgives_nan() -> None:
    colours = colormap(np.array([[0.0, 1.0, -3.0, 7.0, math.nan]], dtype=np.float32))
    assert colours.shape == (1, 5, 3)
    assert colours.dtype == np.uint8
    assert colours[0].tolist() == [[0, 0, 4], [252, 255, 164], [0, 0, 4], [252, 255, 164], [0, 0, 4]]


def test_overlay_colours_only_where_the_heat_is() -> None:
    image = Image.new("RGB", (120, 80), (40, 120, 200))
    heatmap = np.zeros((8, 12))
    heatmap[2, 9] = 3.0
    change = np.abs(pixels(overlay_heatmap(image, heatmap)) - pixels(image)).sum(axis=2)
    peak = np.unravel_index(change.argmax(), change.shape)
    assert abs(peak[0] - 25) <= 5
    assert abs(peak[1] - 95) <= 5
    assert change[:, :60].max() == 0


def test_overlay_compares_within_one_image_and_follows_strength() -> None:
    image, heatmap = noise(60, 40), np.random.default_rng(1).random((7, 7))
    plain = pixels(overlay_heatmap(image, heatmap))
    np.testing.assert_array_equal(plain, pixels(overlay_heatmap(image, heatmap * 1000 + 5)))
    np.testing.assert_array_equal(pixels(overlay_heatmap(image, heatmap, strength=0)), pixels(image))
    distances = [
        np.abs(pixels(overlay_heatmap(image, heatmap, strength=s)) - pixels(image)).sum() for s in (0.2, 0.5, 1.0)
    ]
    assert distances == sorted(distances)


@pytest.mark.parametrize("value", [0.0, 2.5, math.nan, math.inf])
def test_a_flat_or_useless_map_leaves_the_image(value: float) -> None:
    image = noise(30, 20)
    np.testing.assert_array_equal(pixels(overlay_heatmap(image, np.full((7, 7), value))), pixels(image))


def test_boxes_are_drawn_on_their_edges_and_nowhere_else() -> None:
    image = Image.new("RGB", (400, 300), (90, 90, 90))
    drawn = pixels(draw_boxes(image, (50, 60, 250, 200), [(100, 100, 140, 140)]))
    changed = np.argwhere((drawn != 90).any(axis=2))
    assert changed.min(axis=0).tolist() == [60, 50]
    assert changed.max(axis=0).tolist() == [199, 249]  # x1 and y1 are exclusive
    assert tuple(drawn[60, 50]) == tuple(drawn[199, 249]) == OBJECT_COLOR
    assert tuple(drawn[100, 100]) == tuple(drawn[139, 139]) == PART_COLORS[0]
    assert (drawn[145:190, 60:240] == 90).all()
    assert pixels(image).max() == 90  # the input is left as it was


def test_true_box_is_dashed_white_and_begins_in_its_corners() -> None:
    drawn = pixels(draw_boxes(Image.new("RGB", (400, 300), (90, 90, 90)), None, [], true_box=(50, 60, 250, 200)))
    edge = [tuple(pixel) for pixel in drawn[60, 50:250]]
    assert set(edge) == {(255, 255, 255), (20, 20, 24)}
    assert edge[0] == edge[-1] == (255, 255, 255)


def test_label_stands_in_a_strip_and_small_images_go_without() -> None:
    image = Image.new("RGB", (400, 300), (90, 90, 90))
    box: Box = (50, 100, 250, 200)
    labelled, bare = pixels(draw_boxes(image, box, [], label="wren")), pixels(draw_boxes(image, box, []))
    rows, columns = np.nonzero((labelled != bare).any(axis=2))
    assert rows.max() == 99
    assert columns.min() == 50
    tiny = Image.new("RGB", (20, 20))
    np.testing.assert_array_equal(
        pixels(draw_boxes(tiny, (2, 2, 9, 9), [], label="wren")), pixels(draw_boxes(tiny, (2, 2, 9, 9), []))
    )


@pytest.mark.parametrize("box", [NAN_BOX, (5, 5, 5, 9), (9, 9, 5, 5), (100, 100, 120, 120), (-9, -9, 0, 0)])
def test_boxes_without_a_visible_area_are_not_drawn(box: Box) -> None:
    image = noise(40, 40)
    np.testing.assert_array_equal(pixels(draw_boxes(image, box, [box], box)), pixels(image))
    prediction_panel(image, np.ones((2, 2)), box, [box], title="t", subtitle="s", true_box=box, height=64)


def test_part_colors_follow_the_size() -> None:
    small, middle, large = (0, 0, 10, 10), (0, 0, 16, 16), (0, 0, 22, 22)
    rounded = (0, 0, 10, 10.4)
    boxes: list[Box] = [large, small, rounded, middle, large]
    colours = part_colors(boxes)
    assert colours == [PART_COLORS[i] for i in (2, 0, 0, 1, 2)]
    assert part_colors([]) == []
    assert part_colors([NAN_BOX]) == [PART_COLORS[0]]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (900, 18), (300, 200), (5000, 3000)])
@pytest.mark.parametrize("parts", [0, 1, 6, 40])
def test_panel_of_any_image(size: tuple[int, int], parts: int) -> None:
    image = Image.new("RGB", size, (30, 90, 60))
    box: Box = (size[0] * 0.2, size[1] * 0.2, size[0] * 0.9, size[1] * 0.9)
    panel = prediction_panel(
        image, np.eye(7), box, [box] * parts, title="wren", subtitle="94 %", true_box=box, height=120
    )
    assert panel.mode == "RGB"
    assert 120 < panel.height < 220
    assert panel.width < 120 * 8


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (900, 18), (300, 200)])
@pytest.mark.parametrize("parts", [0, 1, 4, 6, 40])
def test_views_of_any_image(size: tuple[int, int], parts: int) -> None:
    image = Image.new("RGB", size, (30, 90, 60))
    box: Box = (size[0] * 0.2, size[1] * 0.2, size[0] * 0.9, size[1] * 0.9)
    views = prediction_views(image, np.eye(7), box, [box] * parts, true_box=box, side=120)
    assert list(views) == ["boxes (dashed: true)", "heat map", "object", *(["parts"] if parts else [])]
    assert all(view.mode == "RGB" and 1 <= max(view.size) <= 132 for view in views.values())
    assert list(prediction_views(image, None, None, [])) == ["image"]
    assert list(prediction_views(image, None, NAN_BOX, [NAN_BOX])) == ["boxes"], "nothing lies in such a box"


def test_views_show_what_lies_in_the_boxes() -> None:
    image = Image.new("RGB", (200, 100), (10, 10, 10))
    image.paste((200, 30, 40), (100, 0, 200, 100))
    views = prediction_views(image, None, (100, 0, 200, 100), [(0, 0, 50, 50), (100, 0, 150, 50)], side=100)
    assert pixels(views["object"])[:90].reshape(-1, 3).std(axis=0).max() == 0 and views["object"].size == (100, 100)
    assert views["object"].getpixel((50, 99)) == OBJECT_COLOR and views["object"].getpixel((50, 50)) == (200, 30, 40)
    parts = views["parts"]
    assert parts.getpixel((25, 10)) == (10, 10, 10) and parts.getpixel((25, 10 + 54)) == (200, 30, 40)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK"])
def test_other_modes_are_taken(mode: str) -> None:
    image = noise(40, 30).convert(mode)
    assert draw_boxes(image, (2, 2, 20, 20), []).mode == "RGB"
    assert overlay_heatmap(image, np.eye(3)).mode == "RGB"
    prediction_panel(image, np.eye(3), (2, 2, 20, 20), [], title="t", subtitle="", height=64)


def test_panel_without_boxes_is_narrower() -> None:
    image = noise(60, 40)
    whole = prediction_panel(image, np.eye(3), (0, 0, 60, 40), [], title="t", subtitle="s")
    bare = prediction_panel(image, np.eye(3), None, [], title="t", subtitle="s")
    assert bare.width < whole.width


@pytest.mark.parametrize("text", ["", "Großer Würger", "鸟类 🐦", "a\nb\tc\x00\u202e", "\udcff", "x" * 3000, "<b>"])
def test_any_text_can_be_a_title(text: str) -> None:
    image = noise(60, 40)
    prediction_panel(image, np.eye(3), (0, 0, 60, 40), [], title=text, subtitle=text)
    draw_boxes(noise(300, 200), (10, 10, 90, 90), [], label=text)


def test_letters_that_no_font_has_become_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_FALLBACK_FONTS", ())
    fonts._covering.cache_clear()
    try:
        text, font = fonts.fitted("Würger 鸟", fonts.pillow_font(16), 1000)
        assert text == "Wurger ?"
        text, _ = fonts.fitted("wren " * 50, font, 100)
        assert text.endswith("...")
        assert font.getlength(text) <= 100
    finally:
        fonts._covering.cache_clear()


def test_contact_sheet_keeps_order_and_pixels() -> None:
    panels = [Image.new("RGB", (10 + i, 5), (i, i, i)) for i in range(5)]
    sheet = contact_sheet(panels, 2)
    assert sheet.size == (14 + 13, 15)
    assert [sheet.getpixel(place) for place in [(0, 0), (14, 0), (0, 5), (14, 5), (0, 10)]] == [
        (i, i, i) for i in range(5)
    ]
    for wrong in ([], panels):
        with pytest.raises(ValueError, match="sheet"):
            contact_sheet(wrong, 0)


def test_real_photograph(shared_data: Path) -> None:
    path = sorted((shared_data / "cub10" / "CUB_200_2011" / "images").glob("*/*.jpg"))[0]
    with Image.open(path) as file:
        image = file.convert("RGB")
    panel = prediction_panel(image, np.eye(14), (9, 9, 200, 200), [(9, 9, 50, 50)] * 6, title="a", subtitle="b")
    assert len(set(map(tuple, pixels(panel).reshape(-1, 3).tolist()))) > 1000


def test_imports_without_torch() -> None:
    modules = "tlaam.visualization.panels, tlaam.reports.page"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
