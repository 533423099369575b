"""The page in Chromium, computed by ONNX Runtime Web: answers, the list, no network, no other host, hostile names."""

from __future__ import annotations

import csv
import functools
import http.server
import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from PIL import Image
from served import COLOURS, colour_file, picture
from several_file import several_file

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))

from cards import exif_of

from tlaam.data.manifest import read_manifest
from tlaam.inference.engine import load_engine
from tlaam.pocket.page import write_page
from tlaam.pocket.runtime import Runtime
from tlaam.pocket.texts import page_texts

HOSTILE = ("<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "\u202eblue\n" + "x" * 300)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host would; yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(colours: Path, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "deep" / "page"
    write_page(load_engine(colours), folder, runtime, page_texts(), title="Colours")
    return folder.parent.parent


class Visitor:
    """A new user with the page open: what goes wrong on it, and what it asks for, is noted."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.user = browser.new_context(accept_downloads=True, **options)
        self.page = self.user.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda sent: self.asked.append(sent.url))
        self.page.goto(address)
        self.page.wait_for_selector("body[data-state=ready]")

    def kept_offline(self) -> None:
        self.page.wait_for_selector("#offline:not(:empty)")

    def give(self, **files: bytes) -> Any:
        """Choose files and wait for their answers; return the cards, in the order of the page."""
        before = self.page.locator(".card").count()
        named = [{"name": n.replace("__", "."), "mimeType": "", "buffer": c} for n, c in files.items()]
        self.page.set_input_files("#files", named)
        self.page.wait_for_selector(f":nth-match(.card:not([data-state=busy]), {before + len(files)})")
        return self.page.locator(".card")

    def downloaded(self, button: str) -> bytes:
        with self.page.expect_download() as download:
            self.page.click(button)
        content: bytes = Path(download.value.path()).read_bytes()
        return content


@pytest.fixture
def visitor(browser: Any, site: Path) -> Iterator[Visitor]:
    with served(site) as address:
        visitor = Visitor(browser, f"{address}deep/page/")
        yield visitor
        assert visitor.faults == []
        assert [url for url in visitor.asked if not url.startswith((address, "blob:", "data:"))] == []
        visitor.user.close()


def test_several_photographs_are_named_drawn_and_listed(visitor: Visitor, colours: Path, tmp_path: Path) -> None:
    files = {
        "a__png": picture("blue"),
        "b__jpg": picture("green", (300, 200), "JPEG"),
        "c__png": picture("red", (1, 1)),
    }
    cards = visitor.give(**files)
    assert cards.locator("h3:not(.failed h3)").all_inner_texts() == ["blue", "green", "red"]
    assert cards.first.locator(".verdict").inner_text() == "Most probable"
    assert cards.first.locator(".crop").count() == 3
    records = [json.loads(line) for line in visitor.downloaded("#json").splitlines()]
    for (name, content), record in zip(files.items(), records, strict=True):
        path = tmp_path / name.replace("__", ".")
        path.write_bytes(content)
        (expected,) = load_engine(colours).predict([path])
        wanted = {**expected.to_dict(), "path": path.name, "code": None, "size": list(expected.size)}
        assert {name: value for name, value in record.items() if name != "photo"} == wanted
        assert record["photo"]["width"] == expected.size[0]


def test_turned_and_transparent_photographs_are_seen_as_python_sees_them(visitor: Visitor, tmp_path: Path) -> None:
    turned = Image.new("RGB", (60, 40), COLOURS["blue"])
    turned.paste(COLOURS["red"], (0, 0, 60, 3))
    exif = exif_of()
    exif[0x0112] = 6
    buffers = io.BytesIO(), io.BytesIO()
    turned.save(buffers[0], "JPEG", quality=95, exif=exif)
    Image.new("RGBA", (40, 30), (20, 200, 20, 20)).save(buffers[1], "PNG")
    visitor.give(turned__jpg=buffers[0].getvalue(), clear__png=buffers[1].getvalue())
    first, second = (json.loads(line) for line in visitor.downloaded("#json").splitlines())
    assert first["size"] == [40, 60] and first["photo"]["time"] == "2024-05-01T06:07:08.50+02:00"
    assert second["predictions"][0]["label"] == "green" and second["predictions"][0]["probability"] < 1


def test_it_works_for_ever_without_a_network(browser: Any, site: Path) -> None:
    with served(site) as address:
        visitor = Visitor(browser, f"{address}deep/page/")
        visitor.give(before__png=picture("red"))
        visitor.kept_offline()
    visitor.user.set_offline(True)  # and the server is gone
    for page in (f"{address}deep/page/", f"{address}deep/page/index.html?from=home"):
        visitor.page.goto(page)
        visitor.page.wait_for_selector("body[data-state=ready]")
    colours = ("red", "green", "blue") * 4
    cards = visitor.give(**{f"{number}__png": picture(colours[number]) for number in range(10)})
    assert cards.locator(".answer h3").all_inner_texts() == list(colours[:10])
    assert visitor.page.locator("#kept-list li").count() == 11
    assert [fault for fault in visitor.faults if "ERR_INTERNET_DISCONNECTED" not in fault] == []
    visitor.user.close()


def test_it_can_be_installed(visitor: Visitor) -> None:
    visitor.kept_offline()
    session = visitor.user.new_cdp_session(visitor.page)
    manifest = session.send("Page.getAppManifest")
    assert manifest["errors"] == [] and json.loads(manifest["data"])["name"] == "Colours"
    faults = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [fault for fault in faults if fault["errorId"] != "in-incognito"] == []


def test_neither_page_nor_worker_reaches_another_host(visitor: Visitor, site: Path) -> None:
    page = visitor.page
    attempt = "(url) => fetch(url, { mode: 'no-cors' }).then(() => 'reached', () => 'refused')"
    with served(site) as other:
        assert page.evaluate(attempt, other) == "refused"
        (worker,) = page.workers
        assert worker.evaluate(attempt, other) == "refused"
        picture_of = (
            "(url) => new Promise((done) => { const image = new Image(); image.onload = () => done('reached');"
            " image.onerror = () => done('refused'); image.src = url; })"
        )
        icon = "deep/page/icons/icon-192.png"
        assert page.evaluate(picture_of, "icons/icon-192.png") == "reached"
        assert page.evaluate(picture_of, other + icon) == "refused"
    assert all("Content Security Policy" in fault or "policy" in fault.lower() for fault in visitor.faults)
    assert len(visitor.faults) >= 2
    visitor.faults.clear()
    visitor.asked = [url for url in visitor.asked if not url.startswith(other)]


def test_hostile_names_are_text(browser: Any, runtime: Runtime, tmp_path: Path) -> None:
    engine = load_engine(colour_file(tmp_path / "hostile.onnx", HOSTILE))
    write_page(engine, tmp_path / "site", runtime, page_texts(), title=HOSTILE[0])
    exif = exif_of()
    exif[0x010F] = "<script>alert(2)</script>"
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), COLOURS["red"]).save(buffer, "JPEG", exif=exif)
    with served(tmp_path / "site") as address:
        visitor = Visitor(browser, address)
        files = {
            "<img src=x onerror=alert(3)>__jpg": buffer.getvalue(),
            "b__png": picture("green"),
            "c__png": picture("blue"),
        }
        cards = visitor.give(**files)
        assert cards.first.locator(".answer h3").inner_text() == HOSTILE[0]
        visitor.page.locator("#kept-list input").first.fill("<b>another</b>")
        visitor.page.keyboard.press("Enter")
        assert visitor.page.locator("main img[src='x'], main script, main b b").count() == 0
        table = list(csv.DictReader(io.StringIO(visitor.downloaded("#csv").decode("utf-8"), newline="")))
        assert table[0]["file"].startswith("<img") and table[1]["label"] == f"'{HOSTILE[1]}"
        assert table[0]["camera"].startswith("<script>alert(2)")
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert visitor.faults == []
        visitor.user.close()


def test_the_list_is_kept_corrected_downloaded_and_deleted(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    visitor.give(a__png=picture("blue"), b__png=picture("green"), c__png=picture("red"))
    assert page.locator("#manifest").is_disabled()
    assert page.locator("#kept-list img").count() == 0, "photographs are kept without being asked for"
    page.check("#photographs")
    visitor.give(d__png=picture("blue"))
    page.locator("#kept-list li", has_text="a.png").get_by_role("button", name="the name is right").click()
    row = page.locator("#kept-list li", has_text="b.png").locator("input")
    row.fill('olive, "dark"')
    row.press("Enter")
    decided = "import('./app/keeping.js').then(({ Kept }) => Kept.open()).then((kept) => kept.all())"
    page.wait_for_function(f"() => {decided}.then((all) => all.filter((entry) => entry.decided).length === 2)")
    page.reload()
    page.wait_for_selector("body[data-state=ready]")
    assert page.locator("#kept-list li").count() == 4 and page.locator("#kept-list img").count() == 1
    assert "2 of them reviewed" in page.inner_text("#kept-count")
    (tmp_path / "corrections.csv").write_bytes(visitor.downloaded("#manifest"))
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(picture("blue"))
    images = read_manifest(tmp_path / "corrections.csv", strict=False)
    assert sorted(images.classes) == ["blue", 'olive, "dark"']
    page.locator("#kept-list .open").click()
    page.wait_for_selector(".card[data-state=answered]")
    page.wait_for_selector("#kept-list li:nth-child(5)")
    page.locator("#kept-list .gone").first.click()
    page.wait_for_selector("#kept-list li:nth-child(5)", state="detached")
    page.click("#delete")
    assert page.locator("#kept-list li").count() == 4 and "permanently" in page.inner_text("#delete")
    page.click("#delete")
    assert not page.locator("#kept").is_visible()
    page.reload()
    page.wait_for_selector("body[data-state=ready]")
    assert not page.locator("#kept").is_visible() and page.locator("#photographs").is_checked()


def test_what_is_no_picture_is_said(visitor: Visitor) -> None:
    cards = visitor.give(a__txt=b"no image", b__png=b"", c__png=picture("blue")[:60], d__png=picture("blue"))
    titles = cards.locator(".failed h3").all_inner_texts()
    assert titles[:3] == ["This browser cannot read the file", "The file is empty", "This browser cannot read the file"]
    records = [json.loads(line) for line in visitor.downloaded("#json").splitlines()]
    assert [record["error"] is None for record in records] == [False, False, False, True]


def test_it_fits_a_phone_and_is_used_by_keyboard(browser: Any, site: Path) -> None:
    with served(site) as address:
        small = {"width": 360, "height": 740}
        visitor = Visitor(browser, f"{address}deep/page/", viewport=small, has_touch=True, is_mobile=True)
        page = visitor.page
        assert page.locator("#camera").get_attribute("capture") == "environment"
        assert page.get_by_text("Take a picture").is_visible() and not page.get_by_text("paste them").is_visible()
        cards = visitor.give(a__png=picture("blue", (300, 400)))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert cards.locator(".answer h3").bounding_box()["y"] < 740, "the name stands below the first screen"
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        assert {"files", "camera", "remove", "crop", "csv", "delete", "gone"} <= reached
        visitor.user.close()


def test_a_damaged_file_is_told(browser: Any, colours: Path, runtime: Runtime, tmp_path: Path) -> None:
    write_page(load_engine(colours), tmp_path / "site", runtime, page_texts())
    model = tmp_path / "site" / "model" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    with served(tmp_path / "site") as address, browser.new_context() as user:
        page = user.new_page()
        page.goto(address)
        page.wait_for_selector("#notice:not([hidden])")
        assert "model/model.onnx" in page.inner_text("#notice")


def test_a_newer_page_is_offered_and_used(browser: Any, colours: Path, runtime: Runtime, tmp_path: Path) -> None:
    write_page(load_engine(colours), tmp_path / "site", runtime, page_texts(), title="Old")
    with served(tmp_path / "site") as address:
        visitor = Visitor(browser, address)
        visitor.kept_offline()
        write_page(load_engine(colours), tmp_path / "site", runtime, page_texts(), title="New")
        visitor.page.reload()
        visitor.page.wait_for_selector("#newer:not([hidden])")
        assert visitor.page.title() == "Old"
        visitor.page.click("#newer button")
        visitor.page.wait_for_function("() => document.title === 'New'")
        visitor.page.wait_for_selector("body[data-state=ready]")
        assert visitor.faults == []
        visitor.user.close()


def test_a_browser_that_starts_no_worker_from_a_blob_answers_too(browser: Any, site: Path) -> None:
    with served(site) as address, browser.new_context() as user:
        page = user.new_page()
        page.add_init_script("URL.createObjectURL = () => 'blob:' + location.origin + '/none';")
        page.goto(f"{address}deep/page/")
        page.wait_for_selector("body[data-state=ready]")
        assert [worker.url for worker in page.workers] == [f"{address}deep/page/app/worker.js"]
        page.set_input_files("#files", [{"name": "a.png", "mimeType": "", "buffer": picture("green")}])
        page.wait_for_selector(".card[data-state=answered]")
        assert page.locator(".answer h3").inner_text() == "green"


def test_several_objects_are_named_as_in_python(browser: Any, runtime: Runtime, tmp_path: Path) -> None:
    file = several_file(tmp_path / "several.onnx")
    write_page(load_engine(file), tmp_path / "site", runtime, page_texts())
    image = Image.new("RGB", (120, 60), COLOURS["red"])
    image.paste(COLOURS["blue"], (60, 0, 120, 60))
    image.save(tmp_path / "two.png")
    content = (tmp_path / "two.png").read_bytes()
    with served(tmp_path / "site") as address:
        visitor = Visitor(browser, address)
        page = visitor.page
        (lone,) = visitor.give(two__png=content).all()
        assert not lone.locator(".objects").is_visible()
        page.check("#several")
        card = visitor.give(two__png=content).first
        assert card.locator(".objects span").all_inner_texts() == ["red", "blue"]
        assert card.locator(".answer h3").inner_text() == "red"
        card.locator(".objects button").nth(1).click()
        assert card.locator(".answer h3").inner_text() == "blue"
        assert card.locator(".objects button").nth(1).get_attribute("aria-pressed") == "true"
        assert "red and 1 more" in page.inner_text("#kept-list")
        engine = load_engine(file)
        engine.use_objects(16)
        (expected,) = engine.predict([tmp_path / "two.png"])
        records = [json.loads(line) for line in visitor.downloaded("#json").splitlines()]
        assert "objects" not in records[0] and records[0]["object_box"] == [0, 0, 0, 0], "no box was told"
        wanted = {**expected.to_dict(), "path": "two.png", "code": None, "size": [120, 60]}
        assert {name: value for name, value in records[1].items() if name != "photo"} == wanted
        assert len(wanted["objects"]) == 2 and wanted["part_boxes"][0] == wanted["object_box"] != [0, 0, 0, 0]
        table = list(csv.DictReader(io.StringIO(visitor.downloaded("#csv").decode("utf-8"), newline="")))
        assert [(row["object"], row["label"]) for row in table] == [("1", "red"), ("1", "red"), ("2", "blue")]
        assert visitor.faults == []
        visitor.user.close()
