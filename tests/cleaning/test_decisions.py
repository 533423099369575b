"""Decisions: applied as they are meant; what is stale or hostile is refused in one line, and nothing written."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tlaam
from tlaam.cleaning.clean import apply_decisions
from tlaam.cleaning.decisions import COLUMNS
from tlaam.cli.main import main
from tlaam.data.sample import LabelledImages
from tlaam.errors import DataError


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """A manifest of two classes, with splits, a group, boxes, and a name that a spreadsheet would compute."""
    (tmp_path / "data").mkdir()
    lines = ["image,label,split,group,x_min,y_min,x_max,y_max"]
    for number, (label, split) in enumerate([("crow", "train"), ("jay", "train"), ("crow", "test")] * 2):
        name = f"=a{number}.png" if number == 3 else f"{number}.png"
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / "data" / name)
        lines.append(f"{name},{label},{split},{'nest' if number < 2 else ''},{'1,2,9.5,8' if number == 1 else ',,,'}")
    (tmp_path / "data" / "all.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data" / "all.csv"


def with_extra() -> None:
    """Skip where the command cannot be called; what it does is tested without it, too."""
    pytest.importorskip("imagehash")
    pytest.importorskip("faiss")


def decisions(birds: Path, *rows: tuple[str, str, str, str], data: str | None = None) -> Path:
    path = birds.parent.parent / "decisions.csv"
    data = tlaam.open_dataset(birds).fingerprint() if data is None else data
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *((*row, data) for row in rows)])
    return path


def test_decisions_make_a_manifest_that_can_be_trained_on(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_extra()
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in birds.parent.iterdir()}
    path = decisions(
        birds, ("0.png", "crow", "keep", ""), ("1.png", "jay", "unsure", ""), ("4.png", "jay", "relabel", "crow"),
        ("2.png", "crow", "remove", ""), ("'=a3.png", "crow", "keep", ""),
    )  # fmt: skip
    out = birds.parent.parent / "cleaned" / "new.csv"
    out.parent.mkdir()
    out.with_name(".new.csv.1.trial.csv").write_text("left by a process that was killed")
    assert main(["clean", str(birds), "--apply", str(path), "--manifest", str(out)]) == 0
    assert "new.csv: 5 images, 1 with another label, 1 removed" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["new.csv"]
    was, now = tlaam.open_dataset(birds), tlaam.open_dataset(out)
    assert [(Path(s.name).name, now.classes[s.label], s.split) for s in now.samples] == [
        ("0.png", "crow", "train"), ("1.png", "jay", "train"), ("=a3.png", "crow", "train"), ("4.png", "crow", "train"),
        ("5.png", "crow", "test"),
    ]  # fmt: skip
    assert [s.group for s in now.samples[:3]] == ["nest", "nest", None]
    assert now.samples[1].box == was.samples[1].box == (1.0, 2.0, 9.5, 8.0)
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in birds.parent.iterdir()}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("0.png", "crow", "relabel", "jya"), "line 2: there is no class 'jya'. Did you mean 'jay'?"),
        (("0.png", "jay", "keep", ""), "line 2: image '0.png' has another label"),
        (("../../etc/passwd", "crow", "remove", ""), "is not in the data"),
        (("0.png", "crow", "delete", ""), "decision 'delete' is none of keep, relabel, remove, unsure"),
        (("0.png", "crow", "relabel", ""), "new_label is '', but the decision is relabel"),
        (("0.png", "crow", "keep", "jay"), "new_label is 'jay', but the decision is keep"),
        (("x" * 5000, "crow", "keep", ""), "is not in the data"),
    ],
)
def test_decisions_that_fit_nothing_are_refused(birds: Path, row: tuple[str, str, str, str], words: str) -> None:
    out = birds.parent.parent / "new.csv"
    with pytest.raises(DataError) as caught:
        apply_decisions(birds, decisions(birds, row), out)
    assert words in str(caught.value)
    assert not out.exists() and "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_decisions_on_other_data_are_refused(birds: Path) -> None:
    path = decisions(birds, ("0.png", "crow", "remove", ""))
    birds.write_text(birds.read_text().replace("5.png,crow", "5.png,jay"))
    with pytest.raises(
        DataError, match=r"line 2: it was decided on other data, or before .* changed; run tlaam clean again"
    ):
        apply_decisions(birds, path, birds.parent.parent / "new.csv")


def test_two_decisions_on_one_image_are_refused_unless_they_are_one(birds: Path) -> None:
    twice = [("0.png", "crow", "keep", "")] * 2
    assert apply_decisions(birds, decisions(birds, *twice), birds.parent / "new.csv").result.removed == 0
    with pytest.raises(DataError, match=r"line 3: image '0\.png' was decided otherwise in line 2"):
        apply_decisions(birds, decisions(birds, twice[0], ("0.png", "crow", "remove", "")), birds.parent / "new.csv")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"image,label\n0.png,crow\n", b'image,label,decision,new_label,data\n"open', b"\x00" * 100,
     b"image,label,decision,new_label,data\n0.png\n"],
)  # fmt: skip
def test_other_files_are_refused(birds: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with_extra()
    path = birds.parent.parent / "decisions.csv"
    path.write_bytes(content)
    out = birds.parent.parent / "new.csv"
    assert main(["clean", str(birds), "--apply", str(path), "--manifest", str(out)]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()


def test_mutated_decisions_are_read_or_refused(birds: Path) -> None:
    path = decisions(birds, ("0.png", "crow", "remove", ""), ("4.png", "jay", "relabel", "crow"))
    content, random, out = path.read_bytes(), np.random.default_rng(0), birds.parent.parent / "new.csv"
    refused = 0
    for _ in range(80):
        changed = bytearray(content)
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(len(changed)))
            changed[place : place + int(random.integers(0, 3))] = random.bytes(int(random.integers(0, 3)))
        path.write_bytes(bytes(changed))
        try:
            done = apply_decisions(birds, path, out)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert done.result.removed <= 1 and done.result.relabelled <= 1
    assert refused > 50


def test_a_class_is_not_left_to_be_tested_alone(birds: Path) -> None:
    rows = [("1.png", "jay", "remove", ""), ("4.png", "jay", "remove", "")]
    with pytest.raises(DataError, match="fewer than two classes"):
        apply_decisions(birds, decisions(birds, *rows), birds.parent / "new.csv")


@pytest.mark.parametrize(
    ("name", "words"), [("0.png", "no name of a manifest"), ("all.csv", "belongs to the data itself")]
)
def test_no_file_of_the_data_is_written_over(birds: Path, name: str, words: str) -> None:
    before = (birds.parent / name).read_bytes()
    with pytest.raises(DataError, match=words):
        apply_decisions(birds, decisions(birds, ("0.png", "crow", "keep", "")), birds.parent / name)
    assert (birds.parent / name).read_bytes() == before


def test_only_a_manifest_is_written_over(birds: Path) -> None:
    made = decisions(birds, ("0.png", "crow", "keep", ""))
    notes, cleaned = birds.parent / "notes.csv", birds.parent / "cleaned.csv"
    notes.write_text("mine\n")
    for file in (made, notes):
        before = file.read_bytes()
        with pytest.raises(DataError, match="is no manifest of tlaam; give another name"):
            apply_decisions(birds, made, file)
        assert file.read_bytes() == before
    apply_decisions(birds, made, cleaned)
    apply_decisions(birds, made, cleaned)
    assert cleaned.read_text().startswith("image,label,split,group,")


def test_images_in_a_container_have_no_manifest(tmp_path: Path, photos: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(photos, "photos")
    images: LabelledImages = tlaam.open_dataset(tmp_path / "photos.tar")
    path = tmp_path / "decisions.csv"
    path.write_text(",".join(COLUMNS) + f"\n{images.samples[0].name},crow,remove,,{images.fingerprint()}\n")
    with pytest.raises(DataError, match="where no manifest can name them; unpack it"):
        apply_decisions(images, path, tmp_path / "new.csv")


def test_apply_and_manifest_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    with_extra()
    assert main(["clean", "birds", "--apply", "d.csv"]) == 2
    assert main(["clean", "birds"]) == 2
    assert "go together" in capsys.readouterr().err
