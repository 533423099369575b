"""A traced graph is shortened, and its values stay."""

from __future__ import annotations

import numpy as np
import pytest

from tlaam.export.folding import fold

GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
tiny (float[N, 2] photos) => (float[N, 2] answers) {
    one = Constant <value_floats = [1.0, 1.0]> ()
    two = Add (one, one)
    named = Identity (photos)
    once = Mul (named, two)
    again = Mul (photos, two)
    unread = Exp (photos)
    answers = Add (once, again)
}
"""


@pytest.mark.usefixtures("exporting")
def test_constants_are_folded_equal_nodes_merged_and_unread_ones_gone() -> None:
    onnx, onnx_ir = pytest.importorskip("onnx"), pytest.importorskip("onnx_ir")
    onnxruntime = pytest.importorskip("onnxruntime")
    before = onnx.parser.parse_model(GRAPH)
    model = onnx_ir.from_proto(before)
    fold(model)
    after = onnx_ir.to_proto(model)
    assert [node.op_type for node in after.graph.node] == ["Mul", "Add"]
    photos = np.array([[1, 2], [3, 5]], dtype=np.float32)
    for proto in (before, after):
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"photos": photos})[0], 4 * photos)


RESHAPED = """
<ir_version: 9, opset_import: ["" : 18]>
tiny (float[N, 6] photos) => (float[N, 2, 3] answers) {
    count = Shape <start = 0, end = 1> (photos)
    sides = Constant <value_ints = [2, 3]> ()
    shape = Concat <axis = 0> (count, sides)
    answers = Reshape (photos, shape)
}
"""


@pytest.mark.usefixtures("exporting")
def test_a_reshape_to_one_free_side_has_a_constant_shape() -> None:
    onnx, onnx_ir = pytest.importorskip("onnx"), pytest.importorskip("onnx_ir")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = onnx_ir.from_proto(onnx.parser.parse_model(RESHAPED))
    fold(model)
    after = onnx_ir.to_proto(model)
    (node,) = after.graph.node
    (shape,) = after.graph.initializer
    assert node.input[1] == shape.name and onnx.numpy_helper.to_array(shape).tolist() == [-1, 2, 3]
    session = onnxruntime.InferenceSession(after.SerializeToString(), providers=["CPUExecutionProvider"])
    photos = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(session.run(None, {"photos": photos})[0], photos.reshape(4, 2, 3))
