"""The table: read back by the csv module, gone on with after a cut anywhere, never a formula."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cards import ATTACKS, answer

from tlaam.errors import RunError
from tlaam.field.answer import Answer, FoundObject, answer_of
from tlaam.field.answers import Answers
from tlaam.field.csv_table import csv_table
from tlaam.field.exif import Shot

ANSWERS = [
    answer("card/a,1.jpg", "jay", verdict="sure", similarity=-0.25),
    Answer("card/broken.jpg", error='Cannot read "it"'),
    Answer("card/two.jpg", (FoundObject((("fox", 0.5),), "species", (1, 2, 3, 4)), FoundObject((("hare", 0.25),)))),
    answer("card/ende-\udcff.jpg", "jay"),
]


def write(path: Path, answers: list[Answer]) -> None:
    with csv_table(path) as table:
        for each in answers:
            table.add(each)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_it_is_read_back_by_other_programs(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", ANSWERS)
    first, broken, fox, hare, last = read(tmp_path / "a.csv")
    assert first == {
        "file": "card/a,1.jpg", "time": "2024-05-01T06:07:08", "camera": "Acme", "latitude": "1.5",
        "longitude": "-2.25", "object": "1", "label": "jay", "rank": "", "probability": "0.75", "verdict": "sure",
        "similarity": "-0.25", "x0": "6.0", "y0": "8.0", "x1": "36.0", "y1": "28.0", "second": "wren",
        "second_probability": "0.125", "width": "60", "height": "40", "error": "",
    }  # fmt: skip
    assert (broken["error"], broken["label"], broken["object"]) == ('Cannot read "it"', "", "")
    assert (fox["object"], fox["label"], fox["rank"], fox["x1"]) == ("1", "fox", "species", "3")
    assert (hare["file"], hare["object"], hare["label"], hare["x0"]) == ("card/two.jpg", "2", "hare", "")
    assert last["file"] == "card/ende-\\udcff.jpg"


def test_wherever_it_was_cut_off_it_ends_the_same(tmp_path: Path) -> None:
    write(tmp_path / "whole.csv", ANSWERS)
    whole = (tmp_path / "whole.csv").read_bytes()
    for length in range(len(whole) + 1):
        (tmp_path / "cut.csv").write_bytes(whole[:length])
        write(tmp_path / "cut.csv", ANSWERS)
        assert (tmp_path / "cut.csv").read_bytes() == whole, length


def test_a_table_of_other_rows_is_left_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "whole.csv", ANSWERS)
    whole = (tmp_path / "whole.csv").read_bytes()
    for other in (b"notes of mine\n", whole.replace(b"jay", b"fox", 1), whole + b"one more\n"):
        (tmp_path / "other.csv").write_bytes(other)
        with pytest.raises(RunError, match=r"other\.csv holds other rows"):
            write(tmp_path / "other.csv", ANSWERS)
        assert (tmp_path / "other.csv").read_bytes() == other


@pytest.mark.parametrize("name", [*ATTACKS, "＝1+1", "'=1", "''-2", "'quoted'"])
def test_names_are_text_to_spreadsheets(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.csv", [answer(f"{name}.jpg".replace("/", ""), name, shot=Shot(camera=name))])
    (row,) = read(tmp_path / "a.csv")
    for cell in (row["label"], row["camera"]):
        assert not re.match(r"[=+\-@\t\r\n＝＋－＠]", cell)
        # What docs/field.md tells those who want the name itself:
        assert re.sub(r"^'(?='*[=+\-@\t\r\n＝＋－＠])", "", cell) == name


def test_a_line_of_json_with_several_objects_becomes_several(tmp_path: Path) -> None:
    several = [
        {"predictions": [{"label": "fox", "probability": 0.5}], "object_box": [1, 2, 3, 4], "rank": "genus"},
        {"predictions": [{"label": "hare", "probability": 0.25}]},
    ]
    record = {"path": str(tmp_path / "no.jpg"), "error": None, "verdict": None, "similarity": None, "objects": several}
    found = answer_of(record)
    assert [(each.label, each.rank, each.box) for each in found.objects] == [
        ("fox", "genus", (1.0, 2.0, 3.0, 4.0)), ("hare", "", None),
    ]  # fmt: skip


@pytest.mark.parametrize("plan", ["", "[]", "{}", '{"images": 1, "shard_size": 0, "format": "jsonl"}'])
def test_a_folder_without_a_sound_plan_is_refused(tmp_path: Path, plan: str) -> None:
    with pytest.raises(RunError, match="holds no answers"):
        Answers(tmp_path)
    (tmp_path / "plan.json").write_text(plan)
    with pytest.raises(RunError, match=r"plan\.json is damaged"):
        Answers(tmp_path)
