"""The classifiers of an exported file: reading them from its graph, and replacing them, also for other classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tlaam.errors import ModelError
from tlaam.inference.onnx_sealing import drop_unread
from tlaam.probe.linear import LinearProbe

if TYPE_CHECKING:
    import onnx

_SHARED, _JOINT = "network.classifier.weight", "network.joint.weight"
_PER_CLASS = ("probabilities", "raw_probabilities", "object_probabilities", "parts_probabilities")


class Heads(NamedTuple):
    """The classifiers of a network.

    Attributes:
        shared: V, ``(C, K)``, shared by all branches.
        joint: W, ``(C, V·K)``, on all branches together, which gives the final answer.
    """

    shared: LinearProbe
    joint: LinearProbe


def read_heads(proto: onnx.ModelProto) -> Heads:
    """Return the classifiers of a graph that ``tlaam export`` wrote.

    Raises:
        ModelError: the graph has no classifiers of a known form.
    """
    shared, joint = (_probe(proto.graph, name) for name in (_SHARED, _JOINT))
    if shared is None or joint is None:
        raise ModelError(
            "the model has no joint classifier to be solved anew; models of fusion=joint, the default, can be taught."
        )
    return Heads(shared, joint)


def replace_heads(proto: onnx.ModelProto, heads: Heads) -> None:
    """Replace the classifiers of a graph in place; the number of classes may differ."""
    import onnx

    graph, classes = proto.graph, len(heads.shared.bias)
    for name, probe in ((_SHARED, heads.shared), (_JOINT, heads.joint)):
        weight = _weight(graph, name)
        assert weight is not None
        kind = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
        weight.CopyFrom(onnx.numpy_helper.from_array(probe.weight.astype(kind), weight.name))
        bias = f"{weight.name}/bias_of_{classes}_classes"
        graph.initializer.append(onnx.numpy_helper.from_array(probe.bias.astype(kind), bias))
        nodes = _nodes(graph, weight.name)
        _reshape(graph, {node.output[0] for node in nodes}, classes)
        for node in nodes:
            node.input[:] = [*node.input[:2], bias]
    drop_unread(graph)
    del graph.value_info[:]  # the exporter's notes on inner shapes
    for output in graph.output:
        if output.name in _PER_CLASS:
            output.type.tensor_type.shape.dim[1].dim_value = classes


def _reshape(graph: onnx.GraphProto, scores: set[str], classes: int) -> None:
    """Adapt the constant shape with which parts' scores ``(B·N, C)`` are reshaped to ``(B, N, C)`` to another C."""
    import onnx

    for number, node in enumerate(node for node in graph.node if node.op_type == "Reshape" and node.input[0] in scores):
        shape = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
        sides = onnx.numpy_helper.to_array(shape).copy()
        sides[-1] = classes
        name = f"{node.input[0]}/shape_{number}_of_{classes}_classes"  # a new constant: others may use the old one
        graph.initializer.append(onnx.numpy_helper.from_array(sides, name))
        node.input[1] = name


def _probe(graph: onnx.GraphProto, name: str) -> LinearProbe | None:
    """Return the classifier with a weight of this name; None if there is none of a known form."""
    import onnx

    weight = _weight(graph, name)
    nodes = [] if weight is None else _nodes(graph, weight.name)
    if weight is None or not nodes:
        return None
    values = onnx.numpy_helper.to_array(weight).astype(np.float64)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    given = {node.input[2] if len(node.input) > 2 else "" for node in nodes}  # the exporter omits a zero bias
    if values.ndim != 2 or len(given) > 1 or not given <= {"", *tensors}:
        return None
    (bias,) = given
    offsets = onnx.numpy_helper.to_array(tensors[bias]).astype(np.float64) if bias else np.zeros(len(values))
    return LinearProbe(values, offsets) if offsets.shape == values.shape[:1] else None


def _weight(graph: onnx.GraphProto, name: str) -> onnx.TensorProto | None:
    found = [tensor for tensor in graph.initializer if tensor.name.endswith(name)]
    return found[0] if len(found) == 1 else None


def _nodes(graph: onnx.GraphProto, weight: str) -> list[onnx.NodeProto]:
    """Return the nodes that multiply by a weight, each as `x Wᵀ + b`; empty if any has another form."""
    found = [node for node in graph.node if weight in node.input]
    plain = all(node.op_type == "Gemm" and node.input[1] == weight and _transposes(node) for node in found)
    return found if plain else []


def _transposes(node: onnx.NodeProto) -> bool:
    given = {attribute.name: attribute for attribute in node.attribute}
    scales = [given[name].f for name in ("alpha", "beta") if name in given]
    return "transB" in given and given["transB"].i == 1 and all(scale == 1 for scale in scales)
