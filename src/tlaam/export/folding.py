"""Shortening a traced graph: constants folded, equal nodes merged, values as they were to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir


def fold(model: onnx_ir.Model) -> None:
    """Fold constants, merge equal nodes and drop unused ones, in place.

    PyTorch's own optimisation also tries its rewriting rules on each node, and does so twice. That takes half of an
    export, and a runtime applies such rules anyway when it loads the file.
    """
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential
    from onnxscript.optimizer import fold_constants_ir

    Sequential(passes.InlinePass(), passes.RemoveUnusedNodesPass())(model)
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
