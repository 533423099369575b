"""An ONNX file answers as its metadata say, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_files import FACTS, small_model, written
from PIL import Image

import tlaam
from tlaam.cli.main import main
from tlaam.errors import ModelError
from tlaam.inference.engine import load_engine
from tlaam.inference.onnx import OnnxModel
from tlaam.reference.ood_detector import OODDetector


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path / "m.onnx", small_model())


def test_a_file_predicts_like_a_run_folder(small: Path, tmp_path: Path) -> None:
    for name, colour in {"0": (0, 9, 0), "1": (0, 0, 9), "2": (9, 0, 0)}.items():
        Image.new("RGB", (40, 20), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    for given in (small, str(small), OnnxModel(small)):
        answers = list(load_engine(given, batch_size=2).predict(sorted(tmp_path.glob("*.png"))))
        assert [answer.top(1)[0][0] for answer in answers[:3]] == ["green", "blue", "red"]
        assert answers[3].error is not None and not answers[3].probabilities
    answer = tlaam.load(small).predict(tmp_path / "2.png")
    assert set(answer.probabilities) == {"fused"} and answer.size == (40, 20)
    assert answer.object_box is None and answer.part_boxes is None and answer.heatmap is None
    np.testing.assert_allclose(answer.probabilities["fused"].sum(), 1, rtol=1e-6)


def test_an_older_file_says_nothing_of_familiarity(small: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (9, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "m.gallery.npz").write_bytes(b"somebody's own")
    assert OnnxModel(small).answer(np.zeros((1, 3, 32, 32), np.uint8)).embeddings is None
    (answer,) = load_engine(small, embeddings=True).predict([tmp_path / "a.png"])
    assert (answer.similarity, answer.verdict, answer.embedding) == (None, None, None)


def with_embeddings(width: int) -> Any:
    nodes = [
        helper.make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "sides"], ["embeddings"], keepdims=0),
        helper.make_node("Softmax", ["embeddings"], ["probabilities"], axis=-1),
    ]
    judge = OODDetector(np.eye(3, width, dtype=np.float16), 0.9, 0.6)
    text = judge.to_text()
    assert text is not None
    model = small_model({**FACTS, "familiarity": text}, nodes=nodes)
    model.graph.output.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 3]))
    return model


def test_the_metadata_tell_strangers(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", with_embeddings(3))
    colours = [(200, 0, 0), (0, 1, 0), (90, 90, 0)]
    answers = list(load_engine(path).predict([Image.new("RGB", (40, 20), colour) for colour in colours]))
    assert [answer.verdict for answer in answers] == ["sure", "unsure", "stranger"]
    np.testing.assert_allclose([answer.similarity for answer in answers], [1, 1, 0.5**0.5], atol=1e-3)


def test_metadata_of_another_model_are_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", with_embeddings(4))
    with pytest.raises(ModelError, match="compares 4 numbers an image, and this model gives 3"):
        list(load_engine(path).predict([Image.new("RGB", (9, 9))]))
    for text in ("", "[", "{}", "[" * 100_000):
        path = written(tmp_path / "m.onnx", small_model({**FACTS, "familiarity": text}))
        with pytest.raises(ModelError, match=r"m\.onnx: 'familiarity' of its metadata cannot be used"):
            OnnxModel(path)


def test_a_file_of_any_name_is_taken(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 20), (9, 0, 0)).save(tmp_path / "a.png")
    other = small.rename(tmp_path / "model")
    assert main(["predict", str(other), str(tmp_path / "a.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["label"] == "red"


def test_only_the_cpu_is_taken(small: Path) -> None:
    load_engine(small, device="cpu")
    with pytest.raises(ModelError, match=r"m\.onnx is computed on the CPU; device=cuda goes with a run folder"):
        load_engine(small, device="cuda")


@pytest.mark.parametrize(("changes", "message"), [
    ({"facts": {**FACTS, "classes": '["red", "green"]'}}, r"\(2 classes\): 'probabilities' has the shape \(batch, 3\)"),
    ({"photos": ("images", TensorProto.UINT8)}, "does not take uint8 photographs"),
    ({"photos": ("photos", TensorProto.INT8)}, "does not take uint8 photographs"),
    ({"output": "scores"}, "answers no probabilities"),
    ({"nodes": [helper.make_node("NoSuchOperation", ["photos"], ["probabilities"])]}, "cannot be opened"),
])  # fmt: skip
def test_a_file_that_does_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "m.onnx", small_model(**changes))
    with pytest.raises(ModelError, match=message):
        OnnxModel(path)
    assert main(["predict", str(path), "a.png"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and str(path) in err


def test_a_file_that_answers_otherwise_than_it_says_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["photos"], ["places"]),  # a shape that is only known afterwards
        helper.make_node("Cast", ["places"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    model = OnnxModel(written(tmp_path / "m.onnx", small_model(nodes=nodes, shape=["batch", "classes"])))
    with pytest.raises(ModelError, match=r"\(3 classes\): 'probabilities' has the shape \(4, 0\), not \(1, 3\)"):
        model.answer(np.zeros((1, 3, 32, 32), np.uint8))


def test_a_file_that_cannot_be_computed_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "sides"], ["probabilities"]),  # to (1, 2)
    ]
    model = OnnxModel(written(tmp_path / "m.onnx", small_model(nodes=nodes)))
    with pytest.raises(ModelError, match=r"m\.onnx cannot be computed by ONNX Runtime: "):
        model.answer(np.zeros((1, 3, 32, 32), np.uint8))


def test_too_little_memory_is_called_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("Shape", ["photos"], ["shape"]),
        helper.make_node("Mul", ["shape", "huge"], ["enormous"]),
        helper.make_node("ConstantOfShape", ["enormous"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros", "sides"], ["probabilities"], keepdims=0),
    ]
    model = small_model(nodes=nodes)
    model.graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [1], [1 << 10]))
    path = written(tmp_path / "m.onnx", model)
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    assert main(["predict", str(path), str(tmp_path / "a.png"), "--json"]) == 1
    assert "out of memory" in capsys.readouterr().err


def test_onnx_is_never_taken_for_the_runtimes_own_format(tmp_path: Path) -> None:
    """That format has a mark where a text can stand in ONNX, and has not been looked through."""
    content = b"\x32\x06..ORTM" + small_model().SerializeToString()
    with pytest.raises(Exception, match=r"ORT|flatbuffer"):
        onnxruntime.InferenceSession(content)
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    answers = OnnxModel(path).answer(np.zeros((1, 3, 32, 32), np.uint8))
    np.testing.assert_allclose(answers.probabilities["fused"], np.full((1, 3), 1 / 3), rtol=1e-6)
