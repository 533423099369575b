"""What `tlaam predict` makes of a card, read back by other programs."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from lxml import etree
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from cards import answer, exif_of, photograph
from stress.colours import write_model

import tlaam
from tlaam.cli.main import main
from tlaam.errors import ConfigError, RunError
from tlaam.field.answer import Answer, FoundObject
from tlaam.field.answers_page import write_page
from tlaam.field.made import MadeFiles
from tlaam.field.timelapse import write_timelapse
from tlaam.field.xlsx import write_xlsx

CLASSES = ("=cmd|' /C calc'!A0", "../../two\nlines", "right\u202eleft" + "x" * 300)
"""Of the strongest colour red, green and blue."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", CLASSES)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Six photographs in two folders, one that is broken, and a file of text."""
    folder = tmp_path / "card"
    for number in range(6):
        photograph(folder / f"10{number % 2}" / f"{number // 2}.jpg", number % 3, exif=exif_of())
    (folder / "100" / "bad.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


def called(*arguments: object) -> int:
    return main([*map(str, arguments)])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def answers_in(page: Path) -> dict[str, Any]:
    html = etree.HTML(page.read_text(encoding="utf-8"))
    (text,) = html.xpath("//script[@id='answers']/text()")
    found: dict[str, Any] = json.loads(text)
    return found


def test_one_command_makes_all_of_it(model: Path, card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = {"--csv": "a.csv", "--xlsx": "a.xlsx", "--page": "a.html", "--timelapse": "t.json", "--sidecars": "xmp"}
    files = [word for option, name in names.items() for word in (option, out / name)]
    assert called("predict", model, card, *files, "--sort-into", out / "sorted", "--json", out / "a.jsonl") == 0

    rows = table(out / "a.csv")
    assert [Path(row["file"]).relative_to(card).as_posix() for row in rows] == [
        "100/0.jpg", "100/1.jpg", "100/2.jpg", "100/bad.jpg", "101/0.jpg", "101/1.jpg", "101/2.jpg",
    ]  # fmt: skip
    labels = [CLASSES[number] for number in (0, 2, 1)]  # of the photographs 0, 2, 4 and, likewise, 1, 3, 5
    assert [row["label"].removeprefix("'") for row in rows[:3]] == labels
    assert rows[0]["label"] == "'" + CLASSES[0] and rows[3]["label"] == "" and "bad.jpg" in rows[3]["error"]
    assert (rows[0]["time"], rows[0]["latitude"], rows[0]["longitude"]) == (
        "2024-05-01T06:07:08.50+02:00", "48.5", "-11.26",
    )  # fmt: skip

    lines = [json.loads(line) for line in (out / "a.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [row["file"] for row in rows] and "row" not in lines[0]
    assert lines[0]["photo"] == {
        "width": 60, "height": 40, "time": "2024-05-01T06:07:08.50+02:00", "camera": "ACME Trail 2",
        "latitude": 48.5, "longitude": -11.26,
    }  # fmt: skip

    found = json.loads((out / "t.json").read_text())
    assert found["info"]["format_version"] == "1.3"
    first, *_, last = found["images"]
    ((detection),) = first["detections"]
    assert first["file"] == "100/0.jpg" and last["file"] == "101/2.jpg" and detection["bbox"] == [0.0, 0.0, 1.0, 1.0]
    best, *others = detection["classifications"]
    assert found["classification_categories"][best[0]] == CLASSES[0] and best[1] > others[0][1]
    assert found["images"][3]["detections"] is None and "bad.jpg" in found["images"][3]["failure"]

    sidecar = etree.fromstring((out / "xmp" / "100" / "0.xmp").read_bytes())
    (keyword,) = sidecar.xpath("//*[local-name()='hierarchicalSubject']//*[local-name()='li']/text()")
    assert keyword == "tlaam|=cmd_' /C calc'!A0" and not (out / "xmp" / "100" / "bad.xmp").exists()

    shown = answers_in(out / "a.html")
    assert (
        {name for entry in shown["answers"][:3] for name, _ in entry["names"]} == set(shown["labels"]) == set(CLASSES)
    )
    assert Path(shown["answers"][0]["file"]) == card / "100" / "0.jpg"

    sorted_files = sorted(path for path in (out / "sorted").rglob("*.jpg"))
    assert len(sorted_files) == 6 and {path.parent.parent for path in sorted_files} == {out / "sorted"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card", "m.onnx", "out"]
    assert called("undo", out / "sorted" / "sorted-001.jsonl") == 0
    assert list((out / "sorted").rglob("*.jpg")) == [] and len(list(card.rglob("*.jpg"))) == 7


def test_a_workbook_is_text_and_numbers_and_small_pictures(tmp_path: Path) -> None:
    photos = [photograph(tmp_path / f"{number}.jpg", size=(600, 400)) for number in range(2)]
    labels = ["=1+1", "http://example.org/", "007", "x" * 40_000, "a\x00\x07\ud800b"]
    answers = [answer(photos[0], label, verdict="unsure") for label in labels] + [Answer("gone.jpg", error="=gone")]
    write_xlsx(tmp_path / "a.xlsx", answers)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx")["answers"]
    head, *rows = sheet.iter_rows()
    column = {cell.value: cell.column - 1 for cell in head}
    assert [row[column["label"]].value for row in rows[:3]] == labels[:3]
    assert {row[column["label"]].data_type for row in rows[:5]} == {"s"} and rows[0][column["label"]].hyperlink is None
    assert len(rows[3][column["label"]].value) == 32_767
    assert (rows[0][column["probability"]].value, rows[0][column["x1"]].value) == (0.75, 36)
    assert rows[5][column["error"]].value == "=gone" and rows[5][column["error"]].data_type == "s"
    pictures = sheet._images
    assert [picture.anchor._from.row for picture in pictures] == [1, 2, 3, 4, 5]
    for picture in pictures:
        with Image.open(picture.ref) as image:
            assert image.size == (96, 64)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_timelapse_is_given_boxes_as_shares_and_strangers_apart(tmp_path: Path) -> None:
    several = (
        FoundObject((("fox", 0.5), ("hare", 0.25)), "", (6, 8, 36, 28)),
        FoundObject(((" ", 1.0),), "", (-5, 0, 99, 40)),
    )
    answers = [
        Answer(str(tmp_path / "d" / "a.jpg"), several, "sure", size=(60, 40)),
        answer("elsewhere.jpg", "fox", verdict="stranger", box=None),
    ]
    write_timelapse(tmp_path / "t.json", answers, base=tmp_path, model="m.onnx")
    found = json.loads((tmp_path / "t.json").read_text())
    first, second = found["images"]
    assert first == {
        "file": "d/a.jpg",
        "detections": [
            # x from 6 of 60, y from 8 of 40, 30 of 60 wide, 20 of 40 high
            {"category": "1", "conf": 0.5, "bbox": [0.1, 0.2, 0.5, 0.5], "classifications": [["0", 0.5], ["1", 0.25]]},
            {"category": "1", "conf": 1.0, "bbox": [0.0, 0.0, 1.0, 1.0], "classifications": [["2", 1.0]]},
        ],
    }
    assert found["detection_categories"][second["detections"][0]["category"]] == "stranger"
    assert Path(second["file"]).is_absolute() and found["classification_categories"] == {
        "0": "fox", "1": "hare", "2": "(blank)", "3": "wren",
    }  # fmt: skip
    _require_valid(found)


def _require_valid(found: dict[str, Any]) -> None:
    """Check the rules of the format's description, version 1.3."""
    assert float(found["info"]["format_version"]) >= 1.3
    for kind in ("detection_categories", "classification_categories"):
        assert all(re.fullmatch(r"\d+", number) and name.strip() for number, name in found[kind].items())
    for image in found["images"]:
        assert isinstance(image["file"], str)
        if image.get("failure") is not None:
            assert image["detections"] is None
            continue
        for detection in image["detections"]:
            assert detection["category"] in found["detection_categories"] and isinstance(detection["conf"], float)
            x, y, width, height = detection["bbox"]
            assert min(x, y, width, height) >= 0 and x + width <= 1 + 1e-6 and y + height <= 1 + 1e-6
            shares = [
                share for number, share in detection["classifications"] if number in found["classification_categories"]
            ]
            assert len(shares) == len(detection["classifications"]) and shares == sorted(shares, reverse=True)


