"""The one way in which a trained network is asked: validation, evaluation, prediction and pictures all pass here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tlaam.model.architecture import Architecture
from tlaam.model.output import TLAAMOutput


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
