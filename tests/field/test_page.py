"""The page of answers in a browser: filters, keys, corrections that training takes, five thousand answers, a phone."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cards import answer, photograph
from chromium import chromium

from tlaam.data.manifest import read_manifest
from tlaam.field.answer import Answer
from tlaam.field.answers_page import write_page
from tlaam.field.exif import Shot
from tlaam.field.thumbnails import thumbnail

NAMES = ["jay", 'c,r"ow', "=wren"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of six answers, most doubtful last, one of them an error."""
    answers = []
    for number in range(6):
        file = photograph(tmp_path / "card" / f"{number}.png", number % 3)
        shot = Shot(f"2024-05-0{number + 1}T10:00:00", "Acme")
        verdict = ("sure", "unsure", "stranger")[number // 2]
        answers.append(answer(file, NAMES[number % 3], 0.9 - number / 10, verdict=verdict, shot=shot))
    answers.append(Answer(str(tmp_path / "card" / "bad.png"), error="broken"))
    write_page(tmp_path / "a.html", answers, base=tmp_path / "card", identity="six")
    with browser.new_context(accept_downloads=True) as context:
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto((tmp_path / "a.html").as_uri())
        yield page
        assert faults == []


def shown(page: Any) -> list[str]:
    return [text.split(" · ")[0] for text in page.locator("article .of").all_inner_texts()]


def test_the_most_doubtful_come_first(page: Any) -> None:
    assert shown(page) == ["5.png", "4.png", "3.png", "2.png", "1.png", "0.png", "bad.png"]
    assert page.locator("article img").count() == 6 and page.locator("article i").count() == 6
    width = page.locator("article img").first.evaluate("image => image.naturalWidth")
    assert width == 60


def test_filters(page: Any) -> None:
    page.select_option("#label", label='c,r"ow')
    assert shown(page) == ["4.png", "1.png"]
    page.select_option("#label", "")
    page.select_option("#verdict", label="unsure")
    assert shown(page) == ["3.png", "2.png"]
    page.select_option("#verdict", label="could not be read")
    assert shown(page) == ["bad.png"]
    page.select_option("#verdict", "")
    page.fill("#from", "2024-05-02")
    page.fill("#to", "2024-05-03")
    assert shown(page) == ["2.png", "1.png"]
    assert page.inner_text("#count").startswith("2 of 7 photographs")


def test_corrections_by_keyboard_are_a_manifest_that_training_takes(page: Any, tmp_path: Path) -> None:
    page.keyboard.press("ArrowRight")  # the first
    page.keyboard.press("Enter")  # 5.png is a =wren
    page.keyboard.press("2")  # 4.png is what comes second, a wren
    page.keyboard.press("n")
    page.keyboard.type('new "bird", 2')
    page.keyboard.press("Enter")  # 3.png
    page.keyboard.press("Enter")  # 2.png is a =wren
    page.keyboard.press("Enter")  # 1.png is a crow ...
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")  # ... is taken back
    assert "4 looked at" in page.inner_text("#count")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "corrections.csv"
    file = tmp_path / "elsewhere" / "corrections.csv"
    download.value.save_as(file)
    with file.open(newline="", encoding="utf-8") as stream:
        rows = {Path(row["image"]).name: row["label"] for row in csv.DictReader(stream)}
    assert rows == {"5.png": "=wren", "4.png": "wren", "3.png": 'new "bird", 2', "2.png": "=wren"}
    images = read_manifest(file, strict=False)
    assert sorted(images.classes) == ["=wren", 'new "bird", 2', "wren"] and len(images.samples) == 4
    page.reload()
    assert "4 looked at" in page.inner_text("#count")
    page.select_option("#looked", "no")
    assert shown(page) == ["1.png", "0.png", "bad.png"]


def test_a_phone_shows_it_without_scrolling_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    heights = [button.bounding_box()["height"] for button in page.locator("article").first.locator("button").all()]
    assert min(heights) >= 44 - 0.5
    page.locator("article button").first.click()
    assert "1 looked at" in page.inner_text("#count")


def test_five_thousand_answers_are_there_at_once(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = thumbnail(photograph(tmp_path / "a.png", size=(150, 110)), 150)
    monkeypatch.setattr("tlaam.field.answers_page.thumbnail", lambda path, side: picture)
    answers = (answer(tmp_path / f"{number}.png", f"class {number % 40}", 0.5) for number in range(5000))
    write_page(tmp_path / "a.html", answers, base=tmp_path, identity="many")
    page = browser.new_page()
    began = time.monotonic()
    page.goto((tmp_path / "a.html").as_uri())
    assert page.inner_text("#count").startswith("5000 of 5000")
    page.select_option("#label", label="class 7")
    assert page.inner_text("#count").startswith("125 of 5000")
    assert time.monotonic() - began < 10  # seconds, on a machine that does much else
    page.select_option("#label", "")
    assert page.locator("article").count() <= 240, "all are drawn at once"
    page.locator("#end").scroll_into_view_if_needed()
    page.locator("article").nth(60).wait_for(state="attached")
    page.close()