def test_a_page_shows_names_and_runs_none(tmp_path: Path) -> None:
    attack = "</script><script>alert(1)</script>\u2028<!--"
    write_page(
        tmp_path / "a.html", [answer(tmp_path / f"{attack.replace('/', '')}.jpg", attack)], base=tmp_path, identity="1"
    )
    shown = answers_in(tmp_path / "a.html")
    assert shown["labels"] == [attack, "wren"] and shown["answers"][0]["names"][0] == [attack, 0.75]
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.count("<script") == 2 and "alert(1)</" not in text
    assert "default-src 'none'" in text and text.count("'sha256-") == 2 and "http:" not in text and "https:" not in text


def test_what_is_there_is_used_for_more_later(
    model: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "answers"
    assert called("predict", model, card, "--into", into, "--shard-size", "2") == 0  # without what photographs say
    capsys.readouterr()
    assert called("predict", model, card, "--into", into, "--csv", tmp_path / "a.csv") == 0
    assert "0 of 7 images answered for by this process now, 7 before" in capsys.readouterr().out
    assert called("predict", model, card, "--csv", tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert called("predict", model, card, "--csv", tmp_path / "b.csv", "--shard-size", "100") == 0


@pytest.mark.parametrize("name", ["a.xlsx", "a.html", "t.json", "a.jsonl"])
def test_a_file_that_somebody_changed_or_made_is_left(
    model: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    option = {"a.xlsx": "--xlsx", "a.html": "--page", "t.json": "--timelapse", "a.jsonl": "--json"}[name]
    command = ["predict", model, card, "--csv", tmp_path / "a.csv", option, tmp_path / name]
    assert called(*command) == called(*command) == 0, "what it made itself is made again"
    file = tmp_path / name
    file.write_bytes(file.read_bytes() + b" ")
    assert called(*command) == 1 and "was changed since it was made" in capsys.readouterr().err
    file.unlink()
    assert called(*command) == 0
    other = file.with_stem("other")
    other.write_text("mine")
    assert called(*command[:-1], other) == 1
    assert "was not made from these answers" in capsys.readouterr().err and other.read_text() == "mine"


def test_a_killed_writer_may_write_again(tmp_path: Path) -> None:
    made, file = MadeFiles(tmp_path), tmp_path / "a.xlsx"
    with pytest.raises(RuntimeError), made.making(file):
        file.write_text("half")
        raise RuntimeError  # as if the process had been killed here
    with MadeFiles(tmp_path).making(file):
        file.write_text("whole")
    file.write_text("changed")
    with pytest.raises(RunError, match="was changed"):
        made.require_ours(file)


def test_moved_photographs_are_named_by_their_new_places(model: Path, card: Path, tmp_path: Path) -> None:
    outputs = ["--timelapse", tmp_path / "t.json", "--sort-into", tmp_path / "sorted", "--move", "--sidecars", "beside"]
    assert called("predict", model, card, *outputs) == 0
    names = {image["file"] for image in json.loads((tmp_path / "t.json").read_text())["images"]}
    here = {path.relative_to(tmp_path / "sorted").as_posix() for path in (tmp_path / "sorted").rglob("*.jpg")}
    assert len(here) == 6 and names == here | {(card / "100" / "bad.jpg").as_posix()}
    assert len(list((tmp_path / "sorted").rglob("*.xmp"))) == 6, "sidecars went along"
    (log,) = (tmp_path / "sorted").glob("sorted-*.jsonl")
    assert called("undo", log) == 0
    assert len(list(card.rglob("*.jpg"))) == 7 and len(list(card.rglob("*.xmp"))) == 6


def test_two_processes_and_parquet_make_the_same(model: Path, card: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    options = ["--shard-size", "2", "--format", "parquet", "--processes", "2"]
    assert called("predict", model, card, "--csv", tmp_path / "a.csv", *options) == 0
    assert called("predict", model, card, "--csv", tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_what_was_moved_is_known_to_the_same_command(
    model: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (card / "100" / "bad.jpg").unlink()
    command = ["predict", model, card, "--csv", tmp_path / "a.csv", "--sort-into", tmp_path / "sorted", "--move"]
    assert called(*command) == 0
    assert list(card.rglob("*.jpg")) == []
    assert called(*command, "--xlsx", tmp_path / "a.xlsx", "--sidecars", "beside") == 0
    assert len(openpyxl.load_workbook(tmp_path / "a.xlsx")["answers"]._images) == 6
    assert len(list((tmp_path / "sorted").rglob("*.xmp"))) == 6 and len(table(tmp_path / "a.csv")) == 6
    photograph(card / "100" / "new.jpg")
    capsys.readouterr()
    assert called(*command) == 1
    assert "give a new folder for those that came" in capsys.readouterr().err
    assert (card / "100" / "new.jpg").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--move"], "--move goes with --sort-into"),
        (["--sort-into", "x", "--move", "--link"], "give one"),
        (["--sidecars", "beside"], "add --into FOLDER or --csv FILE"),
        (["--sort-into", "card/in/it"], "lies in 'card'"),
        (["--csv", "a.csv", "--overlays", "o"], "have no --overlays"),
        (["--csv", "a.xlsx"], "would not open as what it is called"),
        (["--xlsx", "a.csv"], "--xlsx writes a file that ends in .xlsx"),
    ],
)
def test_what_would_not_do_is_refused_in_a_line(
    model: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert called("predict", model, "card", *options) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card", "m.onnx"]


def test_a_workbook_needs_its_package(
    model: Path, card: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    assert called("predict", model, card, "--xlsx", card.parent / "a.xlsx") == 2
    assert "needs XlsxWriter" in capsys.readouterr().err and not (card.parent / "a.xlsx.answers").exists()


def test_sidecars_that_are_not_understood_are_named_and_left(
    model: Path, card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (card / "100" / "0.xmp").write_bytes(b"<broken")
    assert called("predict", model, card, "--csv", tmp_path / "a.csv", "--sidecars", "beside") == 1
    assert "0.xmp is left as it is" in capsys.readouterr().err
    assert (card / "100" / "0.xmp").read_bytes() == b"<broken" and (card / "100" / "1.xmp").exists()


def test_of_many_faults_some_are_said(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        photograph(tmp_path / "card" / f"{number}.jpg")
        (tmp_path / "card" / f"{number}.xmp").mkdir()
    assert called("predict", model, tmp_path / "card", "--csv", tmp_path / "a.csv", "--sidecars", "beside") == 1
    err = capsys.readouterr().err
    assert err.count("no keywords for") == 20 and "and 5 more of this kind." in err


def test_whoever_is_killed_the_same_command_ends_with_one_group_a_file(model: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    for number in range(40):
        photograph(card / f"{number:02}.jpg", number % 3)
    command = [
        sys.executable, "-m", "tlaam", "predict", model, card, "--csv", tmp_path / "a.csv", "--shard-size", "2",
        "--batch-size", "1", "--page", tmp_path / "a.html", "--sort-into", tmp_path / "sorted", "--move",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for rows in (5, 30):
        process = subprocess.Popen([*map(str, command)], env=environment, stdout=subprocess.DEVNULL)
        path = tmp_path / "a.csv"
        while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < rows):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert called(*command[3:]) == 0
    files = [row["file"] for row in table(tmp_path / "a.csv")]
    assert files == [str(card / f"{number:02}.jpg") for number in range(40)]
    assert len(list((tmp_path / "sorted").rglob("*.jpg"))) == 40


def test_python_makes_what_the_command_makes(model: Path, card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = {"csv": "a.csv", "xlsx": "a.xlsx", "page": "a.html", "timelapse": "t.json", "sidecars": "xmp"}
    said: list[str] = []
    classifier = tlaam.load(model)
    answers = classifier.predict_card(
        card, **{name: out / file for name, file in files.items()}, sort_into=out / "sorted", say=said.append
    )
    options = [word for name, file in files.items() for word in (f"--{name}", tmp_path / "cli" / file)]
    assert called("predict", model, card, *options, "--sort-into", tmp_path / "cli" / "sorted") == 0
    assert (out / "a.csv").read_bytes() == (tmp_path / "cli" / "a.csv").read_bytes()
    assert (out / "t.json").read_bytes() == (tmp_path / "cli" / "t.json").read_bytes()
    assert {file.name for file in out.iterdir()} == {file.name for file in (tmp_path / "cli").iterdir()}
    assert [bool(answer.objects) for answer in answers].count(True) == 6 and len(answers) == 7
    assert any("a workbook" in line for line in said)

    again = classifier.predict_card([str(card)], csv=out / "a.csv")
    assert [answer.file for answer in again] == [answer.file for answer in answers]
    with pytest.raises(ConfigError, match="nothing says where answers are kept"):
        classifier.predict_card(card)
    with pytest.raises(ConfigError, match="goes with --sort-into"):
        classifier.predict_card(card, csv=out / "b.csv", mode="move")
