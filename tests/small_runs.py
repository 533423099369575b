"""Run folders with small untrained models."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def small_run(folder: Path, *, seed: int = 0, depth: Any = None, **options: Any) -> Path:
    """Write a model of the classes crow, jay and wren, whose answers are as good as any, and return its folder."""
    import torch

    from tlaam.config.sections import ModelConfig
    from tlaam.inference.store import save_model
    from tlaam.models.build import build_model
    from tlaam.models.heatmaps import LinearHead

    sizes = {"image_size": 64, "source_size": 96, "part_size": 32}
    config = ModelConfig(**{"backbone": "test_resnet", "pretrained": "none", **sizes, **options})
    torch.manual_seed(seed)
    model = build_model(config, 3)
    for module in model.modules():
        if isinstance(module, LinearHead):
            torch.nn.init.normal_(module.weight)
        elif isinstance(module, torch.nn.LayerNorm):  # as it starts, all channels' sum is 0 but for rounding
            torch.nn.init.normal_(module.weight, 1, 0.3)
    save_model(folder, model, config, ["crow", "jay", "wren"], depth)
    return folder
