"""Exports of Label Studio: JSON, JSON-MIN and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from annotation_files import PHOTOS, photographs, read, said, written
from PIL import Image

from tlaam.data.check import check
from tlaam.data.open import open_dataset
from tlaam.errors import DataError

CROW = {"type": "choices", "from_name": "species", "value": {"choices": ["crow"]}}
JAY = {"type": "choices", "from_name": "species", "value": {"choices": ["jay"]}}
RECTANGLE = {"x": 25.0, "y": 50, "width": 50, "height": 40, "rotation": 0, "rectanglelabels": ["crow"]}


def region(value: dict[str, Any], key: str = "r1", **changes: Any) -> dict[str, Any]:
    return {"id": key, "type": "rectanglelabels", "from_name": "box", "value": {**value, **changes}}


def task(number: int, image: str, *results: list[dict[str, Any]], **extra: Any) -> dict[str, Any]:
    """Return a task with an annotation for each list of results."""
    annotations = [{"id": 1, "was_cancelled": False, "result": result} for result in results]
    return {"id": number, "data": {"image": image}, "annotations": annotations, "predictions": [], **extra}


def tasks() -> list[dict[str, Any]]:
    return [task(n, f"/data/upload/1/1a2b3c4d-{name}", [CROW if n < 2 else JAY]) for n, name in enumerate(PHOTOS)]


def test_choices_are_labels_and_images_are_found_without_the_prefix_of_the_upload(tmp_path: Path) -> None:
    file = written(photographs(tmp_path / "birds") / "project-1.json", tasks())
    for path in (file, tmp_path / "birds"):
        images = open_dataset(path)
        assert images.kind == "label-studio" and images.classes == ("crow", "jay")
        assert [s.path.name for s in images.samples] == list(PHOTOS) and images.notes[0].startswith("Read as an export")
        assert all(s.path.is_file() for s in images.samples)


@pytest.mark.parametrize(("stored", "written_as"), [
    ("images/1a2b3c4d-{}", "/data/upload/7/1a2b3c4d-{}"),
    ("media/upload/7/1a2b3c4d-{}", "/data/upload/7/1a2b3c4d-{}"),
    ("upload/7/1a2b3c4d-{}", "/data/upload/7/1a2b3c4d-{}"),
    ("media/upload/7/{}", "/data/local-files/?d=media/upload/7/{}"),
    ("{}", "https://example.com/store/{}?token=1"),
    ("images/{}", "s3://bucket/deep/{}"),
    ("images/{}", "gs://bucket/{}"),
    ("{}", "{}"),
])  # fmt: skip
def test_images_are_found_near_the_file(tmp_path: Path, stored: str, written_as: str) -> None:
    photographs(tmp_path, [stored.format(name) for name in PHOTOS])
    found = [task(n, written_as.format(name), [CROW if n < 2 else JAY]) for n, name in enumerate(PHOTOS)]
    images = open_dataset(written(tmp_path / "export.json", found))
    assert [s.path for s in images.samples] == [tmp_path / stored.format(name) for name in PHOTOS]


def test_rectangles_are_percent_of_the_upright_image(tmp_path: Path) -> None:
    photographs(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown as 30 x 40
    Image.new("RGB", (40, 30)).save(tmp_path / "crow1.jpg", exif=exif)
    found = [
        task(n, name, [region(RECTANGLE, rectanglelabels=["crow" if n < 2 else "jay"])])
        for n, name in enumerate(PHOTOS)
    ]
    file = written(tmp_path / "export.json", found)
    assert read(file)["crow1.jpg"] == ("crow", "train", (7.5, 20, 22.5, 36))
    assert read(file)["jay1.jpg"] == ("jay", "train", (10, 15, 30, 27))
    assert open_dataset(f"{file}:crops=1").samples[0].window == (7, 20, 23, 36)
    found[0]["annotations"][0]["result"].append(region(RECTANGLE, "r2", x=0, rectanglelabels=["jay"]))
    with pytest.raises(DataError, match="crops=1"):
        open_dataset(written(file, found))
    assert [s.window for s in open_dataset(f"{file}:crops=1").samples[:2]] == [(7, 20, 23, 36), (0, 20, 15, 36)]


def test_choices_and_rectangles_are_labels_and_boxes(tmp_path: Path) -> None:
    found = [
        task(n, f, [region(RECTANGLE, rectanglelabels=["bird"]), CROW if n < 2 else JAY]) for n, f in enumerate(PHOTOS)
    ]
    images = open_dataset(written(photographs(tmp_path) / "export.json", found))
    assert images.classes == ("crow", "jay") and images.samples[0].box == (10, 15, 30, 27)
    assert said(images, "labels are those of whole images")


def test_a_rotated_rectangle_is_an_object_without_box(tmp_path: Path) -> None:
    found = [task(n, f, [region(RECTANGLE, rotation=30, rectanglelabels=["ab"[n // 2]])]) for n, f in enumerate(PHOTOS)]
    assert {box for *_, box in read(written(photographs(tmp_path) / "export.json", found)).values()} == {None}


def test_annotators_who_agree_are_one_and_who_differ_are_refused_by_name(tmp_path: Path) -> None:
    photographs(tmp_path)
    found = tasks()
    found[0] = task(41, PHOTOS[0], [CROW], [CROW])
    assert len(read(written(tmp_path / "export.json", found))) == 4
    found[0] = task(41, PHOTOS[0], [CROW], [JAY])
    found[3] = task(44, PHOTOS[3], [CROW], [JAY])
    with pytest.raises(DataError, match=r"annotators give different labels in 2 tasks, 41, 44\. Keep one"):
        open_dataset(written(tmp_path / "export.json", found))
    for each in (found[0], found[3]):
        each["annotations"][1]["ground_truth"] = True
    assert read(written(tmp_path / "export.json", found))[PHOTOS[0]][0] == "jay"


def test_what_one_annotator_adds_to_another_counts(tmp_path: Path) -> None:
    found = tasks()
    found[0] = task(0, PHOTOS[0], [CROW], [region(RECTANGLE)])
    assert read(written(photographs(tmp_path) / "export.json", found))[PHOTOS[0]] == ("crow", "train", (10, 15, 30, 27))


def test_boxes_of_two_annotators_are_not_measured(tmp_path: Path) -> None:
    found = tasks()
    results = [[CROW, region(RECTANGLE, x=x)] for x in (10, 12)]
    found[0] = task(0, PHOTOS[0], *results)
    assert read(written(photographs(tmp_path) / "export.json", found))[PHOTOS[0]] == ("crow", "train", None)


def test_empty_and_cancelled_tasks_are_left_out_and_said(tmp_path: Path) -> None:
    found = [*tasks(), task(8, "x.jpg", []), task(9, "y.jpg")]
    found.append(task(10, "z.jpg", [JAY]))
    found[-1]["annotations"][0]["was_cancelled"] = True
    images = open_dataset(written(photographs(tmp_path) / "export.json", found))
    assert len(images.samples) == 4
    assert said(images, "Left out: 2 tasks without an answer.")
    assert said(images, "Left out: 1 task whose answers were cancelled.")


def test_json_min(tmp_path: Path) -> None:
    photographs(tmp_path)
    names = ["crow", "crow", "jay", "jay"]
    rows: list[dict[str, Any]] = [
        {"image": f"/data/upload/1/1a2b3c4d-{f}", "id": n, "choice": name, "annotator": 1, "annotation_id": n,
         "created_at": "2024-01-01", "updated_at": "2024-01-01", "lead_time": 3.5, "site": 7}
        for n, (f, name) in enumerate(zip(PHOTOS, names, strict=True))
    ]  # fmt: skip
    rows[1]["choice"] = {"choices": ["crow"]}
    file = written(tmp_path / "min.json", rows)
    assert [label for label, *_ in read(file).values()] == names
    rows[0]["label"] = [{**RECTANGLE, "original_width": 40, "original_height": 30}]
    assert read(written(file, rows))["crow1.jpg"] == ("crow", "train", (10, 15, 30, 27))
    rows.append({**rows[2], "choice": "crow", "annotator": 2, "annotation_id": 9})
    with pytest.raises(DataError, match="different labels in task 2"):
        open_dataset(written(file, rows))


def test_rectangles_in_json_min(tmp_path: Path) -> None:
    labels = [[{**RECTANGLE, "rectanglelabels": [name]}] for name in ("crow", "crow", "jay", "jay")]
    rows = [
        {"image": f, "id": n, "label": label, "annotator": 1}
        for n, (f, label) in enumerate(zip(PHOTOS, labels, strict=True))
    ]
    assert read(written(photographs(tmp_path) / "min.json", rows))["jay2.jpg"] == ("jay", "train", (10, 15, 30, 27))


def test_csv_is_a_manifest(tmp_path: Path) -> None:
    header = "annotation_id,annotator,choice,created_at,id,image,lead_time,updated_at\n"
    rows = [
        f"{n},1,{'crow' if n < 2 else 'jay'},2024-01-01T00:00,{n},/data/upload/1/1a2b3c4d-{f},2.5,2024-01-02T00:00\n"
        for n, f in enumerate(PHOTOS)
    ]
    file = photographs(tmp_path) / "export.csv"
    file.write_text(header + "".join(rows))
    assert {f: label for f, (label, *_) in read(file).items()} == dict(
        zip(PHOTOS, ["crow", "crow", "jay", "jay"], strict=True)
    )
    file.write_text(header + "".join(rows) + rows[0].replace(",crow,", ",jay,"))
    with pytest.raises(DataError, match=r"line 6: image 'crow1.jpg' has the label 'jay' here, but 'crow'"):
        open_dataset(file)


@pytest.mark.parametrize(("change", "fault"), [
    ({"data": []}, "task 0: 'data' is a list"),
    ({"data": {"text": "a"}}, "task 0: its data names no image"),
    ({"data": {"image": "data:image/png;base64,AAAA"}}, "is the address"),
    ({"annotations": 3}, "'annotations' is no list"),
    ({"annotations": [{"result": "x"}]}, "'result' is 'x'"),
    ({"annotations": [{"result": [{"value": {"choices": [3.5]}}]}]}, "a label is 3.5"),
    ({"annotations": [{"result": [{**CROW, "value": {"choices": ["a", "b"]}}]}]}, "several labels"),
    ({"annotations": [{"result": [region(RECTANGLE, width="wide")]}]}, "must be numbers"),
    ({"annotations": [{"result": [region(RECTANGLE, width=-5)]}]}, "no positive"),
    ({"annotations": [{"result": [region(RECTANGLE, rotation=[1])]}]}, "the rotation of a rectangle is a list"),
    ({"annotations": [{"result": [region(RECTANGLE, rectanglelabels=["a", "b"])]}]}, "a region has 2 labels"),
    ({"annotations": [{"result": [CROW, {**JAY, "from_name": "weather"}]}]}, "several questions, '"),
])  # fmt: skip
def test_what_is_wrong_is_refused_in_a_line(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    found = tasks()
    found[0].update(change)
    file = written(photographs(tmp_path) / "export.json", found)
    with pytest.raises(DataError) as error:
        open_dataset(file)
    assert fault in str(error.value) and str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[1, 2]", "[[]]", "[]", "[" * 100_000, '[{"id": 1}', "[null]"])
def test_lists_of_something_else_are_refused(tmp_path: Path, text: str) -> None:
    file = written(tmp_path / "list.json", text)
    with pytest.raises(DataError) as error:
        open_dataset(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_images_that_are_not_there_are_said(tmp_path: Path) -> None:
    report = check(written(tmp_path / "export.json", tasks()))
    assert len(report.unreadable) == 4
    assert any("are not there" in note and "images" in note for note in report.notes)


def test_a_class_of_thousands_of_letters_is_named_in_part(tmp_path: Path) -> None:
    photographs(tmp_path)
    long = {**CROW, "value": {"choices": ["x" * 5000]}}
    file = written(tmp_path / "export.json", [task(n, name, [long]) for n, name in enumerate(PHOTOS)])
    with pytest.raises(DataError, match="only one class, 'xxx") as caught:
        open_dataset(file)
    assert len(str(caught.value)) < 700
