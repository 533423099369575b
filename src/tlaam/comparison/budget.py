"""The cost of a larger input, and thus the input a plain backbone may have for the cost of TL-AAM's crops."""

from __future__ import annotations

import math

from tlaam.config.sections import ModelConfig
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM

STEP = 32
"""Inputs are multiples of this, the factor by which most backbones reduce an image."""


def passes(config: ModelConfig) -> float:
    """Return the two-level model's cost per image in backbone passes over one object image, measured by pixels.

    It is the raw image's and each further zoom's share of the pixels, plus one for the object, plus each part's share.

    Args:
        config: resolved settings.
    """
    model = build_model(config, 2, load_pretrained=False)
    assert isinstance(model, TLAAM)
    look = (model.raw_size / model.image_size) ** 2
    looks = look if model.localizer is None else look * model.localizer.zoom_steps + 1.0
    return looks + (model.parts.count * (model.part_size / model.image_size) ** 2 if model.parts is not None else 0.0)


def larger_input(config: ModelConfig) -> dict[str, int]:
    """Return options for a plain backbone whose input costs at least as much as the two-level model of `config`.

    The plain backbone keeps the two-level model's source image, which its larger input enlarges: it costs more but
    shows no more pixels.

    Args:
        config: resolved settings of the two-level model.
    """
    assert config.image_size is not None and config.source_size is not None
    side = config.image_size * math.sqrt(passes(config))
    size = math.ceil(side / STEP - 1e-6) * STEP
    return {"image_size": size, "source_size": config.source_size}
