"""Under which heading an object is filed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cards import photograph

from tlaam.field.answer import Answer, FoundObject
from tlaam.field.filing import Heading, heading_of
from tlaam.field.sorting import sort_into
from tlaam.field.xmp import keywords_of

GENUS: dict[str, Any] = {
    "rank": "genus", "taxon": "Corvus", "lineage": (("genus", "Corvus"), ("family", "Corvidae")), "is_promised": True,
}  # fmt: skip
CASES: list[tuple[str, dict[str, Any], Heading, str, str]] = [
    ("sure", {}, Heading(None, "jay"), "jay", "tlaam|jay"),
    ("", {}, Heading(None, "jay"), "jay", "tlaam|jay"),
    ("unsure", {}, Heading("unsure", "jay"), "jay", "tlaam|unsure|jay"),
    ("stranger", {}, Heading("stranger"), "_stranger", "tlaam|stranger"),
    ("stranger", GENUS, Heading("stranger"), "_stranger", "tlaam|stranger"),
    ("unsure", GENUS, Heading(None, "Corvus", ("Corvidae",)), "Corvus", "tlaam|Corvidae|Corvus"),
    ("unsure", {"is_promised": True}, Heading("unsure"), "_unsure", "tlaam|unsure"),
    ("unsure", {"outside": ("auk", 0.8)}, Heading("elsewhere", "auk"), "_elsewhere", "tlaam|elsewhere|auk"),
]


def answered(file: str, verdict: str, **settings: Any) -> Answer:
    return Answer(file, (FoundObject((("jay", 0.7), ("crow", 0.3)), **settings),), verdict)


@pytest.mark.parametrize(("verdict", "settings", "heading", "folder", "keyword"), CASES)
def test_the_heading_says_what_the_answer_vouches_for(
    tmp_path: Path, verdict: str, settings: dict[str, Any], heading: Heading, folder: str, keyword: str
) -> None:
    photo = photograph(tmp_path / "card" / "1.jpg")
    answer = answered(str(photo), verdict, **settings)
    assert heading_of(answer, answer.objects[0]) == heading
    flat, deep = keywords_of(answer)
    assert deep == [keyword] and flat == [keyword.rpartition("|")[2]]
    done = sort_into(tmp_path / "sorted", [answer], "once")
    assert (done.photographs, done.left, done.links) == (1, 0, 0)
    assert [path.relative_to(tmp_path / "sorted").as_posix() for path in (tmp_path / "sorted").rglob("*.jpg")] == [
        f"{folder}/1.jpg"
    ]


def test_no_class_shares_a_folder_with_those_that_are_not_named(tmp_path: Path) -> None:
    photos = [photograph(tmp_path / "card" / f"{number}.jpg") for number in range(2)]
    named = Answer(str(photos[0]), (FoundObject((("_stranger", 1.0),)),), "sure")
    sort_into(tmp_path / "sorted", [named, answered(str(photos[1]), "stranger")], "once")
    assert len([path for path in (tmp_path / "sorted").iterdir() if path.is_dir()]) == 2


def test_what_has_no_answer_and_what_is_a_link_are_counted_apart(tmp_path: Path) -> None:
    photo = photograph(tmp_path / "card" / "1.jpg")
    (tmp_path / "card" / "link.jpg").symlink_to(photo)
    link = answered(str(tmp_path / "card" / "link.jpg"), "sure")
    done = sort_into(tmp_path / "sorted", [link, Answer(str(photo), (), "nothing found")], "once")
    assert (done.photographs, done.left, done.links) == (0, 1, 1)
