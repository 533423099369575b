"""The page in a browser: what is dropped is answered and drawn, what cannot be is explained, names stay text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from PIL import Image
from served import COLOURS, SlowEngine, colour_file, picture, running
from several_file import several_file

from tlaam.inference.looking import look_for
from tlaam.service.app import create_app
from tlaam.service.demo import pages
from tlaam.service.examples import Example
from tlaam.service.limits import Limits

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

LIMITS = Limits(upload_bytes=60_000, pixels=1_000_000, keep_alive_seconds=1)
GREEN = Example("green.jpg", picture("green", kind="JPEG"), picture("green", (24, 18), "JPEG"))
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """This machine's Chromium, headless."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(colours: Path) -> Iterator[str]:
    """The page of the model that names colours."""
    with served(SlowEngine(colours), LIMITS) as address:
        yield address


def served(predictor: SlowEngine, limits: Limits, name: str = "colours.onnx") -> Any:
    return running(create_app(predictor, name=name, limits=limits, pages=pages([GREEN])), limits)


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """A function that opens an address as a new user. Errors on a page, and what its policy forbade, fail the test."""
    faults: list[str] = []
    with ExitStack() as users:

        def visit(address: str, width: int = 1280, height: int = 900, **options: Any) -> Any:
            user = browser.new_context(viewport={"width": width, "height": height}, **options)
            users.callback(user.close)
            page = user.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
            page.on("console", lambda message: faults.append(message.text) if "Policy" in message.text else None)
            page.on("request", lambda sent: faults.append(sent.url) if not sent.url.startswith(
                (address, "data:", "blob:")) else None)  # fmt: skip
            page.goto(address)
            expect(page.locator("#limits")).not_to_be_empty()
            return page

        yield visit
    assert faults == []


def files(**colours: bytes) -> list[dict[str, Any]]:
    """Return files to choose, by name."""
    return [{"name": name.replace("__", "."), "mimeType": "", "buffer": content} for name, content in colours.items()]


def choose(page: Any, **given: bytes) -> Any:
    """Choose files; return the cards, in the order of the page."""
    page.set_input_files("#files", files(**given))
    return page.locator(".card")


def pixel(page: Any, x: float, y: float) -> list[int]:
    """Return a pixel of the first picture, at shares of its sides."""
    found: list[int] = page.locator(".stage canvas").first.evaluate(
        "(canvas, [x, y]) => [...canvas.getContext('2d')"
        ".getImageData(Math.round(x * canvas.width), Math.round(y * canvas.height), 1, 1).data]",
        [x, y],
    )
    return found[:3]


def near(one: list[int], other: tuple[int, ...], within: int = 25) -> bool:
    return all(abs(a - b) <= within for a, b in zip(one, other, strict=True))


