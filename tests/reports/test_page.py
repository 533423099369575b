from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from PIL import Image

from tlaam.errors import RunError
from tlaam.reports.page import Cell, Chart, Figure, Gallery, Matrix, Panel, Picture, Table, write_page
from tlaam.visualization.charts import line_chart

EVIL = "<script>alert('\"1\"')</script>&amp;"
VOID = {"meta", "img", "wbr"}


def picture(caption: str, good: bool | None = None, detail: str = "", image: Image.Image | None = None) -> Picture:
    return Picture([Panel("view", image or Image.new("RGB", (4, 4)))], caption, good, detail)


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
            Matrix(EVIL, [EVIL], [[1]], EVIL),
            Table(EVIL, [EVIL, EVIL], [[EVIL, EVIL]], EVIL, facts=True),
            Gallery(EVIL, [Picture([Panel(EVIL, Image.new("RGB", (4, 4)))], EVIL, False, EVIL)], EVIL),
        ],
        figures=[Figure(EVIL, EVIL, EVIL)],
        lead=Gallery("", [Picture([Panel(EVIL, Image.new("RGB", (4, 4)))], EVIL)], EVIL),
    )
    names = [tag for tag, _ in reader.tags]
    assert "script" not in names
    # title, h1, intro, figure, name and note; five titles in the contents; first pictures' view, caption, note;
    # table title, two columns, two cells, note; chart's title, axes, legend, note; matrix's title, name in its list,
    # note; facts' title, name, value, note; pictures' title, note, view, caption, detail
    assert sum(text.strip() == EVIL for text in reader.texts) == 3 + 3 + 5 + 3 + 6 + 5 + 3 + 4 + 5
    assert [attributes["alt"] for tag, attributes in reader.tags if tag == "img"] == [f"{EVIL}: {EVIL}"] * 2


def test_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    reader = simple(page, sections=[Gallery(name, [picture("c")]) for name in "GHI"])
    for tag, attributes in reader.tags:
        assert tag not in {"link", "script", "iframe"}
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("src") or "data:").startswith("data:image/") if tag == "img" else "src" not in attributes
    assert not re.search(r"https?://|url\(|@import", page.read_text(encoding="utf-8"))


def test_intro_is_split_into_paragraphs(tmp_path: Path) -> None:
    texts = simple(tmp_path / "page.html").texts
    assert texts[-3:] == ["A run", "First.", "Second."]


