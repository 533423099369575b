"""A tiny ONNX file that sees two objects in whatever it is shown, and names the strongest colour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_files import written

SIDE = 32
HALVES = [[2, 4, 12, 28, 0.3, 0.97, 0.95], [20, 4, 30, 28, 0.3, 0.95, 0.9]]
"""What it sees: boxes, areas, largest and mean probability."""


def several_file(path: Path, *, sure: float = 1.0) -> Path:
    """Write the file; where the object is may be said, and is its box and its one part then."""
    weights = {
        "boxes": np.zeros((1, 4), np.float32),
        "of one": np.array([4], np.int64),
        "seen": np.array([HALVES], np.float32) * np.array([1, 1, 1, 1, 1, sure, 1], np.float32),
        "of seen": np.array([2, 7], np.int64),
        "of part": np.array([-1, 1, 4], np.int64),
        "sides": np.array([1, 2], np.int64),
        "last": np.array([3], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "sides"], ["means"], keepdims=0),
        helper.make_node("Softmax", ["means"], ["probabilities"], axis=-1),
        helper.make_node("ReduceMean", ["float", "last"], ["heatmaps"], keepdims=0),
        helper.make_node("Shape", ["photos"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "of one"], ["shape"], axis=0),
        helper.make_node("Expand", ["boxes", "shape"], ["object_boxes"]),
        helper.make_node("Reshape", ["object_boxes", "of part"], ["part_boxes"]),
        helper.make_node("Concat", ["batch", "of seen"], ["shape of seen"], axis=0),
        helper.make_node("Expand", ["seen", "shape of seen"], ["objects"]),
    ]
    outputs = {
        "probabilities": ["batch", 3], "heatmaps": ["batch", "height", "width"], "object_boxes": ["batch", 4],
        "part_boxes": ["batch", 1, 4], "objects": ["batch", 2, 7],
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "several",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    graph.input.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["boxes", 4]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    facts = {
        "tlaam_version": "0", "classes": json.dumps(["red", "green", "blue"]), "boxes": "told",
        "preprocessing": json.dumps({"source_size": SIDE}),
    }  # fmt: skip
    helper.set_model_props(model, facts)
    return written(path, model)