def test_a_picture_is_named_and_drawn(visit: Open, site: str) -> None:
    page = visit(site)
    card = choose(page, my__png=picture("blue"))
    expect(card.locator(".answer h3")).to_have_text("blue")
    expect(card.locator(".verdict")).to_have_text("Most probable")
    expect(card.locator(".ranking li")).to_have_count(3)
    expect(card.locator(".ranking li").first).to_contain_text("100 %")
    expect(card.locator(".crop")).to_have_count(3)
    expect(card.locator(".file")).to_contain_text("my.png")
    expect(page.locator("#status")).to_contain_text("blue")
    # The object's box is from (8, 12) to (48, 42) of 64 by 48 pixels; its line lies just inside.
    edge = (8 / 64 + 0.007, 30 / 48)
    assert near(pixel(page, *edge), (255, 176, 0))
    inside = (0.4, 0.85)
    assert not near(pixel(page, *inside), COLOURS["blue"])  # the heat map lies on it
    for layer in ("Object", "Heat map", "Parts"):
        button = card.get_by_role("button", name=layer, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false")
    assert near(pixel(page, *edge), COLOURS["blue"]) and near(pixel(page, *inside), COLOURS["blue"])
    card.locator(".crop").first.focus()
    assert near(pixel(page, *edge), (255, 176, 0)), "the part pointed at is not brought out"
    card.locator("details.branches summary").click()
    expect(card.locator(".branches tr")).to_have_count(2)


def test_several_objects_are_chosen_between(visit: Open, tmp_path: Path) -> None:
    image = Image.new("RGB", (120, 60), COLOURS["red"])
    image.paste(COLOURS["blue"], (60, 0, 120, 60))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    engine = SlowEngine(several_file(tmp_path / "several.onnx"))
    look_for(engine, "all")
    with served(engine, LIMITS) as address:
        page = visit(address)
        card = choose(page, two__png=buffer.getvalue())
        expect(card.locator(".objects button")).to_have_text(["red", "blue"])
        expect(page.locator("#status")).to_contain_text("red, 100 %; blue, 100 %")
        expect(card.locator(".answer h3")).to_have_text("red")
        card.get_by_role("button", name="Object 2: blue").click()
        expect(card.locator(".answer h3")).to_have_text("blue")
        box = next(engine.predict([image])).objects[1].object_box  # type: ignore[index]
        assert near(pixel(page, float(box[0]) / 120 + 0.0035, 0.5), (255, 176, 0)), "its box is not drawn"


def test_a_picture_without_an_object_has_no_name(visit: Open, tmp_path: Path) -> None:
    engine = SlowEngine(several_file(tmp_path / "unsure.onnx", sure=0.5))
    look_for(engine, "all")
    with served(engine, LIMITS) as address:
        card = choose(visit(address), empty__png=picture("green"))
        expect(card.locator(".verdict")).to_have_text("Nothing found")
        expect(card.locator(".answer h3")).to_have_text("No object")
        expect(card.locator(".ranking li")).to_have_count(0)
        expect(card.locator(".layers")).to_be_hidden()


def test_several_pictures_each_get_their_answer(visit: Open, site: str) -> None:
    page = visit(site)
    cards = choose(page, **{f"{colour}__png": picture(colour) for colour in COLOURS})
    expect(cards.locator(".answer h3")).to_have_text(list(COLOURS))
    choose(page, more__jpg=picture("green", kind="JPEG"))
    expect(cards.locator(".answer h3")).to_have_text(["green", *COLOURS])  # those given last come first
    cards.first.get_by_role("button", name="Remove this picture").click()
    expect(cards).to_have_count(3)


def test_a_format_that_the_browser_cannot_show_is_answered(visit: Open, site: str) -> None:
    card = choose(visit(site), scan__tif=picture("green", kind="TIFF"))
    expect(card.locator(".answer h3")).to_have_text("green")
    expect(card.locator(".stage canvas")).to_have_css("opacity", "1")


def test_what_is_wrong_is_said(visit: Open, site: str) -> None:
    page = visit(site)
    given = {
        "notes__txt": b"This is text.",
        "cut__jpg": picture("red", (400, 300), "JPEG")[:-900],
        "empty__png": b"",
        "large__bmp": picture("red", (200, 200), "BMP"),
        "huge__png": picture("red", (1200, 1000)),
    }
    said = choose(page, **given).locator(".failed h3")
    expect(said).to_have_text(
        [
            "This is not a picture",
            "The picture is damaged",
            "The file is empty",
            "The file is too large",
            "The picture has too many pixels",
        ]
    )
    expect(page.locator(".card").nth(3)).to_contain_text("at most 60 kB")
    expect(page.locator(".card").nth(4)).to_contain_text("1200 x 1000 pixels; at most 1 million")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    choose(page, good__png=picture("red"))
    expect(page.locator(".answer h3").first).to_have_text("red")


def test_it_can_be_dropped_and_pasted(visit: Open, site: str) -> None:
    page = visit(site)
    carried = page.evaluate_handle(
        """async (bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "carried.png"));
            return data;
        }""",
        [*picture("red")],
    )
    page.dispatch_event("main", "drop", {"dataTransfer": carried})
    expect(page.locator(".answer h3")).to_have_text("red")
    page.evaluate("(data) => dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))", carried)
    expect(page.locator(".answer h3")).to_have_text(["red", "red"])


def test_examples_are_tried_by_the_keyboard(visit: Open, site: str) -> None:
    page = visit(site)
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".answer h3")).to_have_text("green")


def test_ten_users_at_once_get_their_own_answers(visit: Open, colours: Path) -> None:
    predictor = SlowEngine(colours)
    predictor.seconds = 0.01
    with served(predictor, Limits(queue=12)) as address:
        users = [visit(address) for _ in range(10)]
        expected = [list(COLOURS)[number % 3] for number in range(10)]
        for number, (page, colour) in enumerate(zip(users, expected, strict=True)):
            choose(page, **{f"user{number}__png": picture(colour), f"again{number}__png": picture(colour)})
        for number, (page, colour) in enumerate(zip(users, expected, strict=True)):
            expect(page.locator(".answer h3")).to_have_text([colour, colour], timeout=30_000)
            expect(page.locator(".file").first).to_contain_text(f"user{number}.png")
    assert sum(predictor.passes) == 20


def test_a_busy_server_is_asked_again(visit: Open, predictor: SlowEngine) -> None:
    predictor.seconds = 0.5
    with served(predictor, Limits(queue=1)) as address:
        page = visit(address)
        cards = choose(page, a__png=picture("red"), b__png=picture("blue"))
        expect(page.locator(".progress span").filter(has_text="busy; trying again")).to_have_count(1)
        expect(cards.locator(".answer h3")).to_have_text(["red", "blue"])


def test_a_server_that_is_gone_is_said_and_tried_again(visit: Open, site: str) -> None:
    page = visit(site)
    page.context.set_offline(True)
    card = choose(page, a__png=picture("red"))
    expect(card.locator(".failed h3")).to_have_text("The server could not be reached")
    page.context.set_offline(False)
    card.get_by_role("button", name="Try again").click()
    expect(card.locator(".answer h3")).to_have_text("red")


