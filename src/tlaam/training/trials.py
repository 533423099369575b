"""Training steps on blank images, to measure what a step needs; the network is left unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric import Fabric

from tlaam.config.schema import Config
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone
from tlaam.training.loss import TwoLevelLoss


@contextmanager
def left_as_it_was(fabric: Fabric, model: Architecture, config: Config) -> Iterator[None]:
    """Move a network to its device, ready for `trial_step`; its weights and statistics are restored afterwards.

    Args:
        fabric: launched.
        model: the network.
        config: resolved settings.
    """
    state = {name: value.clone() for name, value in model.state_dict().items()}
    was_training = model.training
    model.train().to(fabric.device)
    for module in model.modules():
        if isinstance(module, Backbone):
            module.recompute = config.training.recompute
    try:
        yield
    finally:
        model.load_state_dict(state)
        model.train(was_training)
        model.zero_grad(set_to_none=True)
        if fabric.device.type == "cuda":
            torch.cuda.empty_cache()


def trial_step(fabric: Fabric, model: Architecture, config: Config, classes: int, size: int) -> None:
    """Run a forward and backward pass on a batch of `size` blank images, without an optimiser step."""
    side = config.model.source_size
    assert side is not None
    images = torch.zeros(size, 3, side, side, dtype=torch.uint8, device=fabric.device)
    labels = torch.arange(size, device=fabric.device) % classes
    masks = torch.zeros(size, 64, 64, dtype=torch.uint8, device=fabric.device)
    with fabric.autocast():
        output = model(images, labels)
        loss = TwoLevelLoss(config.training.label_smoothing or 0.0)(
            output, labels, masks if output.foreground_logits is not None else masks[:, :0, :0]
        )
    loss.total.backward()
    model.zero_grad(set_to_none=True)
