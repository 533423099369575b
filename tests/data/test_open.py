from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import tlaam.data.synthetic
from tlaam.data.open import is_labelled, open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.errors import ConfigError, DataError


def _fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "JPEG")
    return root


def _manifest(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("image,label\nimages/1.jpg,x\nimages/2.jpg,y\n")
    return path


def _cub(root: Path) -> Path:
    root.mkdir(parents=True)
    (root / "images.txt").write_text("1 a/1.jpg\n2 b/2.jpg\n")
    (root / "image_class_labels.txt").write_text("1 1\n2 2\n")
    (root / "train_test_split.txt").write_text("1 1\n2 1\n")
    (root / "classes.txt").write_text("1 a\n2 b\n")
    return root


def test_each_layout_is_recognised(tmp_path: Path) -> None:
    _manifest(tmp_path / "one" / "annotations.csv")
    _fill(tmp_path / "one", "images/1.jpg", "images/2.jpg")
    _cub(tmp_path / "cub" / "CUB_200_2011")
    _fill(tmp_path / "cub" / "CUB_200_2011", "images/a/1.jpg", "images/b/2.jpg")
    kinds = {
        _manifest(tmp_path / "any name.CSV"): "manifest",
        tmp_path / "one": "manifest",
        tmp_path / "cub": "cub",
        tmp_path / "cub" / "CUB_200_2011": "cub",
        _fill(tmp_path / "flat", "a/1.jpg", "b/deep/2.jpg"): "folder",
        _fill(tmp_path / "splits", "train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg"): "folder",
    }
    for path, kind in kinds.items():
        assert open_dataset(path).kind == open_dataset(str(path)).kind == kind


def test_home_and_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path / "birds", "a/1.jpg", "b/1.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_dataset("~/birds").name == "birds"
    monkeypatch.chdir(tmp_path / "birds")
    assert open_dataset(".").name == "birds"


def test_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = LabelledImages("synthetic", tmp_path, "synthetic", ("a", "b"), ())
    monkeypatch.setattr(tlaam.data.synthetic, "synthetic_images", lambda options: drawn, raising=False)
    monkeypatch.chdir(tmp_path)
    assert open_dataset("synthetic") is drawn
    assert open_dataset("synthetic:classes=3") is drawn
    with pytest.raises(ConfigError, match="Did you mean 'classes'"):
        open_dataset("synthetic:clases=3")
    _fill(tmp_path / "synthetic", "a/1.jpg", "b/1.jpg")
    assert open_dataset("synthetic").kind == "folder"


def test_options_behind_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path / "birds", "a/1.jpg", "b/1.jpg")
    with pytest.raises(ConfigError, match=r"'birds': unknown option 'level=family'; allowed are depth=1, depth=2, "):
        open_dataset("birds:level=family")
    with pytest.raises(DataError, match=r"no file or folder 'bird'.*Did you mean 'birds'"):
        open_dataset("bird:level=family")
    (tmp_path / "planes" / "data").mkdir(parents=True)
    (tmp_path / "planes" / "data" / "variants.txt").write_text("a\nb\n")
    allowed = r"'planes': unknown option 'level=famly'; allowed are level=variant, level=family, .*mean 'level=family'"
    with pytest.raises(ConfigError, match=allowed):
        open_dataset("planes:level=famly")
    _fill(tmp_path / "birds:level=family", "a/1.jpg", "b/1.jpg", "c/1.jpg")  # what exists is what is meant
    assert len(open_dataset("birds:level=family").classes) == 3


def test_of_several_data_sets_side_by_side_none_is_chosen(tmp_path: Path) -> None:
    _cub(tmp_path / "CUB_200_2011")
    assert open_dataset(tmp_path).kind == "cub"
    (tmp_path / "fgvc-aircraft-2013b" / "data").mkdir(parents=True)
    (tmp_path / "fgvc-aircraft-2013b" / "data" / "variants.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"several data sets: CUB_200_2011, fgvc-aircraft-2013b\. Give the path of one"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("birdz", r"no file or folder 'birdz'.*Did you mean 'birds'"),
        ("birds/pets.csw", r"Did you mean 'birds/pets.csv'"),
        ("nowhere/at/all", r"'nowhere' does not exist"),
        ("sinthetic", r"Did you mean 'synthetic'"),
        ("synthetic_birds", r"no file or folder"),
    ],
)
def test_a_missing_path_names_the_closest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _manifest(tmp_path / "birds" / "pets.csv")
    with pytest.raises(DataError, match=fault):
        open_dataset(source)


