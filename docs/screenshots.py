"""Take the screenshots of README and docs anew, from a quick start.

    make quickstart && pip install playwright
    python docs/screenshots.py runs/quickstart [--chromium chromium] [--out docs/images]

Needs a Chromium. The pictures are drawn creatures, so that they may be published.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tlaam.data.synthetic import SyntheticOptions, render
from tlaam.workflows.quickstart import SETTINGS

QUALITY = 88
WIDE, PHONE = (1280, 900), (420, 1180)
_ADDRESS = re.compile(r"http://\S+")


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    run = given.quickstart / "tlaam"
    subprocess.run([sys.executable, "-m", "tlaam", "report", str(run)], check=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(given.chromium), args=["--no-sandbox"])
        cards(browser, given.quickstart / "index.html", given.out / "quickstart.jpg")
        report(browser, run / "report.html", given.out / "report.jpg")
        with demo(run) as address:
            answered(browser, address, WIDE, given.out / "demo.jpg")
            answered(browser, address, PHONE, given.out / "demo-phone.jpg", has_touch=True, is_mobile=True)
        browser.close()


def cards(browser: Browser, page: Path, out: Path) -> None:
    """Show the cards of the first gallery: what the model saw of some images."""
    opened = browser.new_page(viewport={"width": 1140, "height": 900})
    opened.goto(page.absolute().as_uri())
    keep(opened.locator(".gallery").first.screenshot(), out)


def report(browser: Browser, page: Path, out: Path) -> None:
    """Show how a report begins."""
    opened = browser.new_page(viewport={"width": 1040, "height": 850})
    opened.goto(page.absolute().as_uri())
    keep(opened.screenshot(), out)


def answered(browser: Browser, address: str, size: tuple[int, int], out: Path, **options: bool) -> None:
    """Show the demo's page with an answer."""
    user = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)  # type: ignore[arg-type]
    page: Page = user.new_page()
    page.goto(address)
    page.set_input_files("#files", [{"name": "creature.png", "mimeType": "image/png", "buffer": creature()}])
    page.wait_for_selector(".card[data-state=answered]")
    page.wait_for_timeout(1500)  # what moves has come to rest
    keep(page.screenshot(), out)
    user.close()


def creature() -> bytes:
    """Return a drawn creature that no quick start learnt from, as a PNG file."""
    size = SETTINGS["source_size"]
    assert isinstance(size, int)
    drawn = render(SyntheticOptions(classes=6, size=2 * size, seed=99), "test", 3)
    buffer = io.BytesIO()
    drawn.image.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def demo(run: Path) -> Iterator[str]:
    """Serve the demo of a run; yield its address."""
    command = [sys.executable, "-m", "tlaam", "demo", str(run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        found = next(filter(None, map(_ADDRESS.search, server.stdout)))
        yield found.group()
    finally:
        server.terminate()
        server.wait()


def keep(content: bytes, out: Path) -> None:
    """Write a screenshot as JPEG."""
    Image.open(io.BytesIO(content)).convert("RGB").save(out, "JPEG", quality=QUALITY)
    print(out)


if __name__ == "__main__":
    main()
