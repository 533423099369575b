from __future__ import annotations

import base64
import math
import os
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tlaam.charts import line_chart
from tlaam.errors import RunError
from tlaam.page import Cell, Chart, Gallery, Picture, Table, write_page

EVIL = "<script>alert('\"1\"')</script>&amp;"
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects tags and text, and insists that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def simple(path: Path, **changes: object) -> Reader:
    values: dict[str, object] = {"title": "A run", "intro": "First.\n\nSecond.", "sections": []}
    write_page(path, **(values | changes))  # type: ignore[arg-type]
    return read(path)


def test_text_is_data(tmp_path: Path) -> None:
    reader = simple(
        tmp_path / "page.html",
        title=EVIL,
        intro=EVIL,
        sections=[
            Table(EVIL, [EVIL, EVIL], [[EVIL, EVIL]], EVIL),
            Chart(EVIL, line_chart({EVIL: [(1.0, 1.0)]}, x=EVIL, y=EVIL), EVIL),
            Gallery(EVIL, [Picture(Image.new("RGB", (4, 4)), EVIL, False)], EVIL),
        ],
    )
    names = [tag for tag, _ in reader.tags]
    assert "script" not in names
    # title, h1, intro, table title, two columns, two cells, note; chart's title, axes, legend, note;
    # pictures' title, note, caption
    assert reader.texts.count(EVIL) == 17
    assert [attributes["alt"] for tag, attributes in reader.tags if tag == "img"] == [EVIL]


def test_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    reader = simple(page, sections=[Gallery("G", [Picture(Image.new("RGB", (4, 4)), "c")])])
    for tag, attributes in reader.tags:
        assert tag not in {"link", "script", "iframe"}
        assert "href" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:image/") if tag == "img" else "src" not in attributes
    assert not re.search(r"https?://|url\(|@import", page.read_text(encoding="utf-8"))


def test_intro_is_split_into_paragraphs(tmp_path: Path) -> None:
    texts = simple(tmp_path / "page.html").texts
    assert texts[-3:] == ["A run", "First.", "Second."]


def test_cells_and_bars(tmp_path: Path) -> None:
    row: list[Cell] = ["fused", 0.815, 1.0, 0.0, 243, 12.3456, None, math.nan, "± 2"]
    reader = simple(tmp_path / "page.html", sections=[Table("T", [str(i) for i in range(9)], [row], "note")])
    assert reader.texts[-10:] == ["fused", "81.5 %", "100.0 %", "0.0 %", "243", "12.35", "—", "—", "± 2", "note"]
    bars = [attributes["style"] for tag, attributes in reader.tags if "style" in attributes]
    assert bars == ["width:81.5%", "width:100.0%", "width:0.0%"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        Table("T", ["a", "b"], [["only"]])


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG")])
def test_pictures_are_embedded(tmp_path: Path, mode: str, kind: str) -> None:
    image = Image.new("RGB", (37, 21), (200, 30, 60)).convert(mode)
    reader = simple(tmp_path / "page.html", sections=[Gallery("G", [Picture(image, "c")])])
    (attributes,) = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert (attributes["width"], attributes["height"]) == ("37", "21")
    with Image.open(BytesIO(base64.b64decode(str(attributes["src"]).split(",")[1]))) as embedded:
        assert (embedded.size, embedded.format) == ((37, 21), kind)


def test_right_and_wrong_are_said_in_words(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    reader = simple(
        tmp_path / "page.html",
        sections=[Gallery("G", [Picture(picture, "a", True), Picture(picture, "b", False), Picture(picture, "c")])],
    )
    assert reader.texts[-5:] == ["✓ right", "a", "✗ wrong", "b", "c"]


def test_replaces_an_older_page_and_leaves_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "new" / "folder" / "page.html"
    assert write_page(page, title="one", intro="", sections=[]) == page
    write_page(str(page), title="two", intro="", sections=[])
    assert "two" in read(page).texts
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_a_failed_write_keeps_the_older_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    simple(page, title="one")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)  # after something was written
    with pytest.raises(RunError, match="The disk is full") as caught:
        write_page(page, title="two", intro="", sections=[])
    assert "\n" not in str(caught.value)
    assert "one" in read(page).texts
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Cannot write the page"):
        write_page(tmp_path, title="t", intro="", sections=[])
    assert list(tmp_path.parent.glob(".*.tmp")) == []


def test_file_names_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    picture = Picture(Image.new("RGB", (4, 4)), "bird\udcff.jpg")
    reader = simple(tmp_path / "page.html", sections=[Gallery("G", [picture])])
    assert reader.texts[-1] == "bird\\udcff.jpg"
