"""Sorting and undoing it: whoever is killed when, every photograph is there, and ends where it belongs."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cards import ATTACKS, answer
from kills import killed_at

from tlaam.errors import RunError
from tlaam.field.answer import Answer
from tlaam.field.names import FolderNames, safe_name
from tlaam.field.sorting import sort_into
from tlaam.field.sorting_log import read_log
from tlaam.field.transfer import Mode
from tlaam.field.undo import undo


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for the disk, which a kill does not need and a power cut does."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


MODES: tuple[Mode, ...] = ("copy", "link", "move")

CARD = {
    "100/a.jpg": ("jay", b"first"),
    "100/b.jpg": ("crow", b"second " * 9),
    "101/a.jpg": ("jay", b"third"),
    "101/c.jpg": ("", b"no answer"),
}
SIDECAR = "101/a.xmp"


def card(folder: Path) -> list[Answer]:
    """Write a card, with a sidecar; return the answers for it."""
    for name, (_, content) in CARD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / SIDECAR).write_bytes(b"keywords")
    return [
        answer(folder / name, label) if label else Answer(str(folder / name), error="broken")
        for name, (label, _) in CARD.items()
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith((".tlaam-sorting", "sorted-0"))
    }


def sorted_files() -> dict[str, bytes]:
    return {
        "crow/b.jpg": b"second " * 9, "jay/a.jpg": b"first", "jay/a-2.jpg": b"third", "jay/a-2.xmp": b"keywords",
    }  # fmt: skip


def originals() -> dict[str, bytes]:
    return {**{name: content for name, (_, content) in CARD.items()}, SIDECAR: b"keywords"}


def left_behind(mode: Mode) -> dict[str, bytes]:
    return {"101/c.jpg": b"no answer"} if mode == "move" else originals()


@pytest.mark.parametrize("mode", MODES)
def test_each_goes_to_its_class_and_back(tmp_path: Path, mode: Mode) -> None:
    answers = card(tmp_path / "card")
    done = sort_into(tmp_path / "out", answers, "these", mode)
    assert (done.photographs, done.left, done.faults) == (3, 1, [])
    assert files(tmp_path / "out") == sorted_files() and files(tmp_path / "card") == left_behind(mode)
    if mode == "link":
        assert (tmp_path / "out/crow/b.jpg").samefile(tmp_path / "card/100/b.jpg")
    if mode == "copy":
        times = [(tmp_path / name).stat().st_mtime_ns for name in ("out/crow/b.jpg", "card/100/b.jpg")]
        assert times[0] == times[1]
    again = sort_into(tmp_path / "out", answers, "these", mode)
    assert (again.photographs, again.log, files(tmp_path / "out")) == (3, done.log, sorted_files())
    undone = undo(done.log)
    assert (undone.files, undone.kept, files(tmp_path / "out"), files(tmp_path / "card")) == (4, [], {}, originals())
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []
    assert (undo(done.log).before, files(tmp_path / "card")) == (4, originals())
    anew = sort_into(tmp_path / "out", answers, "these", mode)
    assert anew.log.name == "sorted-002.jsonl" and files(tmp_path / "out") == sorted_files()


def another_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let files not be renamed from below `folder` to elsewhere, or the other way round."""
    rename = os.replace

    def replace(source: Path, target: Path) -> Path:
        if Path(source).is_relative_to(folder) != Path(target).is_relative_to(folder):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)
        return Path(target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize(("mode", "disks"), [("copy", 1), ("copy", 2), ("link", 1), ("move", 1), ("move", 2)])
def test_wherever_sorting_is_killed_it_is_completed_or_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, disks: int
) -> None:
    kills = 0
    while True:
        kills += 1
        place = tmp_path / str(kills)
        if disks == 2:
            another_disk(monkeypatch, place / "out")
        answers = card(place / "card")
        was_killed = killed_at(kills, place, lambda a=answers, p=place: sort_into(p / "out", a, "these", mode))
        _require_nothing_lost(place)
        log = place / "out" / "sorted-001.jsonl"
        if kills % 2 or not log.exists():
            done = sort_into(place / "out", answers, "these", mode)
            assert (done.photographs, done.faults) == (3, [])
            assert (files(place / "out"), files(place / "card")) == (sorted_files(), left_behind(mode))
        else:
            assert undo(log).kept == []
            assert (files(place / "out"), files(place / "card")) == ({}, originals())
        if not was_killed:
            break
    assert kills > 10


@pytest.mark.parametrize(("mode", "disks"), [("copy", 1), ("copy", 2), ("link", 1), ("move", 1), ("move", 2)])
def test_wherever_undoing_is_killed_it_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, disks: int
) -> None:
    kills, was_killed = 0, True
    while was_killed:
        kills += 1
        place = tmp_path / str(kills)
        log = sort_into(place / "out", card(place / "card"), "these", mode).log
        if disks == 2:
            another_disk(monkeypatch, place / "out")
        was_killed = killed_at(kills, place, lambda log=log: undo(log))
        _require_nothing_lost(place)
        assert undo(log).kept == []
        assert (files(place / "out"), files(place / "card")) == ({}, originals())
    assert kills > 4


