"""A tiny network with the contract of `Architecture` (dropout, batch norm, all branches), and settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tlaam.models.output import TLAAMOutput

SETTINGS: dict[str, Any] = {
    "backbone": "stub",
    "localizer": "oaam",
    "image_size": 32,
    "source_size": 32,
    "epochs": 3,
    "raw_epochs": 1,
    "batch_size": 4,
    "lr": 0.05,
    "crop_scale": 0.5,
    "gradient_clip": 1.0,
    "ema_decay": 0.9,
    "val_fraction": 0.2,
    "checkpoint_every": 0.0,
    "accelerator": "cpu",
    "workers": 0,
}


class StubNetwork(nn.Module):
    remarks: tuple[str, ...] = ()

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(8, classes)
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))

    def begin_epoch(self, epoch: int, epochs: int, raw_only: bool) -> None:
        pass

    def head_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.classifier.parameters()

    def localizer_parameters(self) -> Iterator[nn.Parameter]:
        yield from ()

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        x = (images if images.is_floating_point() else images / 255) - self.mean
        raw = self._scores(x)
        branches = [raw.softmax(-1)]
        of_object = of_parts = None
        if not raw_only:
            of_object = self._scores(x[..., 4:-4, 4:-4])
            of_parts = torch.stack([self._scores(x[..., :16, :16]), self._scores(x[..., -16:, -16:])], dim=1)
            branches += [of_object.softmax(-1), of_parts.softmax(-1).mean(1)]
        return TLAAMOutput(torch.stack(branches).mean(0), raw, of_object, of_parts, None, None, None)

    def _scores(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.backbone(x))
        return scores
