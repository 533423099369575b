"""The one way in which a trained network is asked: validation, evaluation, prediction and pictures all pass here."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tlaam.model.architecture import Architecture
from tlaam.model.backbone import Backbone
from tlaam.model.folding import FoldedConv2d, fold_norms
from tlaam.model.fusing import fuse_activations
from tlaam.model.output import TLAAMOutput
from tlaam.runtime.answers import Precision

_Network = TypeVar("_Network", bound=Architecture)


def infer(network: Architecture, images: Tensor) -> TLAAMOutput:
    """Answer for a batch of canvases, in evaluation mode, without gradients; the network's mode is put back.

    Args:
        network: the model, on its device.
        images: uint8 canvases ``(B, 3, P, P)`` (`tlaam.canvas.to_canvas`), on any device.

    Returns:
        The network's record, in float32, boxes in pixels of the canvas.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            output: TLAAMOutput = network(images.to(network.mean.device, non_blocking=True))
    finally:
        network.train(was_training)
    floats: dict[str, Any] = {name: x if x is None else x.float() for name, x in output._asdict().items()}
    return TLAAMOutput(**floats)


def best_precision(device: torch.device | str) -> Precision:
    """Return the arithmetic that is fastest on a device: bfloat16 where the device has it, else float32.

    Answers in bfloat16 are not quite those in float32: docs/speed.md says how many boxes and names move.
    On a CPU that means AVX512-BF16 or AMX instructions: where they are emulated, float32 is faster. It is known from
    what the device is, not by trying, so that the same machine always answers the same.
    """
    if torch.device(device).type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if torch.device(device).type == "cpu":
        has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16-mixed" if has and torch.backends.mkldnn.is_available() else "32-true"  # type: ignore[no-untyped-call]
    return "32-true"


def prepared(network: _Network, device: torch.device | str, precision: Precision = "32-true") -> _Network:
    """Return a copy of a network for answering alone: on the device, channels-last, normalisations folded, on a CPU
    activations too.

    Args:
        network: in evaluation mode; it stays as it is.
        device: where to answer.
        precision: with ``bf16-mixed`` the backbone's weights become bfloat16; it is to be asked under autocast
            (`asked_in`). Scores, masks, components and boxes are computed in float32 from what it puts out.
    """
    on_cpu = torch.device(device).type == "cpu"
    ready: _Network = copy.deepcopy(network).eval()
    if on_cpu:
        ready.cpu()
    for backbone in [module for module in ready.modules() if isinstance(module, Backbone)]:
        fold_norms(backbone.network, backbone.image_size)
        if on_cpu:
            fuse_activations(backbone.network, backbone.image_size)
        if precision == "bf16-mixed":
            for module in backbone.network.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear, FoldedConv2d)):
                    module.to(torch.bfloat16)
    return ready.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def compile_for_answers(network: Architecture) -> None:
    """Let a network that is `prepared` be compiled as one graph at its first answer, in place; that takes minutes.

    Answers then take batches of one size: each other size would be compiled anew. On a GPU the graph is replayed as a
    CUDA graph; on a CPU its weights become constants.
    """
    if network.mean.device.type == "cuda":
        network.compile(fullgraph=True, dynamic=False, mode="reduce-overhead")
    else:
        network.compile(fullgraph=True, dynamic=False, options={"freezing": True})


def asked_in(device: torch.device | str, precision: Precision) -> torch.autocast:
    """Return the context in which a network that is `prepared` for a precision answers."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16-mixed")
