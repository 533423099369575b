"""What data sets look like that others made: read as they mean, or refused in one line that says what to do.

Each row of the tables is one member of a kind that was found in public reports of bugs in this field.
"""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.data.check import check
from tlaam.data.manifest import image_paths
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.errors import DataError, TlaamError

NFC, NFD = unicodedata.normalize("NFC", "Möwe"), unicodedata.normalize("NFD", "Möwe")
LONGEST = 700


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs that failed; tests that need it skip where it is absent."""
    folder = Path(__file__).parents[3] / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip(f"the inputs that failed are not found at {folder}")
    return folder


def draw(path: Path, size: tuple[int, int] = (160, 96)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(os.fsencode(path))
    levels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(levels).save(path, "PNG")


def filled(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        if name.endswith((".txt", ".xml", ".csv")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("text")
        else:
            draw(root / name)
    return root


def refusal(source: Path | str) -> str:
    with pytest.raises(TlaamError) as caught:
        open_dataset(source)
    text = str(caught.value)
    assert "\n" not in text and len(text) < LONGEST
    return text


def by_split(images: LabelledImages) -> tuple[int, int, int]:
    return len(images.split("train")), len(images.split("val")), len(images.split("test"))


# Folders -------------------------------------------------------------------------------------------------------------

AB = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
SPLIT = ["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/b/2.jpg"]

READ_FOLDERS: dict[str, tuple[list[str], list[str], tuple[int, int, int], str]] = {
    # files: classes, images a split, what has to be said
    "an unlabelled test folder": ([*SPLIT, "test/7.jpg"], ["a", "b"], (2, 2, 0), "'test' with 1"),
    "test of one nameless folder": (
        [*SPLIT, "test/images/7.jpg"], ["a", "b"], (2, 2, 0), "'images', which is no class",
    ),
    "figures beside splits": ([*SPLIT, "figures/7.jpg"], ["a", "b"], (2, 2, 0), "'figures'"),
    "test and figures": (
        [*SPLIT, "test/7.jpg", "figures/7.jpg"], ["a", "b"], (2, 2, 0), "'figures'",
    ),
    "test1 beside splits": ([*SPLIT, "test1/7.jpg"], ["a", "b"], (2, 2, 0), "'test1'"),
    "unlabelled beside splits": ([*SPLIT, "unlabeled/x/7.jpg"], ["a", "b"], (2, 2, 0), "unlab"),
    "unlabelled beside classes": ([*AB, "Unlabelled/7.jpg"], ["a", "b"], (4, 0, 0), "Unlabelled"),
    "training_set and test_set": (
        ["training_set/a/1.jpg", "training_set/b/1.jpg", "test_set/a/2.jpg"],
        ["a", "b"], (2, 0, 1), "",
    ),
    "valid and invalid": (["valid/1.jpg", "invalid/1.jpg"], ["invalid", "valid"], (2, 0, 0), ""),
    "valid and invalid, by year": (
        ["valid/2023/1.jpg", "invalid/2024/1.jpg"], ["invalid", "valid"], (2, 0, 0), "",
    ),
    "valid, expired and forged": (
        ["valid/1.jpg", "expired/1.jpg", "forged/1.jpg"],
        ["expired", "forged", "valid"], (3, 0, 0), "",
    ),
    "train, bus and tram": (
        ["train/1.jpg", "bus/1.jpg", "tram/1.jpg"], ["bus", "train", "tram"], (3, 0, 0), "",
    ),
    "train, bus and tram by year": (
        ["train/2023/1.jpg", "bus/2023/1.jpg", "tram/2024/1.jpg"],
        ["bus", "train", "tram"], (3, 0, 0), "",
    ),
    "masks beside classes": (
        [*AB, "masks/1_mask.png", "masks/2_mask.png"], ["a", "b"], (4, 0, 0), "'masks' with 2",
    ),
    "masks of the same names": ([*AB, "masks/a/1.png"], ["a", "b"], (4, 0, 0), "belong to them"),
    "thumbnails beside classes": ([*AB, "thumbnails/1.jpg"], ["a", "b"], (4, 0, 0), "thumbnails"),
    "masks of costumes": (
        ["masks/7.jpg", "hats/1.jpg", "scarves/2.jpg"],
        ["hats", "masks", "scarves"], (3, 0, 0), "",
    ),
    "mask and no mask": (["mask/1.jpg", "no_mask/2.jpg"], ["mask", "no_mask"], (2, 0, 0), ""),
    "images beside the classes": ([*AB, "cover.jpg"], ["a", "b"], (4, 0, 0), "1 image that lies"),
    "files that are no images": (
        [*AB, "a/1.xml", "a/2.xml", "b/notes.txt"],
        ["a", "b"], (4, 0, 0), "3 files that are no images (2 .xml, 1 .txt)",
    ),
    "folders by year": (
        ["crow/2023/1.jpg", "crow/2024/2.jpg", "jay/2023/3.jpg", "jay/2024-05-01/4.jpg"],
        ["crow", "jay"], (4, 0, 0), "",
    ),
    "the same folders in each class": (
        ["crow/day/1.jpg", "crow/night/2.jpg", "jay/day/3.jpg", "jay/night/4.jpg"],
        ["crow", "jay"], (4, 0, 0), "",
    ),
    "one spelling in two forms": (
        [f"{NFC}/1.jpg", f"{NFD}/2.jpg", "crow/1.jpg"],
        [NFC, "crow"], (3, 0, 0), "2 spellings",
    ),
    "a blank behind the name": (
        ["crow/1.jpg", "crow /2.jpg", "jay/1.jpg"], ["crow", "jay"], (3, 0, 0), "2 spellings",
    ),
    "a no-break space in the name": (
        ["red kite/1.jpg", "red\u00a0kite/2.jpg", "jay/1.jpg"],
        ["jay", "red kite"], (3, 0, 0), "2 spellings",
    ),
    "forms that differ between splits": (
        [f"train/{NFC}/1.jpg", "train/crow/1.jpg", f"val/{NFD}/2.jpg"],
        [NFC, "crow"], (2, 1, 0), "2 spellings",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ_FOLDERS)
def test_folders_that_mean_one_thing_are_read(tmp_path: Path, kind: str) -> None:
    files, classes, numbers, said = READ_FOLDERS[kind]
    images = open_dataset(filled(tmp_path / "photos", files))
    assert sorted(images.classes) == sorted(classes)
    assert by_split(images) == numbers
    assert any(said in note for note in images.notes) if said else images.notes == ()
    assert all("\n" not in note for note in images.notes)
    assert all(sample.path.is_file() for sample in images.samples)


REFUSED_FOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "train and test1 of loose images": (
        ["train/cat.0.jpg", "train/dog.1.jpg", "test1/1.jpg"], ["train'", "outside class folders", "'cat.0.jpg'"],
    ),
    "train and test of loose images, with a table": (
        ["train/1.jpg", "test/2.jpg", "birds.csv"], ["outside class folders", "give the table", "birds.csv"],
    ),
    "train_images and test_images": (["train_images/1.jpg", "test_images/2.jpg"], ["outside class folders"]),
    "images and masks": (["images/1.jpg", "masks/1.png"], ["'images' and 'masks'", "not classes", "Sort"]),
    "images and labels below splits": (
        ["train/images/1.jpg", "train/labels/1.txt", "val/images/2.jpg"], ["YOLO's form", "names their classes"],
    ),
    "JPEGImages and SegmentationClass": (
        ["JPEGImages/1.jpg", "SegmentationClass/1.png"], ["not classes, but images and what belongs to them"],
    ),
    "classes below images, beside masks": (
        ["images/a/1.jpg", "images/b/1.jpg", "masks/a/1.png"], ["not classes", "Give the path", "/images'"],
    ),
    "test beside classes": ([*AB, "test/7.jpg"], ["test' beside 'a', 'b' may be a class or a split", "Move it"]),
    "test1 beside classes": ([*AB, "test1/7.jpg"], ["test1' beside 'a', 'b' may be a class or a split"]),
    "val beside classes": ([*AB, "val/7.jpg"], ["val' beside 'a', 'b' may be a class or a split"]),
    "train and test of loose images beside a class": (
        ["train/1.jpg", "test/2.jpg", "plane/3.jpg"], ["beside 'plane' may be a class or a split"],
    ),
    "a validation split without labels": ([*SPLIT[:2], "val/2.jpg"], ["val' holds images outside"]),
    "a misspelt split": ([*SPLIT, "tets/a/3.jpg"], ["tets' holds images beside", "Did you mean 'test'"]),
    "orders of species": (
        ["Aves/Turdus merula/1.jpg", "Aves/Pica pica/1.jpg", "Insecta/Apis mellifera/1.jpg", "Insecta/Vespa/1.jpg"],
        ["such as 'Aves'", "'Pica pica'", ":depth=1' if 'Aves' is a class", ":depth=2' if the 4 folders"],
    ),
    "orders of species below splits": (
        [f"train/{name}/1.jpg" for name in ("Aves/Pica", "Aves/Turdus", "Insecta/Apis", "Insecta/Bombus")],
        ["such as 'Aves'", ":depth=2'"],
    ),
    "orders of numbered species": (
        ["Aves/3101/1.jpg", "Aves/3102/1.jpg", "Insecta/812/1.jpg", "Insecta/813/1.jpg"], ["such as 'Aves'", "'3101'"],
    ),
    "a class whose case differs between splits": (
        ["train/Crow/1.jpg", "train/jay/1.jpg", "val/crow/2.jpg"], ["'crow'", "differs from class 'Crow' only"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED_FOLDERS)
def test_folders_that_may_mean_two_things_are_refused(tmp_path: Path, kind: str) -> None:
    files, said = REFUSED_FOLDERS[kind]
    text = refusal(filled(tmp_path / "photos", files))
    for part in said:
        assert part in text


def test_the_depth_of_classes_is_chosen_behind_the_path(tmp_path: Path) -> None:
    files = ["Aves/Turdus/1.jpg", "Aves/Pica/2024/1.jpg", "Insecta/Apis/1.jpg", "Insecta/Vespa/1.jpg", "Aves/loose.jpg"]
    root = filled(tmp_path / "life", [f"train/{file}" for file in files])
    outer, inner = open_dataset(f"{root}:depth=1"), open_dataset(f"{root}:depth=2")
    assert outer.classes == ("Aves", "Insecta") and len(outer.samples) == 5
    assert inner.classes == ("Apis", "Pica", "Turdus", "Vespa") and len(inner.samples) == 4
    assert (outer.option, inner.option) == ("depth=1", "depth=2")
    assert any("1 image that lies" in note and "Aves" in note for note in inner.notes)
    assert check(f"{root}:depth=2").refusal is None


@pytest.mark.parametrize("depth", [1, 2])
def test_a_run_can_name_the_depth_of_its_classes_again(tmp_path: Path, depth: int) -> None:
    from tlaam.runs.data import reopenable

    filled(tmp_path, ["x/a/1.jpg", "x/b/1.jpg", "y/c/1.jpg", "y/d/1.jpg"])
    images = open_dataset(f"{tmp_path}:depth={depth}")
    assert open_dataset(reopenable(images, images)).fingerprint() == images.fingerprint()


def test_what_is_not_text_is_no_class(tmp_path: Path) -> None:
    filled(tmp_path, AB)
    try:
        draw(tmp_path / os.fsdecode(b"M\xf6we") / "1.jpg")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    text = refusal(tmp_path)
    assert "is not UTF-8 text. Rename its folder." in text and text.isascii()


@pytest.mark.parametrize("form", [NFC, NFD])
def test_a_locale_without_utf8_is_refused(tmp_path: Path, form: str) -> None:
    path = table(
        tmp_path, lines("image,label", [("crow/1.jpg", "crow"), (f"{form}/1.jpg", form)]), files=["crow/1.jpg"]
    )
    draw(tmp_path / form / "1.jpg")
    for source in (tmp_path, path):
        code = f"from tlaam.data.open import open_dataset; open_dataset({str(source)!r})"
        environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
        assert b"DataError" in done.stderr and b"Set PYTHONUTF8=1" in done.stderr


# Tables --------------------------------------------------------------------------------------------------------------

FILES = ["crow/0.jpg", "crow/1.jpg", "jay/0.jpg", "jay/1.jpg"]
PLAIN = [(file, file.partition("/")[0]) for file in FILES]


def table(root: Path, text: str, encoding: str = "utf-8", files: Sequence[str] = FILES) -> Path:
    filled(root, files)
    (root / "list.csv").write_bytes(text.encode(encoding))
    return root / "list.csv"


def lines(head: str, rows: Sequence[Sequence[str]], sign: str = ",") -> str:
    return "\n".join([head, *(sign.join(row) for row in rows)]) + "\n"


def spelt(change: str) -> str:
    """Return a table whose paths are spelt as by another system."""
    return lines("image,label", [(change.format(file=f, stem=f[:-4], back=f.replace("/", "\\")), c) for f, c in PLAIN])


READ_TABLES: dict[str, tuple[str, str]] = {
    # the table, and what has to be said
    "sep= of Excel": (lines("sep=;\nimage;label", PLAIN, ";"), ""),
    "sep= of Excel, with a mark": (lines("\ufeffsep=;\nimage;label", PLAIN, ";"), ""),
    "sep= of a tab": (lines("sep=\t\nimage\tlabel", PLAIN, "\t"), ""),
    "quoted sep=": (lines('"sep=;"\nimage;label', PLAIN, ";"), ""),
    "an empty line first": (lines("\nimage,label", PLAIN), ""),
    "bars": (lines("image|label", PLAIN, "|"), ""),
    "semicolons and a mark": (lines("\ufeffImage;LABEL", PLAIN, ";"), ""),
    "zero-width characters in the header": (lines("\u200bimage,la\u00adbel", PLAIN), ""),
    "no endings": (spelt("{stem}"), "4 image paths are written without the ending"),
    "backslashes": (spelt("{back}"), "4 image paths are written in the spelling of another system"),
    "backslashes and a dot": (spelt(".\\{back}"), "written in the spelling"),
    "another letter case of the ending": (spelt("{stem}.JPG"), "written in another letter case"),
    "a path of another machine": (spelt("/mnt/nowhere/photos/{file}"), "with a folder that is not there"),
    "a path of Windows": (spelt("C:\\Users\\anna\\photos\\{back}"), "with a folder that is not there"),
    "a path from the folder above": (spelt("photos/{file}"), "with a folder that is not there"),
    "an address of a file": (spelt("file:///mnt/nowhere/{file}"), "with a folder that is not there"),
    "escapes": (spelt("./{file}").replace("/0", "%2F0"), "written in the spelling"),
    "what Label Studio serves": (spelt("/data/local-files/?d={file}"), "written in the spelling"),
    "blanks around cells": (spelt(" {file} "), ""),
    "filename and class": (lines("filename,class", PLAIN), "Column 'filename' is read as 'image'"),
    "image_id and species": (lines("image_id,species", [(f[:-4], c) for f, c in PLAIN]), "'species' is read"),
    "id and breed": (lines("id,breed", [(f[:-4], c) for f, c in PLAIN]), "'id' is read as 'image'"),
    "class_name beside class_id": (lines("path,class_id,class_name", [(f, "7", c) for f, c in PLAIN]), "'class_name'"),
    "choice of Label Studio": (lines("image,choice", PLAIN), "'choice' is read as 'label'"),
    "JSON of Label Studio": (
        lines("image;label", [(f, f'{{"choices": ["{c}"]}}') for f, c in PLAIN], ";"), "",
    ),
    "JSON of Label Studio, quoted": (
        lines("image,label", [(f, f'"[{{""choices"": [""{c}""]}}]"') for f, c in PLAIN]), "",
    ),
    "a rectangle of Label Studio": (
        lines("image;label", [(f, f'[{{"x": 1, "width": 9, "rectanglelabels": ["{c}"]}}]') for f, c in PLAIN], ";"),
        "boxes in column 'label' are not read",
    ),
    "a list of one": (lines("image,label", [(f, f"['{c}']") for f, c in PLAIN]), ""),
    "one-hot": (
        lines("image,crow,jay", [(f, *("10" if c == "crow" else "01")) for f, c in PLAIN]), "are read as classes",
    ),
    "one-hot in fractions": (
        lines("image,crow,jay", [(f, *(("1.0", "0.0") if c == "crow" else ("0.0", "1.0"))) for f, c in PLAIN]),
        "'crow', 'jay'",
    ),
    "one-hot in words, beside a score": (
        lines("image,score,crow,jay", [(f, ".7", str(c == "crow"), str(c == "jay")) for f, c in PLAIN]), "are read as",
    ),
    "blanks and unseen characters in labels": (
        lines("image,label", [(f, c + ("\u200b" if "0" in f else "\u00a0")) for f, c in PLAIN]), "",
    ),
    "boxes that look otherwise": (
        lines("image,label,x,y,width,height", [(f, c, "1", "2", "30", "40") for f, c in PLAIN]), "look like boxes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ_TABLES)
def test_tables_that_mean_one_thing_are_read(tmp_path: Path, kind: str) -> None:
    text, said = READ_TABLES[kind]
    path = table(tmp_path / "photos", text)
    images = open_dataset(path)
    assert [(s.path, images.classes[s.label]) for s in images.samples] == [(path.parent / f, c) for f, c in PLAIN]
    assert any(said in note for note in images.notes) if said else images.notes == ()
    assert all("\n" not in note for note in images.notes)
    if not said:
        assert check(path).refusal is None and check(path).counts["unreadable"] == 0


def test_a_class_may_be_called_train_in_a_table_too(tmp_path: Path) -> None:
    text = lines("image,train,tram", [(f, *("10" if c == "crow" else "01")) for f, c in PLAIN])
    images = open_dataset(table(tmp_path, text))
    assert images.classes == ("train", "tram") and by_split(images) == (4, 0, 0)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_tables_of_windows_are_read(tmp_path: Path, encoding: str) -> None:
    images = open_dataset(table(tmp_path, lines("sep=\t\nimage\tlabel", PLAIN, "\t"), encoding))
    assert [images.classes[sample.label] for sample in images.samples] == ["crow", "crow", "jay", "jay"]


def changed(row: int, label: str) -> str:
    rows = [[file, name] for file, name in PLAIN]
    rows[row][1] = label
    return lines("image,label", rows)


REFUSED_TABLES: dict[str, tuple[str, list[str]]] = {
    "nan": (changed(2, "nan"), ["line 4", "'label' holds 'nan'", "no label"]),
    "NULL": (changed(2, "NULL"), ["line 4", "'NULL'"]),
    "NA": (changed(2, "NA"), ["line 4", "'NA'"]),
    "#N/A": (changed(2, "#N/A"), ["line 4", "'#N/A'"]),
    "nothing": (changed(2, ""), ["line 4", "'label' is empty"]),
    "an image of nothing": (lines("image,label", [*PLAIN, ("nan", "crow")]), ["line 6", "'image' holds 'nan'"]),
    "several labels, a bar": (changed(1, "crow|jay"), ["line 3", "joins 2 labels, 'crow', 'jay'", "one label"]),
    "several labels, a semicolon": (changed(1, "crow;jay"), ["line 3", "joins 2 labels"]),
    "several labels, a comma": (changed(1, '"crow, jay"'), ["line 3", "joins 2 labels"]),
    "several labels, a list": (changed(1, "\"['crow', 'jay']\""), ["line 3", "2 class names, 'crow', 'jay'"]),
    "several labels of Label Studio": (changed(1, '"{""choices"": [""crow"", ""jay""]}"'), ["line 3", "2 class names"]),
    "an annotation without a label": (changed(1, '"{""x"": 3}"'), ["line 3", "without a class name"]),
    "an empty list": (changed(1, "[]"), ["line 3", "without a class name"]),
    "one-hot of none": (
        lines("image,crow,jay", [("crow/0.jpg", "1", "0"), ("jay/0.jpg", "0", "0")]), ["line 3", "none hold 1"],
    ),
    "probabilities": (
        lines("image,crow,jay", [(f, *(("0.9", "0.1") if c == "crow" else ("0.2", "0.8"))) for f, c in PLAIN]),
        ["line 1", "'crow', 'jay' hold fractions", "'label'"],
    ),
    "tags, parted by blanks": (
        lines("image_name,tags", [(f, f"{c} sunny" if f == PLAIN[2][0] else c) for f, c in PLAIN]),
        ["line 4", "column 'tags' holds 2 labels", "'sunny'", "one label"],
    ),
    "labels of two kinds of signs": (
        lines("image,labels", [(f, f"{c}|x;y") for f, c in PLAIN]), ["line 2", "column 'labels' holds 3 labels", "'y'"],
    ),
    "one-hot of two": (
        lines("image,crow,jay", [("crow/0.jpg", "1", "0"), ("jay/0.jpg", "1", "1")]), ["line 3", "'jay' hold 1"],
    ),
    "two labels": (lines("image,class,species", [(f, c, c) for f, c in PLAIN]), ["'species' may"]),
    "two images": (lines("file,path,label", [(f, f, c) for f, c in PLAIN]), ["'file' and 'path' may be it"]),
    "addresses": (lines("image,label", [("https://a.org/1.jpg", "crow"), ("b.jpg", "jay")]), ["line 2", "Download"]),
    "no header": (lines("crow/0.jpg,crow", PLAIN[1:]), ["'image' is missing", "Name the columns"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED_TABLES)
def test_tables_that_may_mean_two_things_are_refused(tmp_path: Path, kind: str) -> None:
    text, said = REFUSED_TABLES[kind]
    told = refusal(table(tmp_path, text))
    for part in ["list.csv", *said]:
        assert part in told


@pytest.mark.parametrize(("files", "written", "several"), [
    (["crow/0.jpg", "crow/0.png", "jay/1.jpg"], "crow/0", "'crow/0.jpg' or 'crow/0.png'"),
    (["crow/A.jpg", "crow/a.jpg", "jay/1.jpg"], "crow/A.JPG", "'crow/A.jpg' or 'crow/a.jpg'"),
    (["x/7.jpg", "y/7.jpg", "jay/1.jpg"], "7.jpg", "'x/7.jpg' or 'y/7.jpg'"),
])  # fmt: skip
def test_a_path_that_may_be_two_files_is_refused(tmp_path: Path, files: list[str], written: str, several: str) -> None:
    told = refusal(table(tmp_path, lines("image,label", [(written, "crow"), ("jay/1.jpg", "jay")]), files=files))
    assert f"line 2: image '{written}' may be {several}" in told


def test_nothing_is_taken_for_a_file_that_is_missing(tmp_path: Path) -> None:
    for missing in ("crow/9.jpg", "wren/9.jpg", "7.jpg"):
        for rows in ([*PLAIN, (missing, "crow")], [(missing, "crow"), *PLAIN]):
            path = table(tmp_path, lines("image,label", rows), files=[*FILES, "9.jpg", "jay/7.jpg"])
            assert [sample.name for sample in open_dataset(path).samples] == [name for name, _ in rows]
            assert [finding.name for finding in check(path).findings] == [missing]


def test_where_missing_images_were_looked_for_is_said(tmp_path: Path) -> None:
    from tlaam.config.schema import Config
    from tlaam.training.usable_data import readable

    path = table(tmp_path / "photos", spelt("elsewhere/x{file}").replace("x", "-"), files=["elsewhere/other.jpg"])
    report = check(path)
    assert "4 of the 4 images" in report.notes[-1] and str(path.parent / "elsewhere/-crow/0.jpg") in report.notes[-1]
    with pytest.raises(TlaamError, match=r"4 of the 4 images that .* are not there"):
        readable(open_dataset(path), Config().training.skip_unreadable, progress=False)
    path = table(tmp_path / "others", lines("image,label", [("a/1.jpeg", "a"), ("b/1.jpg", "b")]), files=AB)
    assert [finding.detail for finding in check(path).findings] == ["It is missing. There is '1.jpg'."]


def test_images_of_a_competition_lie_in_a_folder_beside_the_table(tmp_path: Path) -> None:
    files = ["train_images/1a.jpg", "train_images/2b.jpg", "test_images/3c.jpg"]
    path = table(tmp_path, "image_id,label\n1a,0\n2b,1\n", files=files)
    images = open_dataset(path)
    assert [sample.name for sample in images.samples] == files[:2]
    assert list(image_paths(path)) == [str(tmp_path / file) for file in files[:2]]


@pytest.mark.parametrize(("labels", "classes"), [
    (["1", "1.0", "01", "2"], ("1", "2")),
    (["1", "1.0", "2.0", "10"], ("1", "2.0", "10")),
    (["01", "02", "01", "02"], ("01", "02")),
    (["1.0", "2.0", "1.0", "2.0"], ("1.0", "2.0")),
    (["1", "01", "x1", "2"], ("01", "1", "2", "x1")),
    (["None", "rust", "None", "rust"], ("None", "rust")),
    (["a|b", "c|d", "a|b", "c|d"], ("a|b", "c|d")),
    (["red kite", "kite", "red kite", "kite"], ("kite", "red kite")),
    ([NFC, NFD, "crow", "crow\u00ad"], (NFC, "crow")),
])  # fmt: skip
def test_labels_that_are_one_class(tmp_path: Path, labels: list[str], classes: tuple[str, ...]) -> None:
    images = open_dataset(table(tmp_path, lines("image,label", list(zip(FILES, labels, strict=True)))))
    assert sorted(images.classes) == sorted(classes)
    assert any("one number" in note for note in images.notes) == ("1" in labels and "1.0" in labels)


# Splits --------------------------------------------------------------------------------------------------------------

SIX = [f"{name}/{number}.jpg" for number in range(3) for name in ("crow", "jay")]


def with_columns(head: str, *columns: str) -> str:
    """Return a table of six images; a column is its six cells."""
    cells = [column.split(" ") for column in columns]
    rows = [(file, file[: file.index("/")], *more) for file, *more in zip(SIX, *cells, strict=True)]
    return lines(f"image,label,{head}", rows)


READ_SPLITS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "subset": (with_columns("subset", "train train val val test test"), (2, 2, 2)),
    "set": (with_columns("set", "Train Train Train Train Test Test"), (4, 0, 2)),
    "partition": (with_columns("Partition", "training training dev dev testing testing"), (2, 2, 2)),
    "phase": (with_columns("phase", "train train train train valid valid"), (4, 2, 0)),
    "data_split": (with_columns("data split", "TRAIN TRAIN VALIDATION VALIDATION TEST TEST"), (2, 2, 2)),
    "usage": (with_columns("usage", "training training training training test test"), (4, 0, 2)),
    "fold in words": (with_columns("fold", "train train train train test test"), (4, 0, 2)),
    "any name": (with_columns("what for", "train train train train test test"), (4, 0, 2)),
    "no name": (with_columns("", "train train val val test test"), (2, 2, 2)),
    "two without a name": (with_columns(",", "0 1 2 3 4 5", "train train train train test test"), (4, 0, 2)),
    "an index without a name": (with_columns("", "0 1 2 3 4 5"), (6, 0, 0)),
    "is_valid": (with_columns("is_valid", "False False False False True True"), (4, 2, 0)),
    "is_val in digits": (with_columns("is_val", "0 0 0 0 1 1"), (4, 2, 0)),
    "is_test": (with_columns("Is_Test", "no no no no yes yes"), (4, 0, 2)),
    "is_train": (with_columns("is_train", "1 1 1 1 0 0"), (4, 0, 2)),
    "is_training_image": (with_columns("is_training_image", "1 1 1 1 0 0"), (4, 0, 2)),
    "test in fractions": (with_columns("test", "0.0 0.0 0.0 0.0 1.0 1.0"), (4, 0, 2)),
    "is_valid and is_test": (
        with_columns("is_valid,is_test", "0 0 1 1 0 0", "0 0 0 0 1 1"), (2, 2, 2),
    ),
    "is_train and is_test": (
        with_columns("is_train,is_test", "1 1 0 0 0 0", "0 0 0 0 1 1"), (2, 2, 2),
    ),
    "split beside others": (
        with_columns("split,subset,fold", "train train train train test test", "test test train x x x", "1 2 3 1 2 3"),
        (4, 0, 2),
    ),
    "a column of the user's own": (with_columns("camera", "a b a b a b"), (6, 0, 0)),
    "a set of cameras": (with_columns("set", "A B A B A B"), (6, 0, 0)),
    "one fold": (with_columns("fold", "0 0 0 0 0 0"), (6, 0, 0)),
    "a test that is none": (with_columns("test", "control control drug drug drug drug"), (6, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ_SPLITS)
def test_splits_under_other_names_are_honoured(tmp_path: Path, kind: str) -> None:
    text, numbers = READ_SPLITS[kind]
    images = open_dataset(table(tmp_path, text, files=SIX))
    assert by_split(images) == numbers
    said = any("taken for the splits" in note for note in images.notes)
    assert said == (numbers[0] < 6 and kind != "split beside others")


REFUSED_SPLITS: dict[str, tuple[str, list[str]]] = {
    "folds": (with_columns("fold", "0 1 2 0 1 2"), ["column 'fold' holds 0 to 2", "column 'split'"]),
    "kfold": (with_columns("kfold", "0 1 2 0 1 2"), ["column 'kfold'"]),
    "a subset of digits": (with_columns("subset", "0 0 0 0 1 1"), ["column 'subset' holds 0 to 1"]),
    "split_id": (with_columns("split_id", "0 0 1 1 2 2"), ["column 'split_id'"]),
    "other words in subset": (with_columns("subset", "train train train train other test"), ["'subset'", "'other'"]),
    "public tests": (with_columns("Usage", "Training Training Training PublicTest Test PrivateTest"), ["'usage'"]),
    "valid": (with_columns("valid", "True True True True False False"), ["column 'valid' may mark", "'usable'"]),
    "most are valid": (with_columns("is_valid", "1 1 1 1 1 0"), ["column 'is_valid' may mark"]),
    "other words in is_test": (with_columns("is_test", "no no no no yes maybe"), ["'is_test' holds 'maybe'"]),
    "two columns of words": (
        with_columns("subset,phase", "train train train train test test", "train train train train val val"),
        ["'subset', 'phase' all seem"],
    ),
    "words and flags": (
        with_columns("subset,is_test", "train train train train val val", "0 0 0 0 1 1"), ["'subset', 'is_test'"],
    ),
    "two flags of one image": (
        with_columns("is_valid,is_test", "0 0 0 0 1 1", "0 0 0 0 0 1"), ["line 7", "marked for val and for test"],
    ),
    "digits in split": (with_columns("split", "0 0 0 0 1 1"), ["line 2", "'split' holds '0'"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED_SPLITS)
def test_splits_that_may_mean_two_things_are_refused(tmp_path: Path, kind: str) -> None:
    text, said = REFUSED_SPLITS[kind]
    told = refusal(table(tmp_path, text, files=SIX))
    for part in said:
        assert part in told


def test_splits_of_folders_that_all_paths_begin_with(tmp_path: Path) -> None:
    files = [f"{split}/{file}" for split in ("train", "Val", "test") for file in FILES]
    rows = [(file, file.split("/")[1]) for file in files]
    images = open_dataset(table(tmp_path, lines("image,label", rows), files=files))
    assert by_split(images) == (4, 4, 4) and "folders that all paths" in images.notes[0]
    images = open_dataset(table(tmp_path, lines("image,label", [*rows, ("x.jpg", "crow")]), files=[*files, "x.jpg"]))
    assert by_split(images)[0] == 13


# Boxes and copies ----------------------------------------------------------------------------------------------------


def boxed(root: Path, box: str, sign: str = ",") -> Path:
    rows = [(file, name, *box.split(" ")) for file, name in PLAIN]
    return table(root, lines(sign.join(("image", "label", "x_min", "y_min", "x_max", "y_max")), rows, sign))


@pytest.mark.parametrize("box", ["0.125 0.25 0.5 0.75", "0.0 0.0 1.0 1.0", "0 0 0.5 1", "0.2 0.2 0.21 0.3"])
def test_boxes_that_are_shares_become_pixels(tmp_path: Path, box: str) -> None:
    images = open_dataset(boxed(tmp_path, box))
    x0, y0, x1, y1 = map(float, box.split(" "))
    assert images.samples[0].box == pytest.approx((160 * x0, 96 * y0, 160 * x1, 96 * y1))
    assert any("shares of each image's width and height" in note for note in images.notes)


@pytest.mark.parametrize(("box", "sign", "doubt"), [
    ("20 20 140 80", ",", ""),
    ("20,5 20,5 140,5 80", ";", ""),
    ("5 5 17.5 15", ",", "upper left 11 % x 16 % of their images"),
    ("60 40 62 80", ",", "2 x 40 pixels"),
    ("60 40 100 42", ",", "40 x 2 pixels"),
])  # fmt: skip
def test_boxes_of_another_size_are_a_finding(tmp_path: Path, box: str, sign: str, doubt: str) -> None:
    report = check(boxed(tmp_path, box, sign))
    found = [finding.detail for finding in report.findings if finding.kind == "box-doubtful"]
    assert any(doubt in detail for detail in found) if doubt else report.findings == ()
    assert report.refusal is None


@pytest.mark.parametrize(("box", "fault"), [
    ("20 20 10 10", "Boxes are corners, not width and height"),
    ("nan nan nan 4", "must be a number of pixels"),
])  # fmt: skip
def test_boxes_that_are_none_are_refused(tmp_path: Path, box: str, fault: str) -> None:
    assert fault in refusal(boxed(tmp_path, box))


def test_boxes_of_nothing_are_none(tmp_path: Path) -> None:
    assert {sample.box for sample in open_dataset(boxed(tmp_path, "nan NULL NA nan")).samples} == {None}


@pytest.mark.parametrize("kind", ["bytes", "pixels", "link", "hard link"])
def test_copies_within_a_split_are_reported_and_stay_on_one_side(tmp_path: Path, kind: str) -> None:
    from tlaam.data.copies import with_copies
    from tlaam.data.split import cut_splits

    root = filled(tmp_path / "photos", [f"{name}/IMG_{number}.png" for name in ("crow", "jay") for number in range(8)])
    for number in range(4):
        file, twin = root / f"crow/IMG_{number}.png", root / f"crow/IMG_{number} (1).png"
        if kind == "link":
            twin.symlink_to(file)
        elif kind == "hard link":
            twin.hardlink_to(file)
        elif kind == "bytes":
            twin.write_bytes(file.read_bytes())
        else:
            with Image.open(file) as image:
                image.save(twin, compress_level=0)
    images = open_dataset(root)
    report = check(root)
    assert report.counts["copy"] == 4 and report.refusal is None
    for seed in range(5):
        split = {sample.name: sample.split for sample in cut_splits(with_copies(images), 0, 0.3, seed).samples}
        assert all(split[f"crow/IMG_{n}.png"] == split[f"crow/IMG_{n} (1).png"] for n in range(4))


# What was given, and what is said ------------------------------------------------------------------------------------


def test_check_and_the_head_of_a_run_name_classes_and_what_is_left_out(tmp_path: Path) -> None:
    from tlaam.config.schema import Config
    from tlaam.data.class_list import listed_classes
    from tlaam.training.header import header

    root = filled(tmp_path / "photos", [*SPLIT, "train/a/3.jpg", "test/7.jpg", "train/a/1.xml"])
    shown = check(root).table()
    assert "Classes: a 3, b 2" in shown and "'test' with 1 image" in shown and "1 .xml" in shown
    said = header(open_dataset(root), Config(), resumed=False)
    assert "Classes: a 3, b 2" in said and sum("Left out" in line for line in said) == 2
    many = listed_classes({f"c{number}": number for number in range(30)})
    assert "c19 19 and 10 more; 0 to 29 images each" in many and "c20" not in many


def test_given_names_in_two_forms(cases: Path) -> None:
    flat = open_dataset(cases / "unicode" / "flat")
    assert flat.classes == (NFC, "crow") or flat.classes == ("crow", NFC)
    assert len(flat.samples) == 12 and any("2 spellings" in note for note in flat.notes)
    listed = open_dataset(cases / "unicode" / "csv")
    assert sorted(listed.classes) == sorted((NFC, "crow")) and all(s.path.is_file() for s in listed.samples)
    assert check(cases / "unicode" / "csv").counts["unreadable"] == 0
    report = check(cases / "unicode" / "csv" / "invisible.csv")
    assert list(report.class_images) == ["crow"] and "only one class" in (report.refusal or "")


def test_given_splits(cases: Path) -> None:
    for name in ("subset", "is_valid", "set"):
        images = open_dataset(cases / "splits" / f"{name}.csv")
        held_out = len(images.split("val")) + len(images.split("test"))
        assert 0 < held_out < len(images.split("train"))
        assert any(f"'{name}'" in note for note in images.notes)


def test_given_boxes(cases: Path, tmp_path: Path) -> None:
    for name in ("000.jpg", "001.jpg"):
        draw(tmp_path / name)
    found = {}
    for name in ("pixels", "normalised", "of-another-size"):
        (tmp_path / f"{name}.csv").write_bytes((cases / "boxes" / f"{name}.csv").read_bytes())
        found[name] = check(tmp_path / f"{name}.csv")
    assert open_dataset(tmp_path / "normalised.csv").samples[0].box == pytest.approx((20, 20, 70, 60), abs=0.01)
    assert found["of-another-size"].counts["box-doubtful"] == 1
    assert found["normalised"].notes and not found["pixels"].notes


def kaggle(root: Path, *, table: str = "train.csv", classes: Sequence[str] = ("crow", "jay")) -> Path:
    """Make a competition's download: loose images, a table of the training images' labels, and a sample submission."""
    lines, tests = ["id,species"], ["id,species"]
    for number in range(9):
        filled(root, [f"{'train' if number < 6 else 'test'}/{number}.jpg"])
        (lines if number < 6 else tests).append(f"{number},{classes[number % 2]}")
    (root / table).write_text("\n".join(lines) + "\n")
    (root / "sample_submission.csv").write_text("\n".join(tests) + "\n")
    return root


@pytest.mark.parametrize("table", ["train.csv", "Train_Labels.csv", "labels.csv"])
def test_a_competitions_folder_is_read_by_its_table(tmp_path: Path, table: str) -> None:
    images = open_dataset(kaggle(tmp_path / "birds", table=table))
    assert (images.name, images.classes, len(images.samples)) == ("birds", ("crow", "jay"), 6)
    assert all(sample.name.startswith("train/") and sample.path.exists() for sample in images.samples)
    assert images.notes[-1] == f"The labels are those of '{table}'. Left out: 'test', of which it lists no image."


def test_two_tables_beside_loose_images_are_asked_about(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "birds")
    (root / "labels.csv").write_text((root / "train.csv").read_text())
    with pytest.raises(DataError, match=r"holds both 'labels.csv' and 'train.csv'"):
        open_dataset(root)


def test_class_folders_stay_what_counts_beside_a_table(tmp_path: Path) -> None:
    root = tmp_path / "birds"
    filled(root, [f"train/{name}/{number}.jpg" for name in ("crow", "jay") for number in range(2)])
    (root / "train.csv").write_text("image,label\ntrain/crow/0.jpg,jay\ntrain/jay/0.jpg,crow\n")
    images = open_dataset(root)
    assert images.kind == "folder" and len(images.samples) == 4


def test_a_sample_submission_is_no_table_of_labels(tmp_path: Path) -> None:
    root = kaggle(tmp_path / "birds")
    with pytest.raises(DataError, match="called as a submission, whose labels are placeholders"):
        open_dataset(root / "sample_submission.csv")
    (root / "train.csv").rename(root / "else.csv")
    with pytest.raises(DataError, match=r"Or give the table '.*else\.csv'"):
        open_dataset(root)
