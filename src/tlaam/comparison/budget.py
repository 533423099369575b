"""What a larger input costs, and so what the plain backbone may have where TL-AAM has crops."""

from __future__ import annotations

import math

from tlaam.config.sections import ModelConfig
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM

STEP = 32
"""Inputs are multiples of it: what most backbones reduce an image by."""


def passes(config: ModelConfig) -> float:
    """Return how many passes of the backbone over one object image an image costs the two-level model, in pixels.

    The raw image's and each further zoom's share of the pixels, one for the object, and each part's share.

    Args:
        config: resolved settings.
    """
    model = build_model(config, 2, load_pretrained=False)
    assert isinstance(model, TLAAM)
    look = (model.raw_size / model.image_size) ** 2
    looks = look if model.localizer is None else look * model.localizer.zoom_steps + 1.0
    return looks + (model.parts.count * (model.part_size / model.image_size) ** 2 if model.parts is not None else 0.0)


def larger_input(config: ModelConfig) -> dict[str, int]:
    """Return the input of a plain backbone that costs at least what the two-level model of `config` costs, as options.

    Its source image is the two-level model's, which a larger input enlarges: it costs more and shows no more pixels.

    Args:
        config: resolved settings of the two-level model.
    """
    assert config.image_size is not None and config.source_size is not None
    side = config.image_size * math.sqrt(passes(config))
    size = math.ceil(side / STEP - 1e-6) * STEP
    return {"image_size": size, "source_size": config.source_size}