@pytest.mark.usefixtures("without_heif")
@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (["1.jpg", "2.jpg", "notes.txt"], r"a folder with 2 images and no class folders; expected one of: synthetic"),
        (["1.jpg", "data.csv"], r"1 image, no class folders and the table 'data.csv'"),
        (["docs/readme.txt"], r"no images and 1 folder without images"),
        ([], r"no images and no class folders"),
        (
            ["a/1.heic", "b/2.HEIC", "b/3.dng"],
            r"1 file of type \.dng and 2 files of type \.heic cannot be read; convert",
        ),
        (["1.heic"], r"no class folders \(1 file of type \.heic cannot be read"),
        (["manifest.csv", "annotations.csv"], r"holds both 'manifest.csv' and 'annotations.csv'"),
        (["birds/images.txt", "pets/a/1.jpg"], r"holds a data set of its own, 'birds'.*Give the path"),
        (["birds/train/a/1.jpg"], r"holds a data set of its own, 'birds'"),
        (["planes/data/variants.txt", "planes/data/images/1.jpg"], r"holds a data set of its own, 'planes'"),
        (["flowers/setid.mat", "flowers/jpg/1.jpg"], r"holds a data set of its own, 'flowers'"),
        (
            ["data/b/CUB_200_2011/images.txt", "data/b/CUB_200_2011/images/x/1.jpg", "photos/a/1.jpg"],
            r"'data/b/CUB_200_2011' \(CUB-200-2011's official layout\)\. Give the path '.*data/b/CUB_200_2011'",
        ),
        (
            ["data/cars_annos.mat", "data/car_ims/1.jpg", "birds/train/a/1.jpg", "photos/a/1.jpg"],
            r"holds data sets of its own, 'birds', 'data' \(Stanford Cars' official layout\)\. Give the path of one",
        ),
    ],
)
def test_what_was_found_is_said(tmp_path: Path, files: list[str], fault: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(DataError, match=fault):
        open_dataset(tmp_path)


def test_a_file_that_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a file that is no CSV manifest.*'.jpg'"):
        open_dataset(_fill(tmp_path, "1.jpg") / "1.jpg")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        open_dataset(tmp_path)


def test_reading_needs_no_torch() -> None:
    modules = "tlaam.data.images, tlaam.data.open, tlaam.data.split, tlaam.data.check"
    code = f"import sys, {modules}; assert not {{'torch', 'timm', 'torchvision', 'pandas'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_sources(shared_data: Path) -> None:
    kinds = {"cub10": "cub", "cars196": "manifest", "flowers17": "folder"}
    assert {name: open_dataset(shared_data / name).kind for name in kinds} == kinds
    with pytest.raises(DataError, match=r"data sets of its own, 'cars196', 'cub10/CUB_200_2011' \(CUB"):
        open_dataset(shared_data)


def test_leniently_every_layout_keeps_what_check_lists(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "folder", "a/1.jpg", "b/1.jpg")
    (folder / "c").mkdir()
    table = _manifest(tmp_path / "m.csv")
    table.write_text("image,label,x_min,y_min,x_max,y_max\n1.jpg,x,5,0,1,1\n2.jpg,y,0,0,1,1\n")
    cub = _cub(tmp_path / "CUB_200_2011")
    (cub / "bounding_boxes.txt").write_text("1 0 0 0 0\n")
    for source in (folder, table, cub):
        with pytest.raises(DataError):
            open_dataset(source)
        assert len(open_dataset(source, strict=False).samples) == 2
    with pytest.raises(DataError, match="expected one of"):
        open_dataset(_fill(tmp_path / "loose", "1.jpg"), strict=False)


def test_the_home_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot open '~nobody-of-this-name/photos': there is no such user"):
        open_dataset("~nobody-of-this-name/photos")


def test_what_is_a_data_set_and_what_images_alone(tmp_path: Path) -> None:
    (tmp_path / "classes" / "jay").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "classes" / "jay" / "a.png")
    (tmp_path / "images.csv").write_text("image\na.png\n")
    (tmp_path / "labels.csv").write_text("image,label\na.png,jay\n")
    for source in ("classes", "labels.csv", "classes:depth=1", "gone:level=family"):
        assert is_labelled(tmp_path / source), source
    for source in ("classes/jay", "classes/jay/a.png", "images.csv", "gone", "*.png"):
        assert not is_labelled(tmp_path / source), source
    assert is_labelled("synthetic") and is_labelled("synthetic:classes=3") and is_labelled("~nobody-of-this-name/a")
