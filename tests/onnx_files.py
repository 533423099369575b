"""A tiny ONNX file like those of `tlaam export`: the class is the photograph's strongest colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

FACTS: dict[str, Any] = {
    "tlaam_version": "0",
    "classes": json.dumps(["red", "green", "blue"]),
    "preprocessing": json.dumps({"source_size": 32}),
}


def small_model(
    facts: dict[str, str] = FACTS,
    *,
    photos: tuple[str, int] = ("photos", TensorProto.UINT8),
    output: str = "probabilities",
    shape: list[Any] | None = None,
    nodes: list[onnx.NodeProto] | None = None,
) -> onnx.ModelProto:
    """Return the model, with other facts, or with something wrong with it."""
    name, kind = photos
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float", "sides"], ["means"], keepdims=0),
            helper.make_node("Softmax", ["means"], [output], axis=-1),
        ]
        if nodes is None
        else nodes,
        "colours",
        [helper.make_tensor_value_info(name, kind, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape or ["batch", 3])],
        [helper.make_tensor("sides", TensorProto.INT64, [2], [1, 2])],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, facts)
    return model


def written(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
