"""One ONNX file: any batch and size, boxes in pixels of the photograph, and no file where the answers differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from small_runs import small_run

import tlaam.export.onnx
from tlaam.cli.main import main
from tlaam.comparison.models import compare_models
from tlaam.data.sample import Sample
from tlaam.errors import ModelError
from tlaam.export.graph import PhotoModel
from tlaam.export.onnx import export_onnx, to_onnx
from tlaam.export.precision import Precision
from tlaam.inference.engine import load_engine
from tlaam.inference.onnx import OnnxModel
from tlaam.inference.onnx_file import default_boxes_name_at
from tlaam.inference.store import load_model
from tlaam.reference.file import read_index, write_index

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


pytestmark = pytest.mark.usefixtures("exporting")


@pytest.fixture
def traced(exported_file: Path, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    """The graph of `exported_run`, which every export gets instead of tracing its run."""
    monkeypatch.setattr(tlaam.export.onnx, "to_onnx", lambda model: onnx.load(exported_file))
    return onnx.load(exported_file)


@pytest.mark.parametrize(
    ("batch", "height", "width"),
    [(1, 8, 8), (7, 60, 80), (2, 300, 100), (1, 1, 500), (1, 4000, 6000)],  # tiny, portrait, a strip, 24 megapixels
)
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
    assert figures["file"] == "fp32" and figures["fp32"]["images"] == 18 and figures["fp32"]["same_top1"] == 1
    assert (
        figures["fp32"]["probability_difference"] < 1e-4
        and figures["fp32"]["embedding_difference"] < 1e-5
        and figures["fp32"]["object_iou"] > 0.999
        and figures["fp32"]["top1"] is None
    )
    graph = onnx.load(exported_file).graph
    graphs = [graph, *(attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))]
    read = {name for each in graphs for node in each.node for name in node.input}
    assert {constant.name for each in graphs for constant in each.initializer} <= read, "constants that no node reads"
    assert b"/tlaam/" not in exported_file.read_bytes(), "paths of this machine"
    facts = onnxruntime.InferenceSession(exported_file).get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["crow", "jay", "wren"]
    assert json.loads(facts["preprocessing"])["source_size"] == 96 and json.loads(facts["model"])["localizer"] == "oaam"


def test_a_file_that_answers_otherwise_is_not_written(
    traced: onnx.ModelProto, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_run(tmp_path / "other", seed=1, localizer="oaam")  # whose weights the graph does not have
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
    assert "pip install onnx" in capsys.readouterr().err


def test_a_graph_for_one_size_of_batch_is_refused() -> None:
    class Halves(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, second = torch.cat([x, x]).chunk(2)
            return first + second

    with pytest.raises(tlaam.export.onnx.ExportError, match="fixes the number of images"):
        tlaam.export.onnx._traced(Halves(), (torch.ones(2, 3),), ["x"], ["y"], ({0: tlaam.export.onnx._BATCH},))


def small_swin(pretrained: bool = False, **options: object) -> torch.nn.Module:
    from timm.models.swin_transformer import _create_swin_transformer

    small = {"patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}
    given = {name: value for name, value in options.items() if name != "pretrained_cfg"}
    swin: torch.nn.Module = _create_swin_transformer("swin_tiny_patch4_window7_224", False, **small, **given)
    return swin


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "test_vit", "localizer": "foreground", "parts": "none"},
        {"backbone": "small_swin", "localizer": "scda", "parts": "none"},
        {"architecture": "macnn", "localizer": "none", "parts": "none", "attention": "none"},
        {"architecture": "tasn", "localizer": "none", "parts": "none", "attention": "none"},
    ],
    ids=["vit", "swin", "macnn", "tasn"],
)
def test_every_family_answers_as_in_pytorch(
    options: dict[str, str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(timm.models._registry._model_entrypoints, "small_swin", small_swin)
    run = small_run(tmp_path / "run", seed=0, **options)
    (parity,) = export_onnx(run, tmp_path / "m.onnx", sorted(photos.glob("*/*.png"))).values()
    assert parity.images == 18 and parity.same_boxes == 1 and parity.probability_difference < 1e-4
    assert parity.embedding_difference is not None and parity.embedding_difference < 1e-5


def test_the_file_alone_tells_strangers_and_its_gallery_shows_look_alikes(
    exported_run: Path, exported_file: Path, photos: Path, tmp_path: Path
) -> None:
    beside = exported_file.parent / "model.gallery.npz"
    assert beside.read_bytes() == (exported_run / "gallery.npz").read_bytes()
    alone = tmp_path / "model.onnx"
    alone.write_bytes(exported_file.read_bytes())
    predictors = [load_engine(exported_run, precision="32-true"), load_engine(exported_file), load_engine(alone)]
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    asked = [noise, *(Image.open(path).convert("RGB") for path in sorted(photos.glob("*/0.png")))]
    run, file, file_alone = ([*predictor.predict(asked)] for predictor in predictors)
    for of_run, of_file, of_file_alone in zip(run, file, file_alone, strict=True):
        assert of_run.similarity == pytest.approx(of_file.similarity, abs=1e-4)
        assert of_run.verdict == of_file.verdict == of_file_alone.verdict
        assert of_file.similarity == of_file_alone.similarity and of_file_alone.embedding is None
        alike = [[a.name for a in p.look_alikes(x, 3)] for p, x in zip(predictors, (of_run, of_file), strict=False)]
        assert alike[0] == alike[1] and predictors[2].look_alikes(of_file_alone) == []
    assert [a.look_alikes(x, 1)[0].name for a, x in zip([predictors[1]] * 3, file[1:], strict=True)] == [
        "crow/0.png", "jay/0.png", "wren/0.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("most", "said"), [(1 << 23, "without it the file still tells strangers"), (1, "too much for the file itself")]
)
def test_what_the_gallery_is_worth_is_said(
    exported_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], most: int, said: str,
) -> None:  # fmt: skip
    def export(run: Path, out: Path, *_: object, **__: object) -> dict[str, object]:
        out.write_bytes(b"a model")
        return {}

    monkeypatch.setattr(tlaam.export.onnx, "export_onnx", export)
    monkeypatch.setattr("tlaam.reference.ood_detector._MAX_TEXT", most)
    assert main(["export", str(exported_run), "--out", str(tmp_path / "m.onnx"), "--images", str(photos)]) == 0
    assert said in capsys.readouterr().out


def test_what_a_killed_export_left_half_written_is_removed(
    exported_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("m.onnx", "m.parity.json", "m.gallery.npz")
    for name in (*names, "other.onnx"):
        (tmp_path / f".{name}.x1y2.tmp").write_bytes(b"half")
    monkeypatch.setattr(tlaam.export.onnx, "_contents", lambda *_: {"fp32": b"a model"})
    monkeypatch.setattr(tlaam.export.onnx, "compare", lambda *_, **__: {})
    export_onnx(exported_run, tmp_path / "m.onnx", [photos / "crow" / "0.png"])
    assert {path.name for path in tmp_path.iterdir()} == {*names, ".other.onnx.x1y2.tmp"}


def test_a_gallery_of_another_model_beside_the_file_is_said(
    exported_file: Path, exported_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(exported_file.read_bytes())
    write_index(read_index(exported_run / "gallery.npz").without_images(), tmp_path / "model.gallery.npz")
    with pytest.raises(ModelError, match=r"is not the reference index that .*model\.onnx was exported with"):
        load_engine(tmp_path / "model.onnx")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_smaller_file_says_what_it_loses(
    precision: Precision, exported_run: Path, exported_file: Path, photos: Path, tmp_path: Path
) -> None:
    paths = sorted(photos.glob("*/*.png"))
    samples = [Sample(str(path), path.name, index // 6, "test") for index, path in enumerate(paths)]
    out = tmp_path / "m.onnx"
    found = export_onnx(exported_run, out, samples[::2], precision=precision, calibration=samples[1::2])
    assert found["fp32"].top1 == found[precision].pytorch_top1 and 0 < found[precision].raw_difference < 0.2
    figures = json.loads((tmp_path / "m.parity.json").read_text())
    assert figures["file"] == precision and figures[precision]["top1"] == found[precision].top1
    assert out.stat().st_size < exported_file.stat().st_size

    written = onnx.load(out)
    assert [(domain.domain, domain.version) for domain in written.opset_import] == [("", 18)]
    facts = {fact.key: fact.value for fact in written.metadata_props}
    assert facts["precision"] == precision and json.loads(facts["classes"]) == ["crow", "jay", "wren"]
    graph = written.graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    small_type = onnx.TensorProto.INT8 if precision == "int8" else onnx.TensorProto.FLOAT16
    quantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    makers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type == "Conv":  # ResNet has no other than its backbone's
            weight = makers[node.input[1]].input[0] if precision == "int8" else node.input[1]
            assert types[weight] == small_type
        elif node.op_type in ("ScatterElements", "GatherElements", "Gemm"):  # components, parts, classifiers
            assert not quantised.intersection(node.input)
            assert onnx.TensorProto.FLOAT16 not in {types.get(name) for name in node.input}


def test_int8_needs_images_to_read_ranges_from(exported_run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(tlaam.export.onnx.ExportError, match="--calibration"):
        export_onnx(exported_run, tmp_path / "m.onnx", [photos / "jay" / "0.png"], precision="int8")


def test_a_file_that_lost_too_much_is_not_written(
    exported_run: Path, traced: onnx.ModelProto, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (weight,) = (tensor for tensor in traced.graph.initializer if tensor.name.endswith("network.classifier.weight"))
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr(tlaam.export.onnx, "to_fp16", lambda proto, inside: traced)
    with pytest.raises(tlaam.export.onnx.ExportError, match=r"fp16, does not answer as PyTorch does.*the same top-1"):
        export_onnx(exported_run, tmp_path / "m.onnx", sorted(photos.glob("*/*.png")), precision="fp16")
    assert not list(tmp_path.iterdir())


def test_a_run_and_its_file_are_compared_as_two_models(exported_run: Path, exported_file: Path, photos: Path) -> None:
    found = compare_models([exported_run, exported_file], photos)
    run, file = found.models
    assert (run.name, file.name, file.precision) == ("exported", "model.onnx", "fp32")
    assert [p.label for p in run.predictions] == [p.label for p in file.predictions] and not found.notes
    assert (found.differences[0].low, found.differences[0].high) == (0, 0)
    assert len(found.samples) == 18


def test_a_file_finds_several_objects_and_takes_boxes_as_pytorch_does(tmp_path: Path) -> None:
    model = load_model(small_run(tmp_path / "run", localizer="foreground"))
    localizer = model.network.localizer
    with torch.no_grad():
        localizer.score.weight.mul_(40)  # an untrained head is nowhere sure
    path = tmp_path / "model.onnx"
    path.write_bytes(tlaam.export.onnx.finished(to_onnx(model), model, "fp32"))
    content = path.read_bytes()
    assert content[default_boxes_name_at(content) :].startswith(b"boxes")
    exported = OnnxModel(path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    expected, found = model.find(pixels), exported.find(pixels)
    assert (expected.areas > 0).any()
    for wanted, values in zip(expected, found, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-4)
    boxes = np.array([[10.0, 10, 50, 60], [0, 0, 96, 96], [5, 40, 90, 80]])
    told, answered = model.answer(pixels, boxes), exported.answer(pixels, boxes)
    np.testing.assert_allclose(answered.object_boxes, boxes, atol=1e-4)
    for name, values in told.probabilities.items():
        np.testing.assert_allclose(answered.probabilities[name], values, atol=1e-4)
    alone, without = model.answer(pixels), exported.answer(pixels)
    np.testing.assert_allclose(without.object_boxes, alone.object_boxes, atol=1e-3)
    assert not np.allclose(without.object_boxes, boxes)
