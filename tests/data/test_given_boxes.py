"""Boxes from the files of others: found by the photograph's path, in its pixels, and refused where they are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlaam.data.given_boxes import read_boxes
from tlaam.errors import ConfigError, DataError

SIZE = (200, 100)


def megadetector(*images: dict[str, Any], **rest: Any) -> dict[str, Any]:
    categories = {"1": "animal", "2": "person", "3": "vehicle"}
    return {"images": list(images), "detection_categories": categories, "info": {"format_version": "1.4"}, **rest}


def detection(box: Any, conf: Any = 0.9, category: str = "1") -> dict[str, Any]:
    return {"category": category, "conf": conf, "bbox": box}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_megadetector(tmp_path: Path) -> None:
    several = [
        detection([0.1, 0.2, 0.5, 0.5]), detection([0, 0, 0.2, 0.2], 0.1), detection([0, 0, 1, 1], category="2"),
        detection([0.0, 0.0, 0.25, 1.0]),
    ]  # fmt: skip
    images = [
        {"file": "a\\1.jpg", "detections": several}, {"file": "a/2.jpg", "detections": []},
        {"file": "3.jpg", "detections": None, "failure": "Failure image access"},
    ]  # fmt: skip
    boxes = read_boxes(written(tmp_path / "md.json", megadetector(*images)))
    np.testing.assert_allclose(boxes.of("/card/a/1.jpg", SIZE), [[20, 20, 120, 70], [0, 0, 50, 100]])
    assert boxes.of("/card/a/2.jpg", SIZE).shape == (0, 4)
    with pytest.raises(DataError, match="Failure image access"):
        boxes.of("/card/3.jpg", SIZE)
    with pytest.raises(DataError, match="does not name"):  # nobody has looked at it
        boxes.of("/card/b/1.jpg", SIZE)
    assert boxes.names("x/a/1.jpg") and not boxes.names("x/1.jpg")
    assert len(read_boxes(tmp_path / "md.json", 0.05).of("/card/a/1.jpg", SIZE)) == 3


def test_coco(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 50}, {"id": 2, "file_name": "2.jpg"}]
    annotations = [
        {"image_id": 1, "bbox": [10, 5, 20, 30], "category_id": 1}, {"image_id": 2, "bbox": [10, 5, 20, 30]},
        {"image_id": 2, "bbox": [0, 0, 20, 30], "iscrowd": 1}, {"image_id": 2, "bbox": [0, 0, 9, 9], "score": 0.1},
    ]  # fmt: skip
    boxes = read_boxes(written(tmp_path / "c.json", {"images": images, "annotations": annotations}))
    np.testing.assert_allclose(boxes.of("1.jpg", SIZE), [[20, 10, 60, 70]])  # twice as large as when they were drawn
    np.testing.assert_allclose(boxes.of("2.jpg", SIZE), [[10, 5, 30, 35]])
    with pytest.raises(DataError, match="upright"):
        boxes.of("1.jpg", (100, 200))


def test_yolo(tmp_path: Path) -> None:
    (tmp_path / "labels" / "a").mkdir(parents=True)
    (tmp_path / "labels" / "a" / "1.txt").write_text(
        "0 0.5 0.5 0.5 1.0\n\n1 0.1 0.1 0.2 0.2 0.05\n2 0 0 0.5 0 0.5 0.5\n"
    )
    (tmp_path / "labels" / "2.txt").write_text("0 0.5 0.5 1 1 0.9\n")
    boxes = read_boxes(tmp_path)
    np.testing.assert_allclose(boxes.of("/card/a/1.jpg", SIZE), [[50, 0, 150, 100], [0, 0, 100, 50]])
    np.testing.assert_allclose(boxes.of("/card/b/2.png", SIZE), [[0, 0, 200, 100]])
    assert boxes.of("/card/b/3.jpg", SIZE).shape == (0, 4) and not boxes.names("/card/b/3.jpg")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,x_min,y_min,x_max,y_max", "1.jpg,10,20,60,70"),
        ("file;label;x0;y0;x1;y1", "1.jpg;jay;10;20;60;70"),
        ("filename,x,y,width,height", "1.jpg,10,20,50,50"),
        ("image,x_min,y_min,x_max,y_max,confidence", "1.jpg,10,20,60,70,0.5"),
    ],
)
def test_tables(tmp_path: Path, header: str, row: str) -> None:
    boxes = read_boxes(written(tmp_path / "b.csv", f"{header}\n{row}\n"))
    np.testing.assert_allclose(boxes.of("/card/1.jpg", SIZE), [[10, 20, 60, 70]])
    assert boxes.of("/card/2.jpg", SIZE).shape == (0, 4)


def test_a_row_without_a_box_is_a_photograph_of_nothing(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path / "b.csv", "image,label,x_min,y_min,x_max,y_max\n1.jpg,,,,,\n"))
    assert boxes.names("1.jpg") and boxes.of("1.jpg", SIZE).shape == (0, 4)


def test_absolute_paths_of_another_machine_are_found_by_what_differs(tmp_path: Path) -> None:
    images = [
        {"file": f"/mnt/old/card/{name}", "detections": [detection([0, 0, 0.5, 0.5])]}
        for name in ("a/1.jpg", "b/1.jpg")
    ]
    boxes = read_boxes(written(tmp_path / "md.json", megadetector(*images)))
    assert boxes.names("/media/new/a/1.jpg") and not boxes.names("/media/new/c/1.jpg")


def test_the_longest_path_counts(tmp_path: Path) -> None:
    text = "image,x_min,y_min,x_max,y_max\n1.jpg,0,0,10,10\na/1.jpg,0,0,20,20\n"
    boxes = read_boxes(written(tmp_path / "b.csv", text))
    assert boxes.of("/c/a/1.jpg", SIZE)[0, 2] == 20 and boxes.of("/c/b/1.jpg", SIZE)[0, 2] == 10
    assert not boxes.names("/c/b/11.jpg")


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "nul", '{"images": 3}', '{"images": [3]}', '{"a": 1}', "[" * 100_000,
        megadetector({"detections": []}), megadetector({"file": 3, "detections": []}),
        megadetector({"file": "a\0b", "detections": []}), megadetector({"file": "a", "detections": 3}),
        megadetector({"file": "a", "detections": [detection(None)]}),
        megadetector({"file": "a", "detections": [detection([0, 0, "x", 1])]}),
        megadetector({"file": "a", "detections": [detection([0, 0, 1])]}),
        megadetector({"file": "a", "detections": [detection([0, 0, 1, 1], "high")]}),
        megadetector({"file": "a", "detections": [detection([0, 0, float("inf"), 1])]}),
        megadetector({"file": "a", "detections": []}, {"file": "a", "detections": [detection([0, 0, 1, 1])]}),
        {"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []},
        {"images": [{"id": 1}], "annotations": []},
        {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": "0 0 1 1"}]},
    ],
)  # fmt: skip
def test_damaged_json_is_refused_in_a_line(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_boxes(written(tmp_path / "b.json", content))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500 and "b.json" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "image\n1.jpg\n", "image,x_min,y_min,x_max,y_max\n,1,1,2,2\n", "image,x_min,y_min,x_max,y_max\na,1,1,x,2\n",
     "image,x_min,y_min,x_max,y_max\na,1,1,nan,2\n", "image,x_min,y_min,x_max,y_max\na,1,1\n",
     "file,path,x0,y0,x1,y1\na,b,1,1,2,2\n", "x_min,y_min,x_max,y_max\n1,1,2,2\n"],
)  # fmt: skip
def test_damaged_tables_are_refused_in_a_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError) as caught:
        read_boxes(written(tmp_path / "b.csv", text))
    assert "\n" not in str(caught.value) and "b.csv" in str(caught.value)


@pytest.mark.parametrize("line", ["0 0.5 0.5", "0 a b c d", "0 5 5 5 5", "0 nan 0 1 1", "0", "0 0.5 0.5 0 0.1"])
def test_damaged_yolo_files_are_errors_of_their_photograph(tmp_path: Path, line: str) -> None:
    (tmp_path / "1.txt").write_text(line)
    with pytest.raises(DataError, match=r"1\.txt"):
        read_boxes(tmp_path).of("1.jpg", SIZE)


def test_what_is_no_file_of_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="YOLO"):
        read_boxes(tmp_path)
    with pytest.raises(DataError, match="Cannot read"):
        read_boxes(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="from 0 to 1"):
        read_boxes(written(tmp_path / "md.json", megadetector()), 2)


def test_boxes_of_another_photograph_are_refused(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path / "b.csv", "image,x_min,y_min,x_max,y_max\n1.jpg,10,20,260,70\n"))
    with pytest.raises(DataError, match=r"box 1 of '1\.jpg'.*200 x 100"):
        boxes.of("1.jpg", SIZE)
    edge = read_boxes(written(tmp_path / "e.csv", "image,x_min,y_min,x_max,y_max\n1.jpg,-1,0,203,100\n"))
    np.testing.assert_allclose(edge.of("1.jpg", SIZE), [[0, 0, 200, 100]])  # as detectors round


def test_digests_tell_boxes_apart(tmp_path: Path) -> None:
    text = "image,x_min,y_min,x_max,y_max\n1.jpg,10,20,{},70\n"
    first, again, other = (
        read_boxes(written(tmp_path / f"{n}.csv", text.format(x))).digest() for n, x in enumerate((60, 60, 61))
    )
    assert first == again != other


def test_digests_of_yolo_folders_go_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("0 0.5 0.5 0.5 0.5")
    before = read_boxes(tmp_path).digest()
    (tmp_path / "1.txt").write_text("0 0.5 0.5 0.5 0.6")
    assert read_boxes(tmp_path).digest() != before
