"""Which pictures a page offers."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from served import COLOURS, SlowEngine, picture
from starlette.testclient import TestClient

from tlaam.data.synthetic import SyntheticOptions, class_names
from tlaam.errors import DataError
from tlaam.service.app import create_app
from tlaam.service.demo import pages
from tlaam.service.examples import MOST, default_examples, examples_from


def test_they_come_from_all_over_a_folder_and_bring_no_metadata(tmp_path: Path) -> None:
    for number in range(30):
        Image.new("RGB", (30, 20), (8 * number, 0, 0)).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "00.png").write_bytes(b"broken")
    noted = Image.Exif()
    noted[0x010E] = "where it was taken"
    Image.new("RGB", (3000, 20)).save(tmp_path / "03.jpg", exif=noted)
    examples = examples_from([tmp_path])
    assert 1 < len(examples) <= MOST
    assert examples[-1].name >= "20" and examples[0].name != "00.png"
    for example in examples:
        with Image.open(BytesIO(example.picture)) as shown, Image.open(BytesIO(example.thumbnail)) as small:
            assert not shown.getexif() and max(shown.size) <= 1280 and max(small.size) <= 240


def test_none_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"no image in .* can be read"):
        examples_from([tmp_path])


def test_a_model_of_drawn_creatures_gets_some_drawn() -> None:
    assert len(default_examples(class_names(SyntheticOptions(classes=3)))) == 6
    assert default_examples(COLOURS) == default_examples(["one"]) == default_examples(map(str, range(500))) == []


def test_the_page_gives_out_its_files_and_these_alone(predictor: SlowEngine, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("red"))
    with TestClient(create_app(predictor, pages=pages(examples_from([tmp_path])))) as client:
        (example,) = client.get("/examples.json").json()
        assert example == {"name": "a.png", "picture": "examples/0.jpg", "thumbnail": "examples/0-small.jpg"}
        for path in ("/", "/static/app.js", "/static/style.css", "/static/icon.svg", *list(example.values())[1:]):
            answer = client.get(path if path.startswith("/") else f"/{path}")
            assert (
                answer.status_code == 200
                and answer.content
                and "script-src 'self'" in answer.headers["Content-Security-Policy"]
            )
        for path in ("/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/examples/1.jpg", "/app.py"):
            assert client.get(path).status_code == 404
        page = client.get("/").text
        assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "style=" not in page and "onclick" not in page and "<script>" not in page
