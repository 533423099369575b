"""The joint classifier: a linear layer on the pooled features of all branches together (docs/how-it-works.md, 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class JointHead(nn.Linear):
    """W, ``(C, V·K)``, on the branches' concatenated pooled features: Y = W [Ā_raw; Ā_object; Ā_parts] + b.

    It is linear, so that each branch's share of a score can be read off. It starts with small weights and zero bias.

    Args:
        channels: K.
        views: V, the number of branches: the raw image, the object if there is an object level, and the parts' mean if
            there is a part level.
        classes: C.
    """

    def __init__(self, channels: int, views: int, classes: int) -> None:
        super().__init__(views * channels, classes)
        self.views = views
        nn.init.trunc_normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide all logits by a temperature, which changes the confidence but not the predicted class."""
        self.weight.div_(temperature)
        self.bias.div_(temperature)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map pooled features ``(B, V, K)`` to logits ``(B, C)``, in at least float32, also under autocast."""
        together = pooled.flatten(1)
        device = together.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return super().forward(together.to(self.weight.dtype))
        return super().forward(together)
