"""Smaller and faster files: the backbone in float16, or in 8-bit integers (static, per channel, QDQ).

Only nodes inside a backbone are converted. The input image, heat maps, masks, boxes, crops and classifiers stay in
float32, so that boxes can only move because of the rounding of the features.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tlaam.models.backbone import Backbone

if TYPE_CHECKING:
    import onnx

Precision = Literal["fp32", "fp16", "int8"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_IDLE = 1e-5
"""A channel is negligible if its largest weight, relative to its bias, is below this."""
_FOLLOWING = {"Clip", "Relu", "LeakyRelu", "Sigmoid", "MaxPool", "GlobalAveragePool"}
"""Operators that are computed in integers if their input is."""


def backbone_nodes(proto: onnx.ModelProto, module: nn.Module) -> set[str]:
    """Return the names of the nodes that come from timm networks inside backbones.

    Args:
        proto: the exporter's output for `module`, which records where each node came from.
        module: the exported module.
    """
    networks = [f"{name}.network" for name, child in module.named_modules() if isinstance(child, Backbone)]
    inside = set()
    for node in proto.graph.node:
        notes = next((note.value for note in node.metadata_props if note.key == _SCOPES), "[]")
        scopes = ast.literal_eval(notes)
        if any(scope == name or scope.startswith(f"{name}.") for scope in scopes for name in networks):
            inside.add(node.name)
    return inside


def to_fp16(proto: onnx.ModelProto, inside: set[str]) -> onnx.ModelProto:
    """Return a model that computes the nodes `inside` in float16; inputs and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    outside = [node.name for node in proto.graph.node if node.name not in inside]
    return convert_float_to_float16(_copy(proto), keep_io_types=True, op_block_list=[], node_block_list=outside)


def to_int8(proto: onnx.ModelProto, inside: set[str], photos: Iterable[NDArray[np.uint8]]) -> onnx.ModelProto:
    """Return a model with the convolutions and linear layers `inside`, and what lies between them, quantised.

    Args:
        proto: the float32 model.
        inside: names of the nodes that may be quantised.
        photos: photographs ``(H, W, 3)`` for calibrating the activation ranges.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Photos(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.remaining = iter(photos)

        def get_next(self) -> dict[str, Any] | None:
            photo = next(self.remaining, None)
            return None if photo is None else {proto.graph.input[0].name: photo[None]}

    with tempfile.TemporaryDirectory() as folder:
        folded = _with_folded_norms(_with_pooling_nodes(proto, inside), Path(folder) / "folded.onnx")
        _clear_idle_channels(folded.graph)
        chosen = _quantisable(folded.graph, inside)
        out = Path(folder) / "int8.onnx"
        quantize_static(
            folded,
            out,
            Photos(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted({node.op_type for node in folded.graph.node if node.name in chosen}),
            nodes_to_quantize=sorted(chosen),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return with_equal_constants_once(onnx.load(out))


def _clear_idle_channels(graph: onnx.GraphProto) -> None:
    """Zero the weights of convolution channels that are negligible beside their bias (unused since pretraining).

    The quantiser would rescale them until the bias fits into 32 bits. It would do so differently for each view, and
    thus keep as many copies of all the layer's weights.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or not {node.input[1], node.input[2]} <= constants.keys():
            continue
        weight, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        idle = np.abs(weight).reshape(len(weight), -1).max(1) < _IDLE * np.abs(bias)
        if idle.any():
            weight = np.where(idle[:, None, None, None], np.float32(0), weight)
            constants[node.input[1]].CopyFrom(numpy_helper.from_array(weight, node.input[1]))


def with_equal_constants_once(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in which constants of equal type, shape and values are shared.

    If views share their statistics, folding creates the same weights for each of them.
    """
    from onnx import numpy_helper

    proto = _copy(proto)
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    name_of: dict[str, str] = {}
    for constant in proto.graph.initializer:
        key = (constant.data_type, tuple(constant.dims), numpy_helper.to_array(constant).tobytes())
        name_of[constant.name] = first.setdefault(key, constant.name)
    outputs = {output.name for output in proto.graph.output}
    kept = [c for c in proto.graph.initializer if name_of[c.name] == c.name or c.name in outputs]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = name_of.get(name, name)
    return proto


def _quantisable(graph: onnx.GraphProto, inside: set[str]) -> set[str]:
    """Return the nodes `inside` to quantise: those with weights, and what follows convolutions up to the next one."""
    constants = {tensor.name for tensor in graph.initializer}
    integer: set[str] = set()  # outputs of quantised nodes
    chosen = set()
    for node in graph.node:  # in topological order
        if node.name not in inside:
            continue
        from_integers = [name in integer for name in node.input]
        if node.op_type in ("MatMul", "Gemm"):
            take, passes_on = node.input[1] in constants, False
        else:
            take = (
                node.op_type == "Conv"
                or (node.op_type in _FOLLOWING and from_integers[0])
                or (node.op_type == "Add" and all(from_integers))  # a residual sum
                or (node.op_type == "Mul" and any(from_integers))  # channel attention's gates
            )
            passes_on = take
        if take:
            chosen.add(node.name)
        if passes_on:
            integer.update(node.output)
    return chosen


def _with_pooling_nodes(proto: onnx.ModelProto, inside: set[str]) -> onnx.ModelProto:
    """Return a model that computes means over height and width with GlobalAveragePool, which has an integer version."""
    import onnx
    from onnx import helper, numpy_helper

    proto = _copy(proto)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        axes = constants.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        if node.name not in inside or axes is None or sorted(numpy_helper.to_array(axes).tolist()) != [2, 3]:
            nodes.append(node)
            continue
        keeps = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        pooled = node.output[0] if keeps else f"{node.output[0]}_pooled"
        nodes.append(helper.make_node("GlobalAveragePool", node.input[:1], [pooled], node.name))
        if not keeps:
            nodes.append(helper.make_node("Squeeze", [pooled, node.input[1]], node.output, f"{node.name}_squeezed"))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    return proto


def _with_folded_norms(proto: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """Return a model with batch normalisation folded into convolutions; `file` is used as a temporary file."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(file)
    add_pre_process_metadata(folded)  # otherwise the quantiser would ask for this preprocessing
    return folded


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    copied = type(proto)()
    copied.CopyFrom(proto)
    return copied
