"""COCO JSON of label tools, of iNaturalist and of camera traps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import ONE_EACH, PHOTOS, coco, photographs, read, said, written
from PIL import Image

from tlaam.data.check import check, check_images
from tlaam.data.groups import groups_of
from tlaam.data.open import open_dataset
from tlaam.errors import ConfigError, DataError

BOXES = {
    "crow1.jpg": ("crow", "train", (2, 3, 12, 15)),
    "crow2.jpg": ("crow", "train", (4, 5, 10.5, 12)),
    "jay1.jpg": ("jay", "train", (1, 1, 21, 21)),
    "jay2.jpg": ("jay", "train", (0, 0, 40, 30)),
}


def test_an_image_has_the_category_and_box_of_its_only_object(tmp_path: Path) -> None:
    file = written(photographs(tmp_path / "birds") / "annotations.json", coco(ONE_EACH))
    for path in (file, tmp_path / "birds"):
        images = open_dataset(path)
        assert read(path) == BOXES
        assert (images.kind, images.name, images.classes) == ("coco", "birds", ("crow", "jay"))
        assert images.notes == ("Read as COCO JSON, 'annotations.json'.",)
    table = check(file).table()
    assert "4 images (train 4, val 0, test 0) of 2 classes" in table and "with boxes: 4" in table
    assert "Read as COCO JSON" in table


def test_several_objects_of_one_category_are_one_label_without_box(tmp_path: Path) -> None:
    objects = [*ONE_EACH, ("jay1.jpg", 2, [5.0, 5.0, 5.0, 5.0])]
    images = open_dataset(written(photographs(tmp_path) / "a.json", coco(objects)))
    assert [s.box is None for s in images.samples] == [False, False, True, False]
    assert said(images, "Boxes are not measured of 1 image with several objects.")
    assert not [finding for finding in check_images(images).findings if finding.kind == "boxless"]
    bare = replace(images, several=frozenset())
    assert [finding.kind for finding in check_images(bare).findings].count("boxless") == 1


def test_a_crowd_has_a_label_and_no_box(tmp_path: Path) -> None:
    document = coco(ONE_EACH)
    document["annotations"][0]["iscrowd"] = 1
    file = written(photographs(tmp_path) / "a.json", document)
    assert read(file)["crow1.jpg"] == ("crow", "train", None)
    assert open_dataset(f"{file}:crops=1").samples[0].name == "crow2.jpg[4,5,11,12]"


def test_images_of_several_categories_are_refused_with_the_option_that_takes_boxes(tmp_path: Path) -> None:
    objects = [*ONE_EACH, ("crow1.jpg", 2, [20.0, 10.0, 8.0, 8.0])]
    file = written(photographs(tmp_path) / "a.json", coco(objects))
    with pytest.raises(DataError) as error:
        open_dataset(file)
    assert "1 of 4 images has several categories of objects, such as 'crow1.jpg' ('crow', 'jay')" in str(error.value)
    assert f"'{file}:crops=1'" in str(error.value) and "\n" not in str(error.value)
    images = open_dataset(f"{file}:crops=1")
    assert images.option == "crops=1" and images.classes == ("crow", "jay")
    assert [(s.name, images.classes[s.label], s.window, s.box) for s in images.samples] == [
        ("crow1.jpg[2,3,12,15]", "crow", (2, 3, 12, 15), None),
        ("crow1.jpg[20,10,28,18]", "jay", (20, 10, 28, 18), None),
        ("crow2.jpg[4,5,11,12]", "crow", (4, 5, 11, 12), None),
        ("jay1.jpg[1,1,21,21]", "jay", (1, 1, 21, 21), None),
        ("jay2.jpg[0,0,40,30]", "jay", (0, 0, 40, 30), None),
    ]
    assert [s.picture_size() for s in images.samples] == [(10, 12), (8, 8), (7, 7), (20, 20), (40, 30)]
    groups = groups_of(images.samples)
    assert groups[0] == groups[1] and len(set(groups)) == 4
    with pytest.raises(ConfigError, match="allowed are crops=1"):
        open_dataset(f"{file}:crop=1")


def test_the_same_box_twice_is_one_crop_and_with_two_labels_a_fault(tmp_path: Path) -> None:
    again = [*ONE_EACH, ONE_EACH[0]]
    assert len(open_dataset(f"{written(photographs(tmp_path) / 'a.json', coco(again))}:crops=1").samples) == 4
    torn = [*ONE_EACH, ("crow1.jpg", 2, [2.0, 3.0, 10.0, 12.0])]
    with pytest.raises(DataError, match=r"'crow1.jpg\[2,3,12,15\]' has the label 'jay' here, but 'crow' in"):
        open_dataset(f"{written(tmp_path / 'a.json', coco(torn))}:crops=1")


def test_a_box_that_leaves_the_image_is_cut_off_and_one_outside_is_unreadable(tmp_path: Path) -> None:
    objects = [(f, c, [30.0, 20.0, 50.0, 50.0]) for f, c, _ in ONE_EACH[1:]] + [("crow1.jpg", 1, [50.0, 3.0, 5.0, 5.0])]
    file = written(photographs(tmp_path) / "a.json", coco(objects))
    assert open_dataset(f"{file}:crops=1").samples[1].picture_size() == (10, 10)
    report = check(f"{file}:crops=1")
    assert [s.name for s in report.unreadable] == ["crow1.jpg[50,3,55,8]"]
    assert any("lies outside its 40 x 30 pixels" in finding.detail for finding in report.findings)
    assert {f.name for f in check(file).findings if f.kind == "box-outside"} == {*PHOTOS}


def test_the_official_folders_of_coco(tmp_path: Path) -> None:
    for split, half in {"train": ("crow1.jpg", "jay1.jpg"), "val": ("crow2.jpg", "jay2.jpg")}.items():
        photographs(tmp_path / f"{split}2017", half)
        document = coco([each for each in ONE_EACH if each[0] in half], half)
        written(tmp_path / "annotations" / f"instances_{split}2017.json", document)
        written(tmp_path / "annotations" / f"captions_{split}2017.json", {**document, "categories": []})
    assert read(tmp_path) == {
        "train2017/crow1.jpg": ("crow", "train", (2, 3, 12, 15)),
        "train2017/jay1.jpg": ("jay", "train", (1, 1, 21, 21)),
        "val2017/crow2.jpg": ("crow", "val", (4, 5, 10.5, 12)),
        "val2017/jay2.jpg": ("jay", "val", (0, 0, 40, 30)),
    }
    assert all(sample.path.is_file() for sample in open_dataset(tmp_path).samples)
    alone = open_dataset(tmp_path / "annotations" / "instances_train2017.json")
    assert [s.name for s in alone.samples] == ["train2017/crow1.jpg", "train2017/jay1.jpg"]
    assert all(sample.path.is_file() for sample in alone.samples)


def test_the_folders_of_roboflow(tmp_path: Path) -> None:
    for split, half in {"train": ("crow1.jpg", "jay1.jpg"), "valid": ("crow2.jpg", "jay2.jpg")}.items():
        photographs(tmp_path / split, half)
        written(tmp_path / split / "_annotations.coco.json", coco([e for e in ONE_EACH if e[0] in half], half))
    found = read(tmp_path)
    assert found["train/crow1.jpg"] == ("crow", "train", (2, 3, 12, 15))
    assert found["valid/jay2.jpg"] == ("jay", "val", (0, 0, 40, 30)) and len(found) == 4
    assert all(sample.path.is_file() for sample in open_dataset(tmp_path).samples)


def test_an_export_of_one_file_with_a_category_above_the_others(tmp_path: Path) -> None:
    """As Roboflow writes it: the first category has no image, numbers of boxes are whole or not."""
    document = coco([("crow1.jpg", 1, [523, 108, 882.5, 945]), ("jay1.jpg", 2, [190, 167, 990, 1793.33])])
    document["categories"].insert(0, {"id": 0, "name": "birds", "supercategory": "none"})
    images = open_dataset(written(tmp_path / "_annotations.coco.json", document))
    assert images.classes == ("crow", "jay") and images.samples[0].box == (523, 108, 1405.5, 1053)
    assert said(images, "Left out: 2 images without a label.")


def test_competitions_of_inaturalist(tmp_path: Path) -> None:
    files = ["train/Aves/1/a.jpg", "train/Aves/2/b.jpg", "val/Aves/1/c.jpg"]
    photographs(tmp_path, files[:2])
    categories = [
        {"id": 0, "name": "Corvus corax", "supercategory": "Aves", "image_dir_name": "1"},
        {"id": 1, "name": "Garrulus glandarius", "supercategory": "Aves"},
    ]
    for split, chosen in {"train": files[:2], "val": files[2:]}.items():
        images = [{"id": n, "file_name": file, "rights_holder": "x"} for n, file in enumerate(chosen)]
        annotations = [{"id": n, "image_id": n, "category_id": n} for n in range(len(chosen))]
        document = {"info": {}, "images": images, "categories": categories, "annotations": annotations, "licenses": []}
        written(tmp_path / f"{split}2021.json", document)
    assert read(tmp_path) == {
        files[0]: ("Corvus corax", "train", None),
        files[1]: ("Garrulus glandarius", "train", None),
        files[2]: ("Corvus corax", "val", None),
    }
    report = check(tmp_path)
    assert [s.name for s in report.unreadable] == [files[2]]  # listed, and not there: said, not dropped
    with pytest.raises(DataError, match="holds no box with a label"):
        open_dataset(f"{tmp_path}:crops=1")
    written(tmp_path / "train_mini.json", document)
    with pytest.raises(DataError, match=r"3 COCO files, 'train2021.json', 'train_mini.json', 'val2021.json'"):
        open_dataset(tmp_path)


def test_camera_traps(tmp_path: Path) -> None:
    """`empty` is a class, photographs of one sequence are one group, two animals in one image are refused."""
    document = coco([(f, c, None) for f, c, _ in ONE_EACH])
    document["categories"][0]["name"] = "empty"
    for image, sequence in zip(document["images"], ["s1", "s2", "s1", "s3"], strict=True):
        image.update(seq_id=sequence, location=7)
    photographs(tmp_path)
    images = open_dataset(written(tmp_path / "caltech.json", document))
    assert images.classes == ("empty", "jay")
    assert [s.group for s in images.samples] == ["s1", "s2", "s1", "s3"]
    document["annotations"].append({"id": "x", "image_id": 10, "category_id": 2})
    with pytest.raises(
        DataError, match=r"several labels, such as 'crow1.jpg' \('empty', 'jay'\)\. Give each image one"
    ):
        open_dataset(written(tmp_path / "caltech.json", document))


def test_what_images_and_annotations_lack_is_said(tmp_path: Path) -> None:
    document = coco([*ONE_EACH[:1], *ONE_EACH[2:]])
    document["annotations"].append({"id": 9, "image_id": 999, "category_id": 1})
    images = open_dataset(written(photographs(tmp_path) / "a.json", document))
    assert [s.name for s in images.samples] == ["crow1.jpg", "jay1.jpg", "jay2.jpg"]
    assert said(images, "Left out: 1 image without a label.")
    assert said(images, "Left out: 1 annotation of 'a.json' that is of an image not listed.")


@pytest.mark.parametrize("spelt", ["photos\\{}", "./photos/{}", "/home/anna/birds/photos/{}", "PHOTOS/{}"])
def test_paths_of_other_systems(tmp_path: Path, spelt: str) -> None:
    photographs(tmp_path / "photos")
    document = coco(ONE_EACH)
    for image in document["images"]:
        image["file_name"] = spelt.format(image["file_name"])
    images = open_dataset(written(tmp_path / "a.json", document))
    assert [s.path for s in images.samples] == [tmp_path / "photos" / name for name in PHOTOS]
    assert [s.name for s in images.samples] == [f"photos/{name}" for name in PHOTOS]


def test_ids_as_text_and_every_encoding(tmp_path: Path) -> None:
    document = coco(ONE_EACH)
    document["images"][0]["id"] = "10"
    document["annotations"][1]["image_id"] = 11.0
    document["categories"][0]["id"] = "1"
    document["categories"][0]["name"] = "cro\u0308w "
    photographs(tmp_path)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "a.json").write_bytes(json.dumps(document, ensure_ascii=False).encode(encoding))
        assert read(tmp_path / "a.json")["crow1.jpg"] == ("cr\u00f6w", "train", (2, 3, 12, 15)), encoding


def test_boxes_between_0_and_1_are_shares(tmp_path: Path) -> None:
    objects = [(file, category, [0.25, 0.5, 0.5, 0.5]) for file, category, _ in ONE_EACH]
    file = written(photographs(tmp_path) / "a.json", coco(objects))
    assert {box for *_, box in read(file).values()} == {(10, 15, 30, 30)}
    assert {s.window for s in open_dataset(f"{file}:crops=1").samples} == {(10, 15, 30, 30)}


def test_splits_that_images_state(tmp_path: Path) -> None:
    document = coco(ONE_EACH)
    for image, split in zip(document["images"], ["train", "val", "train", "test"], strict=True):
        image["split"] = split
    photographs(tmp_path)
    found = read(written(tmp_path / "a.json", document))
    assert [split for _, split, _ in found.values()] == ["train", "val", "train", "test"]
    document["images"][2]["split"] = 3
    with pytest.raises(DataError, match=r"image 12: 'split' is 3"):
        open_dataset(written(tmp_path / "a.json", document))


def test_an_image_in_two_splits_is_refused_and_found_by_the_check(tmp_path: Path) -> None:
    photographs(tmp_path)
    for split in ("train", "val"):
        written(tmp_path / f"{split}.json", coco(ONE_EACH))
    with pytest.raises(DataError, match=r"'crow1.jpg' has the split 'val' here, but 'train' in"):
        open_dataset(tmp_path)
    kinds = {finding.kind for finding in check(tmp_path).findings}
    assert "duplicate-across-split" in kinds


def _set(name: str, place: int, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document[name][place][key] = value

    return change


def _drop(name: str, place: int, key: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document[name][place].pop(key)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no categories": (lambda d: d.pop("categories"), "lacks 'categories'"),
    "images that are no list": (lambda d: d.update(images={"a": 1}), "'images' is no list"),
    "a list for an image": (lambda d: d["images"].append([1]), "entry 5 is no object"),
    "a number for an annotation": (lambda d: d["annotations"].append(3), "entry 5 is no object"),
    "no id": (_drop("images", 1, "id"), "image 2: it has no 'id'"),
    "a list as id": (_set("images", 1, "id", [1]), "image 2: 'id' is a list"),
    "two images of one id": (_set("images", 1, "id", 10), "image 10: two images have this id"),
    "no file name": (_drop("images", 1, "file_name"), "image 11: it has no 'file_name'"),
    "a number as file name": (_set("images", 1, "file_name", 7), "image 11: 'file_name' is 7"),
    "an address": (_set("images", 1, "file_name", "https://example.com/a.jpg"), "is the address"),
    "half a character": (_set("images", 1, "file_name", "\ud800.jpg"), "is no valid text"),
    "no category": (_drop("annotations", 1, "category_id"), "annotation 101: it has no 'category_id'"),
    "an unknown category": (_set("annotations", 1, "category_id", 77), "annotation 101: category 77 is not in"),
    "a class without name": (_set("categories", 0, "name", " "), "category 1: 'name' is"),
    "a list as name": (_set("categories", 0, "name", ["a"]), "category 1: 'name' is a list"),
    "one name for two classes": (_set("categories", 0, "name", "jay"), "categories 1 and 2 are both called 'jay'"),
    "a box of three": (_set("annotations", 1, "bbox", [1, 2, 3]), "annotation 101: 'bbox' is a list"),
    "a box in words": (_set("annotations", 1, "bbox", "everywhere"), "must be four numbers"),
    "a box without area": (_set("annotations", 1, "bbox", [1, 2, 0, 3]), r"has no positive"),
    "a box of no number": (_set("annotations", 1, "bbox", [1, 2, float("nan"), 3]), "has no positive"),
    "an endless box": (_set("annotations", 1, "bbox", [1, 2, float("inf"), 3]), "has no positive"),
    "a crowd in words": (_set("annotations", 1, "iscrowd", "many"), "annotation 101: 'iscrowd' is 'many'"),
    "a file twice": (_set("images", 1, "file_name", "jay1.jpg"), "'jay1.jpg' has the label 'jay' here, but 'crow'"),
    "one class": (lambda d: d["annotations"].__setitem__(slice(2, None), []), "only one class, 'crow'"),
    "no annotation": (lambda d: d["annotations"].clear(), "holds no image with a label"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_wrong_is_refused_in_a_line_that_names_it(tmp_path: Path, kind: str) -> None:
    change, fault = FAULTS[kind]
    document = coco(ONE_EACH)
    change(document)
    file = written(photographs(tmp_path) / "a.json", document)
    with pytest.raises(DataError) as error:
        open_dataset(file)
    assert fault in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)


TEXTS = {
    "deep": b'{"images": ' + b"[" * 200_000,
    "cut off": b'{"images": [{"id"',
    "a number of many digits": b'{"images": [{"id": ' + b"9" * 5000 + b"}]}",
    "no UTF-8": b'{"images": "\xff\xfe\xfa"}',
    "nothing": b"",
    "zeros": bytes(100),
    "an image that is no JSON": b"\xff\xd8\xff\xe0",
    "only a name": b'{"images"}',
}


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.json").write_bytes(TEXTS[kind])
    with pytest.raises(DataError) as error:
        open_dataset(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(error.value) and "\n" not in str(error.value)


def test_impossible_boxes_are_kept_for_the_check(tmp_path: Path) -> None:
    document = coco(ONE_EACH)
    document["annotations"][0]["bbox"] = [1, 2, 0, 3]
    document["annotations"][2]["bbox"] = "everywhere"
    report = check(written(photographs(tmp_path) / "a.json", document))
    assert {finding.name for finding in report.findings if finding.kind == "box-outside"} == {"crow1.jpg", "jay1.jpg"}
    assert report.refusal is not None and "annotation 100" in report.refusal


def test_a_crop_is_what_its_box_shows(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photographs(tmp_path)
    document = coco([("crow1.png", 1, [2, 3, 10, 12]), ("crow1.png", 2, [20, 10, 8, 8])], ["crow1.png"])
    Image.fromarray(pixels).save(tmp_path / "crow1.png")
    samples = open_dataset(f"{written(tmp_path / 'a.json', document)}:crops=1").samples
    assert np.array_equal(np.asarray(samples[0].picture()), pixels[3:15, 2:12])
    assert np.array_equal(np.asarray(samples[1].picture()), pixels[10:18, 20:28])


def test_class_folders_beside_some_other_json_stay_class_folders(tmp_path: Path) -> None:
    photographs(tmp_path, ["crow/1.jpg", "jay/1.jpg"])
    for name, content in {"names.json": {"0": "crow"}, "info.json": {"images": 2}, "list.json": [1, 2]}.items():
        written(tmp_path / name, content)
    assert open_dataset(tmp_path).kind == "folder"
    shutil.rmtree(tmp_path / "jay")
