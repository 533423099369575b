"""CVAT for images 1.1."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_files import PHOTOS, photographs, read, said, written

from tlaam.data.open import open_dataset
from tlaam.errors import DataError


def box(label: str, corners: str = "2.5 3 12 15", extra: str = "") -> str:
    values = " ".join(
        f'{name}="{value}"' for name, value in zip(("xtl", "ytl", "xbr", "ybr"), corners.split(), strict=True)
    )
    return f'<box label="{label}" occluded="0" {values} z_order="0" {extra}><attribute name="age">3</attribute></box>'


def document(*inner: str, attributes: str = "") -> str:
    images = "".join(
        f'<image id="{n}" name="{name}" width="40" height="30" {attributes}>{text}</image>'
        for n, (name, text) in enumerate(zip(PHOTOS, inner, strict=False))
    )
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta/>{images}</annotations>'


GOOD = [box("crow"), box("crow"), box("jay"), box("jay", "0 0 40 30")]


def test_boxes_of_the_only_objects(tmp_path: Path) -> None:
    photographs(tmp_path / "task" / "images")
    file = written(tmp_path / "task" / "annotations.xml", document(*GOOD))
    for path in (file, tmp_path / "task"):
        images = open_dataset(path)
        assert (images.kind, images.name, images.classes) == ("cvat", "task", ("crow", "jay"))
        assert read(path)["images/crow1.jpg"] == ("crow", "train", (2.5, 3, 12, 15))
        assert all(s.path.is_file() for s in images.samples)


def test_tags_are_labels_and_boxes_are_measured(tmp_path: Path) -> None:
    tags = [f'<tag label="{name}" source="manual"/>' for name in ("crow", "crow", "jay", "jay")]
    photographs(tmp_path)
    images = open_dataset(written(tmp_path / "annotations.xml", document(*[t + box("bird") for t in tags])))
    assert images.classes == ("crow", "jay") and images.samples[0].box == (2.5, 3, 12, 15)
    assert said(images, "labels are those of whole images")
    images = open_dataset(written(tmp_path / "annotations.xml", document(*tags[:3], box("bird"))))
    assert len(images.samples) == 3 and said(images, "Left out: 1 image without a label.")


def test_several_labels_and_their_crops(tmp_path: Path) -> None:
    photographs(tmp_path / "images")
    file = written(tmp_path / "annotations.xml", document(box("crow") + box("jay", "20 10 28 18"), *GOOD[1:]))
    with pytest.raises(DataError, match=r"'images/crow1.jpg' \('crow', 'jay'\).*annotations.xml:crops=1'"):
        open_dataset(file)
    assert [s.window for s in open_dataset(f"{file}:crops=1").samples[:2]] == [(2, 3, 12, 15), (20, 10, 28, 18)]
    tags = '<tag label="a"/><tag label="b"/>'
    with pytest.raises(DataError, match=r"several labels, .* Give each image one label\."):
        open_dataset(written(file, document(tags, *GOOD[1:])))


def test_a_rotated_box_is_its_extent_and_polygons_have_none(tmp_path: Path) -> None:
    photographs(tmp_path)
    shapes = [box("crow", "10 10 20 14", 'rotation="90"'), '<polygon label="crow" points="1,2;3,4;5,1"/>', *GOOD[2:]]
    found = read(written(tmp_path / "annotations.xml", document(*shapes)))
    assert found["crow1.jpg"][2] == pytest.approx((13, 7, 17, 17))
    assert found["crow2.jpg"] == ("crow", "train", None)


def test_subsets_are_splits(tmp_path: Path) -> None:
    photographs(tmp_path / "images" / "Train", PHOTOS)
    text = document(*GOOD, attributes='subset="Train"').replace('subset="Train"', 'subset="Test"', 1)
    assert [split for _, split, _ in read(written(tmp_path / "annotations.xml", text)).values()] == [
        "test",
        *["train"] * 3,
    ]
    with pytest.raises(DataError, match="its subset is 'season1'"):
        open_dataset(written(tmp_path / "annotations.xml", document(*GOOD, attributes='subset="season1"')))


def test_one_file_name_in_two_subsets(tmp_path: Path) -> None:
    """As in the export of a project: each in the folder of its subset."""
    photographs(tmp_path / "images" / "Train", ["1.jpg", "2.jpg"])
    photographs(tmp_path / "images" / "Test", ["1.jpg"])
    images = [("1.jpg", "Train", "crow"), ("2.jpg", "Train", "jay"), ("1.jpg", "Test", "jay")]
    text = "".join(f'<image name="{n}" subset="{s}"><tag label="{label}"/></image>' for n, s, label in images)
    assert read(written(tmp_path / "annotations.xml", f"<annotations>{text}</annotations>")) == {
        "images/Train/1.jpg": ("crow", "train", None),
        "images/Train/2.jpg": ("jay", "train", None),
        "images/Test/1.jpg": ("jay", "test", None),
    }


BOMB = "<!DOCTYPE a [<!ENTITY b 'xxxx'>" + "".join(
    f"<!ENTITY {chr(99 + n)} '{f'&{chr(98 + n)};' * 20}'>" for n in range(10)
) + "]><annotations><image name='&l;'/></annotations>"  # fmt: skip
TEXTS = {
    "entities that unfold": (BOMB, "declares entities"),
    "an entity of another file": (
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><annotations>&b;</annotations>",
        "declares entities",
    ),
    "cut off": ("<annotations><image name='a.jpg'>", "is no XML"),
    "an unknown encoding": ("<?xml version='1.0' encoding='utf-99'?><annotations/>", "is no XML"),
    "an encoding of many bytes": ("<?xml version='1.0' encoding='utf-32'?><annotations/>", "is no XML"),
    "deep": ("<annotations>" + "<a>" * 100_000, "is no XML"),
    "nothing in it": ("<annotations/>", "holds no image with a label"),
    "of a video": ("<annotations><track id='0' label='crow'/></annotations>", "of a video"),
    "another root": ("<x><annotations/></x>", "begins with <x>"),
    "no name": ("<annotations><image id='3'/></annotations>", "it has no name"),
    "no label": (document("<tag/>"), "the label is None"),
    "corners in words": (document(box("crow", "a b c d"), *GOOD[1:]), "must be numbers"),
    "a box inside out": (document(box("crow", "9 9 3 3"), *GOOD[1:]), "no positive"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_wrong_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    text, fault = TEXTS[kind]
    file = written(photographs(tmp_path) / "annotations.xml", text)
    with pytest.raises(DataError) as error:
        open_dataset(file)
    assert fault in str(error.value) and str(file) in str(error.value) and "\n" not in str(error.value)
