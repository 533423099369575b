from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tlaam.data.folder import read_folder, unsupported_files
from tlaam.data.sample import LabelledImages
from tlaam.errors import DataError


def _fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "JPEG")
    return root


def _names(images: LabelledImages) -> list[str]:
    return [sample.name for sample in images.samples]


def test_flat_folders_are_all_training_images(tmp_path: Path) -> None:
    images = read_folder(_fill(tmp_path / "birds", "wren/2.jpg", "wren/1.JPEG", "finch/a.png"))
    assert (images.name, images.kind, images.root) == ("birds", "folder", tmp_path / "birds")
    assert images.classes == ("finch", "wren")
    assert _names(images) == ["finch/a.png", "wren/1.JPEG", "wren/2.jpg"]
    assert [sample.label for sample in images.samples] == [0, 1, 1]
    assert all(sample.split == "train" and sample.path == images.root / sample.name for sample in images.samples)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val", "dev"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    _fill(tmp_path, "train/b/1.jpg", "train/a/1.jpg", "train/c/1.jpg", f"{validation}/a/2.jpg", "test/b/3.jpg")
    images = read_folder(tmp_path)
    assert images.classes == ("a", "b", "c")
    found = [(sample.name, sample.split, images.classes[sample.label]) for sample in images.samples]
    assert found == [
        ("train/a/1.jpg", "train", "a"),
        ("train/b/1.jpg", "train", "b"),
        ("train/c/1.jpg", "train", "c"),
        (f"{validation}/a/2.jpg", "val", "a"),
        ("test/b/3.jpg", "test", "b"),
    ]


def test_other_names_of_the_splits(tmp_path: Path) -> None:
    images = read_folder(_fill(tmp_path, "Training/a/1.jpg", "Training/b/1.jpg", "testing/b/3.jpg"))
    assert images.classes == ("a", "b")
    assert [sample.split for sample in images.samples] == ["train", "train", "test"]


def test_nested_images_are_found_and_other_files_ignored(tmp_path: Path) -> None:
    _fill(tmp_path, "a/x/y/1.jpg", "a/2.jpg", "b/1.jpg", "b/.hidden.jpg", ".git/1.jpg", "b/.cache/1.jpg", "cover.jpg")
    _fill(tmp_path, "__MACOSX/b/1.jpg")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    assert _names(read_folder(tmp_path)) == ["a/2.jpg", "a/x/y/1.jpg", "b/1.jpg"]


def test_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    for root, order in ((tmp_path / "one", "cab"), (tmp_path / "two", "bca")):
        _fill(root, *(f"{folder}/{file}.jpg" for folder in order for file in order))
    assert _names(read_folder(tmp_path / "one")) == _names(read_folder(tmp_path / "two"))


def test_classes_called_train_or_test_stay_classes(tmp_path: Path) -> None:
    images = read_folder(_fill(tmp_path, "train/1.jpg", "plane/1.jpg", "car/1.jpg"))
    assert images.classes == ("car", "plane", "train")


@pytest.mark.usefixtures("without_heif")
@pytest.mark.parametrize("prefix", ["", "train/", "test/"])
def test_an_empty_class_is_named(tmp_path: Path, prefix: str) -> None:
    root = _fill(tmp_path, *(f"{split}{name}/1.jpg" for split in {prefix, prefix and "train/"} for name in "ab"))
    (root / prefix / "empty_one" / "nested").mkdir(parents=True)
    (root / prefix / "empty_one" / "notes.txt").write_bytes(b"x")
    with pytest.raises(DataError, match=r"empty_one.*holds no image.*\.jpg"):
        read_folder(root)
    (root / prefix / "empty_one" / "raw.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match=r"empty_one.*only 1 file of type \.heic. Convert"):
        read_folder(root)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only one class, 'lonely'"):
        read_folder(_fill(tmp_path, "lonely/1.jpg"))


@pytest.mark.parametrize(("prefix", "answer"), [("photos", "photos"), ("data/photos", "data/photos")])
def test_one_class_that_holds_the_classes(tmp_path: Path, prefix: str, answer: str) -> None:
    _fill(tmp_path, f"{prefix}/a/1.jpg", f"{prefix}/b/1.jpg")
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)
    assert str(caught.value).endswith(f"give the path '{tmp_path / answer}'.")
    assert read_folder(tmp_path / answer).classes == ("a", "b")


