"""``tlaam predict --objects`` and ``--boxes``: lines, tables and recognitions with an entry for each object."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import FACTS, small_model, written
from PIL import Image, ImageDraw

from tlaam.cli.main import main
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers

RED, GREEN = (230, 20, 20), (20, 230, 20)
BOXES = "image,x_min,y_min,x_max,y_max\none.png,10,10,50,50\none.png,60,20,90,60\nempty.png,,,,\n"


def model_with_boxes(path: Path, *, found: Sequence[Sequence[float]] = (), facts: dict[str, str] = FACTS) -> Path:
    """Write a file that names the colour of what is around a box, and finds the same boxes in every image."""
    model = small_model({**facts, "boxes": "told"})
    graph = model.graph
    objects = np.zeros((1, 16, 7), np.float32)
    objects[0, : len(found)] = np.array(found, dtype=np.float32).reshape(-1, 7)
    graph.initializer.extend([
        numpy_helper.from_array(np.zeros((1, 4), np.float32), "boxes"),
        numpy_helper.from_array(objects, "constant"), numpy_helper.from_array(np.array([16, 7]), "rest"),
        numpy_helper.from_array(np.array([4]), "four"), numpy_helper.from_array(np.float32(0), "nothing"),
    ])  # fmt: skip
    graph.node.extend([
        helper.make_node("Shape", ["photos"], ["count"], start=0, end=1),
        helper.make_node("Concat", ["count", "rest"], ["shape"], axis=0),
        helper.make_node("Expand", ["constant", "shape"], ["objects"]),
        helper.make_node("Concat", ["count", "four"], ["boxes_shape"], axis=0),
        helper.make_node("Expand", ["boxes", "boxes_shape"], ["object_boxes"]),
    ])  # fmt: skip
    graph.input.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["boxes", 4]))
    graph.output.append(helper.make_tensor_value_info("objects", TensorProto.FLOAT, ["batch", 16, 7]))
    graph.output.append(helper.make_tensor_value_info("object_boxes", TensorProto.FLOAT, ["batch", 4]))
    onnx.checker.check_model(model)
    return written(path, model)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "card"
    folder.mkdir()
    image = Image.new("RGB", (100, 80), (90, 90, 90))
    ImageDraw.Draw(image).rectangle((10, 10, 49, 49), fill=RED)
    ImageDraw.Draw(image).rectangle((60, 20, 89, 59), fill=GREEN)
    image.save(folder / "one.png")
    Image.new("RGB", (100, 80), (90, 90, 90)).save(folder / "empty.png")
    (folder / "bad.png").write_bytes(b"no image")
    (tmp_path / "boxes.csv").write_text(BOXES)
    return folder


def called(*arguments: object) -> int:
    return main([*map(str, arguments)])


def lines(path: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {Path(row["path"]).stem: row for row in rows}


def test_given_boxes_are_named(card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = model_with_boxes(tmp_path / "m.onnx"), tmp_path / "a.jsonl"
    assert called("predict", model, card, "--boxes", tmp_path / "boxes.csv", "--json", out) == 0
    shown = capsys.readouterr()
    assert "nothing found" in shown.out and "nothing was found in 1 of 3 images" in shown.err
    one, none, bad = (lines(out)[name] for name in ("one", "empty", "bad"))
    assert [found["predictions"][0]["label"] for found in one["objects"]] == ["red", "green"]
    assert [found["object_box"] for found in one["objects"]] == [[10, 10, 50, 50], [60, 20, 90, 60]]
    assert one["predictions"] == one["objects"][0]["predictions"] and one["object_box"] == [10, 10, 50, 50]
    assert none["verdict"] == "nothing found" and none["predictions"] == none["objects"] == []
    assert bad["error"] and bad["verdict"] is None and "objects" not in bad


def test_without_the_options_nothing_is_new(card: Path, tmp_path: Path) -> None:
    model, out = model_with_boxes(tmp_path / "m.onnx"), tmp_path / "a.jsonl"
    assert called("predict", model, card, "--json", out) == 0
    assert all("objects" not in row for row in lines(out).values())


def test_objects_are_found_or_nothing_is(card: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    assert called("predict", model_with_boxes(tmp_path / "m.onnx"), card, "--objects", "all", "--json", out) == 0
    assert lines(out)["one"]["verdict"] == "nothing found"
    sure = [8, 8, 24, 24, 0.25, 0.99, 0.95]  # in the middle of every picture, also of a closer look
    assert (
        called("predict", model_with_boxes(tmp_path / "n.onnx", found=[sure]), card, "--objects", 3, "--json", out) == 0
    )
    (found,) = lines(out)["one"]["objects"]
    assert found["predictions"] == lines(out)["one"]["predictions"]
    doubtful = [8, 8, 24, 24, 0.25, 0.75, 0.7]
    model = model_with_boxes(tmp_path / "o.onnx", found=[doubtful])
    assert called("predict", model, card, "--objects", "all", "--json", out) == 0
    assert lines(out)["one"]["verdict"] == "nothing found"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_tables_have_a_row_an_object(card: Path, tmp_path: Path, kind: str) -> None:
    model = model_with_boxes(tmp_path / "m.onnx")
    options = ["--boxes", tmp_path / "boxes.csv", "--format", kind]
    options += ["--csv", tmp_path / "a.csv", "--timelapse", tmp_path / "t.json", "--sort-into", tmp_path / "sorted"]
    options += ["--page", tmp_path / "a.html"]
    for _ in range(2):  # the second finds all done
        assert called("predict", model, card, *options) == 0
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    of = {name: [row for row in rows if row["file"].endswith(name)] for name in ("one.png", "empty.png", "bad.png")}
    assert [(row["object"], row["label"], row["x0"]) for row in of["one.png"]] == [
        ("1", "red", "10.0"), ("2", "green", "60.0")
    ]  # fmt: skip
    (none,), (bad,) = of["empty.png"], of["bad.png"]
    assert none["verdict"] == "nothing found" and none["object"] == none["label"] == none["error"] == ""
    assert bad["error"] and bad["verdict"] == ""
    images = {image["file"]: image for image in json.loads((tmp_path / "t.json").read_text())["images"]}
    assert [detection["bbox"] for detection in images["one.png"]["detections"]] == [
        [0.1, 0.125, 0.4, 0.5], [0.6, 0.25, 0.3, 0.5]
    ]  # fmt: skip
    assert images["empty.png"]["detections"] == [] and "failure" in images["bad.png"]
    assert (tmp_path / "sorted" / "red" / "one.png").exists()
    assert not list((tmp_path / "sorted").rglob("empty.png"))
    assert '"others":[{"name":"green"' in (tmp_path / "a.html").read_text()


def test_ranks_are_each_objects_own(card: Path, tmp_path: Path) -> None:
    """Red has a species of its own, green and blue are one genus."""
    (tmp_path / "taxonomy.csv").write_text(
        "label,species,genus\nred,R. ruber,Rubor\ngreen,V. viridis,Color\nblue,C. caeruleus,Color\n"
    )
    shares = SharedAnswers.of(np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]] * 40))
    held_out = HeldOutAnswers(np.array([0, 1, 2] * 40), shares)
    model = model_with_boxes(tmp_path / "m.onnx", facts={**FACTS, "held_out": held_out.to_text()})
    options = ["--boxes", tmp_path / "boxes.csv", "--taxonomy", tmp_path / "taxonomy.csv", "--csv", tmp_path / "a.csv"]
    assert called("predict", model, card, *options, "--json", tmp_path / "a.jsonl") == 0
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].endswith("one.png")]
    objects = lines(tmp_path / "a.jsonl")["one"]["objects"]
    for row, found in zip(rows, objects, strict=True):
        assert row["rank"] == (found["rank"] or "") and row["taxon"] == (found["taxon"] or "")
        assert row["lineage"] == "; ".join(f"{rank}: {taxon}" for rank, taxon in found["lineage"].items())
    assert rows[0]["taxon"] == "R. ruber" and rows[0]["lineage"] == "species: R. ruber; genus: Rubor"


def test_another_file_of_boxes_is_another_work(card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_with_boxes(tmp_path / "m.onnx")
    assert called("predict", model, card, "--boxes", tmp_path / "boxes.csv", "--into", tmp_path / "into") == 0
    (tmp_path / "boxes.csv").write_text(BOXES.replace("10,10,50,50", "10,10,50,51"))
    assert called("predict", model, card, "--boxes", tmp_path / "boxes.csv", "--into", tmp_path / "into") == 1
    assert "begun with other boxes" in capsys.readouterr().err


def test_timelapse_files_of_ours_are_boxes(card: Path, tmp_path: Path) -> None:
    model, out = model_with_boxes(tmp_path / "m.onnx"), tmp_path / "a.jsonl"
    assert called("predict", model, card, "--boxes", tmp_path / "boxes.csv", "--timelapse", tmp_path / "t.json") == 0
    (card / "bad.png").unlink()
    assert called("predict", model, card, "--boxes", tmp_path / "t.json", "--json", out) == 0
    assert [found["object_box"] for found in lines(out)["one"]["objects"]] == [[10, 10, 50, 50], [60, 20, 90, 60]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objects", "0"], "neither 'all' nor"),
        (["--objects", "some"], "neither 'all' nor"),
        (["--boxes", "none.csv"], "none.csv"),
        (["--boxes-confidence", "0.5"], "goes with boxes"),
        (["--boxes", "other.csv"], "names none of these images"),
        (["--boxes", "hostile.json"], "hostile.json"),
    ],
)
def test_what_cannot_be_is_one_line(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text(BOXES.replace(".png", ".jpg"))
    (tmp_path / "hostile.json").write_text(
        '{"images": [{"file": "one.png", "detections": [{"bbox": [1e999, 0, 1, 1]}]}]}'
    )
    assert called("predict", model_with_boxes(tmp_path / "m.onnx"), card, *options) != 0
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize("options", [["--objects", "all"], ["--boxes", "boxes.csv"]])
def test_an_older_file_is_to_be_exported_again(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("predict", written(tmp_path / "old.onnx", small_model()), card, *options) == 1
    error = capsys.readouterr().err
    assert "export the run again" in error and len(error.strip().splitlines()) == 1


def test_a_file_whose_metadata_lie_is_refused(card: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = written(tmp_path / "m.onnx", small_model({**FACTS, "boxes": "told"}))
    assert called("predict", model, card) == 1
    assert "do not agree" in capsys.readouterr().err