def _require_nothing_lost(place: Path) -> None:
    whole = [content for name, content in files(place).items() if not name.endswith(".part")]
    for content in originals().values():
        assert content in whole, content


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    answers = card(tmp_path / "card")
    (tmp_path / "out/jay").mkdir(parents=True)
    (tmp_path / "out/jay/a.jpg").write_bytes(b"mine")
    (tmp_path / "out/jay/A-2.JPG").write_bytes(b"mine, too")
    log = sort_into(tmp_path / "out", answers, "these", "move").log
    assert files(tmp_path / "out")["jay/a.jpg"] == b"mine" and files(tmp_path / "out")["jay/a-3.jpg"] == b"third"
    (tmp_path / "card/100/b.jpg").write_bytes(b"new on the card")
    undone = undo(log)
    assert len(undone.kept) == 1 and "another file at" in undone.kept[0]
    assert (tmp_path / "card/100/b.jpg").read_bytes() == b"new on the card"
    assert (tmp_path / "out/crow/b.jpg").read_bytes() == b"second " * 9
    assert files(tmp_path / "out")["jay/a.jpg"] == b"mine"


def test_a_name_that_is_taken_meanwhile_is_left_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = card(tmp_path / "card")[:1]
    real: Callable[..., int] = os.open

    def late(path: object, flags: int, mode: int = 0o777, **rest: object) -> int:
        if str(path).endswith("jay/a.jpg") and flags & os.O_EXCL:
            (tmp_path / "out/jay/a.jpg").write_bytes(b"somebody else")
        return real(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", late)
    log = sort_into(tmp_path / "out", answers, "these", "move").log
    assert files(tmp_path / "out") == {"jay/a.jpg": b"somebody else", "jay/a-2.jpg": b"first"}
    assert undo(log).kept == [] and files(tmp_path / "card") == originals()
    assert files(tmp_path / "out") == {"jay/a.jpg": b"somebody else"}


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_the_last_copy_of_a_photograph_is_kept(tmp_path: Path, mode: Mode) -> None:
    log = sort_into(tmp_path / "out", card(tmp_path / "card"), "these", mode).log
    (tmp_path / "card/100/a.jpg").unlink()  # gone
    (tmp_path / "card/100/b.jpg").unlink()
    (tmp_path / "card/100/b.jpg").write_bytes(b"edited since")
    undone = undo(log)
    assert len(undone.kept) == 2 and undone.files == 2
    assert files(tmp_path / "out") == {"jay/a.jpg": b"first", "crow/b.jpg": b"second " * 9}


@pytest.mark.parametrize("name", ATTACKS)
def test_folders_stay_inside_whatever_a_class_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_bytes(b"content")
    sort_into(tmp_path / "out", [answer(tmp_path / "card" / "a.jpg", name)], "these", "copy")
    ((path, content),) = files(tmp_path / "out").items()
    folder, _, file = path.partition("/")
    assert (file, content) == ("a.jpg", b"content") and sorted(p.name for p in tmp_path.iterdir()) == ["card", "out"]
    assert len(folder.encode()) <= 100 and not set(folder) & set('<>:"|?*\\\n\t\u202e') and folder[-1] not in " ."


def test_classes_do_not_share_a_folder() -> None:
    names = FolderNames()
    labels = ["a/b", "a:b", "Jay", "jay", "x" * 300, "x" * 301, "..", ".", "", " ", "con", "CON.txt", "é", "e\u0301"]
    folders = [names.of(label) for label in labels]
    assert len({folder.casefold() for folder in folders}) == len(labels)
    assert [names.of(label) for label in labels] == folders and all(folders) and safe_name("wren 2") == "wren 2"


def test_a_folder_of_a_class_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    answers = card(tmp_path / "card")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "jay").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="leads out of"):
        sort_into(tmp_path / "out", answers, "these", "move")
    assert list((tmp_path / "elsewhere").iterdir()) == [] and files(tmp_path / "card") == originals()


@pytest.mark.parametrize(
    "line",
    [
        {"n": 0, "from": "/a", "to": "../b", "image": "a"},
        {"n": 0, "from": "/a", "to": "/b", "image": "a"},
        {"n": 7, "from": "/a", "to": "b", "image": "a"},
        {"folder": ".."},
        {"done": 0},
        {"done": -1},
        {"odd": 0},
        {},
        [1],
    ],
)
def test_a_log_that_is_none_is_refused(tmp_path: Path, line: object) -> None:
    head = {"log": "tlaam sorting", "version": 1, "mode": "move", "answers": "these"}
    (tmp_path / "sorted-001.jsonl").write_text(json.dumps(head) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(RunError, match="line 2 is damaged"):
        undo(tmp_path / "sorted-001.jsonl")


@pytest.mark.parametrize("content", ["", "x\n", "{}\n", '{"log": "tlaam sorting", "version": 2}\n'])
def test_another_file_is_no_log(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(RunError, match=r"a\.jsonl is no log"):
        undo(tmp_path / "a.jsonl")


def test_a_last_line_that_was_cut_off_counts_as_not_written(tmp_path: Path) -> None:
    answers = card(tmp_path / "card")
    log = sort_into(tmp_path / "out", answers, "these", "move").log
    whole = log.read_bytes()
    log.write_bytes(whole[:-3])
    assert [entry.state for entry in read_log(log).entries] == ["done", "done", "done", "meant"]
    assert sort_into(tmp_path / "out", answers, "these", "move").photographs == 3
    assert log.read_bytes() == whole


def test_links_across_disks_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(RunError, match="Leave --link out"):
        sort_into(tmp_path / "out", card(tmp_path / "card"), "these", "link")