def test_one_class_with_images_in_deeper_folders_has_no_such_hint(tmp_path: Path) -> None:
    _fill(tmp_path, "lonely/1.jpg", "lonely/more/2.jpg", "lonely/others/3.jpg")
    with pytest.raises(DataError, match="needs at least two"):
        read_folder(tmp_path)


@pytest.mark.usefixtures("without_heif")
def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    _fill(tmp_path, "a/1.jpg", "a/2.HEIC", "a/deep/3.heic", "b/4.nef", "b/.5.heic", "__MACOSX/6.heic", "notes.txt")
    assert unsupported_files(tmp_path) == {}  # they are JPEG files
    for path in (*tmp_path.rglob("*.[hH][eE][iI][cC]"), tmp_path / "b" / "4.nef"):
        path.write_bytes(b"\0\0\0\x18ftypheic" if path.suffix != ".nef" else b"II*\0")
    assert unsupported_files(tmp_path) == {".heic": 2, ".nef": 1}
    assert unsupported_files(tmp_path / "a" / "deep") == {".heic": 1}


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_without_training_images_is_named(tmp_path: Path, split: str) -> None:
    _fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{split}/late/1.jpg")
    with pytest.raises(DataError, match=rf"'late'.*no training image.*{split}"):
        read_folder(tmp_path)


def test_a_test_split_alone_can_be_evaluated(tmp_path: Path) -> None:
    images = read_folder(_fill(tmp_path, "test/a/1.jpg", "test/b/1.jpg"))
    assert [sample.split for sample in images.samples] == ["test", "test"]


def test_images_outside_class_folders_of_a_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"val' holds images outside class folders"):
        read_folder(_fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/2.jpg"))


def test_a_misspelt_split_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tests' holds images beside.*Did you mean 'test'"):
        read_folder(_fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "tests/a/1.jpg"))


def test_two_names_of_one_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both name the val split"):
        read_folder(_fill(tmp_path, "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"))


def test_no_folder_and_no_class_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        read_folder(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no class folders"):
        read_folder(_fill(tmp_path, "1.jpg"))


def test_links(tmp_path: Path) -> None:
    root = _fill(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    _fill(tmp_path / "elsewhere", "c/1.jpg")
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "a" / "again").symlink_to(root / "a")  # leads back: its images are not counted twice
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b" / "self")
    (root / "b" / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    names = _names(read_folder(root))
    assert len([name for name in names if name.startswith("a/") and "up/" not in name]) == 1
    assert "b/dangling.jpg" in names  # to be reported as unreadable, not overlooked
    assert "c/1.jpg" in names


def test_a_pipe_is_listed_but_not_opened(tmp_path: Path) -> None:
    root = _fill(tmp_path, "a/1.jpg", "b/1.jpg")
    os.mkfifo(root / "b" / "pipe.jpg")
    assert "b/pipe.jpg" in _names(read_folder(root))


def test_odd_names(tmp_path: Path) -> None:
    root = _fill(tmp_path, "Œdicnème criard/1 .jpg", "a, b;'\"/x\ty.jpg")
    assert read_folder(root).classes == ("a, b;'\"", "Œdicnème criard")


def test_flowers17(shared_data: Path) -> None:
    images = read_folder(shared_data / "flowers17")
    assert (len(images.classes), len(images.split("train")), len(images.split("test"))) == (17, 680, 680)
    assert images.split("val") == ()


def test_leniently_empty_and_single_classes_are_kept(tmp_path: Path) -> None:
    root = _fill(tmp_path / "some", "a/1.jpg")
    (root / "b").mkdir()
    images = read_folder(root, strict=False)
    assert images.classes == ("a", "b") and _names(images) == ["a/1.jpg"]
    assert read_folder(_fill(tmp_path / "one", "a/1.jpg"), strict=False).classes == ("a",)
    with pytest.raises(DataError, match="holds no class folders"):
        read_folder(_fill(tmp_path / "none", "1.jpg"), strict=False)
