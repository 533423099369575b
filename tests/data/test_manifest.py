from __future__ import annotations

import gc
import math
import time
from pathlib import Path

import pytest

from tlaam.data.manifest import _beside, read_manifest
from tlaam.errors import DataError


def _write(folder: Path, text: str, name: str = "m.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_minimal(tmp_path: Path) -> None:
    images = read_manifest(_write(tmp_path, "image,label\nx/b.jpg,wren\n/abs/a.jpg,finch\n"))
    assert (images.name, images.kind, images.root) == ("m", "manifest", tmp_path / "m.csv")
    assert images.classes == ("finch", "wren")
    first, second = images.samples
    assert (first.name, first.path, first.label, first.split, first.box) == (
        "x/b.jpg",
        tmp_path / "x/b.jpg",
        1,
        "train",
        None,
    )
    assert (second.name, second.path) == ("/abs/a.jpg", Path("/abs/a.jpg"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_dialects(tmp_path: Path, encoding: str, newline: str, delimiter: str) -> None:
    rows = [
        ["Note", "y_max", "label", "split", "x_min", "y_min", "image", " X_Max "],
        ["a", "9.5", "Mésange", "test", "1", "2", "a.jpg", "8"],
        ["b", "", "wren", "", "", "", "b.jpg", ""],
        ["c", "", "Mésange", "Validation", "", "", "c.jpg", ""],
        ["d", "", "Mésange", "training", "", "", "d.jpg", ""],
    ]
    text = newline.join(delimiter.join(row) for row in rows) + newline
    images = read_manifest(_write(tmp_path, text, encoding=encoding))
    assert images.classes == ("Mésange", "wren")
    assert [sample.split for sample in images.samples] == ["test", "train", "val", "train"]
    assert [sample.box for sample in images.samples] == [(1, 2, 8, 9.5), None, None, None]


def test_quotes_blank_lines_and_short_rows(tmp_path: Path) -> None:
    text = 'image,label,split,note\n\n"a, b.jpg","say ""hi""",,x\nb.jpg,two\n,,,\nc.jpg, two ,test,,\n'
    images = read_manifest(_write(tmp_path, text))
    assert [sample.name for sample in images.samples] == ["a, b.jpg", "b.jpg", "c.jpg"]
    assert images.classes == ('say "hi"', "two")


def test_numbers_sort_by_value(tmp_path: Path) -> None:
    rows = "".join(f"{label}.jpg,{label}\n" for label in ["10", "2", "1", "-3", "2.5"])
    assert read_manifest(_write(tmp_path, "image,label\n" + rows)).classes == ("-3", "1", "2", "2.5", "10")
    assert read_manifest(_write(tmp_path, "image,label\n" + rows + "x.jpg,b\n")).classes[:2] == ("-3", "1")
    assert read_manifest(_write(tmp_path, "image,label\n" + rows + "x.jpg,b\n")).classes[2] == "10"


def test_exact_repetition_counts_once_however_the_path_is_spelt(tmp_path: Path) -> None:
    text = f"image,label\na.jpg,1\n./a.jpg,1\nx/../a.jpg,1\n{tmp_path}/a.jpg,1\nb.jpg,2\n"
    assert [sample.name for sample in read_manifest(_write(tmp_path, text)).samples] == ["a.jpg", "b.jpg"]


HEADER = "image,label,split,x_min,y_min,x_max,y_max\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", r"line 1.*'image' is missing; found nothing"),
        ("image,label\n", "no image"),
        ("image,lable\na.jpg,x\n", r"line 1.*'lable'.*Did you mean 'label'"),
        ("imgae,label\na.jpg,x\n", r"line 1.*'imgae'.*Did you mean 'image'"),
        ("image,label,splt\na.jpg,x,test\n", r"'splt'.*Did you mean 'split'"),
        ("image,label,xmin,ymin,xmax,ymax\na.jpg,x,0,0,1,1\n", r"'xmin'.*Did you mean 'x_min'"),
        ("image,label,x_min,y_min,x_max,foo\na.jpg,x,0,0,1,1\n", r"line 1: column 'y_max' is missing"),
        ("image,label,label\na.jpg,x,y\n", r"'label' is named twice"),
        ("a.jpg,x\nb.jpg,y\n", r"'image' is missing; found 'a.jpg', 'x'"),
        ("image,label\na.jpg,x\nb.jpg,\n", r"line 3: column 'label' is empty"),
        ("image,label\n,x\n", r"line 2: column 'image' is empty"),
        ("image,label\na, b.jpg,x\n", r"line 2: it has 3 fields, but line 1 names 2"),
        ("image,label\na.jpg,x\n\na.jpg,y\n", r"line 4.*'a.jpg' has the label 'y' here, but 'x' in line 2"),
        ("image,label,split\na.jpg,x,train\na.jpg,x,test\n", r"line 3.*split 'test' here, but 'train' in line 2"),
        (HEADER + "a.jpg,x,,0,0,2,2\na.jpg,x,,0,0,3,3\n", r"line 3.*has the box"),
        (HEADER + "a.jpg,x,trian\n", r"line 2: column 'split' holds 'trian'.*Did you mean 'train'"),
        (HEADER + "a.jpg,x,train,1,2,3,\n", r"line 2: column 'y_max' holds ''.*all four"),
        (HEADER + "a.jpg,x,train,1,2,3,four\n", r"line 2: column 'y_max' holds 'four'"),
        (HEADER + "a.jpg,x,train,nan,2,3,4\n", r"line 2: column 'x_min' holds 'nan'"),
        (HEADER + "a.jpg,x,train,5,2,5,4\n", r"line 2: column 'x_max' is 5.*greater than 'x_min', 5"),
        (HEADER + "a.jpg,x,train,5,9,6,4\n", r"line 2: column 'y_max' is 4.*greater than 'y_min', 9"),
        ("image,label\na.jpg,x\nb.jpg,x\n", r"only one class, 'x'"),
        ("image,label,split\na.jpg,x,\nb.jpg,y,\nc.jpg,z,test\n", r"Class 'z'.*no training image"),
    ],
)
def test_faults_name_file_line_and_column(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        read_manifest(_write(tmp_path, text))
    assert "m.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_leniently_all_content_is_kept(tmp_path: Path) -> None:
    rows = [
        "inverted.jpg,x,train,9,2,5,4",
        "text.jpg,x,train,1,2,3,four",
        "part.jpg,x,test,1,2,,4",
        "far.jpg,x,train,1,2,inf,4",
        "twice.jpg,x,train,,,,",
        "twice.jpg,y,train,,,,",
        "text.jpg,x,train,,,,four",
        "twice.jpg,y,train,,,,",
    ]
    path = _write(tmp_path, HEADER + "\n".join(rows))
    images = read_manifest(path, strict=False)
    assert [(sample.name, images.classes[sample.label]) for sample in images.samples] == [
        ("inverted.jpg", "x"),
        ("text.jpg", "x"),
        ("part.jpg", "x"),
        ("far.jpg", "x"),
        ("twice.jpg", "x"),
        ("twice.jpg", "y"),
    ]
    inverted, *others = (sample.box for sample in images.samples[:4])
    assert inverted == (9, 2, 5, 4)
    assert all(box is not None and all(map(math.isnan, box)) for box in others)
    assert images.samples[4].box is None
    with pytest.raises(DataError, match="line 2"):
        read_manifest(path)
    with pytest.raises(DataError, match="'label' is missing"):
        read_manifest(_write(tmp_path, "image,x\na.jpg,y\n"), strict=False)


def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path) -> None:
    good, bad = _write(tmp_path, "image,label\na.jpg,x\nb.jpg,y\n"), _write(tmp_path, "", name="bad.csv")
    assert gc.isenabled()
    read_manifest(good)
    assert gc.isenabled()
    with pytest.raises(DataError):
        read_manifest(bad)
    assert gc.isenabled()
    gc.disable()
    try:
        read_manifest(good)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_line_numbers_count_lines_within_quotes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 4: column 'label' is empty"):
        read_manifest(_write(tmp_path, 'image,label,note\na.jpg,x,"two\nlines"\nb.jpg,,\n'))


