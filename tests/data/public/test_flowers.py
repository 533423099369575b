from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tlaam.data.check import check
from tlaam.data.open import open_dataset
from tlaam.data.public.flowers import is_flowers, read_flowers
from tlaam.errors import DataError


def _write(root: Path, labels: Any = (77, 2, 77, 2, 77), **splits: Any) -> Path:
    """Write the lists as the official ones are: rows of numbers."""
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "imagelabels.mat", {"labels": np.array([labels])})
    chosen = {"trnid": [4, 1], "valid": [2], "tstid": [5, 3]} | splits
    savemat(root / "setid.mat", {name: np.array([numbers]) for name, numbers in chosen.items() if numbers is not None})
    return root


def test_the_lists(tmp_path: Path) -> None:
    root = _write(tmp_path / "flowers-102")
    images = read_flowers(root)
    assert (images.name, images.kind, images.root) == ("flowers-102", "flowers", root)
    assert images.classes == ("002", "077")
    assert [(s.name, s.label, s.split) for s in images.samples] == [
        ("jpg/image_00004.jpg", 0, "train"),
        ("jpg/image_00001.jpg", 1, "train"),
        ("jpg/image_00002.jpg", 0, "val"),
        ("jpg/image_00005.jpg", 1, "test"),
        ("jpg/image_00003.jpg", 1, "test"),
    ]
    assert all(s.path == root / s.name and s.box is None for s in images.samples)
    assert read_flowers(tmp_path) == open_dataset(root) == open_dataset(tmp_path) == images
    assert is_flowers(root) and is_flowers(tmp_path) and not is_flowers(tmp_path / "absent")


def test_names_where_there_are_some(tmp_path: Path) -> None:
    root = _write(tmp_path)
    (root / "cat_to_name.json").write_text(json.dumps({"2": "hard-leaved pocket orchid", "1": "pink primrose"}))
    assert read_flowers(root).classes == ("hard-leaved pocket orchid", "077")
    for text in ('{"2": 5}', "[]", "{"):
        (root / "cat_to_name.json").write_text(text)
        with pytest.raises(DataError, match=r"cat_to_name\.json'.* Correct or remove it"):
            read_flowers(root)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"valid": [2, 9]}, "setid.mat' valid row 2: there is no image 9; 'imagelabels.mat' has labels of 5"),
        ({"valid": [0]}, "valid row 1: there is no image 0"),
        ({"tstid": [5, 4]}, r"tstid row 2: image 'jpg/image_00004.jpg' is listed already, in .*trnid row 1"),
        ({"tstid": [5, 3.5]}, "tstid row 2: '3.5' is not a whole number"),
        ({"tstid": None}, "setid.mat' has no variable 'tstid'"),
        ({"labels": [77, 2, 77, 2, np.nan]}, "imagelabels.mat' row 5: 'nan' is not a whole number"),
        ({"labels": [77, 2, 77, 2, 3]}, "Class '003'.*no training image"),
    ],
)
def test_faults_name_file_and_row(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_flowers(_write(tmp_path, **changes))


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    (_write(tmp_path) / "imagelabels.mat").unlink()
    with pytest.raises(DataError, match=r"looks like the 102 flowers, but 'imagelabels.mat' is missing"):
        open_dataset(tmp_path)


def test_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import Flowers102

    # It only takes the official lists, by their checksum; ours are made up, of all 102 classes.
    monkeypatch.setattr(Flowers102, "_check_integrity", lambda self: True)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(1, 103), 3))
    numbers = np.arange(1, len(labels) + 1)
    first = np.array([np.flatnonzero(labels == label)[0] + 1 for label in range(1, 103)])
    others = np.setdiff1d(numbers, first)
    root = _write(tmp_path / "flowers-102", labels, trnid=first, valid=others[:99], tstid=others[99:])
    images = open_dataset(root)
    assert len(images.classes) == 102 and images.classes[0] == "001" and images.classes[-1] == "102"
    for split in ("train", "val", "test"):
        reference = Flowers102(tmp_path, split=split)
        ours = [(sample.path, sample.label) for sample in images.split(split)]  # type: ignore[arg-type]
        assert ours == list(zip(reference._image_files, reference._labels, strict=True))


def test_check(tmp_path: Path) -> None:
    images = open_dataset(_write(tmp_path))
    (tmp_path / "jpg").mkdir()
    for seed, sample in enumerate(images.samples):
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(sample.path)
    report = check(tmp_path)
    assert report.findings == () and report.refusal is None
    assert report.images == {"train": 2, "val": 1, "test": 2}