def test_names_that_are_scripts_stay_text(visit: Open, tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "<script>alert(2)</script>", "javascript:alert(3)//"]
    predictor = SlowEngine(colour_file(tmp_path / "names.onnx", names))
    with served(predictor, Limits(), name="<svg onload=alert(4)>") as address:
        page = visit(address)
        cards = choose(page, **{"<img src=y onerror=alert(5)>__png": picture("red"), "b__png": picture("green")})
        expect(cards.locator(".answer h3")).to_have_text(names[:2])
        expect(page.locator("#model")).to_have_text("<svg onload=alert(4)>")
        expect(cards.first.locator(".file")).to_contain_text("<img src=y onerror=alert(5)>.png")
        assert page.locator(".card img, .card script, .classes img, .top svg").count() == 0


def test_what_a_gallery_says_is_shown(visit: Open, site: str) -> None:
    page = visit(site)
    answer = page.request.post(f"{site}/v1/predict?heatmap=1", data=picture("red")).json()
    shown = "data:image/jpeg;base64,/9j/4AAQ"
    (row,) = answer["results"]
    row |= {
        "verdict": "stranger",
        "look_alikes": [
            {"label": "red_thing", "similarity": 0.913, "thumbnail": shown},
            {"label": "bad", "similarity": 0.5, "thumbnail": "javascript:alert(1)"},
        ],
    }
    page.route("**/v1/predict*", lambda route: route.fulfill(body=json.dumps(answer)))
    card = choose(page, a__png=picture("red"))
    expect(card.locator(".verdict")).to_have_text("Unlike the training pictures")
    expect(card.locator(".advice")).to_contain_text("do not rely on them")
    expect(card.locator(".alike li")).to_have_text(["red thing91.3 % similar", "bad50.0 % similar"])
    assert card.locator(".alike img").evaluate_all("(images) => images.map((image) => image.getAttribute('src'))") == [
        shown,
        None,
    ]


@pytest.mark.parametrize(
    ("verdict", "probability", "said"),
    [
        ("sure", 0.97, "Sure"),
        ("sure", 0.55, "Probably"),  # the model has no doubts of its own; 55 % are no certainty for all that
        ("unsure", 0.9, "Not sure"),
        ("stranger", 0.99, "Unlike the training pictures"),
        (None, 0.99, "Most probable"),
        (None, 0.4, "Not sure"),
    ],
)
def test_what_an_answer_is_worth_is_said(
    visit: Open, site: str, verdict: str | None, probability: float, said: str
) -> None:
    page = visit(site)
    answer = page.request.post(f"{site}/v1/predict", data=picture("red")).json()
    (row,) = answer["results"]
    row["verdict"] = verdict
    row["predictions"][0]["probability"] = probability
    page.route("**/v1/predict*", lambda route: route.fulfill(body=json.dumps(answer)))
    card = choose(page, a__png=picture("red"))
    expect(card.locator(".verdict")).to_have_text(said)
    doubtful = said in ("Not sure", "Unlike the training pictures")
    expect(card.locator(".advice")).to_be_visible(visible=doubtful or verdict is None)
    expect(card.get_by_text("cannot recognise pictures of something else")).to_have_count(int(verdict is None))
    expect(card.locator(".answer.doubtful")).to_have_count(int(doubtful))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(visit: Open, scheme: str, tmp_path: Path) -> None:
    names = ["a-very-long-name-" * 8, "W" * 120, "green"]
    with served(SlowEngine(colour_file(tmp_path / "long.onnx", names)), Limits(), "m" * 200) as address:
        page = visit(address, 420, 860, color_scheme=scheme, has_touch=True)
        cards = choose(page, **{"p" * 150 + "__png": picture("red", (600, 90)), "b__png": picture("green", (40, 300))})
        choose(page, bad__txt=b"x")
        expect(cards.locator(".answer:visible")).to_have_count(2)
        expect(cards.locator(".failed:visible")).to_have_count(1)
        page.locator("details").first.evaluate("(details) => (details.open = true)")
        page.locator("#classes summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (min(map(int, ground[4:-1].split(","))) > 200) == (scheme == "light")


def test_on_a_phone_the_name_stands_on_the_first_screen(visit: Open, site: str) -> None:
    card = choose(visit(site, 420, 860, has_touch=True), a__png=picture("blue", (300, 400)))
    box = card.locator(".answer h3").bounding_box()
    assert box is not None and box["y"] < 860


def test_pictures_are_shown_upright(visit: Open, site: str, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (60, 30), "blue").save(tmp_path / "turned.jpg", exif=turned)
    page = visit(site)
    card = choose(page, turned__jpg=(tmp_path / "turned.jpg").read_bytes())
    expect(card.locator(".answer h3")).to_have_text("blue")
    assert card.locator(".stage canvas").evaluate("(canvas) => canvas.height / canvas.width") == 2
