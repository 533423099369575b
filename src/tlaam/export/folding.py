"""Shortening a traced graph: constants folded, equal nodes merged, values as they were to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir


def fold(model: onnx_ir.Model) -> None:
    """Fold constants, merge equal nodes and drop unused ones, in place.

    PyTorch's own optimisation also tries its rewriting rules on each node, and does so twice. That takes a third of an
    export, and a runtime applies such rules anyway when it loads the file.
    """
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential
    from onnxscript.optimizer import fold_constants_ir

    passes.InlinePass()(model)
    _fix_reshapes(model)
    passes.RemoveUnusedNodesPass()(model)
    fold_constants_ir(model)
    Sequential(
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    )(model)


def _fix_reshapes(model: onnx_ir.Model) -> None:
    """Give reshapes a constant shape where at most one side is free; the exporter computes it from other shapes.

    `tlaam.teaching.heads` depends on it, and the nodes that computed the shape are no longer needed.
    """
    import numpy as np
    import onnx_ir

    for node in list(model.graph):
        shape = node.outputs[0].shape
        if node.op_type != "Reshape" or shape is None:
            continue
        sides = [side if isinstance(side, int) else -1 for side in shape]
        if sides.count(-1) > 1 or 0 in sides:
            continue
        constant = onnx_ir.node("Constant", [], {"value": onnx_ir.tensor(np.array(sides, dtype=np.int64))})
        constant.outputs[0].name = f"{node.name}/shape"
        node.prepend(constant)
        node.replace_input_with(1, constant.outputs[0])
