"""Facts about backbones by name, so that settings are chosen, and help is printed, without PyTorch."""

from __future__ import annotations

import re

WITHOUT_GPU = "tf_efficientnet_lite0"
"""Default without a GPU: the smallest of its family, which larger ones do not clearly beat (docs/probe.md)."""
WITH_GPU, WITH_GPU_SIZE = "convnext_tiny.in12k_ft_in1k_384", 384
"""Default on a GPU, at the size that its weights were trained with (docs/decisions.md)."""

_BY_ADAMW = re.compile(
    r"(beit|caformer|cait|coat|convformer|convnext|davit|deit|eva|flexivit|focalnet|hiera|maxvit|mixer|mvit|naflexvit|"
    r"pit|poolformer|pvt|samvit|swin|tiny_vit|twins|vit|volo|xcit)"
)
"""Families whose authors train them with AdamW: transformers, and networks built like them."""


def optimizer_for(backbone: str) -> str:
    """Return the optimiser that a backbone's family is trained with.

    Examples:
        >>> optimizer_for("convnext_tiny.in12k_ft_in1k_384"), optimizer_for("resnet50")
        ('adamw', 'sgd')
    """
    return "adamw" if _BY_ADAMW.match(backbone) else "sgd"
