"""This machine's Chromium, headless, for tests of pages; they skip where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield the browser, as Playwright knows it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox, since tests may run as root; the only pages opened are ours.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--no-proxy-server"])
        yield browser
        browser.close()
