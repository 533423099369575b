"""One ONNX file: any batch and size, boxes in pixels of the photograph, and no file where the answers differ."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tlaam.export.onnx
from tlaam.cli.main import main
from tlaam.config import ModelConfig
from tlaam.export.graph import PhotoModel
from tlaam.export.onnx import to_onnx
from tlaam.model.build import build_model
from tlaam.model.store import load_model, save_model

onnxruntime = pytest.importorskip("onnxruntime")
DOCS = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "small", seed=0, localizer="oaam")


def small_run(folder: Path, seed: int, **options: str) -> Path:
    config = ModelConfig(
        backbone="test_resnet", image_size=64, source_size=96, part_size=32, pretrained="none", **options
    )  # fmt: skip
    torch.manual_seed(seed)
    model = build_model(config, 3)
    torch.nn.init.normal_(model.classifier.weight)
    save_model(folder, model, config, ["crow", "jay", "wren"])
    return folder


@pytest.fixture(scope="module")
def exported(small: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "model.onnx"
    assert main(["export", str(small), "--out", str(out), "--images", str(photos)]) == 0
    return out


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (7, 60, 80), (2, 300, 100), (1, 1, 500)])
def test_any_batch_and_size_is_answered_as_by_pytorch(
    small: Path, exported: Path, batch: int, height: int, width: int
) -> None:
    model = load_model(small)
    pixels = np.random.default_rng(height).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = PhotoModel(model.network, model.source_size).eval()(torch.from_numpy(pixels))
    session = onnxruntime.InferenceSession(exported)
    assert [output.name for output in session.get_outputs()] == list(expected)
    for values, found in zip(expected.values(), session.run(None, {"photos": pixels}), strict=True):
        np.testing.assert_allclose(found, values.numpy(), rtol=1e-4, atol=1e-3)
    edges = expected["part_boxes"].reshape(-1, 4)
    assert (edges[:, :2] >= 0).all() and (edges[:, 2:] <= torch.tensor([width, height]) + 1e-3).all()


def test_the_figures_and_the_facts_are_written(exported: Path) -> None:
    figures = json.loads((exported.parent / "model.parity.json").read_text())
    assert figures["images"] == 18 and figures["same_top1"] == 1 and figures["probability_difference"] < 1e-4
    facts = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["crow", "jay", "wren"]
    assert json.loads(facts["preprocessing"])["source_size"] == 96 and json.loads(facts["model"])["localizer"] == "oaam"


def test_the_reader_of_the_docs_runs(
    exported: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(exported.parent)
    Image.open(photos / "jay" / "0.png").save("photo.jpg")
    exec(compile(program, DOCS.name, "exec"), {})
    assert re.match(r"(crow|jay|wren) [01]\.\d+\nobject \[", capsys.readouterr().out)


def test_a_file_that_answers_otherwise_is_not_written(
    exported: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_run(tmp_path / "other", seed=1, localizer="oaam")
    monkeypatch.setattr(tlaam.export.onnx, "to_onnx", lambda model: exported.read_bytes())
    out = tmp_path / "out" / "model.onnx"
    assert main(["export", str(other), "--out", str(out), "--images", str(photos)]) == 1
    error = capsys.readouterr().err
    assert "was not written" in error and "probabilities differ" in error and not out.parent.exists()


def test_what_cannot_be_exported_is_one_line(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(small), "--out", str(tmp_path / "m.onnx")]) == 1
    assert "give photographs by --images" in capsys.readouterr().err
    layered = small_run(tmp_path / "layered", seed=0, localizer="oaam", heatmap_layer="layer3")
    with pytest.raises(tlaam.export.onnx.ExportError, match="differentiates the scores"):
        to_onnx(load_model(layered))
    monkeypatch.setattr(tlaam.export.onnx, "NEEDED", ("onnxruntimes",))
    assert main(["export", str(small), "--out", str(tmp_path / "m.onnx")]) == 1
    assert "pip install 'tlaam[export]'" in capsys.readouterr().err
