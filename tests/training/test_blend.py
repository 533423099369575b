"""Weights between the start and what was learnt."""

from __future__ import annotations

import torch

from tlaam.config.sections import ModelConfig
from tlaam.models.build import build_model
from tlaam.training.blend import Blend


def test_it_lies_between_the_start_and_what_was_learnt() -> None:
    config = ModelConfig(
        backbone="resnet18", image_size=64, source_size=64, part_size=32, pretrained="none", localizer="foreground"
    )
    model = build_model(config, 3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    blend = Blend(model, 0.25)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    blend.update(model)
    for name, value in blend.network.state_dict().items():
        moved = 0.75 if value.is_floating_point() and name != "localizer.threshold" else 1.0
        torch.testing.assert_close(value, start[name] + moved if moved < 1 else start[name] + 1)
    blend.update(model)  # from the start again, not from the mean
    torch.testing.assert_close(blend.network.state_dict()["classifier.weight"], start["classifier.weight"] + 0.75)
