"""What version 0.1.0 wrote is read by this one, and answers as it did: runs, exported files, indices, hub folders."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from measuring import measured

from tlaam.cli.main import main
from tlaam.inference.engine import Engine, load_engine
from tlaam.reference.file import read_index

ARTEFACTS = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "artefacts.tar.xz"
MODELS = {
    "run": ("run", {"precision": "32-true", "device": "cpu"}),
    "hub": ("hub", {"precision": "32-true", "device": "cpu"}),
    "fp32": ("onnx/fp32.onnx", {}),
    "fp16": ("onnx/fp16.onnx", {}),
    "int8": ("onnx/int8.onnx", {}),
}
CLOSE = {"run": 1e-5, "hub": 1e-5, "fp32": 1e-5, "fp16": 2e-3, "int8": 0.1}
"""Largest difference of two probabilities: what rounding can do on another processor."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that version 0.1.0 wrote, fresh."""
    folder = tmp_path_factory.mktemp("v0.1.0")
    with tarfile.open(ARTEFACTS) as archive:
        archive.extractall(folder, filter="data")
    return folder


def loaded(old: Path, name: str) -> Engine:
    path, options = MODELS[name]
    return load_engine(old / path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_it_did(old: Path, name: str) -> None:
    expected = [json.loads(line) for line in (old / "answers" / f"{name}.jsonl").read_text().splitlines()]
    assert len(expected) == 6
    engine = loaded(old, name)
    assert engine.classes == ("crow", "jay", "wren") and engine.index is not None
    for row, answer in zip(expected, engine.predict([old / row["path"] for row in expected]), strict=True):
        found = answer.to_dict()
        assert set(row) <= set(found), "a field of 0.1.0 is missing"
        assert found["confidence"] == found["verdict"] and found["familiarity"] == found["similarity"]
        for branch in ("fused", *row["branches"]):
            for entry, label, close in _entries(row, found, branch, CLOSE[name]):
                assert entry == pytest.approx(label, abs=close), (name, row["path"], branch)
        if name in ("run", "hub", "fp32"):
            assert found["confidence"] == row["confidence"]
            assert found["familiarity"] == pytest.approx(row["familiarity"], abs=1e-3)
            assert found["object_box"] == pytest.approx(row["object_box"], abs=0.1)
            for box, before in zip(found["part_boxes"], row["part_boxes"], strict=True):
                assert box == pytest.approx(before, abs=0.1)


def _entries(row: dict[str, Any], found: dict[str, Any], branch: str, close: float) -> Any:
    def by_label(record: dict[str, Any]) -> dict[str, float]:
        rows = record["predictions"] if branch == "fused" else record["branches"][branch]
        return {entry["label"]: entry["probability"] for entry in rows}

    now, before = by_label(found), by_label(row)
    assert set(now) == set(before)
    return [(now[label], before[label], close) for label in before]


def test_its_measures_are_what_they_were(old: Path) -> None:
    expected = json.loads((old / "answers" / "evaluation.json").read_text())
    found = measured(old / "run", old / "photos", split=expected["split"], **MODELS["run"][1]).to_dict()
    assert set(expected) <= set(found)
    for branch, measures in expected["classification"].items():
        same = {name: found["classification"][branch][name] for name in measures}  # there are more by now
        assert same == pytest.approx(measures, abs=1e-5)
    assert found["confusion"] == expected["confusion"]


def test_its_reference_index_is_read(old: Path) -> None:
    index = read_index(old / "run" / "gallery.npz")
    assert len(index.names) == len(index.thumbnails) > 9 and index.detector.chosen_on
    engine = loaded(old, "fp32")
    (answer,) = engine.predict([old / "photos" / index.names[0]])
    assert engine.look_alikes(answer, 1)[0].name == index.names[0]


def test_a_run_is_exported_and_reported_by_this_version(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = str(old / "photos")
    assert main(["export", str(old / "run"), "--out", str(old / "new.onnx"), "--images", photos]) == 0
    (answer,) = load_engine(old / "new.onnx").predict([old / "photos" / "jay" / "0.png"])
    (before,) = loaded(old, "fp32").predict([old / "photos" / "jay" / "0.png"])
    assert answer.label == before.label and answer.verdict == before.verdict
    assert main(["report", str(old / "run"), photos, "--split", "train", "--out", str(old / "report.html")]) == 0
    assert (old / "report.html").stat().st_size > 10_000