def test_what_is_no_utf8_csv(tmp_path: Path) -> None:
    for content in ("image,label\né.jpg,x\n".encode("latin-1"), "image,label\na.jpg,x\n".encode("utf-16")[:-1]):
        (tmp_path / "m.csv").write_bytes(content)
        with pytest.raises(DataError, match="not UTF-8"):
            read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("image,label\na.jpg," + "x" * 200_000 + "\n")
    with pytest.raises(DataError, match="line 2: field larger"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(DataError, match="Cannot read manifest"):
        read_manifest(tmp_path / "absent.csv")


def test_a_test_split_alone_can_be_evaluated(tmp_path: Path) -> None:
    images = read_manifest(_write(tmp_path, "image,label,split\na.jpg,x,test\n"))
    assert images.classes == ("x",)


def test_long_files_are_quick(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as stream:
        stream.write(HEADER)
        stream.writelines(f"images/{i // 100}/{i}.jpg,{i % 100},train,1,2,30,40\n" for i in range(100_000))
    start = time.process_time()
    assert len(read_manifest(path).samples) == 100_000
    assert (
        time.process_time() - start < 5
    )  # about 1 s; a search that grows with the square of the rows would take minutes


def test_cars196(shared_data: Path) -> None:
    images = read_manifest(shared_data / "cars196" / "annotations.csv")
    assert (images.name, len(images.classes), len(images.samples)) == ("cars196", 196, 4123)
    assert images.split("test") == ()
    assert images.samples[0].path.is_file()


@pytest.mark.parametrize("manifest", ["a.csv", "x/a.csv", "./x/a.csv", "/a.csv", "/x/y/a.csv"])
def test_an_image_lies_where_pathlib_says(manifest: str) -> None:
    for image in ("b.jpg", "c/b.jpg", "./b.jpg", "c/./b.jpg", "c//b.jpg", "../b.jpg", "/q/b.jpg", "c/", "c/.", "c."):
        assert _beside(Path(manifest), image) == str(Path(manifest).parent / image)