def test_cells_and_bars(tmp_path: Path) -> None:
    row: list[Cell] = ["fused", 0.815, 1.0, 0.0, 243, 12.3456, None, math.nan, "± 2"]
    reader = simple(tmp_path / "page.html", sections=[Table("T", [str(i) for i in range(9)], [row], "note")])
    assert reader.texts[-10:] == ["fused", "81.5 %", "100.0 %", "0.0 %", "243", "12.35", "—", "—", "± 2", "note"]
    bars = [attributes["style"] for _, attributes in reader.tags if "style" in attributes]
    assert bars == ["width:81.5%", "width:100.0%", "width:0.0%"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        Table("T", ["a", "b"], [["only"]])


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG")])
def test_pictures_are_embedded(tmp_path: Path, mode: str, kind: str) -> None:
    image = Image.new("RGB", (37, 21), (200, 30, 60)).convert(mode)
    reader = simple(tmp_path / "page.html", sections=[Gallery("G", [picture("c", image=image)])])
    (attributes,) = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert (attributes["width"], attributes["height"]) == ("37", "21")
    with Image.open(BytesIO(base64.b64decode(str(attributes["src"]).split(",")[1]))) as embedded:
        assert (embedded.size, embedded.format) == ((37, 21), kind)


def test_right_and_wrong_are_said_in_words(tmp_path: Path) -> None:
    reader = simple(
        tmp_path / "page.html", sections=[Gallery("G", [picture("a", True), picture("b", False), picture("c")])]
    )
    said = ["view", "✓ right", "a", "view", "✗ wrong", "b", "view", "c"]
    assert reader.texts[-8:] == said


def test_the_contents_lead_to_every_section_that_is_there(tmp_path: Path) -> None:
    sections = [
        Table("one", ["a"], []),
        Gallery("none", []),
        Chart("two", "<svg></svg>"),
        Gallery("three", [picture("c")]),
    ]
    tags = simple(tmp_path / "page.html", sections=sections).tags
    links = [str(attributes["href"]) for tag, attributes in tags if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in tags if tag == "h2"] and len(links) == 3


def best_of(path: Path, rows: list[list[Cell]], ranked: bool = True) -> list[list[str]]:
    """The words of each row's marked cells."""
    write_page(path, title="t", intro="", sections=[Table("T", ["a", "b", "c"], rows, ranked=ranked)])
    found = re.findall(r"<tr>(.*?)</tr>", path.read_text(encoding="utf-8"), re.DOTALL)[1:]
    return [re.findall(r'<t[hd][^>]*class="[^"]*best[^"]*"[^>]*>([^<]*)', row) for row in found]


def test_the_best_of_a_ranked_table_is_marked(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["one", 0.5, 0.9], ["two", 0.8, 0.4], ["three", 0.8, None]]
    page = tmp_path / "page.html"
    assert best_of(page, rows) == [["90.0 %"], ["two", "80.0 %"], ["three", "80.0 %"]]
    assert page.read_text(encoding="utf-8").count(">best<") == 2, "not by colour alone"
    assert best_of(page, rows, ranked=False) == [[], [], []]
    assert best_of(page, [["one", 0.5, 0.5], ["two", 0.5, 0.5]]) == [[], []], "nothing is best of equals"


def test_a_matrix_shows_how_many_were_taken_for_what(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    tags = simple(page, sections=[Matrix("M", ["wren", "crow"], [[3, 1], [0, 0]])]).tags
    cells = [(a.get("class"), a.get("style"), a.get("title")) for tag, a in tags if tag == "td"]
    assert cells == [
        ("hit", "--share:0.64", "3 of 4: wren, taken for wren"),
        ("miss", "--share:0.31", "1 of 4: wren, taken for crow"),
        (None, None, None), (None, None, None),
    ]  # fmt: skip
    assert [text for text in read(page).texts if text in ("wren", "crow")] == ["wren", "crow"] * 2  # rows, and a list


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """This machine's Chromium."""
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("width", [360, 400, 1300])
def test_everything_fits_the_width_and_what_does_not_says_so(browser: Any, tmp_path: Path, width: int) -> None:
    name, photo = "black-dagger-bill_yellow-spiked-crest_no-bar_rounded-tail", Image.new("RGB", (320, 240), "red")
    panels = [Panel(view, photo) for view in ("boxes", "heat map", "object", "parts")]
    shown = [Picture(panels, f"{name} 90%, it is {name}", False, f"images/{name}/0001_{'x' * 60}.jpg")] * 3
    table: list[Cell] = [f"{name} and {name}", *[0.5] * 11]
    page = write_page(
        tmp_path / "page.html", title=name, intro=name,
        figures=[Figure("88.9 %", "right", name)] * 5, lead=Gallery("", shown, "note"),
        sections=[
            Table("Many columns", ["Classes", *["Taken for the second"] * 11], [table]),
            Table("Few columns", ["Classes", "Images", "Share"], [table[:3]]),
            Table("Facts", ["Option", "Value"], [[name, name]], facts=True),
            Chart("Chart", line_chart({"whole image": [(1.0, 0.5), (2.0, 0.9)]}, x="epoch", y="right", share=True)),
            Matrix("Small", [name] * 12, [[1] * 12] * 12),
            Matrix("Large", [name] * 40, [[1] * 40] * 40),
            Gallery("Pictures", shown),
        ],
    )  # fmt: skip
    opened = browser.new_page(viewport={"width": width, "height": 800})
    opened.goto(page.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    beyond = """() => [...document.querySelectorAll("img, td, th, svg, dd, figcaption, a")].filter(e => {
        const box = e.getBoundingClientRect()
        return box.width > 0 && (box.left < 0 || box.right > innerWidth + 1) && !e.closest(".large")
    }).length"""
    assert opened.evaluate(beyond) == 0
    scrolled = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    hinted = opened.get_by_text("swipe it sideways").is_visible()
    assert opened.evaluate(scrolled) == (1 if width < 1300 else 0) and hinted == (width < 1300)
    images = [box["width"] for box in (image.bounding_box() for image in opened.locator("img").all())]
    assert len(images) == 24 and min(images) > 140, "large enough for something to be seen"
    letters = "[...document.querySelectorAll('svg.chart text')].map(e => e.getBoundingClientRect().height)"
    assert min(opened.evaluate(letters)) > 9
    edges = opened.evaluate(
        "[...document.querySelectorAll('.sections, .figures, .gallery')].map(e => e.getBoundingClientRect().right)"
    )
    assert max(edges) - min(edges) < 1, "one right edge"
    opened.close()


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
    reader = simple(tmp_path / "page.html", sections=[Gallery("G", [picture("bird\udcff.jpg")])])
    assert reader.texts[-1] == "bird\\udcff.jpg"
