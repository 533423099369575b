"""The page to decide on, in a browser: by keyboard and by touch, with names that are scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from drawn_scenes import scene

import tlaam
from tlaam.cleaning.clean import apply_decisions
from tlaam.cleaning.page import SHOWN, write_cleaning_page
from tlaam.cleaning.report import CleaningReport
from tlaam.cleaning.suspects import Companion, Suspect
from tlaam.cleaning.thumbnails import thumbnail
from tlaam.data.sample import LabelledImages

LABELS = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "=HYPERLINK(1)")
FILE = "'><svg onload=alert(3)>&lt;{}.png"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> LabelledImages:
    root = tmp_path_factory.mktemp("data")
    lines = ["image,label"]
    for number in range(9):
        name = ("=1+1,{}.png" if number == 0 else FILE).format(number)
        scene(number).save(root / name)
        label = LABELS[number % 3].replace('"', '""')
        lines.append(f'"{name}","{label}"')
    (root / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tlaam.open_dataset(root / "all.csv")


@pytest.fixture(scope="module")
def page(images: LabelledImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, classes = images.samples, images.classes
    label = [classes[sample.label] for sample in samples]
    suspects = tuple(
        Suspect(
            samples[place].name, label[place], "train", ("label",) if place else ("copy", "tiny"), 0.9 - place / 10,
            label[place + 1] if place != 3 else "", "<b>because</b>",
            (Companion(samples[place + 1].name, label[place + 1], "the other label"),),
        )
        for place in range(5)
    )  # fmt: skip
    report = CleaningReport(
        "<i>birds</i>", 9, images.fingerprint(), classes, suspects, ("<u>note</u>",), 0.5,
        tmp_path_factory.mktemp("<svg onload=alert(4)>"),
    )  # fmt: skip
    report.write_csv()
    assert "'=1+1,0.png" in report.csv.read_text() and "\n=" not in report.csv.read_text()
    return write_cleaning_page(report, {sample.name: thumbnail(sample) for sample in samples[:8]})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """This machine's Chromium."""
    with chromium() as browser:
        yield browser


def opened(browser: Any, path: Path, heard: list[str], **options: Any) -> Any:
    shown = browser.new_page(accept_downloads=True, **options)
    shown.on("pageerror", lambda error: heard.append(str(error)))
    shown.on("console", lambda said: heard.append(said.text) if said.type == "error" else None)
    shown.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    shown.on(
        "request",
        lambda sent: None if sent.url.startswith(("data:", "blob:", path.as_uri())) else heard.append(sent.url),
    )
    shown.goto(path.as_uri())
    return shown


def test_decisions_by_keyboard_are_taken(browser: Any, page: Path, images: LabelledImages, tmp_path: Path) -> None:
    heard: list[str] = []
    shown = opened(browser, page, heard)
    assert shown.locator("h1").inner_text() == "<i>birds</i>: what to clean"
    assert shown.locator("#count").inner_text() == "1 of 5"
    assert shown.locator("#suspect b").inner_text() == images.classes[images.samples[0].label]
    shown.keyboard.press("r")  # to what is suggested
    assert shown.locator("#count").inner_text() == "2 of 5"
    shown.keyboard.press("x")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("r")  # nothing is suggested
    assert shown.locator("#say").inner_text() == "Choose the right label first."
    shown.select_option("#label", images.classes[(images.samples[3].label + 1) % 3])
    shown.keyboard.press("u")
    shown.keyboard.press("ArrowLeft")
    assert shown.locator("#done").inner_text() == "4 of 5 decided"
    with shown.expect_download() as download:
        shown.click("#download")
    assert download.value.suggested_filename == "decisions.csv"
    download.value.save_as(tmp_path / "decisions.csv")
    shown.reload()  # what was decided is remembered
    assert shown.locator("#done").inner_text() == "4 of 5 decided"
    assert shown.locator("script").count() == 2 and shown.locator("[onload], [onerror], #suspect svg").count() == 0
    shown.close()
    assert heard == []
    result = apply_decisions(images, tmp_path / "decisions.csv", tmp_path / "new.csv").result
    assert (result.removed, result.relabelled) == (1, 2)
    assert images.samples[1].name not in {Path(sample.name).name for sample in result.samples}


def test_on_a_phone_it_is_decided_by_touch(browser: Any, page: Path) -> None:
    heard: list[str] = []
    shown = opened(browser, page, heard, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    for button in shown.locator("#choices button").all():
        assert button.bounding_box()["height"] >= 40
    shown.tap("button[data-decision=keep]")
    assert shown.locator("#count").inner_text() == "2 of 5"
    shown.select_option("#kind", "tiny")
    assert shown.locator("#count").inner_text() == "1 of 1"
    assert shown.locator("button[aria-pressed=true]").get_attribute("data-decision") == "keep"
    shown.close()
    assert heard == []


def test_its_text_is_data(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall("<script", text)) == 2 and "<svg" not in text and "<img" not in text
    assert "script-src 'sha256-" in text and "unsafe-eval" not in text and "http" not in text.replace("http-equiv", "")


def test_pictures_are_bounded_in_number(images: LabelledImages, tmp_path: Path) -> None:
    many = tuple(
        Suspect(f"{number}.png", "jay", "train", ("copy",), 0.5, "", "twice", ()) for number in range(SHOWN + 50)
    )
    report = CleaningReport("many", 1000, "0", ("crow", "jay"), many, (), None, tmp_path)
    text = write_cleaning_page(report, {}).read_text()
    assert f'"{SHOWN - 1}.png"' in text and f'"{SHOWN}.png"' not in text
    assert f"The first {SHOWN} are here; suspects.csv has all." in text
