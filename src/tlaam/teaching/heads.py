"""The classifiers of an exported file: read from its graph, and replaced by others, of other classes too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tlaam.errors import ModelError
from tlaam.inference.onnx_file import CHECKSUM, model_checksum
from tlaam.probe.linear import LinearProbe

if TYPE_CHECKING:
    import onnx

_SHARED, _JOINT = "network.classifier.", "network.joint."
_PER_CLASS = ("probabilities", "raw_probabilities", "object_probabilities", "parts_probabilities")


class Heads(NamedTuple):
    """The classifiers of a network.

    Attributes:
        shared: V, ``(C, K)``, which all branches share.
        joint: W, ``(C, V·K)``, on the branches together, which decides.
    """

    shared: LinearProbe
    joint: LinearProbe


def read_heads(proto: onnx.ModelProto) -> Heads:
    """Return the classifiers of a graph that ``tlaam export`` wrote.

    Raises:
        ModelError: it has none of the form that is known.
    """
    shared, joint = (_probe(proto.graph, name) for name in (_SHARED, _JOINT))
    if shared is None or joint is None:
        raise ModelError(
            "it has no joint classifier to be solved anew; models of fusion=joint, the default, can be taught."
        )
    return Heads(shared, joint)


def replace_heads(proto: onnx.ModelProto, heads: Heads) -> None:
    """Give a graph other classifiers, in place; the number of classes may be another."""
    import onnx

    graph, classes = proto.graph, len(heads.shared.bias)
    for prefix, probe in ((_SHARED, heads.shared), (_JOINT, heads.joint)):
        for suffix, values in (("weight", probe.weight), ("bias", probe.bias)):
            tensor = _tensor(graph, prefix + suffix)
            assert tensor is not None
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(kind), tensor.name))
    _reshape_parts(graph, classes)
    del graph.value_info[:]  # what the exporter noted of shapes within
    for output in graph.output:
        if output.name in _PER_CLASS:
            output.type.tensor_type.shape.dim[1].dim_value = classes


def seal(proto: onnx.ModelProto, texts: dict[str, str]) -> bytes:
    """Return a file's bytes: a graph with what it says of itself, and with their checksum."""
    import onnx

    texts = {name: text for name, text in texts.items() if name != CHECKSUM}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, texts)
    onnx.helper.set_model_props(proto, {**texts, CHECKSUM: model_checksum(proto.SerializeToString())})
    return bytes(proto.SerializeToString())


def _reshape_parts(graph: onnx.GraphProto, classes: int) -> None:
    """Let the parts' scores ``(B·N, C)`` become ``(B, N, C)`` of another C: what they are reshaped to is a constant."""
    import onnx

    weights = _tensor(graph, _SHARED + "weight")
    assert weights is not None
    scores = {node.output[0] for node in graph.node if node.op_type == "Gemm" and weights.name in node.input}
    for number, node in enumerate(n for n in graph.node if n.op_type == "Reshape" and n.input[0] in scores):
        shape = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
        sides = onnx.numpy_helper.to_array(shape).copy()
        sides[-1] = classes
        name = f"{shape.name}/of_{classes}_classes_{number}"  # its own: others may read the old one
        graph.initializer.append(onnx.numpy_helper.from_array(sides, name))
        node.input[1] = name


def _probe(graph: onnx.GraphProto, prefix: str) -> LinearProbe | None:
    import onnx

    weight, bias = (_tensor(graph, prefix + suffix) for suffix in ("weight", "bias"))
    if weight is None or bias is None:
        return None
    values, offsets = (onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in (weight, bias))
    if values.ndim != 2 or offsets.shape != values.shape[:1]:
        return None
    return LinearProbe(values, offsets)


def _tensor(graph: onnx.GraphProto, name: str) -> onnx.TensorProto | None:
    found = [tensor for tensor in graph.initializer if tensor.name.endswith(name)]
    return found[0] if len(found) == 1 else None
