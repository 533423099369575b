"""Tables of 0 and 1 in the folders of splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_files import photographs, read, said, written

from tlaam.data.open import open_dataset
from tlaam.errors import DataError


def exported(root: Path, last: str = "jay2.jpg, 0, 1\n") -> Path:
    photographs(root / "train", ["crow1.jpg", "jay1.jpg"])
    photographs(root / "valid", ["crow2.jpg", "jay2.jpg"])
    written(root / "train" / "_classes.csv", "filename, Crow, Jay\ncrow1.jpg, 1, 0\njay1.jpg, 0, 1\n")
    written(root / "valid" / "_classes.csv", f"filename, Crow, Jay\ncrow2.jpg, 1, 0\n{last}")
    return root


def test_each_row_marks_one_class(tmp_path: Path) -> None:
    assert read(exported(tmp_path)) == {
        "train/crow1.jpg": ("Crow", "train", None),
        "train/jay1.jpg": ("Jay", "train", None),
        "valid/crow2.jpg": ("Crow", "val", None),
        "valid/jay2.jpg": ("Jay", "val", None),
    }
    images = open_dataset(tmp_path)
    assert all(s.path.is_file() for s in images.samples) and said(images, "'Crow', 'Jay' are read as classes")
    alone = open_dataset(tmp_path / "train")
    assert (alone.kind, alone.classes, alone.name) == ("manifest", ("Crow", "Jay"), "train")


@pytest.mark.parametrize(("row", "fault"), [
    ("jay2.jpg, 1, 1\n", "line 3: of the classes' columns 'Crow', 'Jay' hold 1"),
    ("jay2.jpg, 0, 0\n", "line 3: of the classes' columns none hold 1"),
    ("jay2.jpg, 0.2, 0.8\n", "'crow', 'jay' hold fractions"),
])  # fmt: skip
def test_rows_of_several_none_and_of_probabilities_are_refused(tmp_path: Path, row: str, fault: str) -> None:
    with pytest.raises(DataError) as error:
        open_dataset(exported(tmp_path, row))
    assert fault in str(error.value) and "_classes.csv" in str(error.value)
