"""Answers for training images by models that had not seen them, kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlaam.errors import RunError
from tlaam.runs.folder import RunFolder
from tlaam.runs.out_of_fold import OutOfFold, read_out_of_fold, write_out_of_fold
from tlaam.taxonomy.shares import SharedAnswers
from tlaam.utils.checksums import TRAILER_SIZE, trailer

ANSWERS = OutOfFold(
    names=("crow/0.jpg", "jay\udcff/1.jpg", "jay/2.jpg"),
    labels=np.array([0, 1, 1]),
    predicted=np.array([0, 0, 1]),
    score=np.array([0.75, 0.5, 0.25], np.float32),
    known=np.array([True, False, True]),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).out_of_fold
    write_out_of_fold(path, ANSWERS)
    found = read_out_of_fold(path)
    assert path.name == "out_of_fold.npz" and found.names == ANSWERS.names
    assert found.shared is None and found.held_out() is None
    for name, array in ANSWERS._asdict().items():
        if name not in ("names", "shared"):
            np.testing.assert_array_equal(getattr(found, name), array)
            assert getattr(found, name).dtype == array.dtype
    with np.load(path, allow_pickle=False) as arrays:  # anybody's NumPy reads it
        assert arrays["score"].tolist() == [0.75, 0.5, 0.25]
    write_out_of_fold(path, OutOfFold((), *(getattr(ANSWERS, name)[:0] for name in OutOfFold._fields[1:5])))
    assert read_out_of_fold(path).names == ()


def test_the_most_probable_classes_are_kept_too(tmp_path: Path) -> None:
    path = tmp_path / "out_of_fold.npz"
    shared = SharedAnswers(np.array([[0, 2], [0, 1], [1, 0]]), np.array([[49151, 9], [32767, 0], [16383, 4]]))
    write_out_of_fold(path, ANSWERS._replace(shared=shared))
    found = read_out_of_fold(path)
    assert found.shared is not None and found.predicted.tolist() == [0, 0, 1]
    assert found.shared.classes.tolist() == [[0, 2], [0, 1], [1, 0]]
    assert found.shared.shares.tolist() == [[49151, 9], [32767, 0], [16383, 4]]
    held_out = found.held_out()
    assert held_out is not None and held_out.labels.tolist() == [0, 1], "of the second nothing is known"
    assert held_out.answers.shares.tolist() == [[49151, 9], [16383, 4]]


@pytest.mark.parametrize(
    "classes, shares",
    [([[0, 0]] * 3, [[1, 1]] * 3), ([[0, 1]] * 3, [[65535, 1]] * 3), ([[1, 0]] * 3, [[3, 1]] * 3)],
    ids=["a class twice", "more than a whole", "another answer"],
)
def test_shares_that_are_none_are_refused(tmp_path: Path, classes: Any, shares: Any) -> None:
    path = tmp_path / "out_of_fold.npz"
    whole = SharedAnswers(np.array([[0, 2], [0, 1], [1, 0]]), np.zeros((3, 2), int))
    write_out_of_fold(path, ANSWERS._replace(shared=whole))
    with pytest.raises(ValueError, match=r"twice|whole|others"):
        write_out_of_fold(path, ANSWERS._replace(shared=SharedAnswers(np.array(classes), np.array(shares))))
    assert read_out_of_fold(path).shared is not None, "what was there is there"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda c: bytes([c[0] ^ 1]) + c[1:],
    "cut": lambda c: c[:-1],
    "empty": lambda c: b"",
    "another file": lambda c: b"no archive" + trailer(b"no archive"),
    "no checksum": lambda c: c[:-TRAILER_SIZE],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_plain_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "out_of_fold.npz"
    write_out_of_fold(path, ANSWERS)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(RunError, match=r"out_of_fold\.npz is damaged .*remove it") as caught:
        read_out_of_fold(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read: No such file"):
        read_out_of_fold(tmp_path / "out_of_fold.npz")
    with pytest.raises(RunError, match="cannot be read: Is a directory"):
        read_out_of_fold(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("crow/0.jpg",)}, "not equally long"),
        ({"labels": np.array([0, 1])}, "not equally long"),
        ({"predicted": np.array([0, -1, 1])}, "a class is none"),
        ({"score": np.array([0.5, 0.5, np.nan])}, "no probability"),
        ({"score": np.array([0.5, 0.5, 12.0])}, "no probability"),
    ],
)
def test_what_is_no_answer_is_not_written(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_out_of_fold(tmp_path / "out_of_fold.npz", ANSWERS._replace(**change))
    assert list(tmp_path.iterdir()) == []
