"""Smaller files: what several views share is kept once."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tlaam.export.precision import to_int8, with_equal_constants_once  # noqa: E402


def two_views(weight: np.ndarray, bias: np.ndarray, gain: float) -> onnx.ModelProto:
    """Return a model that convolves a photograph ``(1, H, W, 3)`` twice by the same weights, each in a copy.

    The second view is `gain` times as bright, so that the quantiser reads other ranges of it.
    """
    nodes, constants = [], [numpy_helper.from_array(np.array(gain, np.float32), "gain")]
    nodes.append(helper.make_node("Cast", ["photo"], ["floats"], "cast", to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Transpose", ["floats"], ["first"], "turn", perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Mul", ["first", "gain"], ["second"], "brighten"))
    for view in ("first", "second"):
        constants += [numpy_helper.from_array(weight, f"w_{view}"), numpy_helper.from_array(bias, f"b_{view}")]
        nodes.append(
            helper.make_node(
                "Conv", [view, f"w_{view}", f"b_{view}"], [f"y_{view}"], f"conv_{view}", kernel_shape=[1, 1]
            )
        )
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info(f"y_{view}", TensorProto.FLOAT, [1, 4, 8, 8]) for view in ("first", "second")],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(proto: onnx.ModelProto, photo: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {"photo": photo[None]})
    return found


def quantised_weights(proto: onnx.ModelProto) -> int:
    """Return how many constants of 8-bit weights there are."""
    return sum(c.data_type == TensorProto.INT8 and len(c.dims) == 4 for c in proto.graph.initializer)


def test_equal_weights_of_two_views_are_kept_once_and_answer_as_before() -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 3, 1, 1)).astype(np.float32)
    weight[2] *= 1e-9  # a channel that pretraining has left: nothing but its bias
    bias = np.array([0.1, -0.2, 3.0, 0.4], np.float32)
    photos = [random.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(4)]
    proto = two_views(weight, bias, 0.01)
    small = to_int8(proto, {node.name for node in proto.graph.node if node.op_type == "Conv"}, photos)
    assert quantised_weights(small) == 1
    for found, wanted in zip(answers(small, photos[0]), answers(proto, photos[0]), strict=True):
        assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


def test_only_what_is_equal_is_joined() -> None:
    weight = np.ones((4, 3, 1, 1), np.float32)
    proto = two_views(weight, np.zeros(4, np.float32), 2.0)
    joined = with_equal_constants_once(proto)
    assert sorted(c.name for c in joined.graph.initializer) == ["b_first", "gain", "w_first"]
    different = two_views(weight, np.zeros(4, np.float32), 2.0)
    next(c for c in different.graph.initializer if c.name == "w_second").CopyFrom(
        numpy_helper.from_array(2 * weight, "w_second")
    )
    kept = with_equal_constants_once(different)
    assert sorted(c.name for c in kept.graph.initializer) == ["b_first", "gain", "w_first", "w_second"]
    photo = np.full((8, 8, 3), 7, np.uint8)
    for before, after in ((proto, joined), (different, kept)):
        for found, wanted in zip(answers(after, photo), answers(before, photo), strict=True):
            np.testing.assert_array_equal(found, wanted)
