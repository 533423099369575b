from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packed_images import as_parquet, class_folders, picture, table_of

from tlaam.data.check import check
from tlaam.data.container import IMAGES, kept_of
from tlaam.data.labels import sorted_labels
from tlaam.data.open import open_dataset
from tlaam.errors import ConfigError, DataError, MissingPackageError

pa = pytest.importorskip("pyarrow")

IMAGE = [picture(n) for n in range(6)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_shards_hold_what_the_folder_does(tmp_path: Path) -> None:
    folder = open_dataset(class_folders(tmp_path / "birds"))
    found = open_dataset(as_parquet(tmp_path / "birds", tmp_path / "hub"))
    assert (found.kind, found.name, found.classes) == ("parquet", "hub", ("crow", "jay"))
    assert [(s.label, s.split) for s in found.samples] == [(s.label, s.split) for s in folder.samples]
    for ours, theirs in zip(found.samples, folder.samples, strict=True):
        assert ours.source.read() == theirs.path.read_bytes()  # type: ignore[union-attr]
        np.testing.assert_array_equal(np.asarray(ours.picture()), np.asarray(theirs.picture()))
    fifth = found.samples[4]
    assert fifth.name == "data/train-00000-of-00001.parquet/4"
    assert str(fifth.source) == f"{tmp_path}/hub/data/train-00000-of-00001.parquet/4"
    assert not any("Not read" in note for note in found.notes)
    counts = check(tmp_path / "hub").counts
    assert {kind: number for kind, number in counts.items() if number} == {}


@pytest.mark.parametrize("options", [
    {"compression": "none"}, {"compression": "zstd", "row_group_size": 1}, {"use_dictionary": False},
    {"data_page_size": 64, "row_group_size": 5}, {"version": "1.0"},
])  # fmt: skip
@pytest.mark.parametrize("kind", ["binary", "large_binary", "struct"])
def test_any_encoding_gives_the_same_bytes(tmp_path: Path, options: dict[str, object], kind: str) -> None:
    images = [IMAGE[0], None, IMAGE[1], IMAGE[1], b"", IMAGE[2]]
    if kind == "struct":
        column = pa.array([*({"bytes": image, "path": "x.png"} for image in images[:5]), None], None)
        images[5] = None
    else:
        column = pa.array(images, kind)
    path = table_of(tmp_path / "x.parquet", {"image": column, "label": list("ababab")}, **options)
    found = open_dataset(path)
    assert [sample.source.read() for sample in found.samples] == [image or b"" for image in images]  # type: ignore[union-attr]
    assert [found.classes[sample.label] for sample in found.samples] == list("ababab")


def test_labels_of_every_kind(tmp_path: Path) -> None:
    for number, (labels, names, expected) in enumerate([
        ([1, 0, 2, 1], {"label": ["jay", "crow", "tit", "unused"]}, ["crow", "jay", "tit", "crow"]),
        ([10, 9, 10, 9], None, ["10", "9", "10", "9"]),
        ([" crow", "jay", "jay", "crow"], None, ["crow", "jay", "jay", "crow"]),
        ([True, False, True, False], None, ["True", "False", "True", "False"]),
        (pa.array(["b", "a", "b", "a"]).dictionary_encode(), None, ["b", "a", "b", "a"]),
    ]):  # fmt: skip
        path = table_of(tmp_path / f"{number}.parquet", {"image": IMAGE[:4], "label": labels}, names)
        found = open_dataset(path)
        assert [found.classes[sample.label] for sample in found.samples] == expected
        assert found.classes == sorted_labels(set(expected))


def test_splits_and_groups_of_columns(tmp_path: Path) -> None:
    columns = {
        "image": IMAGE[:4], "label": ["a", "b", "a", "b"], "split": ["train", "", "Validation", None],
        "group": [7, 7, None, 8], "note": [1.0] * 4,
    }  # fmt: skip
    found = open_dataset(table_of(tmp_path / "x.parquet", columns))
    assert [sample.split for sample in found.samples] == ["train", "train", "val", "train"]
    assert [sample.group for sample in found.samples] == ["7", "7", None, "8"]
    assert "Not read: the column 'note'." in found.notes
    with pytest.raises(DataError, match="column 'split' holds 'trian'"):
        open_dataset(table_of(tmp_path / "y.parquet", {**columns, "split": ["train", "trian", "", ""]}))
    (tmp_path / "z").mkdir()
    with pytest.raises(DataError, match=r"train.parquet' is train by its name, but column 'split' says otherwise"):
        open_dataset(table_of(tmp_path / "z" / "train.parquet", columns).parent)


def test_splits_under_other_names(tmp_path: Path) -> None:
    columns = {"image": IMAGE[:4], "label": ["a", "b", "a", "b"]}
    for name, values, expected in (
        ("Subset", ["train", "Train", "dev", "test"], ["train", "train", "val", "test"]),
        ("is_test", [False, False, True, None], ["train", "train", "test", "train"]),
        ("used_for_val", [0, 0, 0, 1], ["train", "train", "train", "val"]),
        ("age", [3, 4, 5, 6], ["train"] * 4),
    ):
        path = table_of(tmp_path / f"{name}.parquet", {**columns, name: values})
        found = open_dataset(path)
        assert [sample.split for sample in found.samples] == expected
        taken = f"Taken for the splits: the column '{name.lower()}'." in found.notes
        assert taken == (name != "age")
        assert any("Not read" in note for note in found.notes) == (name == "age")
    path = table_of(tmp_path / "x.parquet", {**columns, "fold": [1, 2, 3, 4]})
    with pytest.raises(DataError, match=r"x.parquet': column 'fold' holds 1 to 4; which of them is which split"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("columns", "names", "fault"),
    [
        ({"image": IMAGE[:2], "fine": [0, 1], "coarse": [0, 1]}, {"fine": ["a", "b"], "coarse": ["c", "d"]},
         r"'fine', 'coarse' may be it. Write the one that is meant behind the path, as in 'x.parquet:label=fine'"),
        ({"image": IMAGE[:2], "kind": ["a", "b"]}, None, r"has no column 'label'; its columns are 'image', 'kind'"),
        ({"left": IMAGE[:2], "right": IMAGE[:2], "label": [0, 1]}, None, r"several columns of images, 'left', 'right'"),
        ({"image": ["a.jpg", "b.jpg"], "label": [0, 1]}, None, r"no column of images' bytes.*write a CSV manifest"),
        ({"image": IMAGE[:2], "label": [0.5, 1.0]}, None, r"no numbers or names of classes in column 'label', but d"),
        ({"image": IMAGE[:2], "label": [0, 2]}, {"label": ["a", "b"]}, r"row 1: column 'label' holds 2, but .* 2 cl"),
        ({"image": IMAGE[:2], "label": [0, -1]}, {"label": ["a", "b"]}, r"row 1: column 'label' holds no label"),
        ({"image": IMAGE[:2], "label": ["a", None]}, None, r"row 1: column 'label' holds no label"),
        ({"image": IMAGE[:2], "label": ["a", "nan"]}, None, r"row 1: column 'label' holds 'nan', which stands for no"),
        ({"image": IMAGE[:2], "label": ["a", "a"]}, None, r"has only one class, 'a'"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_missing_is_one_line(
    tmp_path: Path, columns: dict[str, list[object]], names: dict[str, list[str]] | None, fault: str
) -> None:
    path = table_of(tmp_path / "x.parquet", columns, names)
    with pytest.raises(DataError, match=fault) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_the_label_can_be_chosen(tmp_path: Path) -> None:
    names = {"fine": ["crow", "jay"], "coarse": ["bird", "beast"]}
    columns = {"img": IMAGE[:3], "fine": [0, 1, 0], "coarse": [0, 0, 1]}
    path = table_of(tmp_path / "x.parquet", columns, names)
    found = open_dataset(f"{path}:label=coarse")
    assert [found.classes[s.label] for s in found.samples] == ["bird", "bird", "beast"]
    assert found.option == "label=coarse"
    assert found.notes[:3] == (
        "Column 'img' is read as 'image'.", "Column 'coarse' is read as 'label'.", "Not read: the column 'fine'.",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"has no column 'course'.*Did you mean 'coarse'"):
        open_dataset(f"{path}:label=course")
    with pytest.raises(ConfigError, match=r"allowed are label=NAME"):
        open_dataset(f"{path}:depth=1")


def test_names_of_shards_say_the_split(tmp_path: Path) -> None:
    def shard(name: str) -> None:
        table_of(tmp_path / "d" / name, {"image": IMAGE[:2], "label": ["a", "b"]})

    for name in ("default/train/0000.parquet", "default/validation/0000.parquet", "default/test/0000.parquet"):
        shard(name)
    assert [s.split for s in open_dataset(tmp_path / "d").samples] == ["test"] * 2 + ["train"] * 2 + ["val"] * 2
    shard("default/0001.parquet")
    with pytest.raises(DataError, match=r"0001.parquet' does not say of which split it is"):
        open_dataset(tmp_path / "d")
    (tmp_path / "d/default/0001.parquet").rename(tmp_path / "d/default/train/test-1.parquet")
    with pytest.raises(DataError, match="names test and train"):
        open_dataset(tmp_path / "d")
    (tmp_path / "d/default/train/test-1.parquet").unlink()
    shard("other/train/0000.parquet")
    with pytest.raises(DataError, match=r"several data sets: 'default', 'other'"):
        open_dataset(tmp_path / "d")


def test_an_unlabelled_test_shard_is_left_out(tmp_path: Path) -> None:
    names = {"label": ["a", "b"]}
    table_of(tmp_path / "d" / "train.parquet", {"image": IMAGE[:2], "label": [0, 1]}, names)
    table_of(tmp_path / "d" / "test.parquet", {"image": IMAGE[:2], "label": [-1, -1]}, names)
    found = open_dataset(tmp_path / "d")
    assert len(found.samples) == 2
    assert "Left out: 'test.parquet' with 2 test images: unlabelled." in found.notes


def test_class_folders_beside_a_table_stay_class_folders(tmp_path: Path) -> None:
    class_folders(tmp_path / "birds")
    table_of(tmp_path / "birds" / "metadata.parquet", {"file_name": ["x"], "n": [1]})
    assert open_dataset(tmp_path / "birds").kind == "folder"


def test_images_are_unpacked_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    path = table_of(tmp_path / "x.parquet", {"image": IMAGE[:2], "label": ["a", "b"]})
    open_dataset(path)
    blob = kept_of(path) / IMAGES
    assert blob.read_bytes() == IMAGE[0] + IMAGE[1]
    before = blob.stat().st_mtime_ns
    open_dataset(path)
    assert blob.stat().st_mtime_ns == before
    blob.write_bytes(IMAGE[0])  # cut off
    assert open_dataset(path).samples[1].source.read() == IMAGE[1]  # type: ignore[union-attr]
    table_of(path, {"image": IMAGE[2:4], "label": ["a", "b"]})
    os.utime(path, ns=(1, 1))
    assert [s.source.read() for s in open_dataset(path).samples] == IMAGE[2:4]  # type: ignore[union-attr]


def test_two_processes_unpack_one_file(tmp_path: Path) -> None:
    path = table_of(tmp_path / "x.parquet", {"image": IMAGE, "label": list("ababab")})
    code = f"from tlaam.data.open import open_dataset; print(len(open_dataset({str(path)!r}).samples))"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ}) for _ in range(2)
    ]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == [b"6", b"6"]


def test_damage_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = table_of(tmp_path / "x.parquet", {"image": IMAGE, "label": list("ababab")})
    whole = path.read_bytes()
    for content in (whole[:-20], whole[: len(whole) // 2], b"", b"PAR1" + bytes(50) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x.parquet' cannot be read as Parquet") as caught:
            open_dataset(path)
        assert "\n" not in str(caught.value)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table_of(tmp_path / "x.parquet", {"image": IMAGE, "label": list("ababab")})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(MissingPackageError, match=r"needs pyarrow: pip install '.\[parquet\]'"):
        open_dataset(path)


def test_classes_that_have_a_name_and_no_image_are_said(tmp_path: Path) -> None:
    columns = {"image": [picture(0), picture(1)], "label": [2, 0]}
    path = table_of(tmp_path / "birds.parquet", columns, {"label": ["jay", "owl", "crow"]})
    found = open_dataset(path)
    assert found.classes == ("crow", "jay") and [s.label for s in found.samples] == [0, 1]
    assert "Classes without an image are left out: 'owl'." in found.notes


def test_numbers_without_names_are_sorted_by_value_and_said(tmp_path: Path) -> None:
    numbers = [10, 2, 9, 10, 2, 9]
    path = table_of(tmp_path / "birds.parquet", {"image": [picture(n) for n in range(6)], "label": numbers}, None)
    images = open_dataset(path)
    assert images.classes == ("2", "9", "10")
    assert [images.classes[sample.label] for sample in images.samples] == [str(number) for number in numbers]
    assert "Classes are called by their numbers: no names stand in the file." in images.notes
