"""The pages that are written, in a browser, of data whose every name is a script: it stays text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium

from tlaam.cli.main import main
from tlaam.reports.run_report import write_run_report
from tlaam.training.run import train

LABELS = (
    "</td><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "<svg onload=alert(3)></title><style>*{background:url(http://127.0.0.1:9/)}</style>",
)
FOLDER = "<img src=x onerror=alert(4)>"
FILE = "'><svg onload=alert(5)>&lt;{}.png"
SETTINGS = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "epochs": 1, "raw_epochs": 0,
    "batch_size": 6, "accelerator": "cpu", "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three classes with a few images."""
    root = tmp_path_factory.mktemp("scripts") / FOLDER
    root.mkdir()
    lines = ["image,label,split"]
    for label, source in zip(LABELS, ("crow", "jay", "wren"), strict=True):
        for number in range(4):
            name = FILE.format(f"{source}{number}")
            shutil.copy(photos / source / f"{number}.png", root / name)
            quoted = label.replace('"', '""')
            lines.append(f'"{name}","{quoted}",{"test" if number > 1 else "train"}')
    manifest = root / "<script>alert(6)<.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on it."""
    out = tmp_path_factory.mktemp("runs") / "<svg onload=alert(7)>"
    return train(data, out, {**SETTINGS, "val_fraction": 0, "keep": "last"}, progress=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """This machine's Chromium."""
    with chromium() as browser:
        yield browser


def text_of(browser: Any, path: Path) -> str:
    """Open a page; return its text, after nothing of it ran, nor asked for anything, nor was taken for markup."""
    heard: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda sent: None if sent.url.startswith(("file:", "data:")) else heard.append(sent.url))
    opened = path.as_uri()
    page.on(
        "request", lambda sent: heard.append(sent.url) if sent.url.startswith("file:") and sent.url != opened else None
    )
    page.goto(opened)
    page.wait_for_timeout(300)
    assert page.locator("script, img:not([src^='data:image/']), [onload], [onerror]").count() == 0
    assert page.locator("style").count() == 1
    text: str = page.locator("body").inner_text()
    page.close()
    assert heard == []
    return text


def test_the_page_of_a_run(browser: Any, run: Path, data: Path) -> None:
    text = text_of(browser, write_run_report(run, data, split="test"))
    assert any(label in text for label in LABELS) and "<script>alert(6)<" in text


def test_the_page_of_a_measurement(browser: Any, run: Path, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["evaluate", str(run), str(data), "--page", str(page)]) == 0
    text = text_of(browser, page)
    assert any(label in text for label in LABELS)


def test_the_page_of_a_comparison(browser: Any, data: Path, tmp_path: Path) -> None:
    from tlaam.comparison.run import compare

    out = tmp_path / FOLDER
    settings = {**SETTINGS, "val_fraction": 0}
    compare(data, out, systems=["plain"], seeds=1, settings=settings, protocol="last", say=lambda line: None)
    text = text_of(browser, out / "index.html")
    assert any(label in text for label in LABELS) and "<script>alert(6)<" in text and FOLDER in text
