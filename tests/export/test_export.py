"""One ONNX file: any batch and size, boxes in pixels of the photograph, and no file where the answers differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_run

import tlaam.export.onnx
from tlaam.cli.main import main
from tlaam.export.graph import PhotoModel
from tlaam.export.onnx import to_onnx
from tlaam.model.store import load_model

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (7, 60, 80), (2, 300, 100), (1, 1, 500)])
def test_any_batch_and_size_is_answered_as_by_pytorch(
    exported_run: Path, exported_file: Path, batch: int, height: int, width: int
) -> None:
    model = load_model(exported_run)
    pixels = np.random.default_rng(height).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = PhotoModel(model.network, model.source_size).eval()(torch.from_numpy(pixels))
    session = onnxruntime.InferenceSession(exported_file)
    assert [output.name for output in session.get_outputs()] == list(expected)
    for values, found in zip(expected.values(), session.run(None, {"photos": pixels}), strict=True):
        np.testing.assert_allclose(found, values.numpy(), rtol=1e-4, atol=1e-3)
    edges = expected["part_boxes"].reshape(-1, 4)
    assert (edges[:, :2] >= 0).all() and (edges[:, 2:] <= torch.tensor([width, height]) + 1e-3).all()


def test_the_figures_and_the_facts_are_written(exported_file: Path) -> None:
    figures = json.loads((exported_file.parent / "model.parity.json").read_text())
    assert figures["images"] == 18 and figures["same_top1"] == 1 and figures["probability_difference"] < 1e-4
    facts = onnxruntime.InferenceSession(exported_file).get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["crow", "jay", "wren"]
    assert json.loads(facts["preprocessing"])["source_size"] == 96 and json.loads(facts["model"])["localizer"] == "oaam"


def test_a_file_that_answers_otherwise_is_not_written(
    exported_file: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = small_run(tmp_path / "other", seed=1, localizer="oaam")
    monkeypatch.setattr(tlaam.export.onnx, "to_onnx", lambda model: exported_file.read_bytes())
    out = tmp_path / "out" / "model.onnx"
    assert main(["export", str(other), "--out", str(out), "--images", str(photos)]) == 1
    error = capsys.readouterr().err
    assert "was not written" in error and "probabilities differ" in error and not out.parent.exists()


def test_what_cannot_be_exported_is_one_line(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(exported_run), "--out", str(tmp_path / "m.onnx")]) == 1
    assert "give photographs by --images" in capsys.readouterr().err
    layered = small_run(tmp_path / "layered", seed=0, localizer="oaam", heatmap_layer="layer3")
    with pytest.raises(tlaam.export.onnx.ExportError, match="differentiates the scores"):
        to_onnx(load_model(layered))
    monkeypatch.setattr(tlaam.export.onnx, "NEEDED", ("onnxruntimes",))
    assert main(["export", str(exported_run), "--out", str(tmp_path / "m.onnx")]) == 1
    assert "pip install 'tlaam[export]'" in capsys.readouterr().err
